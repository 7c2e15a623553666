//! TLS as a client: trust, protocol negotiation, session resumption, and what a failed handshake means.
//! Verification cannot be switched off. Invariant: sessions are resumed within one shard, never across.

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_rustls::TlsConnector;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};

use crate::config::HttpVersion;
use crate::error::{Error, Result};
use crate::http::failure::{self, Failure, Phase};

/// Trust and settings for TLS; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct TlsContext {
    auto: Arc<ClientConfig>,
    one: Arc<ClientConfig>,
    two: Arc<ClientConfig>,
}

impl TlsContext {
    /// Trusts Mozilla's roots, and the certificates of `ca_file` (PEM) besides.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn new(ca_file: Option<&Path>) -> Result<TlsContext> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|error| Error::io("read the CA file", path, &error))?;
            add_roots(&mut roots, &pem).map_err(|error| error.context(format!("tls.ca_file {}", path.display())))?;
        }
        TlsContext::with_roots(roots)
    }

    /// Trusts the certificates of `pem` alone: the simulator's authority, and tests.
    ///
    /// # Errors
    /// When it holds no certificate.
    pub fn trusting(pem: &[u8]) -> Result<TlsContext> {
        let mut roots = RootCertStore::empty();
        add_roots(&mut roots, pem)?;
        TlsContext::with_roots(roots)
    }

    fn with_roots(roots: RootCertStore) -> Result<TlsContext> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let plain = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config(format!("TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let with_protocols = |protocols: &[&[u8]]| {
            let mut config = plain.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(TlsContext {
            auto: with_protocols(&[b"h2", b"http/1.1"]),
            one: with_protocols(&[b"http/1.1"]),
            two: with_protocols(&[b"h2"]),
        })
    }

    /// The same trust with a session store of its own.
    pub(super) fn for_shard(&self) -> TlsContext {
        let own = |config: &Arc<ClientConfig>| {
            let mut config = ClientConfig::clone(config);
            config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
            Arc::new(config)
        };
        TlsContext { auto: own(&self.auto), one: own(&self.one), two: own(&self.two) }
    }

    pub(super) fn connector(&self, version: HttpVersion) -> TlsConnector {
        TlsConnector::from(self.config(version).clone())
    }

    /// A session outside any core, for a check of the way to a host.
    pub(super) fn session(
        &self,
        version: HttpVersion,
        name: ServerName<'static>,
    ) -> std::result::Result<ClientConnection, String> {
        ClientConnection::new(self.config(version).clone(), name).map_err(|error| error.to_string())
    }

    fn config(&self, version: HttpVersion) -> &Arc<ClientConfig> {
        match version {
            HttpVersion::Auto => &self.auto,
            HttpVersion::One => &self.one,
            HttpVersion::Two => &self.two,
        }
    }
}

impl std::fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsContext")
    }
}

/// The name that a host's certificate must be for.
pub(super) fn server_name(host: &str) -> std::result::Result<ServerName<'static>, Failure> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        Failure::before(Phase::Tls, failure::TLS_WRONG_NAME, format!("{host} is no name that a certificate can be for"))
    })
}

/// What a failed handshake means.
pub(super) fn handshake_failure(host: &str, error: &io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (reason, found) = match inner {
        Some(rustls::Error::InvalidCertificate(problem)) => (certificate_reason(problem), problem.to_string()),
        Some(other) => (failure::TLS_FAILED, other.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            (failure::TLS_FAILED, "the peer closed during the handshake".to_owned())
        }
        None if error.kind() == io::ErrorKind::ConnectionReset => (failure::RESET, error.to_string()),
        None => (failure::TLS_FAILED, error.to_string()),
    };
    Failure::before(Phase::Tls, reason, format!("expected a TLS session with {host}, found: {found}"))
}

fn certificate_reason(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => failure::TLS_EXPIRED,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => failure::TLS_WRONG_NAME,
        // A bad signature is one by somebody who only bears the issuer's name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => failure::TLS_UNKNOWN_ISSUER,
        // A server's own certificate without the extension of an authority: nobody vouches for it.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            failure::TLS_UNKNOWN_ISSUER
        }
        _ => failure::TLS_FAILED,
    }
}

fn add_roots(roots: &mut RootCertStore, pem: &[u8]) -> Result<()> {
    let mut count = 0;
    for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| Error::config(format!("expected PEM, found: {error:?}")))?;
        roots.add(certificate).map_err(|error| Error::config(format!("expected a CA certificate, found: {error}")))?;
        count += 1;
    }
    if count == 0 {
        return Err(Error::config("expected at least one certificate in PEM, found none"));
    }
    Ok(())
}

/// Sessions kept per shard and protocol set: one or two tickets for each host.
const SESSIONS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_needs_a_certificate() {
        for pem in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(TlsContext::trusting(pem.as_bytes()).is_err(), "{pem}");
        }
        let error = TlsContext::new(Some(Path::new("/nonexistent/ca.pem"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
        assert!(TlsContext::new(None).is_ok());
    }
}
