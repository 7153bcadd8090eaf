//! rustls at both ends, in memory: every suite that it has, resumption, 0-RTT, retries and updates of keys.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use headtrail_tls::{Facts, KeyLog, Reason, Side, State, Version};
use rustls::crypto::ring::{ALL_CIPHER_SUITES, kx_group};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::reading::{Read, Step, joined, pattern, read, recut};

/// A key log in memory.
#[derive(Default, Debug)]
pub struct Lines(Mutex<String>);

impl Lines {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl rustls::KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        *self.0.lock().unwrap() += &format!("{label} {} {}\n", hex(client_random), hex(secret));
    }
}

/// Two ends that know each other, and the log of their keys.
pub struct Ends {
    pub client: Arc<ClientConfig>,
    pub server: Arc<ServerConfig>,
    pub lines: Arc<Lines>,
    identity: Identity,
}

impl Ends {
    pub fn new(change: impl FnOnce(&mut ClientConfig, &mut ServerConfig)) -> Self {
        Self::with_suites(ALL_CIPHER_SUITES, change)
    }

    pub fn with_suites(
        suites: &[rustls::SupportedCipherSuite],
        change: impl FnOnce(&mut ClientConfig, &mut ServerConfig),
    ) -> Self {
        Self::with_provider(suites, None, change)
    }

    fn with_provider(
        suites: &[rustls::SupportedCipherSuite],
        server_groups: Option<Vec<&'static dyn rustls::crypto::SupportedKxGroup>>,
        change: impl FnOnce(&mut ClientConfig, &mut ServerConfig),
    ) -> Self {
        let ecdsa = suites[0].suite().as_str().is_some_and(|s| s.contains("ECDSA") || s.starts_with("TLS13"));
        let (certificate, key) = if ecdsa { ecdsa_identity() } else { rsa_identity() };
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites = suites.to_vec();
        let mut server_provider = provider.clone();
        if let Some(groups) = server_groups {
            server_provider.kx_groups = groups;
        }
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let versions: &[&rustls::SupportedProtocolVersion] =
            if suites.len() > 1 { rustls::ALL_VERSIONS } else { &[version_of(suites[0])] };
        let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut server = ServerConfig::builder_with_provider(Arc::new(server_provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.clone_key())
            .unwrap();
        let lines = Arc::new(Lines::default());
        client.key_log = lines.clone();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        change(&mut client, &mut server);
        Self { client: Arc::new(client), server: Arc::new(server), lines, identity: (certificate, key) }
    }

    pub fn connect(&self) -> Pair {
        let name = ServerName::try_from("server.test").unwrap();
        Pair {
            client: ClientConnection::new(self.client.clone(), name).unwrap(),
            server: ServerConnection::new(self.server.clone()).unwrap(),
            steps: Vec::new(),
            sent: [Vec::new(), Vec::new()],
        }
    }

    pub fn log(&self) -> KeyLog {
        let (log, counts) = KeyLog::parse(self.lines.text().as_bytes());
        assert_eq!((counts.bad, counts.unknown), (0, 0));
        log
    }
}

fn version_of(suite: rustls::SupportedCipherSuite) -> &'static rustls::SupportedProtocolVersion {
    match suite {
        rustls::SupportedCipherSuite::Tls13(_) => &rustls::version::TLS13,
        rustls::SupportedCipherSuite::Tls12(_) => &rustls::version::TLS12,
    }
}

type Identity = (rustls::pki_types::CertificateDer<'static>, PrivateKeyDer<'static>);

fn ecdsa_identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(vec!["server.test".to_owned()]).unwrap();
    (made.cert.der().clone(), PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()))
}

/// ring makes no RSA keys, so one comes from OpenSSL.
fn rsa_identity() -> Identity {
    use rustls::pki_types::pem::PemObject;
    let (certificate, key) = crate::openssl::rsa_files();
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(certificate).unwrap();
    (certificate, PrivateKeyDer::from_pem_file(key).unwrap())
}

/// A connection in memory whose bytes are written down.
pub struct Pair {
    pub client: ClientConnection,
    pub server: ServerConnection,
    pub steps: Vec<Step>,
    /// What was sent, by end; the client is A.
    pub sent: [Vec<u8>; 2],
}

impl Pair {
    /// Carries bytes until neither end has any; what comes out is what was sent.
    pub fn pump(&mut self) {
        loop {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            while self.client.wants_write() {
                self.client.write_tls(&mut there).unwrap();
            }
            let mut rest = there.as_slice();
            while !rest.is_empty() {
                self.server.read_tls(&mut rest).unwrap();
                self.server.process_new_packets().unwrap();
                drain(&mut self.server.reader());
            }
            while self.server.wants_write() {
                self.server.write_tls(&mut back).unwrap();
            }
            let mut rest = back.as_slice();
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                self.client.process_new_packets().unwrap();
                drain(&mut self.client.reader());
            }
            if there.is_empty() && back.is_empty() {
                return;
            }
            for (side, bytes) in [(Side::A, there), (Side::B, back)] {
                if !bytes.is_empty() {
                    self.steps.push(Step::Bytes(side, bytes));
                }
            }
        }
    }

    pub fn say(&mut self, side: Side, bytes: &[u8]) {
        for piece in bytes.chunks(8 * 1024) {
            match side {
                Side::A => self.client.writer().write_all(piece).unwrap(),
                Side::B => self.server.writer().write_all(piece).unwrap(),
            }
            self.sent[side as usize].extend_from_slice(piece);
            self.pump();
        }
    }

    pub fn close(&mut self) {
        self.client.send_close_notify();
        self.pump();
        self.server.send_close_notify();
        self.pump();
    }
}

fn drain(reader: &mut rustls::Reader<'_>) {
    let mut buffer = [0; 4096];
    while reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

/// A talk of several turns in both directions.
pub fn talk(pair: &mut Pair) {
    pair.pump();
    pair.say(Side::A, b"GET / HTTP/1.1\r\nHost: server.test\r\n\r\n");
    pair.say(Side::B, &pattern(50_000, 1));
    pair.say(Side::A, &pattern(20_000, 2));
    pair.say(Side::B, b"x");
}

/// Reads it in many cuttings; what comes out is what was sent.
pub fn check(pair: &Pair, log: &KeyLog) -> Facts {
    let mut facts = None;
    for seed in 0..8 {
        let piece_max = [1, 7, 100, 1460, 5000, 20_000, 65_536, 3][seed as usize];
        let read = read(&recut(&joined(&pair.steps), seed, piece_max), log);
        assert_eq!(read.state(), State::Decrypting, "{:?}", read.connection.facts());
        for side in 0..2 {
            assert!(read.plain[side] == pair.sent[side], "end {side}, pieces of {piece_max}");
        }
        assert!(read.held_bytes_max < 150_000, "{}", read.held_bytes_max);
        facts = Some(read.connection.facts().clone());
    }
    facts.unwrap()
}

fn read_pair(pair: &Pair, log: &KeyLog) -> Read {
    read(&pair.steps, log)
}

#[test]
fn every_suite_of_rustls_is_read() {
    for &suite in ALL_CIPHER_SUITES {
        let ends = Ends::with_suites(&[suite], |_, _| {});
        let mut pair = ends.connect();
        talk(&mut pair);
        pair.close();
        let facts = check(&pair, &ends.log());
        assert_eq!(facts.suite.unwrap().0, u16::from(suite.suite()));
        assert_eq!(
            facts.suite.unwrap().name(),
            suite.suite().as_str().map(|s| s.replace("TLS13_", "TLS_")).as_deref()
        );
        assert_eq!(facts.version.unwrap().0, u16::from(suite.version().version));
        assert_eq!(facts.client, Some(Side::A));
        assert_eq!(facts.server_name.as_deref(), Some("server.test"));
        assert_eq!(facts.alpn.as_deref(), Some("http/1.1"));
        assert_eq!(facts.resumed, Some(false));
        let read = read_pair(&pair, &ends.log());
        assert!(read.connection.is_closed(Side::A) && read.connection.is_closed(Side::B));
    }
}

#[test]
fn resumed_sessions_are_read() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let suites: Vec<_> = ALL_CIPHER_SUITES.iter().copied().filter(|s| s.version() == version).collect();
        for tickets in [false, true] {
            let ends = Ends::with_suites(&suites[..1], |_, server| {
                if tickets {
                    server.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
                }
            });
            for turn in 0..3 {
                let mut pair = ends.connect();
                talk(&mut pair);
                pair.close();
                let facts = check(&pair, &ends.log());
                assert_eq!(facts.resumed, Some(turn > 0), "{version:?}, tickets {tickets}");
            }
        }
    }
}

#[test]
fn a_retry_is_read() {
    let ends = Ends::with_provider(ALL_CIPHER_SUITES, Some(vec![kx_group::SECP384R1]), |_, _| {});
    let mut pair = ends.connect();
    talk(&mut pair);
    assert_eq!(pair.client.handshake_kind(), Some(rustls::HandshakeKind::FullWithHelloRetryRequest));
    let facts = check(&pair, &ends.log());
    assert_eq!(facts.version, Some(Version::TLS13));
}

#[test]
fn updated_keys_are_followed_in_both_directions() {
    let ends = Ends::new(|_, _| {});
    let mut pair = ends.connect();
    talk(&mut pair);
    for turn in 0..5 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.say(Side::A, &pattern(3000, turn));
        pair.say(Side::B, &pattern(3000, turn));
        pair.server.refresh_traffic_keys().unwrap();
        pair.say(Side::B, &pattern(30, turn));
        pair.say(Side::A, &pattern(30, turn));
    }
    check(&pair, &ends.log());
}

/// Ends that allow 0-RTT data, after a first connection.
fn early_ends() -> Ends {
    let ends = Ends::new(|client, server| {
        client.enable_early_data = true;
        server.max_early_data_size = 16_384;
        server.send_half_rtt_data = true;
    });
    let mut first = ends.connect();
    talk(&mut first);
    ends
}

fn say_early(pair: &mut Pair, bytes: &[u8]) {
    let mut early = pair.client.early_data().unwrap();
    early.write_all(bytes).unwrap();
    // What the server takes early has a reader of its own.
    let mut there = Vec::new();
    while pair.client.wants_write() {
        pair.client.write_tls(&mut there).unwrap();
    }
    let mut rest = there.as_slice();
    while !rest.is_empty() {
        pair.server.read_tls(&mut rest).unwrap();
        pair.server.process_new_packets().unwrap();
    }
    pair.steps.push(Step::Bytes(Side::A, there));
}

#[test]
fn early_data_is_read_where_the_server_took_it() {
    let ends = early_ends();
    let mut pair = ends.connect();
    let early = pattern(9_000, 9);
    say_early(&mut pair, &early);
    pair.sent[0].extend_from_slice(&early);
    talk(&mut pair);
    assert!(pair.client.is_early_data_accepted());
    let facts = check(&pair, &ends.log());
    assert_eq!((facts.early_data, facts.resumed), (Some(true), Some(true)));
    let read = read_pair(&pair, &ends.log());
    assert_eq!(read.early, early.len());
}

#[test]
fn early_data_without_its_secret_is_a_hole_and_the_rest_is_read() {
    let ends = early_ends();
    let mut pair = ends.connect();
    let early = pattern(9_000, 9);
    say_early(&mut pair, &early);
    talk(&mut pair);
    let lines = ends.lines.text();
    let lines: String = lines.lines().filter(|l| !l.contains("EARLY")).map(|l| format!("{l}\n")).collect();
    let (log, _) = KeyLog::parse(lines.as_bytes());
    let read = read_pair(&pair, &log);
    assert_eq!(read.state(), State::Decrypting);
    assert!(read.plain[0].ends_with(&pair.sent[0]));
    let hole = read.plain[0].len() - pair.sent[0].len();
    assert!(hole >= early.len() && hole < early.len() + 200, "{hole}");
    assert!(read.plain[1] == pair.sent[1]);
}

#[test]
fn early_data_that_the_server_refused_is_not_given_out() {
    for groups in [None, Some(vec![kx_group::SECP384R1])] {
        // A server that does not know the session, and one that asks for another key share first.
        let ends = early_ends();
        let other = Ends::new(|_, _| {});
        let mut pair = ends.connect();
        let mut config = (*ends.server).clone();
        if let Some(groups) = groups {
            let mut provider = (**config.crypto_provider()).clone();
            provider.kx_groups = groups;
            let (certificate, key) = (ends.identity.0.clone(), ends.identity.1.clone_key());
            config = ServerConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
                .unwrap();
        } else {
            config.session_storage = other.server.session_storage.clone();
            config.max_early_data_size = 0;
        }
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        pair.server = ServerConnection::new(Arc::new(config)).unwrap();
        say_early(&mut pair, &pattern(6_000, 9));
        talk(&mut pair);
        let facts = check(&pair, &ends.log());
        assert_eq!((facts.early_data, facts.version), (Some(false), Some(Version::TLS13)));
    }
}

#[test]
fn directions_that_were_captured_out_of_order_wait_for_each_other() {
    for &suite in ALL_CIPHER_SUITES {
        let ends = Ends::with_suites(&[suite], |_, _| {});
        let mut pair = ends.connect();
        pair.pump();
        // Small, so that one direction can be held whole.
        pair.say(Side::A, &pattern(1000, 1));
        pair.say(Side::B, &pattern(1000, 2));
        for first in [Side::A, Side::B] {
            let of = |side| {
                pair.steps.iter().filter(move |s| matches!(s, Step::Bytes(of, _) if *of == side)).cloned()
            };
            let steps: Vec<_> = of(first).chain(of(first.other())).collect();
            let read = read(&recut(&steps, 3, 500), &ends.log());
            assert_eq!(read.state(), State::Decrypting, "{suite:?}");
            assert!(read.plain == pair.sent, "{suite:?}, {first:?} first");
        }
    }
}

#[test]
fn without_its_keys_nothing_comes_out() {
    for &suite in ALL_CIPHER_SUITES {
        let ends = Ends::with_suites(&[suite], |_, _| {});
        let mut pair = ends.connect();
        talk(&mut pair);
        // The log of another connection.
        let other = Ends::with_suites(&[suite], |_, _| {});
        other.connect().pump();
        let random = ends.lines.text().split(' ').nth(1).unwrap().to_owned();
        let others = other.lines.text();
        let (log, _) = KeyLog::parse(others.as_bytes());
        let got = read_pair(&pair, &log);
        assert_eq!(got.state(), State::Unseen(Reason::NoKey));
        assert!(got.pieces.is_empty());
        let facts = got.connection.facts();
        assert_eq!(facts.suite.unwrap().0, u16::from(suite.suite()));
        assert_eq!(facts.server_name.as_deref(), Some("server.test"));
        assert_eq!(facts.resumed, Some(false));

        // The secrets of another connection under this one's random.
        let mut swapped = String::new();
        for line in others.lines() {
            let words: Vec<_> = line.split(' ').collect();
            swapped += &format!("{} {random} {}\n", words[0], words[2]);
        }
        let (log, _) = KeyLog::parse(swapped.as_bytes());
        let got = read_pair(&pair, &log);
        assert_eq!(got.state(), State::Unseen(Reason::Unauthentic));
        assert!(got.pieces.is_empty());
    }
}
