//! Bytes that were not captured: what comes out is what was sent at that place, and what does not come out is a hole.

use headtrail_tls::{Reason, Side, State};
use proptest::prelude::*;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, cipher_suite};

use crate::pairs::{Ends, Pair, talk};
use crate::reading::{Read, Step, joined, pattern, read, recut};

/// Leaves bytes of one side out, from a position in its stream on.
fn cut_out(steps: &[Step], of: Side, from: usize, len: usize) -> Vec<Step> {
    let (mut at, mut out) = (0, Vec::new());
    for step in steps {
        let bytes = match step {
            Step::Bytes(side, bytes) if *side == of => bytes,
            other => {
                out.push(other.clone());
                continue;
            }
        };
        let begin = from.saturating_sub(at).min(bytes.len());
        let end = (from + len).saturating_sub(at).min(bytes.len());
        if begin > 0 {
            out.push(Step::Bytes(of, bytes[..begin].to_vec()));
        }
        if end > begin {
            out.push(Step::Gap(of, (end - begin) as u64));
        }
        if end < bytes.len() {
            out.push(Step::Bytes(of, bytes[end..].to_vec()));
        }
        at += bytes.len();
    }
    out
}

fn bytes_of(steps: &[Step], of: Side) -> usize {
    steps
        .iter()
        .map(|s| {
            if let Step::Bytes(side, bytes) = s
                && *side == of
            {
                bytes.len()
            } else {
                0
            }
        })
        .sum()
}

/// What came out of an end stands in what it sent, in order.
fn check_pieces(read: &Read, sent: &[Vec<u8>; 2]) {
    let mut from = [0; 2];
    for (side, range) in &read.pieces {
        let piece = &read.plain[*side as usize][range.clone()];
        let rest = &sent[*side as usize][from[*side as usize]..];
        let found = rest.windows(piece.len()).position(|w| w == piece);
        from[*side as usize] +=
            found.expect("it was sent, and later than what came out before") + piece.len();
    }
}

fn long_talk(ends: &Ends) -> Pair {
    let mut pair = ends.connect();
    talk(&mut pair);
    for turn in 0..20 {
        pair.say(Side::B, &pattern(1000 + 150 * usize::from(turn), turn));
        pair.say(Side::A, &pattern(100, turn));
    }
    pair
}

#[test]
fn reading_goes_on_behind_lost_records() {
    for &suite in ALL_CIPHER_SUITES {
        let ends = Ends::with_suites(&[suite], |_, _| {});
        let pair = long_talk(&ends);
        let steps = joined(&pair.steps);
        let total = bytes_of(&steps, Side::B);
        for from in (6_000..total - 8_000).step_by(3_001) {
            for len in [1, 4, 100, 1460, 3000] {
                let cut = cut_out(&recut(&steps, 5, 1460), Side::B, from, len);
                let read = read(&cut, &ends.log());
                assert_eq!(read.state(), State::Decrypting, "{suite:?} from {from}, {len} bytes");
                check_pieces(&read, &pair.sent);
                let out: usize = read.pieces.iter().filter(|p| p.0 == Side::B).map(|p| p.1.len()).sum();
                assert!(
                    out + 2 * 9000 + len > pair.sent[1].len(),
                    "no more than the records at its edges are lost"
                );
                assert!(read.plain[0] == pair.sent[0]);
                assert!(read.plain[1].len() >= pair.sent[1].len(), "offsets do not fall behind");
            }
        }
    }
}

#[test]
fn reading_begins_behind_a_gap_in_the_handshake() {
    let ends = Ends::with_suites(&[cipher_suite::TLS13_AES_128_GCM_SHA256], |_, _| {});
    let pair = long_talk(&ends);
    let steps = joined(&pair.steps);
    // Behind the ServerHello, in the server's certificate.
    for (from, len) in [(300, 200), (200, 150), (250, 400)] {
        let read = read(&cut_out(&steps, Side::B, from, len), &ends.log());
        assert_eq!(read.state(), State::Decrypting, "from {from}, {len} bytes");
        assert!(read.plain[1].ends_with(&pair.sent[1][50_000..]));
        assert!(read.plain[0] == pair.sent[0]);
    }
    let ends = Ends::with_suites(&[cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256], |_, _| {});
    let pair = long_talk(&ends);
    let steps = joined(&pair.steps);
    let Step::Bytes(Side::A, hello) = &steps[0] else { unreachable!("it begins with the ClientHello") };
    // In the client's key exchange, and with the change of keys behind it.
    for (from, len) in [(1, 10), (3, 39), (5, 45), (0, 60)] {
        let read = read(&cut_out(&steps, Side::A, hello.len() + from, len), &ends.log());
        assert_eq!(read.state(), State::Decrypting, "from {from}, {len} bytes");
        assert!(read.plain[0].ends_with(&pair.sent[0]));
        assert!(read.plain[1] == pair.sent[1]);
    }
}

#[test]
fn lost_updates_of_keys_are_got_over() {
    let ends = Ends::new(|_, _| {});
    let mut pair = ends.connect();
    talk(&mut pair);
    let before = bytes_of(&pair.steps, Side::A);
    pair.client.refresh_traffic_keys().unwrap();
    pair.say(Side::A, b"lost with it");
    let after = bytes_of(&pair.steps, Side::A);
    pair.say(Side::A, b"not lost");
    let read = read(&cut_out(&pair.steps, Side::A, before, after - before), &ends.log());
    assert_eq!(read.state(), State::Decrypting);
    assert!(read.plain[0].ends_with(b"not lost"));
}

#[test]
fn a_gap_before_the_keys_are_known_ends_it() {
    let ends = Ends::new(|_, _| {});
    let pair = long_talk(&ends);
    for side in [Side::A, Side::B] {
        let read = read(&cut_out(&pair.steps, side, 20, 30), &ends.log());
        assert!(matches!(read.state(), State::Unseen(Reason::Gap)), "{:?}", read.state());
        assert!(read.pieces.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any holes: nothing wrong comes out.
    #[test]
    fn what_comes_out_beside_gaps_was_sent(
        suite in 0..ALL_CIPHER_SUITES.len(),
        holes in prop::collection::vec((any::<bool>(), 0..90_000_usize, 1..6000_usize), 1..4),
        piece_max in 1..5000_usize,
    ) {
        let ends = Ends::with_suites(&[ALL_CIPHER_SUITES[suite]], |_, _| {});
        let pair = long_talk(&ends);
        let mut steps = recut(&joined(&pair.steps), 1, piece_max);
        let (side, from, len) = holes[0];
        steps = cut_out(&steps, if side { Side::A } else { Side::B }, from, len);
        // Positions of later holes are those of what an earlier one left.
        for &(side, from, len) in &holes[1..] {
            steps = cut_out(&steps, if side { Side::A } else { Side::B }, from, len);
        }
        let read = read(&steps, &ends.log());
        check_pieces(&read, &pair.sent);
        prop_assert!(read.held_bytes_max < 150_000);
    }
}
