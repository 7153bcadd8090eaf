//! What it costs to send documents to a receiver that takes all and acknowledges each window: on one core both together, so the receiver does as little
//! as it can.
#![allow(clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use headtrail_record::record::Kind;
use headtrail_ship::batch::Document;
use headtrail_ship::logstash::{Sender, Settings};
use headtrail_ship::settings::Timeouts;
use headtrail_ship::sink::{Answer, Item, Sink};

const DOCUMENTS: usize = 2048;

fn main() {
    divan::main();
}

/// Reads frames by their lengths; without packing, a window is so many documents, with it, as many as are left of `DOCUMENTS`.
fn receive(mut stream: TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    let mut head = [0; 6];
    let mut window = 0;
    let mut documents = 0;
    loop {
        stream.read_exact(&mut head).ok()?;
        let mut number = u32::from_be_bytes(head[2..].try_into().ok()?);
        match head[1] {
            b'W' => {
                window = number;
                continue;
            }
            b'J' => {
                stream.read_exact(&mut head[2..]).ok()?;
                number = u32::from_be_bytes(head[2..].try_into().ok()?);
                documents += 1;
            }
            // The only thing that has to be known of the inside is when it ends.
            _ => documents = 0,
        }
        bytes.resize(number as usize, 0);
        stream.read_exact(&mut bytes).ok()?;
        let packed = head[1] == b'C';
        if packed {
            let mut frames = Vec::new();
            flate2::read::ZlibDecoder::new(bytes.as_slice()).read_to_end(&mut frames).ok()?;
            let mut rest = frames.as_slice();
            while rest.len() >= 10 {
                documents = u32::from_be_bytes(rest[2..6].try_into().ok()?);
                let length = u32::from_be_bytes(rest[6..10].try_into().ok()?) as usize;
                rest = &rest[10 + length..];
            }
        }
        if documents == window {
            stream.write_all(&[b"2A".as_slice(), &window.to_be_bytes()].concat()).ok()?;
            documents = 0;
        }
    }
}

/// 2.5 KiB, in which what differs from document to document is what differs in life.
fn bodies() -> Vec<(String, String)> {
    let body = |n: u64| {
        let id = format!("5f2c0123456789ab-{:x}-{n}", n / 20);
        let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let line = |name: &str, value: &str| format!("\"{name}: {value}\"");
        let lines = [
            line("Host", "api.example.org:9080"),
            line("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"),
            line("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            line("X-Request-Id", &format!("{random:016x}{:016x}", random.rotate_left(17))),
            line("Authorization", &format!("hmac:{:016x}", random.rotate_left(40))),
        ]
        .join(",");
        let fill = "\"headtrail\":{\"packet\":{\"ip\":{\"ttl\":64,\"id\":4711,\"flags\":[\"DF\"]},\"tcp\":{\"window\":512,\"options\":[\"nop\",\"nop\",\"timestamp\"]}}}";
        let mut body = format!(
            "{{\"@timestamp\":\"2026-11-24T18:36:{:02}.{:09}Z\",\"ecs\":{{\"version\":\"9.0.0\"}},\"event\":{{\"id\":\"{id}\",\"duration\":{}}},\
             \"source\":{{\"ip\":\"10.1.{}.{}\",\"port\":{}}},\"url\":{{\"path\":\"/api/v1/items/{}\"}},\"request\":{{\"lines\":[{lines}]}},\"response\":{{\"lines\":[{lines}]}},{fill}",
            n % 60,
            random % 1_000_000_000,
            random % 10_000_000,
            n % 7,
            n % 251,
            1024 + n % 50_000,
            random % 100_000
        );
        while body.len() < 2_400 {
            body.push_str(&format!(
                ",\"pad{}\":{{\"name\":\"nginx: worker process\",\"pid\":{}}}",
                body.len(),
                n % 4000
            ));
        }
        body.push('}');
        (id, body)
    };
    (0..DOCUMENTS as u64).map(body).collect()
}

#[divan::bench(args = [false, true])]
fn send(bencher: Bencher, compress: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let node = listener.local_addr().expect("address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            receive(stream);
        }
    });
    let bodies = bodies();
    let documents: Vec<_> = bodies
        .iter()
        .map(|(id, body)| Document {
            kind: Kind::TRANSACTION,
            id,
            body: body.as_bytes(),
            time_ns: 0,
            record: 0,
        })
        .collect();
    let settings = Settings {
        nodes: vec![node],
        tls: None,
        window_max: DOCUMENTS as u32,
        compress,
        timeouts: Timeouts::default(),
    };
    let mut sender = Sender::new(settings).expect("a sender");
    let bytes: usize = documents.iter().map(|document| document.body.len()).sum();
    bencher.counter(ItemsCount::new(DOCUMENTS)).counter(BytesCount::new(bytes)).bench_local(|| {
        let stored = matches!(sender.send(&documents), Answer::Items(items) if items.iter().all(|item| *item == Item::Stored));
        assert!(stored);
    });
}
