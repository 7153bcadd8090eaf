//! The limit of memory holds whatever comes, and what counts as held is what the heap says.
//!
//! One test in this file at a time may allocate: the heap is counted for the whole process.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{BASES, REQUESTS, RESPONSES, assert_balance, headers};
use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{ConnectionId, Direction, Event, Segment, flags};

struct Counting;

static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Hands segments in without keeping anything of its own.
struct Feed {
    assembler: Assembler,
    time_ns: u64,
    given: usize,
}

impl Feed {
    fn new(limits: Limits) -> Self {
        Self { assembler: Assembler::new(limits), time_ns: 1, given: 0 }
    }

    fn send(&mut self, connection: u64, direction: Direction, at: u32, bytes: &[u8]) {
        self.time_ns += 1;
        let sequence = BASES[direction.index()].wrapping_add(at);
        let ports = (connection as u16, 80);
        let segment = Segment {
            connection: ConnectionId(connection),
            netns: 1,
            direction,
            time_ns: self.time_ns,
            sequence,
            bytes,
            packet_end: sequence.wrapping_add(bytes.len() as u32),
            headers: &headers(direction == REQUESTS, ports, sequence, BASES[direction.reverse().index()]),
            segments: 1,
            flags: flags::FRESH | flags::RAW,
            starts: 0,
            process: None,
            frame: None,
        };
        let given = &mut self.given;
        self.assembler.event(&Event::Segment(segment), &mut |_| *given += 1);
    }
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\n\r\n";

/// A connection in a state that is costly in a way of its own.
fn nasty(feed: &mut Feed, connection: u64, kind: u64) {
    let half = [b"GET /a HTTP/1.1\r\nCookie: ".as_slice(), &[b'x'; 3_000]].concat();
    match kind {
        // Half a head, in two parts.
        0 => {
            feed.send(connection, REQUESTS, 0, &half);
            feed.send(connection, REQUESTS, half.len() as u32, &half[30..]);
        }
        // One byte a packet, each behind a hole.
        1 => (0..40).for_each(|n| feed.send(connection, REQUESTS, 10 + 2 * n, b"x")),
        // One byte a packet, in order.
        2 => (0..30).for_each(|n| feed.send(connection, REQUESTS, n, &GET[n as usize..][..1])),
        // Pipelined requests that nobody answers.
        3 => (0..20).for_each(|n| feed.send(connection, REQUESTS, n * GET.len() as u32, GET)),
        // Many interim responses.
        4 => {
            const EARLY: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            feed.send(connection, REQUESTS, 0, GET);
            (0..20).for_each(|n| feed.send(connection, RESPONSES, n * EARLY.len() as u32, EARLY));
        }
        // Many lines that are no lines, so that the list grows as they come.
        5 => {
            let lines = [b"GET /a HTTP/1.1\r\n".as_slice(), &b"a\n".repeat(300), b"\r\n"].concat();
            feed.send(connection, REQUESTS, 0, &lines);
        }
        // A response in progress.
        6 => {
            feed.send(connection, REQUESTS, 0, GET);
            feed.send(connection, RESPONSES, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
        }
        // A tunnel.
        7 => {
            feed.send(connection, REQUESTS, 0, GET);
            feed.send(connection, RESPONSES, 0, b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        }
        // Nothing but its existence.
        _ => feed.send(connection, REQUESTS, 0, b"\r\n"),
    }
}

#[test]
fn what_counts_as_held_is_what_the_heap_says() {
    let _alone = ONE_AT_A_TIME.lock();
    for kind in 0..=9 {
        let before = HEAP_BYTES.load(Ordering::Relaxed);
        let mut feed = Feed::new(Limits { held_bytes_max: usize::MAX, ..Limits::default() });
        for connection in 0..10_000 {
            nasty(&mut feed, connection, if kind == 9 { connection % 9 } else { kind });
        }
        let heap = HEAP_BYTES.load(Ordering::Relaxed) - before;
        let held = feed.assembler.held_bytes();
        let ratio = held as f64 / heap as f64;
        println!("{kind}: held {held}, heap {heap}, {ratio:.3}");
        assert!((1.0 / 1.5..1.5).contains(&ratio), "{kind}: {held} held, {heap} on the heap");
    }
}

#[test]
fn heads_of_64_kib_half_sent_on_65536_connections_keep_within_the_limit() {
    let _alone = ONE_AT_A_TIME.lock();
    const LIMIT: usize = 128 << 20;
    let before = HEAP_BYTES.load(Ordering::Relaxed);
    let mut feed = Feed::new(Limits { held_bytes_max: LIMIT, ..Limits::default() });
    let part = [b"GET /a HTTP/1.1\r\nCookie: ".as_slice(), &[b'x'; 7_000]].concat();
    let mut heap_max = 0;
    for round in 0..5 {
        for connection in 0..65_536 {
            let from = if round == 0 { 0 } else { 25 };
            let at = if round == 0 { 0 } else { 7_025 + (round - 1) * 7_000 };
            feed.send(connection, REQUESTS, at, &part[from..]);
            heap_max = heap_max.max(HEAP_BYTES.load(Ordering::Relaxed) - before);
            assert!(feed.assembler.held_bytes() <= LIMIT);
        }
    }
    println!("heap at most {heap_max}, {:?}", feed.assembler.counters().shed);
    assert!(heap_max <= LIMIT + LIMIT / 8, "{heap_max} bytes on the heap");
    assert!(feed.assembler.counters().shed.transactions > 0);
    assert_balance(&feed.assembler);
    assert!(feed.given > 0);
}

#[test]
fn nothing_is_left_on_the_heap_at_the_end() {
    let _alone = ONE_AT_A_TIME.lock();
    let before = HEAP_BYTES.load(Ordering::Relaxed);
    let mut feed = Feed::new(Limits { held_bytes_max: 300_000, ..Limits::default() });
    for connection in 0..2_000 {
        nasty(&mut feed, connection, connection % 9);
        assert!(feed.assembler.held_bytes() <= 300_000);
        assert_balance(&feed.assembler);
    }
    feed.assembler.finish(&mut |_| {});
    assert_eq!((feed.assembler.held_bytes(), feed.assembler.connections()), (0, 0));
    let left = HEAP_BYTES.load(Ordering::Relaxed).saturating_sub(before);
    assert!(left < 20_000, "{left} bytes");
}
