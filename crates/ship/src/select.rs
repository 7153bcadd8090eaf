//! QUERY on simple terms: which documents go to a destination.

/// A checked query.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
}

impl Query {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a document is meant.
    #[must_use]
    pub fn matches(&self, _document: &[u8]) -> bool {
        true
    }
}
