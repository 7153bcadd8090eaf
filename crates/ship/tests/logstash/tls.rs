//! Certificates, and receivers with the wrong ones.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use headtrail_ship::logstash::Sender;
use headtrail_ship::settings::{Secret, Timeouts, Tls};
use headtrail_ship::sink::{Answer, Item, Sink};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{docs, documents, settings};

pub type Authority = CertifiedIssuer<'static, KeyPair>;

pub fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

pub struct Certified {
    pub chain: String,
    pub key: String,
}

impl Certified {
    pub fn by(authority: &Authority, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("names");
        let chain = params.signed_by(&key, authority).expect("a certificate").pem();
        Self { chain, key: key.serialize_pem() }
    }
}

/// A receiver of windows of one document, with TLS.
fn start(certified: &Certified) -> String {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certified.chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a chain"), key)
        .expect("a config");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let node = listener.local_addr().expect("address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = StreamOwned::new(tls, stream.expect("accepted"));
            let mut window = Vec::new();
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut bytes) {
                window.extend_from_slice(&bytes[..read]);
                if window.ends_with(b"}}") && stream.write_all(b"2A\0\0\0\x01").is_ok() {
                    window.clear();
                }
            }
        }
    });
    node
}

fn send(node: &str, tls: Tls) -> Result<(), &'static str> {
    let mut settings = settings(&[node]);
    settings.tls = Some(tls);
    settings.timeouts = Timeouts { connect: Duration::from_millis(500), request: Duration::from_secs(5) };
    let mut sender = Sender::new(settings).map_err(|trouble| trouble.kind)?;
    let docs = docs(1);
    sender.check().map_err(|trouble| trouble.kind)?;
    // Twice: what TLS has sent by itself after the handshake is no answer.
    for _ in 0..2 {
        match sender.send(&documents(&docs)) {
            Answer::Items(items) => assert_eq!(items, [Item::Stored]),
            Answer::Again(trouble) => return Err(trouble.kind),
            Answer::TooLarge(refusal) => panic!("{refusal:?}"),
        }
    }
    Ok(())
}

fn trusting(authority: &Authority) -> Tls {
    Tls { authorities_pem: Some(authority.pem().into_bytes()), identity_pem: None }
}

#[test]
fn only_who_has_the_name_from_our_authority_is_talked_to() {
    let ours = authority();
    let right = start(&Certified::by(&ours, "127.0.0.1"));
    assert_eq!(send(&right, trusting(&ours)), Ok(()));
    let other_name = start(&Certified::by(&ours, "logs.example"));
    assert_eq!(send(&other_name, trusting(&ours)), Err("tls"));
    assert_eq!(send(&right, trusting(&authority())), Err("tls"));
}

#[test]
fn who_speaks_no_tls_is_told_apart() {
    let ours = authority();
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let node = listener.local_addr().expect("address").to_string();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("written");
        // And a second one that says nothing.
        listener.accept().expect("accepted")
    });
    assert_eq!(send(&node, trusting(&ours)), Err("tls"));
    assert_eq!(send(&node, trusting(&ours)), Err("time_out"));
    drop(peer.join());
}

#[test]
fn broken_certificates_and_keys_are_named_before_anything_is_sent() {
    let wrong = |authorities: Option<&str>, identity: Option<(&str, &str)>| {
        let tls = Tls {
            authorities_pem: authorities.map(|pem| pem.into()),
            identity_pem: identity.map(|(chain, key)| (chain.into(), Secret::new(key.as_bytes()))),
        };
        send("127.0.0.1:1", tls)
    };
    let pem = authority().pem();
    assert_eq!(wrong(Some(""), None), Err("config"));
    assert_eq!(
        wrong(Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), None),
        Err("config")
    );
    assert_eq!(wrong(Some(&pem), Some((&pem, "no key"))), Err("config"));
    assert_eq!(
        wrong(Some(&pem), Some((&pem, &KeyPair::generate().expect("a key").serialize_pem()))),
        Err("config")
    );
}
