//! Whom we trust, as rustls wants it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::settings::Tls;
use crate::sink::{Trouble, bounded};

fn trouble(what: &str, error: impl std::fmt::Display) -> Trouble {
    Trouble { kind: "config", what: bounded(&format!("{what}: {error}")), wait: None }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| trouble(what, error))?;
    if certificates.is_empty() { Err(trouble(what, "no certificate in it")) } else { Ok(certificates) }
}

/// The config of all connections.
pub(super) fn config(tls: &Tls) -> Result<Arc<ClientConfig>, Trouble> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &tls.authorities_pem {
        for certificate in certificates(pem, "authorities")? {
            roots.add(certificate).map_err(|error| trouble("authorities", error))?;
        }
    } else {
        let (taken, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if taken == 0 {
            return Err(trouble("authorities", "the system has none"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| trouble("tls", error))?
        .with_root_certificates(roots);
    let config = match &tls.identity_pem {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain, "our certificate")?;
            // The reader's error says nothing of the key itself.
            let key =
                PrivateKeyDer::from_pem_slice(key.reveal()).map_err(|error| trouble("our key", error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| trouble("our certificate", error))?
        }
    };
    Ok(Arc::new(config))
}
