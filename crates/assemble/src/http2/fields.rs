//! Header blocks to messages: field lines, pseudo-fields first (RFC 9113, 8.3), and the start-line that they stand for.

use headtrail_record::transaction::{Anomaly, Line, Span, StartLine, Version};

use crate::framing::{Anomalies, Facts};
use crate::head::Head;
use crate::hpack::{Budget, Decoder, Field, Text};
use crate::limits::Limits;

/// A decoded block.
pub(super) struct Fields {
    pub(super) text: Vec<u8>,
    pub(super) lines: Vec<Line>,
    pub(super) anomalies: Anomalies,
    /// Some names or values were never seen.
    pub(super) unseen: bool,
    /// Its end is missing, or was more than the limit.
    pub(super) cut: bool,
}

/// Decodes a block. `truncated`: it is the beginning of one. `text`: the lines go behind what is in it.
pub(super) fn read(
    decoder: &mut Decoder,
    block: &[u8],
    truncated: bool,
    text: Vec<u8>,
    limits: &Limits,
) -> Fields {
    // Trailers, however often they come, get as much room as the head.
    let octets_max = if text.is_empty() {
        limits.head_bytes_max
    } else {
        (2 * limits.head_bytes_max).saturating_sub(text.len())
    };
    let mut fields =
        Fields { text, lines: Vec::new(), anomalies: Anomalies::default(), unseen: false, cut: truncated };
    let budget = Budget { fields_max: limits.field_lines_max, octets_max };
    let mut take = |field: Field<'_>| {
        let mut put = |text: Text<'_>| match text {
            Text::Known(octets) => {
                let start = fields.text.len();
                fields.text.extend_from_slice(octets);
                Span::of(start, fields.text.len())
            }
            Text::Unknown => Span::UNSEEN,
        };
        let (name, value) = (put(field.name), put(field.value));
        fields.lines.push(Line { name, value, never_indexed: field.never_indexed });
    };
    match decoder.block(block, budget, &mut take) {
        Ok(summary) => {
            fields.unseen = summary.unknown;
            if summary.fields > limits.field_lines_max {
                fields.anomalies.add(Anomaly::TooManyLines);
            } else {
                fields.cut |= summary.over_budget;
            }
        }
        // A truncated block ends within a field; so does one that the peer refuses.
        Err(_) if truncated => {}
        Err(_) => {
            fields.anomalies.add(Anomaly::MalformedHead);
            fields.cut = true;
        }
    }
    if truncated {
        // Entries of the table were in the part that is missing.
        decoder.forget();
    }
    fields
}

impl Fields {
    /// The value of a pseudo-field; named where it is there twice.
    fn pseudo(&mut self, name: &[u8]) -> Option<Span> {
        let mut found = self.lines.iter().filter(|line| line.name.get(&self.text) == name).map(|l| l.value);
        let value = found.next();
        if found.next().is_some() {
            self.anomalies.add(Anomaly::PseudoFieldsInvalid);
        }
        value
    }

    /// Status code of a response.
    pub(super) fn status(&mut self) -> Option<u16> {
        let span = self.pseudo(b":status")?;
        let digits = span.get(&self.text);
        let valid = digits.len() == 3 && digits.iter().all(u8::is_ascii_digit);
        valid.then(|| digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))
    }

    /// The block has pseudo-fields, which trailers must not have (RFC 9113, 8.1).
    pub(super) fn has_pseudo(&self) -> bool {
        self.lines.iter().any(|line| line.name.get(&self.text).starts_with(b":"))
    }

    /// The head of a request.
    pub(super) fn request(mut self) -> Head {
        let method = self.pseudo(b":method");
        let path = self.pseudo(b":path");
        // CONNECT has no path: its target is an authority (RFC 9113, 8.5).
        // Where some name is not seen, it may be that of the path.
        let target = if self.unseen { path } else { path.or_else(|| self.pseudo(b":authority")) };
        if !self.unseen && (method.is_none() || target.is_none()) {
            self.anomalies.add(Anomaly::PseudoFieldsInvalid);
        }
        let known = [&b":method"[..], b":scheme", b":authority", b":path", b":protocol"];
        let seen = |span: Option<Span>| span.filter(|span| !span.is_unseen()).unwrap_or_default();
        let start = StartLine::Request { method: seen(method), target: seen(target) };
        self.head(start, &known)
    }

    /// The head of a response.
    pub(super) fn response(mut self, status: Option<u16>) -> Head {
        if status.is_none() && !self.unseen {
            self.anomalies.add(Anomaly::PseudoFieldsInvalid);
        }
        let start = StartLine::Status { status: status.unwrap_or_default(), reason: Span::default() };
        self.head(start, &[b":status"])
    }

    fn head(mut self, start: StartLine, known: &[&[u8]]) -> Head {
        let mut regular = false;
        for line in &self.lines {
            let name = line.name.get(&self.text);
            let pseudo = name.starts_with(b":");
            if pseudo && (regular || !known.contains(&name)) {
                self.anomalies.add(Anomaly::PseudoFieldsInvalid);
            }
            regular |= !pseudo && !line.name.is_unseen();
        }
        let mut facts = Facts::default();
        facts.anomalies = self.anomalies;
        Head { text: self.text, start, version: Version::Http2, lines: self.lines, facts }
    }
}
