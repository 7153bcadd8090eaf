//! Turns what was assembled into what may be written.
//!
//! Place in the data's way: between `assemble` and the journal, the printers and everything else. [`Redactor::redact`]
//! is the only way to a [`Transaction`], but for reading one back that was written: by type, nothing that has not passed
//! here can be written.
//!
//! Each secret is replaced by a keyed [`Fingerprint`], so that one token can be followed through all records without
//! being known; the scheme in front of it, cookie names, separators and everything else on the wire stay. Features are
//! taken from the raw values first. What is secret is said by a [`Policy`], which is data: by name of the line or query
//! key, and by patterns that hold in every value. What a user may change of that, down to other replacements than
//! fingerprints, is [`Settings`].
//!
//! Invariants: the text of each message is built anew from its start-line and lines, so that no byte from elsewhere on
//! the wire comes along; lines keep their order, and none is lost that is not counted; where a head is cut or malformed, what may be the rest
//! of a secret is replaced as a whole. A secret that no name and no pattern tells stays: redaction is a list, not a
//! proof. Limits are constants here and in [`crate::features`].

mod address;
mod fingerprint;
mod list;
mod memo;
mod names;
mod policy;
mod scan;
mod settings;
mod values;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

pub use fingerprint::{Fingerprint, FingerprintKey};
pub use policy::{NAMES_MAX, PATTERNS_MAX, Policy, PolicyError, Problem};
pub use settings::{Addresses, Mode, Names, Settings, ValuePattern};

use crate::features::{self, Basic, FEATURES_MAX, Features, Jwt, KeyShape, PatternHit, PatternKind, Place};
use crate::grpc;
use crate::transaction::{
    Anomaly, IncompleteReason, Line, Message, RawTransaction, Side, Span, StartLine, Transaction,
};
use crate::volume::{LeftOut, Rate};
use fingerprint::Fingerprinter;
use memo::Memo;
use policy::{Class, Key, Rule};
use scan::{Range, Scanner};

/// Most text of one redacted message, bytes; what would go beyond is left out. An assembler's own limit on heads is far
/// below; this one holds where fingerprints are longer than what they stand for.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Longest method that is taken for one.
const METHOD_BYTES_MAX: usize = 32;
/// Longest name that, alone on a line of a malformed head, is taken for a name.
const LONE_NAME_BYTES_MAX: usize = 32;

/// What a masked value is written as.
const MASK: &[u8] = b"***";

/// Classes of the privacy list that have a meaning here.
const CREDENTIALS: &str = "credentials";
const JWT: &str = "jwt";

/// Makes transactions writable. One per thread: it remembers names and has buffers of its own.
pub struct Redactor {
    rules: Rules,
    names: Memo<Name, 46>,
    keys: Memo<Key, 46>,
    /// Whether the scanner thinks a value worth a look. Nearly all values come again and again.
    looks: Memo<bool, 126>,
    ranges: Vec<Range>,
    /// The client's address as text, where it is to be rewritten; else empty.
    client: Vec<u8>,
}

/// What does not change.
struct Rules {
    policy: Policy,
    scanner: Scanner,
    fingerprinter: Fingerprinter,
}

/// What was decided on a name.
#[derive(Clone, Copy)]
struct Name {
    rule: Rule,
    /// The name consists of token characters (RFC 9110, 5.6.2), as all names should; whitespace may follow.
    tidy: bool,
    /// No value pattern hits in the name itself.
    clean: bool,
}

/// A line that is left out, until it is.
const LEFT_OUT: Line =
    Line::new(Span { start: u32::MAX, len: u32::MAX }, Span { start: u32::MAX, len: u32::MAX });

/// All of a line is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Whole;

/// What is collected over a transaction.
#[derive(Default)]
struct Yield {
    features: Features,
    redacted: Vec<String>,
    left_out: u32,
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct At<'a> {
    side: Side,
    name: &'a [u8],
}

impl At<'_> {
    fn place(self) -> Place {
        Place { side: self.side, name: features::cut(self.name) }
    }

    fn is(self, place: &Place) -> bool {
        place.side == self.side && place.name == features::cut(self.name)
    }
}

/// How far a head can be trusted.
#[derive(Clone, Copy)]
struct Trust {
    side: Side,
    /// Its lines were split without a grammar, or bytes are missing: a line may be the rest of another.
    loose: bool,
    /// Its end is missing.
    cut: bool,
}

impl Redactor {
    /// A redactor that hides by `policy` and makes fingerprints with `key`.
    #[must_use]
    pub fn new(key: FingerprintKey, policy: Policy) -> Self {
        let scanner = Scanner::new(&policy);
        let fingerprinter = Fingerprinter::new(&key);
        Self {
            rules: Rules { policy, scanner, fingerprinter },
            names: Memo::new(10),
            keys: Memo::new(9),
            looks: Memo::new(9),
            ranges: Vec::new(),
            client: Vec::new(),
        }
    }

    /// Hides by another policy from the next transaction on. What is remembered of names and values is forgotten.
    pub fn set_policy(&mut self, policy: Policy) {
        self.rules.scanner = Scanner::new(&policy);
        self.rules.policy = policy;
        self.names = Memo::new(10);
        self.keys = Memo::new(9);
        self.looks = Memo::new(9);
    }

    /// Makes fingerprints with `key` from the next transaction on. Nothing else changes: what is remembered of names and
    /// values does not depend on the key.
    pub fn rotate(&mut self, key: &FingerprintKey) {
        self.rules.fingerprinter = Fingerprinter::new(key);
    }

    /// What is hidden.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.rules.policy
    }

    /// The fingerprint that stands in records in place of `secret` (a token without its scheme, a cookie's value): who
    /// knows a secret can look for it.
    #[must_use]
    pub fn fingerprint(&self, secret: &[u8]) -> Fingerprint {
        self.rules.fingerprinter.of(secret)
    }

    /// Takes features from `raw`, then replaces its secrets.
    #[must_use]
    pub fn redact(&mut self, mut raw: RawTransaction) -> Transaction {
        let mut out = Yield::default();
        let web = grpc::is_web(&raw);
        let request = trust(&raw, Side::Request);
        let response = trust(&raw, Side::Response);
        self.client.clear();
        if self.rules.policy.addresses != Addresses::Keep {
            self.addresses(&mut raw);
        }
        if let Some(message) = &mut raw.request {
            self.message(message, request, &mut out);
        }
        for message in &mut raw.interim {
            self.message(message, response, &mut out);
        }
        if let Some(message) = &mut raw.response {
            self.message(message, response, &mut out);
        }
        let grpc = web.map(|web| Box::new(self.grpc(&raw, web, &mut out)));
        Transaction {
            inner: raw,
            features: out.features,
            grpc,
            redacted: out.redacted,
            left_out: out.left_out,
            sample_rate: Rate::ALL,
            lines_left_out: LeftOut::default(),
        }
    }

    /// Facts of a call of gRPC, from what redaction has left. Decoding may bring a secret of its message to light: it is
    /// looked at like any value.
    #[cold]
    fn grpc(&mut self, redacted: &RawTransaction, web: bool, out: &mut Yield) -> grpc::Grpc {
        let mut facts = grpc::facts(redacted, web);
        if let Some(message) = redacted.response.as_ref().and_then(grpc::message) {
            let at = At { side: Side::Response, name: b"grpc-message" };
            self.ranges.clear();
            let touched = self.rules.scanner.touches(&message);
            let plain = Rule { class: Class::Plain, mode: Mode::Keep };
            if self.value(at, plain, &message, touched, out).is_none() {
                self.mentions(&message);
                let mut text = Vec::new();
                let span = self.write(&message, at.name, &mut text, out);
                facts.message = Some(features::cut_to(span.get(&text), grpc::MESSAGE_BYTES_MAX));
            }
        }
        facts
    }

    /// Rewrites the client's address where it stands outside of texts, and notes it for those.
    #[cold]
    fn addresses(&mut self, raw: &mut RawTransaction) {
        let Rules { policy, fingerprinter, .. } = &self.rules;
        let client = raw.source.ip.to_canonical();
        let new = address::rewritten(client, policy.addresses, fingerprinter);
        if new == client {
            return;
        }
        raw.source.ip = new;
        let messages = raw.request.iter_mut().chain(&mut raw.interim).chain(&mut raw.response);
        for message in messages {
            let from_client = matches!(message.start, StartLine::Request { .. });
            message.headers =
                address::headers(&message.headers, from_client, client, policy.addresses, fingerprinter);
        }
        self.client = client.to_string().into_bytes();
    }

    fn message(&mut self, message: &mut Message, trust: Trust, out: &mut Yield) {
        let old = std::mem::take(&mut message.text);
        let mut text = Vec::with_capacity(old.len().min(TEXT_BYTES_MAX) + 32);
        let bare = message.lines.is_empty() && message.trailers.is_empty();
        message.start = match message.start {
            StartLine::Request { method, target } => StartLine::Request {
                method: self.method(&old, method, trust, &mut text, out),
                target: self.target(&old, target, trust, bare, &mut text, out),
            },
            StartLine::Status { status, reason } => {
                StartLine::Status { status, reason: self.reason(&old, reason, trust, &mut text, out) }
            }
        };
        let (lines, trailers) = (&mut message.lines, &mut message.trailers);
        let last = (lines.len() + trailers.len()).wrapping_sub(1);
        let (left_out, mut after_secret) = (out.left_out, false);
        for (i, line) in lines.iter_mut().chain(trailers.iter_mut()).enumerate() {
            (*line, after_secret) = self.line(&old, *line, trust, (i == last, after_secret), &mut text, out);
        }
        if out.left_out != left_out {
            lines.retain(|line| *line != LEFT_OUT);
            trailers.retain(|line| *line != LEFT_OUT);
        }
        message.text = text;
    }

    fn method(&mut self, old: &[u8], span: Span, trust: Trust, text: &mut Vec<u8>, out: &mut Yield) -> Span {
        let method = span.get(old);
        self.ranges.clear();
        if method.len() > METHOD_BYTES_MAX || !method.iter().all(|b| is_token(*b)) {
            self.ranges.push(Range::new(0, method.len()));
        }
        let at = At { side: trust.side, name: b"method" };
        if self.rules.scanner.touches(method) {
            self.rules.look(at, true, method, &mut self.ranges, &mut out.features);
        }
        self.write(method, at.name, text, out)
    }

    fn target(
        &mut self,
        old: &[u8],
        span: Span,
        trust: Trust,
        bare: bool,
        text: &mut Vec<u8>,
        out: &mut Yield,
    ) -> Span {
        let target = span.get(old);
        let at = At { side: trust.side, name: b"target" };
        self.ranges.clear();
        let touched = self.rules.scanner.touches(target);
        self.value(at, Rule { class: Class::Url, mode: Mode::Keep }, target, touched, out);
        self.mentions(target);
        values::authority(target, &mut self.ranges);
        if bare && trust.cut {
            // The target itself is cut, and its last piece may be a secret's beginning.
            let query = target.iter().position(|b| *b == b'?');
            let from = query.or_else(|| target.iter().rposition(|b| *b == b'/')).map_or(0, |i| i + 1);
            self.ranges.push(Range::new(from, target.len()));
        }
        self.write(target, at.name, text, out)
    }

    fn reason(&mut self, old: &[u8], span: Span, trust: Trust, text: &mut Vec<u8>, out: &mut Yield) -> Span {
        let reason = span.get(old);
        let at = At { side: trust.side, name: b"reason" };
        self.ranges.clear();
        let touched = self.rules.scanner.touches(reason);
        self.value(at, Rule { class: Class::Plain, mode: Mode::Keep }, reason, touched, out);
        self.mentions(reason);
        self.write(reason, at.name, text, out)
    }

    /// Writes a line, unless it is left out; says also whether a line after it could be the rest of a secret.
    fn line(
        &mut self,
        old: &[u8],
        line: Line,
        trust: Trust,
        (last, after_secret): (bool, bool),
        text: &mut Vec<u8>,
        out: &mut Yield,
    ) -> (Line, bool) {
        let (name, value) = (line.name.get(old), line.value.get(old));
        let Self { rules, names, .. } = self;
        let known = names.get(name, |name| rules.name(name));
        let class = known.rule.class;
        if class == Class::Secret && known.rule.mode == Mode::Drop {
            out.left_out += 1;
            return (LEFT_OUT, true);
        }
        let at = At { side: trust.side, name: b"" };

        self.ranges.clear();
        let mut hide_value = false;
        if !known.tidy {
            // No name at all, but a line that was not split, or split at a colon within: only its first word stays.
            let word = name.iter().take_while(|b| is_token(**b)).count();
            let keep = if after_secret || word > LONE_NAME_BYTES_MAX { 0 } else { word };
            let from = name[keep..].iter().take_while(|b| b.is_ascii_whitespace()).count() + keep;
            self.ranges.push(Range::new(if keep == 0 { 0 } else { from }, name.len()));
            hide_value = true;
        } else if value.is_empty() && trust.loose && (after_secret || !is_plain_name(name)) {
            self.ranges.push(Range::new(0, name.len()));
        }
        if !known.clean {
            rules.look(at, true, name, &mut self.ranges, &mut out.features);
        }
        let name_touched = !self.ranges.is_empty();
        let name_span = self.write_only(name, text);

        self.ranges.clear();
        let Self { rules, looks, .. } = self;
        let touched = match class {
            // No use to remember secrets.
            Class::Secret | Class::Cookie | Class::SetCookie => rules.scanner.touches(value),
            _ => looks.get(value, |value| rules.scanner.touches(value)),
        };
        let shown = name_span.get(text);
        let at = At { side: trust.side, name: shown };
        let mut left_out = None;
        if touched || class != Class::Plain {
            left_out = self.value(at, known.rule, value, touched, out);
        } else if self.rules.is_path(value) {
            left_out = self.value(at, Rule { class: Class::Url, ..known.rule }, value, touched, out);
        }
        if left_out == Some(Whole) {
            text.truncate(name_span.start as usize);
            return (LEFT_OUT, true);
        }
        if class != Class::Kept {
            self.mentions(value);
        }
        let sure = matches!(class, Class::Secret | Class::Kept);
        let broken_off = last && trust.cut && !sure;
        let doubtful = last
            && trust.loose
            && class != Class::Kept
            && self.ranges.is_empty()
            && self.rules.scanner.holds_literal(value);
        if hide_value || broken_off || doubtful {
            self.ranges.push(Range::new(0, value.len()));
        }
        let value_touched = self.ranges.iter().any(|r| r.start < r.end);
        let value_span = self.write_only(value, text);
        if name_touched || value_touched {
            note(name_span.get(text), out);
        }
        let secret = matches!(class, Class::Secret | Class::Cookie | Class::SetCookie);
        (
            Line {
                name: if line.name.is_unseen() { Span::UNSEEN } else { name_span },
                value: if line.value.is_unseen() { Span::UNSEEN } else { value_span },
                never_indexed: line.never_indexed,
            },
            secret || name_touched || (after_secret && value.is_empty()),
        )
    }

    /// Adds the client's address where it stands in a value.
    #[inline]
    fn mentions(&mut self, value: &[u8]) {
        if !self.client.is_empty() {
            address::mentions(value, &self.client, &mut self.ranges);
        }
    }

    /// Finds what is to be replaced in a value. `touched`: the scanner thinks it worth a look. Says whether all of the
    /// line is left out.
    fn value(
        &mut self,
        at: At<'_>,
        rule: Rule,
        value: &[u8],
        touched: bool,
        out: &mut Yield,
    ) -> Option<Whole> {
        let Self { rules, keys, ranges, .. } = self;
        let mut class = rule.class;
        if touched {
            rules.look(at, class != Class::Secret, value, ranges, &mut out.features);
            match class {
                // What is found here is more exact than what the patterns tell: they would hide a scope, a realm.
                Class::Secret | Class::Kept => ranges.clear(),
                Class::Challenge => ranges.retain(|r| !r.credentials),
                _ => {}
            }
        }
        if class == Class::Plain
            && touched
            && (memchr::memmem::find(value, b"://").is_some() || rules.is_path(value))
        {
            class = Class::Url;
        }
        let policy = &rules.policy;
        match class {
            Class::Plain => {}
            Class::Kept => return None,
            Class::Secret => {
                let scheme = values::secret(value, policy, rule.mode, ranges);
                if scheme.eq_ignore_ascii_case(b"basic") {
                    rules.basic(at, &value[scheme.len()..], &mut out.features);
                }
            }
            Class::Cookie => {
                let (left_out, whole) = values::cookie(value, policy, ranges);
                out.left_out += left_out;
                if whole {
                    return Some(Whole);
                }
            }
            Class::SetCookie => {
                if values::set_cookie(value, policy, ranges) {
                    out.left_out += 1;
                    return Some(Whole);
                }
            }
            Class::Challenge => values::challenge(value, policy, ranges),
            Class::Certificate => values::certificate(value, policy, ranges),
            Class::Protocols => values::protocols(value, policy, ranges),
            Class::Authority => values::authority(value, ranges),
            Class::Address => {
                values::authority(value, ranges);
                address::line(value, ranges);
            }
            Class::Url => {
                let mut key = |key: &[u8]| keys.get(key, |key| policy.query_key(key));
                let mut url = values::Url {
                    key: &mut key,
                    rest: policy.target,
                    secrets: policy.secrets,
                    part: policy.part(),
                };
                out.left_out += values::url(value, ranges, &mut url, |piece| {
                    rules.hidden_in(at, piece, &mut out.features)
                });
            }
        }
        if touched && class != Class::Url && class != Class::Secret && value.contains(&b'%') {
            // Percent signs may hide what the patterns look for; which part it is cannot be told.
            if ranges.is_empty()
                && let Some(decoded) = scan::percent_decoded(value)
                && rules.hidden_in(at, &decoded, &mut out.features)
            {
                ranges.push(Range::encoded(0, value.len()));
            }
        }
        if ranges.iter().any(|r| r.mode == Some(Mode::Keep)) {
            Range::subtract_kept(ranges);
        }
        None
    }

    /// Writes `value` with its ranges replaced, and notes `name` if there are any.
    fn write(&mut self, value: &[u8], name: &[u8], text: &mut Vec<u8>, out: &mut Yield) -> Span {
        if self.ranges.iter().any(|r| r.start < r.end) {
            note(name, out);
        }
        self.write_only(value, text)
    }

    #[inline]
    fn write_only(&mut self, value: &[u8], text: &mut Vec<u8>) -> Span {
        let start = text.len();
        if start + value.len() > TEXT_BYTES_MAX {
            return Span::of(start, start);
        }
        if self.ranges.is_empty() {
            text.extend_from_slice(value);
        } else {
            self.write_replaced(value, text);
        }
        Span::of(start, text.len())
    }

    #[inline(never)]
    fn write_replaced(&mut self, value: &[u8], text: &mut Vec<u8>) {
        self.ranges.sort_unstable_by_key(|r| (r.start, std::cmp::Reverse(r.end)));
        let mut at = 0;
        let mut ranges = self.ranges.iter().copied().filter(|r| r.start < r.end).peekable();
        while let Some(mut range) = ranges.next() {
            while let Some(next) = ranges.next_if(|next| next.start < range.end) {
                range.encoded |= next.encoded && next.end >= range.end;
                range.address &= next.address;
                // None is what parts are hidden by, whatever that is.
                range.mode = Some(self.rules.mode(range).max(self.rules.mode(next)));
                range.end = range.end.max(next.end);
            }
            let (from, to) = (range.start.max(at).min(value.len()), range.end.min(value.len()));
            text.extend_from_slice(&value[at..from]);
            if range.address {
                self.rules.replace_address(&value[from..to], value.get(to) == Some(&b':'), text);
            } else {
                match self.rules.mode(range) {
                    Mode::Keep => text.extend_from_slice(&value[from..to]),
                    Mode::Fingerprint => self.rules.replace(&value[from..to], range.encoded, text),
                    Mode::Mask => text.extend_from_slice(MASK),
                    Mode::Drop => {}
                }
            }
            at = to;
        }
        text.extend_from_slice(&value[at..]);
    }
}

impl Rules {
    fn name(&self, name: &[u8]) -> Name {
        let end = name.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |i| i + 1);
        // Pseudo-fields of HTTP/2 begin with a colon (RFC 9113, 8.3).
        let body = name[..end].strip_prefix(b":").unwrap_or(&name[..end]);
        let mut ranges = Vec::new();
        if self.scanner.touches(name) {
            self.look(
                At { side: Side::Request, name: b"" },
                true,
                name,
                &mut ranges,
                &mut Features::default(),
            );
        }
        Name {
            rule: self.policy.header(name),
            tidy: !body.is_empty() && body.iter().all(|b| is_token(*b)),
            clean: ranges.is_empty(),
        }
    }

    /// A path with a query, or a query alone.
    fn is_path(&self, value: &[u8]) -> bool {
        matches!(value.first(), Some(b'/' | b'?')) && memchr::memchr2(b'?', b';', value).is_some()
    }

    /// Tries the patterns on a value: secrets go to `ranges`, what is known of them to `features`.
    /// Generic patterns are left out where all of the value is hidden anyway.
    fn look(
        &self,
        at: At<'_>,
        generic: bool,
        value: &[u8],
        ranges: &mut Vec<Range>,
        features: &mut Features,
    ) {
        let flood = self.scanner.look(value, generic, |found| {
            if found.pattern.kind == PatternKind::Secret {
                let credentials = found.pattern.class == CREDENTIALS;
                ranges.push(Range { credentials, ..Range::new(found.start, found.end) });
            }
            self.feature(at, value, &found, features);
        });
        scan::cards(value, |start, end| {
            ranges.push(Range::new(start, end));
            hit(at, PatternKind::Secret, "card", features);
        });
        if flood {
            ranges.push(Range::new(0, value.len()));
        }
    }

    /// Whether patterns find a secret in text that was encoded on the wire.
    fn hidden_in(&self, at: At<'_>, decoded: &[u8], features: &mut Features) -> bool {
        if !self.scanner.touches(decoded) {
            return false;
        }
        let mut ranges = Vec::new();
        self.look(at, true, decoded, &mut ranges, features);
        !ranges.is_empty()
    }

    fn feature(&self, at: At<'_>, value: &[u8], found: &scan::Found<'_>, features: &mut Features) {
        let pattern = found.pattern;
        hit(at, pattern.kind, &pattern.class, features);
        let secret = &value[found.start..found.end];
        if let Some(provider) = &pattern.provider {
            let known = |k: &KeyShape| k.provider == *provider && at.is(&k.place);
            if features.key_shape.len() < FEATURES_MAX && !features.key_shape.iter().any(known) {
                features.key_shape.push(KeyShape { place: at.place(), provider: provider.clone() });
            }
        }
        if pattern.class == JWT && features.jwt.len() < FEATURES_MAX {
            let decoded = scan::percent_decoded(secret);
            if let Some(facts) = features::jwt_facts(decoded.as_deref().unwrap_or(secret)) {
                features.jwt.push(Jwt {
                    place: at.place(),
                    alg: facts.alg,
                    typ: facts.typ,
                    kid: facts.kid,
                    jku_host: facts.jku_host,
                    expires_unix_s: facts.expires_unix_s,
                    parts: facts.parts,
                    unsigned: facts.unsigned,
                });
            }
        }
        if pattern.class == CREDENTIALS && value[..found.start].trim_ascii().eq_ignore_ascii_case(b"basic") {
            self.basic(at, secret, features);
        }
    }

    /// Notes Basic credentials (RFC 7617, 2): base64 of user, colon, password.
    fn basic(&self, at: At<'_>, token: &[u8], features: &mut Features) {
        let known = |b: &Basic| at.is(&b.place);
        if features.basic.len() >= FEATURES_MAX || features.basic.iter().any(known) {
            return;
        }
        let token = token.trim_ascii();
        let decoded =
            features::decode(&STANDARD_NO_PAD, token).or_else(|| features::decode(&URL_SAFE_NO_PAD, token));
        let parts = decoded
            .as_deref()
            .and_then(|d| d.iter().position(|b| *b == b':').map(|i| (&d[..i], &d[i + 1..])));
        features.basic.push(Basic {
            place: at.place(),
            user: parts.map(|(user, _)| self.fingerprinter.of(user).to_string()),
            password_empty: parts.map(|(_, password)| password.is_empty()),
        });
    }

    fn mode(&self, range: Range) -> Mode {
        range.mode.unwrap_or(self.policy.part())
    }

    /// Appends what stands for a client's address; in brackets, as IPv6 wants it, where a port follows.
    #[cold]
    fn replace_address(&self, old: &[u8], before_port: bool, text: &mut Vec<u8>) {
        let Some(ip) = address::parsed(old) else { return text.extend_from_slice(MASK) };
        let new = address::rewritten(ip, self.policy.addresses, &self.fingerprinter);
        let bracketed = before_port && ip.is_ipv4() && new.is_ipv6();
        let new = if bracketed { format!("[{new}]") } else { new.to_string() };
        text.extend_from_slice(new.as_bytes());
    }

    /// Appends the fingerprint of a secret, in one form wherever it stood: percent-decoded where it was encoded, and
    /// with each fold (obs-fold, RFC 9112, 5.2) as one space.
    fn replace(&self, secret: &[u8], encoded: bool, text: &mut Vec<u8>) {
        let decoded = if encoded { scan::percent_decoded_once(secret) } else { None };
        let secret = decoded.as_deref().unwrap_or(secret);
        let unfolded = values::unfolded(secret);
        self.fingerprinter.of(unfolded.as_deref().unwrap_or(secret)).write(text);
    }
}

fn trust(raw: &RawTransaction, side: Side) -> Trust {
    let because = |reasons: &[IncompleteReason]| {
        raw.incomplete.iter().any(|i| i.side == side && reasons.contains(&i.reason))
    };
    let cut = because(&[IncompleteReason::Truncated]);
    let holes = because(&[
        IncompleteReason::Gap,
        IncompleteReason::RingFull,
        IncompleteReason::Joined,
        IncompleteReason::ClosedEarly,
        IncompleteReason::Memory,
    ]);
    let malformed = raw.anomalies.iter().any(|a| matches!(a, Anomaly::MalformedHead | Anomaly::ObsFold));
    Trust { side, loose: cut || holes || malformed, cut }
}

fn note(name: &[u8], out: &mut Yield) {
    let name = features::lossless(name);
    if !out.redacted.contains(&name) {
        out.redacted.push(name);
    }
}

fn hit(at: At<'_>, kind: PatternKind, class: &str, features: &mut Features) {
    let known = |p: &PatternHit| p.class == class && at.is(&p.place);
    if features.patterns.len() < FEATURES_MAX && !features.patterns.iter().any(known) {
        features.patterns.push(PatternHit { place: at.place(), kind, class: class.to_owned() });
    }
}

/// Token characters (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A name as headers have them, of letters and hyphens: not a line of base64 or a password.
fn is_plain_name(name: &[u8]) -> bool {
    name.len() <= LONE_NAME_BYTES_MAX && name.iter().all(|b| b.is_ascii_alphabetic() || *b == b'-')
}

#[cfg(test)]
mod tests;
