//! QUERY on simple terms: which documents go to a destination. docs/query.md is its page.
//!
//! text --[`parse`]--> expression over [`field`]s with a [`test`] each --[`find`]--> yes or no for a document
//!
//! The syntax is a part of Lucene's, as it is typed in Kibana, over the fields of [`headtrail_record::ecs_fields`]. What is taken means what it
//! means there; what is left out of it (bare terms, regular expressions, fuzziness, boosts, `+` and `-`) is refused by name, never read as
//! something else. Where Lucene's own reading surprises (`a NOT b` is `a AND NOT b`, although the operator left out is OR), the text is refused, and the
//! message says what to write.
//!
//! Bounded: the text, its terms and its nesting are. A test costs a document the length of its values, but a wildcard with `?` in it
//! the product of both lengths at worst.
mod date;
mod error;
mod field;
mod find;
mod parse;
mod pattern;
mod test;

use serde_json::Value;

pub use error::QueryError;
use field::Path;
use test::Test;

/// Longest text, bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Most terms.
pub const TERMS_MAX: usize = 256;
/// Deepest nesting of parentheses and NOT.
pub const DEPTH_MAX: usize = 32;

/// A checked query.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expression: Expression,
}

impl Query {
    /// Reads and checks a query.
    ///
    /// # Errors
    ///
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        Ok(Self { text: text.to_owned(), expression: parse::parse(text)? })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a document, as `headtrail_record::ecs` writes it, is one of those meant. What is no JSON object is not.
    #[must_use]
    pub fn matches(&self, document: &[u8]) -> bool {
        match serde_json::from_slice(document) {
            Ok(document @ Value::Object(_)) => self.expression.holds(&document),
            _ => false,
        }
    }
}

/// What a query says; as deep as [`DEPTH_MAX`] allows.
#[derive(Clone, Debug)]
enum Expression {
    /// Some value of the field passes the test.
    Term(Path, Test),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl Expression {
    fn holds(&self, document: &Value) -> bool {
        match self {
            Self::Term(path, test) => find::any(document, path, &|value| test.passes(value)),
            Self::Not(inner) => !inner.holds(document),
            Self::All(all) => all.iter().all(|inner| inner.holds(document)),
            Self::Any(any) => any.iter().any(|inner| inner.holds(document)),
        }
    }
}

#[cfg(test)]
mod tests;
