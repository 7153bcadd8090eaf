use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;

use super::*;
use crate::event::{CloseReason, ConnectionId, Direction, Endpoint, HeaderBytes, ProcessRef};
use crate::features::{Basic, Features, Jwt, KeyShape, KidClass, PatternHit, PatternKind, Place};
use crate::fixture::{self, Known};
use crate::grpc::Grpc;
use crate::json::{Context, Processes};
use crate::record::{Kind, Record, Text};
use crate::tls::Tls;
use crate::transaction::{
    Anomaly, Incomplete, IncompleteReason, Line, Message, Phase, Process, RawTransaction, Reset, Role, Side,
    Span, StartLine, Transaction, Version,
};
use crate::volume::{LeftOut, Rate};
use crate::{ecs, json};

/// What a live writer knows.
#[derive(Debug)]
struct Table(Vec<(ProcessRef, Process)>);

impl Processes for Table {
    fn process(&self, of: &ProcessRef) -> Option<&Process> {
        self.0.iter().find(|(known, _)| known == of).map(|(_, process)| process)
    }
}

/// Both texts of a transaction.
fn texts(t: &Transaction, context: &Context) -> (String, String) {
    let (mut line, mut document) = (Vec::new(), Vec::new());
    json::write_transaction(&mut line, t, context);
    ecs::write_transaction(&mut document, t, context);
    (String::from_utf8(line).unwrap(), String::from_utf8(document).unwrap())
}

fn encoded(t: &Transaction, context: &Context) -> Vec<u8> {
    let mut out = Vec::new();
    transaction(&mut out, t, context).unwrap();
    out
}

fn record_texts(bytes: &[u8]) -> (String, String) {
    let record = decode(bytes).unwrap();
    let (mut line, mut document) = (Vec::new(), Vec::new());
    json::write_record(&mut line, &record);
    ecs::write_record(&mut document, &record, None);
    (String::from_utf8(line).unwrap(), String::from_utf8(document).unwrap())
}

fn side() -> impl Strategy<Value = Side> {
    select(vec![Side::Request, Side::Response])
}

fn ip() -> impl Strategy<Value = IpAddr> {
    let groups = any::<[u16; 8]>().prop_map(|groups| IpAddr::V6(groups.into()));
    let mapped = any::<u32>().prop_map(|ip| IpAddr::V6(Ipv4Addr::from_bits(ip).to_ipv6_mapped()));
    let special = select(vec![Ipv4Addr::UNSPECIFIED.into(), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
    prop_oneof![any::<u32>().prop_map(|ip| IpAddr::V4(Ipv4Addr::from_bits(ip))), groups, mapped, special]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (ip(), any::<u16>()).prop_map(|(ip, port)| Endpoint { ip, port })
}

/// Bytes that are a packet's headers more or less.
fn headers() -> impl Strategy<Value = Vec<u8>> {
    let options = prop_oneof![
        Just(vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
        vec(select(vec![0, 1, 2, 3, 4, 8, 10, 30, 34, 253, 254]), 0..40),
    ];
    let packet = (options, any::<[u8; 20]>(), any::<u16>()).prop_map(|(options, tcp, id)| {
        let mut bytes = fixture::packet().as_slice()[..20].to_vec();
        bytes[4..6].copy_from_slice(&id.to_be_bytes());
        bytes.extend(tcp);
        bytes[32] = (5 + options.len().div_ceil(4)) as u8 * 16;
        bytes.extend(options);
        bytes
    });
    let v6 = (any::<[u8; 80]>(), select(vec![0_u8, 6, 43, 44, 51, 60])).prop_map(|(mut bytes, next)| {
        (bytes[0], bytes[6], bytes[40], bytes[41]) = (0x60, next, 6, 0);
        bytes.to_vec()
    });
    prop_oneof![packet, v6, vec(any::<u8>(), 0..130)]
}

fn wire() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        "[ -~]{0,40}".prop_map(String::into_bytes),
        vec(0x20_u8..0x7f, 120..300)
    ]
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs() -> impl Strategy<Value = Pairs> {
    vec((wire(), wire()), 0..6)
}

fn message(is_request: bool) -> impl Strategy<Value = Message> {
    let version =
        select(vec![Version::Http10, Version::Http11, Version::Unknown(1000), Version::Unknown(u32::MAX)]);
    let times = prop_oneof![Just((fixture::TIME_NS, 0)), (any::<u64>(), any::<u64>())];
    let counts = (option::of(any::<u64>()), select(vec![0, 1, 2, 44, 65_535]), option::of(any::<u64>()));
    ((wire(), wire(), any::<u16>()), pairs(), pairs(), version, headers(), counts, any::<u32>(), times)
        .prop_map(
            move |((method, rest, status), lines, trailers, version, headers, counts, sequence, times)| {
                let mut text = b"of no string".to_vec();
                let mut put = |bytes: &[u8]| {
                    text.extend_from_slice(bytes);
                    Span::of(text.len() - bytes.len(), text.len())
                };
                let start = if is_request {
                    StartLine::Request { method: put(&method), target: put(&rest) }
                } else {
                    StartLine::Status { status, reason: put(&rest) }
                };
                let mut spans = |pairs: &Pairs| -> Vec<Line> {
                    let line = |(name, value): &(Vec<u8>, Vec<u8>)| Line {
                        name: if name.len() % 7 == 6 { Span::UNSEEN } else { put(name) },
                        value: if value.len() % 7 == 6 { Span::UNSEEN } else { put(value) },
                        never_indexed: value.len() % 5 == 3,
                    };
                    pairs.iter().map(line).collect()
                };
                Message {
                    start,
                    version,
                    lines: spans(&lines),
                    trailers: spans(&trailers),
                    body_bytes: counts.0,
                    headers: HeaderBytes::new(&headers),
                    segments: counts.1,
                    frame: counts.2,
                    sequence,
                    first_ns: times.0,
                    last_ns: times.0.wrapping_add(times.1),
                    text,
                }
            },
        )
}

fn features() -> impl Strategy<Value = Features> {
    let place = || (side(), ".{0,9}").prop_map(|(side, name)| Place { side, name });
    let kid = select(vec![KidClass::Empty, KidClass::Odd, KidClass::Path, KidClass::Unknown(99)]);
    let words = (option::of(".{0,9}"), option::of(".{0,9}"), option::of(".{0,200}"));
    let jwt = (place(), words, option::of(kid), option::of(any::<i64>()), any::<u8>(), any::<bool>())
        .prop_map(|(place, (alg, typ, jku_host), kid, expires_unix_s, parts, unsigned)| Jwt {
            place,
            alg,
            typ,
            kid,
            jku_host,
            expires_unix_s,
            parts,
            unsigned,
        });
    let basic = (place(), option::of(".{0,200}"), option::of(any::<bool>()))
        .prop_map(|(place, user, password_empty)| Basic { place, user, password_empty });
    let key_shape = (place(), ".{0,9}").prop_map(|(place, provider)| KeyShape { place, provider });
    let kind = select(vec![PatternKind::Secret, PatternKind::Attack, PatternKind::Unknown(7)]);
    let hit = (place(), kind, ".{0,9}").prop_map(|(place, kind, class)| PatternHit { place, kind, class });
    let some = (vec(jwt, 0..3), vec(basic, 0..3), vec(key_shape, 0..3), vec(hit, 0..3))
        .prop_map(|(jwt, basic, key_shape, patterns)| Features { jwt, basic, key_shape, patterns });
    prop_oneof![Just(Features::default()), some]
}

/// A process, and what is known of it.
fn process() -> impl Strategy<Value = (ProcessRef, Option<Process>)> {
    let comm = prop_oneof!["[a-z]{0,15}".prop_map(String::into_bytes), vec(1_u8.., 0..16)];
    let name = prop_oneof![Just(None), "[a-z]{0,15}".prop_map(Some)];
    let known = (option::of(".{0,30}"), option::of(".{0,200}"), option::of("[0-9a-f]{64}"));
    (0_u32..3, comm, name, option::of(known)).prop_map(|(pid, comm, name, known)| {
        let mut of = ProcessRef { pid, name: [0; 16] };
        of.name[..comm.len()].copy_from_slice(&comm);
        let name = name.unwrap_or_else(|| String::from_utf8_lossy(&comm).into_owned());
        let known =
            known.map(|(executable, cgroup, container)| Process { pid, name, executable, cgroup, container });
        (of, known)
    })
}

fn any_transaction() -> impl Strategy<Value = (Transaction, Table)> {
    let role = select(vec![Role::Server, Role::Client, Role::Unknown(77)]);
    let numbers = (any::<u64>(), any::<u32>(), any::<u32>());
    let ends = (endpoint(), endpoint(), role, select(vec![Direction::Ingress, Direction::Egress]));
    let messages = (option::of(message(true)), vec(message(false), 0..3), option::of(message(false)));
    let reason = select(vec![
        IncompleteReason::Truncated,
        IncompleteReason::RingFull,
        IncompleteReason::Memory,
        IncompleteReason::HpackUnknown,
        IncompleteReason::Unknown(300),
    ]);
    let incomplete = (reason, side(), option::of(any::<u64>())).prop_map(|(reason, side, at)| Incomplete {
        reason,
        side,
        at,
    });
    let anomaly = select(vec![
        Anomaly::MalformedHead,
        Anomaly::StrayBytes,
        Anomaly::BareLf,
        Anomaly::Unknown(u32::MAX),
    ]);
    let oddities = (vec(incomplete, 0..4), vec(anomaly, 0..4));
    let rest = (vec(".{0,9}", 0..3), features(), option::of(grpc()));
    let left_out = (any::<u32>(), select(vec![1.0, 0.1, 0.000_001]), any::<(u32, u32)>());
    let processes = (option::of(process()), option::of(process()));
    (numbers, ends, messages, oddities, rest, processes, left_out).prop_map(
        |(
            numbers,
            ends,
            messages,
            oddities,
            (redacted, features, grpc),
            processes,
            (left_out, rate, lines),
        )| {
            let known = processes.0.iter().chain(&processes.1);
            let known = known.filter_map(|(of, known)| Some((*of, known.clone()?))).collect();
            let inner = RawTransaction {
                connection: ConnectionId(numbers.0),
                number: numbers.1,
                netns: numbers.2,
                source: ends.0,
                destination: ends.1,
                role: ends.2,
                request_direction: ends.3,
                request: messages.0,
                interim: messages.1,
                response: messages.2,
                process: processes.0.map(|(of, _)| of),
                peer_process: processes.1.map(|(of, _)| of),
                incomplete: oddities.0,
                anomalies: oddities.1,
                stream: Some(numbers.1).filter(|n| n % 2 == 1),
                reset: Some(Reset { by: Side::Response, error_code: numbers.2, goaway: numbers.2 % 3 == 1 })
                    .filter(|_| numbers.1 % 3 == 0),
                tls: Some(numbers).filter(|_| numbers.1 % 2 == 0).map(|numbers| {
                    Arc::new(Tls {
                        version: Some(0x0303).filter(|_| numbers.1 % 8 != 0),
                        cipher: Some(numbers.2 as u16).filter(|&cipher| cipher != 0),
                        sni: redacted.first().cloned().filter(|name| !name.is_empty()),
                        alpn: Some("h2".to_owned()).filter(|_| numbers.1 % 4 == 0),
                        ja4: None,
                        resumed: Some(numbers.1 % 16 == 2).filter(|_| numbers.1 % 6 == 0),
                    })
                }),
                phase: match numbers.2 % 3 {
                    0 => Phase::Whole,
                    1 => Phase::Start,
                    _ => Phase::End { start: numbers.1.wrapping_sub(1) },
                },
                close: [None, Some(CloseReason::Fin), Some(CloseReason::Reset), Some(CloseReason::Evicted)]
                    [numbers.1 as usize % 4],
            };
            let sample_rate = Rate::new(rate).unwrap();
            let lines_left_out = LeftOut { request: lines.0, response: lines.1 };
            let transaction =
                Transaction { inner, features, grpc, redacted, left_out, sample_rate, lines_left_out };
            (transaction, Table(known))
        },
    )
}

fn grpc() -> impl Strategy<Value = Box<Grpc>> {
    let names = (option::of(".{0,9}"), option::of(".{0,9}"), option::of(".{0,9}"), option::of(".{0,9}"));
    (names, option::of(any::<u32>()), option::of(any::<u64>()), any::<bool>()).prop_map(
        |((service, method, message, encoding), status, timeout_ns, web)| {
            Box::new(Grpc { service, method, status, message, timeout_ns, encoding, web })
        },
    )
}

fn details() -> impl Strategy<Value = Vec<(Text, Text)>> {
    vec((".{0,9}", ".{0,150}"), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

fn any_other() -> impl Strategy<Value = Record> {
    use crate::record::{Annotation, Checkpoint, Coverage, Lifecycle, Loss, Unread};
    let loss = (any::<[u64; 4]>(), ".{0,9}", ".{0,200}").prop_map(|(numbers, stage, reason)| {
        let [time_ns, count, since_ns, until_ns] = numbers;
        Record::Loss(Loss { time_ns, stage: stage.into(), reason: reason.into(), count, since_ns, until_ns })
    });
    let optional = (option::of(".{0,9}"), option::of(any::<[u8; 32]>()), option::of(".{0,9}"));
    let lifecycle = (any::<u64>(), ".{0,9}", optional, option::of(any::<(u64, u64)>()), details()).prop_map(
        |(time_ns, event, (filter, config_hash, redaction), off_ns, details)| {
            Record::Lifecycle(Lifecycle {
                time_ns,
                event: event.into(),
                version: "0.1.0".into(),
                filter: filter.map(Into::into),
                config_hash,
                redaction: redaction.map(Into::into),
                off_ns,
                details,
            })
        },
    );
    let annotation = (any::<u64>(), ".{0,40}", details()).prop_map(|(time_ns, record, details)| {
        Record::Annotation(Annotation { time_ns, record: record.into(), fact: "route".into(), details })
    });
    let unread =
        (".{0,9}", ".{0,9}", option::of(process()), any::<u64>()).prop_map(|(what, place, of, count)| {
            let process = of.and_then(|(_, known)| known);
            Unread { what: what.into(), why: "".into(), place: place.into(), process, count }
        });
    let coverage = (any::<u64>(), vec(unread, 0..4))
        .prop_map(|(time_ns, unread)| Record::Coverage(Coverage { time_ns, unread }));
    let checkpoint = (any::<u64>(), any::<u64>(), any::<[u8; 32]>(), vec(any::<u8>(), 0..80)).prop_map(
        |(time_ns, size, root, signature)| {
            Record::Checkpoint(Checkpoint { time_ns, origin: "headtrail/a/0".into(), size, root, signature })
        },
    );
    prop_oneof![loss, lifecycle, annotation, coverage, checkpoint]
}

proptest! {
    #[test]
    fn a_stored_transaction_prints_as_it_would_have_live((t, table) in any_transaction(), run: u64) {
        let context = Context { run, processes: &table };
        let bytes = encoded(&t, &context);
        prop_assert_eq!(record_texts(&bytes), texts(&t, &context));
        // Here the facts that are not printed.
        let Record::Transaction(stored) = decode(&bytes).unwrap() else { panic!("not a transaction") };
        let (now, then) = (stored.transaction().facts(), t.facts());
        prop_assert_eq!((stored.run, now.netns, now.request_direction), (run, then.netns, then.request_direction));
        for (now, then) in now.request.iter().chain(&now.interim).zip(then.request.iter().chain(&then.interim)) {
            let of = |m: &Message| (m.sequence, m.first_ns, m.last_ns, m.segments, m.frame);
            prop_assert_eq!(of(now), of(then));
        }
        // And what is stored once more is the same.
        let mut again = Vec::new();
        record(&mut again, &Record::Transaction(stored)).unwrap();
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn the_bytes_are_what_the_generated_types_write((t, table) in any_transaction(), run: u64) {
        let bytes = encoded(&t, &Context { run, processes: &table });
        let decoded = v1::Record::decode(bytes.as_slice()).unwrap();
        let Some(v1::record::Kind::Transaction(of)) = &decoded.kind else { panic!("not a transaction") };
        let facts = t.facts();
        for (of, m) in of.request.iter().zip(&facts.request) {
            let lines: Vec<_> = of.lines.iter().map(|l| (l.name.as_slice(), l.value.as_slice())).collect();
            prop_assert_eq!(lines, m.lines().collect::<Vec<_>>());
            prop_assert_eq!(&of.target, m.target().unwrap());
        }
        prop_assert_eq!((decoded.time_ns, of.run, of.connection), (t.time_ns(), run, facts.connection.0));
        prop_assert_eq!(decoded.encode_to_vec(), bytes);
    }

    #[test]
    fn other_records_come_back_as_they_were(of in any_other()) {
        let mut bytes = Vec::new();
        record(&mut bytes, &of).unwrap();
        let back = decode(&bytes).unwrap();
        prop_assert_eq!(format!("{back:?}"), format!("{of:?}"));
        prop_assert_eq!(peek(&bytes), Ok((of.kind(), of.time_ns())));
        prop_assert_eq!(v1::Record::decode(bytes.as_slice()).unwrap().encode_to_vec(), bytes);
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn changed_bytes_are_a_record_or_an_error(
        (t, table) in any_transaction(), other in any_other(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = encoded(&t, &Context { run: 1, processes: &table });
        let mut small = Vec::new();
        record(&mut small, &other).unwrap();
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = byte;
            survives(&bytes);
            survives(&bytes[..at]);
            let at = place.index(small.len());
            small[at] = byte;
            survives(&small);
        }
    }

    #[test]
    fn stored_packets_keep_their_elements_and_lose_what_may_not_be_kept(bytes in headers()) {
        use crate::packet::{elements, for_storage};
        let headers = HeaderBytes::new(&bytes);
        let (stored, _) = for_storage(&headers);
        let (before, mut after) = (elements(&headers), elements(&stored));
        if let (Some(before), Some(after)) = (&before.ip, &mut after.ip) {
            prop_assert!(after.source.is_unspecified() && after.destination.is_unspecified());
            (after.source, after.destination) = (before.source, before.destination);
        }
        if let (Some(before), Some(after)) = (&before.tcp, &mut after.tcp) {
            prop_assert_eq!((after.source_port, after.destination_port), (0, 0));
            prop_assert_eq!(before.options.iter().collect::<Vec<_>>(), after.options.iter().collect::<Vec<_>>());
            (after.source_port, after.destination_port) = (before.source_port, before.destination_port);
            after.options = before.options;
        }
        prop_assert_eq!(before, after);
        let (again, _) = for_storage(&stored);
        prop_assert_eq!(again.as_slice(), stored.as_slice());
    }
}

/// Whatever is decoded can be printed and encoded, and is then canonical.
fn survives(bytes: &[u8]) {
    let _ = peek(bytes);
    let Ok(of) = decode(bytes) else { return };
    let mut text = Vec::new();
    json::write_record(&mut text, &of);
    ecs::write_record(&mut text, &of, Some("00000000000000ff-7"));
    let mut again = Vec::new();
    if record(&mut again, &of).is_ok() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        json::write_record(&mut first, &of);
        json::write_record(&mut second, &decode(&again).unwrap());
        assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
    }
}

/// A message with a field added at the end.
fn with_field(bytes: &[u8], field: u32) -> Vec<u8> {
    let mut out = bytes.to_vec();
    wire::optional_bytes(&mut out, field, Some(b"from a later version"));
    out
}

fn full() -> Transaction {
    let mut t = fixture::full();
    t.features = fixture::features();
    t
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let known = Known::new();
    let context = Context { run: 7, processes: &known };
    let t = full();
    let bytes = encoded(&t, &context);
    assert_eq!(record_texts(&with_field(&bytes, 400)), texts(&t, &context));
    // Within the transaction, and within its request.
    let mut decoded = v1::Record::decode(bytes.as_slice()).unwrap();
    let Some(v1::record::Kind::Transaction(of)) = decoded.kind.take() else { panic!("not a transaction") };
    let request = of.request.as_ref().unwrap().encode_to_vec();
    let mut content = v1::Transaction { request: None, ..of }.encode_to_vec();
    wire::optional_bytes(&mut content, 7, Some(&with_field(&request, 500)));
    let mut bytes = Vec::new();
    wire::optional_bytes(&mut bytes, 1, Some(&with_field(&content, 300)));
    wire::fixed64(&mut bytes, 32, t.time_ns());
    assert_eq!(record_texts(&bytes), texts(&t, &context));
}

#[test]
fn values_and_types_of_later_versions_are_kept_as_numbers() {
    let mut t = full();
    t.inner.role = Role::Unknown(5);
    t.inner.anomalies.push(Anomaly::Unknown(200));
    t.inner.incomplete[0].reason = IncompleteReason::Unknown(201);
    let bytes = encoded(&t, &Context { run: 7, processes: &() });
    let (line, document) = record_texts(&bytes);
    for text in [r#""role":"unknown_5""#, r#""unknown_200""#, r#""reason":"unknown_201""#] {
        assert!(line.contains(text) && document.contains(text), "{text} in {line}");
    }

    let mut bytes = Vec::new();
    wire::optional_bytes(&mut bytes, 17, Some(b"\xff\xff not a message"));
    assert_eq!(decode(&bytes).unwrap_err(), DecodeError::Malformed);
    bytes.clear();
    wire::message(&mut bytes, 17, |out| wire::optional_bytes(out, 1, Some(b"x")));
    wire::fixed64(&mut bytes, 32, 5);
    let Record::Unknown(of) = decode(&bytes).unwrap() else { panic!("known") };
    assert_eq!((of.kind.name().as_ref(), of.time_ns, &of.bytes), ("unknown_17", 5, &bytes));
    let mut again = Vec::new();
    record(&mut again, &Record::Unknown(of)).unwrap();
    assert_eq!(again, bytes);
}

#[test]
fn a_phase_that_is_not_known_here_is_not_shown_as_whole() {
    let t = v1::Transaction { phase: 3, ..v1::Transaction::default() };
    let of = v1::Record { time_ns: 9, kind: Some(v1::record::Kind::Transaction(t)) };
    let Record::Unknown(of) = decode(&of.encode_to_vec()).unwrap() else { panic!("known") };
    assert_eq!((of.kind, of.time_ns), (Kind::TRANSACTION, 9));
}

#[test]
fn ids_survive() {
    let bytes = encoded(&full(), &Context { run: 0xffff_0123_4567_89ab, processes: &() });
    assert!(record_texts(&bytes).0.contains(r#""id":"0123456789ab-beef-3""#));
}

#[test]
fn credentials_of_the_transport_are_not_stored() {
    let mut packet = fixture::packet().as_slice()[..40].to_vec();
    packet[32] = 0xf0;
    packet.extend([34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8]);
    packet.extend([30, 12, 0x01, 0, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1, 1, 1]);
    let mut t = full();
    t.inner.request.as_mut().unwrap().headers = HeaderBytes::new(&packet);
    let context = Context { run: 7, processes: &() };
    let bytes = encoded(&t, &context);
    for secret in [&[1, 2, 3, 4, 5, 6, 7, 8][..], &[9; 8], &[127, 0, 0, 1, 127, 0, 0, 1]] {
        assert!(!bytes.windows(secret.len()).any(|w| w == secret));
    }
    assert_eq!(record_texts(&bytes), texts(&t, &context));
}

#[test]
fn what_is_too_large_is_refused_and_leaves_nothing() {
    let mut t = full();
    let line = t.inner.request.as_ref().unwrap().lines[0];
    t.inner.request.as_mut().unwrap().lines = vec![line; LINES_MAX + 1];
    let mut out = b"before".to_vec();
    let context = Context { run: 7, processes: &() };
    assert_eq!(transaction(&mut out, &t, &context), Err(TooLarge));
    assert_eq!(out, b"before");
    t.inner.request.as_mut().unwrap().lines.truncate(LINES_MAX - 20);
    t.redacted = vec!["a".to_owned(); LINES_MAX];
    transaction(&mut out, &t, &context).unwrap();
    decode(&out[6..]).unwrap();
    t.redacted = vec!["a".repeat(1 << 20); 16];
    out.truncate(6);
    assert_eq!(transaction(&mut out, &t, &context), Err(TooLarge));
    assert_eq!(out, b"before");
}

#[test]
fn many_small_fields_do_not_ask_for_much_memory() {
    for field in [6, 7, 9, 12] {
        let mut content = Vec::new();
        (0..=FIELDS_MAX).for_each(|_| content.extend([field << 3 | 2, 0]));
        let mut nested = Vec::new();
        wire::optional_bytes(&mut nested, 7, Some(&content));
        for content in [content, nested] {
            let mut bytes = Vec::new();
            wire::optional_bytes(&mut bytes, 1, Some(&content));
            assert_eq!(decode(&bytes).unwrap_err(), DecodeError::TooLarge);
        }
    }
    assert_eq!(decode(&vec![0; RECORD_BYTES_MAX + 1]).unwrap_err(), DecodeError::TooLarge);
    assert_eq!(decode(&[]).unwrap_err(), DecodeError::NoKind);
    assert_eq!(decode(&[10, 0, 18, 0]).unwrap_err(), DecodeError::NoKind);
}

/// One of every type, as it lies in journals that exist. If this fails, they can no longer be read.
#[test]
fn the_bytes_of_known_records_are_these() {
    let mut text = String::new();
    let mut transaction = full();
    // Those journals have none.
    transaction.inner.tls = None;
    let mut bytes = encoded(&transaction, &Context { run: 0x0123_4567_89ab, processes: &Known::new() });
    text += &format!("{}\n", crate::json_records::hex(&bytes));
    for of in fixture::others() {
        bytes.clear();
        record(&mut bytes, &of).unwrap();
        text += &format!("{}\n", crate::json_records::hex(&bytes));
    }
    let golden = include_str!("golden.hex");
    let golden: Vec<_> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), golden);
}
