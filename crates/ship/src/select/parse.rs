//! From text to an expression.
//!
//! ```text
//! any   = all { ["OR" | "||"] all }
//! all   = not { ("AND" | "&&") not }
//! not   = ("NOT" | "!") not | "(" any ")" | NAME ":" value
//! value = "(" any-of-values ")" | ("[" | "{") end "TO" end ("]" | "}") | (">" | ">=" | "<" | "<=") word | word
//! ```

use super::error::QueryError;
use super::field::{Kind, Path};
use super::pattern::{Pattern, Symbol};
use super::test::{Compare, End, Test};
use super::{DEPTH_MAX, Expression, TERMS_MAX, TEXT_BYTES_MAX};

type Result<T> = std::result::Result<T, QueryError>;

/// Reads a whole query.
pub(super) fn parse(text: &str) -> Result<Expression> {
    let mut parser = Parser { text, at: 0, terms: 0 };
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("a query of {} bytes; at most {TEXT_BYTES_MAX} can be", text.len());
        return Err(parser.wrong_at(TEXT_BYTES_MAX, what));
    }
    let expression = parser.any(None, 0)?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.wrong("there is no ( for this )")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    And,
    Or,
    Not,
}

const OPERATORS: [(&str, Operator); 5] = [
    ("AND", Operator::And),
    ("&&", Operator::And),
    ("OR", Operator::Or),
    ("||", Operator::Or),
    ("NOT", Operator::Not),
];

struct Parser<'q> {
    text: &'q str,
    at: usize,
    terms: usize,
}

impl Parser<'_> {
    /// Alternatives, up to the end or a `)`. Within `FIELD:(…)` there are only values, of this field.
    fn any(&mut self, field: Option<&Path>, depth: usize) -> Result<Expression> {
        let (mut joined, mut left_out) = (false, None);
        let mut all = vec![self.all(field, depth, &mut joined)?];
        loop {
            match (self.peek(), self.operator()) {
                (None | Some(')'), _) => break,
                (_, Some((Operator::Or, length))) => self.at += length,
                (_, Some((Operator::Not, _))) | (Some('!'), _) => {
                    return Err(self.wrong("an operator is missing before this: write AND NOT, or OR NOT"));
                }
                _ => left_out = left_out.or(Some(self.at)),
            }
            all.push(self.all(field, depth, &mut joined)?);
        }
        match left_out {
            Some(at) if joined => {
                Err(self.wrong_at(at, "an operator is missing before this: beside AND, write AND or OR"))
            }
            _ => Ok(one_or(all, Expression::Any)),
        }
    }

    /// What must hold together; `joined` then tells that there was an AND.
    fn all(&mut self, field: Option<&Path>, depth: usize, joined: &mut bool) -> Result<Expression> {
        let mut all = vec![self.not(field, depth)?];
        self.skip_blanks();
        while let Some((Operator::And, length)) = self.operator() {
            self.at += length;
            *joined = true;
            all.push(self.not(field, depth)?);
            self.skip_blanks();
        }
        Ok(one_or(all, Expression::All))
    }

    fn not(&mut self, field: Option<&Path>, depth: usize) -> Result<Expression> {
        let next = self.peek();
        if depth > DEPTH_MAX {
            return Err(self.wrong(format!("deeper than {DEPTH_MAX} levels of parentheses and NOT")));
        }
        let negation = match (next, self.operator()) {
            (Some('!'), _) => Some(1),
            (_, Some((Operator::Not, length))) => Some(length),
            (_, Some(_)) => return Err(self.wrong("a term is missing before this operator")),
            _ => None,
        };
        if let Some(length) = negation {
            self.at += length;
            return Ok(Expression::Not(Box::new(self.not(field, depth + 1)?)));
        }
        match (next, field) {
            (None | Some(')'), _) => Err(self.wrong("a term is missing here")),
            (Some('('), _) => self.group(field, depth),
            (_, Some(field)) => self.value(field),
            (_, None) => self.term(depth),
        }
    }

    fn group(&mut self, field: Option<&Path>, depth: usize) -> Result<Expression> {
        let open = self.at;
        self.at += 1;
        let inner = self.any(field, depth + 1)?;
        match self.peek() {
            Some(')') => self.at += 1,
            _ => return Err(self.wrong_at(open, "there is no ) for this (")),
        }
        Ok(inner)
    }

    /// `NAME:value`
    fn term(&mut self, depth: usize) -> Result<Expression> {
        let start = self.at;
        match self.peek() {
            Some(sign @ ('+' | '-')) => {
                let what = format!("the sign {sign} is not in this version; write AND, or AND NOT");
                return Err(self.wrong(what));
            }
            Some(':') => return Err(self.wrong("the name of a field is missing before this")),
            Some('"' | '[' | '{' | '<' | '>') => return Err(self.wrong(NO_FIELD)),
            _ => {}
        }
        let name: String = self.word()?.iter().map(Symbol::written).collect();
        if self.peek() != Some(':') {
            return Err(self.wrong_at(start, NO_FIELD));
        }
        let field = Path::named(&name).map_err(|what| self.wrong_at(start, what))?;
        self.at += 1;
        match self.peek() {
            Some('(') => self.group(Some(&field), depth),
            _ => self.value(&field),
        }
    }

    /// One value of a field.
    fn value(&mut self, field: &Path) -> Result<Expression> {
        let next = self.peek();
        let start = self.at;
        let test = match next {
            Some('[' | '{') => self.range(field.kind),
            Some('<' | '>') => self.comparison(field.kind),
            Some('"') => {
                let text = self.quoted()?;
                Test::equal(field.kind, &text).map_err(|what| self.wrong_at(start, what))
            }
            _ => self.plain(field.kind),
        }?;
        match self.text[self.at..].chars().next() {
            Some(':') => return Err(self.wrong("a : in a value is written \\:, or the value in quotes")),
            Some('^') => return Err(self.wrong(special('^'))),
            Some('~') => return Err(self.wrong(special('~'))),
            _ => {}
        }
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(self.wrong_at(start, format!("more than {TERMS_MAX} terms")));
        }
        Ok(Expression::Term(field.clone(), test))
    }

    /// A value without quotes.
    fn plain(&mut self, kind: Kind) -> Result<Test> {
        let start = self.at;
        if let Some((_, length)) = self.operator() {
            let what = format!(
                "{} is an operator; as a value it stands in quotes",
                &self.text[start..start + length]
            );
            return Err(self.wrong(what));
        }
        let symbols = self.word()?;
        let raw = &self.text[start..self.at];
        if symbols.is_empty() {
            return Err(self.wrong("a value is missing here"));
        }
        if raw.len() > 1 && raw.starts_with('/') && raw.ends_with('/') {
            let what = "regular expressions are not in this version; a text between two / stands in quotes";
            return Err(self.wrong_at(start, what));
        }
        if symbols == [Symbol::Many] {
            return Ok(Test::There);
        }
        let test = match (kind, without_wildcards(&symbols)) {
            (Kind::Text, _) => Ok(Test::Text(Pattern::new(&symbols))),
            (_, Some(text)) => Test::equal(kind, &text),
            (_, None) => Err("wildcards are for texts; a range is written [500 TO 599]".to_owned()),
        };
        test.map_err(|what| self.wrong_at(start, what))
    }

    /// `[a TO b]`, with `{` and `}` where an end itself is not meant.
    fn range(&mut self, kind: Kind) -> Result<Test> {
        let start = self.at;
        let low = if self.text[start..].starts_with('[') { Compare::From } else { Compare::Above };
        self.at += 1;
        let from = self.end()?;
        self.peek();
        let to = self.text[self.at..].strip_prefix("TO").filter(|rest| rest.starts_with(char::is_whitespace));
        if to.is_none() {
            return Err(self.wrong("TO is missing here, as in [500 TO 599]"));
        }
        self.at += 2;
        let to = self.end()?;
        let high = match self.peek() {
            Some(']') => Compare::To,
            Some('}') => Compare::Below,
            _ => return Err(self.wrong("a ] or } is missing here, as in [500 TO 599]")),
        };
        self.at += 1;
        fn end(compare: Compare, word: &Option<String>) -> End<'_> {
            word.as_deref().map(|word| (compare, word))
        }
        Test::between(kind, end(low, &from), end(high, &to)).map_err(|what| self.wrong_at(start, what))
    }

    /// An end of a range; None is `*`.
    fn end(&mut self) -> Result<Option<String>> {
        if self.peek() == Some('"') {
            return self.quoted().map(Some);
        }
        let start = self.at;
        let mut text = String::new();
        while let Some(c) = self.text[self.at..].chars().next() {
            if c.is_whitespace() || matches!(c, ']' | '}') {
                break;
            }
            self.at += c.len_utf8();
            text.push(if c == '\\' { self.escaped()? } else { c });
        }
        match &self.text[start..self.at] {
            "" => Err(self.wrong("an end of the range is missing here, as in [500 TO 599]")),
            "*" => Ok(None),
            _ => Ok(Some(text)),
        }
    }

    /// `>=500` and the like.
    fn comparison(&mut self, kind: Kind) -> Result<Test> {
        let start = self.at;
        const SIGNS: [(&str, Compare); 4] =
            [(">=", Compare::From), ("<=", Compare::To), (">", Compare::Above), ("<", Compare::Below)];
        let rest = &self.text[start..];
        let Some((sign, compare)) = SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign)) else {
            return Err(self.wrong("one of >, >=, <, <= is missing here"));
        };
        self.at += sign.len();
        let text =
            if self.peek() == Some('"') { Some(self.quoted()?) } else { without_wildcards(&self.word()?) };
        let end = match text.as_deref() {
            None => return Err(self.wrong_at(start, format!("no wildcards can be behind {sign}"))),
            Some("") => return Err(self.wrong(format!("a value is missing behind {sign}"))),
            Some(text) => Some((compare, text)),
        };
        let (low, high) =
            if matches!(compare, Compare::Above | Compare::From) { (end, None) } else { (None, end) };
        Test::between(kind, low, high).map_err(|what| self.wrong_at(start, what))
    }

    /// `"a text"`
    fn quoted(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.text[self.at..].chars().next() {
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                c => text.push(c),
            }
        }
        Err(self.wrong_at(start, "there is no \" that ends this"))
    }

    /// What stands up to a blank or a sign that ends a word; it can be empty.
    fn word(&mut self) -> Result<Vec<Symbol>> {
        let mut symbols = Vec::new();
        while let Some(c) = self.text[self.at..].chars().next() {
            if c.is_whitespace() || matches!(c, '(' | ')' | ':' | '"') {
                break;
            }
            if matches!(c, '[' | ']' | '{' | '}' | '^' | '~' | '!') {
                return Err(self.wrong(special(c)));
            }
            self.at += c.len_utf8();
            symbols.push(match c {
                '*' => Symbol::Many,
                '?' => Symbol::One,
                '\\' => Symbol::Character(self.escaped()?),
                c => Symbol::Character(c),
            });
        }
        Ok(symbols)
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Result<char> {
        let c = self.text[self.at..].chars().next();
        let c =
            c.ok_or_else(|| self.wrong_at(self.at.saturating_sub(1), "a character is missing behind \\"))?;
        self.at += c.len_utf8();
        Ok(c)
    }

    /// Whether an operator stands here, and its length.
    fn operator(&self) -> Option<(Operator, usize)> {
        let rest = &self.text[self.at..];
        let length = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ':' | '"'))
            .unwrap_or(rest.len());
        let known = OPERATORS.iter().find(|(name, _)| *name == &rest[..length]);
        known.map(|(_, operator)| (*operator, length))
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// The next character that is no blank, which then comes next.
    fn peek(&mut self) -> Option<char> {
        self.skip_blanks();
        self.text[self.at..].chars().next()
    }

    fn wrong(&self, message: impl Into<String>) -> QueryError {
        self.wrong_at(self.at, message)
    }

    fn wrong_at(&self, at: usize, message: impl Into<String>) -> QueryError {
        QueryError { query: self.text.to_owned(), at, message: message.into() }
    }
}

const NO_FIELD: &str = "each term names its field, as in http.request.method:GET";

/// Why a sign of Lucene cannot stand where it does.
fn special(c: char) -> String {
    let what = match c {
        '^' => "boosts are not in this version; ",
        '~' => "fuzziness is not in this version; ",
        _ => "",
    };
    format!("{what}a {c} that is meant is written \\{c}")
}

impl Symbol {
    fn written(&self) -> char {
        match self {
            Self::Character(c) => *c,
            Self::One => '?',
            Self::Many => '*',
        }
    }
}

fn without_wildcards(symbols: &[Symbol]) -> Option<String> {
    symbols.iter().map(|symbol| if let Symbol::Character(c) = symbol { Some(*c) } else { None }).collect()
}

fn one_or(mut all: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match all.pop() {
        Some(one) if all.is_empty() => one,
        Some(last) => {
            all.push(last);
            many(all)
        }
        None => many(all),
    }
}
