//! What a value can be: how it is written, read, checked and shown.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use headtrail_capture::filter::Filter;
use headtrail_record::printable::is_hidden;
use headtrail_record::redact::{Policy, PolicyError, Settings, ValuePattern};
use headtrail_ship::select::Query;

use super::keys::{Key, SHIP_KINDS, SHIP_KINDS_NOT_YET};
use super::problems::nearest;

/// Most entries of a list.
pub(super) const ENTRIES_MAX: usize = headtrail_record::volume::VALUES_MAX;
/// Longest text, bytes.
pub(super) const TEXT_BYTES_MAX: usize = 4096;

/// The kind of a value, with its limits.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A number of bytes.
    Size {
        /// Smallest, bytes.
        min: u64,
        /// Largest, bytes.
        max: u64,
    },
    /// A length of time.
    Time {
        /// Shortest, milliseconds.
        min_ms: u64,
        /// Longest, milliseconds.
        max_ms: u64,
        /// `never` is allowed.
        never: bool,
    },
    /// A number from 0 to 1.
    Rate,
    /// A number of things.
    Count {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text of a form of its own.
    Text(Text),
    /// A list of texts.
    List(Text),
    /// A text or a list of texts.
    OneOrMore(Text),
    /// Tables with keys of their own: `[[name]]`.
    Tables {
        /// The keys of each.
        keys: &'static [Key],
        /// Which of them must be there.
        needs: Needs,
        /// Says what is wrong with a table whose values are right, each for itself.
        check: fn(&[Option<Value>]) -> Result<(), String>,
        /// Most tables.
        count_max: usize,
    },
}

/// Which keys of a table must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// All of them.
    All,
    /// One of those that are conditions: all but `sample`.
    Condition,
}

/// The form of a text: what it is called in messages and the page, and who checks it.
#[derive(Clone, Copy)]
pub(super) struct Text {
    /// What is allowed, as the end of a sentence.
    pub(super) allowed: &'static str,
    /// Says what is wrong.
    pub(super) check: fn(&str) -> Result<(), String>,
}

/// A value that has been checked.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    /// Bytes.
    Size(u64),
    /// None: never.
    Time(Option<Duration>),
    /// From 0 to 1.
    Rate(f64),
    /// So many.
    Count(u64),
    /// Yes or no.
    Flag(bool),
    /// A word or a text.
    Text(String),
    /// A list.
    List(Vec<String>),
    /// Tables, each with a value or nothing for each key in order.
    Tables(Vec<Vec<Option<Value>>>),
}

/// Units of size, largest first. Decimal and binary ones are told apart by name alone, so `G` is not one.
const SIZES: [(&str, u64); 10] = [
    ("PiB", 1 << 50),
    ("PB", 1_000_000_000_000_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
];

/// Units of time in milliseconds, largest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `10GB`: digits, then a unit, perhaps with blanks between.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, text[digits..].trim()))
}

/// Reads `10GB`, `256MiB`, `4096B`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text).ok_or_else(|| format!("{} is no size", quoted_cut(text)))?;
    let factor = match unit {
        "B" | "" => Some(1),
        "KB" => Some(1_000),
        unit => SIZES.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor),
    };
    let factor = factor.ok_or_else(|| {
        format!(
            "{} is no size: units are kB, MB, GB, TB, PB (1000) and KiB, MiB, GiB, TiB, PiB (1024)",
            quoted_cut(text)
        )
    })?;
    number.checked_mul(factor).ok_or_else(|| format!("{} is too much", quoted_cut(text)))
}

/// Reads `200ms`, `30d`. A number alone is refused: it would be read as seconds by one and as milliseconds by another.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{} is no length of time: units are ms, s, m, h, d", quoted_cut(text));
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let (_, factor) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let ms = number.checked_mul(*factor).ok_or_else(|| format!("{} is too long", quoted_cut(text)))?;
    Ok(Duration::from_millis(ms))
}

/// A size in the largest unit that has it whole.
pub(super) fn show_size(bytes: u64) -> String {
    match SIZES.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A time in the largest unit that has it whole.
pub(super) fn show_time(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match TIMES.iter().find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", ms / factor),
        None => format!("{ms}ms"),
    }
}

impl Kind {
    /// What is allowed, as the end of a sentence.
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Size { min, max } => {
                format!("a size from \"{}\" to \"{}\"", show_size(*min), show_size(*max))
            }
            Self::Time { min_ms, max_ms, never } => {
                let of = |ms: &u64| show_time(Duration::from_millis(*ms));
                let never = if *never { ", or \"never\"" } else { "" };
                format!("a time from \"{}\" to \"{}\"{never}", of(min_ms), of(max_ms))
            }
            Self::Rate => "0, or a number from 0.000001 to 1".to_owned(),
            Self::Count { min, max } => format!("a number from {min} to {max}"),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                words.join(", ")
            }
            Self::Text(text) => text.allowed.to_owned(),
            Self::List(text) => format!("a list; each {}", text.allowed),
            Self::OneOrMore(text) => format!("{}; or a list of such", text.allowed),
            Self::Tables { count_max, .. } => format!("at most {count_max} tables"),
        }
    }
}

impl Value {
    /// As it is written in the file; None for tables, which have headings of their own.
    pub(super) fn show(&self) -> Option<String> {
        Some(match self {
            Self::Size(bytes) => format!("\"{}\"", show_size(*bytes)),
            Self::Time(Some(time)) => format!("\"{}\"", show_time(*time)),
            Self::Time(None) => "\"never\"".to_owned(),
            Self::Rate(rate) => rate.to_string(),
            Self::Count(count) => count.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Text(text) => quoted(text),
            Self::List(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("[{}]", texts.join(", "))
            }
            Self::Tables(_) => return None,
        })
    }
}

/// A text as TOML writes it, with nothing that acts on a terminal.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            c if is_hidden(c) => write!(out, "\\U{:08X}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

/// A text for a message: not longer than a line.
pub(super) fn quoted_cut(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", quoted(&text[..end])),
        None => quoted(text),
    }
}

/// Tries a regular expression, so that `config check` tells what is wrong with it. Its values are in the order of the
/// keys: class, regex, literals.
pub(super) fn check_pattern(values: &[Option<Value>]) -> Result<(), String> {
    let [Some(Value::Text(class)), Some(Value::Text(regex)), Some(Value::List(literals))] = values else {
        return Ok(());
    };
    let pattern = ValuePattern { class: class.clone(), regex: regex.clone(), literals: literals.clone() };
    let tried = Policy::with(&Settings { patterns: vec![pattern], ..Settings::default() });
    // The message shows the expression with a caret, so what acts on a terminal is replaced by what takes one column.
    let safe = |c: char| if is_hidden(c) && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
    // Where it stands is told by who asks.
    let words = |error| match error {
        PolicyError::Setting { problem, .. } => problem.to_string(),
        PolicyError::Syntax(_) => error.to_string(),
    };
    tried.map(drop).map_err(|error| words(error).chars().map(safe).collect())
}

/// Whether a text is one of these words; the message names the nearest.
pub(super) fn one_of(text: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&text) {
        return Ok(());
    }
    let meant = nearest(text, words.iter().copied()).map(|word| format!(", did you mean {word:?}?"));
    Err(format!("found {}{}", quoted_cut(text), meant.unwrap_or_default()))
}

/// The forms of texts.
pub(super) mod form {
    use super::*;
    use headtrail_record::record;
    use headtrail_record::volume::{Glob, HeaderTest, HostGlob, Network, Statuses, Word};

    fn ok_if(right: bool, wrong: &str, text: &str) -> Result<(), String> {
        if right { Ok(()) } else { Err(format!("{} {wrong}", quoted_cut(text))) }
    }

    fn parsed<T: std::str::FromStr<Err = String>>(text: &str) -> Result<(), String> {
        text.parse::<T>().map(drop)
    }

    pub(in super::super) const FILTER: Text = Text {
        allowed: "a filter as for `headtrail watch`; empty for everything",
        // libpcap's caret needs a line of its own, and the message has it.
        check: |text| Filter::parse(text).map(drop).map_err(|error| error.to_string()),
    };
    pub(in super::super) const PATH: Text =
        Text { allowed: "an absolute path", check: |text| ok_if(is_path(text), "is no absolute path", text) };
    pub(in super::super) const PATH_OR_NONE: Text = Text {
        allowed: "an absolute path; empty for none",
        check: |text| ok_if(text.is_empty() || is_path(text), "is no absolute path", text),
    };
    pub(in super::super) const ARGUMENT: Text = Text {
        allowed: "a text; the first is the absolute path of the program",
        check: |text| ok_if(!text.contains('\0'), "has a NUL in it", text),
    };
    pub(in super::super) const URL_OR_NONE: Text = Text {
        allowed: "an http or https URL without credentials; empty for none",
        check: |text| {
            ok_if(text.is_empty() || is_url(text), "is no http or https URL without credentials", text)
        },
    };
    pub(in super::super) const USER: Text = Text {
        allowed: "the name of a user",
        check: |text| ok_if(is_user(text), "is no name of a user", text),
    };
    pub(in super::super) const LISTEN: Text = Text {
        allowed: "an address and port of loopback, such as \"127.0.0.1:7117\" or \"[::1]:7117\", or \"off\"",
        check: listen,
    };
    pub(in super::super) const NAME: Text =
        Text { allowed: "a name; `*` at its end stands for any rest", check: name };
    pub(in super::super) const COOKIE: Text =
        Text { allowed: "a name with its case; `*` at its end stands for any rest", check: name };
    pub(in super::super) const ANY: Text =
        Text { allowed: "a text", check: |text| ok_if(!text.is_empty(), "is empty", text) };
    pub(in super::super) const HOST: Text = Text {
        allowed: "a host without port; `*` stands for any characters, case does not count",
        check: parsed::<HostGlob>,
    };
    pub(in super::super) const METHOD: Text =
        Text { allowed: "a method, such as \"GET\"; case counts", check: parsed::<Word> };
    pub(in super::super) const GLOB: Text = Text {
        allowed: "a path without query; `*` stands for any characters, `/` too",
        check: parsed::<Glob>,
    };
    pub(in super::super) const STATUS: Text =
        Text { allowed: "a status: 404, \"2xx\", \"500-599\"", check: parsed::<Statuses> };
    pub(in super::super) const NETWORK: Text =
        Text { allowed: "an address or network, such as \"10.0.0.0/8\"", check: parsed::<Network> };
    pub(in super::super) const AGENT: Text =
        Text { allowed: "a text that User-Agent contains; case does not count", check: parsed::<Word> };
    pub(in super::super) const HEADER: Text =
        Text { allowed: "`Name`, or `Name: value`", check: parsed::<HeaderTest> };
    pub(in super::super) const SHIP_KIND: Text =
        Text { allowed: "\"elasticsearch\", \"opensearch\", \"logstash\", \"file\"", check: ship_kind };
    pub(in super::super) const RECORD_TYPE: Text = Text {
        allowed: "the name of a type, such as \"transaction\"",
        check: |text| one_of(text, &record::Kind::NAMES),
    };
    pub(in super::super) const QUERY: Text = Text {
        allowed: "a query; empty for everything",
        check: |text| match text.trim() {
            "" => Ok(()),
            // Its caret needs a line of its own, and the message has it.
            _ => Query::parse(text).map(drop).map_err(|error| error.to_string()),
        },
    };
    pub(in super::super) const SERVER: Text = Text {
        allowed: "a URL without credentials: \"https://es1:9200\", \"tls://ls1:5044\"",
        check: |text| ok_if(is_server(text), "is no such URL", text),
    };
    pub(in super::super) const NAMESPACE: Text = Text {
        allowed: "1 to 100 small letters, digits, `_` and `.`, as a data stream's name allows",
        check: |text| ok_if(is_namespace(text), "is no namespace", text),
    };
    pub(in super::super) const PIPELINE: Text = Text {
        allowed: "letters, digits, `_`, `-` and `.`, at most 255; empty for none",
        check: |text| ok_if(is_pipeline(text), "is no name of a pipeline", text),
    };
    pub(in super::super) const USERNAME: Text = Text {
        allowed: "a name without `:`, at most 255 bytes; empty for none",
        check: |text| ok_if(is_username(text), "is no name of a user", text),
    };

    fn ship_kind(text: &str) -> Result<(), String> {
        if SHIP_KINDS_NOT_YET.contains(&text) {
            return Err(format!("kind {text:?} is not in this version"));
        }
        one_of(text, SHIP_KINDS)
    }

    /// A URL of a server. What it may not have would be ignored, or is a secret.
    fn is_server(text: &str) -> bool {
        let Some((scheme, rest)) = text.split_once("://") else { return false };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let plain =
            path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'@' | b'"' | b'\\'));
        match scheme {
            "http" | "https" => is_authority(authority, false) && plain,
            "tcp" | "tls" => is_authority(authority, true) && path.is_empty(),
            _ => false,
        }
    }

    /// `host`, `host:port`, `[2001:db8::7]:port`.
    fn is_authority(text: &str, needs_port: bool) -> bool {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let number = |port: &str| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0)
        };
        let host_is_right = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
            }
        };
        host_is_right && port.map_or(!needs_port, number)
    }

    /// What Elasticsearch refuses in the name of an index, and `-`, which would end the namespace.
    fn is_namespace(text: &str) -> bool {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.');
        (1..=100).contains(&text.len()) && text.bytes().all(allowed)
    }

    fn is_pipeline(text: &str) -> bool {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        text.len() <= 255 && text.bytes().all(allowed)
    }

    fn is_username(text: &str) -> bool {
        text.len() <= 255 && !text.contains(|c: char| c == ':' || c.is_control())
    }

    fn is_path(text: &str) -> bool {
        Path::new(text).is_absolute() && !text.contains('\0')
    }

    fn is_url(text: &str) -> bool {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
        plain && authority.is_some_and(|authority| is_authority(authority, false))
    }

    fn is_user(text: &str) -> bool {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        (1..=32).contains(&text.len())
            && text.bytes().all(word)
            && !text.starts_with(|c: char| c == '-' || c == '.' || c.is_ascii_digit())
    }

    fn name(text: &str) -> Result<(), String> {
        ok_if(!text.is_empty(), "is no name", text)?;
        let bare = text.strip_suffix('*').unwrap_or(text);
        ok_if(!bare.contains('*'), "has a * that is not at its end", text)?;
        ok_if(!bare.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()), "is no name", text)
    }

    fn listen(text: &str) -> Result<(), String> {
        if text == "off" {
            return Ok(());
        }
        let address: SocketAddr =
            text.parse().map_err(|_| format!("{} is no address with a port", quoted_cut(text)))?;
        let wrong = "is reached from other hosts, which needs TLS; that is not in this version";
        ok_if(address.ip().to_canonical().is_loopback(), wrong, text)
    }
}
