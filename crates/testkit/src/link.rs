//! A link between two namespaces that loses, doubles and reorders TCP segments by a seed.
//!
//! namespace a --veth-- namespace between, with the relay --veth-- namespace b
//!
//! The relay reads frames from either side and writes them to the other. Frames that are not TCP always
//! pass, so that no test waits for address resolution to be tried again. Refused alternative: the netem
//! queueing discipline, which many kernels lack, which counts only its losses, and whose choices depend on
//! more than a seed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pcap::{Active, Capture, Direction};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netns::{Netns, veth};
use crate::rng::Rng;

/// A frame that is held back goes on after this time, if not enough others have overtaken it by then.
const HOLD_MAX: Duration = Duration::from_millis(5);

/// Frames that may overtake a held one.
const OVERTAKERS_MAX: u64 = 3;

/// What the link does to TCP segments: shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Impairment {
    /// Share of segments that vanish.
    pub loss: f64,
    /// Share of segments that arrive twice.
    pub duplicate: f64,
    /// Share of segments that up to three others overtake.
    pub reorder: f64,
    /// Does this happen to segments with SYN, too? A lost one costs the sender a second.
    pub handshake: bool,
    /// Where the choices begin.
    pub seed: u64,
}

/// What the link has done to TCP segments, of both directions. Always:
/// `seen + duplicated = sent + lost + held`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Segments that came in.
    pub seen: u64,
    /// Segments that went out.
    pub sent: u64,
    /// Segments that vanished.
    pub lost: u64,
    /// Segments that were sent twice.
    pub duplicated: u64,
    /// Segments that were held back, of `sent` and `held`.
    pub reordered: u64,
    /// Segments held back just now.
    pub held: u64,
}

/// Two namespaces with `eth0` each, and the link between them.
#[derive(Debug)]
pub struct Link {
    a: Netns,
    b: Netns,
    counts: Arc<Mutex<Counts>>,
    stop: Arc<AtomicBool>,
    relay: Option<JoinHandle<()>>,
    // Last, so that it outlives the relay inside of it.
    _between: Netns,
}

impl Link {
    /// IPv4 address in the first namespace.
    pub const A_V4: &'static str = "10.77.0.1";
    /// IPv4 address in the second namespace.
    pub const B_V4: &'static str = "10.77.0.2";
    /// IPv6 address in the first namespace.
    pub const A_V6: &'static str = "fd77::1";
    /// IPv6 address in the second namespace.
    pub const B_V6: &'static str = "fd77::2";

    /// Makes the namespaces and starts the relay.
    pub fn new(impairment: Impairment) -> Link {
        let (a, b, between) = (Netns::new("a"), Netns::new("b"), Netns::new("between"));
        veth((&a, "eth0"), (&between, "side-a"));
        veth((&b, "eth0"), (&between, "side-b"));
        for (netns, v4, v6) in [(&a, Link::A_V4, Link::A_V6), (&b, Link::B_V4, Link::B_V6)] {
            netns.address("eth0", &format!("{v4}/24"));
            netns.address("eth0", &format!("{v6}/64"));
        }
        let (counts, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (ready, started) = mpsc::channel();
        let relay = {
            let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
            let sides = between.run(|| [open("side-a"), open("side-b")]);
            std::thread::spawn(move || relay(sides, impairment, &counts, &stop, &ready))
        };
        started.recv().expect("the relay has started");
        Link { a, b, counts, stop, relay: Some(relay), _between: between }
    }

    /// The first namespace.
    pub fn a(&self) -> &Netns {
        &self.a
    }

    /// The second namespace.
    pub fn b(&self) -> &Netns {
        &self.b
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(relay) = self.relay.take()
            && relay.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the relay panicked");
        }
    }
}

fn open(device: &str) -> Capture<Active> {
    let open = || {
        Capture::from_device(device)?
            .promisc(true)
            .snaplen(65_535)
            .immediate_mode(true)
            .buffer_size(8 << 20)
            .open()
    };
    let capture = open().and_then(Capture::setnonblock).unwrap_or_else(|error| panic!("{device}: {error}"));
    // Without this the relay would read back what it writes.
    capture.direction(Direction::In).unwrap_or_else(|error| panic!("{device}: {error}"));
    capture
}

fn relay(
    mut sides: [Capture<Active>; 2],
    impairment: Impairment,
    counts: &Mutex<Counts>,
    stop: &AtomicBool,
    ready: &Sender<()>,
) {
    let seed =
        |side: u64| Impairment { seed: impairment.seed.wrapping_mul(2).wrapping_add(side), ..impairment };
    let mut lanes = [Lane::new(seed(0)), Lane::new(seed(1))];
    let mut out = Vec::new();
    let _ = ready.send(());
    while !stop.load(Ordering::Relaxed) {
        let mut readable = [&sides[0], &sides[1]].map(|side| PollFd::new(side, PollFlags::IN));
        let _ = poll(&mut readable, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }));
        for from in 0..2 {
            // A few at a time, so that one busy side does not starve the other.
            for _ in 0..64 {
                let Ok(packet) = sides[from].next_packet() else { break };
                lanes[from].offer(packet.data, Instant::now(), &mut out);
            }
            lanes[from].release(Instant::now(), &mut out);
            for frame in out.drain(..) {
                // A full queue is loss too, but not one that was asked for, so it must not happen.
                sides[1 - from].sendpacket(frame).unwrap_or_else(|error| panic!("relay: {error}"));
            }
        }
        let [a, b] = [lanes[0].counts, lanes[1].counts];
        *counts.lock().unwrap() = Counts {
            seen: a.seen + b.seen,
            sent: a.sent + b.sent,
            lost: a.lost + b.lost,
            duplicated: a.duplicated + b.duplicated,
            reordered: a.reordered + b.reordered,
            held: a.held + b.held,
        };
    }
}

/// One direction: decides about each frame, without doing any I/O.
#[derive(Debug)]
struct Lane {
    impairment: Impairment,
    rng: Rng,
    held: Vec<Held>,
    counts: Counts,
}

#[derive(Debug)]
struct Held {
    frame: Vec<u8>,
    overtakers_left: u64,
    until: Instant,
}

impl Lane {
    fn new(impairment: Impairment) -> Lane {
        Lane { impairment, rng: Rng::new(impairment.seed), held: Vec::new(), counts: Counts::default() }
    }

    /// A frame has come in; what is to go out now is added to `out`.
    fn offer(&mut self, frame: &[u8], now: Instant, out: &mut Vec<Vec<u8>>) {
        let Some(flags) = tcp_flags(frame) else {
            out.push(frame.to_vec());
            return;
        };
        self.counts.seen += 1;
        const SYN: u8 = 0x02;
        // The choice is drawn even where it is not used: a SYN does not shift the choices after it.
        let choice = self.rng.unit();
        let Impairment { loss, duplicate, reorder, handshake, .. } = self.impairment;
        if flags & SYN != 0 && !handshake {
            self.send(frame.to_vec(), out);
        } else if choice < loss {
            self.counts.lost += 1;
        } else if choice < loss + duplicate {
            self.counts.duplicated += 1;
            self.send(frame.to_vec(), out);
            self.send(frame.to_vec(), out);
        } else if choice < loss + duplicate + reorder {
            let overtakers_left = 1 + self.rng.below(OVERTAKERS_MAX);
            self.held.push(Held { frame: frame.to_vec(), overtakers_left, until: now + HOLD_MAX });
            self.counts.reordered += 1;
            self.counts.held += 1;
        } else {
            self.send(frame.to_vec(), out);
            for held in &mut self.held {
                held.overtakers_left = held.overtakers_left.saturating_sub(1);
            }
            self.release(now, out);
        }
    }

    /// Adds what has been held back long enough.
    fn release(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let due = |held: &mut Held| held.overtakers_left == 0 || held.until <= now;
        let frames: Vec<Vec<u8>> = self.held.extract_if(.., due).map(|held| held.frame).collect();
        for frame in frames {
            self.counts.held -= 1;
            self.send(frame, out);
        }
    }

    fn send(&mut self, frame: Vec<u8>, out: &mut Vec<Vec<u8>>) {
        self.counts.sent += 1;
        out.push(frame);
    }
}

/// The flags of a TCP segment in an Ethernet frame; `None` for all else. Extension headers and fragments
/// do not occur here, so they count as 'all else'.
fn tcp_flags(frame: &[u8]) -> Option<u8> {
    const PROTOCOL_TCP: u8 = 6;
    let packet = frame.get(14..)?;
    let segment = match frame.get(12..14)? {
        [0x08, 0x00] if *packet.get(9)? == PROTOCOL_TCP => {
            packet.get(usize::from(packet.first()? & 0xf) * 4..)?
        }
        [0x86, 0xdd] if *packet.get(6)? == PROTOCOL_TCP => packet.get(40..)?,
        _ => return None,
    };
    segment.get(13).copied()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn segment(number: u8) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[12] = 0x08;
        frame[14] = 0x45;
        frame[14 + 9] = 6;
        frame[14 + 20] = number;
        frame
    }

    fn numbers(impairment: Impairment, n: u8) -> (Vec<u8>, Counts) {
        let mut lane = Lane::new(impairment);
        let (mut out, now) = (Vec::new(), Instant::now());
        for number in 0..n {
            lane.offer(&segment(number), now, &mut out);
        }
        lane.release(now + HOLD_MAX, &mut out);
        let Counts { seen, sent, lost, duplicated, held, .. } = lane.counts;
        assert_eq!(seen + duplicated, sent + lost + held);
        assert_eq!(held, 0);
        (out.iter().map(|frame| frame[34]).collect(), lane.counts)
    }

    #[test]
    fn a_seed_decides_everything() {
        let impairment =
            Impairment { loss: 0.1, duplicate: 0.1, reorder: 0.1, seed: 7, ..Impairment::default() };
        let (first, counts) = numbers(impairment, 200);
        assert_eq!(numbers(impairment, 200), (first.clone(), counts));
        assert_ne!(numbers(Impairment { seed: 8, ..impairment }, 200).0, first);
        assert!(counts.lost > 5 && counts.duplicated > 5 && counts.reordered > 5, "{counts:?}");
    }

    #[test]
    fn without_impairment_everything_passes_in_order() {
        assert_eq!(numbers(Impairment::default(), 200).0, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn held_segments_are_overtaken_by_a_few_and_never_lost() {
        let (mut seen, counts) = numbers(Impairment { reorder: 0.2, seed: 1, ..Impairment::default() }, 200);
        assert!(!seen.is_sorted());
        assert_eq!(counts.lost, 0);
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn what_is_not_tcp_and_handshakes_pass() {
        let mut lane = Lane::new(Impairment { loss: 1.0, ..Impairment::default() });
        let mut out = Vec::new();
        let mut syn = segment(0);
        syn[14 + 20 + 13] = 0x02;
        lane.offer(&[0; 60], Instant::now(), &mut out);
        lane.offer(&syn, Instant::now(), &mut out);
        lane.offer(&segment(0), Instant::now(), &mut out);
        lane.offer(&[0; 3], Instant::now(), &mut out);
        assert_eq!(out.len(), 3);
        assert_eq!(lane.counts.lost, 1);
    }

    #[test]
    fn a_stream_arrives_whole_over_a_bad_link() {
        if !Netns::available() {
            return;
        }
        let link = Link::new(Impairment {
            loss: 0.02,
            duplicate: 0.05,
            reorder: 0.1,
            seed: 42,
            ..Impairment::default()
        });
        for ip in [Link::B_V4, Link::B_V6] {
            let listener = link.b().run(|| TcpListener::bind((ip, 0)).unwrap());
            let address = listener.local_addr().unwrap();
            let sent: Vec<u8> = (0..300_000u32).map(|i| (i * 7 / 3) as u8).collect();
            let mut received = Vec::new();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut stream = link.a().run(|| TcpStream::connect(address).unwrap());
                    stream.write_all(&sent).unwrap();
                });
                listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            });
            assert!(received == sent);
        }
        let counts = link.counts();
        assert!(counts.lost > 0 && counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
    }
}
