//! Exchanges with secrets planted in them, as bytes for the wire, and look-alikes that are none.
//!
//! Names come from the product's own list, so that each entry of it is tried; the kinds of secrets and the places are
//! written down here anew. The same seed plants the same secrets for ever.

use crate::rng::Rng;

const LIST: &str = include_str!("../../record/data/privacy.toml");

/// One request and its response with one secret or two.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Bytes of the request; cut short where `cut` says so.
    pub request: Vec<u8>,
    /// Bytes of the response; empty where the request is cut.
    pub response: Vec<u8>,
    /// The connection ends within the request's head.
    pub cut: bool,
    /// What was planted, such that none of it may be found anywhere afterwards.
    pub secrets: Vec<String>,
    /// Kind of the secret and place, for the report.
    pub what: String,
}

/// Plants secrets.
#[derive(Debug)]
pub struct Planter {
    rng: Rng,
    headers: Vec<String>,
    keys: Vec<String>,
    count: usize,
}

/// The names in one array of the list.
fn names(section: &str, key: &str) -> Vec<String> {
    let from = LIST.find(&format!("[{section}]")).expect("the section");
    let body = &LIST[from..];
    let body = &body[body.find(&format!("\n{key} = [")).expect("the key")..];
    let body = &body[..body.find(']').expect("its end")];
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

const WORD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &[u8] = b"0123456789abcdef";
const URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Shapes that tell a secret wherever it stands: kind, beginning, alphabet and length of what follows.
const SHAPES: &[(&str, &str, &[u8], u64)] = &[
    ("aws", "AKIA", BASE32, 16),
    ("aws", "ASIA", BASE32, 16),
    ("aws_bedrock", "ABSK", WORD, 60),
    ("google", "AIza", URL, 35),
    ("google", "ya29.", URL, 40),
    ("anthropic", concat!("sk-ant-", "api03-"), WORD, 60),
    ("openai", "sk-proj-", WORD, 40),
    ("openai", "sk-", WORD, 48),
    ("openrouter", "sk-or-v1-", HEX, 64),
    ("groq", "gsk_", WORD, 52),
    ("xai", "xai-", WORD, 60),
    ("perplexity", "pplx-", WORD, 48),
    ("huggingface", "hf_", WORD, 34),
    ("replicate", "r8_", WORD, 37),
    ("nvidia", "nvapi-", WORD, 60),
    ("github", "ghp_", WORD, 36),
    ("github", "gho_", WORD, 36),
    ("github", "github_pat_", WORD, 82),
    ("gitlab", "glpat-", WORD, 20),
    ("slack", "xoxb-", WORD, 40),
    ("slack", "xapp-", WORD, 40),
    ("stripe", "sk_live_", WORD, 24),
    ("stripe", "rk_test_", WORD, 24),
    ("stripe", "whsec_", WORD, 32),
    ("twilio", "SK", HEX, 32),
    ("npm", "npm_", WORD, 36),
    ("pypi", "pypi-AgEIcHlwaS5vcmc", URL, 60),
    ("vault", "hvs.", WORD, 24),
    ("databricks", "dapi", HEX, 32),
    ("digitalocean", "dop_v1_", HEX, 64),
    ("grafana", "glsa_", WORD, 32),
    ("shopify", "shpat_", HEX, 32),
    ("alibaba", "LTAI", WORD, 20),
    ("azure", "abc8Q~", WORD, 34),
    ("postman", "PMAK-", HEX, 24),
    ("langsmith", "lsv2_pt_", HEX, 32),
];

const HARMLESS: &[&str] = &[
    "X-Note",
    "User-Agent",
    "Via",
    "X-Request-Id",
    "Accept",
    "traceparent",
    "baggage",
    "From",
    "X-Debug",
    "ETag",
];
const SCHEMES: &[&str] =
    &["Bearer", "bearer", "Digest", "Negotiate", "NTLM", "Token", "ApiKey", "Hawk", "DPoP", "OAuth"];

/// Base64 with padding (RFC 4648, 4), here so that the test does not share the product's.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = char::from(ALPHABET[(n >> (18 - 6 * i) & 63) as usize]);
            out.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

fn url_base64(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// Every byte as `%XX`, or only some.
fn percent(text: &str, every: usize) -> String {
    text.bytes()
        .enumerate()
        .map(|(i, b)| if i.is_multiple_of(every) { format!("%{b:02X}") } else { char::from(b).to_string() })
        .collect()
}

impl Planter {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        let mut headers = names("headers", "secret");
        for name in &mut headers {
            *name = name.replace('*', "any");
        }
        headers.extend(
            ["x-my-service-token", "x-login-password", "my_api_key", "X-Foo.Session"].map(String::from),
        );
        Self { rng: Rng::new(seed), headers, keys: names("query", "secret"), count: 0 }
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.rng.below(from.len() as u64) as usize]
    }

    fn text(&mut self, alphabet: &[u8], len: u64) -> String {
        (0..len).map(|_| char::from(alphabet[self.rng.below(alphabet.len() as u64) as usize])).collect()
    }

    /// A secret that only its name tells.
    fn opaque(&mut self) -> String {
        let len = 12 + self.rng.below(30);
        let alphabet = self.pick(&[WORD, HEX, URL]);
        // A digit alone may be a card number or a counter; a letter in front keeps each one unmistakable.
        format!("Zq{}", self.text(alphabet, len))
    }

    /// A secret that its shape tells, with its kind.
    fn shaped(&mut self) -> (&'static str, String) {
        let i = self.rng.below(SHAPES.len() as u64 + 4) as usize;
        match SHAPES.get(i) {
            Some((kind, start, alphabet, len)) => (kind, format!("{start}{}", self.text(alphabet, *len))),
            None => match i - SHAPES.len() {
                0 => ("sendgrid", format!("SG.{}.{}", self.text(URL, 22), self.text(URL, 43))),
                1 => ("private_key", format!("-----BEGIN RSA PRIVATE KEY-----{}", self.text(WORD, 64))),
                _ => {
                    let header = url_base64(br#"{"alg":"HS256","typ":"JWT"}"#);
                    let claims = url_base64(format!("{{\"sub\":\"{}\"}}", self.text(WORD, 12)).as_bytes());
                    ("jwt", format!("{header}.{claims}.{}", self.text(URL, 43)))
                }
            },
        }
    }

    /// A name in some spelling of it.
    fn spelled(&mut self, name: &str) -> String {
        match self.rng.below(4) {
            0 => name.to_ascii_uppercase(),
            1 => name.replace('-', "_"),
            2 => {
                let mut up = true;
                let title = |c: char| {
                    let c = if up { c.to_ascii_uppercase() } else { c };
                    up = c == '-';
                    c
                };
                name.chars().map(title).collect()
            }
            _ => name.to_owned(),
        }
    }

    /// The next exchange. Each name of the list comes in turn.
    pub fn exchange(&mut self) -> Exchange {
        self.count += 1;
        match self.count % 8 {
            0 if self.count.is_multiple_of(16) => self.in_odd_place(),
            0 | 1 => self.in_named_line(),
            2 => self.in_target(),
            3 => self.in_cookie_or_url_line(),
            4 | 5 => self.shaped_anywhere(),
            6 => self.in_known_form(),
            _ => self.in_flawed_head(),
        }
    }

    fn header(&mut self) -> String {
        let name = self.headers[self.count / 4 % self.headers.len()].clone();
        self.spelled(&name)
    }

    fn key(&mut self) -> String {
        let key = self.keys[self.count / 8 % self.keys.len()].clone();
        match self.rng.below(5) {
            0 => percent(&key, 2),
            1 => percent(&percent(&key, 3), 4),
            _ => self.spelled(&key),
        }
    }

    fn in_named_line(&mut self) -> Exchange {
        let (name, secret) = (self.header(), self.opaque());
        let scheme = self.pick(SCHEMES);
        let form = self.rng.below(8);
        let value = match form {
            0 => format!("{scheme} {secret}"),
            1 => format!("\"{secret}\""),
            2 => format!("  {secret}  "),
            3 => format!("{scheme}\r\n {secret}"),
            4 => format!("{{\"value\":\"{secret}\",\"n\":1}}"),
            5 => format!("a={secret}, b={secret}"),
            6 => percent(&secret, 3),
            _ => secret.clone(),
        };
        let other = self.opaque();
        let mut lines = vec![(name.clone(), value)];
        let mut secrets = vec![secret];
        if self.rng.below(3) == 0 {
            // The same name twice, with another secret.
            let again = self.spelled(&name.to_ascii_lowercase().replace('_', "-"));
            lines.push((again, other.clone()));
            secrets.push(other);
        }
        self.finish(&format!("named line, form {form}"), "/", &lines, secrets)
    }

    fn in_target(&mut self) -> Exchange {
        let (key, secret) = (self.key(), self.opaque());
        let form = self.rng.below(9);
        let nested = format!("https://h/cb?{key}={secret}&x=1");
        let target = match form {
            0 => format!("/a?{key}={secret}&page=2"),
            1 => format!("/a?page=2&{key}={secret}#top"),
            2 => format!("/a#{key}={secret}"),
            3 => format!("/a?x=1;{key}={secret};y"),
            4 => format!("/a?next={}", percent(&nested, 1)),
            5 => format!("/a;{key}={secret}/b"),
            6 => format!("http://user:{secret}@h/a"),
            7 => format!("http://h/a?{key}={}", percent(&secret, 1)),
            _ => format!("/a?{key}%3D{secret}"),
        };
        self.finish(&format!("target, form {form}"), &target, &[], vec![secret])
    }

    fn in_cookie_or_url_line(&mut self) -> Exchange {
        let (key, secret, other) = (self.key(), self.opaque(), self.opaque());
        let form = self.rng.below(12);
        let (name, value, second) = match form {
            0 => ("Cookie", format!("lang=x; sid={secret}; b=\"{other}\""), true),
            1 => ("cookie", secret.clone(), false),
            2 => ("Set-Cookie", format!("sid={secret}; Path=/; HttpOnly"), false),
            3 => ("Set-Cookie", format!("a={secret}; Path=/, sid={other}; Secure"), true),
            4 => ("Referer", format!("https://h/x?{key}={secret}&a=1"), false),
            5 => ("Location", format!("https://h/cb#{key}={secret}"), false),
            6 => ("Location", format!("/login?{key}={secret}"), false),
            7 => ("Link", format!("<https://h/x?{key}={secret}>; rel=next"), false),
            8 => ("X-Any-Url", format!("see https://u:{secret}@h/x and https://h/?{key}={other}"), true),
            9 => ("Refresh", format!("5; url=https://h/?{key}={secret}"), false),
            10 => ("Host", format!("user:{secret}@h"), false),
            _ => ("Set-Cookie2", format!("sid=\"{secret}\"; Version=1"), false),
        };
        let secrets = if second { vec![secret, other] } else { vec![secret] };
        self.finish(&format!("{name}, form {form}"), "/", &[(name.to_owned(), value)], secrets)
    }

    fn shaped_anywhere(&mut self) -> Exchange {
        let (kind, secret) = self.shaped();
        let form = self.rng.below(12);
        let name = self.pick(HARMLESS).to_owned();
        let url_safe = secret.replace(' ', "+");
        let mut target = "/".to_owned();
        let mut lines = Vec::new();
        match form {
            0 => lines.push((name, secret.clone())),
            1 => lines.push((name, format!("so: {secret}, yes"))),
            2 => lines.push((name, format!("{{\"x\":\"{secret}\"}}"))),
            3 => lines.push((name, format!("a={secret};b=c"))),
            4 => lines.push((name, percent(&secret, 1))),
            5 => lines.push((name, percent(&percent(&secret, 1), 1))),
            6 => target = format!("/x/{url_safe}/y"),
            7 => target = format!("/x?q={url_safe}&p=1"),
            8 => target = format!("/x?q={}", percent(&url_safe, 1)),
            9 => target = format!("/x#{url_safe}"),
            10 => lines.push((name, format!("one\r\n two {secret}\r\n three"))),
            _ => lines.push(("Referer".to_owned(), format!("https://h/{url_safe}?x"))),
        }
        let secrets = if (6..=9).contains(&form) || form == 11 { vec![url_safe] } else { vec![secret] };
        self.finish(&format!("{kind}, form {form}"), &target, &lines, secrets)
    }

    fn in_known_form(&mut self) -> Exchange {
        let (secret, other) = (self.opaque(), self.opaque());
        let form = self.rng.below(14);
        let token = base64(format!("alice:{secret}").as_bytes());
        let name = self.pick(&["X-Note", "Via", "X-Debug"]).to_owned();
        let mut secrets = vec![secret.clone()];
        let line = match form {
            0 | 1 => {
                secrets.push(token.trim_end_matches('=').to_owned());
                let name = if form == 0 { "Authorization".to_owned() } else { name };
                (name, format!("Basic {token}"))
            }
            2 => (
                "Proxy-Authorization".into(),
                format!("Digest username=\"x\", response=\"{secret}\", cnonce=\"1\""),
            ),
            3 => (
                "Authorization".into(),
                format!(
                    "AWS4-HMAC-SHA256 Credential={secret}/20261124/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature={other}"
                ),
            ),
            4 => (
                "WWW-Authenticate".into(),
                format!("Digest realm=\"a\", nonce=\"{secret}\", opaque=\"{other}\""),
            ),
            5 => ("Sec-WebSocket-Protocol".into(), format!("graphql-ws, {secret}")),
            6 => ("X-Forwarded-Client-Cert".into(), format!("Hash={secret};Subject=\"CN=a\"")),
            7 => (name, format!("password={secret} rest")),
            8 => (name, format!("{{\"password\":\"{secret}\",\"api_key\": \"{other}\"}}")),
            9 => (name, format!("postgres://app:{secret}@db/x")),
            10 => (name, format!("Bearer {secret}")),
            11 => (name, format!("token: {secret}")),
            12 => ("Authentication-Info".into(), format!("nextnonce=\"{secret}\", nc=00000001")),
            _ => (name, percent(&format!("{{\"client_secret\":\"{secret}\"}}"), 1)),
        };
        if matches!(form, 3 | 4 | 8) {
            secrets.push(other);
        }
        self.finish(&format!("known form {form}"), "/", &[line], secrets)
    }

    fn in_flawed_head(&mut self) -> Exchange {
        let (name, secret) = (self.header(), self.opaque());
        let form = self.rng.below(7);
        let what = format!("flawed head, form {form}");
        let head =
            |line: &str| format!("GET /a HTTP/1.1\r\nHost: h\r\n{line}\r\nAccept: */*\r\n\r\n").into_bytes();
        let broken = 6 + self.rng.below(secret.len() as u64 - 8) as usize;
        let rest = secret[broken..].to_owned();
        let (request, cut, secrets) = match form {
            0 => (head(&format!("{name} {secret}")), false, vec![secret]),
            1 => (head(&format!("{name} : {secret}")), false, vec![secret]),
            2 => (
                head(&format!("{name}: Bearer {}\r\n{rest}x1", &secret[..broken])),
                false,
                vec![secret[..broken].to_owned()],
            ),
            3 | 4 => {
                let line = format!("GET /a HTTP/1.1\r\nHost: h\r\n{name}: Bearer {}", &secret[..broken]);
                (line.into_bytes(), true, vec![secret[..broken].to_owned()])
            }
            5 => {
                let (_, secret) = self.shaped();
                let line = format!("GET /a HTTP/1.1\r\nHost: h\r\nX-Note: {secret}");
                (line.into_bytes(), true, vec![secret])
            }
            _ => (head(&format!("X Y: 1\r\n{name}: {secret}")), false, vec![secret]),
        };
        let response =
            if cut { Vec::new() } else { b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec() };
        Exchange { request, response, cut, secrets, what }
    }

    fn in_odd_place(&mut self) -> Exchange {
        let (name, secret, (_, shaped)) = (self.header(), self.opaque(), self.shaped());
        let word = shaped.replace([' ', '/'], "-");
        let token = base64(format!("alice:{secret}").as_bytes());
        let form = self.rng.below(10);
        let head =
            |start: &str, line: &str| format!("{start} HTTP/1.1\r\nHost: h\r\n{line}\r\nX-After: 1\r\n\r\n");
        let mut response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
        let get = "GET /";
        let (request, secret) = match form {
            0 => {
                response = format!("HTTP/1.1 404 No {shaped}\r\nContent-Length: 0\r\n\r\n");
                (head(get, "A: b"), shaped)
            }
            1 => (head(get, &format!("X-{word}: 1")), word),
            2 => (head(get, &format!("{name}: {secret}")).replace("\r\n", "\n"), secret),
            3 => (head(get, &format!("{name}:\tBearer\t{secret}\t")), secret),
            4 => (head(get, &format!("Authorization: Token token=\"{secret}\", nonce=\"x\"")), secret),
            5 => (
                head(&format!("GET /a?x=Basic%20{token}&y=1"), "A: b"),
                token.trim_end_matches('=').to_owned(),
            ),
            6 => (head(get, &format!(" {name}: Bearer {secret}aaaaaaaa")), secret),
            7 => (head(get, &format!("X-Note: Authorization: Bearer {secret}aaaaaaaa")), secret),
            8 => (head(get, &format!("Cookie: a={}", percent(&secret, 2))), secret),
            _ => (head(get, &format!("Origin: https://app:{secret}@h")), secret),
        };
        Exchange {
            request: request.into_bytes(),
            response: response.into_bytes(),
            cut: false,
            secrets: vec![secret],
            what: format!("odd place, form {form}"),
        }
    }

    /// Puts lines into the request, the response or its trailers.
    fn finish(
        &mut self,
        what: &str,
        target: &str,
        lines: &[(String, String)],
        secrets: Vec<String>,
    ) -> Exchange {
        let text: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let place = if lines.is_empty() { 0 } else { self.rng.below(4) };
        let side = ["request", "request", "response", "trailers"][place as usize];
        let method = self.pick(&["GET", "DELETE", "OPTIONS"]);
        let mine = if place < 2 { text.as_str() } else { "" };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: api.example\r\nAccept: */*\r\n{mine}X-After: 1\r\n\r\n"
        );
        let response = match place {
            2 => format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{text}X-After: 1\r\n\r\n"),
            3 => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{text}\r\n"),
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        Exchange {
            request: request.into_bytes(),
            response: response.into_bytes(),
            cut: false,
            secrets,
            what: format!("{what}, {side}"),
        }
    }

    /// A line or a target (name `target`) that looks like a secret and is none: it must stay as it is.
    pub fn look_alike(&mut self) -> (&'static str, String) {
        let hex = |this: &mut Self, len| this.text(HEX, len);
        let uuid = |this: &mut Self| {
            format!("{}-{}-4{}-a{}-{}", hex(this, 8), hex(this, 4), hex(this, 3), hex(this, 3), hex(this, 12))
        };
        match self.rng.below(24) {
            0 => ("X-Request-Id", uuid(self)),
            1 => ("X-Correlation-Id", uuid(self)),
            2 => ("Idempotency-Key", uuid(self)),
            3 => ("traceparent", format!("00-{}-{}-01", hex(self, 32), hex(self, 16))),
            4 => ("X-B3-TraceId", hex(self, 32)),
            5 => ("ETag", format!("W/\"{}\"", hex(self, 32))),
            6 => ("If-None-Match", format!("\"{}\"", hex(self, 64))),
            7 => ("Sec-WebSocket-Key", format!("{}==", self.text(WORD, 22))),
            8 => ("Sec-WebSocket-Accept", format!("{}=", self.text(WORD, 27))),
            9 => ("Content-Digest", format!("sha-256=:{}=:", self.text(WORD, 43))),
            10 => ("Digest", format!("SHA-256={}=", self.text(WORD, 43))),
            11 => ("Content-MD5", format!("{}==", self.text(WORD, 22))),
            12 => ("target", format!("/static/app.{}.js", hex(self, 20))),
            13 => {
                ("target", format!("/assets/{}-{}.css?v={}", self.text(WORD, 8), hex(self, 8), hex(self, 7)))
            }
            14 => ("target", format!("/api/orders/{}", uuid(self))),
            15 => (
                "target",
                format!("/search?q={}&page={}&sort_key=name", self.text(WORD, 8), self.rng.below(90)),
            ),
            16 => ("Last-Modified", format!("Tue, {:02} Nov 2026 18:36:51 GMT", 1 + self.rng.below(28))),
            17 => ("X-Cache-Key", format!("/a/{}", hex(self, 16))),
            18 => ("X-Consumer-Username", format!("user-{}", self.text(WORD, 6))),
            19 => ("CF-Ray", format!("{}-FRA", hex(self, 16))),
            20 => ("X-Amz-Request-Id", self.text(BASE32, 16)),
            21 => (
                "User-Agent",
                format!(
                    "Mozilla/5.0 (X11; Linux x86_64) Chrome/{}.0.0.0 Safari/537.36",
                    90 + self.rng.below(60)
                ),
            ),
            22 => ("X-Git-Commit", hex(self, 40)),
            _ => (
                "Content-Security-Policy",
                format!("script-src 'nonce-{}' https://cdn.example", self.text(WORD, 16)),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_plants_the_same_for_ever_and_all_is_on_the_wire() {
        let (mut a, mut b) = (Planter::new(7), Planter::new(7));
        for _ in 0..500 {
            let (x, y) = (a.exchange(), b.exchange());
            assert_eq!((&x.request, &x.response), (&y.request, &y.response));
            assert!(!x.secrets.is_empty() && x.secrets.iter().all(|s| s.len() >= 6), "{x:?}");
        }
    }

    #[test]
    fn base64_is_right() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
