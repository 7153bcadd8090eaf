//! `headtrail read` of captures made here: nghttp and curl say what they sent and received, line by line, and the records say
//! the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{DEADLINE, has, headtrail};

use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::{Signal, TempDir, eventually};
use serde_json::Value;

type Lines = Vec<(String, String)>;

/// What one side of a stream sent: heads of interim responses, the head, trailers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Told {
    request: Vec<Lines>,
    response: Vec<Lines>,
}

fn line(text: &str) -> (String, String) {
    // A pseudo-header field begins with a colon.
    let colon = text[1..].find(':').expect("a field line") + 1;
    (text[..colon].to_string(), text[colon + 1..].trim().to_string())
}

/// What `nghttp -v` tells, by stream.
fn nghttp_told(output: &str) -> BTreeMap<u64, Told> {
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    let number = |text: &str, name: &str| -> u64 {
        let (_, rest) = text.split_once(name).expect("a number");
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
    };
    let mut received: Lines = Vec::new();
    // What the next lines belong to: our header block of a stream, or a promise.
    let (mut sends, mut promise, mut upgrade) = (None, false, None);
    for text in output.lines() {
        if let Some(rest) = text.strip_prefix("          ") {
            if let (Some(stream), false) = (sends, rest.starts_with([';', '(', '['])) {
                let told: &mut Told = told.entry(stream).or_default();
                told.request.last_mut().expect("begun").push(line(rest));
            }
            if promise && rest.contains("promised_stream_id=") {
                let stream = number(rest, "promised_stream_id=");
                told.entry(stream).or_default().request.push(std::mem::take(&mut received));
            }
            continue;
        }
        // Before HTTP/2: the lines of HTTP/1.1, behind the start-line.
        if !text.starts_with('[') {
            match upgrade {
                Some(ref mut list) if text.is_empty() => {
                    let block = std::mem::take(list);
                    let one = told.entry(1).or_default();
                    let is_request = one.request.is_empty();
                    if is_request {
                        one.request.push(block)
                    } else {
                        one.response.push(block)
                    }
                    upgrade = None;
                }
                Some(ref mut list) if text.contains(": ") => list.push(line(text)),
                _ => {}
            }
            continue;
        }
        (sends, promise) = (None, false);
        if text.contains("HTTP Upgrade re") {
            upgrade = Some(Lines::new());
        } else if text.contains("] send HEADERS frame") {
            let stream = number(text, "stream_id=");
            told.entry(stream).or_default().request.push(Lines::new());
            sends = Some(stream);
        } else if let Some((_, rest)) = text.split_once("] recv (stream_id=") {
            received.push(line(rest.split_once(") ").expect("a line").1));
        } else if text.contains("] recv HEADERS frame") {
            let stream = number(text, "stream_id=");
            told.entry(stream).or_default().response.push(std::mem::take(&mut received));
        } else {
            promise = text.contains("] recv PUSH_PROMISE frame");
        }
    }
    told
}

fn lines(message: &Value, name: &str) -> Lines {
    let all = message[name].as_array().into_iter().flatten();
    all.map(|l| (l[0].as_str().unwrap().to_string(), l[1].as_str().unwrap().to_string())).collect()
}

/// The same of a record.
fn recorded(record: &Value) -> Told {
    let blocks = |message: &Value| -> Vec<Lines> {
        let both = ["lines", "trailers"].map(|name| lines(message, name));
        both.into_iter().filter(|block| !block.is_empty()).collect()
    };
    let interim = record["interim"].as_array().unwrap().iter().map(|message| lines(message, "lines"));
    Told {
        request: blocks(&record["request"]),
        response: interim.chain(blocks(&record["response"])).collect(),
    }
}

/// A process that is killed at the end.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a server, and returns when it listens.
fn server(program: &str, args: &[&str], port: u16) -> Server {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(command.spawn().expect("starts"));
    eventually("it listens", DEADLINE, || TcpStream::connect(("127.0.0.1", port)).ok());
    server
}

fn nghttpd(folder: &Path, port: u16, args: &[&str]) -> Server {
    let (folder, port_text) = (folder.to_str().unwrap(), port.to_string());
    let fixed = ["--no-tls", "-a", "127.0.0.1", "-d", folder];
    server("nghttpd", &[&fixed[..], args, &[&port_text]].concat(), port)
}

/// A folder with files to fetch.
fn documents() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("index.html"), "hello").unwrap();
    std::fs::write(folder.path().join("style.css"), "css").unwrap();
    std::fs::write(folder.path().join("big.bin"), vec![b'x'; 300_000]).unwrap();
    folder
}

fn ready(programs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        headtrail_testkit::skip("tcpdump needs root");
        return false;
    }
    programs.iter().chain(&["tcpdump"]).all(|program| has(program))
}

/// What `read` prints of the packets of a port while `action` runs.
fn captured<T>(port: u16, action: impl FnOnce() -> T) -> (T, Vec<Value>) {
    const END: &[u8] = b"the capture ends here";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("lo.pcap");
    let mut command = Command::new("tcpdump");
    command
        .args(["-i", "lo", "-U", "-s", "0", "-B", "65536", "-Z", "root", "-w"])
        .arg(&file)
        .arg(format!("port {port}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump starts");
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("listening on") {
        text.clear();
        assert!(stderr.read_line(&mut text).unwrap() > 0, "tcpdump ended");
    }
    let result = action();
    // A datagram that comes behind everything else.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    eventually("everything is written", DEADLINE, || {
        socket.send_to(END, ("127.0.0.1", port)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::read(&file).ok()?.ends_with(END).then_some(())
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    child.wait().unwrap();
    assert!(rest.contains("0 packets dropped by kernel"), "{rest}");
    let output =
        headtrail().args(["read", "--show-secrets", "--format", "json"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().all(|record| record["type"] == "transaction"), "{records:?}");
    (result, records)
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// `nghttp -v` with these flags, and the records, say the same; returns the records.
fn nghttp_agrees(port: u16, args: &[&str]) -> Vec<Value> {
    let all = [&["-nv"], args].concat();
    let (output, records) = captured(port, || run("nghttp", &all));
    let told = nghttp_told(&output);
    assert!(!told.is_empty(), "{output}");
    let recorded: BTreeMap<u64, Told> =
        records.iter().map(|record| (record["stream"].as_u64().unwrap(), recorded(record))).collect();
    assert_eq!(recorded.len(), records.len(), "a stream twice: {records:?}");
    for (stream, told) in &told {
        assert_eq!(recorded.get(stream), Some(told), "stream {stream} of nghttp {args:?}\n{output}");
    }
    assert_eq!(recorded.len(), told.len(), "{records:?}\n{output}");
    records
}

#[test]
fn nghttp_with_everything_that_frames_may_have() {
    if !ready(&["nghttp", "nghttpd"]) {
        return;
    }
    let (folder, port) = (documents(), free_port());
    let push = "--push=/index.html=/style.css,/big.bin";
    let _server =
        nghttpd(folder.path(), port, &[push, "--trailer=x-end: one", "--trailer=x-end: two", "-b", "37"]);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let (index, style, big, nothing) =
        (url("/index.html"), url("/style.css"), url("/big.bin"), url("/nothing"));
    let data = folder.path().join("big.bin");
    let data = data.to_str().unwrap();
    let cases: [&[&str]; 8] = [
        &[&index],
        &["-H", "X-A: 1", "-H", "x-a: two  words", &style, &big, &nothing],
        &["-b", "16", "--continuation", "--trailer=x-t: 9", "--trailer=x-t: 10", "-d", data, &index],
        &["-p", "3", "--no-dep", "-m", "40", &style],
        &["--header-table-size=0", "-m", "5", &style, &big],
        &[
            "--header-table-size=8192",
            "--header-table-size=100",
            "--encoder-header-table-size=64",
            "-m",
            "5",
            &style,
        ],
        &["--window-bits=10", "-d", data, &big, &style],
        &["--no-push", "--expect-continue", "-d", data, &index],
    ];
    for args in cases {
        let records = nghttp_agrees(port, args);
        for record in &records {
            assert_eq!(record["incomplete"].as_array().unwrap().len(), 0, "{record}");
        }
    }
}

#[test]
fn nghttp_and_curl_that_upgrade() {
    if !ready(&["nghttp", "nghttpd", "nghttpx", "curl"]) {
        return;
    }
    let (folder, upstream, port) = (documents(), free_port(), free_port());
    let _server = nghttpd(folder.path(), upstream, &[]);
    let (front, back) = (format!("127.0.0.1,{port};no-tls"), format!("127.0.0.1,{upstream};;proto=h2"));
    let conf = folder.path().join("nghttpx.conf");
    std::fs::write(&conf, "").unwrap();
    let conf = format!("--conf={}", conf.display());
    let _proxy = server("nghttpx", &[&conf, "-f", &front, "-b", &back, "--errorlog-file=/dev/null"], port);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let (index, style) = (url("/index.html"), url("/style.css"));
    // The upstream side of the proxy speaks HTTP/2 as well, and nobody tells about it but the sums.
    let (_, records) = captured(upstream, || run("nghttp", &["-n", "-m", "20", &index]));
    assert_eq!(records.len(), 20);
    nghttp_agrees(port, &["-u", "-H", "X-A: 1", &index, &style]);
    nghttp_agrees(port, &["-u", "-H", "x-a: 1", "-d", "/dev/null", &index]);
    let records = curl_agrees(port, &["--http2", "-H", "X-B: 2", "-H", "x-b:3", &index]);
    assert_eq!(records[0]["stream"], 1, "{records:?}");
}

/// Heads that `curl -v` shows, in order: the start-line's parts are left to the records' own fields.
fn curl_told(output: &str) -> [Vec<(String, Lines)>; 2] {
    let side = |mark: &str| {
        let mut heads: Vec<(String, Lines)> = Vec::new();
        let mut open = false;
        for text in output.lines().filter_map(|text| text.strip_prefix(mark)) {
            let text = text.trim_end_matches('\r');
            // Behind an interim response curl shows no empty line.
            match (open && !text.starts_with("HTTP/"), text.is_empty()) {
                (_, true) => open = false,
                (true, false) => heads.last_mut().expect("begun").1.push(line(text)),
                (false, false) => {
                    heads.push((text.to_string(), Lines::new()));
                    open = true;
                }
            }
        }
        heads
    };
    [side("> "), side("< ")]
}

/// `curl -v` and the records say the same.
fn curl_agrees(port: u16, args: &[&str]) -> Vec<Value> {
    let all = [&["-sv", "-o", "/dev/null", "--noproxy", "*"], args].concat();
    let (output, records) = captured(port, || run("curl", &all));
    let [requests, responses] = curl_told(&output);
    let mut recorded_requests = Vec::new();
    let mut recorded_responses = Vec::new();
    for record in &records {
        let request = &record["request"];
        let start = format!(
            "{} {} HTTP/1.1",
            request["method"].as_str().unwrap(),
            request["target"].as_str().unwrap()
        );
        recorded_requests.push((start, lines(request, "lines")));
        let interim = record["interim"].as_array().unwrap().iter();
        recorded_responses.extend(interim.map(|m| (m["status"].as_u64().unwrap(), lines(m, "lines"))));
        let response = &record["response"];
        recorded_responses.push((response["status"].as_u64().unwrap(), lines(response, "lines")));
    }
    assert_eq!(recorded_requests, requests, "{output}");
    let told: Vec<(u64, Lines)> = responses
        .into_iter()
        .map(|(start, mut lines)| {
            // The status of HTTP/2 is a line.
            let status = start.split(' ').nth(1).unwrap().to_string();
            if start.starts_with("HTTP/2") {
                lines.insert(0, (":status".to_string(), status.clone()));
            }
            (status.parse().unwrap(), lines)
        })
        .collect();
    assert_eq!(recorded_responses, told, "{output}");
    records
}

#[test]
fn curl_and_nginx() {
    if !ready(&["curl"]) || !Nginx::available() {
        return;
    }
    let folder = documents();
    let http2 = free_port();
    let http = format!(
        "server {{ listen 127.0.0.1:{http2} http2; client_max_body_size 1m; root {root};
           add_header X-One a; add_header X-One b; add_header x-empty \"\" always;
           location /made {{ return 200 made; }} }}",
        root = folder.path().display()
    );
    let server = "client_max_body_size 1m; add_header X-One a; add_header X-One \"b  c\";
                  location /made { return 200 made; } location /gone { return 301 /made; }";
    let nginx = Nginx::start(&NginxOptions { http: &http, server, ..NginxOptions::default() });
    let port = nginx.address().port();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let (made, gone) = (url("/made?x=[1]"), url("/gone"));
    let data = format!("@{}", folder.path().join("big.bin").display());
    let cases: [&[&str]; 5] = [
        &["-g", "-H", "X-A: 1", "-H", "x-a:   2  3  ", "-H", "X-Empty;", "-H", "aCCept: */*", &made],
        &["-g", "-L", &gone, &made, &gone],
        &["-I", &gone],
        &["-X", "PROPFIND", "--data-binary", &data, "-H", "Expect: 100-continue", &gone],
        &["-H", "Transfer-Encoding: chunked", "--data-binary", &data, &gone],
    ];
    for args in cases {
        curl_agrees(port, args);
    }
    let big = format!("http://127.0.0.1:{http2}/big.bin");
    let made = format!("http://127.0.0.1:{http2}/made");
    nghttp_agrees(http2, &["-H", "X-A: 1", &big, &made]);
    nghttp_agrees(http2, &["-m", "60", "-d", &data[1..], &made]);
}

#[test]
fn h2load_with_many_streams_at_once() {
    if !ready(&["h2load", "nghttpd"]) {
        return;
    }
    const REQUESTS: usize = 3000;
    let (folder, port) = (documents(), free_port());
    let _server = nghttpd(folder.path(), port, &["-m", "100"]);
    let url = format!("http://127.0.0.1:{port}/index.html?a=b");
    let requests = REQUESTS.to_string();
    let args = ["-n", &requests, "-c", "4", "-m", "100", "-H", "x-two: c", "-H", "X-Two: d", &url];
    let (output, records) = captured(port, || run("h2load", &args));
    assert!(output.contains(&format!("{REQUESTS} succeeded")), "{output}");
    assert_eq!(records.len(), REQUESTS);
    let expected = recorded(&records[0]);
    assert_eq!(expected.request[0][5..], [("x-two", "c"), ("x-two", "d")].map(|(n, v)| (n.into(), v.into())));
    let mut streams = std::collections::BTreeSet::new();
    for record in &records {
        let mut told = recorded(record);
        assert_eq!(told.request, expected.request);
        // The second may be another one.
        let date = |lines: &Lines| lines.iter().position(|(name, _)| name == "date").unwrap();
        let at = date(&told.response[0]);
        told.response[0][at].1.clone_from(&expected.response[0][date(&expected.response[0])].1);
        assert_eq!(told.response, expected.response);
        assert_eq!(record["response"]["body_bytes"], 5);
        assert!(streams.insert((record["connection"].to_string(), record["stream"].as_u64())), "{record}");
    }
}

#[test]
fn a_client_that_goes_early() {
    if !ready(&["curl", "nghttpd"]) {
        return;
    }
    let (folder, port) = (documents(), free_port());
    let _server = nghttpd(folder.path(), port, &[]);
    let url = format!("http://127.0.0.1:{port}/big.bin");
    let args = ["-sv", "--http2-prior-knowledge", "-o", "/dev/null", "--limit-rate", "1k", "-m", "0.4", &url];
    let (output, records) = captured(port, || run("curl", &args));
    let [_, responses] = curl_told(&output);
    assert_eq!((records.len(), responses.len()), (1, 1), "{output}");
    let record = &records[0];
    assert_eq!(lines(&record["response"], "lines")[1..], responses[0].1, "{record}");
    let given_up = !record["reset"].is_null() || !record["incomplete"].as_array().unwrap().is_empty();
    assert!(given_up, "{record}");
}
