//! Answers to honest clients (curl) and to those who are not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use headtrail_testkit::TempDir;

use super::*;
use crate::snapshot::{Snapshot, example};

struct Running {
    address: SocketAddr,
    data_dir: TempDir,
    board: Board,
    _server: Server,
}

fn running() -> Running {
    let data_dir = TempDir::new().unwrap();
    let board = Board::default();
    board.put(example());
    let http = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = http.local_addr().unwrap();
    let status = bind_status(data_dir.path()).unwrap();
    let server = start(Some(http), Some(status), &board).unwrap();
    Running { address, data_dir, board, _server: server }
}

impl Running {
    /// Sends bytes, and reads until the connection is closed.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(HEAD_TIME_MAX * 4)).unwrap();
        // The answer to too much may come, and the connection end, before all is sent.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn get(&self, path: &str, host: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
    }
}

#[test]
fn curl_gets_metrics_health_and_status() {
    let running = running();
    let curl = |path: &str| {
        let url = format!("http://{}{path}", running.address);
        let output = Command::new("curl")
            .args(["-q", "--noproxy", "*", "-sS", "-i", "--max-time", "20", &url])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let found = std::process::Command::new("curl").arg("--version").output().is_ok();
    if !found {
        headtrail_testkit::skip("curl is not installed");
        return;
    }
    let metrics = curl("/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{metrics}");
    assert!(metrics.contains("\nheadtrail_transactions_total 12345678\n"), "{metrics}");
    assert!(curl("/healthz").ends_with("\r\n\r\nok\n"));
    let status = curl("/api/status");
    assert!(status.contains("x-content-type-options: nosniff\r\n"), "{status}");
    let body = status.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<Snapshot>(body).unwrap(), example());
    running.board.put(Snapshot { transactions: 1, ..example() });
    assert!(curl("/metrics").contains("\nheadtrail_transactions_total 1\n"));
}

#[test]
fn nothing_else_is_answered() {
    let running = running();
    for path in ["/", "/metrics/", "/api", "/api/overview", "/..%2f..%2fetc/passwd", "//metrics"] {
        assert!(running.get(path, "localhost").starts_with("HTTP/1.1 404 "), "{path}");
    }
    let post = running
        .raw(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
}

#[test]
fn only_loopback_names_are_answered() {
    let running = running();
    let port = running.address.port();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]", &format!("[::1]:{port}")] {
        assert!(running.get("/healthz", host).starts_with("HTTP/1.1 200 "), "{host}");
    }
    #[rustfmt::skip]
    let strange = [
        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "user@localhost", "localhost@evil.example", "192.0.2.1",
        "0.0.0.0", "", "[::]", "2130706433", "localhost:80:80", "[::ffff:192.0.2.1]",
    ];
    for host in strange {
        let answer = running.get("/metrics", host);
        assert!(!answer.contains("headtrail_") && !answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    for request in [
        "GET /metrics HTTP/1.0\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        let answer = running.raw(request.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 421 ") || answer.starts_with("HTTP/1.0 421 "),
            "{request}: {answer}"
        );
    }
}

#[test]
fn a_head_without_end_is_cut_off() {
    let running = running();
    let line = format!("X-A: {}\r\n", "a".repeat(100));
    let long = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-A: {}", "a".repeat(HEAD_BYTES_MAX * 4));
    let many =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{}\r\n", line.repeat(FIELD_LINES_MAX + 1));
    for request in [long, many, "\0\x01\u{2}binary\r\n\r\n".to_owned(), "GET /metrics\r\n\r\n".to_owned()] {
        let start = Instant::now();
        let answer = running.raw(request.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(start.elapsed() < HEAD_TIME_MAX, "{:?}", start.elapsed());
    }
    assert!(running.get("/healthz", "localhost").starts_with("HTTP/1.1 200 "));
}

#[test]
fn who_sends_slowly_holds_nobody_up() {
    let running = running();
    let start = Instant::now();
    // All places are taken by clients that say a little, or nothing; one has had an answer before.
    let mut slow: Vec<TcpStream> =
        (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(running.address).unwrap()).collect();
    for stream in &mut slow[1..] {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lo").unwrap();
    }
    slow[1].write_all(b"calhost\r\n\r\n").unwrap();
    // It is answered when their time is over.
    assert!(running.get("/healthz", "localhost").starts_with("HTTP/1.1 200 "));
    let waited = start.elapsed();
    assert!(waited < HEAD_TIME_MAX * 2, "{waited:?}");
    for mut stream in slow {
        stream.set_read_timeout(Some(HEAD_TIME_MAX * 2)).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
}

#[test]
fn the_status_is_told_on_the_unix_socket() {
    let running = running();
    let path = running.data_dir.path().join(STATUS_SOCKET);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    for _ in 0..3 {
        let mut answer = String::new();
        std::os::unix::net::UnixStream::connect(&path).unwrap().read_to_string(&mut answer).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&answer).unwrap(), example());
    }
    drop(running._server);
    assert!(!path.exists());
}

#[test]
fn a_board_without_news_is_not_healthy() {
    let board = Board::default();
    assert!(!board.is_alive() && board.get().is_none());
    board.put(Snapshot::default());
    assert!(board.is_alive());
}

#[test]
fn other_addresses_than_loopback_are_refused() {
    for address in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0"] {
        assert_eq!(bind(address.parse().unwrap()).err().unwrap().code, 2);
    }
}
