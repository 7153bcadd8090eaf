//! From checked values to the [`Config`]: types, defaults, and what must hold between keys.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use headtrail_capture::filter::Filter;
use headtrail_record::{redact, volume};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::kind::Value;
use super::problems::{Found, shown};
use super::read::{self, Values};
use super::{Capture, Config, Export, Journal, Retention, Run, keys, ship};

/// Makes the config; None where something is wrong, which then is in `found`.
pub(super) fn build(text: &str, read: Values, found: &mut Found) -> Option<Config> {
    let Values { values, spans, named } = read;
    let wrong = values.iter().zip(&spans).map(|(value, span)| value.is_none() && span.is_some()).collect();
    let effective = keys::all().zip(values).map(|((_, key), value)| value.or_else(|| read::default(key)));
    let values = Checked { values: effective.collect::<Option<_>>()?, spans, wrong };
    let export = values.between(found);
    let (named, ship) = named.into_iter().filter_map(|read| ship::build(read, found)).unzip();
    if !found.is_empty() {
        return None;
    }
    let privacy: redact::Settings = by_serde(text, "privacy", &["key_rotation"], found)?;
    let volume: volume::Settings = by_serde(text, "volume", &[], found)?;
    if let Err(error) = redact::Policy::with(&privacy) {
        let path = error.path().unwrap_or("privacy");
        found.add(&place(text, path), error.to_string());
        return None;
    }
    let filter = Some(values.text("capture", "filter")).filter(|filter| !filter.is_empty());
    Some(Config {
        run: Run {
            user: values.text("run", "user"),
            data_dir: PathBuf::from(values.text("run", "data_dir")),
        },
        capture: Capture {
            filter: filter.and_then(|filter| Filter::parse(&filter).ok()),
            ring_bytes: u32::try_from(values.size("capture", "ring_bytes")).unwrap_or(u32::MAX),
        },
        journal: Journal {
            block: values.duration("journal", "block"),
            sync: values.duration("journal", "sync"),
            segment_bytes: values.size("journal", "segment"),
            checkpoint: values.duration("journal.checkpoint", "interval"),
            export,
        },
        retention: Retention {
            size_bytes: values.size("retention", "size"),
            age: values.time("retention", "age"),
        },
        privacy,
        key_rotation: values.time("privacy", "key_rotation"),
        volume,
        memory_bytes_max: values.size("memory", "ceiling"),
        // `off` is no address.
        listen: values.text("web", "listen").parse().ok(),
        ship,
        values: values.values,
        named,
    })
}

/// Where a key lies, by its path as in `privacy.patterns[2].regex`; as much of it as is there.
fn place(text: &str, path: &str) -> Range<usize> {
    let (document, _) = DeTable::parse_recoverable(text);
    let mut span = 0..0;
    let table = document.into_inner();
    let mut steps = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let mut at = steps.next().and_then(|name| table.get(name));
    while let Some(value) = at {
        span = value.span();
        at = steps.next().and_then(|step| match value.get_ref() {
            DeValue::Table(table) => table.get(step),
            DeValue::Array(list) => step.parse().ok().and_then(|index: usize| list.get(index)),
            _ => None,
        });
    }
    span
}

/// All values, with defaults where the file has none.
struct Checked {
    values: Vec<Value>,
    spans: Vec<Option<Range<usize>>>,
    /// The file has a value that cannot be used, and its default stands for it.
    wrong: Vec<bool>,
}

impl Checked {
    /// The value of a key that must be of `wanted` kind: the tests read every key, so a wrong one is found there.
    fn get<T>(&self, section: &str, name: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        match keys::index(section, name).and_then(|index| wanted(&self.values[index])) {
            Some(value) => value,
            None => unreachable!("{section}.{name} is not defined so"),
        }
    }

    fn size(&self, section: &str, name: &str) -> u64 {
        self.get(section, name, |value| if let Value::Size(bytes) = value { Some(*bytes) } else { None })
    }

    fn time(&self, section: &str, name: &str) -> Option<Duration> {
        self.get(section, name, |value| if let Value::Time(time) = value { Some(*time) } else { None })
    }

    fn duration(&self, section: &str, name: &str) -> Duration {
        self.get(section, name, |value| if let Value::Time(time) = value { *time } else { None })
    }

    fn text(&self, section: &str, name: &str) -> String {
        self.get(section, name, |value| if let Value::Text(text) = value { Some(text.clone()) } else { None })
    }

    fn list(&self, section: &str, name: &str) -> Vec<String> {
        self.get(section, name, |value| if let Value::List(list) = value { Some(list.clone()) } else { None })
    }

    /// Where the file gives the value; None for a default.
    fn span(&self, section: &str, name: &str) -> Option<&Range<usize>> {
        self.spans.get(keys::index(section, name)?)?.as_ref()
    }

    fn is_wrong(&self, section: &str, name: &str) -> bool {
        keys::index(section, name).and_then(|index| self.wrong.get(index)).is_some_and(|wrong| *wrong)
    }

    /// What must hold between keys.
    fn between(&self, found: &mut Found) -> Option<Export> {
        let (block, sync) = (self.duration("journal", "block"), self.duration("journal", "sync"));
        if block > sync && !self.is_wrong("journal", "block") && !self.is_wrong("journal", "sync") {
            let at = self.span("journal", "block").or(self.span("journal", "sync"));
            let what = "journal.block: longer than journal.sync, which cannot sync what is not written";
            found.add(at.unwrap_or(&(0..0)), what);
        }
        const CHECKPOINT: &str = "journal.checkpoint";
        let command = self.list(CHECKPOINT, "command");
        if let (Some(program), Some(span)) = (command.first(), self.span(CHECKPOINT, "command"))
            && !program.starts_with('/')
        {
            found
                .add(span, format!("{CHECKPOINT}.command: the first must be the absolute path of a program"));
        }
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let exports = [
            ("file", some(self.text(CHECKPOINT, "file")).map(|path| Export::File(PathBuf::from(path)))),
            ("command", Some(command).filter(|command| !command.is_empty()).map(Export::Command)),
            ("url", some(self.text(CHECKPOINT, "url")).map(Export::Url)),
        ];
        let mut given = exports.into_iter().filter_map(|(name, export)| Some((name, export?)));
        let (first, export) = given.next()?;
        for (second, _) in given {
            let what =
                format!("{CHECKPOINT}.{second}: {CHECKPOINT}.{first} is there too; one of them can be");
            found.add(self.span(CHECKPOINT, second).unwrap_or(&(0..0)), what);
        }
        Some(export)
    }
}

/// The settings of a section that `record` owns, without the keys that are not its own. The values have been checked, so
/// a problem here is one that only their owner knows of.
fn by_serde<T: DeserializeOwned + Default>(
    text: &str,
    section: &str,
    not_its_own: &[&str],
    found: &mut Found,
) -> Option<T> {
    let (document, _) = DeTable::parse_recoverable(text);
    let Some(value) = document.into_inner().remove(section) else { return Some(T::default()) };
    let span = value.span();
    let DeValue::Table(mut table) = value.into_inner() else { return Some(T::default()) };
    for name in not_its_own {
        table.remove(*name);
    }
    let deserializer = Deserializer::from(Spanned::new(span.clone(), table));
    let settings = T::deserialize(deserializer);
    settings
        .map_err(|error| {
            found.add(&error.span().unwrap_or(span), format!("{section}: {}", shown(error.message())));
        })
        .ok()
}
