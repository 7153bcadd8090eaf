//! From the text of a file to checked values.
//!
//! The parser of TOML goes on behind what it does not understand, and so does this: all problems of a file are told at
//! once. Where TOML itself is wrong, nothing else is told of the same lines.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, NAMED, NOT_YET, Named, SECTIONS};
use super::kind::{self, ENTRIES_MAX, Kind, Needs, TEXT_BYTES_MAX, Text, Value, quoted_cut};
use super::problems::{Found, nearest, shown};

/// The values of a file by [`keys::index`], and where they stand; None for what it does not have.
pub(super) struct Values {
    pub(super) values: Vec<Option<Value>>,
    pub(super) spans: Vec<Option<Range<usize>>>,
    /// Sections with names of their own, in the order of these.
    pub(super) named: Vec<Instance>,
}

/// A section with a name of its own; its values are by the place of their keys.
pub(super) struct Instance {
    pub(super) of: &'static Named,
    pub(super) name: String,
    /// Where its name stands.
    pub(super) place: Range<usize>,
    pub(super) values: Vec<Option<Value>>,
    pub(super) spans: Vec<Option<Range<usize>>>,
}

/// Reads all that can be read; what cannot is in `found`.
pub(super) fn read(text: &str, found: &mut Found) -> Values {
    let count = keys::all().count();
    let mut values = Values { values: vec![None; count], spans: vec![None; count], named: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    section("", document.get_ref(), &mut values, found);

    let broken: Vec<Range<usize>> =
        errors.iter().filter_map(|e| e.span()).map(|span| lines(text, &span)).collect();
    // Each error costs a look at each problem, and the limit of a file allows for many of both.
    if broken.len() <= ENTRIES_MAX {
        found.forget_within(&broken);
    } else {
        *found = Found::default();
    }
    for error in errors {
        found.add(&error.span().unwrap_or(0..0), shown(error.message()));
    }
    values
}

/// The whole lines of a span.
fn lines(text: &str, span: &Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let start =
        bytes.get(..span.start).unwrap_or(bytes).iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let end = bytes.get(span.end..).unwrap_or_default().iter().position(|b| *b == b'\n');
    start..end.map_or(bytes.len() + 1, |end| span.end + end + 1)
}

/// Reads a table that is a section or holds sections. Sections are at most two deep, and so is this.
fn section(name: &str, table: &DeTable<'_>, values: &mut Values, found: &mut Found) {
    for (key, value) in table {
        let (key, span) = (key.get_ref().as_ref(), key.span());
        let path = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        if let Some(index) = keys::index(name, key) {
            if let Some((_, known)) = keys::all().nth(index) {
                values.spans[index] = Some(value.span());
                values.values[index] = read_value(known, &path, value, found);
            }
        } else if let Some(of) = NAMED.iter().find(|named| named.section.name == path) {
            match value.get_ref() {
                DeValue::Table(table) => named(of, table, values, found),
                other => {
                    let what = format!(
                        "{path} has sections with names, [{}]; found {}",
                        of.heading(),
                        describe(other)
                    );
                    found.add(&value.span(), what);
                }
            }
        } else if is_section(&path) {
            match value.get_ref() {
                DeValue::Table(table) => section(&path, table, values, found),
                other => found
                    .add(&value.span(), format!("{path} is a section, [{path}]; found {}", describe(other))),
            }
        } else if name.is_empty() && NOT_YET.contains(&key) {
            found.add(&span, format!("section [{key}] is not in this version"));
        } else {
            found.add(&span, unknown(key, siblings(name), elsewhere(key)));
        }
    }
}

/// Reads `[section.NAME]` for each name.
fn named(of: &'static Named, table: &DeTable<'_>, values: &mut Values, found: &mut Found) {
    let mut places: Vec<_> = table.keys().map(Spanned::span).collect();
    places.sort_by_key(|place| place.start);
    if let Some(place) = places.get(of.count_max) {
        found.add(
            place,
            format!("{}: {} of them; at most {} can be", of.heading(), places.len(), of.count_max),
        );
    }
    for (name, value) in table.iter().take(of.count_max) {
        let (name, place) = (name.get_ref().as_ref(), name.span());
        let path = format!("{}.{name}", of.section.name);
        let is_key = of.section.keys.iter().any(|key| key.name == name);
        match value.get_ref() {
            DeValue::Table(_) if !is_name(name) => {
                let what = format!("{}: a name has 1 to 64 of a-z, 0-9 and -", shown(&path));
                found.add(&place, what);
            }
            DeValue::Table(table) => {
                let row = row(of.section.keys, &path, table, found);
                let (name, (values_of, spans)) = (name.to_owned(), row);
                values.named.push(Instance { of, name, place, values: values_of, spans });
            }
            _ if is_key => {
                found.add(&place, format!("{path}: a name is missing before it, [{}]", of.heading()))
            }
            other => {
                let what = format!("{0} is a section, [{0}]; found {1}", shown(&path), describe(other));
                found.add(&value.span(), what);
            }
        }
    }
}

/// Whether a section can have this name, which becomes that of a file.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

impl Named {
    /// The heading of one of them.
    pub(super) fn heading(&self) -> String {
        format!("{}.NAME", self.section.name)
    }
}

/// Values with where they stand, both by the place of their keys.
type Row = (Vec<Option<Value>>, Vec<Option<Range<usize>>>);

/// Reads the keys of a table.
fn row(keys: &'static [Key], path: &str, table: &DeTable<'_>, found: &mut Found) -> Row {
    let (mut values, mut spans) = (vec![None; keys.len()], vec![None; keys.len()]);
    for (name, value) in table {
        match keys.iter().position(|key| key.name == name.get_ref().as_ref()) {
            Some(i) => {
                spans[i] = Some(value.span());
                values[i] = read_value(&keys[i], &format!("{path}.{}", keys[i].name), value, found);
            }
            None => found.add(&name.span(), unknown(name.get_ref(), keys.iter().map(|key| key.name), None)),
        }
    }
    (values, spans)
}

fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|s| s.name == path || s.name.strip_prefix(path).is_some_and(|r| r.starts_with('.')))
}

/// The names that can stand in a section.
fn siblings(section: &str) -> impl Iterator<Item = &'static str> {
    let keys = keys::all().filter(move |(s, _)| s.name == section).map(|(_, key)| key.name);
    let sections = SECTIONS.iter().filter_map(move |s| {
        let rest =
            if section.is_empty() { Some(s.name) } else { s.name.strip_prefix(section)?.strip_prefix('.') };
        rest?.split('.').next()
    });
    keys.chain(sections)
        .chain(NAMED.iter().filter(move |_| section.is_empty()).map(|named| named.section.name))
}

/// The one section that has such a key.
fn elsewhere(key: &str) -> Option<String> {
    let fixed = keys::all().filter(|(_, k)| k.name == key).map(|(section, _)| section.name.to_owned());
    let named =
        NAMED.iter().filter(|named| named.section.keys.iter().any(|k| k.name == key)).map(Named::heading);
    let mut sections = fixed.chain(named);
    sections.next().filter(|_| sections.next().is_none())
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str>, elsewhere: Option<String>) -> String {
    match (elsewhere, nearest(key, known)) {
        (Some(section), _) => format!("unknown key '{}' here; it belongs into [{section}]", shown(key)),
        (None, Some(known)) => format!("unknown key '{}'; did you mean '{known}'?", shown(key)),
        (None, None) => format!("unknown key '{}'", shown(key)),
    }
}

/// Reads the default of a key; they are written as in a file.
pub(super) fn default(key: &'static Key) -> Option<Value> {
    let value = DeValue::parse(key.default).ok()?;
    let mut found = Found::default();
    read_value(key, key.name, &value, &mut found).filter(|_| found.is_empty())
}

/// Reads and checks the value of a key, which has this path.
fn read_value(
    key: &'static Key,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    found: &mut Found,
) -> Option<Value> {
    let span = value.span();
    if let Kind::Tables { keys, needs, check, count_max } = key.kind {
        return tables(path, value, Shape { keys, needs, check, count_max }, found);
    }
    if let (Kind::List(text) | Kind::OneOrMore(text), DeValue::Array(entries)) = (key.kind, value.get_ref()) {
        return list(path, &span, entries.iter(), text, found);
    }
    let read = match (key.kind, value.get_ref()) {
        (Kind::Size { min, max }, DeValue::String(text)) => {
            kind::size(text).and_then(|b| bounded_size(b, min, max))
        }
        (Kind::Size { min, max }, DeValue::Integer(number)) => {
            let bytes = u64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| format!("{number} is no size"));
            bytes.and_then(|bytes| bounded_size(bytes, min, max))
        }
        (Kind::Time { never: true, .. }, DeValue::String(text)) if text == "never" => Ok(Value::Time(None)),
        (Kind::Time { min_ms, max_ms, .. }, DeValue::String(text)) => kind::time(text).and_then(|time| {
            let within = (u128::from(min_ms)..=u128::from(max_ms)).contains(&time.as_millis());
            if within {
                Ok(Value::Time(Some(time)))
            } else {
                Err(format!("{} is not within the limits", quoted_cut(text)))
            }
        }),
        (Kind::Rate, DeValue::Float(number)) => rate(number.as_str()),
        (Kind::Rate, DeValue::Integer(number)) if number.radix() == 10 => rate(number.as_str()),
        (Kind::Count { min, max }, DeValue::Integer(number)) => {
            let count = u64::from_str_radix(number.as_str(), number.radix()).ok();
            let count = count.filter(|count| (min..=max).contains(count)).map(Value::Count);
            count.ok_or_else(|| format!("{} is not within the limits", shown(&number.to_string())))
        }
        (Kind::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
        (Kind::Choice(words), DeValue::String(text)) => choice(text, words),
        (Kind::Text(form), DeValue::String(text)) => checked(text, form).map(Value::Text),
        (Kind::OneOrMore(form), DeValue::String(text)) => {
            checked(text, form).map(|text| Value::List(vec![text]))
        }
        (Kind::OneOrMore(form), DeValue::Integer(number)) if number.radix() == 10 => {
            checked(number.as_str(), form).map(|text| Value::List(vec![text]))
        }
        (_, other) => Err(format!("found {}", describe(other))),
    };
    // Where a text has a form of its own, its checker says it all; it may end with a caret that nothing may follow.
    read.map_err(|what| found.add(&span, explained(path, &key.kind, &what))).ok()
}

fn explained(path: &str, kind: &Kind, what: &str) -> String {
    if what.contains('\n') {
        format!("{path}: {what}")
    } else {
        format!("{path}: {what}; allowed: {}", kind.allowed())
    }
}

fn bounded_size(bytes: u64, min: u64, max: u64) -> Result<Value, String> {
    if (min..=max).contains(&bytes) {
        Ok(Value::Size(bytes))
    } else {
        Err(format!("{} is not within the limits", kind::show_size(bytes)))
    }
}

fn rate(text: &str) -> Result<Value, String> {
    let number: f64 = text.parse().map_err(|_| format!("{} is no number", quoted_cut(text)))?;
    let rate = headtrail_record::volume::Rate::new(number).ok_or_else(|| format!("{number} is no rate"))?;
    Ok(Value::Rate(rate.get()))
}

fn choice(text: &str, words: &'static [&'static str]) -> Result<Value, String> {
    kind::one_of(text, words).map(|()| Value::Text(text.to_owned()))
}

fn checked(text: &str, form: Text) -> Result<String, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("a text of {} bytes; at most {TEXT_BYTES_MAX} can be", text.len()));
    }
    (form.check)(text).map(|()| text.to_owned())
}

/// Reads a list; what is wrong is told for each entry.
fn list<'v, 'i: 'v>(
    path: &str,
    span: &Range<usize>,
    entries: impl ExactSizeIterator<Item = &'v Spanned<DeValue<'i>>>,
    form: Text,
    found: &mut Found,
) -> Option<Value> {
    if entries.len() > ENTRIES_MAX {
        found.add(span, format!("{path}: {} entries; at most {ENTRIES_MAX} can be", entries.len()));
        return None;
    }
    let mut right = true;
    let mut texts = Vec::with_capacity(entries.len());
    for entry in entries {
        let read = match entry.get_ref() {
            DeValue::String(text) => checked(text, form),
            DeValue::Integer(number) if number.radix() == 10 => checked(number.as_str(), form),
            other => Err(format!("found {}", describe(other))),
        };
        match read {
            Ok(text) => texts.push(text),
            Err(what) => {
                found.add(&entry.span(), explained(path, &Kind::Text(form), &what));
                right = false;
            }
        }
    }
    right.then_some(Value::List(texts))
}

/// What [`Kind::Tables`] says.
struct Shape {
    keys: &'static [Key],
    needs: Needs,
    check: fn(&[Option<Value>]) -> Result<(), String>,
    count_max: usize,
}

/// Reads `[[path]]`.
fn tables(
    path: &str,
    value: &Spanned<DeValue<'_>>,
    Shape { keys, needs, check, count_max }: Shape,
    found: &mut Found,
) -> Option<Value> {
    let DeValue::Array(entries) = value.get_ref() else {
        let what = describe(value.get_ref());
        found.add(&value.span(), format!("{path}: found {what}; allowed: tables, [[{path}]]"));
        return None;
    };
    if entries.len() > count_max {
        found.add(&value.span(), format!("{path}: {} tables; at most {count_max} can be", entries.len()));
        return None;
    }
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries.iter() {
        let DeValue::Table(table) = entry.get_ref() else {
            let what = describe(entry.get_ref());
            found.add(&entry.span(), format!("{path}: found {what}; allowed: a table, [[{path}]]"));
            continue;
        };
        let (row, _) = row(keys, path, table, found);
        let given = |key: &&Key| table.keys().any(|name| name.get_ref().as_ref() == key.name);
        let missing: Vec<&str> = keys.iter().filter(|key| !given(key)).map(|key| key.name).collect();
        if needs == Needs::All && !missing.is_empty() {
            found.add(&entry.span(), format!("{path}: {} must be there too", missing.join(", ")));
        }
        let condition = |key: &&Key| key.name != "sample";
        // A table with nothing but unknown keys has been told of already.
        let says_nothing = table.keys().all(|name| name.get_ref().as_ref() == "sample");
        if needs == Needs::Condition && says_nothing {
            let names: Vec<&str> = keys.iter().filter(condition).map(|key| key.name).collect();
            let what = format!(
                "{path}: a rule without a condition matches everything; it needs one of {}",
                names.join(", ")
            );
            found.add(&entry.span(), what);
        }
        if let Err(what) = check(&row) {
            found.add(&entry.span(), format!("{path}: {what}"));
        }
        all.push(row);
    }
    Some(Value::Tables(all))
}

/// What stands there, in a few words.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {}", quoted_cut(text)),
        DeValue::Integer(number) => format!("the number {}", shown(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", shown(number.as_str())),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(list) => format!("a list of {}", list.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
