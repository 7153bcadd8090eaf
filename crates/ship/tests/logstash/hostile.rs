//! Receivers that do what they should not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use headtrail_ship::logstash::{Sender, WHOLE_TIMES};
use headtrail_ship::sink::{Answer, Item, Sink};

use crate::{docs, documents, settings};

const REQUEST: Duration = Duration::from_millis(300);

/// Lets `receive` have each connection, one after the other.
fn start(receive: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let node = listener.local_addr().expect("address").to_string();
    thread::spawn(move || listener.incoming().for_each(|stream| receive(stream.expect("accepted"))));
    node
}

/// A port where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    listener.local_addr().expect("address").to_string()
}

/// Reads a window, which ends with the metadata of its last document.
fn read_window(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 64 << 10];
    loop {
        match stream.read(&mut bytes) {
            Ok(read @ 1..) if bytes[..read].ends_with(b"\"}}") => return true,
            Ok(1..) => {}
            _ => return false,
        }
    }
}

fn sender(nodes: &[&str]) -> Sender {
    let mut settings = settings(nodes);
    settings.timeouts.request = REQUEST;
    Sender::new(settings).expect("a sender")
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Again(trouble) => trouble.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nonsense_is_no_acknowledgement() {
    for nonsense in [
        "HTTP/1.1 400 Bad Request\r\n",
        "1A\0\0\0\x02",
        "2W\0\0\0\x02",
        "2A\0\0\0\x03",
        "2A\u{7f}\u{7f}\u{7f}\u{7f}",
    ] {
        let node = start(move |mut stream| {
            read_window(&mut stream);
            let _ = stream.write_all(nonsense.as_bytes());
            let _ = stream.read(&mut [0; 16]);
        });
        assert_eq!(kind(&sender(&[&node]).send(&documents(&docs(2)))), "answer", "{nonsense:?}");
    }
}

#[test]
fn what_was_acknowledged_before_the_nonsense_is_stored() {
    let node = start(|mut stream| {
        read_window(&mut stream);
        let _ = stream.write_all(b"2A\0\0\0\x022A\0\0\x01\0");
        let _ = stream.read(&mut [0; 16]);
    });
    let answer = sender(&[&node]).send(&documents(&docs(3)));
    assert_eq!(answer, Answer::Items(vec![Item::Stored, Item::Stored, Item::Again]));
}

#[test]
fn silence_ends_the_wait() {
    let node = start(|mut stream| while read_window(&mut stream) {});
    let start = Instant::now();
    assert_eq!(kind(&sender(&[&node]).send(&documents(&docs(3)))), "time_out");
    assert!((REQUEST..REQUEST * WHOLE_TIMES).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[test]
fn signs_of_life_do_not_hold_us_up_for_ever() {
    let node = start(|mut stream| {
        read_window(&mut stream);
        // One byte after the other, too.
        for byte in b"2A\0\0\0\0".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let start = Instant::now();
    assert_eq!(kind(&sender(&[&node]).send(&documents(&docs(3)))), "time_out");
    assert!(
        start.elapsed() >= REQUEST * WHOLE_TIMES && start.elapsed() < REQUEST * WHOLE_TIMES * 3,
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn who_does_not_read_is_given_up() {
    let node = start(|stream| {
        thread::sleep(Duration::from_secs(60));
        drop(stream);
    });
    let mut docs = docs(4);
    for doc in &mut docs {
        doc.body = format!("{{\"fill\":\"{}\"}}", "x".repeat(8 << 20));
    }
    assert_eq!(kind(&sender(&[&node]).send(&documents(&docs))), "time_out");
}

#[test]
fn a_connection_that_was_closed_between_windows_is_made_anew() {
    let node = start(|mut stream| {
        read_window(&mut stream);
        stream.write_all(b"2A\0\0\0\x03").expect("acknowledged");
    });
    let mut sender = sender(&[&node]);
    for _ in 0..5 {
        assert_eq!(sender.send(&documents(&docs(3))), Answer::Items(vec![Item::Stored; 3]));
        // Until the end of the connection has come.
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_old_acknowledgement_does_not_count_for_the_next_window() {
    let node = start(|mut stream| {
        read_window(&mut stream);
        let _ = stream.write_all(b"2A\0\0\0\x03");
        thread::sleep(Duration::from_millis(20));
        let _ = stream.write_all(b"2A\0\0\0\x03");
        let _ = stream.read(&mut [0; 16]);
    });
    let mut sender = sender(&[&node]);
    for _ in 0..2 {
        assert_eq!(sender.send(&documents(&docs(3))), Answer::Items(vec![Item::Stored; 3]));
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_next_node_takes_over() {
    let good = start(|mut stream| {
        while read_window(&mut stream) {
            stream.write_all(b"2A\0\0\0\x03").expect("acknowledged");
        }
    });
    let closing = start(drop);
    let (one, two) = (nobody(), nobody());
    assert_eq!(kind(&sender(&[&one, &two]).send(&documents(&docs(3)))), "connect");
    assert_eq!(sender(&[&one, &good]).send(&documents(&docs(3))), Answer::Items(vec![Item::Stored; 3]));
    let mut sender = sender(&[&closing, &one, &good]);
    assert_eq!(kind(&sender.send(&documents(&docs(3)))), "connect");
    assert_eq!(sender.send(&documents(&docs(3))), Answer::Items(vec![Item::Stored; 3]));
    assert!(sender.sent_bytes() > 0);
}

#[test]
fn a_name_without_an_address_is_a_trouble() {
    assert_eq!(kind(&sender(&["nowhere.invalid:5044"]).send(&documents(&docs(1)))), "connect");
}

#[test]
fn nothing_to_send_is_fine() {
    assert_eq!(sender(&[&nobody()]).send(&[]), Answer::Items(Vec::new()));
}
