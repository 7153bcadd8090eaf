//! One example for each rule of the standards that decides where a message ends and what it answers.

mod common;

use common::{REQUESTS, RESPONSES, Talk};
use headtrail_assemble::Messages;
use headtrail_record::event::{CloseReason, flags};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn keep_alive_gives_one_transaction_each() {
    let mut talk = Talk::raw();
    for n in 0..3 {
        talk.request(format!("GET /{n} HTTP/1.1\r\n\r\n")).response(OK5);
        assert_eq!(talk.out.len(), n + 1, "given out at once");
        assert_eq!(talk.assembler.held(), Messages::default());
    }
    assert_eq!(talk.lines(), ["GET /0 0 -> 200 5", "GET /1 0 -> 200 5", "GET /2 0 -> 200 5"]);
    assert_eq!(talk.out.iter().map(|t| t.number).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn ends_role_times_and_packets_are_those_of_the_messages() {
    let mut talk = Talk::raw();
    talk.process = Some(7);
    let (first, rest) = GET.split_at(7);
    talk.request(first).request(rest).response(&OK5[..30]).response(&OK5[30..]);
    let tx = &talk.out[0];
    assert_eq!(
        (tx.source.to_string(), tx.destination.to_string()),
        ("10.0.0.1:40000".into(), "10.0.0.2:80".into())
    );
    assert_eq!(tx.role, headtrail_record::transaction::Role::Server);
    let (request, response) = (tx.request.as_ref().unwrap(), tx.response.as_ref().unwrap());
    assert_eq!((request.first_ns, request.last_ns), (1000, 1001));
    assert_eq!((response.first_ns, response.last_ns), (1002, 1003));
    assert_eq!(request.sequence, common::BASES[0]);
    assert_eq!(request.headers.as_slice().len(), 40);
    assert_eq!(tx.process.unwrap().pid, 7);
}

#[test]
fn rfc9112_9_3_2_pipelined_requests_are_answered_in_order() {
    let mut talk = Talk::raw();
    let requests: String = (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\n\r\n")).collect();
    let responses: String = (0..100)
        .map(|n| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", n, "x".repeat(n)))
        .collect();
    talk.request(requests).response(responses);
    let want: Vec<String> = (0..100).map(|n| format!("GET /{n} 0 -> 200 {n}")).collect();
    assert_eq!(talk.lines(), want);
}

#[test]
fn rfc9112_6_3_request_like_bytes_in_a_body_are_body() {
    let evil = "GET /evil HTTP/1.1\r\n\r\n";
    for flags in [flags::RAW | flags::FRESH, flags::FRESH] {
        let mut talk = Talk::new(flags);
        let head = format!("POST /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n", evil.len());
        talk.request(head).request(evil).response(OK5);
        assert_eq!(talk.lines(), ["POST /a 22 -> 200 5"]);
    }
}

#[test]
fn rfc9110_9_3_2_head_has_lengths_but_no_body() {
    let mut talk = Talk::raw();
    talk.request("HEAD /a HTTP/1.1\r\n\r\n").response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    talk.request("HEAD /b HTTP/1.1\r\n\r\n")
        .response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(talk.lines(), ["HEAD /a 0 -> 200 0", "HEAD /b 0 -> 200 0"]);
}

#[test]
fn rfc9110_15_2_interim_responses_stand_before_the_final_one() {
    let mut talk = Talk::raw();
    talk.request("POST /a HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    talk.response("HTTP/1.1 100 Continue\r\n\r\n").request("ab");
    talk.response("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(talk.lines(), ["POST /a 2 -> (100) (103) 204 0"]);
}

#[test]
fn rfc9110_15_4_5_not_modified_has_no_body_whatever_it_says() {
    let mut talk = Talk::raw();
    talk.request(GET)
        .response("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
        .request(GET)
        .response(OK5);
    assert_eq!(talk.lines(), ["GET /a 0 -> 304 0", "GET /a 0 -> 200 5"]);
}

#[test]
fn rfc9112_7_1_chunked_with_extensions_and_trailers() {
    let mut talk = Talk::raw();
    talk.request("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nSum: 1\r\nEtag : 2\r\n\r\n");
    talk.response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n");
    assert!(talk.out.is_empty());
    talk.response("1\r\nc\r\n0\r\n\r\n");
    assert_eq!(talk.lines(), ["POST /a 3 -> 200 3 !space_before_colon"]);
    let trailers: Vec<_> = talk.out[0].request.as_ref().unwrap().trailers().collect();
    assert_eq!(trailers, [(&b"Sum"[..], &b"1"[..]), (b"Etag ", b"2")]);
}

#[test]
fn rfc9112_6_3_rule_8_close_delimited_body_ends_with_fin() {
    let mut talk = Talk::raw();
    talk.request(GET).response("HTTP/1.0 200 OK\r\n\r\nabc").response("def");
    assert!(talk.out.is_empty());
    talk.fin(RESPONSES);
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 6"]);
    let mut walked = Talk::walked();
    walked.request(GET).response("HTTP/1.0 200 OK\r\n\r\n").skip(RESPONSES, 100_000).fin(RESPONSES);
    assert_eq!(walked.lines(), ["GET /a 0 -> 200 100000"]);
}

#[test]
fn rfc9112_6_3_rule_3_length_and_encoding_is_named_and_chunked() {
    let mut talk = Talk::raw();
    talk.request("POST /a HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .response(OK5);
    talk.request(GET).response(OK5);
    assert_eq!(talk.lines(), ["POST /a 0 -> 200 5 !length_and_encoding", "GET /a 0 -> 200 5"]);
}

#[test]
fn rfc9112_6_3_rule_5_differing_lengths_take_the_first() {
    let mut talk = Talk::raw();
    talk.request("POST /a HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc").response(OK5);
    assert_eq!(talk.lines(), ["POST /a 3 -> 200 5 !lengths_differ"]);
}

#[test]
fn rfc9112_6_3_rule_5_invalid_length_ends_where_the_kernel_says() {
    let mut talk = Talk::walked();
    talk.send(REQUESTS, "POST /a HTTP/1.1\r\nContent-Length: x\r\n\r\nabc", flags::START).response(OK5);
    talk.send(REQUESTS, GET, flags::START).response(OK5);
    assert_eq!(talk.lines(), ["POST /a ? -> 200 5 !length_invalid", "GET /a 0 -> 200 5"]);
}

#[test]
fn rfc9110_9_3_6_connect_becomes_a_tunnel_only_when_accepted() {
    let connect = "CONNECT x:443 HTTP/1.1\r\n\r\n";
    let mut talk = Talk::raw();
    talk.request(connect).response("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").request(connect);
    talk.response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").request(GET).response(OK5);
    assert_eq!(talk.lines(), ["CONNECT x:443 0 -> 407 0", "start CONNECT x:443 ? -> 200 ?"]);
    assert_eq!(talk.assembler.counters().tunnels, 1);
}

#[test]
fn rfc9110_7_8_switching_protocols_ends_http() {
    let mut talk = Talk::raw();
    talk.request("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    talk.response("HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02").request("\x01\x02").request(GET);
    talk.close(CloseReason::Fin);
    assert_eq!(talk.lines(), ["start GET /ws ? -> 101 ?", "end GET /ws ? -> 101 ?"]);
}

#[test]
fn rfc9113_3_4_http2_preface_and_other_protocols_are_counted_and_ignored() {
    let mut preface = Talk::raw();
    preface.request("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").request(GET).response(OK5).finish();
    assert_eq!((preface.lines(), preface.assembler.counters().other_connections), (vec![], 1));
    for bytes in [&b"\x16\x03\x01\x02\x00\x01"[..], b"SSH-2.0-x\r\n"] {
        let mut talk = Talk::raw();
        talk.request(bytes).response(bytes).request(GET).response(OK5).finish();
        assert_eq!((talk.lines(), talk.assembler.counters().other_connections), (vec![], 1));
        let mut greeted = Talk::raw();
        greeted.response(bytes).request(bytes).request(GET).response(OK5).finish();
        assert_eq!((greeted.lines(), greeted.assembler.counters().other_connections), (vec![], 1));
        let mut alone = Talk::raw();
        alone.request(bytes).request(GET).finish();
        assert_eq!((alone.lines(), alone.assembler.counters().other_connections), (vec![], 1));
    }
}

#[test]
fn rfc9112_2_2_empty_lines_before_a_request_are_no_part_of_it() {
    let mut talk = Talk::raw();
    talk.request(format!("\r\n\r\n{GET}")).response(OK5).request("\r\n").request(GET).response(OK5);
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 5"; 2]);
}

#[test]
fn one_byte_segments_give_the_same() {
    let mut talk = Talk::raw();
    for byte in GET.bytes() {
        talk.request([byte]);
    }
    for byte in OK5.bytes() {
        talk.response([byte]);
    }
    assert_eq!(talk.lines(), ["GET /a 0 -> 200 5"]);
}

#[test]
fn a_head_longer_than_the_limit_is_truncated_and_the_next_message_found() {
    let long = format!("GET /a HTTP/1.1\r\nA: {}\r\nContent-Length: 9\r\n\r\n", "x".repeat(70_000));
    for flags in [flags::RAW | flags::FRESH, flags::FRESH] {
        for size in [1000, 65_536, 100_000] {
            let mut talk = Talk::new(flags);
            long.as_bytes().chunks(size).for_each(|c| {
                talk.request(c);
            });
            talk.request("POST / HT");
            talk.response(OK5).request(GET).response(OK5);
            assert_eq!(
                talk.lines(),
                ["GET /a 9 -> 200 5 truncated/request@65536", "GET /a 0 -> 200 5"],
                "{size}"
            );
        }
    }
}

#[test]
fn closed_in_the_middle_says_where() {
    let mut talk = Talk::raw();
    talk.request("GET /a HTTP/1.1\r\nHo").close(CloseReason::Reset);
    talk.request("POST /a HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").close(CloseReason::Reset);
    let mut whole = Talk::raw();
    whole.request(GET).close(CloseReason::Fin);
    let mut response = Talk::raw();
    response.request(GET).response(&OK5[..40]).close(CloseReason::Fin);
    let mut head = Talk::raw();
    head.request(GET).response("HTTP/1.1 200 OK\r\nA").finish();
    assert_eq!(
        talk.lines(),
        [
            "GET /a ? -> - closed_early/request@19 response_missing/response",
            "POST /a ? -> - closed_early/request@43 response_missing/response"
        ]
    );
    assert_eq!(whole.lines(), ["GET /a 0 -> - response_missing/response"]);
    assert_eq!(response.lines(), ["GET /a 0 -> 200 ? closed_early/response@40"]);
    assert_eq!(head.lines(), ["GET /a 0 -> 200 ? closed_early/response@18"]);
}

#[test]
fn a_response_without_a_request_says_why() {
    let mut fresh = Talk::walked();
    fresh.request(GET).response(OK5).response(OK5);
    assert_eq!(fresh.lines()[1], "- -> 200 5 request_missing/request !unexpected_response");
    let mut joined = Talk::new(0);
    joined.send(RESPONSES, OK5, flags::START).request(GET).response(OK5).request(GET);
    assert_eq!(joined.lines(), ["- -> 200 5 request_missing/request joined/request", "GET /a 0 -> 200 5"]);
}

#[test]
fn a_response_that_precedes_the_end_of_its_request_waits_for_it() {
    let mut talk = Talk::raw();
    talk.request("POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
    talk.response("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert!(talk.out.is_empty());
    talk.request("cde");
    assert_eq!(talk.lines(), ["POST /a 5 -> 413 0"]);
}
