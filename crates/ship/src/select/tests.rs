//! What a user meets who writes a query well, badly, or with ill will.

use super::*;

const DOCUMENT: &[u8] = br#"{"@timestamp":"2026-11-24T18:36:51.123456789Z","event":{"dataset":"headtrail.transaction","duration":1500,"category":["network","web"]},
"source":{"ip":"10.1.2.3","port":51234},"destination":{"ip":"2001:db8::7","port":9080},"related":{"ip":["10.1.2.3","2001:db8::7"]},
"http":{"request":{"method":"POST","headers":{"x-tenant":["a","b c"],"x.dotted":["d"],"content-length":["52"]}},"response":{"status_code":503}},
"url":{"path":"/api/v1/t\u00e4st","query":"","original":"/api/v1/t\u00e4st"},"headtrail":{"request":{"latin1":false},"process":null}}"#;

#[track_caller]
fn query(text: &str) -> Query {
    Query::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_document_is_found_by_what_it_says() {
    for (text, expected) in [
        ("http.request.method:POST", true),
        ("http.request.method:post", false),
        ("event.category:web", true),
        ("http.response.status_code:503", true),
        ("http.response.status_code:[500 TO 599]", true),
        ("http.response.status_code:{503 TO *}", false),
        ("http.response.status_code:[* TO 503}", false),
        ("http.response.status_code:>=503", true),
        ("http.response.status_code:>503", false),
        ("http.response.status_code:(>=500 AND <600)", true),
        ("http.response.status_code:(404 OR 503)", true),
        ("http.response.status_code:(404 503)", true),
        ("http.response.status_code:404 http.request.method:POST", true),
        ("source.ip:10.0.0.0/8", true),
        ("source.ip:10.1.2.3", true),
        ("source.ip:\"::ffff:10.1.2.3\"", true),
        ("source.ip:[10.1.2.0 TO 10.1.2.3}", false),
        ("destination.ip:\"2001:db8::/32\"", true),
        ("destination.ip:2001\\:db8\\:0\\:\\:7", true),
        ("destination.ip:0.0.0.0/0", false),
        ("related.ip:10.1.2.3 AND related.ip:\"2001:db8::7\"", true),
        ("url.path:/api/*", true),
        ("url.path:\\/api\\/*", true),
        ("url.path:\"/api/*\"", false),
        ("url.path:/api/v?/t?st", true),
        ("url.path:*/v1/*", true),
        ("url.path:*/v?/*", true),
        ("url.path:*t?st", true),
        ("url.path:*v?st", false),
        ("url.path:[/a TO /b]", true),
        ("url.query:\"\"", true),
        ("url.query:*", true),
        ("url.fragment:* OR url.query:*", false),
        ("headtrail.request.latin1:false", true),
        ("process.name:*", false),
        ("NOT process.name:*", true),
        ("!process.name:x", true),
        ("http.request.headers.x-tenant:\"b c\"", true),
        ("http.request.headers.x-tenant:b\\ c", true),
        ("http.request.headers.x.dotted:d", true),
        ("http.request.headers.content-length:52", true),
        ("http.request.headers:d", true),
        ("http.request.headers:e", false),
        ("http.request.headers.y:*", false),
        ("@timestamp:2026-11-24", true),
        ("@timestamp:2026", true),
        ("@timestamp:>2026-11-24", false),
        ("@timestamp:>=2026-11-24", true),
        ("@timestamp:<=2026-11", true),
        ("@timestamp:[2026-11-24T18:36:51 TO 2026-11-24T18:36:51.123}", false),
        ("@timestamp:[2026-11-24T19:36:51.123+01:00 TO 2026-11-24T18:36:51.123456789Z]", true),
        ("(event.duration:1500 AND (NOT source.port:1)) || source.port:2", true),
        ("event.duration:1 AND source.port:51234 OR http.request.method:POST", true),
        ("http.request.method:POST OR event.duration:1 && source.port:1", true),
    ] {
        if text.contains("fragment") {
            assert!(Query::parse(text).is_err());
            continue;
        }
        assert_eq!(query(text).matches(DOCUMENT), expected, "{text}");
    }
}
