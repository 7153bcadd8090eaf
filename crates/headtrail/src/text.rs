//! The form for people: one line a transaction in fixed columns, or with `-v` all lines of both messages.
//!
//! Bytes from the wire reach the output through [`headtrail_record::printable`] only; the only control characters
//! are line ends and, if colour is asked for, our own colour codes. Columns have fixed widths up to the addresses,
//! which vary most (IPv6) and so stand last, with the marks behind them. Where the terminal is narrow, sizes and
//! addresses are left to `-v`.

use headtrail_record::event::{Endpoint, ProcessRef};
use headtrail_record::features::PatternKind;
use headtrail_record::grpc::Grpc;
use headtrail_record::json::{Context, close_name, process_name, side_name};
use headtrail_record::packet;
use headtrail_record::packet_text::{write_endpoint, write_packet};
use headtrail_record::printable;
use headtrail_record::time::{NS_PER_S, write_time_of_day};
use headtrail_record::tls::Tls;
use headtrail_record::transaction::{
    Incomplete, IncompleteReason, Line, Message, Phase, Role, StartLine, Version,
};
use headtrail_record::unredacted::Shown;

/// Columns of the method; the longest usual ones fill it.
const METHOD_COLUMNS: usize = 7;
/// Columns of host and target: at least, and where the width of the output is not known.
const URL_COLUMNS_MIN: usize = 24;
const URL_COLUMNS_DEFAULT: usize = 48;
/// Columns of a duration (`1.24 ms`), and of a size (`999 kB`).
const DURATION_COLUMNS: usize = 7;
const SIZE_COLUMNS: usize = 6;
/// Columns of a process name.
const PROCESS_COLUMNS: usize = 10;
/// Columns of both addresses with the arrow between them: loopback or a private network. Longer ones stick out.
const ADDRESSES_COLUMNS: usize = 34;
/// Columns before host and target: time, status, method, and a space behind each.
const LEFT_COLUMNS: usize = 12 + 1 + 3 + 1 + METHOD_COLUMNS + 1;
/// Columns behind host and target up to the process name.
const RIGHT_COLUMNS: usize = 1 + DURATION_COLUMNS + 3 + PROCESS_COLUMNS;
/// Columns of both sizes.
const SIZES_COLUMNS: usize = 2 * (1 + SIZE_COLUMNS);
/// From this width on there is room for sizes and addresses.
const WIDE_COLUMNS: usize =
    LEFT_COLUMNS + URL_COLUMNS_MIN + RIGHT_COLUMNS + SIZES_COLUMNS + 1 + ADDRESSES_COLUMNS;

/// How to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Style {
    /// With colour codes. Whether the output wants them (terminal, `NO_COLOR`) is for the caller to know.
    pub(crate) colour: bool,
    /// With all lines of both messages and what else is known.
    pub(crate) verbose: bool,
    /// Width of the output; None where it has none, as a file.
    pub(crate) columns: Option<usize>,
    /// Seconds to add to UTC for the time shown; 0 shows UTC, as the other formats do.
    pub(crate) utc_offset_s: i32,
}

impl Style {
    /// A style that shows UTC.
    pub(crate) fn new(verbose: bool, colour: bool, columns: Option<usize>) -> Self {
        Self { colour, verbose, columns, utc_offset_s: 0 }
    }
}

/// Colours of parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Paint {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Magenta,
    Cyan,
}

impl Paint {
    /// Parameter of the code that selects it (ECMA-48, 8.3.117).
    fn code(self) -> Option<&'static [u8]> {
        match self {
            Self::Plain => None,
            Self::Bold => Some(b"1"),
            Self::Dim => Some(b"2"),
            Self::Red => Some(b"31"),
            Self::Green => Some(b"32"),
            Self::Yellow => Some(b"33"),
            Self::Magenta => Some(b"35"),
            Self::Cyan => Some(b"36"),
        }
    }

    /// By status of a call of gRPC.
    fn of_call(grpc: &Grpc) -> Self {
        match grpc.status {
            Some(0) => Self::Green,
            Some(_) => Self::Red,
            None => Self::Plain,
        }
    }

    /// By class of status; a missing one stands out as well.
    fn of_status(status: Option<u16>) -> Self {
        match status {
            Some(100..=299) => Self::Green,
            Some(300..=399) => Self::Cyan,
            Some(400..=499) => Self::Yellow,
            Some(500..=599) => Self::Red,
            _ => Self::Magenta,
        }
    }
}

/// A call of gRPC: `Service/Method STATUS`, as far as it is known.
fn call(grpc: &Grpc) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let status = match (grpc.status_name(), grpc.status) {
        (Some(name), _) => format!(" {name}"),
        (None, Some(code)) => format!(" {code}"),
        (None, None) => String::new(),
    };
    format!("{}/{}{status}", part(&grpc.service), part(&grpc.method))
}

/// Output with a style.
struct Pen<'o> {
    out: &'o mut Vec<u8>,
    colour: bool,
}

impl Pen<'_> {
    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Writes in a colour.
    fn painted<T>(&mut self, paint: Paint, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let code = paint.code().filter(|_| self.colour);
        if let Some(code) = code {
            self.out.extend_from_slice(b"\x1b[");
            self.out.extend_from_slice(code);
            self.out.push(b'm');
        }
        let result = write(self.out);
        if code.is_some() {
            self.out.extend_from_slice(b"\x1b[0m");
        }
        result
    }

    fn paint(&mut self, paint: Paint, text: &str) {
        self.painted(paint, |out| out.extend_from_slice(text.as_bytes()));
    }

    /// Writes wire bytes, cut to `columns` if there are that many and padded to them, then a space.
    fn left(&mut self, paint: Paint, bytes: &[u8], columns: usize, cut: bool) {
        let taken = self.painted(paint, |out| match cut {
            true => printable::write_cut(out, bytes, columns),
            false => printable::write(out, bytes),
        });
        self.pad(columns.saturating_sub(taken));
        self.put(" ");
    }

    /// Writes a text of ours at the right end of `columns`, then a space.
    fn right(&mut self, paint: Paint, text: &str, columns: usize) {
        self.pad(columns.saturating_sub(text.chars().count()));
        self.paint(paint, text);
        self.put(" ");
    }

    fn pad(&mut self, columns: usize) {
        self.out.resize(self.out.len() + columns, b' ');
    }
}

/// Appends the titles of the columns, with the line end.
pub(crate) fn write_titles(out: &mut Vec<u8>, style: &Style) {
    let mut pen = Pen { out, colour: style.colour };
    let zone = match style.utc_offset_s {
        0 => "TIME (UTC)".to_owned(),
        s => format!("TIME {}{:02}:{:02}", if s < 0 { '-' } else { '+' }, s.abs() / 3600, s.abs() / 60 % 60),
    };
    pen.left(Paint::Dim, zone.as_bytes(), 12, true);
    pen.left(Paint::Dim, b"ST", 3, true);
    pen.left(Paint::Dim, b"METHOD", METHOD_COLUMNS, true);
    pen.left(Paint::Dim, b"HOST AND TARGET", url_columns(style), true);
    pen.right(Paint::Dim, "TIME", DURATION_COLUMNS);
    if is_wide(style) {
        pen.right(Paint::Dim, "SENT", SIZE_COLUMNS);
        pen.right(Paint::Dim, "BODY", SIZE_COLUMNS);
    }
    pen.put("  ");
    pen.left(Paint::Dim, b"PROCESS", PROCESS_COLUMNS, true);
    if is_wide(style) {
        pen.paint(Paint::Dim, "CLIENT → SERVER");
    }
    end_line(pen.out);
}

/// Appends one transaction, with the line end.
pub(crate) fn write_transaction(out: &mut Vec<u8>, t: Shown<'_>, context: &Context, style: &Style) {
    let facts = t.facts();
    let mut pen = Pen { out, colour: style.colour };
    pen.painted(Paint::Dim, |out| write_time_of_day(out, shifted(t.time_ns(), style.utc_offset_s)));
    pen.put(" ");

    let status = facts.response.as_ref().and_then(Message::status);
    let digits = match status {
        Some(status) => format!("{status:03}"),
        // It may still come.
        None if facts.phase == Phase::Start => "...".to_owned(),
        None => "---".to_owned(),
    };
    pen.left(Paint::of_status(status), digits.as_bytes(), 3, true);

    let method = facts.request.as_ref().and_then(Message::method);
    pen.left(Paint::Bold, method.unwrap_or(b"-"), METHOD_COLUMNS, true);
    match &facts.request {
        Some(request) => pen.left(Paint::Plain, &location(request), url_columns(style), !style.verbose),
        None => pen.left(Paint::Dim, b"(request not seen)", url_columns(style), true),
    }
    pen.right(Paint::Plain, &t.timing().total_ns.map_or("-".to_owned(), duration), DURATION_COLUMNS);
    if is_wide(style) {
        pen.right(Paint::Dim, &body_size(facts.request.as_ref()), SIZE_COLUMNS);
        pen.right(Paint::Plain, &body_size(facts.response.as_ref()), SIZE_COLUMNS);
    }
    // As this host sees it: requests arrive at a server and leave from a client.
    pen.paint(
        Paint::Cyan,
        match facts.role {
            Role::Server => "← ",
            Role::Client => "→ ",
            Role::Unknown(_) => "? ",
        },
    );
    let name = facts.process.as_ref().map(|p| name_of(p, context));
    pen.left(Paint::Plain, name.unwrap_or(b"-"), PROCESS_COLUMNS, true);
    if is_wide(style) {
        pen.painted(Paint::Dim, |out| {
            write_endpoint(out, facts.source);
            out.extend_from_slice(" → ".as_bytes());
            write_endpoint(out, facts.destination);
        });
        pen.put(" ");
    }
    write_marks(&mut pen, t);
    end_line(pen.out);
    if style.verbose {
        write_details(&mut pen, t, context);
    }
}

/// Ends a line, without blanks at its end.
fn end_line(out: &mut Vec<u8>) {
    while out.last() == Some(&b' ') {
        out.pop();
    }
    out.push(b'\n');
}

fn is_wide(style: &Style) -> bool {
    style.columns.is_none_or(|columns| columns >= WIDE_COLUMNS)
}

/// Columns of host and target: what the others leave.
fn url_columns(style: &Style) -> usize {
    let Some(columns) = style.columns else { return URL_COLUMNS_DEFAULT };
    let wide = if is_wide(style) { SIZES_COLUMNS + 1 + ADDRESSES_COLUMNS } else { 0 };
    columns.saturating_sub(LEFT_COLUMNS + RIGHT_COLUMNS + wide).max(URL_COLUMNS_MIN)
}

fn shifted(unix_ns: u64, offset_s: i32) -> u64 {
    unix_ns.saturating_add_signed(i64::from(offset_s) * NS_PER_S as i64)
}

/// Host and target in one, as one would type it.
fn location(request: &Message) -> Vec<u8> {
    let target = request.target().unwrap_or_default();
    let host = request
        .lines()
        .find(|(name, _)| *name == b":authority" || name.eq_ignore_ascii_case(b"host"))
        .map(|(_, value)| value);
    match host {
        Some(host) if target.starts_with(b"/") => [host, target].concat(),
        Some(host) if target == b"*" => [host, b" *"].concat(),
        _ => target.to_vec(),
    }
}

fn name_of<'a>(process: &'a ProcessRef, context: &'a Context) -> &'a [u8] {
    context.processes.process(process).map_or(process_name(process), |p| p.name.as_bytes())
}

/// Three significant digits and a unit.
fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => significant(ns, 1_000, "µs"),
        1_000_000..1_000_000_000 => significant(ns, 1_000_000, "ms"),
        _ => significant(ns, NS_PER_S, "s"),
    }
}

/// A size in decimal units, two or three digits.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => short(bytes, 1_000, "kB"),
        1_000_000..1_000_000_000 => short(bytes, 1_000_000, "MB"),
        1_000_000_000..1_000_000_000_000 => short(bytes, 1_000_000_000, "GB"),
        _ => short(bytes, 1_000_000_000_000, "TB"),
    }
}

/// `1.24`, `12.4` or `124` units. Cut and not rounded, so that no unit is reached before it is.
fn significant(value: u64, unit: u64, name: &str) -> String {
    let whole = value / unit;
    match whole {
        0..10 => format!("{whole}.{:02} {name}", value % unit * 100 / unit),
        10..100 => format!("{whole}.{} {name}", value % unit * 10 / unit),
        _ => format!("{whole} {name}"),
    }
}

/// `1.2`, `12` or `124` units.
fn short(value: u64, unit: u64, name: &str) -> String {
    let whole = value / unit;
    match whole {
        0..10 => format!("{whole}.{} {name}", value % unit / (unit / 10)),
        _ => format!("{whole} {name}"),
    }
}

/// Size of a body; `?` where it is not known, `-` where there is no message.
fn body_size(message: Option<&Message>) -> String {
    message.map_or("-".to_owned(), |m| m.body_bytes.map_or("?".to_owned(), size))
}

/// Why the record is not whole, oddities and attacks, at the end of the line.
fn write_marks(pen: &mut Pen<'_>, t: Shown<'_>) {
    match t.facts().phase {
        Phase::Whole => {}
        Phase::Start => pen.paint(Paint::Cyan, "▶ start "),
        Phase::End { .. } => pen.paint(Paint::Cyan, "■ end "),
    }
    if let Some(grpc) = t.grpc() {
        pen.paint(Paint::of_call(grpc), &format!("grpc {} ", call(grpc)));
    }
    for entry in &t.facts().incomplete {
        pen.paint(Paint::Magenta, &format!("✂ {} ", incomplete(entry)));
    }
    for anomaly in &t.facts().anomalies {
        pen.paint(Paint::Yellow, &format!("! {} ", anomaly.name()));
    }
    for hit in t.features().patterns.iter().filter(|hit| hit.kind == PatternKind::Attack) {
        pen.painted(Paint::Red, |out| {
            out.extend_from_slice(b"!! ");
            printable::write(out, hit.class.as_bytes());
        });
        pen.put(" ");
    }
}

/// The reason, and the side where the reason does not name it.
fn incomplete(entry: &Incomplete) -> String {
    match entry.reason {
        IncompleteReason::ResponseMissing | IncompleteReason::RequestMissing => {
            entry.reason.name().into_owned()
        }
        reason => format!("{}:{}", side_name(entry.side), reason.name()),
    }
}

/// Both messages and all that is known, indented; `>` before what the client sent, `<` before what the server sent,
/// `*` before what neither did.
fn write_details(pen: &mut Pen<'_>, t: Shown<'_>, context: &Context) {
    let facts = t.facts();
    let (client, server) = (facts.source, facts.destination);
    if let Some(request) = &facts.request {
        write_message(pen, '>', request, client, server);
    }
    for message in facts.interim.iter().chain(&facts.response) {
        write_message(pen, '<', message, server, client);
    }
    let timing = t.timing();
    let spans = [
        ("request", timing.request_ns),
        ("wait", timing.wait_ns),
        ("response", timing.response_ns),
        ("total", timing.total_ns),
    ];
    let spans: Vec<_> =
        spans.iter().filter_map(|(name, ns)| Some(format!("{name} {}", duration((*ns)?)))).collect();
    if !spans.is_empty() {
        note(pen, &[b"timing: ", spans.join(", ").as_bytes()]);
    }
    for (title, process) in [("process", &facts.process), ("peer process", &facts.peer_process)] {
        if let Some(process) = process {
            let known = context.processes.process(process);
            let executable = known.and_then(|p| p.executable.as_deref());
            let cgroup = known.and_then(|p| p.cgroup.as_deref());
            let executable = executable.map(|e| format!(" {e}")).unwrap_or_default();
            let cgroup = cgroup.map(|c| format!(" in {c}")).unwrap_or_default();
            let pid = format!("[{}]", process.pid);
            let name = name_of(process, context);
            let title = format!("{title}: ");
            note(pen, &[title.as_bytes(), name, pid.as_bytes(), executable.as_bytes(), cgroup.as_bytes()]);
        }
    }
    if let Some(tls) = &facts.tls {
        write_tls(pen, tls);
    }
    if let Some(grpc) = t.grpc() {
        write_grpc(pen, grpc);
    }
    if let Some(close) = facts.close {
        note(pen, &[b"ended with the connection: ", close_name(close).as_bytes()]);
    }
    if !t.redacted().is_empty() {
        note(pen, &[b"redacted: ", t.redacted().join(", ").as_bytes()]);
    }
    write_features(pen, t);
    for entry in &facts.incomplete {
        let at = entry.at.map(|at| format!(" after {at} bytes")).unwrap_or_default();
        note(pen, &[b"incomplete: ", incomplete(entry).as_bytes(), at.as_bytes()]);
    }
    for anomaly in &facts.anomalies {
        note(pen, &[b"anomaly: ", anomaly.name().as_bytes()]);
    }
}

fn write_tls(pen: &mut Pen<'_>, tls: &Tls) {
    let (version, cipher) = (tls.version_name(), tls.cipher_name());
    let facts = [
        ("version ", version.as_deref()),
        ("", cipher.as_deref()),
        ("for ", tls.sni.as_deref()),
        ("protocol ", tls.alpn.as_deref()),
        ("", tls.resumed.filter(|&resumed| resumed).map(|_| "resumed")),
    ];
    let facts: Vec<_> = facts.iter().filter_map(|(name, text)| Some(format!("{name}{}", (*text)?))).collect();
    note(pen, &[b"TLS: ", facts.join(", ").as_bytes()]);
}

fn write_grpc(pen: &mut Pen<'_>, grpc: &Grpc) {
    let mut text = format!("{}: {}", if grpc.web { "grpc-web" } else { "grpc" }, call(grpc));
    if let Some(ns) = grpc.timeout_ns {
        text.push_str(&format!(", timeout {}", duration(ns)));
    }
    if let Some(encoding) = &grpc.encoding {
        text.push_str(&format!(", {encoding}"));
    }
    let message = grpc.message.as_deref().filter(|message| !message.is_empty());
    let message = message.map(|message| format!(", {message}")).unwrap_or_default();
    note(pen, &[text.as_bytes(), message.as_bytes()]);
}

fn write_features(pen: &mut Pen<'_>, t: Shown<'_>) {
    let features = t.features();
    for jwt in &features.jwt {
        let alg = jwt.alg.as_deref().unwrap_or("unknown");
        let unsigned = if jwt.unsigned { ", without a signature" } else { "" };
        let text = format!("token in {}: algorithm {alg}{unsigned}", jwt.place.name);
        note(pen, &[text.as_bytes()]);
    }
    for basic in &features.basic {
        let user = basic.user.as_deref().unwrap_or("unknown");
        note(pen, &[format!("basic credentials in {}: user {user}", basic.place.name).as_bytes()]);
    }
    for shape in &features.key_shape {
        note(pen, &[format!("key in {}: {}", shape.place.name, shape.provider).as_bytes()]);
    }
    for hit in &features.patterns {
        note(pen, &[format!("{} in {}: {}", hit.kind.name(), hit.place.name, hit.class).as_bytes()]);
    }
}

/// A line of what neither side sent. Its parts may hold wire bytes.
fn note(pen: &mut Pen<'_>, parts: &[&[u8]]) {
    pen.paint(Paint::Dim, "    * ");
    for part in parts {
        printable::write(pen.out, part);
    }
    end_line(pen.out);
}

fn write_message(pen: &mut Pen<'_>, mark: char, message: &Message, from: Endpoint, to: Endpoint) {
    pen.put("    ");
    pen.painted(Paint::Dim, |out| {
        write_packet(out, from, to, &packet::elements(&message.headers), message.segments);
    });
    end_line(pen.out);
    let version: &[u8] = match message.version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
        Version::Http2 => b"HTTP/2",
        Version::Http09 => b"HTTP/0.9",
        Version::Other | Version::Unknown(_) => b"HTTP/?",
    };
    match message.start {
        StartLine::Request { method, target } => {
            let parts = [message.bytes(method), b" ", message.bytes(target), b" ", version];
            write_start(pen, mark, Paint::Bold, &parts);
        }
        StartLine::Status { status, reason } => {
            let digits = format!(" {status:03} ");
            let parts = [version, digits.as_bytes(), message.bytes(reason)];
            write_start(pen, mark, Paint::of_status(Some(status)), &parts);
        }
    }
    write_lines(pen, mark, message, &message.lines);
    if let Some(bytes) = message.body_bytes.filter(|&bytes| bytes > 0) {
        note(pen, &[format!("body of {bytes} bytes").as_bytes()]);
    }
    if !message.trailers.is_empty() {
        note(pen, &[b"trailers"]);
        write_lines(pen, mark, message, &message.trailers);
    }
}

fn write_start(pen: &mut Pen<'_>, mark: char, paint: Paint, parts: &[&[u8]]) {
    pen.paint(Paint::Dim, &format!("    {mark} "));
    pen.painted(paint, |out| {
        for part in parts {
            printable::write(out, part);
        }
    });
    end_line(pen.out);
}

fn write_lines(pen: &mut Pen<'_>, mark: char, message: &Message, lines: &[Line]) {
    for line in lines {
        pen.paint(Paint::Dim, &format!("    {mark} "));
        pen.painted(Paint::Cyan, |out| {
            printable::write(out, message.bytes(line.name));
        });
        pen.put(": ");
        printable::write(pen.out, message.bytes(line.value));
        end_line(pen.out);
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
