//! What was sent is what was recorded, line by line and in both directions. The other side of each comparison is not the
//! recorder's: bytes that the test made, or what curl says that it sent and received.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::messages::{
    Cut, EVIL_REQUEST, EVIL_RESPONSE, Exchange, MadeHead, ask, check_all, chunked, evil, filter_of, script,
};
use common::{Recorder, curl, field, lines, ready};
use headtrail_testkit::process::on_one_cpu;
use headtrail_testkit::raw_http::{Connection, ScriptedServer, Step};
use headtrail_testkit::rng::Rng;
use headtrail_testkit::server::{Nginx, NginxOptions};
use serde_json::{Value, json};

/// One connection with one exchange of exact bytes; the records.
fn converse(request: &[u8], steps: Vec<Step>, response: &[u8], records: usize) -> Vec<Value> {
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    client.send(request);
    assert_eq!(client.read_bytes(response.len()), response);
    drop(client);
    server.finish();
    recorder.finish(records)
}

fn answer(request: &[u8], response: &[u8]) -> Vec<Value> {
    let steps = vec![Step::ReadBytes(request.len()), Step::Send(response.to_vec())];
    converse(request, steps, response, 1)
}

#[test]
fn made_heads_are_recorded_line_by_line() {
    if !ready() {
        return;
    }
    let mut rng = Rng::new(2);
    let mut pairs = Vec::new();
    for n in 0..120 {
        // Some with 100 lines, some with none but the length.
        let field_lines = [0, 1, 5, 30, 100][n % 5];
        let bytes_max = if n % 10 == 3 { 12_000 } else { 300 };
        let mut request = MadeHead::new(&mut rng, "GET /made HTTP/1.1", field_lines, bytes_max);
        let mut response = MadeHead::new(&mut rng, "HTTP/1.1 200 Made so", field_lines, bytes_max);
        let length = ["Content-Length", "CONTENT-LENGTH", "content-length"][n % 3];
        for (head, body) in [(&mut request, 0), (&mut response, 3)] {
            let at = rng.below(head.lines.len() as u64 + 1) as usize;
            let line = [length.into(), b"  ".to_vec(), body.to_string().into_bytes(), b"\t ".to_vec()];
            head.lines.insert(at, line);
        }
        pairs.push((request, response));
    }
    let steps = pairs.iter().flat_map(|(request, response)| {
        [Step::ReadBytes(request.bytes().len()), Step::Send([&response.bytes()[..], b"abc"].concat())]
    });
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps.collect()]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    for (request, response) in &pairs {
        client.send(&request.bytes());
        client.read_bytes(response.bytes().len() + 3);
    }
    let records = recorder.finish(pairs.len());
    for (record, (request, response)) in records.iter().zip(&pairs) {
        request.check(&record["request"]);
        response.check(&record["response"]);
        assert_eq!(record["request"]["body_bytes"], 0);
        assert_eq!(record["response"]["body_bytes"], 3);
        assert_eq!(record["response"]["reason"], "Made so");
        assert_eq!(record["incomplete"], json!([]));
    }
}

#[test]
fn every_kind_of_message_over_both_families_and_mapped_addresses() {
    if !ready() {
        return;
    }
    // Where it listens, and where the client connects to.
    for (listen, connect) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
        let exchanges: Vec<Exchange> = (0..40).map(Exchange::any).collect();
        let server = ScriptedServer::start(listen, None, vec![script(&exchanges, |_| Cut::Whole)]);
        let recorder = Recorder::start(&filter_of(server.address()));
        let mut client = Connection::connect((connect, server.address().port()), None);
        let port = client.local().port();
        ask(&mut client, &exchanges, |_| Cut::Whole);
        let records = recorder.finish(exchanges.len());
        check_all(&records, &exchanges);
        for record in &records {
            assert_eq!(record["role"], "server");
            assert_eq!(record["protocol"], "http/1.1");
            assert_eq!(record["source"], json!({"ip": connect, "port": port}));
            assert_eq!(record["destination"], json!({"ip": connect, "port": server.address().port()}));
            let version = if connect == "::1" { 6 } else { 4 };
            assert_eq!(record["request"]["packet"]["ip"]["version"], version);
            assert_eq!(record["process"]["pid"], std::process::id());
            assert_eq!(record["peer_process"]["pid"], std::process::id());
        }
    }
}

/// What curl's `-v` says: lines with `>` were sent, lines with `<` received. A head for each.
fn heads_by_curl(stderr: &str, mark: &str) -> Vec<Vec<String>> {
    let mut heads: Vec<Vec<String>> = Vec::new();
    for line in stderr.lines() {
        let Some(line) = line.trim_end_matches('\r').strip_prefix(mark) else { continue };
        let line = line.strip_prefix(' ').unwrap_or(line);
        // It does not show the empty line behind an interim response.
        let is_start = line.starts_with("HTTP/1.") || line.contains(" HTTP/1.");
        match heads.last_mut() {
            _ if is_start => heads.push(vec![line.to_owned()]),
            Some(head) if !line.is_empty() => head.push(line.to_owned()),
            _ => {}
        }
    }
    heads
}

fn as_sent(start: String, message: &Value) -> Vec<String> {
    let lines = lines(message, "lines").into_iter().map(|(name, value)| format!("{name}: {value}"));
    std::iter::once(start).chain(lines).collect()
}

#[test]
fn nginx_and_curl_agree_with_the_record() {
    if !ready() || !Nginx::available() || !common::has("curl") {
        return;
    }
    // Both ends on one CPU: with two, loopback delivers segments of a fast upload out of order. Chunks of which the kernel has not seen the
    // beginning are copied for user space, and megabytes of them within a millisecond are more than its budget.
    let options = NginxOptions {
        server: "
            client_max_body_size 20m;
            location /big { root files; }
            location /empty { return 204; }
            location /moved { return 302 /big; }
            location /headers { add_header X-One 1; add_header X-One 2; add_header X-Umlaut 'größe'; return 200 text; }
            location /upload { proxy_pass http://unix:inner.sock; }
            location /chunked { proxy_pass http://unix:inner.sock; proxy_buffering off; }
        ",
        http: "
            server {
                listen unix:inner.sock;
                client_max_body_size 20m;
                root files;
                location /chunked { gzip on; gzip_min_length 1; gzip_types *; gzip_proxied any; try_files /big =404; }
                location /upload { proxy_pass http://unix:sink.sock; }
            }
            server { listen unix:sink.sock; client_max_body_size 20m; location / { return 200 uploaded; } }
        ",
        ..NginxOptions::default()
    };
    let nginx = on_one_cpu(|| Nginx::start(&options));
    let body: Vec<u8> = (0..100 * 1024u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    std::fs::write(nginx.folder().join("files/big"), &body).unwrap();
    let upload = nginx.folder().join("upload");
    std::fs::write(&upload, evil(EVIL_REQUEST, 10 << 20)).unwrap();
    let upload = format!("@{}", upload.display());
    let url = |path: &str| format!("http://{}{path}", nginx.address());
    let recorder = Recorder::port(nginx.address().port());

    let calls: Vec<(Vec<&str>, &str)> = vec![
        (vec![], "/"),
        (vec!["-H", "X-Odd: a", "-H", "X-odd: b", "-H", "X-Nothing;", "-H", "X-Space:    c  "], "/headers"),
        (vec!["-I"], "/big"),
        (vec![], "/big"),
        (vec!["-0"], "/big"),
        (vec!["-H", "Range: bytes=10-19"], "/big"),
        (vec![], "/empty"),
        (vec![], "/moved"),
        (vec!["-X", "OPTIONS"], "/none"),
        (vec!["-H", "Accept-Encoding: gzip"], "/chunked"),
        (vec!["--data-binary", &upload, "-H", "Expect: 100-continue"], "/upload"),
        (vec!["--data-binary", &upload, "-H", "Expect:", "-H", "Transfer-Encoding: chunked"], "/upload"),
    ];
    let mut seen_by_curl = Vec::new();
    for (args, path) in &calls {
        let mut call = curl(&["-v", "-o", "/dev/null", "-w", "%{size_download}"]);
        let output = common::output(&mut common::on_one_cpu(call.args(args).arg(url(path))));
        assert!(output.status.success());
        let downloaded: u64 = String::from_utf8_lossy(&output.stdout).parse().unwrap();
        // Bytes that are not ASCII pass through curl as they are.
        let stderr = String::from_utf8(output.stderr).unwrap();
        seen_by_curl.push((heads_by_curl(&stderr, ">"), heads_by_curl(&stderr, "<"), downloaded));
    }
    let records = recorder.finish(calls.len());
    for ((record, (sent, received, downloaded)), (args, path)) in
        records.iter().zip(&seen_by_curl).zip(&calls)
    {
        let (request, response) = (&record["request"], &record["response"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let version = record["protocol"].as_str().unwrap().to_uppercase();
        let start = format!("{} {} {version}", text(&request["method"]), text(&request["target"]));
        // curl leaves the blanks around a value as they were typed.
        let sent: Vec<Vec<String>> =
            sent.iter().map(|head| head.iter().map(|line| plain(line)).collect()).collect();
        assert_eq!(sent, [as_sent(start, request)], "{path}");
        let start = format!("HTTP/1.1 {} {}", response["status"], text(&response["reason"]));
        let (last, interim) = received.split_last().unwrap();
        assert_eq!(*last, as_sent(start, response), "{path}");
        let interim: Vec<&String> = interim.iter().map(|head| &head[0]).collect();
        let continues = args.contains(&"Expect: 100-continue");
        assert_eq!(interim, if continues { vec!["HTTP/1.1 100 Continue"] } else { vec![] });
        let expected = if continues { json!([{"status": 100, "lines": []}]) } else { json!([]) };
        assert_eq!(record["interim"], expected);
        let uploaded = if args.contains(&"--data-binary") { 10 << 20 } else { 0 };
        assert_eq!(request["body_bytes"], uploaded, "{path}");
        assert_eq!(response["body_bytes"], *downloaded, "{path}");
        assert_eq!(record["incomplete"], json!([]), "{path}");
        assert_eq!(record["process"]["name"], "nginx");
    }
}

fn plain(line: &str) -> String {
    match line.split_once(':') {
        Some((name, value)) => format!("{name}: {}", value.trim()),
        None => line.to_owned(),
    }
}

#[test]
fn an_upload_full_of_request_lines_is_one_request() {
    if !ready() {
        return;
    }
    // Pieces of whole request texts, so that segments begin with one: small ones, and super-packets.
    for piece in [EVIL_REQUEST.len() * 40, EVIL_REQUEST.len() * 1900] {
        let body = evil(EVIL_REQUEST, 10 << 20);
        let first = Exchange::of(1, "POST", 200, "", &body, &evil(EVIL_RESPONSE, 100 * 1024));
        let then: Vec<Exchange> = (2..12).map(Exchange::any).collect();
        let mut steps = vec![Step::ReadBytes(first.request.len()), Step::Send(first.response.clone())];
        steps.extend(script(&then, |_| Cut::Whole));
        let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
        let recorder = Recorder::start(&filter_of(server.address()));
        let mut client = Connection::connect(server.address(), None);
        let (head, body) = first.request.split_at(first.request.len() - body.len());
        client.send(head);
        client.send_pieces(body.chunks(piece), Duration::ZERO);
        client.read_bytes(first.response.len());
        ask(&mut client, &then, |_| Cut::Whole);
        let all: Vec<Exchange> = std::iter::once(first).chain(then).collect();
        check_all(&recorder.finish(all.len()), &all);
    }
}

#[test]
fn a_body_that_ends_with_the_connection_is_counted() {
    if !ready() {
        return;
    }
    let body = evil(EVIL_RESPONSE, 70_000);
    for (version, length) in [("1.0", "Server: old\r\n"), ("1.1", "Connection: close\r\n")] {
        let request = format!("GET /old HTTP/{version}\r\nUser-Agent: x\r\n\r\n");
        let response = [format!("HTTP/{version} 200 OK\r\n{length}\r\n").as_bytes(), &body].concat();
        let [record] = &answer(request.as_bytes(), &response)[..] else { panic!() };
        assert_eq!(record["protocol"], format!("http/{version}"));
        assert_eq!(record["request"]["body_bytes"], 0);
        assert_eq!(record["response"]["body_bytes"], body.len());
        assert_eq!(record["incomplete"], json!([]));
    }
}

#[test]
fn trailers_are_recorded_in_both_directions() {
    if !ready() {
        return;
    }
    let trailers = "X-Sum: 1\r\nx-sum:2  \r\nX-Empty:\r\n";
    let body = evil(EVIL_REQUEST, 5000);
    let head = "POST /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    let request = [head.as_bytes(), &chunked(&body, &[1000, 1, 17], "", trailers)].concat();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding:  Chunked \r\n\r\n";
    let response = [head.as_bytes(), &chunked(&body, &[3, 2000], ";x=y", trailers)].concat();
    let [record] = &answer(&request, &response)[..] else { panic!() };
    for side in ["request", "response"] {
        let recorded = lines(&record[side], "trailers");
        assert_eq!(recorded, [("X-Sum", "1"), ("x-sum", "2"), ("X-Empty", "")]);
        assert_eq!(record[side]["body_bytes"], body.len());
    }
    assert_eq!(record["incomplete"], json!([]));
}

#[test]
fn interim_responses_go_with_their_final_one() {
    if !ready() {
        return;
    }
    let request = b"GET /page HTTP/1.1\r\nHost: test\r\n\r\n";
    let response = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n\
        HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let [record] = &answer(request, response)[..] else { panic!() };
    let expected = json!([
        {"status": 103, "lines": [["Link", "</a.css>; rel=preload"], ["link", "</b.js>"]]},
        {"status": 102, "lines": []},
    ]);
    assert_eq!(record["interim"], expected);
    assert_eq!(record["response"]["status"], 200);
    assert_eq!(record["response"]["body_bytes"], 2);
}

#[test]
fn an_odd_first_request_is_not_ignored() {
    if !ready() {
        return;
    }
    let requests: [&[u8]; 6] = [
        b"GET /odd HTTP/1.1 \r\nHost: x\r\n\r\n",
        b"GET /odd HTTP/1.9\r\nHost: x\r\n\r\n",
        b"\r\n\r\n\r\n\r\nGET /odd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET2 /odd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNX /odd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEADX /odd HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for request in requests {
        let [record] = &answer(request, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")[..] else {
            panic!()
        };
        assert_eq!(record["request"]["target"], "/odd", "{record}");
        assert_eq!(record["response"]["status"], 200, "{record}");
        assert_eq!(record["response"]["body_bytes"], 2, "{record}");
    }
}

#[test]
fn names_that_nearly_tell_the_length_do_not_hide_a_request() {
    if !ready() {
        return;
    }
    let hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    for name in [
        "Content\rLength: 33",
        "Content-Length\x1a 33",
        "Transfer-Encodin: chunked",
        "Transfer\rEncoding: chunked",
    ] {
        let first = format!("POST /first HTTP/1.1\r\nHost: x\r\n{name}\r\n\r\n").into_bytes();
        let request = [&first[..], hidden].concat();
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(2);
        let steps = vec![Step::ReadBytes(request.len()), Step::Send(response.clone())];
        let records = converse(&request, steps, &response, 2);
        let targets: Vec<&Value> = records.iter().map(|record| &record["request"]["target"]).collect();
        assert_eq!(targets, ["/first", "/hidden"], "{name:?}: {}", common::brief(&records));
    }
}

/// After the first exchange the bytes are somebody else's, however much they look like HTTP. The record of the end, which names
/// that of the start.
fn tunnel(request: &[u8], response: &[u8]) -> Value {
    let (up, down) = (evil(EVIL_REQUEST, 3200), evil(EVIL_RESPONSE, 3900));
    let steps = vec![
        Step::ReadBytes(request.len()),
        Step::Send(response.to_vec()),
        Step::ReadBytes(up.len()),
        Step::SendPieces(down.chunks(EVIL_RESPONSE.len()).map(<[u8]>::to_vec).collect(), Duration::ZERO),
    ];
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    client.send(request);
    client.read_bytes(response.len());
    client.send_pieces(up.chunks(EVIL_REQUEST.len()), Duration::ZERO);
    assert_eq!(client.read_bytes(down.len()), down);
    assert!(recorder.wait(1), "the start is told while the tunnel is open");
    drop(client);
    server.finish();
    let mut records = recorder.finish(2);
    let end = records.pop().unwrap();
    assert_eq!((&records[0]["phase"], &end["phase"]), (&json!("start"), &json!("end")));
    assert_eq!(end["start_id"], records[0]["id"]);
    assert_eq!(end["close"], "fin");
    assert_eq!(end["request"]["lines"], records[0]["request"]["lines"]);
    // What goes through is passed over in the kernel.
    assert_eq!(end["response"]["body_bytes"], Value::Null);
    end
}

#[test]
fn what_passes_a_connect_tunnel_is_not_recorded() {
    if !ready() {
        return;
    }
    let request = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n";
    let record = tunnel(request, b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n");
    assert_eq!(record["request"]["method"], "CONNECT");
    assert_eq!(record["request"]["target"], "example.org:443");
    assert_eq!(record["response"]["status"], 200);
    assert_eq!(field(&record["response"], "via"), Some("1.1 test"));
    assert_eq!(record["incomplete"], json!([]));
}

#[test]
fn what_follows_an_upgrade_is_not_recorded() {
    if !ready() {
        return;
    }
    let request = b"GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let record = tunnel(request, response);
    assert_eq!(record["response"]["status"], 101);
    assert_eq!(field(&record["response"], "upgrade"), Some("websocket"));
    assert_eq!(record["incomplete"], json!([]));
}

#[test]
fn a_refused_connect_has_a_body_and_the_connection_goes_on() {
    if !ready() {
        return;
    }
    let connect = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n";
    let refusal =
        [b"HTTP/1.1 407 No\r\nContent-Length: 82\r\n\r\n".as_slice(), &evil(EVIL_RESPONSE, 82)].concat();
    let then: Vec<Exchange> = (1..9).map(Exchange::any).collect();
    let mut steps = vec![Step::ReadBytes(connect.len()), Step::Send(refusal.clone())];
    steps.extend(script(&then, |_| Cut::Whole));
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    client.send(connect);
    client.read_bytes(refusal.len());
    ask(&mut client, &then, |_| Cut::Whole);
    let records = recorder.finish(1 + then.len());
    assert_eq!(records[0]["response"]["status"], 407);
    assert_eq!(records[0]["response"]["body_bytes"], 82);
    check_all(&records[1..], &then);
}
