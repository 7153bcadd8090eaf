//! Captures with a key log that others have published.

use std::path::PathBuf;

use headtrail_tls::{KeyLog, Side, State, Suite, Version};

use crate::reading::{Step, read, recut};

/// A folder of the public captures; not there: the test is skipped, loudly.
fn folder(name: &str) -> Option<PathBuf> {
    let found = headtrail_testkit::captures::folder()?.join(name);
    if !found.is_dir() {
        eprintln!("SKIPPED: no captures at {}", found.display());
        return None;
    }
    Some(found)
}

/// TCP payloads of a classic little-endian capture without VLANs and IP options of version 6, in order of capture; the first sender is A.
fn payloads(pcap: &[u8]) -> Vec<Step> {
    assert_eq!(pcap[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    let link = u32::from_le_bytes(pcap[20..24].try_into().unwrap());
    let ip_at = match link {
        0 => 4,
        1 => 14,
        101 => 0,
        other => panic!("link type {other}"),
    };
    let (mut at, mut first, mut steps) = (24, None, Vec::new());
    while let Some(header) = pcap.get(at..at + 16) {
        let len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let packet = &pcap[at + 16 + ip_at..at + 16 + len];
        at += 16 + len;
        let number = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        let (begin, end) = match packet[0] >> 4 {
            4 => (usize::from(packet[0] & 15) * 4, number(2)),
            _ => (40, 40 + number(4)),
        };
        let tcp = &packet[begin..end];
        let port = u16::from_be_bytes([tcp[0], tcp[1]]);
        let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
        if !payload.is_empty() {
            let side = if *first.get_or_insert(port) == port { Side::A } else { Side::B };
            steps.push(Step::Bytes(side, payload.to_vec()));
        }
    }
    steps
}

fn check(name: &str, version: Version, suite: &str) {
    let Some(folder) = folder(name) else { return };
    let steps = payloads(&std::fs::read(folder.join("capture.pcap")).unwrap());
    let (log, counts) = KeyLog::parse(&std::fs::read(folder.join("keylog.txt")).unwrap());
    assert_eq!((counts.bad, counts.unknown), (0, 0));
    for seed in 0..50 {
        let read = read(&recut(&steps, seed, 1 + seed as usize * 10), &log);
        assert_eq!(read.state(), State::Decrypting);
        let facts = read.connection.facts();
        assert_eq!(facts.version, Some(version));
        assert_eq!(facts.suite.and_then(Suite::name), Some(suite));
        assert_eq!(facts.server_name.as_deref(), Some("example.ulfheim.net"));
        assert_eq!(facts.resumed, Some(false));
        assert_eq!(read.plain, [b"ping".to_vec(), b"pong".to_vec()]);
    }
    let (none, _) = KeyLog::parse(b"");
    let read = read(&steps, &none);
    assert_eq!(read.state(), State::Unseen(headtrail_tls::Reason::NoKey));
    assert_eq!(read.connection.facts().server_name.as_deref(), Some("example.ulfheim.net"));
    assert!(read.pieces.is_empty());
}

#[test]
fn illustrated_tls12_is_read() {
    check("illustrated-tls12", Version::TLS12, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA");
}

#[test]
fn illustrated_tls13_is_read() {
    check("illustrated-tls13", Version::TLS13, "TLS_AES_256_GCM_SHA384");
}
