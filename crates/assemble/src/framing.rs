//! How long a message's body is: RFC 9112, 6.3, with named anomalies where a message breaks the rules.

use headtrail_record::transaction::Anomaly;

/// A set of anomalies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Anomalies(u32);

/// All that assembly finds; the place of each is its bit.
const ALL: [Anomaly; 20] = [
    Anomaly::MalformedHead,
    Anomaly::TooManyLines,
    Anomaly::LengthAndEncoding,
    Anomaly::LengthsDiffer,
    Anomaly::LengthInvalid,
    Anomaly::EncodingNotChunked,
    Anomaly::ChunkInvalid,
    Anomaly::ObsFold,
    Anomaly::BareLf,
    Anomaly::UnexpectedResponse,
    Anomaly::OverlapDiffers,
    Anomaly::StrayBytes,
    Anomaly::PseudoFieldsInvalid,
    Anomaly::Pushed,
    Anomaly::FramesInvalid,
    Anomaly::BareCr,
    Anomaly::SpaceBeforeColon,
    Anomaly::EncodingAmbiguous,
    Anomaly::VersionUnknown,
    Anomaly::StatusOutOfRange,
];

impl Anomalies {
    pub(crate) fn add(&mut self, anomaly: Anomaly) {
        self.0 |= ALL.iter().position(|known| *known == anomaly).map_or(0, |bit| 1 << bit);
    }

    fn has(self, anomaly: Anomaly) -> bool {
        ALL.iter().position(|known| *known == anomaly).is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    /// Appends those that `list` has not.
    pub(crate) fn append_to(self, list: &mut Vec<Anomaly>) {
        if self.0 == 0 {
            return;
        }
        for (bit, anomaly) in ALL.into_iter().enumerate() {
            if self.0 & (1 << bit) != 0 && !list.contains(&anomaly) {
                list.push(anomaly);
            }
        }
    }
}

/// What the field lines say about the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Facts {
    /// First Content-Length that is a number.
    length: Option<u64>,
    length_invalid: bool,
    /// Transfer-Encoding is there; true: its last coding is chunked.
    encoding: Option<bool>,
    chunked_seen: bool,
    /// A line that lenient readers take for one of these two.
    odd_framing: bool,
    /// HTTP/0.9: it has no framing.
    pub(crate) is_simple: bool,
    pub(crate) anomalies: Anomalies,
}

impl Facts {
    /// Takes note of a field line. The length of the name decides first: most lines cost one comparison.
    pub(crate) fn note(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.note_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.note_encoding(value),
            _ => {}
        }
    }

    /// The name of a field line is not a token. By RFC 9112, 5.1, it is none that frames the body; lenient readers
    /// take it for one.
    pub(crate) fn note_odd_name(&mut self, name: &[u8]) {
        let like = |known: &[u8]| {
            name.len() <= known.len() + 8 && memchr::memmem::find(&lower(name), known).is_some()
        };
        self.odd_framing |= like(b"content-length") || like(b"transfer-encoding");
    }

    /// The version is that of HTTP/1.0.
    pub(crate) fn note_http10(&mut self) {
        if self.encoding.is_some() {
            self.anomalies.add(Anomaly::EncodingAmbiguous);
        }
    }

    fn note_encoding(&mut self, value: &[u8]) {
        let mut chunked = None;
        for coding in value.split(|&b| b == b',').map(trim_blanks).filter(|c| !c.is_empty()) {
            // Parameters of a coding are not its name.
            let name = trim_blanks(coding.split(|&b| b == b';').next().unwrap_or(coding));
            let is_chunked = name.eq_ignore_ascii_case(b"chunked");
            if name.eq_ignore_ascii_case(b"identity") || (is_chunked && self.chunked_seen) {
                self.anomalies.add(Anomaly::EncodingAmbiguous);
            }
            self.chunked_seen |= is_chunked;
            chunked = Some(is_chunked);
        }
        self.encoding = Some(chunked.unwrap_or(false));
    }

    /// There is more than one reading of it in use: what follows may be framed differently by those who talk.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.encoding.is_some_and(|chunked| !chunked || self.length.is_some())
            || self.length_invalid
            || self.odd_framing
            || self.anomalies.has(Anomaly::LengthsDiffer)
            || self.anomalies.has(Anomaly::EncodingAmbiguous)
    }

    fn note_length(&mut self, value: &[u8]) {
        // A list of equal numbers is as good as one (RFC 9110, 8.6).
        for part in value.split(|&b| b == b',').map(trim_blanks) {
            match (number(part), self.length) {
                (None, _) => {
                    self.length_invalid = true;
                    self.anomalies.add(Anomaly::LengthInvalid);
                }
                (Some(n), Some(first)) if n != first => self.anomalies.add(Anomaly::LengthsDiffer),
                (Some(n), _) => self.length = Some(self.length.unwrap_or(n)),
            }
        }
    }
}

/// Without the optional whitespace of RFC 9110, 5.6.3: a form feed or vertical tab is part of what it stands before.
fn trim_blanks(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn lower(name: &[u8]) -> Vec<u8> {
    name.iter().map(u8::to_ascii_lowercase).collect()
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &d| {
        let d = d.is_ascii_digit().then(|| u64::from(d - b'0'))?;
        n.checked_mul(10)?.checked_add(d)
    })
}

/// Where a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// After so many octets.
    Length(u64),
    /// With the last chunk and its trailers.
    Chunked,
    /// With the connection.
    Close,
    /// The framing is broken: it ends where the next message is known to begin, else with the connection.
    Unknown,
}

/// The body of a request (RFC 9112, 6.3, rules 3 to 7).
pub(crate) fn request_body(facts: &mut Facts) -> Body {
    if facts.is_simple {
        return Body::Unknown;
    }
    body(facts, false).unwrap_or(Body::None)
}

/// The body of a final response to a request of the method HEAD (`head`) or another (RFC 9112, 6.3).
pub(crate) fn response_body(facts: &mut Facts, status: u16, head: bool) -> Body {
    if head || status / 100 == 1 || status == 204 || status == 304 {
        return Body::None;
    }
    body(facts, true).unwrap_or(Body::Close)
}

fn body(facts: &mut Facts, response: bool) -> Option<Body> {
    if let Some(chunked) = facts.encoding {
        if facts.length.is_some() || facts.length_invalid {
            facts.anomalies.add(Anomaly::LengthAndEncoding);
        }
        if chunked {
            return Some(Body::Chunked);
        }
        facts.anomalies.add(Anomaly::EncodingNotChunked);
        // Rule 4: of a response it is closed-delimited; of a request it cannot be known.
        return Some(if response { Body::Close } else { Body::Unknown });
    }
    match facts.length {
        Some(n) => Some(Body::Length(n)),
        None if facts.length_invalid => Some(Body::Unknown),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(lines: &[(&str, &str)]) -> Facts {
        let mut facts = Facts::default();
        for (name, value) in lines {
            facts.note(name.as_bytes(), value.as_bytes());
        }
        facts
    }

    fn request(lines: &[(&str, &str)]) -> (Body, Vec<Anomaly>) {
        let mut facts = facts(lines);
        let body = request_body(&mut facts);
        let mut list = Vec::new();
        facts.anomalies.append_to(&mut list);
        (body, list)
    }

    #[test]
    fn rfc9112_6_3_rule_1_no_body_for_head_1xx_204_304() {
        let with = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")];
        for (status, head) in [(200, true), (100, false), (103, false), (204, false), (304, false)] {
            assert_eq!(response_body(&mut facts(&with), status, head), Body::None);
        }
        assert_eq!(response_body(&mut facts(&with), 200, false), Body::Chunked);
    }

    #[test]
    fn rfc9112_6_3_rule_3_encoding_overrides_length() {
        let both = [("content-length", "5"), ("TRANSFER-ENCODING", "gzip, Chunked")];
        assert_eq!(request(&both), (Body::Chunked, vec![Anomaly::LengthAndEncoding]));
    }

    #[test]
    fn rfc9112_6_3_rule_4_last_coding_not_chunked() {
        let odd = [("Transfer-Encoding", "chunked, gzip")];
        assert_eq!(request(&odd), (Body::Unknown, vec![Anomaly::EncodingNotChunked]));
        assert_eq!(response_body(&mut facts(&odd), 200, false), Body::Close);
        let lines = [("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")];
        assert_eq!(request(&lines), (Body::Chunked, vec![]));
    }

    #[test]
    fn rfc9112_6_3_rule_5_lengths() {
        assert_eq!(request(&[("Content-Length", "5, 5")]), (Body::Length(5), vec![]));
        let differ = [("Content-Length", "5"), ("Content-Length", "6")];
        assert_eq!(request(&differ), (Body::Length(5), vec![Anomaly::LengthsDiffer]));
        for bad in ["", "+5", "-1", "5 5", "0x5", "99999999999999999999"] {
            assert_eq!(
                request(&[("Content-Length", bad)]),
                (Body::Unknown, vec![Anomaly::LengthInvalid]),
                "{bad}"
            );
        }
        assert_eq!(request(&[("Content-Length", "18446744073709551615")]).0, Body::Length(u64::MAX));
    }

    #[test]
    fn rfc9112_6_3_rules_7_and_8_without_either() {
        assert_eq!(request(&[("Content-Lengths", "5")]), (Body::None, vec![]));
        assert_eq!(response_body(&mut facts(&[]), 200, false), Body::Close);
    }
}
