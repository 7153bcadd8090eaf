//! Against Elastic's own receiver.

use std::fs;
use std::thread;
use std::time::Duration;

use headtrail_ship::logstash::{Sender, Settings};
use headtrail_ship::settings::{Secret, Timeouts, Tls};
use headtrail_testkit::eventually;
use headtrail_testkit::lumberjack::{Arrived, Receiver};

use crate::tls::{Certified, authority};
use crate::{DEADLINE, deliver, docs, settings, twice};

fn arrives_once(change: impl FnOnce(&mut Settings), arguments: &[&str]) {
    let arrived = Arrived::default();
    let Some(server) = Receiver::start("127.0.0.1:0", arguments, &arrived) else { return };
    let docs = docs(3000);
    let mut settings = settings(&[server.address()]);
    settings.window_max = 400;
    change(&mut settings);
    let mut sender = Sender::new(settings).expect("a sender");
    deliver(&mut sender, &docs, 1000);
    drop(server);
    let arrived = arrived.lock().expect("arrived");
    assert_eq!((twice(&docs, &arrived), arrived.len()), (0, docs.len()));
}

#[test]
fn documents_arrive_once_plain_and_packed() {
    arrives_once(|_| (), &[]);
    arrives_once(|settings| settings.compress = true, &[]);
}

#[test]
fn documents_arrive_once_over_tls_with_our_certificate() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = authority();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    };
    let server = Certified::by(&authority, "127.0.0.1");
    let client = Certified::by(&authority, "headtrail");
    let (certificate, key) = (file("server.pem", &server.chain), file("server.key", &server.key));
    let clients = file("clients.pem", &authority.pem());
    let arguments = ["-certificate", &certificate, "-key", &key, "-clients", &clients];
    for compress in [false, true] {
        let identity_pem =
            Some((client.chain.clone().into_bytes(), Secret::new(client.key.clone().into_bytes())));
        let authorities_pem = Some(authority.pem().into_bytes());
        let change = |settings: &mut Settings| {
            settings.compress = compress;
            settings.tls = Some(Tls { authorities_pem, identity_pem });
        };
        arrives_once(change, &arguments);
    }
}

#[test]
fn nothing_is_missing_after_the_receiver_was_killed_in_the_middle() {
    for compress in [false, true] {
        let arrived = Arrived::default();
        let slowly = ["-delay", "10ms"];
        let Some(mut server) = Receiver::start("127.0.0.1:0", &slowly, &arrived) else { return };
        let address = server.address().to_owned();
        let docs = docs(4000);
        let settings = Settings { compress, ..settings(&[&address]) };
        thread::scope(|scope| {
            let sending = scope.spawn(|| deliver(&mut Sender::new(settings).expect("a sender"), &docs, 333));
            for count in [300, 900, 1700, 2500] {
                eventually("documents", DEADLINE, || {
                    (arrived.lock().expect("arrived").len() >= count).then_some(())
                });
                drop(server);
                server = Receiver::start(&address, &slowly, &arrived).expect("the same again");
            }
            sending.join().expect("sent");
            drop(server);
        });
        let arrived = arrived.lock().expect("arrived");
        println!("{} of {} arrived twice or more", twice(&docs, &arrived), docs.len());
    }
}

#[test]
fn a_receiver_that_is_held_up_is_waited_for() {
    let timeouts = Timeouts { request: Duration::from_millis(400), ..Timeouts::default() };
    let change = |settings: &mut Settings| {
        settings.window_max = 3000;
        settings.timeouts = timeouts;
    };
    arrives_once(change, &["-delay", "900ms", "-keep-alive", "100ms"]);
}
