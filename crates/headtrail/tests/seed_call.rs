//! The call that a user makes first: a POST with a token through a gateway. It must show as two records, one for each
//! leg, and its token nowhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{DEADLINE, curl, field, lines, ready, run, watch_command};
use headtrail_testkit::TempDir;
use headtrail_testkit::process::{Finished, Watch};
use headtrail_testkit::server::{Nginx, NginxOptions};
use serde_json::Value;

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
const BODY: &str = r#"{"message":"example message","count":1}"#;

struct Gateway {
    front: Nginx,
    upstream: Nginx,
}

impl Gateway {
    fn start() -> Gateway {
        let location = "location /api/ { return 201 made; }";
        let upstream = Nginx::start(&NginxOptions { server: location, ..NginxOptions::default() });
        let location =
            format!("location /api/ {{ proxy_pass http://{}; proxy_http_version 1.1; }}", upstream.address());
        let front = Nginx::start(&NginxOptions { server: &location, ..NginxOptions::default() });
        Gateway { front, upstream }
    }

    fn filter(&self) -> String {
        format!("port {} or port {}", self.front.address().port(), self.upstream.address().port())
    }

    fn url(&self) -> String {
        format!("http://{}/api/example?api_key=in-the-query", self.front.address())
    }

    /// As a user would type it.
    fn call(&self) {
        let authorization = format!("Authorization: Bearer {TOKEN}");
        #[rustfmt::skip]
        let answer = run(&mut curl(&[
            "-X", "POST", &self.url(), "-H", "Content-Type: application/json", "-H", &authorization, "-d", BODY,
        ]));
        assert_eq!(answer, "made");
    }

    /// One call with a recorder for each set of flags; those that write JSON come first.
    fn record(&self, data_dir: &Path, forms: &[&[&str]]) -> Vec<Finished> {
        let start = |args: &&[&str]| Watch::start(watch_command(data_dir, args, &self.filter()));
        let watches: Vec<Watch> = forms.iter().map(start).collect();
        self.call();
        for watch in watches.iter().take(2) {
            assert!(watch.wait_for(DEADLINE, |records| records.len() >= 2));
        }
        watches.into_iter().map(Watch::stop).collect()
    }

    /// Both legs are there, as they should be. The fingerprint of the token.
    fn check_json(&self, records: &[Value]) -> String {
        assert_eq!(records.len(), 2, "{}", common::brief(records));
        let front = leg(records, self.front.address().port());
        let upstream = leg(records, self.upstream.address().port());
        assert_eq!(fingerprint(front), fingerprint(upstream));
        for record in [front, upstream] {
            assert_eq!(record["role"], "server");
            assert_eq!(record["request"]["method"], "POST");
            assert_eq!(record["response"]["status"], 201);
            assert_eq!(record["incomplete"], serde_json::json!([]));
            assert_eq!(record["request"]["body_bytes"], BODY.len());
            assert_eq!(field(&record["request"], "content-type"), Some("application/json"));
            assert_eq!(record["process"]["name"], "nginx");
            let target = record["request"]["target"].as_str().unwrap();
            assert!(target.starts_with("/api/example?api_key=hmac:1:"), "{target}");
        }
        assert_eq!(front["peer_process"]["name"], "curl");
        assert_eq!(upstream["peer_process"]["name"], "nginx");
        assert_eq!(upstream["peer_process"]["pid"], front["process"]["pid"]);
        let names: Vec<&str> = lines(&front["request"], "lines").into_iter().map(|(name, _)| name).collect();
        let typed = ["Host", "User-Agent", "Accept", "Content-Type", "Authorization", "Content-Length"];
        assert_eq!(names, typed);
        fingerprint(front)
    }
}

fn leg(records: &[Value], port: u16) -> &Value {
    let mut of_port = records.iter().filter(|record| record["destination"]["port"] == port);
    let leg = of_port.next().expect("a record of the leg");
    assert!(of_port.next().is_none(), "more than one record of a leg");
    leg
}

fn fingerprint(record: &Value) -> String {
    let value = field(&record["request"], "authorization").expect("Authorization");
    let (id, hex) = value.strip_prefix("Bearer hmac:").and_then(|rest| rest.split_once(':')).expect(value);
    assert_eq!(id, "1");
    assert!(hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{value}");
    value.to_owned()
}

#[test]
fn the_seed_call_shows_as_two_records_with_the_same_fingerprint_each_time() {
    if !ready() || !Nginx::available() || !common::has("curl") {
        return;
    }
    let gateway = Gateway::start();
    let [first_dir, other_dir] = [(); 2].map(|()| TempDir::new().unwrap());
    let json: &[&str] = &["--format", "json"];
    let all = [json, &["--format", "ecs"], &["--format", "text"], &["-v"]];
    let runs = [
        gateway.record(first_dir.path(), &all),
        gateway.record(first_dir.path(), &[json]),
        gateway.record(other_dir.path(), &[json]),
    ];

    for finished in runs.iter().flatten() {
        assert!(finished.status.success());
        let output = format!("{:?} {:?} {}", finished.records, finished.other_lines, finished.stderr);
        for secret in [TOKEN, "c2lnbmF0dXJl", "eyJzdWIi", "in-the-query", "example message"] {
            assert!(!output.contains(secret), "{secret} in {output}");
        }
    }
    let fingerprints = runs.each_ref().map(|forms| gateway.check_json(&forms[0].records));
    assert_eq!(fingerprints[0], fingerprints[1]);
    assert_ne!(fingerprints[0], fingerprints[2]);

    let [_, ecs, text, verbose] = &runs[0][..] else { panic!() };
    assert_eq!(ecs.records.len(), 2);
    for record in &ecs.records {
        assert!(record.to_string().contains(&fingerprints[0]), "{record}");
    }
    let with = |finished: &Finished, part: &str| {
        finished.other_lines.iter().filter(|line| line.contains(part)).count()
    };
    assert_eq!(with(text, " 201 POST "), 2, "{:?}", text.other_lines);
    assert_eq!(text.other_lines.len(), 2, "{:?}", text.other_lines);
    assert_eq!(with(verbose, " 201 POST "), 2, "{:?}", verbose.other_lines);
    assert_eq!(with(verbose, &fingerprints[0]), 2, "{:?}", verbose.other_lines);
}
