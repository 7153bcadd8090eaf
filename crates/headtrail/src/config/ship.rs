//! `[ship.NAME]`: what must hold between its keys, and the secrets that its files have.
//!
//! The config itself has no secrets: they are read once, by [`Ship::settings`], while the process may still read them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headtrail_record::record::Kind;
use headtrail_ship::elasticsearch::{self, Flavour};
use headtrail_ship::select::Query;
use headtrail_ship::settings::{Auth, Destination, Secret, Settings, Timeouts, Tls};
use headtrail_ship::{file, logstash};

use super::Instance;
use super::keys::Key;
use super::kind::{Value, quoted_cut};
use super::problems::Found;
use super::read;

/// Longest file with a secret or certificates, bytes.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A destination, without its secrets.
#[derive(Clone)]
pub(crate) struct Ship {
    /// Without what lies in files; nobody else gets it so.
    bare: Settings,
    username: String,
    password_file: Option<PathBuf>,
    api_key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

/// Makes a destination; None where something is wrong, which then is in `found`.
pub(super) fn build(read: read::Instance, found: &mut Found) -> Option<(Instance, Ship)> {
    let keys = read.of.section.keys;
    let path = format!("{}.{}", read.of.section.name, read.name);
    let wrong = |found: &mut Found, key: &str, what: &str| {
        let at = keys.iter().position(|k| k.name == key).and_then(|i| read.spans[i].as_ref());
        found.add(at.unwrap_or(&read.place), format!("{path}.{key}: {what}"));
    };
    let kind = match keys.iter().zip(&read.values).find(|(key, _)| key.name == "kind") {
        Some((_, Some(Value::Text(kind)))) => kind.as_str(),
        _ => {
            // A wrong one has been told of.
            if keys.iter().zip(&read.spans).any(|(key, span)| key.name == "kind" && span.is_none()) {
                wrong(
                    found,
                    "kind",
                    "must be there: \"elasticsearch\", \"opensearch\", \"logstash\" or \"file\"",
                );
            }
            return None;
        }
    };
    let mut usable = true;
    for (key, (value, span)) in keys.iter().zip(read.values.iter().zip(&read.spans)) {
        if span.is_some() && !key.is_for(kind) {
            wrong(
                found,
                key.name,
                &format!("is for {} only, and this is kind {kind:?}", key.only_for.join(", ")),
            );
        }
        usable &= span.is_none() || (value.is_some() && key.is_for(kind));
    }
    // What is wrong would be taken for its default.
    if !usable {
        return None;
    }
    let values = keys.iter().zip(read.values.iter().cloned());
    let values = values
        .map(|(key, value)| value.or_else(|| read::default(key)).filter(|_| key.is_for(kind)))
        .collect();
    let values = Values { keys, values };
    let problems = values.problems(kind);
    for (key, what) in &problems {
        wrong(found, key, what);
    }
    if !problems.is_empty() {
        return None;
    }
    let ship = values.ship(&read.name, kind);
    Some((Instance { section: &read.of.section, name: read.name, values: values.values }, ship))
}

/// The values of one destination, each right for itself, with defaults; None for keys that its kind does not have.
struct Values {
    keys: &'static [Key],
    values: Vec<Option<Value>>,
}

impl Values {
    /// A value that the kind has, of the type that the key has: the tests read every key of every kind.
    fn get<T>(&self, name: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let value = self.keys.iter().position(|key| key.name == name).and_then(|i| self.values[i].as_ref());
        match value.and_then(wanted) {
            Some(value) => value,
            None => unreachable!("{name} is not defined so"),
        }
    }

    fn text(&self, name: &str) -> String {
        self.get(name, |value| if let Value::Text(text) = value { Some(text.clone()) } else { None })
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.get(name, |value| if let Value::List(list) = value { Some(list.clone()) } else { None })
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name, |value| match value {
            Value::Count(number) | Value::Size(number) => Some(*number),
            _ => None,
        })
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name, |value| if let Value::Flag(flag) = value { Some(*flag) } else { None })
    }

    fn duration(&self, name: &str) -> Duration {
        self.get(name, |value| if let Value::Time(time) = value { *time } else { None })
    }

    /// The text of a key that can be empty, and that not every kind has.
    fn some(&self, name: &str) -> Option<String> {
        let value = self.keys.iter().position(|key| key.name == name).and_then(|i| self.values[i].as_ref());
        value
            .and_then(|value| if let Value::Text(text) = value { Some(text.clone()) } else { None })
            .filter(|t| !t.is_empty())
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.some(name).map(PathBuf::from)
    }

    /// What does not hold between keys, each with the key at which it is told.
    fn problems(&self, kind: &str) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.list("types").is_empty() {
            problems.push(("types", "is empty, so nothing would go there".to_owned()));
        }
        if kind == "file" {
            if self.some("path").is_none() {
                problems.push(("path", "must be there for kind \"file\"".to_owned()));
            }
            return problems;
        }
        let urls = self.list("urls");
        if urls.is_empty() {
            problems.push(("urls", format!("must be there for kind {kind:?}")));
        }
        let [plain, secure] = if kind == "logstash" { ["tcp", "tls"] } else { ["http", "https"] };
        let is = |url: &String, scheme: &str| url.split_once("://").is_some_and(|(s, _)| s == scheme);
        if let Some(url) = urls.iter().find(|url| !is(url, plain) && !is(url, secure)) {
            problems.push((
                "urls",
                format!("{} is none for kind {kind:?}: {plain}:// or {secure}://", quoted_cut(url)),
            ));
        } else if kind == "logstash"
            && urls.iter().any(|url| is(url, plain))
            && urls.iter().any(|url| is(url, secure))
        {
            problems
                .push(("urls", "some with TLS and some without; give them sections of their own".to_owned()));
        }
        let needed = [
            ("username", "password_file"),
            ("password_file", "username"),
            ("cert_file", "key_file"),
            ("key_file", "cert_file"),
        ];
        for (one, other) in needed {
            if self.some(one).is_some() && self.some(other).is_none() {
                problems.push((one, format!("needs {other}")));
            }
        }
        if self.some("api_key_file").is_some()
            && (self.some("username").is_some() || self.some("password_file").is_some())
        {
            problems.push(("api_key_file", "username is there too; one of them can be".to_owned()));
        }
        for name in ["ca_file", "cert_file", "key_file"] {
            if self.some(name).is_some() && !urls.iter().any(|url| is(url, secure)) {
                problems.push((name, format!("is for {secure}:// only, and none of the urls is such")));
            }
        }
        problems
    }

    fn ship(&self, name: &str, kind: &str) -> Ship {
        let timeouts =
            || Timeouts { connect: self.duration("connect_timeout"), request: self.duration("timeout") };
        let nodes = || self.list("urls").into_iter();
        let destination = match kind {
            "file" => Destination::File(file::Settings {
                path: PathBuf::from(self.text("path")),
                rotate_bytes: self.number("rotate_size"),
                keep: u32::try_from(self.number("rotate_keep")).unwrap_or(u32::MAX),
            }),
            "logstash" => Destination::Logstash(logstash::Settings {
                tls: nodes().any(|url| url.starts_with("tls://")).then(Tls::default),
                nodes: nodes().filter_map(|url| Some(url.split_once("://")?.1.to_owned())).collect(),
                window_max: u32::try_from(self.number("window")).unwrap_or(u32::MAX),
                compress: self.flag("compress"),
                timeouts: timeouts(),
            }),
            _ => Destination::Elasticsearch(elasticsearch::Settings {
                flavour: if kind == "opensearch" { Flavour::OpenSearch } else { Flavour::Elasticsearch },
                nodes: nodes().map(|url| url.trim_end_matches('/').to_owned()).collect(),
                namespace: self.text("namespace"),
                pipeline: self.some("pipeline"),
                gzip: self.flag("compress"),
                auth: Auth::None,
                tls: Tls::default(),
                timeouts: timeouts(),
            }),
        };
        let bare = Settings {
            name: name.to_owned(),
            types: self.list("types").iter().filter_map(|name| Kind::of_name(name)).collect(),
            query: Query::parse(&self.text("query")).ok(),
            batch_documents_max: usize::try_from(self.number("batch_documents")).unwrap_or(usize::MAX),
            batch_bytes_max: usize::try_from(self.number("batch_size")).unwrap_or(usize::MAX),
            destination,
        };
        Ship {
            bare,
            username: self.some("username").unwrap_or_default(),
            password_file: self.file("password_file"),
            api_key_file: self.file("api_key_file"),
            ca_file: self.file("ca_file"),
            cert_file: self.file("cert_file"),
            key_file: self.file("key_file"),
        }
    }
}

impl Ship {
    /// Everything, with secrets and certificates read from their files, and what should be known about these. To be called while the process
    /// may still read them.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or is not what it should be.
    pub(crate) fn settings(&self) -> Result<(Settings, Vec<String>), String> {
        let mut settings = self.bare.clone();
        let mut warnings: Vec<String> = self.unprotected().into_iter().collect();
        let tls = Tls {
            authorities_pem: self.read("ca_file", self.ca_file.as_deref(), certificates, None)?,
            identity_pem: self
                .read("cert_file", self.cert_file.as_deref(), certificates, None)?
                .zip(self.read("key_file", self.key_file.as_deref(), private_key, Some(&mut warnings))?)
                .map(|(chain, key)| (chain, Secret::new(key))),
        };
        let password =
            self.read("password_file", self.password_file.as_deref(), line, Some(&mut warnings))?;
        let api_key = self.read("api_key_file", self.api_key_file.as_deref(), line, Some(&mut warnings))?;
        match &mut settings.destination {
            Destination::Elasticsearch(cluster) => {
                cluster.tls = tls;
                cluster.auth = match (password, api_key) {
                    (Some(password), _) => {
                        Auth::Basic { user: self.username.clone(), password: Secret::new(password) }
                    }
                    (None, Some(key)) => Auth::ApiKey(Secret::new(key)),
                    (None, None) => Auth::None,
                };
            }
            Destination::Logstash(receivers) => receivers.tls = receivers.tls.as_ref().map(|_| tls),
            Destination::File(_) => {}
        }
        Ok((settings, warnings))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.bare.name
    }

    /// What may be wrong on this host, as far as it can be told without reading a secret.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let files = [
            ("password_file", self.password_file.as_deref()),
            ("api_key_file", self.api_key_file.as_deref()),
            ("ca_file", self.ca_file.as_deref()),
            ("cert_file", self.cert_file.as_deref()),
            ("key_file", self.key_file.as_deref()),
        ];
        let folder = match &self.bare.destination {
            Destination::File(file) => file.path.parent(),
            _ => None,
        };
        let files = files.into_iter().chain([("path", folder)]).filter_map(|(key, path)| Some((key, path?)));
        // What cannot be looked at may well be there.
        let absent = files.filter(|(_, path)| path.try_exists().is_ok_and(|there| !there));
        let absent = absent.map(|(key, path)| format!("{}: {} is not there", self.key(key), told(path)));
        absent.chain(self.unprotected()).collect()
    }

    fn key(&self, key: &str) -> String {
        format!("ship.{}.{key}", self.bare.name)
    }

    /// Secrets go over the wire for all to read.
    fn unprotected(&self) -> Option<String> {
        let Destination::Elasticsearch(cluster) = &self.bare.destination else { return None };
        let secret = self.password_file.is_some() || self.api_key_file.is_some();
        let open = cluster
            .nodes
            .iter()
            .find(|node| node.strip_prefix("http://").is_some_and(|rest| !is_loopback(rest)))?;
        secret.then(|| {
            format!(
                "{}: {open} is reached without TLS, so its secret can be read on the way",
                self.key("urls")
            )
        })
    }

    /// Reads a file, if one is named, and takes of it what counts.
    fn read(
        &self,
        key: &str,
        path: Option<&Path>,
        take: fn(Vec<u8>) -> Result<Vec<u8>, &'static str>,
        secret: Option<&mut Vec<String>>,
    ) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = path else { return Ok(None) };
        let wrong = |what: &str| format!("{}: {} {what}", self.key(key), told(path));
        let unread = |error: std::io::Error| wrong(&format!("cannot be read: {error}"));
        // Opening a pipe would wait for who writes into it.
        let metadata = fs::metadata(path).map_err(unread)?;
        if !metadata.is_file() {
            return Err(wrong("is no file"));
        }
        if let Some(warnings) = secret
            && metadata.permissions().mode() & 0o004 != 0
        {
            warnings.push(wrong("can be read by every user of this host"));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unread)?;
        file.take(SECRET_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.len() as u64 > SECRET_FILE_BYTES_MAX {
            return Err(wrong(&format!("is longer than {} KiB", SECRET_FILE_BYTES_MAX / 1024)));
        }
        take(bytes).map(Some).map_err(wrong)
    }
}

fn told(path: &Path) -> String {
    super::problems::shown(&path.to_string_lossy())
}

/// Whether the authority of a URL is this host by its address.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// A secret on one line, without the line end that editors put there.
fn line(mut bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let length = text.strip_suffix(b"\r").unwrap_or(text).len();
    bytes.truncate(length);
    // It stands in a header line, which it must not end.
    match bytes.iter().any(u8::is_ascii_control) {
        true => Err("has more than one line, or control characters"),
        false if bytes.is_empty() => Err("is empty"),
        false => Ok(bytes),
    }
}

fn certificates(bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    if has(&bytes, b"-----BEGIN CERTIFICATE-----") { Ok(bytes) } else { Err("has no certificate in PEM") }
}

fn private_key(bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    if has(&bytes, b"PRIVATE KEY-----") { Ok(bytes) } else { Err("has no private key in PEM") }
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
