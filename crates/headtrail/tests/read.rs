//! Capture files: what `headtrail read` prints of them, and how it ends.
//!
//! Public captures are read where they are found: in the folder that HEADTRAIL_CAPTURES names, else in
//! `../shared/captures` beside the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use headtrail_testkit::rng::Rng;
use serde_json::Value;

/// A packet of a capture: Ethernet with a VLAN tag, IPv4, TCP.
fn packet(
    from_client: bool,
    (sequence, acknowledgement): (u32, u32),
    tcp_flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = if from_client { (40_000u16, 8080u16) } else { (8080, 40_000) };
    let (from, to) =
        if from_client { ([10, 0, 0, 1], [10, 0, 0, 2]) } else { ([10, 0, 0, 2], [10, 0, 0, 1]) };
    let mut bytes = vec![0; 12];
    bytes.extend([0x81, 0, 0, 7, 8, 0]);
    bytes.extend([0x45, 0]);
    bytes.extend((40 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend(from);
    bytes.extend(to);
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgement.to_be_bytes());
    bytes.extend([0x50, tcp_flags, 1, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

const REQUEST: &[u8] =
    b"GET /x?a=1 HTTP/1.1\r\nhOsT: example\r\nX: 1\r\nx: 2\r\nAuthorization: Bearer abc123def\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: s\r\n\r\nhello";

/// A file in the format pcap with one exchange.
fn capture() -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    let packets = [
        packet(true, (99, 0), 2, b""),
        packet(false, (499, 100), 0x12, b""),
        packet(true, (100, 500), 0x18, REQUEST),
        packet(false, (500, 100 + REQUEST.len() as u32), 0x18, RESPONSE),
    ];
    for (i, packet) in (0u32..).zip(&packets) {
        let len = packet.len() as u32;
        for word in [1_700_000_000, i * 1000, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// Runs `headtrail read -` on a file's bytes.
fn read(file: &[u8], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headtrail"));
    command.arg("read").args(arguments).arg("-");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let file = file.to_vec();
    // It may end before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&file)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn records(output: &Output) -> Vec<Value> {
    output
        .stdout
        .split(|&b| b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

#[test]
fn a_capture_gives_what_was_sent() {
    let output = read(&capture(), &["--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let records = records(&output);
    assert_eq!(records.len(), 1, "{records:?}");
    let record = &records[0];
    assert_eq!(record["request"]["frame"], 3);
    assert_eq!(record["response"]["frame"], 4);
    assert_eq!(record["request"]["target"], "/x?a=1");
    let lines = record["request"]["lines"].as_array().unwrap();
    assert_eq!(Value::from(&lines[..3]), serde_json::json!([["hOsT", "example"], ["X", "1"], ["x", "2"]]));
    assert!(lines[3][1].as_str().unwrap().starts_with("Bearer hmac:0:"), "{lines:?}");
    assert_eq!(record["response"]["body_bytes"], 5);
    assert_eq!(record["source"]["ip"], "10.0.0.1");
    assert_eq!(record["timing"]["wait_ns"], 1_000_000);
    assert_eq!(record["time"], "2023-11-14T22:13:20.002000000Z");
}

/// One switch, said aloud, prints secrets; without it nothing prints any.
#[test]
fn secrets_are_shown_only_when_asked_for() {
    for format in ["text", "json", "ecs"] {
        let hidden = read(&capture(), &["--format", format, "-v"]);
        let shown = read(&capture(), &["--format", format, "-v", "--show-secrets"]);
        let holds = |output: &Output| String::from_utf8_lossy(&output.stdout).contains("abc123def");
        assert_eq!((holds(&hidden), holds(&shown)), (false, true), "{format}: {hidden:?} {shown:?}");
        let warned = |output: &Output| String::from_utf8_lossy(&output.stderr).contains("WARNING");
        assert_eq!((warned(&hidden), warned(&shown)), (false, true), "{format}");
    }
    let shown = records(&read(&capture(), &["--format", "json", "--show-secrets"]));
    assert_eq!(shown[0]["request"]["lines"][3][1], "Bearer abc123def");
    assert_eq!(
        (&shown[0]["redacted"], &shown[0]["unredacted"]),
        (&Value::from(Vec::<Value>::new()), &true.into())
    );
}

#[test]
fn a_file_that_ends_early_is_told_and_no_failure() {
    let whole = capture();
    let output = read(&whole[..whole.len() - 3], &["--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let records = records(&output);
    assert!(records.iter().any(|r| r["type"] == "loss" && r["reason"] == "file_cut"), "{records:?}");
    assert!(records.iter().any(|r| r["type"] == "transaction" && r["request"]["frame"] == 3), "{records:?}");
    assert!(!output.stderr.is_empty());
}

#[test]
fn what_is_no_capture_is_refused() {
    for file in [&b""[..], b"abc", b"GET / HTTP/1.1\r\n\r\n"] {
        let output = read(file, &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no capture file"), "{output:?}");
    }
}

#[test]
fn no_damaged_file_breaks_it() {
    let whole = capture();
    for seed in 0..64 {
        let mut rng = Rng::new(seed);
        let mut file = whole.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(file.len() as u64) as usize;
            file[at] ^= 1 << rng.below(8);
        }
        let output = read(&file, &["--format", "json"]);
        assert!(matches!(output.status.code(), Some(0 | 2)), "seed {seed}: {output:?}");
        records(&output);
    }
}

/// The folder of the public captures, if it is there.
fn captures() -> Option<PathBuf> {
    let folder = std::env::var_os("HEADTRAIL_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no captures at {}; HEADTRAIL_CAPTURES may name them", folder.display());
    None
}

fn files_in(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, files);
        } else if path.file_name().is_some_and(|n| n.to_string_lossy().contains(".pcap")) {
            files.push(path);
        }
    }
}

#[test]
fn public_captures_are_read() {
    let Some(folder) = captures() else { return };
    let mut files = Vec::new();
    files_in(&folder, &mut files);
    let (mut requests, mut responses) = (0, 0);
    for file in &files {
        let output = Command::new(env!("CARGO_BIN_EXE_headtrail"))
            .args(["read", "--format", "json"])
            .arg(file)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", file.display());
        for record in records(&output).iter().filter(|r| r["type"] == "transaction") {
            requests += usize::from(!record["request"].is_null());
            responses += usize::from(!record["response"].is_null());
        }
    }
    assert!(files.len() > 400, "{}", files.len());
    // Another reader finds 1,395 and 1,776; SOCKS and methods that are not in use are what this one does not see yet.
    assert!(requests > 1360 && responses > 1700, "{requests} requests, {responses} responses");
}
