//! Texts with wildcards.

/// A text in which `*` stands for any characters and `?` for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern {
    /// What stands before the first `*`; all of it where there is none.
    first: Piece,
    /// What stands behind each `*`.
    further: Vec<Piece>,
}

/// What stands between two `*`.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    /// Without `?`.
    Literal(String),
    /// With `?`, which is None.
    Open(Vec<Option<char>>),
}

/// A character of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Symbol {
    Character(char),
    One,
    Many,
}

impl Pattern {
    pub(super) fn new(symbols: &[Symbol]) -> Self {
        let mut pieces = symbols.split(|symbol| *symbol == Symbol::Many).map(Piece::new);
        Self { first: pieces.next().unwrap_or_else(|| Piece::new(&[])), further: pieces.collect() }
    }

    /// Just this text.
    pub(super) fn literal(text: &str) -> Self {
        Self { first: Piece::Literal(text.to_owned()), further: Vec::new() }
    }

    /// The first place of each piece is as good as any later one, so nothing is tried twice.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(rest) = self.first.strip(text) else { return false };
        let Some((last, between)) = self.further.split_last() else { return rest.is_empty() };
        let rest = between.iter().try_fold(rest, |rest, piece| piece.find(rest));
        rest.is_some_and(|rest| last.ends(rest))
    }
}

impl Piece {
    fn new(symbols: &[Symbol]) -> Self {
        let characters =
            symbols.iter().map(|symbol| if let Symbol::Character(c) = symbol { Some(*c) } else { None });
        match characters.clone().collect::<Option<String>>() {
            Some(text) => Self::Literal(text),
            None => Self::Open(characters.collect()),
        }
    }

    /// The text behind this, if it begins so.
    fn strip<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Literal(literal) => text.strip_prefix(literal.as_str()),
            Self::Open(characters) => {
                let mut rest = text.chars();
                let fits = |wanted: &Option<char>| {
                    rest.next().is_some_and(|c| wanted.is_none_or(|wanted| wanted == c))
                };
                characters.iter().all(fits).then_some(rest.as_str())
            }
        }
    }

    /// The text behind the first place where this is.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Literal(literal) => {
                text.find(literal.as_str()).and_then(|at| text.get(at + literal.len()..))
            }
            Self::Open(_) => text.char_indices().find_map(|(at, _)| self.strip(&text[at..])),
        }
    }

    fn ends(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => text.ends_with(literal.as_str()),
            Self::Open(characters) => {
                let behind = characters.len().checked_sub(1);
                let start = behind.and_then(|behind| text.char_indices().nth_back(behind));
                start.is_some_and(|(at, _)| self.strip(&text[at..]).is_some())
            }
        }
    }
}
