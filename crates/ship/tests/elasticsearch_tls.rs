//! Whom the reader trusts, and how it shows who it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod elasticsearch_common;

use std::time::{Duration, Instant};

use elasticsearch_common::*;
use headtrail_ship::elasticsearch::Settings as Cluster;
use headtrail_ship::gate::Gate;
use headtrail_ship::settings::{Auth, Secret, Timeouts, Tls};
use headtrail_ship::shipper::sink;
use headtrail_ship::stats::Counts;
use headtrail_testkit::sink_servers::{Authority, Behaviour, BulkServer, Fault, Fixed, Identity};
use tempfile::TempDir;

fn trusting(authority: &Authority, identity: Option<&Identity>) -> Tls {
    Tls {
        authorities_pem: Some(authority.pem().into_bytes()),
        identity_pem: identity.map(|identity| {
            (identity.certificate_pem.clone().into_bytes(), Secret::new(identity.key_pem.as_bytes()))
        }),
    }
}

/// Ships to a server until all is settled, or until there was trouble a few times. What was told to a person, too.
fn ship(server: &BulkServer, tls: Tls, timeouts: Timeouts) -> (Counts, Vec<String>) {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let source = Source::with(10, 100, &gate);
    let cluster = Cluster { tls, timeouts, ..cluster(&[server.url()]) };
    let settings = settings("a", 20, cluster);
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until("it goes on, or does not", |counts| {
        counts.cursor.sequence == 100 || counts.troubles.values().sum::<u64>() >= 3
    });
    let told = running.told.lock().unwrap().clone();
    let counts = running.stop();
    if counts.troubles.is_empty() {
        balances(&source, server, data_dir.path(), &counts);
    } else {
        assert_eq!((counts.stored, server.documents().len()), (0, 0), "{counts:?}");
        assert!(server.requests().is_empty());
    }
    (counts, told)
}

fn patient() -> Timeouts {
    Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(10) }
}

#[test]
fn the_named_authority_is_trusted_and_no_other() {
    let authority = Authority::new();
    let server = BulkServer::start_tls(authority.server(Fault::None), |_| Behaviour::accept());
    let (counts, told) = ship(&server, trusting(&authority, None), patient());
    assert_eq!((counts.stored, told.len()), (86, 0));
    // One connection for all.
    assert_eq!(server.connections(), 1);
    for (fault, words) in [
        (Fault::Expired, "expired"),
        (Fault::WrongName, "not valid for name"),
        (Fault::UnknownAuthority, "UnknownIssuer|BadSignature"),
        (Fault::WantsClient, "CertificateRequired|certificate required"),
    ] {
        let server = BulkServer::start_tls(authority.server(fault), |_| Behaviour::accept());
        let (counts, told) = ship(&server, trusting(&authority, None), patient());
        assert_eq!(counts.troubles.keys().collect::<Vec<_>>(), [&"tls"], "{fault:?}: {counts:?}");
        let what = counts.trouble.unwrap();
        assert!(words.split('|').any(|words| what.contains(words)), "{fault:?}: {what}");
        assert!(what.contains("localhost:") && what.len() <= 600, "{what}");
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

#[test]
fn a_certificate_shows_who_we_are() {
    let authority = Authority::new();
    let server = BulkServer::start_tls(authority.server(Fault::WantsClient), |_| Behaviour::accept());
    let (counts, _) = ship(&server, trusting(&authority, Some(&authority.client("gw1"))), patient());
    assert_eq!(counts.stored, 86);
    // That of somebody else does not.
    let server = BulkServer::start_tls(authority.server(Fault::WantsClient), |_| Behaviour::accept());
    let stranger = Authority::new().client("gw1");
    let (counts, _) = ship(&server, trusting(&authority, Some(&stranger)), patient());
    assert_eq!(counts.troubles.keys().collect::<Vec<_>>(), [&"tls"], "{counts:?}");
}

#[test]
fn a_handshake_that_hangs_ends_by_the_time_limit_for_connecting() {
    let authority = Authority::new();
    let server = BulkServer::start_tls(authority.server(Fault::HangsInHandshake), |_| Behaviour::accept());
    let timeouts = Timeouts { connect: Duration::from_millis(200), request: Duration::from_secs(60) };
    let start = Instant::now();
    let (counts, _) = ship(&server, trusting(&authority, None), timeouts);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(counts.troubles.keys().collect::<Vec<_>>(), [&"connect"], "{counts:?}");
}

#[test]
fn tls_and_none_do_not_understand_each_other_and_say_so() {
    let authority = Authority::new();
    // TLS to a server that has none.
    let server = BulkServer::start(|_| Behaviour::accept());
    let node = server.url().replace("http:", "https:");
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let source = Source::with(10, 100, &gate);
    let tls = trusting(&authority, None);
    let settings_of = |node: String, tls| settings("a", 20, Cluster { tls, ..cluster(&[node]) });
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings_of(node, tls));
    let counts = running.until("it does not go on", |counts| !counts.troubles.is_empty());
    // Where the server waits for the rest of what it takes for a request, time ends it.
    let kinds = ["tls", "connection", "connect"];
    assert!(kinds.contains(counts.troubles.keys().next().unwrap()), "{counts:?}");
    drop(running);
    // None to a server that has TLS.
    let server = BulkServer::start_tls(authority.server(Fault::None), |_| Behaviour::accept());
    let gate = Gate::default();
    gate.put(headtrail_ship::gate::Synced { blocks: 2, records: 100 });
    let node = server.url().replace("https:", "http:");
    let running =
        Running::start(source.disk.clone(), data_dir.path(), &gate, &settings_of(node, Tls::default()));
    let counts = running.until("it does not go on", |counts| counts.troubles.values().sum::<u64>() > 2);
    assert_eq!(counts.stored + counts.dead_letters, 0, "{counts:?}");
}

#[test]
fn what_cannot_be_used_is_refused_before_it_is_used() {
    let authority = Authority::new();
    let mine = authority.client("gw1");
    let of = |authorities: &[u8], identity: Option<(&str, &str)>| Tls {
        authorities_pem: Some(authorities.to_vec()),
        identity_pem: identity.map(|(chain, key)| (chain.as_bytes().to_vec(), Secret::new(key.as_bytes()))),
    };
    let node = ["https://localhost:1".to_owned()];
    let pem = authority.pem();
    let (chain, key) = (&*mine.certificate_pem, &*mine.key_pem);
    for tls in [
        of(b"", None),
        of(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", None),
        of(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None),
        of(pem.as_bytes(), Some((chain, ""))),
        of(pem.as_bytes(), Some(("", key))),
        of(pem.as_bytes(), Some((chain, chain))),
        of(pem.as_bytes(), Some((chain, &authority.client("other").key_pem))),
    ] {
        let settings = settings("a", 1, Cluster { tls: tls.clone(), ..cluster(&node) });
        let error = sink(&settings).err();
        assert!(error.is_some(), "{tls:?}");
        assert!(!error.unwrap().to_string().contains("PRIVATE"));
    }
    let bad = Auth::ApiKey(Secret::new(*b"VnVhQ2ZH\nX-Other: 1"));
    assert!(sink(&settings("a", 1, Cluster { auth: bad, ..cluster(&node) })).is_err());
}

#[test]
fn a_login_arrives_and_is_shown_nowhere() {
    let password = "hunter2 \u{e4}:b";
    let basic = Auth::Basic { user: "elastic".to_owned(), password: Secret::new(password.as_bytes()) };
    for (auth, expected, secret) in [
        (basic, "Basic ZWxhc3RpYzpodW50ZXIyIMOkOmI=", ["hunter2", "aHVudGVy"]),
        (
            Auth::ApiKey(Secret::new(*b"VnVhQ2ZHY0JDZGJrUQ==")),
            "ApiKey VnVhQ2ZHY0JDZGJrUQ==",
            ["VnVhQ2ZH", "JrUQ=="],
        ),
        (Auth::None, "", ["hunter2", "VnVhQ2ZH"]),
    ] {
        let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
        let source = Source::with(10, 100, &gate);
        // Servers and proxies like to say what they were sent.
        let echo = move |request: &headtrail_testkit::sink_servers::Request| {
            let login = request.headers.iter().find(|(name, _)| name == "authorization");
            let login = login.map_or("", |(_, value)| value.as_str());
            match request.number {
                1 | 3 => Behaviour::status(401, login),
                2 => Behaviour::status(200, login),
                4 => Behaviour::status(418, login),
                5 => Behaviour::lose_answer(),
                _ => Behaviour::accept(),
            }
        };
        let server = BulkServer::start(echo);
        let settings = settings("a", 20, Cluster { auth, ..cluster(&[server.url()]) });
        let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
        let mut shown = format!("{settings:?}");
        let mut troubles = 0;
        while running.counts().cursor.sequence < 100 {
            let counts = running.counts();
            if counts.troubles.values().sum::<u64>() > troubles {
                troubles += 1;
                shown += &format!("{counts:?}");
            }
        }
        shown += &running.told.lock().unwrap().join("\n");
        running.stop();
        for secret in secret {
            assert!(!shown.contains(secret), "{shown}");
        }
        for request in server.requests() {
            let login: Vec<_> = request.headers.iter().filter(|(name, _)| name == "authorization").collect();
            assert_eq!(login.first().map_or("", |(_, value)| value), expected);
            assert!(login.len() <= 1);
        }
    }
}

#[test]
fn a_login_does_not_follow_to_where_an_answer_points() {
    let other = BulkServer::start(|_| Behaviour::accept());
    let location = other.url();
    for status in [301, 302, 307, 308] {
        let headers = vec![("Location".to_owned(), location.clone())];
        let server = BulkServer::start(|_| Behaviour::accept());
        server.answer_others(move |_| Fixed { status, headers: headers.clone(), body: Vec::new() });
        let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
        let source = Source::with(10, 10, &gate);
        let auth = Auth::ApiKey(Secret::new(*b"VnVhQ2ZHY0JDZGJrUQ=="));
        let settings = settings("a", 20, Cluster { auth, ..cluster(&[server.url()]) });
        let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
        let counts = running.until("it is told", |counts| !counts.troubles.is_empty());
        assert_eq!(counts.troubles.keys().collect::<Vec<_>>(), [&"config"], "{counts:?}");
        assert!(counts.trouble.unwrap().contains(&status.to_string()));
    }
    assert!(other.requests().is_empty());
}
