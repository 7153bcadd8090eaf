//! rustls at both ends, in memory.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use headtrail_testkit::TempDir;
use headtrail_testkit::sink_servers::{Authority, Fault, Tls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, SupportedProtocolVersion};
use serde_json::{Value, json};

use crate::file::{Packet, Step, packets, pcap, pcapng, write};
use crate::{losses, read, transactions};

#[derive(Default, Debug)]
struct Lines(Mutex<String>);

impl rustls::KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        *self.0.lock().unwrap() += &format!("{label} {} {}\n", hex(client_random), hex(secret));
    }
}

fn request(n: usize) -> Vec<u8> {
    let text = format!(
        "GET /{n} HTTP/1.1\r\nHost: localhost\r\nX: {n}\r\nx: two\r\nX-Long: {}\r\n\r\n",
        "y".repeat(n * 700)
    );
    text.into_bytes()
}

fn response(n: usize) -> Vec<u8> {
    let body = vec![b'a' + (n % 26) as u8; n * 9000];
    [format!("HTTP/1.1 200 OK\r\nServer: s{n}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(), body]
        .concat()
}

/// What a talk of some exchanges left behind.
struct Talk {
    steps: Vec<Step>,
    keys: String,
}

fn talk(version: &'static SupportedProtocolVersion, exchanges: usize) -> Talk {
    talk_of(version, exchanges, request, response)
}

fn talk_of(
    version: &'static SupportedProtocolVersion,
    exchanges: usize,
    request: impl Fn(usize) -> Vec<u8>,
    response: impl Fn(usize) -> Vec<u8>,
) -> Talk {
    let authority = Authority::new();
    let Tls::Config(server) = authority.server(Fault::None) else { panic!("no TLS") };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let lines = Arc::new(Lines::default());
    client.key_log = lines.clone();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut steps = Vec::new();
    let mut turn = |client: &mut ClientConnection, server: &mut ServerConnection| loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
            let _ = server.reader().read_to_end(&mut Vec::new());
        }
        let mut back = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut back).unwrap();
        }
        let mut rest = &back[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
            let _ = client.reader().read_to_end(&mut Vec::new());
        }
        if bytes.is_empty() && back.is_empty() {
            return;
        }
        steps.extend([(true, bytes), (false, back)]);
    };
    turn(&mut client, &mut server);
    for n in 0..exchanges {
        client.writer().write_all(&request(n)).unwrap();
        turn(&mut client, &mut server);
        server.writer().write_all(&response(n)).unwrap();
        turn(&mut client, &mut server);
    }
    client.send_close_notify();
    server.send_close_notify();
    turn(&mut client, &mut server);
    let keys = lines.0.lock().unwrap().clone();
    Talk { steps, keys }
}

/// A record is exchange `n`, whole.
fn check(record: &Value, n: usize, version: &str) {
    assert_eq!(record["incomplete"], json!([]), "{record}");
    let long = "y".repeat(n * 700);
    let lines = json!([["Host", "localhost"], ["X", n.to_string()], ["x", "two"], ["X-Long", long]]);
    assert_eq!(record["request"]["lines"], lines);
    assert_eq!(record["request"]["target"], format!("/{n}"));
    assert_eq!(record["response"]["lines"][0], json!(["Server", format!("s{n}")]));
    assert_eq!(record["response"]["body_bytes"], n * 9000);
    assert_eq!(record["destination"], json!({"ip": "10.0.0.2", "port": 443}));
    let tls = &record["tls"];
    assert_eq!(
        (&tls["version"], &tls["sni"], &tls["resumed"]),
        (&json!(version), &json!("localhost"), &json!(false))
    );
    assert!(tls["cipher"].as_str().unwrap().starts_with("TLS_"), "{tls}");
}

const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("1.2", &rustls::version::TLS12), ("1.3", &rustls::version::TLS13)];

#[test]
fn exchanges_are_read_however_they_are_cut_and_the_packet_is_named() {
    let folder = TempDir::new().unwrap();
    for (name, version) in VERSIONS {
        let talk = talk(version, 5);
        let keys = write(folder.path(), "keys", talk.keys.as_bytes());
        for payload_max in [7, 100, 1448, 60_000] {
            let file = pcap(&packets(&talk.steps, payload_max), folder.path());
            let output = read(&file, Some(&keys), &["--format", "json"]);
            let records = transactions(&output);
            assert_eq!(records.len(), 5, "{name} {payload_max}: {output:?}");
            records.iter().enumerate().for_each(|(n, record)| check(record, n, name));
            assert_eq!(losses(&output), []);
        }
    }
}

#[test]
fn the_packet_with_the_first_byte_of_the_record_is_named() {
    let folder = TempDir::new().unwrap();
    let talk = talk(&rustls::version::TLS13, 1);
    let keys = write(folder.path(), "keys", talk.keys.as_bytes());
    let packets = packets(&talk.steps, 60_000);
    let output = read(&pcap(&packets, folder.path()), Some(&keys), &["--format", "json"]);
    let record = &transactions(&output)[0];
    for side in ["request", "response"] {
        let frame = record[side]["frame"].as_u64().unwrap() as usize;
        assert_eq!(record[side]["packet"]["tcp"]["seq"], packets[frame - 1].sequence);
        assert_eq!(packets[frame - 1].from_client, side == "request");
        assert_eq!(packets[frame - 1].payload[0], 23, "application data");
    }
    let request = record["request"]["frame"].as_u64().unwrap();
    assert_eq!(record["timing"]["request_ns"], 0);
    assert_eq!(record["time"], format!("2023-11-14T22:13:20.{:06}000Z", (request - 1) * 1000));
}

#[test]
fn packets_in_any_order_and_twice_are_read() {
    let folder = TempDir::new().unwrap();
    for (name, version) in VERSIONS {
        let talk = talk(version, 4);
        let keys = write(folder.path(), "keys", talk.keys.as_bytes());
        let all = packets(&talk.steps, 500);
        let mut shuffled: Vec<Packet> = Vec::new();
        for (i, packet) in all.iter().enumerate() {
            shuffled.push(packet.clone());
            let len = shuffled.len();
            // Neighbours of one direction change places; nothing of the other direction lies between.
            if i % 3 == 0 && len > 1 && shuffled[len - 2].from_client == packet.from_client {
                shuffled.swap(len - 1, len - 2);
            }
            if i % 5 == 0 {
                shuffled.push(packet.clone());
            }
        }
        let output = read(&pcap(&shuffled, folder.path()), Some(&keys), &["--format", "json"]);
        let records = transactions(&output);
        assert_eq!(records.len(), 4, "{name}: {output:?}");
        records.iter().enumerate().for_each(|(n, record)| check(record, n, name));
    }
}

#[test]
fn without_any_one_packet_nothing_is_invented() {
    let folder = TempDir::new().unwrap();
    for (name, version) in VERSIONS {
        let talk = talk(version, 3);
        let keys = write(folder.path(), "keys", talk.keys.as_bytes());
        let all = packets(&talk.steps, 1000);
        let whole_max = 3;
        for lost in (2..all.len() - 2).filter(|&i| !all[i].payload.is_empty()) {
            let mut rest = all.clone();
            rest.remove(lost);
            let output = read(&pcap(&rest, folder.path()), Some(&keys), &["--format", "json"]);
            let records = transactions(&output);
            assert!(records.len() <= 2 * whole_max, "{name} {lost}: {records:?}");
            for record in &records {
                let number = |side: &str, line: usize| {
                    let value = record[side]["lines"][line][1].as_str()?;
                    value.trim_start_matches('s').parse::<usize>().ok()
                };
                let (request, response) = (number("request", 1), number("response", 0));
                if let (Some(request), Some(response)) = (request, response) {
                    assert_eq!(request, response, "{name} {lost}: {record}");
                }
                if record["incomplete"] == json!([]) {
                    check(record, request.unwrap(), name);
                }
            }
            let told = !losses(&output).is_empty() || records.iter().any(|r| r["incomplete"] != json!([]));
            assert!(told || records.len() == 3, "{name} {lost}: {records:?}");
        }
    }
}

#[test]
fn what_is_not_http_ends_quietly_with_holes_too() {
    let folder = TempDir::new().unwrap();
    let noise = |n: usize| (0..30_000).map(|i| (i * 7 + n) as u8 | 0x80).collect::<Vec<u8>>();
    let talk = talk_of(&rustls::version::TLS13, 2, noise, noise);
    let keys = write(folder.path(), "keys", talk.keys.as_bytes());
    let all = packets(&talk.steps, 1000);
    for lost in [0, 3, 8, 12, 20, 40, 60] {
        let mut rest = all.clone();
        rest.remove(lost);
        let output = read(&pcap(&rest, folder.path()), Some(&keys), &["--format", "json"]);
        assert!(transactions(&output).is_empty(), "{lost}: {output:?}");
    }
}

#[test]
fn secrets_in_the_file_need_no_option() {
    let folder = TempDir::new().unwrap();
    let talk = talk(&rustls::version::TLS13, 2);
    let file = pcapng(&packets(&talk.steps, 1448), &talk.keys, folder.path());
    let output = read(&file, None, &["--format", "json"]);
    let records = transactions(&output);
    assert_eq!(records.len(), 2, "{output:?}");
    records.iter().enumerate().for_each(|(n, record)| check(record, n, "1.3"));
    // A block of secrets is no packet.
    let first = records[0]["request"]["frame"].as_u64().unwrap();
    let plain = read(
        &pcap(&packets(&talk.steps, 1448), folder.path()),
        Some(&write(folder.path(), "keys", talk.keys.as_bytes())),
        &["--format", "json"],
    );
    assert_eq!(transactions(&plain)[0]["request"]["frame"], first);
}

#[test]
fn what_cannot_be_decrypted_is_told() {
    let folder = TempDir::new().unwrap();
    for (name, version) in VERSIONS {
        let talk = talk(version, 2);
        let all = packets(&talk.steps, 1448);
        let keys = write(folder.path(), "keys", talk.keys.as_bytes());
        let file = pcap(&all, folder.path());
        assert_eq!(
            losses(&read(&file, None, &["--format", "json"])),
            [("tls_no_key".to_owned(), 1)],
            "{name}"
        );
        let text = read(&file, None, &[]);
        assert!(String::from_utf8_lossy(&text.stdout).contains("(file: tls_no_key)"), "{text:?}");
        // Joined behind the handshake.
        let begin = all.iter().position(|p| p.payload.first() == Some(&23) && p.payload.len() < 200).unwrap();
        let file = pcap(&all[begin..], folder.path());
        let output = read(&file, Some(&keys), &["--format", "json"]);
        assert_eq!(losses(&output), [("tls_joined_late".to_owned(), 1)], "{name}: {output:?}");
        assert!(transactions(&output).is_empty());
    }
}

#[test]
fn lines_that_are_none_are_told_and_a_missing_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let talk = talk(&rustls::version::TLS12, 1);
    let file = pcap(&packets(&talk.steps, 1448), folder.path());
    let keys =
        write(folder.path(), "keys", format!("# a comment\nwhat is this\n{}\0\n", talk.keys).as_bytes());
    let output = read(&file, Some(&keys), &["--format", "json"]);
    assert_eq!(transactions(&output).len(), 1, "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("1 not of a key log, 1 with a label that is not known"),
        "{output:?}"
    );
    let output = read(&file, Some(&folder.path().join("nowhere")), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("nowhere: the key log cannot be read"),
        "{output:?}"
    );
}

#[test]
fn documents_have_the_names_of_the_schema() {
    let folder = TempDir::new().unwrap();
    let talk = talk(&rustls::version::TLS13, 1);
    let file = pcapng(&packets(&talk.steps, 1448), &talk.keys, folder.path());
    let output = read(&file, None, &["--format", "ecs"]);
    let document: Value =
        serde_json::from_slice(output.stdout.split(|&b| b == b'\n').next().unwrap()).unwrap();
    let tls = &document["tls"];
    assert_eq!(
        (&tls["version"], &tls["version_protocol"], &tls["established"]),
        (&json!("1.3"), &json!("tls"), &json!(true))
    );
    assert_eq!(tls["client"]["server_name"], "localhost");
    assert_eq!(document["url"]["full"], "https://localhost/0");
}
