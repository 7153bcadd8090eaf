//! The server of ferro-lumberjack, which acknowledges as it is told.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ferro_lumberjack::server::{Server, ServerConnection, Window};
use headtrail_ship::logstash::Sender;
use headtrail_ship::settings::Timeouts;
use serde_json::Value;

use crate::{deliver, docs, settings, twice};

/// What the receiver does with a window.
#[derive(Clone, Copy)]
enum Turn {
    /// Keeps and acknowledges it.
    All,
    /// The same, in three parts.
    Parts,
    /// The same, after having said for long that it lives.
    Slowly,
    /// Keeps and acknowledges the first documents only, then goes.
    Some(usize),
    /// Keeps the first documents, acknowledges none, and goes.
    Lost(usize),
}

type Arrived = Arc<Mutex<Vec<Value>>>;

async fn receive(connection: &mut ServerConnection, window: Window, turn: Turn, arrived: &Arrived) -> bool {
    let events: Vec<(u32, Value)> = window
        .events
        .iter()
        .map(|event| (event.seq, serde_json::from_slice(&event.payload).expect("JSON")))
        .collect();
    assert!(events.iter().map(|(sequence, _)| *sequence).eq(1..=window.last_seq));
    let keep = |count: usize| {
        arrived.lock().expect("arrived").extend(events.iter().take(count).map(|(_, event)| event.clone()));
    };
    let third = window.last_seq / 3;
    let (kept, acks) = match turn {
        Turn::All => (events.len(), vec![window.last_seq]),
        Turn::Parts => (events.len(), vec![third, 2 * third, window.last_seq]),
        Turn::Slowly => (events.len(), vec![0, 0, 0, 0, window.last_seq]),
        Turn::Some(count) => (count, vec![(count as u32).min(window.last_seq)]),
        Turn::Lost(count) => (count, vec![]),
    };
    keep(kept);
    for sequence in acks {
        if matches!(turn, Turn::Slowly) {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        if connection.send_ack(sequence).await.is_err() {
            return false;
        }
    }
    !matches!(turn, Turn::Some(_) | Turn::Lost(_))
}

/// Starts it; it lives as long as the test. The turns come again and again.
fn start(turns: Vec<Turn>) -> (String, Arrived) {
    let arrived = Arrived::default();
    let (address, bound) = mpsc::channel();
    let kept = arrived.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let listener = Server::builder().bind("127.0.0.1:0").await.expect("listening");
            address.send(listener.local_addr().expect("address").to_string()).expect("told");
            let mut turns = turns.iter().cycle();
            loop {
                let mut connection = listener.accept().await.expect("accepted");
                while let Ok(Some(window)) = connection.read_window().await {
                    let turn = *turns.next().expect("a turn");
                    if !receive(&mut connection, window, turn, &kept).await {
                        break;
                    }
                }
            }
        });
    });
    (bound.recv().expect("bound"), arrived)
}

#[test]
fn what_is_kept_as_acknowledged_arrives_exactly_once() {
    for compress in [false, true] {
        let turns = vec![Turn::All, Turn::Parts, Turn::Some(7), Turn::Lost(0), Turn::All, Turn::Some(49)];
        let (node, arrived) = start(turns);
        let docs = docs(2000);
        let mut sender = Sender::new(headtrail_ship::logstash::Settings { compress, ..settings(&[&node]) })
            .expect("a sender");
        deliver(&mut sender, &docs, 230);
        let arrived = arrived.lock().expect("arrived");
        assert_eq!((twice(&docs, &arrived), arrived.len()), (0, docs.len()));
    }
}

#[test]
fn what_was_kept_but_not_acknowledged_comes_again_with_the_same_id() {
    let (node, arrived) = start(vec![Turn::All, Turn::Lost(30), Turn::Lost(0), Turn::Some(20)]);
    let docs = docs(1000);
    deliver(&mut Sender::new(settings(&[&node])).expect("a sender"), &docs, 170);
    assert!(twice(&docs, &arrived.lock().expect("arrived")) > 0);
}

#[test]
fn signs_of_life_lengthen_the_wait() {
    let (node, arrived) = start(vec![Turn::Slowly]);
    let docs = docs(50);
    let mut settings = settings(&[&node]);
    // 750 ms in all, of which none is longer than this.
    settings.timeouts = Timeouts { request: Duration::from_millis(500), ..settings.timeouts };
    deliver(&mut Sender::new(settings).expect("a sender"), &docs, 50);
    let arrived = arrived.lock().expect("arrived");
    assert_eq!((twice(&docs, &arrived), arrived.len()), (0, 50));
}

#[test]
fn documents_of_megabytes_arrive() {
    let (node, arrived) = start(vec![Turn::All]);
    let mut docs = docs(4);
    for doc in &mut docs[1..3] {
        doc.body = serde_json::json!({"fill": "x".repeat(3 << 20)}).to_string();
    }
    for compress in [false, true] {
        arrived.lock().expect("arrived").clear();
        deliver(
            &mut Sender::new(headtrail_ship::logstash::Settings { compress, ..settings(&[&node]) })
                .expect("a sender"),
            &docs,
            4,
        );
        assert_eq!(twice(&docs, &arrived.lock().expect("arrived")), 0);
    }
}
