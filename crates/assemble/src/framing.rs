//! How long a message's body is: RFC 9112, 6.3, with named anomalies where a message breaks the rules.

use headtrail_record::transaction::Anomaly;

/// A set of anomalies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Anomalies(u32);

/// All that assembly finds; the place of each is its bit.
const ALL: [Anomaly; 22] = [
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
    Anomaly::FramingObscured,
    Anomaly::TrailerFraming,
];

impl Anomalies {
    pub(crate) fn add(&mut self, anomaly: Anomaly) {
        self.0 |= ALL.iter().position(|known| *known == anomaly).map_or(0, |bit| 1 << bit);
    }

    pub(crate) fn has(self, anomaly: Anomaly) -> bool {
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
    /// Lines were not seen that may say more.
    unseen: bool,
    pub(crate) anomalies: Anomalies,
}

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// Longest Content-Length that is believed, octets: readers hold it in 64 bits with or without a sign, and what is more
/// overflows in some of them (RFC 9110, 8.6).
const LENGTH_MAX: u64 = i64::MAX as u64;

impl Facts {
    /// Takes note of a field line that follows the grammar. The length of the name decides first: most lines cost one
    /// comparison.
    pub(crate) fn note(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(CONTENT_LENGTH) => self.note_length(value),
            17 if name.eq_ignore_ascii_case(TRANSFER_ENCODING) => self.note_encoding(value),
            // Gateway interfaces (RFC 3875, 4.1.18) make no difference between `-` and `_`.
            14 | 17 if is_framing_like(name) => self.anomalies.add(Anomaly::FramingObscured),
            _ => {}
        }
    }

    /// Takes note of any line. One whose name is no token does not frame the body (RFC 9112, 5.1); nor does what stands
    /// within a value behind a fold or a CR. Lenient readers take it for one that does.
    pub(crate) fn note_any(&mut self, name: &[u8], value: &[u8]) {
        let is_token = !name.is_empty() && name.iter().all(|&b| crate::head::is_token(b));
        if is_token {
            self.note(name, value);
        }
        let broken = memchr::memchr2(b'\r', b'\n', value).is_some();
        if (!is_token && is_framing_like(name)) || (broken && is_framing_like(value)) {
            self.anomalies.add(Anomaly::FramingObscured);
        }
    }

    /// Lines that may frame the body were not seen.
    pub(crate) fn note_unseen(&mut self) {
        self.unseen = true;
    }

    /// Some line frames the body, or is taken for one that does.
    pub(crate) fn frames(&self) -> bool {
        self.length.is_some()
            || self.length_invalid
            || self.encoding.is_some()
            || self.anomalies.has(Anomaly::FramingObscured)
    }

    /// The version is HTTP/1.0, which has no Transfer-Encoding (RFC 9112, 6.1).
    pub(crate) fn note_http10(&mut self) {
        if self.encoding.is_some() {
            self.anomalies.add(Anomaly::EncodingAmbiguous);
        }
    }

    fn note_encoding(&mut self, value: &[u8]) {
        let mut chunked = None;
        for coding in value.split(|&b| b == b',').map(trim_blanks).filter(|c| !c.is_empty()) {
            // Parameters of a coding are not its name; chunked has none.
            let name = trim_blanks(coding.split(|&b| b == b';').next().unwrap_or(coding));
            let is_chunked = name.eq_ignore_ascii_case(b"chunked");
            if name.eq_ignore_ascii_case(b"identity") || (is_chunked && (self.chunked_seen || name != coding))
            {
                self.anomalies.add(Anomaly::EncodingAmbiguous);
            }
            self.chunked_seen |= is_chunked;
            chunked = Some(is_chunked);
        }
        // Lines are one list (RFC 9110, 5.3), to which an empty one adds nothing.
        self.encoding = Some(chunked.or(self.encoding).unwrap_or(false));
    }

    /// There is more than one reading of it in use: what follows may be framed differently by those who talk.
    pub(crate) fn is_ambiguous(&self) -> bool {
        const AMBIGUOUS: [Anomaly; 3] =
            [Anomaly::LengthsDiffer, Anomaly::EncodingAmbiguous, Anomaly::FramingObscured];
        self.encoding.is_some_and(|chunked| !chunked || self.length.is_some())
            || self.length_invalid
            || self.unseen
            || AMBIGUOUS.into_iter().any(|anomaly| self.anomalies.has(anomaly))
            || (self.frames()
                && (self.anomalies.has(Anomaly::ObsFold) || self.anomalies.has(Anomaly::BareCr)))
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

/// The bytes hold the name of a field that frames the body, or what lenient readers may take for it: with another byte
/// in the place of the hyphen, and beside bytes that are no part of a name.
fn is_framing_like(bytes: &[u8]) -> bool {
    let plain: Vec<u8> =
        bytes.iter().map(|b| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' }).collect();
    let in_name = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    [CONTENT_LENGTH, TRANSFER_ENCODING].into_iter().any(|known| {
        memchr::memmem::find_iter(&plain, known).any(|at| {
            !in_name(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && !in_name(bytes.get(at + known.len()))
        })
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &d| {
        let d = d.is_ascii_digit().then(|| u64::from(d - b'0'))?;
        n.checked_mul(10)?.checked_add(d).filter(|&n| n <= LENGTH_MAX)
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
    if facts.unseen {
        return Some(Body::Unknown);
    }
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
        for bad in [
            "",
            "+5",
            "-1",
            "5 5",
            "0x5",
            "5,",
            "5;",
            "\u{b}5",
            "9223372036854775808",
            "18446744073709551616",
        ] {
            assert_eq!(
                request(&[("Content-Length", bad)]),
                (if bad == "5," { Body::Length(5) } else { Body::Unknown }, vec![Anomaly::LengthInvalid]),
                "{bad}"
            );
        }
        assert_eq!(request(&[("Content-Length", "9223372036854775807")]), (Body::Length(LENGTH_MAX), vec![]));
        assert_eq!(request(&[("Content-Length", " 0005\t")]), (Body::Length(5), vec![]));
    }

    #[test]
    fn rfc9112_6_3_rules_7_and_8_without_either() {
        assert_eq!(request(&[("Content-Lengths", "5")]), (Body::None, vec![]));
        assert_eq!(response_body(&mut facts(&[]), 200, false), Body::Close);
    }

    #[test]
    fn rfc9112_6_1_encodings_that_readers_take_differently() {
        let te = |values: &[&'static str]| {
            let lines: Vec<_> = values.iter().map(|v| ("Transfer-Encoding", *v)).collect();
            request(&lines)
        };
        let (odd, not) = (Anomaly::EncodingAmbiguous, Anomaly::EncodingNotChunked);
        assert_eq!(te(&["\tChunked "]), (Body::Chunked, vec![]));
        assert_eq!(te(&["chunked", ""]), (Body::Chunked, vec![]));
        for twice in
            [&["chunked, chunked"][..], &["chunked", "chunked"], &["identity, chunked"], &["chunked;a=b"]]
        {
            assert_eq!(te(twice), (Body::Chunked, vec![odd]), "{twice:?}");
        }
        for identity in [&["chunked, identity"][..], &["chunked", "identity"], &["identity"]] {
            assert_eq!(te(identity), (Body::Unknown, vec![not, odd]), "{identity:?}");
        }
        for other in ["xchunked", "\u{b}chunked", "chunked\u{b}", "\"chunked\"", "chunked x", ""] {
            assert_eq!(te(&[other]), (Body::Unknown, vec![not]), "{other}");
        }
    }

    #[test]
    fn names_that_lenient_readers_take_for_framing_are_named() {
        let named = |name: &str, value: &str| {
            let mut facts = Facts::default();
            facts.note_any(name.as_bytes(), value.as_bytes());
            assert_eq!(facts.is_ambiguous(), facts.anomalies.has(Anomaly::FramingObscured));
            (facts.is_ambiguous(), request_body(&mut facts))
        };
        for name in [
            "Transfer-Encoding ",
            "content-length\t",
            "Content_Length",
            "TRANSFER_ENCODING",
            "Content\rLength",
            "\u{b}Content-Length",
            "A\rContent-Length",
            "Content-Length 5",
            "Content-Length\0",
        ] {
            assert_eq!(named(name, "5"), (true, Body::None), "{name:?}");
        }
        assert_eq!(named("A", "b\r\n Content-Length: 5"), (true, Body::None));
        assert_eq!(named("A", "b\rTransfer-Encoding: chunked"), (true, Body::None));
        for plain in ["X-Content-Length", "Content-Lengths", "Content-Length-X ", "XTransfer-Encoding "] {
            assert_eq!(named(plain, "5"), (false, Body::None), "{plain}");
        }
        assert_eq!(named("A", "Content-Length: 5"), (false, Body::None));
    }
}
