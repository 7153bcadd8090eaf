//! A TLS connection of any bytes, with gaps, and a key log of any bytes: nothing panics, what is held is bounded, and
//! plaintext comes in order.
//!
//! The first two bytes of the input are the length of the key log, which follows; the rest are pieces: a byte that says which end
//! sends it and whether it was captured, two that say how long it is, and its bytes.
#![no_main]

use headtrail_tls::{Connection, HANDSHAKE_MESSAGE_BYTES_MAX, HELD_BYTES_MAX, KeyLog, Plain, Side};
use libfuzzer_sys::fuzz_target;

/// What a connection may hold: what waits, a message that comes in, and a chunk, of both ends; vectors grow by doubling.
const HELD_MAX: usize = 2 * 2 * (HELD_BYTES_MAX + HANDSHAKE_MESSAGE_BYTES_MAX + 16 * 1024 + 64);

fuzz_target!(|data: &[u8]| {
    let Some((&[a, b], rest)) = data.split_first_chunk() else { return };
    let (log, mut rest) = rest.split_at(usize::from(u16::from_be_bytes([a, b])).min(rest.len()));
    let (log, _) = KeyLog::parse(log);
    let mut connection = Connection::new();
    let (mut sent, mut next) = ([0u64; 2], [0u64; 2]);
    while let Some((&[what, a, b], after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([a, b]));
        let side = if what & 1 == 0 { Side::A } else { Side::B };
        if what & 2 != 0 {
            sent[side as usize] += len as u64;
            connection.gap(side, len as u64);
            rest = after;
            continue;
        }
        let (piece, after) = after.split_at(len.min(after.len()));
        rest = after;
        sent[side as usize] += piece.len() as u64;
        connection.feed(side, piece, &log, &mut |plain: Plain<'_>| {
            let next = &mut next[plain.side as usize];
            assert!(plain.offset >= *next && !plain.bytes.is_empty());
            *next = plain.offset + plain.bytes.len() as u64;
            assert!(plain.cipher.end <= sent[plain.side as usize] && *next <= plain.cipher.end);
        });
        assert!(connection.held_bytes() <= HELD_MAX, "{}", connection.held_bytes());
    }
});
