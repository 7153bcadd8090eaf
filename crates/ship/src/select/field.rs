//! Names of fields: which there are, and what their values are.

use headtrail_record::ecs_fields::FIELDS;

use super::error::shown;

/// What the values of a field are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Text, compared by its code points, case counts.
    Text,
    /// A whole number.
    Whole,
    /// A number.
    Real,
    /// Yes or no.
    Flag,
    /// An address.
    Address,
    /// A point in time.
    Time,
}

/// A field by its name with dots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Path {
    pub(super) name: String,
    pub(super) kind: Kind,
}

impl Path {
    /// The field of this name.
    ///
    /// # Errors
    ///
    /// There is none; the message names the nearest.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let of = |kind| Ok(Self { name: name.to_owned(), kind });
        if let Some(field) = FIELDS.iter().find(|field| field.name == name) {
            return match field.kind {
                "long" => of(Kind::Whole),
                "double" => of(Kind::Real),
                "boolean" => of(Kind::Flag),
                "ip" => of(Kind::Address),
                "date" => of(Kind::Time),
                _ => of(Kind::Text),
            };
        }
        let member = |root: &str| name.strip_prefix(root)?.strip_prefix('.').filter(|rest| !rest.is_empty());
        let root = FIELDS.iter().filter(|field| field.kind == "flattened").find(|f| member(f.name).is_some());
        match root {
            // Their names are folded, so another case would never be found.
            Some(root) if root.name.starts_with("http.") && name.bytes().any(|b| b.is_ascii_uppercase()) => {
                Err(format!(
                    "names of header fields are in lower case here: {}",
                    shown(&name.to_ascii_lowercase())
                ))
            }
            Some(_) => of(Kind::Text),
            None => Err(unknown(name)),
        }
    }
}

fn unknown(name: &str) -> String {
    if name == "_exists_" {
        return "_exists_ is written FIELD:* here".to_owned();
    }
    if name.contains(['*', '?']) {
        return format!("no wildcards can be in the name of a field, as in {}", shown(name));
    }
    match nearest(name) {
        Some(known) => format!("there is no field {}; did you mean '{known}'?", shown(name)),
        None => format!("there is no field {}", shown(name)),
    }
}

/// The known name that was probably meant: the end of it was written, or something that is spelt alike.
fn nearest(name: &str) -> Option<&'static str> {
    // The distance costs the product of both lengths.
    const BYTES_MAX: usize = 64;
    if name.is_empty() || name.len() > BYTES_MAX {
        return None;
    }
    let names = || FIELDS.iter().map(|field| field.name);
    let end = names().find(|known| known.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')));
    end.or_else(|| {
        let folded = name.to_ascii_lowercase().replace('-', "_");
        let distances = names().map(|known| (strsim::osa_distance(&folded, known), known));
        let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
        (distance <= known.len().max(3) / 3).then_some(known)
    })
}
