//! A real nginx with a configuration and a folder of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::netns::Netns;

const START_DEADLINE: Duration = Duration::from_secs(10);
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How nginx shall run.
#[derive(Debug, Clone)]
pub struct NginxOptions<'a> {
    /// Inside of a namespace, or on the host.
    pub netns: Option<&'a Netns>,
    /// Where it listens, on a free port.
    pub ip: IpAddr,
    /// Worker processes.
    pub workers: u32,
    /// A master with workers; without, one process does all, and `workers` must be 1.
    pub master_process: bool,
    /// One listening socket for each worker (SO_REUSEPORT).
    pub reuseport: bool,
    /// Accept only when data has come (TCP_DEFER_ACCEPT).
    pub deferred: bool,
    /// More configuration for the `http` block: `upstream`, for instance.
    pub http: &'a str,
    /// More configuration for the `server` block: locations. `/` answers `ok`.
    pub server: &'a str,
}

impl Default for NginxOptions<'_> {
    fn default() -> Self {
        NginxOptions {
            netns: None,
            ip: IpAddr::from([127, 0, 0, 1]),
            workers: 1,
            master_process: true,
            reuseport: false,
            deferred: false,
            http: "",
            server: "",
        }
    }
}

/// nginx's own count (stub_status), without the connections and requests that asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NginxCounts {
    /// Connections accepted.
    pub accepts: u64,
    /// Connections handled.
    pub handled: u64,
    /// Requests.
    pub requests: u64,
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
    asked: AtomicU64,
}

impl Nginx {
    /// Is there an nginx? If not, says so in a line `skipped: …`.
    pub fn available() -> bool {
        let found = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok_and(|s| s.success());
        if !found {
            crate::skip("nginx is not installed");
        }
        found
    }

    /// Starts nginx, and returns when it answers.
    pub fn start(options: &NginxOptions<'_>) -> Nginx {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().to_str().expect("UTF-8");
        let bind = || TcpListener::bind((options.ip, 0)).expect("a free port").local_addr().expect("bound");
        let address = match options.netns {
            Some(netns) => netns.run(bind),
            None => bind(),
        };
        std::fs::write(folder.path().join("nginx.conf"), config(options, path, address)).expect("writes");
        let mut command = match options.netns {
            Some(netns) => netns.command("nginx"),
            None => Command::new("nginx"),
        };
        command.args(["-p", path, "-c", "nginx.conf", "-e", "error.log"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("nginx starts");
        let mut nginx = Nginx { child, folder, address, asked: AtomicU64::new(0) };
        let mut exited = None;
        crate::eventually("nginx answers", START_DEADLINE, || {
            exited = nginx.child.try_wait().expect("waits");
            (exited.is_some() || nginx.ask().is_ok()).then_some(())
        });
        assert!(exited.is_none(), "nginx {}: {}", exited.unwrap_or_default(), nginx.error_log());
        nginx
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process that was started: the master, if there is one.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its folder; `files` in it is what `root files;` would serve.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Asks for its counts, over a Unix socket so that no network recorder sees it.
    pub fn counts(&self) -> NginxCounts {
        let (text, asked) = self.ask().expect("nginx answers");
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // 'Active connections: N', then the three counts, then 'Reading: N Writing: N Waiting: N'.
        let [_, accepts, handled, requests, ..] = numbers[..] else { panic!("stub_status: {text}") };
        NginxCounts { accepts: accepts - asked, handled: handled - asked, requests: requests - asked }
    }

    /// What it wrote into its error log.
    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }

    fn ask(&self) -> std::io::Result<(String, u64)> {
        let mut stream = UnixStream::connect(self.folder.path().join("status.sock"))?;
        stream.set_read_timeout(Some(START_DEADLINE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((body.to_owned(), asked))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let start = std::time::Instant::now();
        while start.elapsed() < STOP_DEADLINE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(options: &NginxOptions<'_>, folder: &str, address: SocketAddr) -> String {
    let NginxOptions { workers, http, server, .. } = options;
    let on_off = |on: bool| if on { "on" } else { "off" };
    let word = |on: bool, word: &'static str| if on { word } else { "" };
    std::fs::create_dir(format!("{folder}/files")).expect("makes a folder");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "daemon off;
master_process {master};
worker_processes {workers};
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
{temporary}    {http}
    server {{
        listen {address} backlog=4096 {reuseport} {deferred};
        location / {{ return 200 \"ok\\n\"; }}
        {server}
    }}
    server {{
        listen unix:{folder}/status.sock;
        location / {{ stub_status; }}
    }}
}}
",
        master = on_off(options.master_process),
        reuseport = word(options.reuseport, "reuseport"),
        deferred = word(options.deferred, "deferred"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw_http::Connection;

    #[test]
    fn nginx_answers_counts_and_stops() {
        if !Nginx::available() {
            return;
        }
        let options = [
            NginxOptions::default(),
            NginxOptions { master_process: false, deferred: true, ..NginxOptions::default() },
            NginxOptions {
                workers: 2,
                reuseport: true,
                server: "location /a { return 201 a; }",
                ..NginxOptions::default()
            },
        ];
        for options in options {
            let nginx = Nginx::start(&options);
            assert_eq!(nginx.counts(), NginxCounts { accepts: 0, handled: 0, requests: 0 });
            let mut client = Connection::connect(nginx.address(), None);
            for _ in 0..3 {
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                assert!(client.read_message().ends_with(b"\r\n\r\nok\n"));
            }
            assert_eq!(nginx.counts(), NginxCounts { accepts: 1, handled: 1, requests: 3 });
            if options.workers == 2 {
                client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
                assert!(client.read_message().starts_with(b"HTTP/1.1 201"));
            }
            let path = format!("/proc/{}", nginx.pid());
            drop(nginx);
            assert!(!std::path::Path::new(&path).exists());
        }
    }

    #[test]
    fn nginx_runs_inside_a_namespace() {
        if !Nginx::available() || !Netns::available() {
            return;
        }
        let netns = Netns::new("web");
        let nginx = Nginx::start(&NginxOptions { netns: Some(&netns), ..NginxOptions::default() });
        let mut client = Connection::connect(nginx.address(), Some(&netns));
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(client.read_message().ends_with(b"ok\n"));
        assert_eq!(nginx.counts().requests, 1);
    }
}
