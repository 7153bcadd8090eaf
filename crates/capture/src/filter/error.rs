//! What is wrong with a filter, and where.

use std::fmt::{self, Write as _};

/// Columns of the filter shown before and after the caret; longer filters are cut there.
const CONTEXT_COLUMNS_MAX: usize = 60;

/// A filter that cannot be used. Displayed as the message, then the filter with a caret under the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The filter as it was given.
    pub filter: String,
    /// Byte position in `filter` where the trouble begins; its length if something is missing at the end.
    pub at: usize,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
}

impl FilterError {
    pub(super) fn new(filter: &str, at: usize, message: impl Into<String>) -> Self {
        FilterError { filter: filter.to_owned(), at: at.min(filter.len()), message: message.into() }
    }
}

impl std::error::Error for FilterError {}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        let mut column = None;
        for (at, c) in self.filter.char_indices() {
            if at >= self.at && column.is_none() {
                column = Some(line.len());
            }
            push_escaped(&mut line, c);
        }
        let column = column.unwrap_or(line.len());
        // Everything in `line` is one printable ASCII byte a column, so cutting by bytes is safe.
        let start = column.saturating_sub(CONTEXT_COLUMNS_MAX);
        let end = line.len().min(column + CONTEXT_COLUMNS_MAX);
        let before = if start > 0 { "..." } else { "" };
        let after = if end < line.len() { "..." } else { "" };
        let shown = line.get(start..end).unwrap_or_default();
        writeln!(f, "{}", self.message)?;
        writeln!(f, "  {before}{shown}{after}")?;
        write!(f, "  {:1$}^", "", before.len() + column - start)
    }
}

/// Text for a terminal: one printable ASCII byte a column. What is not ASCII is escaped too, because
/// some of it has no width or turns the direction of writing, which would move the caret or hide a term.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out
}

fn push_escaped(out: &mut String, c: char) {
    if c == ' ' || c.is_ascii_graphic() {
        out.push(c);
    } else {
        // Writing to a String cannot fail.
        let _ = write!(out, "{}", c.escape_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caret_stands_under_the_byte_position() {
        let error = FilterError::new("port 80 and vlan 5", 12, "'vlan' cannot be seen");
        assert_eq!(error.to_string(), "'vlan' cannot be seen\n  port 80 and vlan 5\n              ^");
    }

    #[test]
    fn caret_at_the_end_stands_one_past_the_last_column() {
        assert_eq!(FilterError::new("port", 4, "m").to_string(), "m\n  port\n      ^");
        assert_eq!(FilterError::new("port", 999, "m").to_string(), "m\n  port\n      ^");
    }

    #[test]
    fn hostile_text_is_escaped_and_the_caret_moves_with_it() {
        let error = FilterError::new("a\x1b[2Jé\u{202e} x", 9, "m");
        assert_eq!(error.to_string(), "m\n  a\\u{1b}[2J\\u{e9}\\u{202e} x\n                          ^");
    }

    #[test]
    fn long_filters_are_cut_around_the_caret() {
        let filter = format!("{} vlan {}", "x".repeat(5000), "y".repeat(5000));
        let shown = FilterError::new(&filter, 5001, "m").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].len() < 140, "{}", lines[1].len());
        let caret = lines[2].len() - 1;
        assert_eq!(&lines[1][caret..caret + 4], "vlan");
    }
}
