//! Watching harms nobody: each program on the cgroup lets every packet pass, whatever it holds. A program there that returns
//! 0 drops a packet of a user, so this is shown thrice: for every way through its instructions, by packets
//! handed to the program, and by connections that must get through while it is attached.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;

use common::messages::{Cut, Exchange, ask, check_all, script};
use common::{Recorder, ready};
use headtrail_testkit::TempDir;
use headtrail_testkit::raw_http::{Connection, ScriptedServer};
use headtrail_testkit::rng::Rng;

/// Ids of the programs of a process that sit on cgroups and see packets.
fn program_ids(pid: u32) -> Vec<String> {
    // BPF_PROG_TYPE_CGROUP_SKB, include/uapi/linux/bpf.h
    const CGROUP_SKB: &str = "8";
    let folder = format!("/proc/{pid}/fdinfo");
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        let value =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned());
        // Links name their program, too, but not its type.
        if value("prog_type:").as_deref() == Some(CGROUP_SKB) {
            ids.extend(value("prog_id:"));
        }
    }
    ids.sort();
    ids.dedup();
    ids
}

/// A line of a dump: number and text of an instruction.
fn instruction(line: &str) -> Option<(usize, &str)> {
    let (number, text) = line.trim_start().split_once(": (")?;
    Some((number.parse().ok()?, text.split_once(") ")?.1))
}

fn target(number: usize, text: &str) -> Option<usize> {
    let offset = text.rsplit_once("goto pc")?.1.parse::<isize>().ok()?;
    Some(number.checked_add_signed(offset + 1).unwrap())
}

/// The main program's instructions; those of the functions that it calls follow behind a line with their name.
fn main_program(dump: &str) -> Vec<(usize, &str)> {
    let mut instructions = Vec::new();
    for line in dump.lines() {
        match instruction(line) {
            Some(found) => instructions.push(found),
            // Source lines begin with a semicolon.
            None if line.trim_start().starts_with(';') || line.trim().is_empty() => {}
            None if line.ends_with(':') && !instructions.is_empty() => break,
            None => {}
        }
    }
    instructions
}

/// Ways to an exit on which the last word on the result is not 1, as numbers of the instructions that had it.
fn ways_that_do_not_pass(dump: &str) -> Vec<String> {
    let instructions = main_program(dump);
    let texts: HashMap<usize, &str> = instructions.iter().copied().collect();
    let mut from: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut previous = None;
    for &(number, text) in &instructions {
        if let Some(previous) = previous {
            from.entry(number).or_default().push(previous);
        }
        if let Some(target) = target(number, text) {
            from.entry(target).or_default().push(number);
        }
        let ends = text == "exit" || text.starts_with("goto ");
        previous = (!ends).then_some(number);
    }
    let mut wrong = Vec::new();
    let exits: Vec<usize> =
        instructions.iter().filter(|(_, text)| *text == "exit").map(|(n, _)| *n).collect();
    assert!(!exits.is_empty(), "no exit: {dump}");
    for exit in exits {
        let (mut open, mut seen) = (from.get(&exit).cloned().unwrap_or_default(), Vec::new());
        assert!(!open.is_empty(), "an exit that nothing leads to");
        while let Some(number) = open.pop() {
            if seen.contains(&number) {
                continue;
            }
            seen.push(number);
            let text = texts[&number];
            match text {
                "r0 = 1" | "w0 = 1" => {}
                _ if text.starts_with("r0 ") || text.starts_with("w0 ") || text.starts_with("call ") => {
                    wrong.push(format!("{number}: {text}"));
                }
                _ => match from.get(&number) {
                    Some(before) => open.extend(before),
                    None => wrong.push(format!("{number}: the beginning")),
                },
            }
        }
    }
    wrong
}

#[test]
fn the_analysis_finds_what_does_not_pass() {
    let dump = "int f(struct __sk_buff * skb):\n; x\n   0: (b7) r0 = 1\n   1: (15) if r1 == 0x0 goto pc+2\n   \
        2: (85) call bpf_x#1\n   3: (05) goto pc+1\n   4: (b4) w0 = 0\n   5: (95) exit\nint g():\n   6: (95) exit\n";
    let mut wrong = ways_that_do_not_pass(dump);
    wrong.sort();
    assert_eq!(wrong, ["2: call bpf_x#1", "4: w0 = 0"]);
    let dump = "   0: (15) if r1 == 0x0 goto pc+2\n   1: (b7) r0 = 1\n   2: (95) exit\n   3: (b4) w0 = 1\n   4: (95) exit\n";
    assert!(ways_that_do_not_pass(dump).is_empty());
}

#[test]
fn every_way_through_the_programs_lets_the_packet_pass() {
    if !ready() || !common::has("bpftool") {
        return;
    }
    // With a filter, so that its programs are there, too.
    let recorder = Recorder::start("port 1 or (net 10.0.0.0/8 and ip6)");
    let ids = program_ids(recorder.watch().pid());
    assert_eq!(ids.len(), 4, "ingress and egress, and the filter of each: {ids:?}");
    for id in &ids {
        let dump = common::run(Command::new("bpftool").args(["prog", "dump", "xlated", "id", id]));
        let wrong = ways_that_do_not_pass(&dump);
        assert!(wrong.is_empty(), "program {id}: {wrong:?}\n{dump}");
    }
    recorder.finish(0);
}

/// An Ethernet frame with a TCP segment, which the kernel takes apart for the program.
fn frame(rng: &mut Rng, payload: &[u8]) -> Vec<u8> {
    let v6 = rng.below(2) == 0;
    let mut frame = vec![0; 12];
    frame.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    let segment = 20 + payload.len();
    if v6 {
        frame.extend([0x60, 0, 0, 0, (segment >> 8) as u8, segment as u8, 6, 64]);
        frame.extend([0; 15]);
        frame.push(1);
        frame.extend([0; 15]);
        frame.push(1);
    } else {
        let total = segment + 20;
        frame.extend([
            0x45,
            0,
            (total >> 8) as u8,
            total as u8,
            0,
            1,
            0x40,
            0,
            64,
            6,
            0,
            0,
            127,
            0,
            0,
            1,
            127,
            0,
            0,
            1,
        ]);
    }
    frame.extend([0x9c, 0x40, 0x23, 0x78, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0, 64, 0, 0, 0, 0]);
    frame.extend(payload);
    // Some as they should be, most with a few bytes that are not.
    for _ in 0..rng.below(4) {
        let at = 14 + rng.below(frame.len() as u64 - 14) as usize;
        frame[at] = rng.next_u64() as u8;
    }
    if rng.below(6) == 0 {
        frame.truncate(14 + 20 + rng.below(frame.len() as u64 - 34) as usize);
    }
    frame
}

#[test]
fn packets_of_all_sorts_pass_the_programs() {
    if !ready() || !common::has("bpftool") {
        return;
    }
    const PACKETS: u64 = 150;
    let recorder = Recorder::start("port 1");
    let ids = program_ids(recorder.watch().pid());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("packet");
    let (mut rng, mut taken) = (Rng::new(5), 0);
    for n in 0..PACKETS {
        let exchange = Exchange::any(rng.below(1000) as usize);
        let payload = match n % 4 {
            0 => exchange.request,
            1 => exchange.response,
            2 => vec![],
            _ => (0..rng.below(1000)).map(|_| rng.clone().next_u64() as u8).collect(),
        };
        std::fs::write(&file, frame(&mut rng, &payload)).unwrap();
        for id in &ids {
            let mut command = Command::new("bpftool");
            command.args(["prog", "run", "id", id, "data_in"]).arg(&file).args(["repeat", "1"]);
            let output = common::output(&mut command);
            let text = String::from_utf8_lossy(&output.stdout);
            // The kernel refuses some packets before the program sees them; that says nothing.
            if output.status.success() {
                taken += 1;
                assert!(text.contains("Return value: 1"), "{text}: {:?}", std::fs::read(&file));
            }
        }
    }
    assert!(taken > PACKETS, "the kernel has taken {taken} only");
    recorder.finish(0);
}

/// What somebody might send who does not speak HTTP, or not well.
fn odd_bytes(rng: &mut Rng, kind: u64) -> Vec<u8> {
    let random = |rng: &mut Rng, n: u64| (0..n).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>();
    match kind % 9 {
        0 => random(rng, 1 + kind % 3000),
        1 => [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &random(rng, 506)].concat(),
        2 => b"GET / HTTP/1.1\r\nHost: never ends".to_vec(),
        3 => b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999999\r\n\r\nx".to_vec(),
        4 => b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n".to_vec(),
        5 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        6 => [b"GET ".as_slice(), &b"a".repeat(9000)].concat(),
        7 => b"\r\n\r\n\r\n\r\n\r\nHTTP/1.1 abc\r\n".to_vec(),
        _ => vec![],
    }
}

/// Sends, receives it back, and ends in one of several ways.
fn odd_connection(address: std::net::SocketAddr, rng: &mut Rng, kind: u64) {
    let bytes = odd_bytes(rng, kind);
    let mut stream = TcpStream::connect(address).expect("connects");
    if kind.is_multiple_of(2) {
        stream.set_nodelay(true).unwrap();
        bytes.chunks(bytes.len() / 3 + 1).for_each(|part| stream.write_all(part).expect("sends"));
    } else {
        stream.write_all(&bytes).expect("sends");
    }
    if kind % 10 == 9 {
        // Closed with what it was sent unread: the other side sees a reset.
        return;
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("receives");
    assert!(back == bytes, "kind {kind}");
}

#[test]
fn ten_thousand_odd_connections_get_through() {
    if !ready() {
        return;
    }
    const CONNECTIONS: u64 = 10_000;
    const THREADS: u64 = 4;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // One recorder with a filter and one without, on purpose: both ways through the programs. So many connections at once
    // may be too much for the usual ring and a build that is not optimised.
    let filter = format!("port {}", address.port());
    let recorders = [filter.as_str(), ""].map(|filter| Recorder::with(&["--ring-bytes", "67108864"], filter));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let listener = listener.try_clone().unwrap();
            scope.spawn(move || {
                for _ in 0..CONNECTIONS / THREADS {
                    let mut stream = listener.accept().expect("accepts").0;
                    let mut part = [0; 16 * 1024];
                    while let Ok(n @ 1..) = stream.read(&mut part) {
                        if stream.write_all(&part[..n]).is_err() {
                            break;
                        }
                    }
                }
            });
        }
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                (0..CONNECTIONS / THREADS)
                    .for_each(|n| odd_connection(address, &mut rng, n * THREADS + thread));
            });
        }
    });
    // Both still record.
    let exchanges: Vec<Exchange> = (0..16).map(Exchange::any).collect();
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&exchanges, |_| Cut::Whole)]);
    let port = server.address().port();
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &exchanges, |_| Cut::Whole);
    let [filtered, all] = recorders;
    let ours = |record: &&serde_json::Value| record["destination"]["port"] == port;
    assert!(all.watch().wait_for(common::DEADLINE, |records| records.iter().filter(ours).count() == 16));
    let records = all.stop().records;
    check_all(&records.iter().filter(ours).cloned().collect::<Vec<_>>(), &exchanges);
    let records = filtered.stop().records;
    for record in records.iter().filter(|record| record["type"] == "transaction") {
        let ends = [&record["source"]["port"], &record["destination"]["port"]];
        assert!(ends.contains(&&address.port().into()), "{record}");
    }
}
