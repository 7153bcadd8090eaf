//! The servers that misbehave do so as they say, seen by clients that know nothing of them; and where they
//! behave well, they answer as a real OpenSearch does.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufReader, Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use headtrail_testkit::eventually;
use headtrail_testkit::http_message::Message;
use headtrail_testkit::opensearch::OpenSearch;
use headtrail_testkit::sink_servers::{
    Answer, Authority, Behaviour, BulkServer, Fault, Fixed, Refusal, Take,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);

/// One connection of a client.
struct Client<S: Read + Write>(BufReader<S>);

impl Client<TcpStream> {
    fn new(server: &BulkServer) -> Client<TcpStream> {
        let stream = TcpStream::connect(server.address()).expect("connects");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client(BufReader::new(stream))
    }
}

impl<S: Read + Write> Client<S> {
    fn send(&mut self, head: &str, body: &[u8]) -> Result<()> {
        let stream = self.0.get_mut();
        let headers = format!("Content-Type: application/x-ndjson\r\nContent-Length: {}", body.len());
        let head = format!("{head}\r\nHost: x\r\n{headers}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat())?;
        stream.flush()
    }

    fn answer(&mut self) -> Result<(u16, Message)> {
        let answer = Message::read_answer(&mut self.0)?;
        Ok((answer.status().expect("a status"), answer))
    }

    fn bulk(&mut self, body: &str) -> Result<(u16, Value)> {
        self.send("POST /_bulk HTTP/1.1", body.as_bytes())?;
        let (status, answer) = self.answer()?;
        Ok((status, serde_json::from_slice(&answer.body)?))
    }
}

fn bulk_of(ids: &[&str]) -> String {
    let line = |id: &&str| format!("{}\n{{\"n\":1}}\n", json!({ "create": { "_index": "a", "_id": id } }));
    ids.iter().map(line).collect()
}

fn statuses(answer: &Value) -> Vec<u64> {
    let items = answer["items"].as_array().expect("items");
    items.iter().map(|item| item["create"]["status"].as_u64().expect("a status")).collect()
}

fn ids(server: &BulkServer) -> Vec<String> {
    server.documents().into_keys().map(|(_, id)| id).collect()
}

#[test]
fn it_takes_documents_once_over_one_connection_however_they_are_packed() {
    let server = BulkServer::start(|_| Behaviour::accept());
    let mut client = Client::new(&server);
    assert_eq!(statuses(&client.bulk(&bulk_of(&["1", "2"])).unwrap().1), [201, 201]);
    assert_eq!(statuses(&client.bulk(&bulk_of(&["2", "3"])).unwrap().1), [409, 201]);

    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bulk_of(&["4"]).as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    client.send("POST /b/_bulk?x=y HTTP/1.1\r\nContent-Encoding: gzip", &packed).unwrap();
    assert_eq!(client.answer().unwrap().0, 200);

    let body = "{\"index\":{\"_id\":\"5\"}}\n{}\n";
    let (first, second) = body.split_at(7);
    let head = "POST /b/_bulk HTTP/1.1\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\nExpect: 100-continue";
    let chunks = format!("7\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", second.len());
    client.0.get_mut().write_all(format!("{head}\r\n\r\n{chunks}").as_bytes()).unwrap();
    assert_eq!(client.0.get_ref().peer_addr().unwrap(), server.address());
    assert_eq!(Message::read_head(&mut client.0).unwrap().unwrap().status(), Some(100));
    assert_eq!(client.answer().unwrap().0, 200);

    for encoding in ["gzip", "br"] {
        client.send(&format!("POST /_bulk HTTP/1.1\r\nContent-Encoding: {encoding}"), b"???\n").unwrap();
        assert_eq!(client.answer().unwrap().0, 400);
    }
    assert_eq!(ids(&server), ["1", "2", "3", "4", "5"]);
    assert_eq!((server.conflicts(), server.connections()), (1, 1));
    let requests = server.requests();
    assert_eq!(requests.iter().map(|r| r.documents).collect::<Vec<_>>(), [2, 2, 1, 1, 0, 0]);
    assert_eq!(requests[3].body, body.as_bytes());
    assert_eq!((requests[2].method.as_str(), requests[2].path.as_str()), ("POST", "/b/_bulk?x=y"));
    assert!(requests[2].headers.contains(&("content-encoding".to_owned(), "gzip".to_owned())));
}

#[test]
fn other_requests_are_acknowledged_or_answered_by_a_script_of_their_own() {
    let server = BulkServer::start(|_| panic!("there is no bulk request"));
    let mut client = Client::new(&server);
    let mut ask = |head: &str| {
        client.send(head, b"{}").unwrap();
        client.answer().unwrap()
    };
    let (status, root) = ask("GET / HTTP/1.1");
    let root: Value = serde_json::from_slice(&root.body).unwrap();
    assert_eq!((status, &root["version"]["distribution"]), (200, &json!("opensearch")));
    assert_eq!(ask("PUT /_index_template/a HTTP/1.1").1.body, b"{\"acknowledged\":true}");
    server.answer_others(|request| Fixed {
        status: if request.path.starts_with("/_plugins") { 403 } else { 200 },
        ..Fixed::default()
    });
    assert_eq!(ask("PUT /_plugins/_ism/policies/a HTTP/1.1").0, 403);
    assert_eq!(ask("PUT /_index_template/a HTTP/1.1\r\nConnection: close").0, 200);
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0);
}

#[test]
fn items_are_refused_one_by_one() {
    let server = BulkServer::start(|_| {
        Behaviour::per_item(|item| match item.id.as_str() {
            "late" => Some(Refusal::new(429, "circuit_breaking_exception")),
            "bad" => Some(Refusal::new(400, "mapper_parsing_exception")),
            _ => None,
        })
    });
    let (status, answer) = Client::new(&server).bulk(&bulk_of(&["1", "late", "bad", "2"])).unwrap();
    assert_eq!((status, &answer["errors"]), (200, &json!(true)));
    assert_eq!(statuses(&answer), [201, 429, 400, 201]);
    assert_eq!(answer["items"][1]["create"]["error"]["type"], "circuit_breaking_exception");
    assert_eq!(ids(&server), ["1", "2"]);
}

#[test]
fn whole_requests_are_refused_and_the_connection_goes_on() {
    let script = [Behaviour::retry_after(429, 7), Behaviour::status(503, "{}"), Behaviour::status(401, "")];
    let server = BulkServer::start(Behaviour::in_turn(script, Behaviour::accept()));
    let mut client = Client::new(&server);
    for wanted in [429, 503, 401] {
        client.send("POST /_bulk HTTP/1.1", bulk_of(&["1"]).as_bytes()).unwrap();
        let (status, answer) = client.answer().unwrap();
        assert_eq!(status, wanted);
        assert_eq!(answer.header("retry-after"), (wanted == 429).then_some("7"));
    }
    assert!(server.documents().is_empty());
    assert_eq!(client.bulk(&bulk_of(&["1"])).unwrap().0, 200);
    assert_eq!((ids(&server).len(), server.connections()), (1, 1));
}

/// The answer comes although most of the body is still on its way, or never comes.
#[test]
fn an_early_answer_arrives() {
    let server = BulkServer::start(|_| Behaviour::early(413));
    let mut client = Client::new(&server);
    let head = "POST /_bulk HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n";
    client.0.get_mut().write_all(head.as_bytes()).unwrap();
    client.0.get_mut().write_all(&vec![b' '; 4 << 20]).unwrap();
    assert_eq!(client.answer().unwrap().0, 413);
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.requests()[0].documents, 0);
}

#[test]
fn connections_end_before_in_and_instead_of_the_answer() {
    let cases = [
        (Behaviour::close_before_answer(), false),
        (Behaviour::close_in_answer(), true),
        (Behaviour::lose_answer(), true),
        (Behaviour { take: Take::None, answer: Answer::Raw(b"HTTP/9 what\r\n".to_vec()) }, false),
    ];
    for (behaviour, stored) in cases {
        let server = BulkServer::start(Behaviour::in_turn([behaviour.clone()], Behaviour::accept()));
        assert!(Client::new(&server).bulk(&bulk_of(&["1"])).is_err(), "{behaviour:?}");
        assert_eq!(server.documents().len(), usize::from(stored), "{behaviour:?}");
        let again = Client::new(&server).bulk(&bulk_of(&["1"])).unwrap().1;
        assert_eq!(statuses(&again), [if stored { 409 } else { 201 }], "{behaviour:?}");
    }
    // A body that does not fit into the buffers between: the client cannot even send it.
    let server = BulkServer::start(|_| Behaviour::close_before_answer());
    let mut client = Client::new(&server);
    let body = vec![b' '; 64 << 20];
    let failed = client.send("POST /_bulk HTTP/1.1", &body).and_then(|()| client.answer());
    assert!(failed.is_err());
}

#[test]
fn answers_that_are_no_json_or_never_end() {
    let server = BulkServer::start(|_| Behaviour::garbage_json());
    let mut client = Client::new(&server);
    assert!(client.bulk(&bulk_of(&["1"])).unwrap_err().to_string().contains("line 1"));

    for behaviour in
        [Behaviour::hang(), Behaviour::slow_drip(Duration::from_millis(20)), Behaviour::huge_answer()]
    {
        server.follow(Behaviour::in_turn([], behaviour.clone()));
        let mut client = Client::new(&server);
        client.send("POST /_bulk HTTP/1.1", bulk_of(&["2"]).as_bytes()).unwrap();
        let stream = client.0.get_mut();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (start, mut read, mut chunk) = (Instant::now(), 0, [0; 64 << 10]);
        let ended = loop {
            match stream.read(&mut chunk) {
                Ok(0) => break true,
                Ok(n) => read += n,
                Err(_) => break false,
            }
            if start.elapsed() > Duration::from_millis(300) || read > 64 << 20 {
                break false;
            }
        };
        assert!(!ended, "{behaviour:?}");
        let wanted = match behaviour.answer {
            Answer::Never => 0..1,
            Answer::Drip(_) => 1..1000,
            _ => 1000..usize::MAX,
        };
        assert!(wanted.contains(&read), "{behaviour:?}: {read}");
        // What is left behind ends with the server, below.
        std::mem::forget(client);
    }
    let start = Instant::now();
    drop(server);
    assert!(start.elapsed() < DEADLINE);
}

#[test]
fn it_goes_down_and_comes_up_with_what_it_had() {
    let mut server = BulkServer::start(|_| Behaviour::accept());
    let mut client = Client::new(&server);
    client.bulk(&bulk_of(&["1"])).unwrap();
    server.down();
    assert!(client.bulk(&bulk_of(&["2"])).is_err());
    assert!(TcpStream::connect(server.address()).is_err());
    server.up();
    assert_eq!(statuses(&Client::new(&server).bulk(&bulk_of(&["1", "2"])).unwrap().1), [409, 201]);
}

fn tls_client(
    server: &BulkServer,
    authority: &Authority,
    known: bool,
) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = if known {
        let identity = authority.client("the client");
        let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
        config.with_client_auth_cert(vec![certificate], key).unwrap()
    } else {
        config.with_no_client_auth()
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(server.address()).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    Client(BufReader::new(StreamOwned::new(connection, tcp)))
}

#[test]
fn tls_is_right_or_wrong_as_told() {
    let authority = Authority::new();
    let cases = [
        (Fault::None, false, None),
        (Fault::WantsClient, true, None),
        (Fault::WantsClient, false, Some("ertificate")),
        (Fault::Expired, false, Some("xpired")),
        (Fault::WrongName, false, Some("not valid for name")),
        (Fault::UnknownAuthority, false, Some("BadSignature")),
        (Fault::HangsInHandshake, false, Some("os error 11")),
    ];
    for (fault, known, wanted) in cases {
        let server = BulkServer::start_tls(authority.server(fault), |_| Behaviour::accept());
        assert!(server.url().starts_with("https://localhost:"));
        let outcome = tls_client(&server, &authority, known).bulk(&bulk_of(&["1"]));
        match (&outcome, wanted) {
            (Ok((200, _)), None) => assert_eq!(server.documents().len(), 1),
            (Err(error), Some(wanted)) => {
                assert!(error.to_string().contains(wanted), "{fault:?}: {error}");
                assert!(server.requests().is_empty());
                if fault != Fault::HangsInHandshake {
                    eventually("the server hears of it", DEADLINE, || {
                        (!server.failed_handshakes().is_empty()).then_some(())
                    });
                }
            }
            _ => panic!("{fault:?}: {outcome:?}"),
        }
    }
    // What does not speak TLS at all.
    let server = BulkServer::start_tls(authority.server(Fault::None), |_| Behaviour::accept());
    assert!(Client::new(&server).bulk(&bulk_of(&["1"])).is_err());
}

#[test]
fn certificates_are_written_for_clients_that_read_files() {
    let folder = headtrail_testkit::TempDir::new().unwrap();
    let authority = Authority::new();
    let path = authority.write(folder.path());
    assert_eq!(std::fs::read_to_string(path).unwrap(), authority.pem());
    let (certificate, key) = authority.client("a").write(folder.path(), "client");
    assert!(std::fs::read_to_string(certificate).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(std::fs::read_to_string(key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
}

/// Where it behaves well it answers as a real one does: the statuses, the errors' types, and what is there.
#[test]
fn it_answers_as_a_real_one_does() {
    if !OpenSearch::available_to_kill() {
        return;
    }
    let real = OpenSearch::start();
    let imitation = BulkServer::start(|_| Behaviour::accept());
    let bodies = [
        bulk_of(&["1", "2", "1"]),
        "{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"n\":2}\n".to_owned(),
        "{\"index\":{\"_index\":\"a\",\"_id\":\"new\"}}\n{\"n\":2}\n".to_owned(),
        "{\"create\":{\"_index\":\"a\",\"_id\":\"3\"}}\n{\"n\":\n\
         {\"create\":{\"_index\":\"a\",\"_id\":\"4\"}}\n{}\n"
            .to_owned(),
        "{\"create\":{\"_index\":\"a\",\"_id\":\"5\"}}\n[]\n".to_owned(),
        "{\"create\":{\"_index\":\"a\",\"_id\":\"6\"}}\n{}".to_owned(),
        "{\"create\":{\"_id\":\"7\"}}\n{}\n".to_owned(),
        "{\"create\":{\"_index\":\"a\",\"_id\":\"8\"}}\n".to_owned(),
        "{\"create\":{\"_index\":\"a\",\"_id\":\"9\"}}\n{}\n\n\
         {\"create\":{\"_index\":\"a\",\"_id\":\"8\"}}\n"
            .to_owned(),
        "{\"create\":{\"_index\":\"a\",\"_id\":\"10\"}}\n\n".to_owned(),
        "{\"create\":{\"_index\":\"a\",\"_id\":\"\"}}\n{}\n".to_owned(),
        "{\"delight\":{\"_index\":\"a\",\"_id\":\"11\"}}\n{}\n".to_owned(),
        "{\"create\":\n{}\n".to_owned(),
        "hello\n".to_owned(),
        "\n".to_owned(),
        String::new(),
    ];
    let summary = |(status, answer): (u16, Value)| {
        let of_item = |item: &Value| -> Value {
            let (action, outcome) = item.as_object().unwrap().iter().next().unwrap();
            json!([action, outcome["_index"], outcome["_id"], outcome["status"], outcome["error"]["type"]])
        };
        let items = answer["items"].as_array().map(|items| items.iter().map(of_item).collect::<Vec<_>>());
        json!([status, answer["status"], answer["error"]["type"], answer["errors"], items])
    };
    for body in bodies {
        let wanted = summary(real.request("POST", "/_bulk", &body));
        let found = summary(Client::new(&imitation).bulk(&body).unwrap());
        assert_eq!(found, wanted, "{body}");
    }
    assert_eq!(imitation.documents().len() as u64, real.count("a"));
}
