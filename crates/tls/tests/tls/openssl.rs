//! `openssl s_server` and `s_client` with a relay between them that writes the bytes down: the suites that rustls does
//! not have, renegotiation, and another mind's idea of how to cut records.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use headtrail_testkit::{TempDir, eventually, skip};
use headtrail_tls::{Facts, KeyLog, Reason, Side, State, Version};

use crate::reading::{Step, read, recut};

const DEADLINE: Duration = Duration::from_secs(20);

fn openssl(arguments: &[&str]) -> bool {
    let made = Command::new("openssl").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    made.is_ok_and(|status| status.success())
}

/// Is there an openssl? If not, says so.
fn is_there() -> bool {
    let there = openssl(&["version"]);
    if !there {
        skip("no openssl");
    }
    there
}

/// A certificate for server.test and its RSA key, made once a run.
pub fn rsa_files() -> (PathBuf, PathBuf) {
    static MADE: OnceLock<(TempDir, PathBuf, PathBuf)> = OnceLock::new();
    let (_, certificate, key) = MADE.get_or_init(|| identity(&["-newkey", "rsa:2048"]));
    (certificate.clone(), key.clone())
}

fn ecdsa_files() -> (PathBuf, PathBuf) {
    static MADE: OnceLock<(TempDir, PathBuf, PathBuf)> = OnceLock::new();
    let (_, certificate, key) =
        MADE.get_or_init(|| identity(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]));
    (certificate.clone(), key.clone())
}

fn identity(kind: &[&str]) -> (TempDir, PathBuf, PathBuf) {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let mut arguments = vec!["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=server.test"];
    arguments.extend([
        "-addext",
        "subjectAltName=DNS:server.test",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    arguments.extend(kind);
    arguments.extend(["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()]);
    assert!(openssl(&arguments), "openssl makes a certificate");
    (folder, certificate, key)
}

/// A child that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes one connection and carries it to `to`; what passes is written down.
struct Relay {
    port: u16,
    steps: Arc<Mutex<Vec<Step>>>,
    ended: mpsc::Receiver<()>,
}

impl Relay {
    fn new(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let steps = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = mpsc::channel();
        let kept = steps.clone();
        std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let there = carry(Side::A, &client, &server, kept.clone());
            let back = carry(Side::B, &server, &client, kept);
            there.join().unwrap();
            back.join().unwrap();
            let _ = end.send(());
        });
        Self { port, steps, ended }
    }
}

fn carry(
    side: Side,
    from: &TcpStream,
    to: &TcpStream,
    steps: Arc<Mutex<Vec<Step>>>,
) -> std::thread::JoinHandle<()> {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                break;
            }
            // Written down before it is carried on, so that no answer stands before its question.
            steps.lock().unwrap().push(Step::Bytes(side, buffer[..n].to_vec()));
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    })
}

/// Reads lines of a pipe into a buffer that can be looked at.
fn collect(mut pipe: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let got = Arc::new(Mutex::new(Vec::new()));
    let into = got.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n) = pipe.read(&mut buffer) {
            if n == 0 {
                break;
            }
            into.lock().unwrap().extend_from_slice(&buffer[..n]);
        }
    });
    got
}

/// What the client does with its standard input.
enum Say<'a> {
    Line(&'a str),
    /// A command of s_client: `K` updates its keys, `k` asks for the server's as well, `R` renegotiates.
    Command(&'a str),
}

/// What a talk left behind.
struct Talk {
    steps: Vec<Step>,
    log: KeyLog,
    client_said: String,
    server_said: String,
}

/// The server sends each line back, turned round (`-rev`); `sessions` connections follow each other.
fn talks(
    server_arguments: &[&str],
    client_arguments: &[&str],
    say: &[Say<'_>],
    sessions: usize,
) -> Option<Vec<Talk>> {
    let folder = TempDir::new().unwrap();
    let keylog = folder.path().join("keys");
    let session = folder.path().join("session");
    let mut server = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-rev", "-keylogfile"])
        .arg(&keylog)
        .args(server_arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let server_out = collect(server.0.stdout.take().unwrap());
    let server_err = collect(server.0.stderr.take().unwrap());
    let port = eventually("the server's port", DEADLINE, || {
        if server.0.try_wait().unwrap().is_some() {
            return Some(0);
        }
        let text = String::from_utf8_lossy(&server_out.lock().unwrap()).into_owned();
        text.lines().find_map(|l| l.strip_prefix("ACCEPT 127.0.0.1:")?.trim().parse().ok())
    });
    assert_ne!(port, 0, "{}", String::from_utf8_lossy(&server_err.lock().unwrap()));
    let mut done = Vec::new();
    for turn in 0..sessions {
        let relay = Relay::new(port);
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{}", relay.port),
            "-servername",
            "server.test",
        ]);
        client.args(client_arguments);
        if sessions > 1 {
            client.arg("-sess_out").arg(&session);
        }
        if turn > 0 {
            client.arg("-sess_in").arg(&session);
        }
        if say.iter().all(|s| matches!(s, Say::Line(_))) {
            // Without the latter it would not end with its input.
            client.args(["-quiet", "-no_ign_eof"]);
        }
        let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = Running(client.spawn().unwrap());
        let got = collect(client.0.stdout.take().unwrap());
        let mut input = client.0.stdin.take().unwrap();
        let (mut client_said, mut server_said) = (String::new(), String::new());
        for say in say {
            match say {
                Say::Line(text) => {
                    client_said += &format!("{text}\n");
                    writeln!(input, "{text}").ok()?;
                    let back: String = text.chars().rev().collect();
                    let found = eventually("the line comes back", DEADLINE, || {
                        let ended = client.0.try_wait().unwrap().is_some();
                        let text = String::from_utf8_lossy(&got.lock().unwrap()).into_owned();
                        if text.contains(&back) { Some(true) } else { ended.then_some(false) }
                    });
                    if !found {
                        return None;
                    }
                    server_said += &format!("{back}\n");
                }
                Say::Command(command) => {
                    let before = relay.steps.lock().unwrap().len();
                    writeln!(input, "{command}").ok()?;
                    eventually("the command goes out", DEADLINE, || {
                        (relay.steps.lock().unwrap().len() > before).then_some(())
                    });
                    // A renegotiation has several turns; what follows must not fall into it.
                    settled(&relay);
                }
            }
        }
        drop(input);
        if sessions > 1 {
            // The ticket of TLS 1.3 has come with the first answer.
            eventually("the session is kept", DEADLINE, || session.exists().then_some(()));
        }
        eventually("the client ends", DEADLINE, || client.0.try_wait().unwrap());
        relay.ended.recv_timeout(DEADLINE).unwrap();
        let steps = relay.steps.lock().unwrap().clone();
        let (log, counts) = KeyLog::parse(&std::fs::read(&keylog).unwrap_or_default());
        assert_eq!((counts.bad, counts.unknown), (0, 0));
        done.push(Talk { steps, log, client_said, server_said });
    }
    Some(done)
}

/// Waits until nothing passes any more for a while.
fn settled(relay: &Relay) {
    let mut before = (0, std::time::Instant::now());
    eventually("nothing passes any more", DEADLINE, || {
        let now = relay.steps.lock().unwrap().len();
        if now != before.0 {
            before = (now, std::time::Instant::now());
        }
        (before.1.elapsed() > Duration::from_millis(150)).then_some(())
    });
}

fn check(talk: &Talk) -> Facts {
    let mut facts = None;
    for (seed, piece_max) in [(1, 1), (2, 50), (3, 1460), (4, 70_000)] {
        let read = read(&recut(&talk.steps, seed, piece_max), &talk.log);
        assert_eq!(read.state(), State::Decrypting, "{:?}", read.connection.facts());
        // Some versions send the end of a command's line, too.
        let lines = |plain: &[u8]| String::from_utf8_lossy(plain).replace("\n\n", "\n");
        assert_eq!(lines(&read.plain[0]).trim_start(), talk.client_said);
        assert_eq!(lines(&read.plain[1]).trim_start(), talk.server_said);
        facts = Some(read.connection.facts().clone());
    }
    facts.unwrap()
}

fn identity_arguments(suite: &str) -> Vec<String> {
    let (certificate, key) = if suite.contains("_ECDSA_") { ecdsa_files() } else { rsa_files() };
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    vec!["-cert".to_owned(), text(certificate), "-key".to_owned(), text(key)]
}

/// Suites by their names in IANA's registry and OpenSSL's own, of one version.
fn suites(version: &str) -> Vec<(String, String)> {
    let list = Command::new("openssl")
        .args(["ciphers", "-V", "-stdname", "-s", "-psk", version, "ALL:COMPLEMENTOFALL:@SECLEVEL=0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    let all = text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        Some(((*words.get(2)?).to_owned(), (*words.get(4)?).to_owned()))
    });
    all.filter(|(iana, _)| !iana.contains("_NULL_") && !iana.contains("SCSV")).collect()
}

const PSK: [&str; 2] = ["-psk", "00112233445566778899aabbccddeeff"];

const LINES: [Say<'static>; 2] = [Say::Line("GET / HTTP/1.1"), Say::Line("Host: server.test and some more")];

#[test]
fn every_suite_of_tls12_is_read_or_named_as_not_supported() {
    if !is_there() {
        return;
    }
    let (mut read_ones, mut refused) = (0, 0);
    for (iana, name) in suites("-tls1_2") {
        let identity = identity_arguments(&iana);
        let cipher = format!("{name}:@SECLEVEL=0");
        let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
        server.extend(["-tls1_2", "-cipher", &cipher, "-alpn", "http/1.1"]);
        let mut client = vec!["-tls1_2", "-cipher", &cipher, "-alpn", "http/1.1"];
        if iana.contains("PSK") {
            server.extend(PSK);
            client.extend(PSK);
        }
        let Some(talks) = talks(&server, &client, &LINES, 1) else {
            println!("{iana}: OpenSSL does not speak it here");
            continue;
        };
        if iana.contains("_AES_") || iana.contains("_CHACHA20_") {
            let facts = check(&talks[0]);
            assert_eq!(facts.suite.unwrap().name(), Some(&*iana));
            assert_eq!(facts.version, Some(Version::TLS12));
            assert_eq!((facts.alpn.as_deref(), facts.resumed), (Some("http/1.1"), Some(false)));
            assert_eq!(facts.server_name.as_deref(), Some("server.test"));
            read_ones += 1;
        } else {
            let read = read(&talks[0].steps, &talks[0].log);
            assert_eq!(read.state(), State::Unseen(Reason::SuiteNotSupported));
            assert_eq!(read.connection.facts().suite.unwrap().name(), Some(&*iana));
            refused += 1;
        }
    }
    println!("{read_ones} suites read, {refused} named as not supported");
    assert!(read_ones >= 40, "{read_ones}");
}

#[test]
fn every_suite_of_tls13_is_read() {
    if !is_there() {
        return;
    }
    for suite in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_CCM_SHA256",
        "TLS_AES_128_CCM_8_SHA256",
    ] {
        let identity = identity_arguments(suite);
        let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
        server.extend(["-tls1_3", "-ciphersuites", suite, "-cipher", "ALL:@SECLEVEL=0"]);
        // Records padded to whole blocks, and small.
        let client =
            ["-tls1_3", "-ciphersuites", suite, "-cipher", "ALL:@SECLEVEL=0", "-record_padding", "512"];
        let talks = talks(&server, &client, &LINES, 1).expect("it is spoken");
        assert_eq!(check(&talks[0]).suite.unwrap().name(), Some(suite));
    }
}

/// Its client has such an option.
fn knows(option: &str) -> bool {
    let help = Command::new("openssl").args(["s_client", "-help"]).output().unwrap();
    [help.stdout, help.stderr].iter().any(|text| String::from_utf8_lossy(text).contains(option))
}

#[test]
fn cbc_without_encrypt_then_mac_is_read() {
    if !is_there() {
        return;
    }
    for name in ["AES128-SHA", "ECDHE-RSA-AES256-SHA384", "AES256-SHA256"] {
        let identity = identity_arguments("");
        let cipher = format!("{name}:@SECLEVEL=0");
        let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
        server.extend(["-tls1_2", "-cipher", &cipher]);
        let mut client = vec!["-tls1_2", "-cipher", &cipher, "-no_etm"];
        // Without the master secret's extension, too, where this openssl can leave it out.
        if knows("-no_ems") {
            client.push("-no_ems");
        }
        check(&talks(&server, &client, &LINES, 1).expect("it is spoken")[0]);
    }
}

#[test]
fn resumed_sessions_are_read() {
    if !is_there() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        for tickets in [true, false] {
            let identity = identity_arguments("");
            let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
            server.push(version);
            if !tickets {
                server.push("-no_ticket");
            }
            let talks = talks(&server, &[version], &LINES, 3).expect("it is spoken");
            for (turn, talk) in talks.iter().enumerate() {
                assert_eq!(check(talk).resumed, Some(turn > 0), "{version}, tickets {tickets}, turn {turn}");
            }
        }
    }
}

#[test]
fn updated_keys_are_followed() {
    if !is_there() {
        return;
    }
    let identity = identity_arguments("");
    let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
    server.push("-tls1_3");
    let say = [
        Say::Line("first"),
        Say::Command("K"),
        Say::Line("second"),
        Say::Command("k"),
        Say::Line("third"),
        Say::Command("K"),
        Say::Line("fourth"),
        Say::Command("k"),
        Say::Line("fifth"),
    ];
    check(&talks(&server, &["-tls1_3"], &say, 1).expect("it is spoken")[0]);
}

#[test]
fn renegotiated_connections_are_read() {
    if !is_there() {
        return;
    }
    for name in ["ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA256"] {
        let identity = identity_arguments("");
        let cipher = format!("{name}:@SECLEVEL=0");
        let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
        server.extend(["-tls1_2", "-cipher", &cipher, "-client_renegotiation"]);
        let say = [
            Say::Line("before"),
            Say::Command("R"),
            Say::Line("between"),
            Say::Command("R"),
            Say::Line("after"),
        ];
        check(&talks(&server, &["-tls1_2", "-cipher", &cipher], &say, 1).expect("it is spoken")[0]);
    }
}

#[test]
fn a_retry_is_read() {
    if !is_there() {
        return;
    }
    let identity = identity_arguments("");
    let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
    server.extend(["-tls1_3", "-groups", "P-384"]);
    let talks = talks(&server, &["-tls1_3", "-groups", "X25519:P-384"], &LINES, 1).expect("it is spoken");
    check(&talks[0]);
}

#[test]
fn older_versions_are_named_as_not_supported() {
    if !is_there() {
        return;
    }
    for (version, number) in [("-tls1", 0x0301), ("-tls1_1", 0x0302)] {
        let identity = identity_arguments("");
        let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
        server.extend([version, "-cipher", "ALL:@SECLEVEL=0"]);
        let Some(talks) = talks(&server, &[version, "-cipher", "ALL:@SECLEVEL=0"], &LINES, 1) else {
            println!("OpenSSL does not speak {version} here");
            continue;
        };
        let read = read(&talks[0].steps, &talks[0].log);
        assert_eq!(read.state(), State::Unseen(Reason::VersionNotSupported));
        assert_eq!(read.connection.facts().version, Some(Version(number)));
    }
}

#[test]
fn a_refused_handshake_says_so() {
    if !is_there() {
        return;
    }
    let identity = identity_arguments("");
    let mut server: Vec<&str> = identity.iter().map(String::as_str).collect();
    server.extend(["-tls1_3"]);
    // No version in common: nothing comes back but an alert.
    let folder = TempDir::new().unwrap();
    let keylog = folder.path().join("keys");
    let port = free_port();
    server.extend(["-keylogfile", keylog.to_str().unwrap()]);
    let accept = format!("127.0.0.1:{port}");
    let running = Command::new("openssl")
        // Without -rev it would end with the first connection, as its input does.
        .args(["s_server", "-rev", "-accept", &accept])
        .args(server)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _running = Running(running);
    eventually("the server listens", DEADLINE, || TcpStream::connect(("127.0.0.1", port)).ok());
    let relay = Relay::new(port);
    openssl(&["s_client", "-connect", &format!("127.0.0.1:{}", relay.port), "-tls1_2"]);
    relay.ended.recv_timeout(DEADLINE).unwrap();
    let read = read(&relay.steps.lock().unwrap(), &KeyLog::default());
    assert_eq!(read.state(), State::Unseen(Reason::Refused));
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
