//! Bytes that somebody has changed, cut or made up: no panic, no wrong plaintext, no growth.

use headtrail_tls::{Connection, KeyLog, Reason, Side, State};
use proptest::prelude::*;
use rustls::crypto::ring::ALL_CIPHER_SUITES;

use crate::pairs::{Ends, Pair};
use crate::reading::{Step, joined, pattern, read, recut};

fn short_talk(suite: usize) -> (Ends, Pair) {
    let ends = Ends::with_suites(&[ALL_CIPHER_SUITES[suite]], |_, _| {});
    let mut pair = ends.connect();
    pair.pump();
    for turn in 0..4 {
        pair.say(Side::A, &pattern(150, turn));
        pair.say(Side::B, &pattern(400, turn));
    }
    (ends, pair)
}

fn bytes_of(step: &mut Step) -> &mut Vec<u8> {
    match step {
        Step::Bytes(_, bytes) => bytes,
        Step::Gap(..) => unreachable!("there are none"),
    }
}

#[test]
fn what_comes_out_of_changed_bytes_is_a_beginning_of_what_was_sent() {
    for suite in 0..ALL_CIPHER_SUITES.len() {
        let (ends, pair) = short_talk(suite);
        let (log, steps) = (ends.log(), joined(&pair.steps));
        for at in 0..steps.len() {
            let Step::Bytes(_, bytes) = &steps[at] else { continue };
            for byte in (0..bytes.len()).step_by(if bytes.len() > 2000 { 23 } else { 5 }) {
                let mut changed = steps.clone();
                bytes_of(&mut changed[at])[byte] ^= 1 << (byte % 8);
                let read = read(&changed, &log);
                for side in 0..2 {
                    assert!(pair.sent[side].starts_with(&read.plain[side]), "step {at}, byte {byte}");
                }
            }
        }
    }
}

#[test]
fn a_connection_of_which_the_beginning_is_missing_says_so() {
    let (ends, pair) = short_talk(0);
    for skipped in 1..4 {
        let read = read(&joined(&pair.steps)[skipped..], &ends.log());
        assert!(matches!(read.state(), State::Unseen(Reason::JoinedLate)), "{skipped}: {:?}", read.state());
        assert!(read.pieces.is_empty());
    }
}

#[test]
fn what_is_not_tls_is_told_by_its_first_bytes() {
    let (log, _) = KeyLog::parse(b"");
    for text in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0",
        b"\x16",
        b"\x16\x03\x01",
        b"\x16\x04\x01\0\0\0",
        b"\0",
    ] {
        for piece in 1..3 {
            let mut connection = Connection::new();
            for bytes in text.chunks(piece) {
                connection.feed(Side::A, bytes, &log, &mut |_| unreachable!("nothing can be read"));
            }
            let begins = b"\x16\x03\x01".starts_with(&text[..text.len().min(3)]);
            let expected = if begins { State::Undecided } else { State::NotTls };
            assert_eq!(connection.state(), expected, "{text:?}");
        }
    }
}

#[test]
fn hostile_lengths_end_it() {
    let (ends, pair) = short_talk(0);
    let log = ends.log();
    let steps = joined(&pair.steps);
    // A record, then a handshake message, of the largest length that can be written.
    let mut record = steps.clone();
    bytes_of(&mut record[2])[3..5].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(read(&record, &log).state(), State::Unseen(Reason::TooLarge));
    let mut message = steps;
    bytes_of(&mut message[0])[6..9].copy_from_slice(&[0xff, 0xff, 0xff]);
    assert_eq!(read(&message, &log).state(), State::Unseen(Reason::TooLarge));
}

#[test]
fn a_direction_that_waits_for_ever_is_given_up() {
    let (ends, pair) = short_talk(0);
    let log = ends.log();
    let mut connection = Connection::new();
    // All of the client; the server never says a word.
    let Step::Bytes(_, hello) = &pair.steps[0] else { unreachable!("it begins with the ClientHello") };
    connection.feed(Side::A, hello, &log, &mut |_| {});
    for _ in 0..200 {
        let mut record = vec![23, 3, 3, 4, 0];
        record.resize(5 + 1024, 7);
        connection.feed(Side::A, &record, &log, &mut |_| unreachable!("nothing can be read"));
        assert!(connection.held_bytes() < 200_000);
    }
    assert_eq!(connection.state(), State::Unseen(Reason::TooMuchHeld));
    assert_eq!(connection.held_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_taken(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0..9_u8), 0..20),
    ) {
        let (log, _) = KeyLog::parse(b"");
        let mut connection = Connection::new();
        for (client, bytes, shape) in &pieces {
            let side = if *client { Side::A } else { Side::B };
            let mut bytes = bytes.clone();
            // Often what looks like a record, or like a gap.
            if *shape > 2 && bytes.len() > 6 {
                let len = (bytes.len() - 5) as u16;
                bytes[..3].copy_from_slice(&[20 + shape % 5, 3, 3]);
                bytes[3..5].copy_from_slice(&len.to_be_bytes());
                bytes[5] %= 21;
            }
            if *shape == 0 {
                connection.gap(side, u64::from(bytes.first().copied().unwrap_or(0)) << 50);
            }
            connection.feed(side, &bytes, &log, &mut |_| unreachable!("there is no key"));
            prop_assert!(connection.held_bytes() < 200_000);
        }
    }

    /// Steps in any order, doubled, left out, cut, and exchanged between the ends.
    #[test]
    fn shuffled_connections_give_nothing_that_was_not_sent(
        suite in 0..ALL_CIPHER_SUITES.len(),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<prop::sample::Index>()), 1..30),
    ) {
        let (ends, pair) = short_talk(suite);
        let log = ends.log();
        let steps = recut(&joined(&pair.steps), 9, 300);
        let mut shuffled = joined(&pair.steps)[..2].to_vec();
        for (index, cut, at) in &order {
            let mut step = index.get(&steps).clone();
            if *cut {
                let bytes = bytes_of(&mut step);
                bytes.truncate(at.index(bytes.len() + 1));
            }
            shuffled.push(step);
        }
        let read = read(&shuffled, &log);
        for side in 0..2 {
            prop_assert!(pair.sent[side].starts_with(&read.plain[side]));
        }
    }

    #[test]
    fn key_logs_of_any_bytes_are_taken(text in prop::collection::vec(any::<u8>(), 0..500)) {
        let lines = text.strip_suffix(b"\n").unwrap_or(&text).split(|&b| b == b'\n').count() as u64;
        let (_, c) = KeyLog::parse(&text);
        prop_assert_eq!(c.secrets + c.repeated + c.ignored + c.unknown + c.bad + c.comments + c.over_limit, lines);
    }
}
