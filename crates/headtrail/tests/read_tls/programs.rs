//! Real curl and nginx, captured by tcpdump on loopback.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::sink_servers::Authority;
use headtrail_testkit::{TempDir, eventually, skip};
use serde_json::{Value, json};

use crate::{losses, read, transactions};

const DEADLINE: Duration = Duration::from_secs(20);

/// tcpdump on loopback, ended with the test.
struct Tcpdump {
    child: Child,
    file: PathBuf,
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tcpdump {
    /// None where it is not there, or may not.
    fn start(port: u16, folder: &Path) -> Option<Self> {
        let file = folder.join("capture.pcap");
        let errors = folder.join("tcpdump.log");
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", "lo", "-Z", "root", "-U", "--immediate-mode", "-B", "32768", "-s", "0", "-w"])
            .arg(&file);
        command.args(["port", &port.to_string()]).stdout(Stdio::null());
        command.stderr(fs::File::create(&errors).unwrap());
        let Ok(mut child) = command.spawn() else {
            skip("tcpdump is not installed");
            return None;
        };
        let listens = eventually("tcpdump listens", DEADLINE, || {
            let text = fs::read_to_string(&errors).unwrap();
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            text.contains("listening on").then_some(true)
        });
        if !listens {
            skip("tcpdump may not capture here");
            return None;
        }
        Some(Self { child, file })
    }

    /// Waits until nothing more is written, and ends it.
    fn end(self) -> PathBuf {
        let mut before = (0, std::time::Instant::now());
        eventually("the capture is written", DEADLINE, || {
            let now = fs::metadata(&self.file).unwrap().len();
            if now != before.0 {
                before = (now, std::time::Instant::now());
            }
            (before.1.elapsed() > Duration::from_millis(500)).then_some(())
        });
        self.file.clone()
    }
}

/// The lines of a head as curl wrote them down, without the start-line.
fn head(text: &str) -> Value {
    let lines = text.lines().skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_once(':').unwrap()).map(|(name, value)| json!([name, value.trim()])).collect()
}

#[test]
fn curl_and_nginx_are_read_as_they_spoke() {
    if !Nginx::available() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (certificate, key) = Authority::new().client("localhost").write(folder.path(), "server");
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let http = format!(
        "server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {};
           ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0;
           location / {{ add_header X-Echo $http_x_test; add_header x-ECHO two; return 200 \"hello\"; }} }}",
        certificate.display(),
        key.display(),
    );
    let _nginx = Nginx::start(&NginxOptions { http: &http, ..NginxOptions::default() });
    let cases: [(&str, &str, &[&str]); 5] = [
        ("1.3", "http/1.1", &["--http1.1", "--tlsv1.3"]),
        ("1.3", "h2", &["--http2", "--tlsv1.3"]),
        ("1.2", "http/1.1", &["--http1.1", "--tls-max", "1.2"]),
        ("1.2", "h2", &["--http2", "--tls-max", "1.2"]),
        (
            "1.2",
            "http/1.1",
            &["--http1.1", "--tls-max", "1.2", "--ciphers", "AES128-SHA:ECDHE-ECDSA-AES128-SHA"],
        ),
    ];
    for (version, alpn, arguments) in cases {
        let case = TempDir::new().unwrap();
        let Some(tcpdump) = Tcpdump::start(port, case.path()) else { return };
        let (keys, heads, body) =
            (case.path().join("keys"), case.path().join("heads"), case.path().join("body"));
        // nginx answers without waiting for it, and then may give up an upload over HTTP/2.
        let posts = alpn != "h2";
        fs::write(&body, vec![b'x'; 5_000]).unwrap();
        let url = |path: &str| format!("https://localhost:{port}{path}");
        let mut curl = Command::new("curl");
        curl.env("SSLKEYLOGFILE", &keys)
            .args(["-sk", "-4", "-m", "20", "-A", "agent/1", "-o", "/dev/null", "-D"])
            .arg(&heads);
        curl.args(arguments).args(["-H", "X-Test: a", "-H", "x-TEST: b", "-H", "Expect:"]);
        if posts {
            curl.arg("--data-binary").arg(format!("@{}", body.display()));
        }
        curl.arg(url("/one?x=1"));
        curl.args(["--next", "-sk", "-4", "-A", "agent/2", "-o", "/dev/null", "-D", "-"])
            .args(arguments)
            .arg(url("/two"));
        let output = curl.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "curl: {output:?}");
        let file = tcpdump.end();
        let read = read(&file, Some(&keys), &["--format", "json"]);
        let records = transactions(&read);
        let context = format!("{arguments:?}: {read:?}");
        assert_eq!((records.len(), losses(&read)), (2, vec![]), "{context}");
        let sent = |path: &str, agent: &str, more: &[(&str, &str)]| {
            let host = format!("localhost:{port}");
            let first = if alpn == "h2" {
                json!([[":method", "GET"], [":path", path], [":scheme", "https"], [":authority", host]])
            } else {
                json!([["Host", host]])
            };
            let name = |name: &str| if alpn == "h2" { name.to_lowercase() } else { name.to_owned() };
            let rest = [("User-Agent", agent), ("Accept", "*/*")].into_iter().chain(more.iter().copied());
            let mut lines: Vec<Value> = first.as_array().unwrap().clone();
            lines.extend(rest.map(|(n, v)| json!([name(n), v])));
            lines
        };
        let more = [
            ("X-Test", "a"),
            ("x-TEST", "b"),
            ("Content-Length", "5000"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let sorted = |lines: &Value| {
            let mut lines = lines.as_array().unwrap().clone();
            // Of pseudo-fields curl's libraries choose the order.
            let pseudo = lines.iter().take_while(|l| l[0].as_str().unwrap().starts_with(':')).count();
            lines[..pseudo].sort_by_key(|l| l[0].as_str().unwrap().to_owned());
            lines
        };
        for (record, expected) in records.iter().zip([
            sent("/one?x=1", "agent/1", &more[..if posts { 4 } else { 2 }]),
            sent("/two", "agent/2", &[]),
        ]) {
            assert_eq!(sorted(&record["request"]["lines"]), sorted(&Value::from(expected)), "{context}");
            assert_eq!(record["incomplete"], json!([]), "{context}");
            let tls = &record["tls"];
            assert_eq!((&tls["version"], &tls["alpn"]), (&json!(version), &json!(alpn)), "{context}");
            assert_eq!(tls["sni"], "localhost");
        }
        assert_eq!(records[0]["request"]["body_bytes"], if posts { 5_000 } else { 0 });
        let skip_status = |lines: &Value| {
            let lines = lines.as_array().unwrap().iter().filter(|l| l[0] != ":status");
            Value::from(lines.cloned().collect::<Vec<_>>())
        };
        let seen = [fs::read_to_string(&heads).unwrap(), String::from_utf8(output.stdout).unwrap()];
        for (record, text) in records.iter().zip(seen) {
            assert_eq!(skip_status(&record["response"]["lines"]), head(&text), "{context}");
            assert_eq!(record["response"]["body_bytes"], 5);
        }
    }
}
