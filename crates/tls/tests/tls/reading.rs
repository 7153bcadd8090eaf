//! Reads recorded bytes and keeps what comes out.

use headtrail_tls::{Connection, KeyLog, Plain, Side, State};

/// A step of what was seen on the wire.
#[derive(Clone, Debug)]
pub enum Step {
    Bytes(Side, Vec<u8>),
    Gap(Side, u64),
}

/// What came out of a connection.
pub struct Read {
    pub connection: Connection,
    /// Plaintext by end, with zeros where the offset jumped.
    pub plain: [Vec<u8>; 2],
    /// Bytes that were sent before the handshake was over.
    pub early: usize,
    /// Ranges of offsets that came out, by end.
    pub pieces: Vec<(Side, std::ops::Range<usize>)>,
    pub held_bytes_max: usize,
}

impl Read {
    pub fn state(&self) -> State {
        self.connection.state()
    }
}

pub fn read(steps: &[Step], log: &KeyLog) -> Read {
    let mut connection = Connection::new();
    let mut plain = [Vec::new(), Vec::new()];
    let (mut early, mut pieces, mut held_bytes_max) = (0, Vec::new(), 0);
    let mut cipher_end = [0; 2];
    for step in steps {
        match step {
            Step::Gap(side, missing) => connection.gap(*side, *missing),
            Step::Bytes(side, bytes) => connection.feed(*side, bytes, log, &mut |p: Plain<'_>| {
                let to = &mut plain[p.side as usize];
                let offset = usize::try_from(p.offset).unwrap();
                assert!(offset >= to.len(), "plaintext is in order");
                to.resize(offset, 0);
                to.extend_from_slice(p.bytes);
                pieces.push((p.side, offset..to.len()));
                early += if p.early { p.bytes.len() } else { 0 };
                assert!(p.cipher.start >= cipher_end[p.side as usize], "records are in order");
                assert!(p.cipher.end - p.cipher.start > p.bytes.len() as u64);
                cipher_end[p.side as usize] = p.cipher.end;
            }),
        }
        held_bytes_max = held_bytes_max.max(connection.held_bytes());
    }
    Read { connection, plain, early, pieces, held_bytes_max }
}

/// Cuts what was seen into pieces whose lengths come from a small generator, without changing the order.
pub fn recut(steps: &[Step], seed: u64, piece_max: usize) -> Vec<Step> {
    let mut state = seed | 1;
    let mut cut = Vec::new();
    for step in steps {
        let Step::Bytes(side, bytes) = step else {
            cut.push(step.clone());
            continue;
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let len = (1 + (state >> 33) as usize % piece_max).min(rest.len());
            cut.push(Step::Bytes(*side, rest[..len].to_vec()));
            rest = &rest[len..];
        }
    }
    cut
}

/// Joins steps of one side that follow each other.
pub fn joined(steps: &[Step]) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::new();
    for step in steps {
        match (all.last_mut(), step) {
            (Some(Step::Bytes(last, to)), Step::Bytes(side, bytes)) if last == side => to.extend(bytes),
            _ => all.push(step.clone()),
        }
    }
    all
}

/// Numbers for tests, from a seed.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).rotate_left(7) as u8 ^ seed).collect()
}
