//! Gaps, early segments, twins, peers, hints, time and limits, one example each.

mod common;

use common::{BASES, Owned, REQUESTS, RESPONSES, Talk};
use headtrail_assemble::Limits;
use headtrail_record::event::{
    ChunkAt, CloseReason, ConnectionId, Endpoint, Event, ProcessRef, Resync, flags,
};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const OK_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

fn peer(netns: u32, sequence: u32) -> Event<'static> {
    Event::Peer {
        netns,
        source: Endpoint { ip: [10, 0, 0, 1].into(), port: 40_000 },
        destination: Endpoint { ip: [10, 0, 0, 2].into(), port: 80 },
        sequence,
        process: ProcessRef { pid: 9, name: [0; 16] },
    }
}

#[test]
fn a_lost_request_is_named_and_the_next_one_is_paired() {
    for (extra, reason) in [(0, "gap"), (flags::LOST, "ring_full")] {
        let mut talk = Talk::walked();
        talk.request(GET).response(OK5).skip(REQUESTS, 50).response(OK5);
        talk.send(REQUESTS, GET, flags::START | extra).response(OK5).request(GET).response(OK5);
        assert_eq!(
            talk.lines(),
            [
                "GET /a 0 -> 200 5",
                "- -> 200 5 request_missing/request gap/request",
                "GET /a 0 -> 200 5",
                "GET /a 0 -> 200 5"
            ],
            "{reason}"
        );
        assert_eq!(talk.assembler.counters().ring_full_gaps, u64::from(extra != 0));
    }
}

#[test]
fn a_lost_response_leaves_its_request_and_the_next_one_is_paired() {
    let mut talk = Talk::walked();
    talk.request(GET).skip(RESPONSES, 50).request("GET /b HTTP/1.1\r\n\r\n");
    talk.send(RESPONSES, OK5, flags::START | flags::LOST).request(GET).response(OK5);
    assert_eq!(
        talk.lines(),
        [
            "GET /a 0 -> - response_missing/response ring_full/response",
            "GET /b 0 -> 200 5",
            "GET /a 0 -> 200 5"
        ]
    );
}

#[test]
fn a_pair_on_probation_is_given_out_when_nothing_contradicts_it_for_a_second() {
    let mut talk = Talk::new(0);
    talk.send(REQUESTS, GET, flags::START).send(RESPONSES, OK5, flags::START);
    assert!(talk.out.is_empty());
    talk.tick(999_000_000);
    assert!(talk.out.is_empty());
    talk.tick(1_000_000);
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 5"]);
}

#[test]
fn an_extra_response_takes_a_pair_on_probation_apart() {
    let mut talk = Talk::new(0);
    talk.send(REQUESTS, GET, flags::START);
    talk.send(RESPONSES, OK5, flags::START).send(RESPONSES, OK5, flags::START).finish();
    assert_eq!(
        talk.lines(),
        [
            "GET /a 0 -> - response_missing/response gap/response",
            "- -> 200 5 request_missing/request gap/request",
            "- -> 200 5 request_missing/request gap/request"
        ]
    );
}

#[test]
fn a_hole_in_a_raw_head_is_named_when_it_is_too_old_or_acknowledged() {
    let mut old = Talk::raw();
    old.request("GET /a HTTP/1.1\r\nHo").skip(REQUESTS, 5).request("\r\n\r\n").tick(4_000_000_000);
    assert!(old.out.is_empty());
    assert_eq!(old.assembler.held().requests, 0);
    old.tick(1_000_000_000);
    assert_eq!(old.assembler.held().requests, 1);
    let mut seen = Talk::raw();
    seen.request("GET /a HTTP/1.1\r\nHo").skip(REQUESTS, 5).request("\r\n\r\n").response(OK5);
    assert_eq!(seen.lines(), ["GET /a ? -> 200 5 gap/request@19"]);
}

#[test]
fn order_is_restored_and_too_much_behind_a_hole_is_a_gap() {
    let mut talk = Talk::raw();
    let hole = talk.segment(REQUESTS, BASES[0] + 10, &GET.as_bytes()[10..], 0);
    talk.request(&GET[..5]);
    let late = talk.segment(REQUESTS, BASES[0] + 5, &GET.as_bytes()[5..10], 0);
    talk.apply(&hole).apply(&late).skip(REQUESTS, GET.len() as u32 - 5).response(OK5);
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 5"]);
    talk.skip(REQUESTS, 1);
    for _ in 0..70 {
        talk.request("x".repeat(1000));
    }
    assert!(talk.assembler.held_bytes() <= 90_000);
    assert_eq!(talk.assembler.counters().gaps, 1);
}

#[test]
fn overlap_that_differs_is_named_and_the_first_bytes_win() {
    let mut head = Talk::raw();
    head.request("GET /aaaa");
    let again = head.segment(REQUESTS, BASES[0] + 5, b"bbbb HTTP/1.1\r\n\r\n", 0);
    head.apply(&again).skip(REQUESTS, 13).response(OK5);
    let mut held = Talk::raw();
    held.request("GET ");
    let first = held.segment(REQUESTS, BASES[0] + 8, b"a HTTP/1.1\r\n\r\n", 0);
    let second = held.segment(REQUESTS, BASES[0] + 4, b"/aaab HTTP", 0);
    held.apply(&first).apply(&second).skip(REQUESTS, 18).response(OK5);
    assert_eq!(head.lines(), ["GET /aaaa 0 -> 200 5 !overlap_differs"]);
    assert_eq!(held.lines(), ["GET /aaaa 0 -> 200 5 !overlap_differs"]);
    let mut same = Talk::raw();
    same.request("GET /aaaa");
    let again = same.segment(REQUESTS, BASES[0] + 5, b"aaaa HTTP/1.1\r\n\r\n", 0);
    same.apply(&again).skip(REQUESTS, 13).response(OK5);
    assert_eq!(same.lines(), ["GET /aaaa 0 -> 200 5"]);
}

#[test]
fn a_body_of_more_than_four_gibibytes_is_counted_in_full() {
    const OCTETS: u64 = 5 << 30;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {OCTETS}\r\n\r\n");
    for told in [true, false] {
        let mut talk = Talk::walked();
        talk.request(GET).send(RESPONSES, &head, flags::START).skip(RESPONSES, OCTETS as u32);
        if told {
            talk.body_end(RESPONSES, OCTETS);
        }
        talk.request(GET).send(RESPONSES, OK5, flags::START);
        assert_eq!(talk.lines(), [format!("GET /a 0 -> 200 {OCTETS}"), "GET /a 0 -> 200 5".into()], "{told}");
    }
}

#[test]
fn the_end_of_a_body_that_was_passed_over_gives_the_time() {
    let mut talk = Talk::walked();
    talk.request(GET).send(RESPONSES, OK_HEAD, flags::START);
    assert!(talk.out.is_empty());
    talk.time_ns = 5_000;
    talk.skip(RESPONSES, 5).body_end(RESPONSES, 5);
    assert_eq!(talk.out[0].response.as_ref().unwrap().last_ns, 5_000);
    let mut one = Talk::walked();
    one.request(GET);
    let mut packet = one.segment(RESPONSES, one.next[1], OK_HEAD.as_bytes(), flags::START);
    if let Owned::Segment { packet_end, .. } = &mut packet {
        *packet_end = packet_end.wrapping_add(5);
    }
    one.apply(&packet);
    assert_eq!(one.lines(), ["GET /a 0 -> 200 5"], "a body in the packet of its head needs no telling");
}

#[test]
fn a_chunked_body_in_one_packet_may_be_passed_over_untold() {
    let mut talk = Talk::walked();
    talk.request(GET);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let at = talk.next[1];
    let body_at = at.wrapping_add(head.len() as u32 + 30);
    let tail = b"\r\n0\r\nA: b\r\n\r\n";
    for mut part in
        [talk.segment(RESPONSES, at, head, flags::START), talk.segment(RESPONSES, body_at, tail, 0)]
    {
        if let Owned::Segment { packet_end, .. } = &mut part {
            *packet_end = body_at.wrapping_add(tail.len() as u32);
        }
        talk.apply(&part);
    }
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 ?"]);
    assert_eq!(talk.out[0].response.as_ref().unwrap().trailers.len(), 1);
}

#[test]
fn raw_mode_tells_where_the_next_message_begins() {
    let mut talk = Talk::raw();
    let hint =
        |direction, sequence| Resync { connection: ConnectionId(1), direction, sequence, frames: false };
    talk.request(GET);
    assert_eq!(talk.resyncs(), [hint(REQUESTS, BASES[0] + GET.len() as u32)]);
    talk.response(OK_HEAD);
    let end = BASES[1].wrapping_add(OK5.len() as u32);
    assert_eq!(talk.resyncs(), [hint(RESPONSES, end)]);
    talk.response("hel").response("lo").request("GET /b HTTP/1.1\r\n");
    talk.resyncs();
    talk.request("\r\n").response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n");
    assert_eq!(talk.resyncs().len(), 1, "of the request only");
    talk.response("x\r\n0\r\n\r\n");
    assert_eq!(talk.resyncs(), [hint(RESPONSES, talk.next[1])]);
    let mut walked = Talk::walked();
    walked.request(GET).response(OK5);
    assert_eq!(walked.resyncs(), []);
}

#[test]
fn early_segments_go_to_the_connection_that_shows_itself() {
    let mut talk = Talk::walked();
    talk.connection = 77;
    talk.send(REQUESTS, &GET[..10], flags::EARLY | flags::START);
    talk.connection = 1;
    talk.request(&GET[10..]).response(OK5);
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 5"]);
    assert_eq!(talk.out[0].connection, ConnectionId(1));
    assert_eq!(talk.assembler.counters().early_adopted, 1);
}

#[test]
fn early_segments_that_nobody_takes_are_given_out_after_five_seconds() {
    let mut talk = Talk::walked();
    talk.connection = 77;
    talk.send(REQUESTS, GET, flags::EARLY | flags::START).tick(4_000_000_000);
    assert!(talk.out.is_empty());
    talk.tick(1_100_000_000);
    assert_eq!(talk.lines(), ["GET /a 0 -> - response_missing/response"]);
}

/// The same exchange as both ends see it; the second end's response and namespace may differ.
fn two_ends(second: &str, later_ns: u64) -> Talk {
    let mut talk = Talk::walked();
    talk.request(GET).response(OK5);
    talk.tick(later_ns);
    // What the server receives, the client sends.
    talk.next = [BASES[1], BASES[0]];
    (talk.connection, talk.netns) = (100, 2);
    talk.send(RESPONSES, GET, flags::START).send(REQUESTS, second, flags::START);
    talk
}

#[test]
fn the_other_end_of_an_exchange_is_a_twin() {
    let talk = two_ends(OK5, 0);
    assert_eq!(talk.lines().len(), 1);
    assert_eq!(talk.assembler.counters().dropped_twin.requests, 1);
    assert_eq!(talk.assembler.counters().dropped_twin.responses, 1);
}

#[test]
fn an_end_that_saw_less_is_a_twin_too() {
    let mut talk = two_ends("", 0);
    talk.close(CloseReason::Reset);
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 5"]);
    assert_eq!(talk.assembler.counters().dropped_twin.requests, 1);
}

#[test]
fn the_owner_of_a_client_end_stands_on_the_record_of_the_server_end() {
    let mut talk = Talk::walked();
    (talk.connection, talk.netns, talk.process) = (100, 2, Some(7));
    talk.next = [BASES[1], BASES[0]];
    talk.send(RESPONSES, GET, flags::START);
    (talk.connection, talk.netns, talk.process) = (1, 1, Some(8));
    talk.next = BASES;
    talk.request(GET).response(OK5);
    assert_eq!(talk.out[0].process.map(|p| p.pid), Some(8));
    assert_eq!(talk.out[0].peer_process.map(|p| p.pid), Some(7));
}

#[test]
fn where_the_walk_over_chunks_ends_is_told_and_no_message_is_seen_within_them() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    // The rest of a body that looks like messages, from several places on.
    for (at, rest) in [
        (ChunkAt::Data { remaining: 32 }, "HTTP/1.1 200 OK\r\nX: 0123456789ab\r\n0\r\n\r\n"),
        (ChunkAt::DataEnd, "\r\n20\r\nHTTP/1.1 200 OK\r\nX: 0123456789ab\r\n0\r\n\r\n"),
        (ChunkAt::Size { value: 2, digits: 1 }, "0\r\nHTTP/1.1 200 OK\r\nX: 0123456789ab\r\n0\r\n\r\n"),
        (ChunkAt::Extension { value: 32 }, ";x\r\nHTTP/1.1 200 OK\r\nX: 0123456789ab\r\n0\r\n\r\n"),
    ] {
        let mut talk = Talk::walked();
        // What is copied may come before the word on where it begins.
        for told_first in [true, false] {
            talk.request(GET).send(RESPONSES, HEAD, flags::START).skip(RESPONSES, 500);
            let chunks = Event::Chunks {
                connection: ConnectionId(1),
                direction: RESPONSES,
                time_ns: talk.time_ns,
                sequence: talk.next[RESPONSES.index()],
                octets: 400,
                at,
            };
            if !told_first {
                talk.send(RESPONSES, rest, flags::RAW);
            }
            let out = &mut talk.out;
            talk.assembler.event(&chunks, &mut |t| out.push(t));
            if told_first {
                talk.send(RESPONSES, rest, flags::RAW);
            }
        }
        talk.request(GET).response(OK5);
        assert_eq!(
            talk.lines(),
            ["GET /a 0 -> 200 432", "GET /a 0 -> 200 432", "GET /a 0 -> 200 5"],
            "{at:?}"
        );
    }
}

#[test]
fn other_heads_or_a_later_time_are_no_twins() {
    let other = OK5.replace("OK", "ok");
    assert_eq!(two_ends(&other, 0).lines().len(), 2);
    assert_eq!(two_ends(OK5, 2_100_000_000).lines().len(), 2);
}

#[test]
fn peers_stand_on_records_of_the_server_end() {
    for (netns, sequence, known) in [(1, 5, true), (2, BASES[0], true), (2, 5, false)] {
        let mut talk = Talk::walked();
        let out = &mut talk.out;
        talk.assembler.event(&peer(netns, sequence), &mut |t| out.push(t));
        talk.request(GET).response(OK5);
        assert_eq!(talk.out[0].peer_process.map(|p| p.pid), known.then_some(9), "{netns} {sequence}");
    }
}

#[test]
fn the_oldest_pending_request_is_given_up_and_its_response_goes_alone() {
    let mut talk =
        Talk::with(flags::FRESH | flags::RAW, Limits { pending_transactions_max: 2, ..Limits::default() });
    for n in 0..3 {
        talk.request(format!("GET /{n} HTTP/1.1\r\n\r\n"));
    }
    talk.response(OK5).response(OK5).response(OK5);
    assert_eq!(
        talk.lines(),
        [
            "GET /0 0 -> - response_missing/response",
            "- -> 200 5 request_missing/request",
            "GET /1 0 -> 200 5",
            "GET /2 0 -> 200 5"
        ]
    );
}

#[test]
fn the_connection_that_was_silent_longest_is_evicted() {
    let mut talk = Talk::with(flags::FRESH, Limits { connections_max: 2, ..Limits::default() });
    for connection in [1, 2, 1, 3] {
        talk.connection = connection;
        talk.next = if connection == 1 { talk.next } else { BASES };
        talk.request(GET);
    }
    assert_eq!(talk.out.iter().map(|t| t.connection.0).collect::<Vec<_>>(), [2]);
    assert_eq!(talk.assembler.counters().shed.connections, 1);
    assert_eq!(talk.assembler.connections(), 2);
    talk.lines();
}

#[test]
fn nothing_is_left_of_a_closed_connection() {
    let mut talk = Talk::raw();
    talk.request(GET).response(OK5).close(CloseReason::Fin);
    assert_eq!(talk.assembler.connections(), 0);
    assert!(talk.assembler.held_bytes() < 2_048, "room in tables and what recognises a twin");
    assert_eq!(talk.finish().assembler.held_bytes(), 0);
}

#[test]
fn a_lost_end_of_a_request_body_does_not_hold_the_record_back() {
    let mut talk = Talk::walked();
    talk.send(REQUESTS, "POST /a HTTP/1.1\r\nContent-Length: 100000\r\n\r\n", flags::START);
    talk.skip(REQUESTS, 100_000).response(OK5);
    assert_eq!(talk.lines(), ["POST /a 100000 -> 200 5"]);
}

#[test]
fn stray_bytes_may_have_hidden_messages_so_that_pairs_are_not_trusted() {
    let mut talk = Talk::raw();
    talk.request("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    // The first answer is hidden in what is no message.
    talk.response("\0\0\0\0").response(OK5).close(CloseReason::Fin);
    assert_eq!(
        talk.lines(),
        [
            "- -> 200 5 request_missing/request gap/request !stray_bytes",
            "GET /a 0 -> - response_missing/response gap/response",
            "GET /b 0 -> - response_missing/response gap/response"
        ]
    );
}

#[test]
fn interim_responses_of_a_pair_on_probation_stay_apart_from_a_response_behind_a_gap() {
    let mut talk = Talk::walked();
    // Of three pipelined requests the first is lost; of the responses the first one's end.
    talk.send(REQUESTS, GET, flags::START | flags::LOST);
    talk.send(RESPONSES, "HTTP/1.1 103 Early Hints\r\n\r\n", flags::START).skip(RESPONSES, 40);
    talk.send(RESPONSES, OK5, flags::START | flags::LOST).close(CloseReason::Fin);
    assert_eq!(
        talk.lines(),
        [
            "- -> (103) - request_missing/request response_missing/response ring_full/response",
            "- -> 200 5 request_missing/request ring_full/request",
            "GET /a 0 -> - response_missing/response ring_full/response"
        ]
    );
}

#[test]
fn a_pair_on_probation_is_taken_apart_when_the_end_of_the_connection_was_lost() {
    for lost in [0, 40] {
        let mut talk = Talk::walked();
        talk.send(REQUESTS, GET, flags::START | flags::LOST).send(RESPONSES, OK5, flags::START);
        talk.skip(RESPONSES, lost).fin(RESPONSES).close(CloseReason::Fin);
        assert_eq!(talk.lines().len(), if lost == 0 { 1 } else { 2 });
    }
}

#[test]
fn memory_is_bounded_over_all_connections() {
    let limits = Limits { held_bytes_max: 10_000, ..Limits::default() };
    let mut talk = Talk::with(flags::FRESH | flags::RAW, limits);
    for connection in 0..20 {
        talk.connection = connection;
        talk.request(format!("GET /a HTTP/1.1\r\nA: {}", "x".repeat(2_000)));
        assert!(talk.assembler.held_bytes() <= 10_000);
    }
    let shed = talk.assembler.counters().shed;
    assert!(shed.transactions + shed.connections >= 15, "{shed:?}");
    assert_eq!(
        talk.lines()[0],
        "GET /a ? -> - memory/request@2020 response_missing/response memory/response"
    );
}

/// Connection 1 with something open, and then so much elsewhere that it is shed.
fn shed(mut talk: Talk) -> Talk {
    let out = &mut talk.out;
    talk.assembler.shed(talk.assembler.held_bytes() - 1, &mut |t| out.push(t));
    talk
}

#[test]
fn the_first_step_names_holes_and_touches_nothing_else() {
    let mut talk = Talk::raw();
    talk.request("GET /a HTTP/1.1\r\nHo").skip(REQUESTS, 5).request("\r\n\r\n");
    let mut talk = shed(talk);
    assert_eq!(talk.assembler.counters().shed.steps().map(|(_, count)| count), [1, 0, 0, 0, 0]);
    talk.response(OK5);
    assert_eq!(talk.lines(), ["GET /a ? -> 200 5 memory/request@19"]);
}

#[test]
fn a_transaction_that_was_given_up_keeps_its_connection_and_later_ones_are_paired() {
    for open in ["", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let mut talk = Talk::raw();
        talk.request(GET);
        if !open.is_empty() {
            talk.response(open);
        }
        let mut talk = shed(talk);
        assert_eq!(talk.assembler.counters().shed.steps().map(|(_, count)| count), [0, 0, 1, 0, 0]);
        talk.response(OK5).request(GET).response(OK5);
        let hints = if open.is_empty() { "" } else { "(103) " };
        assert_eq!(
            talk.lines(),
            [
                &format!("GET /a 0 -> {hints}- response_missing/response memory/response"),
                "- -> 200 5 request_missing/request memory/request",
                "GET /a 0 -> 200 5"
            ]
        );
    }
}

#[test]
fn an_interim_response_to_a_request_that_was_given_up_counts_with_its_final_one() {
    let mut talk =
        Talk::with(flags::FRESH | flags::RAW, Limits { pending_transactions_max: 2, ..Limits::default() });
    for n in 0..3 {
        talk.request(format!("GET /{n} HTTP/1.1\r\n\r\n"));
    }
    talk.response("HTTP/1.1 103 Early Hints\r\n\r\n").response(OK5);
    talk.response(OK5.replace("OK", "one")).response(OK5.replace("OK", "two"));
    assert_eq!(talk.lines()[2..], ["GET /1 0 -> 200 5", "GET /2 0 -> 200 5"]);
}

#[test]
fn a_body_in_progress_goes_on_unseen_when_its_transaction_was_given_up() {
    let mut talk = Talk::raw();
    talk.request(GET).response(OK_HEAD).response("he");
    let mut talk = shed(talk);
    talk.response("llo").request("GET /b HTTP/1.1\r\n\r\n").response(OK5);
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 ? memory/response@40", "GET /b 0 -> 200 5"]);
}

#[test]
fn a_pair_on_probation_is_given_up_in_halves() {
    let mut talk = Talk::new(0);
    talk.send(REQUESTS, GET, flags::START).send(RESPONSES, OK5, flags::START);
    let talk = shed(talk);
    assert_eq!(
        talk.lines(),
        [
            "GET /a 0 -> - response_missing/response memory/response",
            "- -> 200 5 request_missing/request memory/request"
        ]
    );
}

#[test]
fn one_connection_cannot_push_the_others_out() {
    let limits = Limits { connection_bytes_max: 20_000, held_bytes_max: 400_000, ..Limits::default() };
    let mut talk = Talk::with(flags::FRESH | flags::RAW, limits);
    talk.request(GET);
    (talk.connection, talk.next) = (2, BASES);
    for _ in 0..1_000 {
        talk.request(GET);
        assert!(talk.assembler.held_bytes() <= 400_000);
    }
    assert!(talk.out.iter().all(|t| t.connection == ConnectionId(2)));
    talk.lines();
}

#[test]
fn the_end_of_a_body_is_not_taken_for_that_of_an_earlier_message() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut talk = Talk::walked();
    talk.request("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n").send(RESPONSES, chunked, flags::START);
    // The end of the first body is lost, and the second body ends.
    talk.skip(RESPONSES, 500)
        .send(RESPONSES, chunked, flags::START)
        .skip(RESPONSES, 500)
        .body_end(RESPONSES, 490);
    talk.response("\r\n").close(CloseReason::Fin);
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 ? gap/response@47", "GET /b 0 -> 200 490"]);
}

#[test]
fn the_first_bytes_behind_a_loss_are_a_message_only_with_a_known_start_line() {
    let mut talk = Talk::raw();
    talk.send(REQUESTS, format!("xx{GET}"), flags::LOST).response(OK5).request(GET).response(OK5).finish();
    assert_eq!(talk.lines()[0], "- -> 200 5 request_missing/request gap/request");
    assert!(talk.out.iter().all(|t| t.request.as_ref().is_none_or(|m| m.method() == Some(b"GET"))));
}

#[test]
fn a_request_does_not_confirm_a_pair_behind_which_responses_are_missing() {
    let mut talk = Talk::walked();
    talk.send(REQUESTS, GET, flags::START | flags::LOST).send(RESPONSES, OK5, flags::START);
    talk.skip(RESPONSES, 40).send(REQUESTS, "GET /b HTTP/1.1\r\n\r\n", flags::START);
    talk.send(RESPONSES, OK5, flags::START).send(REQUESTS, GET, flags::START).finish();
    assert_eq!(
        talk.lines()[..3],
        [
            "GET /a 0 -> - response_missing/response gap/response",
            "- -> 200 5 request_missing/request gap/request",
            "GET /b 0 -> 200 5"
        ]
    );
}
