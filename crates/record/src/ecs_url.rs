//! The target of a request as the schema's `url`.

use crate::json_text::{Charset, push_escaped, push_number, push_string};
use crate::transaction::{Message, Version};

/// The parts of a target and its Host line that are known; see RFC 9112, 3.2 for the four forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Parts<'a> {
    scheme: Option<&'a [u8]>,
    domain: Option<&'a [u8]>,
    port: Option<u16>,
    path: Option<&'a [u8]>,
    query: Option<&'a [u8]>,
    extension: Option<&'a [u8]>,
    /// Authority and origin of which `full` is made.
    full: Option<(&'a [u8], &'a [u8])>,
}

/// Appends `,"url":{…}`. `scheme` is that of this leg, which the target says only in absolute form.
pub(crate) fn push_url(out: &mut Vec<u8>, request: &Message, scheme: &'static str) {
    let charset = Charset::of_message(request);
    let target = request.target().unwrap_or_default();
    let mut parts = parts(request.method().unwrap_or_default(), target, host(request));
    if target.first() == Some(&b'/') && parts.scheme.is_some() {
        parts.scheme = Some(scheme.as_bytes());
    }
    out.extend_from_slice(b",\"url\":{\"original\":");
    push_string(out, target, charset);
    let members: [(&[u8], Option<&[u8]>); 5] = [
        (b",\"scheme\":", parts.scheme),
        (b",\"domain\":", parts.domain),
        (b",\"path\":", parts.path),
        (b",\"query\":", parts.query),
        (b",\"extension\":", parts.extension),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            out.extend_from_slice(name);
            push_string(out, value, charset);
        }
    }
    if let Some(port) = parts.port {
        out.extend_from_slice(b",\"port\":");
        push_number(out, port);
    }
    if let Some((authority, origin)) = parts.full {
        out.extend_from_slice(b",\"full\":\"");
        if let Some(scheme) = parts.scheme {
            push_escaped(out, scheme, charset);
            out.extend_from_slice(b"://");
        }
        push_escaped(out, authority, charset);
        push_escaped(out, origin, charset);
        out.push(b'"');
    }
    out.push(b'}');
}

/// The Host line, if there is exactly one: of several, which one counts is not to be known.
fn host(request: &Message) -> Option<&[u8]> {
    let is_host = |name: &[u8]| name == b":authority" || name.eq_ignore_ascii_case(b"host");
    let mut hosts = request.lines().filter(|(name, _)| is_host(name)).map(|(_, value)| value);
    // HTTP/2 may say it twice (RFC 9113, 8.3.1).
    hosts.next().filter(|host| hosts.all(|other| other == *host && request.version == Version::Http2))
}

fn parts<'a>(method: &[u8], target: &'a [u8], host: Option<&'a [u8]>) -> Parts<'a> {
    if method == b"CONNECT" {
        let Some((domain, port)) = authority(target) else { return Parts::default() };
        return Parts { domain: Some(domain), port, ..Parts::default() };
    }
    if target.first() == Some(&b'/') {
        let named = host.and_then(authority);
        return Parts {
            scheme: Some(b"http"),
            domain: named.map(|(domain, _)| domain),
            port: named.and_then(|(_, port)| port),
            full: named.and(host).map(|host| (host, target)),
            ..origin(target)
        };
    }
    if let Some((scheme, rest)) = absolute(target) {
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        let (before, behind) = rest.split_at(end);
        // User information is a part of the authority, though one that senders must not generate.
        let host = before.rsplit(|&b| b == b'@').next().unwrap_or_default();
        let named = authority(host);
        return Parts {
            scheme: Some(scheme),
            domain: named.map(|(domain, _)| domain),
            port: named.and_then(|(_, port)| port),
            full: Some((before, behind)),
            ..origin(behind)
        };
    }
    // `*`, and what follows no form.
    Parts::default()
}

/// Scheme and rest of `scheme://rest`.
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = target.iter().position(|&b| b == b':')?;
    let (scheme, rest) = target.split_at(colon);
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    rest.strip_prefix(b"://").filter(|_| is_scheme).map(|rest| (scheme, rest))
}

/// Path, query and extension of an origin-form.
fn origin(target: &[u8]) -> Parts<'_> {
    let mut halves = target.splitn(2, |&b| b == b'?');
    let path = halves.next().filter(|path| !path.is_empty());
    let query = halves.next();
    let name = path.and_then(|path| path.rsplit(|&b| b == b'/').next()).unwrap_or_default();
    let dot = name.iter().rposition(|&b| b == b'.').filter(|&dot| dot > 0);
    let extension = dot.and_then(|dot| name.get(dot + 1..));
    let extension = extension.filter(|e| !e.is_empty() && e.iter().all(u8::is_ascii_alphanumeric));
    Parts { path, query, extension, ..Parts::default() }
}

/// Host and port of `host[:port]`. An IPv6 address keeps its brackets, as the schema wants it.
fn authority(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let colon = match text.iter().position(|&b| b == b']') {
        Some(end) => end + 1,
        None => text.iter().position(|&b| b == b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(colon);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || *b >= 0x80 || b"-._~%!$&'()*+,;=[:]".contains(b);
    if host.is_empty() || !host.iter().all(plain) {
        return None;
    }
    let port = match port.split_first() {
        None | Some((b':', [])) => None,
        Some((b':', digits)) if digits.iter().all(u8::is_ascii_digit) => {
            Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
        }
        Some(_) => return None,
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::request;

    fn url(method: &str, target: &str, hosts: &[&str]) -> Value {
        let lines: Vec<_> = hosts.iter().map(|host| (&b"HOST"[..], host.as_bytes())).collect();
        let mut out = b"{\"a\":0".to_vec();
        push_url(&mut out, &request(method.as_bytes(), target.as_bytes(), &lines, &[]), "http");
        out.push(b'}');
        serde_json::from_slice::<Value>(&out).unwrap()["url"].clone()
    }

    #[test]
    fn origin_form_takes_its_host_from_the_line() {
        assert_eq!(
            url("GET", "/a/b.tar.gz?c=d?e", &["example.org:9080"]),
            json!({
                "original": "/a/b.tar.gz?c=d?e", "scheme": "http", "domain": "example.org", "port": 9080,
                "path": "/a/b.tar.gz", "query": "c=d?e", "extension": "gz",
                "full": "http://example.org:9080/a/b.tar.gz?c=d?e",
            })
        );
        assert_eq!(
            url("GET", "/", &["[::1]"]),
            json!({"original": "/", "scheme": "http", "domain": "[::1]", "path": "/", "full": "http://[::1]/"})
        );
    }

    #[test]
    fn what_is_not_to_be_known_is_left_out() {
        let bare = json!({"original": "/.env", "scheme": "http", "path": "/.env"});
        for hosts in
            [&[][..], &["a", "b"], &[""], &["a b"], &["u@h"], &["h/p"], &["h:x"], &["h:99999"], &["[::1]x"]]
        {
            assert_eq!(url("GET", "/.env", hosts), bare, "{hosts:?}");
        }
        assert_eq!(url("OPTIONS", "*", &["h"]), json!({"original": "*"}));
        assert_eq!(url("GET", "", &["h"]), json!({"original": ""}));
        assert_eq!(url("CONNECT", "a/b", &["h"]), json!({"original": "a/b"}));
    }

    #[test]
    fn absolute_and_authority_forms_stand_alone() {
        assert_eq!(
            url("GET", "HTTPS://u@example.org/x?", &["other"]),
            json!({
                "original": "HTTPS://u@example.org/x?", "scheme": "HTTPS", "domain": "example.org", "path": "/x",
                "query": "", "full": "HTTPS://u@example.org/x?",
            })
        );
        assert_eq!(
            url("GET", "http://example.org:81", &[]),
            json!({
                "original": "http://example.org:81", "scheme": "http", "domain": "example.org", "port": 81,
                "full": "http://example.org:81",
            })
        );
        assert_eq!(
            url("CONNECT", "example.org:443", &["example.org"]),
            json!({"original": "example.org:443", "domain": "example.org", "port": 443})
        );
    }

    proptest! {
        #[test]
        fn any_target_and_host_is_valid_json(method: String, target in ".*|[a-z]{0,3}(://)?[a-z@:\\[\\]/?.]*", host: String) {
            prop_assert_eq!(&url(&method, &target, &[&host])["original"], &json!(target));
        }
    }
}
