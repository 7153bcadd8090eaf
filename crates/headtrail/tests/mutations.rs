//! Damaged captures through the way of `headtrail read`, in this process: whatever was done to a file, it is read to an end
//! that its length bounds, nothing panics, and memory stays where it is.
//!
//! The files are the public captures, where they are (`HEADTRAIL_CAPTURES`, else `../shared/captures` beside the
//! repository), and one that is made here. A seed and a number name each case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Cursor;
use std::ops::Range;

use headtrail_assemble::{Assembler, Limits};
use headtrail_files::Reader;
use headtrail_record::json::{self, Context};
use headtrail_record::redact::{FingerprintKey, Policy, Redactor};
use headtrail_testkit::captures;
use headtrail_testkit::rng::Rng;

const SEED: u64 = 20_261_125;
/// Larger captures are left out: they would be most of the time.
const FILE_BYTES_MAX: u64 = 512 * 1024;
/// Most bytes that assembly may hold, all connections of a file together.
const HELD_BYTES_MAX: usize = 8 << 20;

/// A file in the format pcap, of raw IP: one exchange in a few packets.
fn made() -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    let request =
        b"POST /a?b=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nhello";
    let (mut sequences, mut number) = ([100u32, 500], 0u32);
    for (from, payload) in
        [(0, &request[..40]), (0, &request[40..]), (1, &response[..30]), (1, &response[30..])]
    {
        let mut packet = vec![0x45, 0, 0, 40 + payload.len() as u8, 0, 1, 0x40, 0, 64, 6, 0, 0];
        let ends = [[10, 0, 0, 1, 10, 0, 0, 2], [10, 0, 0, 2, 10, 0, 0, 1]];
        packet.extend(ends[from]);
        packet.extend(if from == 0 { [0x9c, 0x40, 0, 80] } else { [0, 80, 0x9c, 0x40] });
        packet.extend(sequences[from].to_be_bytes());
        packet.extend(sequences[1 - from].to_be_bytes());
        packet.extend([0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        packet.extend(payload);
        sequences[from] += payload.len() as u32;
        number += 1;
        for word in [1_700_000_000, number, packet.len() as u32, packet.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

fn corpus() -> Vec<Vec<u8>> {
    let mut paths = captures::folder().map_or_else(Vec::new, |folder| captures::files(&folder));
    paths.retain(|path| fs::metadata(path).is_ok_and(|file| file.len() <= FILE_BYTES_MAX));
    let mut files: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    files.push(made());
    // Most captures are of other protocols; those of HTTP have more to damage.
    let http = |file: &&Vec<u8>| file.windows(7).any(|word| word == b"HTTP/1." || word == b"HTTP/2.");
    let of_http: Vec<_> = files.iter().filter(http).cloned().collect();
    files.extend(of_http.iter().cycle().take(of_http.len() * 3).cloned());
    files
}

/// Where the packets of a pcap file, or the blocks of a pcapng file, lie; as far as their lengths make sense.
fn pieces(file: &[u8]) -> Vec<Range<usize>> {
    let number = |at: usize, big: bool| {
        let bytes: [u8; 4] = file.get(at..at + 4)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) } as usize)
    };
    let blocks = file.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]);
    let big = if blocks { file.get(8) == Some(&0x1a) } else { file.first() == Some(&0xa1) };
    let mut at = if blocks { 0 } else { 24 };
    let mut found = Vec::new();
    loop {
        let len = if blocks { number(at + 4, big) } else { number(at + 8, big).map(|len| len + 16) };
        match len {
            Some(len) if len >= 12 && at + len <= file.len() => {
                found.push(at..at + len);
                at += len;
            }
            _ => return found,
        }
    }
}

/// Damages a file in one way.
fn damage(file: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let mut below = |bound: usize| rng.below(bound.max(1) as u64) as usize;
    let pieces = pieces(file);
    let piece = pieces.get(below(pieces.len())).cloned().unwrap_or(0..file.len());
    match below(8) {
        0 => (0..=below(8)).for_each(|_| {
            let at = below(file.len());
            file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << below(8));
        }),
        1 => file.truncate(below(file.len())),
        // Another file's end behind this one's beginning.
        2 => {
            file.truncate(below(file.len()));
            file.extend(&other[below(other.len())..]);
        }
        // A packet twice.
        3 => drop(file.splice(piece.start..piece.start, file[piece.clone()].to_vec())),
        // A packet in another place.
        4 => {
            let moved: Vec<_> = file.drain(piece).collect();
            let to = self::pieces(file).get(below(pieces.len())).map_or(file.len(), |other| other.start);
            drop(file.splice(to..to, moved));
        }
        // Packets of another file among this one's.
        5 => {
            let others = self::pieces(other);
            if let Some(foreign) = others.get(below(others.len())) {
                drop(file.splice(piece.start..piece.start, other[foreign.clone()].to_vec()));
            }
        }
        // A length, or something that may be one.
        6 => {
            let value = [0u32, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u32::MAX][below(8)];
            let at = piece.start + below(piece.len().min(96));
            let bytes = if below(2) == 0 { value.to_le_bytes() } else { value.to_be_bytes() };
            let width = [1, 2, 4][below(3)];
            file.iter_mut().skip(at).zip(&bytes[..width]).for_each(|(byte, new)| *byte = *new);
        }
        // Headers.
        _ => (0..=below(6)).for_each(|_| {
            let (at, new) = (piece.start + below(piece.len().min(80)), below(256) as u8);
            file.iter_mut().skip(at).take(1).for_each(|byte| *byte = new);
        }),
    }
}

/// What reading a file came to.
#[derive(Default)]
struct Sums {
    read: usize,
    refused: usize,
    packets: u64,
    transactions: u64,
    held_bytes: usize,
}

/// Reads a file as `headtrail read --format json` does.
fn read(file: Vec<u8>, redactor: &mut Redactor, sums: &mut Sums) {
    let bytes = file.len() as u64;
    let Ok(mut reader) = Reader::open(Cursor::new(file), headtrail_files::Limits::default()) else {
        sums.refused += 1;
        return;
    };
    let mut assembler = Assembler::new(Limits { held_bytes_max: HELD_BYTES_MAX, ..Limits::default() });
    let (mut line, mut lines, mut ticked_ns) = (Vec::new(), 0u64, 0);
    let context = Context { run: 1, processes: &() };
    // Also without keys, to tell which connections speak TLS.
    let _ = assembler.tls_keys();
    let mut take = |raw| {
        lines += 1;
        line.clear();
        json::write_transaction(&mut line, &redactor.redact(raw), &context);
    };
    while reader.next(&mut |event| assembler.event(event, &mut take)).unwrap() {
        // No packet takes fewer bytes of a file than its length does.
        assert!(reader.counters().packets <= bytes / 8);
        sums.held_bytes = sums.held_bytes.max(assembler.held_bytes());
        assert!(sums.held_bytes <= HELD_BYTES_MAX);
        let own = reader.take_key_log();
        if !own.is_empty() {
            assembler.tls_keys().add(&own, &mut headtrail_tls::Counts::default());
        }
        if reader.now_ns().saturating_sub(ticked_ns) >= 100_000_000 {
            ticked_ns = reader.now_ns();
            assembler.tick(ticked_ns, &mut take);
        }
        assembler.take_resyncs();
    }
    assembler.finish(&mut take);
    assert_eq!(assembler.connections(), 0);
    // A message takes two bytes at the least.
    assert!(lines <= bytes, "{lines} lines of {bytes} bytes");
    sums.read += 1;
    sums.packets += reader.counters().packets;
    sums.transactions += lines;
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Reads so many damaged files; memory at the end is what it was after a tenth of them.
fn mutations(count: usize) {
    let corpus = corpus();
    let mut redactor = Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default());
    let (mut sums, mut early) = (Sums::default(), 0);
    for number in 0..count {
        let mut rng = Rng::new(SEED + number as u64);
        let mut pick = || &corpus[rng.below(corpus.len() as u64) as usize];
        let (mut file, other) = (pick().clone(), pick());
        for _ in 0..=rng.below(3) {
            damage(&mut file, other, &mut rng);
        }
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            read(file, &mut redactor, &mut sums);
        }));
        assert!(told.is_ok(), "case {number} of seed {SEED}");
        if number == count / 10 {
            early = resident();
        }
    }
    let late = resident();
    println!(
        "{count} files: {} read, {} refused, {} packets, {} transactions, at most {} bytes held; resident {early} after a tenth, {late} at the end",
        sums.read, sums.refused, sums.packets, sums.transactions, sums.held_bytes
    );
    assert!(sums.read > count / 2);
    assert!(late <= early + (32 << 20), "{early} bytes after a tenth, {late} at the end");
}

#[test]
fn damaged_captures_are_read_to_their_end() {
    mutations(200);
}

#[test]
#[ignore = "minutes; see `make soak`"]
fn soak_damaged_captures() {
    mutations(10_000);
}
