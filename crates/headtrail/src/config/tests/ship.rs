//! `[ship.NAME]`: what can be wrong with a destination, what it is by default, and how its secrets are read.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use headtrail_record::record;
use headtrail_ship::elasticsearch::Flavour;
use headtrail_ship::settings::{Auth, Destination, Settings};
use headtrail_testkit::TempDir;

use super::super::keys::NAMED;
use super::*;

/// The settings of the only destination, which has nothing to warn of.
#[track_caller]
fn settings(text: &str) -> Settings {
    let config = good(text);
    let [ship] = config.ship.as_slice() else { panic!("{}", config.ship.len()) };
    assert_eq!(ship.warnings(), [""; 0]);
    let (settings, warnings) = ship.settings().unwrap();
    assert_eq!(warnings, [""; 0]);
    settings
}

fn named(config: &Config) -> Vec<(String, Vec<Option<kind::Value>>)> {
    config.named.iter().map(|instance| (instance.path(), instance.values.clone())).collect()
}

const CLUSTER: &str = "[ship.es]\nkind = 'elasticsearch'\nurls = ['https://es1:9200/', 'https://es2:9200']\n";
const RECEIVER: &str =
    "[ship.ls]\nkind = 'logstash'\nurls = ['tls://ls1:5044', 'tls://[2001:db8::7]:5044']\n";
const FILE: &str = "[ship.f]\nkind = 'file'\npath = '/tmp/records.ndjson'\n";

#[test]
fn a_destination_has_the_documented_defaults() {
    let of = settings(CLUSTER);
    assert_eq!(of.name, "es");
    let names: Vec<_> = of.types.iter().map(|kind| record::Kind::name(*kind).to_string()).collect();
    assert_eq!(names, ["transaction", "connection", "alert", "annotation", "loss", "lifecycle", "coverage"]);
    assert!(of.query.is_none());
    assert_eq!((of.batch_documents_max, of.batch_bytes_max), (1000, 4 << 20));
    let Destination::Elasticsearch(cluster) = of.destination else { panic!() };
    assert_eq!(cluster.flavour, Flavour::Elasticsearch);
    assert_eq!(cluster.nodes, ["https://es1:9200", "https://es2:9200"]);
    assert_eq!((cluster.namespace.as_str(), cluster.pipeline, cluster.gzip), ("default", None, true));
    assert!(matches!(cluster.auth, Auth::None));
    assert!(cluster.tls.authorities_pem.is_none() && cluster.tls.identity_pem.is_none());
    assert_eq!(cluster.timeouts, headtrail_ship::settings::Timeouts::default());

    let Destination::Logstash(receivers) = settings(RECEIVER).destination else { panic!() };
    assert_eq!(receivers.nodes, ["ls1:5044", "[2001:db8::7]:5044"]);
    assert!(receivers.tls.is_some() && receivers.compress);
    assert_eq!(receivers.window_max, 1000);
    assert_eq!(receivers.timeouts, headtrail_ship::settings::Timeouts::default());

    let Destination::File(file) = settings(FILE).destination else { panic!() };
    assert_eq!(file.path, Path::new("/tmp/records.ndjson"));
    assert_eq!((file.rotate_bytes, file.keep), (100 << 20, 10));
}

#[test]
fn what_is_set_for_a_destination_is_what_is_meant() {
    let of = settings(
        "[ship.os-1]\nkind = 'opensearch'\nurls = ['http://127.0.0.1:9200/base/']\ntypes = ['transaction', 'checkpoint']\n\
         query = 'url.path:/api/*'\nformat = 'ecs'\nnamespace = 'prod_1'\npipeline = 'p-1'\ncompress = false\n\
         batch_documents = 10_000\nbatch_size = '64KiB'\nconnect_timeout = '1s'\ntimeout = '2m'\n",
    );
    assert_eq!(of.types, [record::Kind::TRANSACTION, record::Kind::CHECKPOINT]);
    assert_eq!(of.query.as_ref().map(|query| query.text()), Some("url.path:/api/*"));
    assert_eq!((of.batch_documents_max, of.batch_bytes_max), (10_000, 64 << 10));
    let Destination::Elasticsearch(cluster) = of.destination else { panic!() };
    assert_eq!(cluster.flavour, Flavour::OpenSearch);
    assert_eq!(cluster.nodes, ["http://127.0.0.1:9200/base"]);
    assert_eq!(
        (cluster.namespace.as_str(), cluster.pipeline.as_deref(), cluster.gzip),
        ("prod_1", Some("p-1"), false)
    );
    assert_eq!(
        (cluster.timeouts.connect, cluster.timeouts.request),
        (Duration::from_secs(1), Duration::from_secs(120))
    );

    let text = "[ship.ls]\nkind = 'logstash'\nurls = ['tcp://ls1:5044']\nwindow = 1\ncompress = false\n";
    let Destination::Logstash(receivers) = settings(text).destination else { panic!() };
    assert!(receivers.tls.is_none() && !receivers.compress && receivers.window_max == 1);

    let Destination::File(file) =
        settings(&format!("{FILE}rotate_size = '1GB'\nrotate_keep = 0\nquery = ' '")).destination
    else {
        panic!()
    };
    assert_eq!((file.rotate_bytes, file.keep), (1_000_000_000, 0));

    let config = good(&format!("{RECEIVER}{FILE}{CLUSTER}"));
    let names: Vec<_> = config.ship.iter().map(|ship| ship.settings().unwrap().0.name).collect();
    assert_eq!(names, ["es", "f", "ls"]);
}

#[test]
fn what_is_wrong_with_a_destination_is_told_with_its_place() {
    for (text, what) in [
        ("[ship.es]", "f.toml:1:7: ship.es.kind: must be there: \"elasticsearch\""),
        (
            "[ship.es]\nkind = 'kafka'",
            "f.toml:2:8: ship.es.kind: kind \"kafka\" is not in this version; allowed: \"elasticsearch\"",
        ),
        ("[ship.es]\nkind = 'otlp'", "kind \"otlp\" is not in this version"),
        ("[ship.es]\nkind = 'syslog'", "kind \"syslog\" is not in this version"),
        ("[ship.es]\nkind = 'elastisearch'", "found \"elastisearch\", did you mean \"elasticsearch\"?"),
        ("[ship]\nkind = 'file'", "f.toml:2:1: ship.kind: a name is missing before it, [ship.NAME]"),
        ("ship = 1", "f.toml:1:8: ship has sections with names, [ship.NAME]; found the number 1"),
        ("[[ship]]\nkind = 'file'", "ship has sections with names, [ship.NAME]; found a list of 1"),
        ("[[ship.es]]\nkind = 'file'", "ship.es is a section, [ship.es]; found a list of 1"),
        ("[ship.Es]\nkind = 'file'", "f.toml:1:7: ship.Es: a name has 1 to 64 of a-z, 0-9 and -"),
        ("[ship.'../a']\nkind = 'file'", "ship.../a: a name has"),
        ("[ship.'']\nkind = 'file'", "a name has 1 to 64"),
        ("[shipp.es]\nkind = 'file'", "f.toml:1:2: unknown key 'shipp'; did you mean 'ship'?"),
        ("urls = []", "f.toml:1:1: unknown key 'urls' here; it belongs into [ship.NAME]"),
        ("[ship.f]\nkind = 'file'\npth = '/a'", "f.toml:3:1: unknown key 'pth'; did you mean 'path'?"),
        ("[ship.f]\nkind = 'file'\n[ship.f.tls]\nx = 1", "f.toml:3:9: unknown key 'tls'"),
        ("[ship.f]\nkind = 'file'", "f.toml:1:7: ship.f.path: must be there for kind \"file\""),
        ("[ship.f]\nkind = 'file'\npath = 'a'", "f.toml:3:8: ship.f.path: \"a\" is no absolute path"),
        (
            "[ship.f]\nkind = 'file'\npath = '/a'\nurls = ['https://a']",
            "f.toml:4:8: ship.f.urls: is for elasticsearch, opensearch, logstash only, and this is kind \"file\"",
        ),
        ("[ship.f]\nkind = 'file'\npath = '/a'\ntypes = []", "f.toml:4:9: ship.f.types: is empty"),
        (
            "[ship.f]\nkind = 'file'\npath = '/a'\ntypes = ['transation']",
            "f.toml:4:10: ship.f.types: found \"transation\", did you mean \"transaction\"?",
        ),
        (
            "[ship.f]\nkind = 'file'\npath = '/a'\nformat = 'json'",
            "ship.f.format: found \"json\"; allowed: \"ecs\"",
        ),
        (
            "[ship.f]\nkind = 'file'\npath = '/a'\nrotate_keep = -1",
            "ship.f.rotate_keep: -1 is not within the limits; allowed: a number from 0",
        ),
        (
            "[ship.f]\nkind = 'file'\npath = '/a'\nbatch_documents = 10001",
            "f.toml:4:19: ship.f.batch_documents: 10001 is not within the limits; allowed: a number from 1 to 10000",
        ),
        (
            "[ship.f]\nkind = 'file'\npath = '/a'\nbatch_documents = '5'",
            "found the text \"5\"; allowed: a number from 1",
        ),
        (
            "[ship.f]\nkind = 'file'\npath = '/a'\nbatch_size = '65MiB'",
            "65MiB is not within the limits; allowed: a size from \"64KiB\" to \"64MiB\"",
        ),
        (
            "[ship.f]\nkind = 'file'\npath = '/a'\nquery = 'url.path:/a b'",
            "f.toml:4:9: ship.f.query: each term names its field, as in http.request.method:GET\n  url.path:/a b\n              ^",
        ),
        (
            "[ship.es]\nkind = 'elasticsearch'",
            "f.toml:1:7: ship.es.urls: must be there for kind \"elasticsearch\"",
        ),
        (
            "[ship.es]\nkind = 'elasticsearch'\nurls = ['tcp://a:1']",
            "f.toml:3:8: ship.es.urls: \"tcp://a:1\" is none for kind \"elasticsearch\": http:// or https://",
        ),
        (
            "[ship.ls]\nkind = 'logstash'\nurls = ['https://a']",
            "is none for kind \"logstash\": tcp:// or tls://",
        ),
        ("[ship.ls]\nkind = 'logstash'\nurls = ['tcp://a:1', 'tls://b:1']", "some with TLS and some without"),
    ] {
        let told = bad(text).join("\n");
        assert!(told.contains(what), "{text}\n{told}\n{what}");
    }
    for (key, what) in [
        ("path = '/a'", "f.toml:4:8: ship.es.path: is for file only, and this is kind \"elasticsearch\""),
        ("window = 10", "ship.es.window: is for logstash only"),
        ("username = 'u'", "f.toml:4:12: ship.es.username: needs password_file"),
        ("password_file = '/p'", "ship.es.password_file: needs username"),
        ("cert_file = '/p'", "ship.es.cert_file: needs key_file"),
        ("key_file = '/p'", "ship.es.key_file: needs cert_file"),
        ("username = 'a:b'", "ship.es.username: \"a:b\" is no name of a user"),
        (
            "username = 'u'\npassword_file = '/p'\napi_key_file = '/k'",
            "f.toml:6:16: ship.es.api_key_file: username is there too",
        ),
        ("ca_file = 'ca.pem'", "ship.es.ca_file: \"ca.pem\" is no absolute path"),
        ("namespace = ''", "ship.es.namespace: \"\" is no namespace"),
        ("namespace = 'a-b'", "is no namespace; allowed: 1 to 100 small letters"),
        ("namespace = 'Prod'", "is no namespace"),
        ("pipeline = 'a b'", "is no name of a pipeline"),
        ("timeout = '10ms'", "\"10ms\" is not within the limits"),
        ("compress = 'gzip'", "allowed: true or false"),
    ] {
        let told = bad(&format!("{CLUSTER}{key}")).join("\n");
        assert!(told.contains(what), "{key}\n{told}\n{what}");
    }
    let plain = "[ship.ls]\nkind = 'logstash'\nurls = ['tcp://a:1']\n";
    assert!(
        bad(&format!("{plain}ca_file = '/c'"))[0]
            .contains("is for tls:// only, and none of the urls is such")
    );
    assert!(bad(&format!("{plain}username = 'u'"))[0].contains("is for elasticsearch, opensearch only"));
}

#[test]
fn urls_are_of_servers_and_have_no_secrets() {
    for url in [
        "https://u:p@es:9200",
        "https://es?x=1",
        "https://es#a",
        "https://",
        "https:es",
        "https://es:0",
        "https://es:99999",
        "https://es:",
        "ftp://es",
        "HTTPS://es",
        "es:9200",
        "https://e s",
        "https://es/\u{e4}",
        "https://[::g]:1",
        "tcp://ls",
        "tls://ls:5044/",
        "tcp://:5044",
        "",
        "https://es/a@b",
    ] {
        let told = bad(&format!("[ship.es]\nkind = 'elasticsearch'\nurls = ['{url}']"));
        assert!(
            told[0].starts_with("f.toml:3:9: ship.es.urls: ") && told[0].contains("is no such URL"),
            "{url} {told:?}"
        );
    }
    for url in ["https://es", "http://10.0.0.7:9200", "https://[::1]:9200", "https://es.example.com/a/b"] {
        good(&format!("[ship.es]\nkind = 'elasticsearch'\nurls = ['{url}']"));
    }
}

#[test]
fn there_are_not_more_destinations_than_can_be() {
    let many = |count: usize| {
        (0..count).map(|i| format!("[ship.f{i}]\nkind = 'file'\npath = '/tmp/{i}'\n")).collect::<String>()
    };
    assert_eq!(good(&many(16)).ship.len(), 16);
    assert_eq!(bad(&many(17)), ["f.toml:49:7: ship.NAME: 17 of them; at most 16 can be"]);
    assert!(bad(&many(5_000)).len() < 60);
}

#[test]
fn a_changed_destination_needs_a_restart() {
    let old = good(&format!("{CLUSTER}{FILE}"));
    let new = good(&format!("{CLUSTER}namespace = 'a'\nbatch_size = '4096KiB'\n{RECEIVER}"));
    assert_eq!(Config::diff(&old, &old), super::super::Reload::default());
    let reload = Config::diff(&old, &new);
    assert_eq!(reload.changed, ["ship.es.namespace", "ship.f", "ship.ls"]);
    assert_eq!(reload.needs_restart, reload.changed);
}

#[test]
fn a_shown_destination_is_read_as_the_same() {
    let config = good(&format!(
        "{CLUSTER}username = 'u'\npassword_file = '/p'\n{RECEIVER}{FILE}query = 'url.path:\"a\\\\b\"'\n"
    ));
    let shown = config.shown();
    assert!(
        shown.contains(
            "\n[ship.es]\nkind = \"elasticsearch\"\nurls = [\"https://es1:9200/\", \"https://es2:9200\"]\n"
        ),
        "{shown}"
    );
    let again = good(&shown);
    assert_eq!(named(&again), named(&config));
    assert_eq!(again.values, config.values);
}

#[test]
fn every_key_of_a_destination_has_a_default_within_its_limits_and_a_meaning() {
    for named in NAMED {
        for key in named.section.keys {
            // What it is has none.
            assert!(read::default(key).is_some() || key.name == "kind", "{}", key.name);
            assert!(key.meaning.ends_with('.'), "{}", key.name);
            assert!(key.only_for.iter().all(|kind| keys::SHIP_KINDS.contains(kind)), "{}", key.name);
        }
        assert!(named.section.meaning.contains(&format!("at most {}", named.count_max)));
    }
    let allowed: Vec<String> = keys::SHIP_KINDS.iter().map(|kind| format!("{kind:?}")).collect();
    assert_eq!(kind::form::SHIP_KIND.allowed, allowed.join(", "));
}

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What comes of a cluster with these keys.
    fn cluster(keys: &str) -> Result<(Settings, Vec<String>), String> {
        good(&format!("{CLUSTER}{keys}")).ship[0].settings()
    }
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n";

#[test]
fn secrets_are_read_and_never_shown() {
    let files = Files::new();
    let password = files.put("password", "hunter2\r\n", 0o600);
    let (ca, cert, key) = (
        files.put("ca", CERTIFICATE, 0o644),
        files.put("cert", CERTIFICATE, 0o644),
        files.put("key", KEY, 0o640),
    );
    let keys = format!(
        "username = 'u'\npassword_file = '{password}'\nca_file = '{ca}'\ncert_file = '{cert}'\nkey_file = '{key}'\n"
    );
    let (settings, warnings) = Files::cluster(&keys).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert!(!format!("{settings:?}").contains("hunter2"));
    let Destination::Elasticsearch(cluster) = settings.destination else { panic!() };
    let Auth::Basic { user, password } = cluster.auth else { panic!() };
    assert_eq!((user.as_str(), password.reveal()), ("u", &b"hunter2"[..]));
    assert_eq!(cluster.tls.authorities_pem.as_deref(), Some(CERTIFICATE.as_bytes()));
    let (chain, key) = cluster.tls.identity_pem.unwrap();
    assert_eq!((chain.as_slice(), key.reveal()), (CERTIFICATE.as_bytes(), KEY.as_bytes()));

    let api_key = files.put("api", "YTpi\n", 0o644);
    let (settings, warnings) = Files::cluster(&format!("api_key_file = '{api_key}'")).unwrap();
    assert_eq!(warnings, [format!("ship.es.api_key_file: {api_key} can be read by every user of this host")]);
    let Destination::Elasticsearch(cluster) = settings.destination else { panic!() };
    assert!(matches!(cluster.auth, Auth::ApiKey(key) if key.reveal() == b"YTpi"));
    assert!(!good(&format!("{CLUSTER}api_key_file = '{api_key}'")).shown().contains("YTpi"));

    let text = format!("{RECEIVER}ca_file = '{ca}'\n");
    let Destination::Logstash(receivers) = good(&text).ship[0].settings().unwrap().0.destination else {
        panic!()
    };
    assert_eq!(receivers.tls.unwrap().authorities_pem.as_deref(), Some(CERTIFICATE.as_bytes()));
}

#[test]
fn files_that_have_no_secret_are_refused_by_key_and_name() {
    let files = Files::new();
    for (bytes, what) in [
        (vec![], "is empty"),
        (b"\n".to_vec(), "is empty"),
        (b"a\nb".to_vec(), "has more than one line, or control characters"),
        (b"a\0".to_vec(), "has more than one line, or control characters"),
        (vec![b'a'; 65 * 1024], "is longer than 64 KiB"),
    ] {
        let path = files.put("k", bytes, 0o600);
        assert_eq!(
            Files::cluster(&format!("api_key_file = '{path}'")).unwrap_err(),
            format!("ship.es.api_key_file: {path} {what}")
        );
    }
    let path = files.put("pem", "x", 0o600);
    let told = Files::cluster(&format!("ca_file = '{path}'")).unwrap_err();
    assert_eq!(told, format!("ship.es.ca_file: {path} has no certificate in PEM"));
    let cert = files.put("cert", CERTIFICATE, 0o600);
    let told = Files::cluster(&format!("cert_file = '{cert}'\nkey_file = '{cert}'")).unwrap_err();
    assert_eq!(told, format!("ship.es.key_file: {cert} has no private key in PEM"));
    assert!(Files::cluster("ca_file = '/dev/zero'").unwrap_err().ends_with("/dev/zero is no file"));
    let gone = "ca_file = '/no such folder/ca'";
    assert!(
        Files::cluster(gone).unwrap_err().starts_with("ship.es.ca_file: /no such folder/ca cannot be read: ")
    );
    let warned = good(&format!("{CLUSTER}{gone}")).ship[0].warnings();
    assert_eq!(warned, ["ship.es.ca_file: /no such folder/ca is not there"]);
    let warned = good("[ship.f]\nkind = 'file'\npath = '/no such folder/f'").ship[0].warnings();
    assert_eq!(warned, ["ship.f.path: /no such folder is not there"]);
}

#[test]
fn a_secret_that_goes_unprotected_is_warned_of() {
    let files = Files::new();
    let key = files.put("k", "k", 0o600);
    for (url, open) in [
        ("http://es:9200", true),
        ("https://es:9200', 'http://10.0.0.7", true),
        ("https://es:9200", false),
        ("http://127.0.0.1:9200", false),
        ("http://[::1]:9200/a", false),
        ("http://localhost", false),
    ] {
        let config =
            good(&format!("[ship.es]\nkind = 'opensearch'\nurls = ['{url}']\napi_key_file = '{key}'"));
        assert_eq!(config.ship[0].warnings().len(), usize::from(open), "{url}");
        assert_eq!(config.ship[0].settings().unwrap().1.len(), usize::from(open), "{url}");
    }
}

proptest! {
    #[test]
    fn any_destination_is_taken_or_told(
        name in "[a-zA-Z.'-]{0,5}",
        kind in prop::sample::select(vec!["elasticsearch", "opensearch", "logstash", "file", "kafka", ""]),
        lines in prop::collection::vec((0usize..22, "'[a-z:/.]{0,12}'|\\['(https?|tls)://[a-z]{0,3}(:[0-9]{1,5})?'\\]|[0-9]{1,5}|'[0-9]{1,3}(s|MiB)'|true|'/[a-z]{1,4}'"), 0..6),
    ) {
        let keys = NAMED[0].section.keys;
        let lines: String = lines.iter().filter_map(|(i, value)| Some(format!("{} = {value}\n", keys.get(*i)?.name))).collect();
        match Config::parse("f", &format!("[ship.{name}]\nkind = '{kind}'\n{lines}")) {
            Ok(config) => prop_assert_eq!(named(&good(&config.shown())), named(&config)),
            Err(problems) => prop_assert!(!problems.to_string().is_empty()),
        }
    }
}
