//! An HTTP client for destinations: nodes in turn, limits on time and on answers, who we are.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use ureq::http::{HeaderName, HeaderValue, Method, Request};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use crate::settings::{Auth, Secret, Timeouts, Tls};
use crate::sink::{Trouble, bounded};

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What was answered.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Retry-After, where it is in seconds.
    pub retry_after: Option<Duration>,
    /// The content.
    pub body: Vec<u8>,
}

/// A client of some nodes that are alike.
pub struct Client {
    agent: Agent,
    nodes: Vec<String>,
    at: usize,
    auth: Option<HeaderValue>,
    /// What is secret in it, so that an answer that says it is not told any further.
    secret: Option<Secret>,
    sent_bytes: u64,
}

impl Client {
    /// A client; nothing is connected yet. `nodes` are base URLs.
    ///
    /// # Errors
    ///
    /// Certificates or keys are none, or there are no authorities to trust.
    pub fn new(nodes: &[String], auth: &Auth, tls: &Tls, timeouts: Timeouts) -> io::Result<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_response_header_size(HEAD_BYTES_MAX)
            .max_idle_connections_per_host(1)
            .user_agent(concat!("headtrail/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(timeouts.connect))
            .timeout_global(Some(timeouts.request));
        if nodes.iter().any(|node| node.starts_with("https:")) {
            config = config.tls_config(tls_config(tls)?);
        }
        let nodes = nodes.iter().map(|node| node.trim_end_matches('/').to_owned()).collect();
        let auth = authorization(auth)?;
        let secret = auth.as_ref().and_then(|auth| auth.as_bytes().split(|byte| *byte == b' ').nth(1));
        let secret = secret.filter(|secret| !secret.is_empty()).map(Secret::new);
        Ok(Self { agent: config.build().into(), nodes, at: 0, auth, secret, sent_bytes: 0 })
    }

    /// Bytes of content that were sent.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// One request to the node whose turn it is; to the others, where it cannot be connected to. After any other failure the next
    /// request goes to the next node.
    ///
    /// # Errors
    ///
    /// There is no whole answer.
    pub fn request(
        &mut self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &[u8],
        answer_bytes_max: u64,
    ) -> Result<Reply, Trouble> {
        let mut trouble = None;
        for _ in 0..self.nodes.len() {
            match self.try_node(method, path, headers, body, answer_bytes_max) {
                Ok(reply) => {
                    // A node that is in trouble is not the one to ask next.
                    if reply.status >= 500 || reply.status == 429 {
                        self.next_node();
                    }
                    return Ok(reply);
                }
                Err(found) => {
                    self.next_node();
                    let again = found.kind == "connect";
                    trouble = Some(found);
                    if !again {
                        break;
                    }
                }
            }
        }
        Err(trouble.unwrap_or(Trouble { kind: "config", what: "no node".to_owned(), wait: None }))
    }

    fn next_node(&mut self) {
        self.at = (self.at + 1) % self.nodes.len().max(1);
    }

    fn try_node(
        &mut self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &[u8],
        answer_bytes_max: u64,
    ) -> Result<Reply, Trouble> {
        let node = self.nodes.get(self.at).map_or("", String::as_str);
        let failed = |error: &Error| trouble(node, error);
        let mut request = Request::builder().method(method).uri(format!("{node}{path}"));
        if let Some(auth) = &self.auth {
            request = request.header("authorization", auth);
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(body).map_err(|error| failed(&Error::Http(error)))?;
        let response = self.agent.run(request).map_err(|error| failed(&error))?;
        self.sent_bytes += body.len() as u64;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let mut content = Vec::new();
        let mut reader = response.into_body().into_reader().take(answer_bytes_max + 1);
        reader.read_to_end(&mut content).map_err(|error| failed(&Error::from(error)))?;
        if content.len() as u64 > answer_bytes_max {
            let what = format!("{node}: an answer of more than {answer_bytes_max} bytes");
            return Err(Trouble { kind: "answer", what, wait: None });
        }
        if !(200..300).contains(&status)
            && let Some(secret) = &self.secret
        {
            // Some proxies and pages for errors say what they were sent.
            content = without(&content, secret.reveal());
        }
        Ok(Reply { status, retry_after, body: content })
    }
}

/// A text without a secret.
fn without(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(secret) {
            out.extend_from_slice(b"***");
            rest = behind;
        } else {
            out.push(first);
            rest = behind;
        }
    }
    out
}

/// What a failure is called.
fn trouble(node: &str, error: &Error) -> Trouble {
    let kind = match error {
        Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) | Error::HostNotFound => "connect",
        Error::ConnectionFailed => "connect",
        Error::Timeout(_) => "time_out",
        Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => "connect",
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "time_out",
            io::ErrorKind::InvalidData => "tls",
            _ => "connection",
        },
        Error::Tls(_) | Error::Pem(_) | Error::Rustls(_) => "tls",
        Error::BadUri(_) | Error::Http(_) => "config",
        _ => "answer",
    };
    Trouble { kind, what: bounded(&format!("{node}: {error}")), wait: None }
}

fn authorization(auth: &Auth) -> io::Result<Option<HeaderValue>> {
    use base64::Engine as _;
    let bytes = match auth {
        Auth::None => return Ok(None),
        Auth::Basic { user, password } => {
            let pair = [user.as_bytes(), b":", password.reveal()].concat();
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)).into_bytes()
        }
        Auth::ApiKey(key) => [b"ApiKey ", key.reveal()].concat(),
    };
    let mut value = HeaderValue::from_bytes(&bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the API key has control characters"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn tls_config(tls: &Tls) -> io::Result<TlsConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = match &tls.authorities_pem {
        Some(pem) => authorities(pem)?,
        None => system_authorities()?,
    };
    let mut config = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::Specific(Arc::new(certificates)));
    if let Some((chain, key)) = &tls.identity_pem {
        config = config.client_cert(Some(identity(chain, key)?));
    }
    Ok(config.build())
}

fn wrong(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Each of them can be used; of the system's, and in ureq, those that cannot are left out in silence.
fn authorities(pem: &[u8]) -> io::Result<Vec<Certificate<'static>>> {
    let all = certificates(pem, "authorities")?;
    let mut store = RootCertStore::empty();
    for certificate in &all {
        let der = CertificateDer::from(certificate.der());
        store.add(der).map_err(|error| wrong(format!("authorities: {error}")))?;
    }
    Ok(all)
}

/// Tried here, since ureq panics where chain and key do not go together, and only when it connects.
fn identity(chain: &[u8], key: &Secret) -> io::Result<ClientCert> {
    let chain = certificates(chain, "certificate chain")?;
    let no_key = || wrong("no private key in PEM");
    let tried = PrivateKeyDer::from_pem_slice(key.reveal()).map_err(|_| no_key())?;
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(wrong)?;
    let ders = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    builder
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(ders, tried)
        .map_err(|error| wrong(format!("certificate chain and key: {error}")))?;
    let key = PrivateKey::from_pem(key.reveal()).map_err(|_| no_key())?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn certificates(pem: &[u8], of: &str) -> io::Result<Vec<Certificate<'static>>> {
    let mut all = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(format!("{of}: {error}")))? {
            all.push(certificate);
        }
    }
    if all.is_empty() { Err(wrong(format!("{of}: no certificate in PEM"))) } else { Ok(all) }
}

fn system_authorities() -> io::Result<Vec<Certificate<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    let all: Vec<_> =
        found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    if all.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "this system has no certificates of authorities to trust; name some by ca_file",
        ));
    }
    Ok(all)
}
