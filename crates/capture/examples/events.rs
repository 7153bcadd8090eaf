//! Prints what the kernel's side sends, for work on the BPF programs: no payload, only where it lies.
#![allow(clippy::unwrap_used, missing_docs)]
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use headtrail_capture::{Capture, Options, filter::Filter};
use headtrail_record::event::Event;

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().and_then(|s| s.parse().ok()).unwrap_or(5);
    let filter = args.next().filter(|f| !f.is_empty()).map(|f| Filter::parse(&f).unwrap());
    let quiet = args.next().is_some();
    let mut capture = Capture::start(Options { filter, ring_bytes: None }).unwrap();
    for feature in capture.features() {
        eprintln!("{feature:?}");
    }
    let (never, _keep) = std::io::pipe().unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        capture.read(1 << 20, |event| {
            if quiet {
                return;
            }
            match event {
                Event::Segment(s) => println!(
                    "{} {:?} seq {} len {} end {} flags {:#x} starts {} segs {} hdr {} proc {:?} {:?}",
                    s.connection.0,
                    s.direction,
                    s.sequence,
                    s.bytes.len(),
                    s.packet_end,
                    s.flags,
                    s.starts,
                    s.segments,
                    s.headers.len(),
                    s.process.map(|p| (p.pid, String::from_utf8_lossy(&p.name).into_owned())),
                    String::from_utf8_lossy(&s.bytes[..s.bytes.len().min(40)]),
                ),
                Event::BodyEnd { connection, direction, sequence, octets, .. } => {
                    println!("{} {direction:?} body end {sequence} octets {octets}", connection.0);
                }
                Event::Chunks { connection, direction, sequence, octets, at, .. } => {
                    println!(
                        "{} {direction:?} chunks from {sequence} on octets {octets} {at:?}",
                        connection.0
                    );
                }
                Event::Finished { connection, direction, sequence, .. } => {
                    println!("{} {direction:?} fin {sequence}", connection.0);
                }
                Event::Closed { connection, reason, .. } => println!("{} closed {reason:?}", connection.0),
                Event::Peer { source, destination, sequence, process, .. } => {
                    println!("peer {source} {destination} {sequence} {}", process.pid);
                }
            }
        });
        capture.release();
        capture.wait(never.as_fd(), Duration::from_millis(200));
    }
    println!("{:#?}", capture.counters());
}
