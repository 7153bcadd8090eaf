//! Certificates of the test's own, and the server's side of TLS.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A certificate authority that nobody knows but the test.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate alone; its issuer is the authority itself.
    pub certificate_pem: String,
    /// PKCS #8.
    pub key_pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

/// What is wrong with the server's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: a certificate for `localhost` and 127.0.0.1.
    None,
    /// A certificate that ended in 2001.
    Expired,
    /// A certificate for `elsewhere.example`.
    WrongName,
    /// A certificate of an authority with the same name, but not the one that the client has.
    UnknownAuthority,
    /// Nothing, but it wants a certificate of the client, by the same authority.
    WantsClient,
    /// The connection is accepted, and nothing comes.
    HangsInHandshake,
}

/// The server's side of TLS, or its lack.
#[derive(Debug, Clone)]
pub enum Tls {
    /// Plain HTTP.
    None,
    /// TLS.
    Config(Arc<ServerConfig>),
    /// A handshake that never goes on.
    Hang,
}

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = parameters(&[], "Headtrail test authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = parameters.self_signed(&key).expect("signs itself");
        Authority { certificate, issuer: Issuer::new(parameters, key) }
    }

    /// Its certificate, which a client has to trust.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Writes its certificate as `authority.pem` into a folder.
    pub fn write(&self, folder: &Path) -> PathBuf {
        write(folder, "authority.pem", &self.pem())
    }

    /// A server's side with a fault.
    pub fn server(&self, fault: Fault) -> Tls {
        let right = ["localhost", "127.0.0.1"];
        let identity = match fault {
            Fault::HangsInHandshake => return Tls::Hang,
            Fault::None | Fault::WantsClient => self.issue(parameters(&right, "localhost")),
            Fault::WrongName => self.issue(parameters(&["elsewhere.example"], "elsewhere.example")),
            Fault::UnknownAuthority => Authority::new().issue(parameters(&right, "localhost")),
            Fault::Expired => {
                let mut parameters = parameters(&right, "localhost");
                parameters.not_before = date_time_ymd(2000, 1, 1);
                parameters.not_after = date_time_ymd(2001, 1, 1);
                self.issue(parameters)
            }
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = if fault == Fault::WantsClient {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).expect("a certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key));
        let config = builder.with_single_cert(vec![identity.certificate], key);
        Tls::Config(Arc::new(config.expect("the key fits")))
    }

    /// A client that a server with [`Fault::WantsClient`] takes.
    pub fn client(&self, name: &str) -> Identity {
        self.issue(parameters(&[], name))
    }

    fn issue(&self, parameters: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signs");
        Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Identity {
    /// Writes `NAME.pem` and `NAME.key` into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let certificate = write(folder, &format!("{name}.pem"), &self.certificate_pem);
        (certificate, write(folder, &format!("{name}.key"), &self.key_pem))
    }
}

/// What is read and written after the handshake.
pub(super) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Tls {
    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if matches!(self, Tls::None) { "http" } else { "https" }
    }

    /// Does the handshake. `Ok(None)` where none shall end.
    pub(super) fn accept(&self, mut tcp: TcpStream) -> std::io::Result<Option<Box<dyn Stream>>> {
        match self {
            Tls::None => Ok(Some(Box::new(tcp))),
            Tls::Hang => Ok(None),
            Tls::Config(config) => {
                let mut connection =
                    ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
                while connection.is_handshaking() {
                    connection.complete_io(&mut tcp)?;
                }
                Ok(Some(Box::new(StreamOwned::new(connection, tcp))))
            }
        }
    }
}

fn parameters(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    parameters
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}
