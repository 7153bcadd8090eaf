//! A head of any bytes: read whole and cut in two at any place it gives the same record, and every span lies within
//! the text it points into.
#![no_main]

use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{CloseReason, ConnectionId, Direction, Event, Segment, flags};
use headtrail_record::transaction::{Message, RawTransaction, Span};
use libfuzzer_sys::fuzz_target;

fn segment(direction: Direction, sequence: u32, bytes: &[u8]) -> Event<'_> {
    Event::Segment(Segment {
        connection: ConnectionId(1),
        netns: 1,
        direction,
        time_ns: 1,
        sequence,
        bytes,
        packet_end: sequence.wrapping_add(bytes.len() as u32),
        headers: &[],
        segments: 1,
        flags: flags::RAW | flags::FRESH,
        starts: 0,
        process: None,
        frame: None,
    })
}

fn check(message: &Message) {
    let within = |s: Span| assert!((s.start + s.len) as usize <= message.text.len());
    for line in message.lines.iter().chain(&message.trailers) {
        within(line.name);
        within(line.value);
    }
}

fn run(parts: &[&[u8]]) -> Vec<String> {
    let mut assembler = Assembler::new(Limits { head_bytes_max: 512, ..Limits::default() });
    let mut got = Vec::new();
    let mut out = |t: RawTransaction| {
        let mut line = format!("{:?} {:?}", t.incomplete, t.anomalies);
        for m in t.request.iter().chain(&t.interim).chain(&t.response) {
            check(m);
            line += &format!(" {:?} {:?} {:?} {:?}", m.start, m.body_bytes, m.lines, m.trailers);
        }
        got.push(line);
    };
    let mut sequence = 1;
    for part in parts {
        assembler.event(&segment(Direction::Ingress, sequence, part), &mut out);
        sequence = sequence.wrapping_add(part.len() as u32);
    }
    let closed = Event::Closed { connection: ConnectionId(1), time_ns: 2, reason: CloseReason::Fin };
    assembler.event(&closed, &mut out);
    got
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, text)) = data.split_first() else { return };
    let whole = run(&[text]);
    // Behind bytes that are no message the next one is looked for at the beginning of segments only.
    let stray = whole.iter().any(|l| l.contains("StrayBytes"));
    let (a, b) = text.split_at(usize::from(cut).min(text.len()));
    let cut = run(&[a, b]);
    if !stray && !cut.iter().any(|l| l.contains("StrayBytes")) && whole.len() == 1 && cut.len() == 1 {
        assert_eq!(whole, cut);
    }
});
