//! Capture files: what `headtrail read` prints of them, and how it ends.
//!
//! Public captures are read where they are found: in the folder that HEADTRAIL_CAPTURES names, else in
//! `../shared/captures` beside the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use headtrail_testkit::captures;
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

/// The same, with a connection from another client behind it.
fn two_connections() -> Vec<u8> {
    let one = capture();
    let mut other = one[24..].to_vec();
    let mut at = 0;
    while at < other.len() {
        let len = u32::from_le_bytes(other[at + 8..at + 12].try_into().unwrap()) as usize;
        // 10.0.0.1 becomes 10.0.0.9, in whichever direction.
        for ip in [at + 16 + 30, at + 16 + 34] {
            other[ip + 3] = if other[ip + 3] == 1 { 9 } else { other[ip + 3] };
        }
        at += 16 + len;
    }
    [one, other].concat()
}

/// Clients of the exchanges in a file, read by its name.
fn clients_of(file: &Path, filter: &str) -> (Vec<String>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headtrail"));
    let output =
        command.args(["read", "--format", "json"]).arg(file).args(filter.split(' ')).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{filter}: {output:?}");
    let whole = |r: &&Value| r["type"] == "transaction" && !r["request"].is_null();
    let client = |r: &Value| r["source"]["ip"].as_str().unwrap().to_owned();
    (records(&output).iter().filter(whole).map(client).collect(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_filter_selects_whole_connections() {
    let folder = std::env::temp_dir().join(format!("headtrail-read-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("two.pcap");
    fs::write(&file, two_connections()).unwrap();
    let (one, other) = ("10.0.0.1", "10.0.0.9");
    for (filter, wanted) in [
        ("vlan", vec![one, other]),
        ("vlan 7 and host 10.0.0.9", vec![other]),
        // Of single packets: the answer's, which is the last one, or the first.
        ("vlan and src port 8080 and dst host 10.0.0.1 and tcp[13] & 8 != 0", vec![one]),
        ("vlan and dst host 10.0.0.9 and tcp[13] & 2 != 0", vec![other]),
        ("vlan and not src host 10.0.0.1", vec![one, other]),
        // The packets have a tag, as for tcpdump.
        ("port 8080", vec![]),
        ("greater 10000", vec![]),
    ] {
        let (clients, said) = clients_of(&file, filter);
        assert_eq!(clients, wanted, "{filter}");
        let filtered = format!("in 2 connections, {} of them filtered;", 2 - wanted.len());
        assert!(said.contains(&filtered), "{filter}: {said}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_wrong_filter_is_refused_with_its_place() {
    let folder = std::env::temp_dir().join(format!("headtrail-refused-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("one.pcap");
    fs::write(&file, capture()).unwrap();
    for (filter, caret) in [("port 80 adn port 90", "\n          ^"), ("port 80 and", "\n             ^")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headtrail"));
        let output = command.arg("read").arg(&file).args(filter.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(caret), "{output:?}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// From standard input, which is read once, a connection is there from its first packet that matches on.
#[test]
fn a_filter_selects_from_standard_input() {
    let run = |filter: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headtrail"));
        command.args(["read", "--format", "json", "-"]).args(filter.split(' '));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&two_connections()).unwrap();
        records(&child.wait_with_output().unwrap())
    };
    let wanted = run("vlan and host 10.0.0.9");
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0]["source"]["ip"], "10.0.0.9");
    let wanted = run("vlan and src port 8080 and tcp[13] & 8 != 0");
    assert_eq!(wanted.len(), 2, "{wanted:?}");
    assert!(wanted.iter().all(|r| r["request"].is_null() && r["response"]["status"] == 200), "{wanted:?}");
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

#[test]
fn public_captures_are_read() {
    let Some(folder) = captures::folder() else { return };
    let files = captures::files(&folder);
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
    assert!(requests > 1360 && responses > 1700, "{requests} requests, {responses} responses");
}

/// Both ends of the TCP packets that tcpdump prints, the lower one first; None where one is in a tunnel or cannot be told.
fn ends_by_tcpdump(file: &Path, filter: &str) -> Option<std::collections::BTreeSet<(String, String)>> {
    let mut command = Command::new("tcpdump");
    let output = command.args(["-nn", "-q", "-t", "-K", "-r"]).arg(file).arg(filter).output().unwrap();
    if !output.status.success() {
        return None;
    }
    let mut found = std::collections::BTreeSet::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let parts: Vec<_> = line.split_whitespace().collect();
        if !line.starts_with("IP") || line.matches(" > ").count() > 1 {
            return None;
        }
        if let ["IP" | "IP6", from, ">", to, "tcp", ..] = parts[..] {
            let (from, to) = (from.to_owned(), to.trim_end_matches(':').to_owned());
            found.insert(if from < to { (from, to) } else { (to, from) });
        }
    }
    Some(found)
}

#[test]
fn a_filter_finds_what_tcpdump_finds() {
    let Some(folder) = captures::folder() else { return };
    if Command::new("tcpdump").arg("--version").output().is_err() {
        eprintln!("SKIPPED: tcpdump is not installed");
        return;
    }
    let files = captures::files(&folder);
    let all = |file: &Path, filter: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headtrail"));
        let output = command.args(["read", "--format", "json"]).arg(file).args(filter).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", file.display());
        let mut records = records(&output);
        records.retain(|r| r["type"] == "transaction");
        records
    };
    let end = |end: &Value| format!("{}.{}", end["ip"].as_str().unwrap(), end["port"]);
    let (mut compared, mut left_out) = (0, 0);
    for file in files.iter().step_by(2) {
        let without = all(file, &[]);
        let Some(everything) = ends_by_tcpdump(file, "").filter(|_| !without.is_empty()) else { continue };
        for filter in
            ["src port 80", "greater 700", "tcp[tcpflags] & tcp-fin != 0", "net 192.168.0.0/16 or ip6"]
        {
            let Some(found) = ends_by_tcpdump(file, filter) else { continue };
            // Ends that were used for one connection after the other do not tell which of them it was.
            let connections: std::collections::BTreeSet<_> = without
                .iter()
                .map(|r| r["connection"].as_str().unwrap().split('-').nth(1).unwrap())
                .collect();
            if everything.len() < connections.len() {
                continue;
            }
            let mut expected: Vec<_> = without
                .iter()
                .filter(|r| {
                    let (from, to) = (end(&r["source"]), end(&r["destination"]));
                    found.contains(&if from < to { (from, to) } else { (to, from) })
                })
                .map(|r| (r["request"]["frame"].clone(), r["response"]["frame"].clone()))
                .collect();
            let mut given: Vec<_> = all(file, &[filter])
                .iter()
                .map(|r| (r["request"]["frame"].clone(), r["response"]["frame"].clone()))
                .collect();
            expected.sort_by_key(|frames| format!("{frames:?}"));
            given.sort_by_key(|frames| format!("{frames:?}"));
            assert_eq!(given, expected, "{} {filter}", file.display());
            compared += given.len();
            left_out += without.len() - given.len();
        }
    }
    assert!(compared > 200 && left_out > 200, "{compared} compared, {left_out} left out");
}
