//! What is wrong with a query, and where.

use std::fmt;

/// Columns of the query shown before and after the caret; longer queries are cut there.
const CONTEXT_COLUMNS_MAX: usize = 60;
/// Characters of a word from the query in a message.
const WORD_CHARACTERS_MAX: usize = 60;

/// A query that cannot be used. Displayed as the message, then the query with a caret under the place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryError {
    /// The query as it was given.
    pub query: String,
    /// Byte position in `query` where the trouble begins; its length if something is missing at the end.
    pub at: usize,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
}

impl std::error::Error for QueryError {}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.query.floor_char_boundary(self.at);
        let (before, after) = (escaped(&self.query[..at]), escaped(&self.query[at..]));
        // Both are ASCII, a byte a column, so cutting by bytes is safe.
        let start = before.len().saturating_sub(CONTEXT_COLUMNS_MAX);
        let end = after.len().min(CONTEXT_COLUMNS_MAX);
        let dots = |cut: bool| if cut { "..." } else { "" };
        let (before, left) = (&before[start..], dots(start > 0));
        writeln!(f, "{}", self.message)?;
        writeln!(f, "  {left}{before}{}{}", &after[..end], dots(end < after.len()))?;
        write!(f, "  {:1$}^", "", left.len() + before.len())
    }
}

/// Text for a terminal: one printable ASCII byte a column. What is not ASCII is escaped too, because some of it has no width or
/// turns the direction of writing, which would move the caret or hide a term.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// A word of the query for a message.
pub(super) fn shown(word: &str) -> String {
    match word.char_indices().nth(WORD_CHARACTERS_MAX) {
        Some((end, _)) => format!("'{}...'", escaped(&word[..end])),
        None => format!("'{}'", escaped(word)),
    }
}
