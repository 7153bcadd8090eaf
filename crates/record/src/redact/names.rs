//! Rules by name: of lines, query keys and cookies.

use std::collections::HashMap;

/// Longest name that a user may give, bytes; longer ones are hardly names.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// Exact names and beginnings of names, each with what holds for it.
#[derive(Clone)]
pub(super) struct NameRules<T> {
    exact: HashMap<Vec<u8>, T>,
    /// Longest first, so that the first that fits says most about the name.
    prefixes: Vec<(Vec<u8>, T)>,
}

impl<T> Default for NameRules<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), prefixes: Vec::new() }
    }
}

impl<T: Copy> NameRules<T> {
    /// The last word on a name wins; a `*` at its end stands for any rest.
    pub(super) fn set(&mut self, name: &str, rule: T) {
        let name = plain_form(name.as_bytes());
        match name.strip_suffix(b"*") {
            Some(prefix) => {
                self.prefixes.retain(|(p, _)| p != prefix);
                self.prefixes.push((prefix.to_vec(), rule));
                self.prefixes.sort_by_key(|(p, _)| std::cmp::Reverse(p.len()));
            }
            None => {
                self.exact.insert(name, rule);
            }
        }
    }

    /// No name has a rule.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// What holds for a name in its plain form: what was said of itself, else of its longest beginning.
    pub(super) fn get(&self, plain: &[u8]) -> Option<T> {
        let prefix = || self.prefixes.iter().find(|(p, _)| plain.starts_with(p)).map(|(_, rule)| *rule);
        self.exact.get(plain).copied().or_else(prefix)
    }
}

/// Lower case, `_` as `-`, without whitespace and control bytes at its ends.
pub(super) fn plain_form(name: &[u8]) -> Vec<u8> {
    let odd = |b: &u8| b.is_ascii_whitespace() || b.is_ascii_control();
    let start = name.iter().position(|b| !odd(b)).unwrap_or(name.len());
    let end = name.iter().rposition(|b| !odd(b)).map_or(start, |i| i + 1);
    name[start..end].iter().map(|b| if *b == b'_' { b'-' } else { b.to_ascii_lowercase() }).collect()
}

/// As the plain form, with all separators as `-`, and one where a capital follows a small letter or digit.
pub(super) fn parts_form(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 8);
    let mut before = b'-';
    for &byte in name {
        if byte.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            out.push(b'-');
        }
        before = byte;
        out.push(if byte.is_ascii_alphanumeric() || byte >= 0x80 { byte.to_ascii_lowercase() } else { b'-' });
    }
    while out.last() == Some(&b'-') {
        out.pop();
    }
    out
}

/// Why a name that a user gave cannot be one; None where it can.
pub(super) fn wrong(name: &str) -> Option<&'static str> {
    let body = name.strip_suffix('*').unwrap_or(name);
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > NAME_BYTES_MAX {
        Some("is too long")
    } else if body.contains('*') {
        Some("has a `*` that is not its end")
    } else if body.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
        Some("has a blank or a control character in it")
    } else if body.bytes().any(|b| matches!(b, b'=' | b';' | b',' | b'&' | b'#' | b'"')) {
        Some("has a separator in it: only the name is wanted, not its value")
    } else if body.len() > 1 && body.ends_with(':') {
        Some("ends with a colon, which is not part of it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_most_about_a_name_wins() {
        let mut rules = NameRules::default();
        for (i, name) in ["X-Corp-*", "X-*", "x_corp_id", "X-Corp-Debug-*"].iter().enumerate() {
            rules.set(name, i);
        }
        for (name, rule) in [
            ("x-corp-a", Some(0)),
            ("x-a", Some(1)),
            ("X-CORP-ID", Some(2)),
            ("X_Corp_Debug_1", Some(3)),
            ("accept", None),
        ] {
            assert_eq!(rules.get(&plain_form(name.as_bytes())), rule, "{name}");
        }
        rules.set("x-*", 9);
        assert_eq!(rules.get(b"x-a"), Some(9));
    }

    #[test]
    fn names_that_cannot_be_are_told() {
        for name in ["", "a b", "a*b", "**", "a=b", "Accept:", "a;b", &"x".repeat(300)] {
            assert!(wrong(name).is_some(), "{name}");
        }
        for name in ["*", "x-*", ":path", "user[password]", "__Host-sid", "a.b", "é"] {
            assert!(wrong(name).is_none(), "{name}");
        }
    }
}
