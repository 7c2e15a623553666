//! The simulator's certificates: an authority made at start and one certificate for all of its host names.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::{Error, ErrorKind, Result};

/// What a simulator serves TLS with, and the authority that its clients have to trust.
#[derive(Clone, Debug)]
pub struct SimTls {
    /// The server's side.
    pub server: Arc<ServerConfig>,
    /// The same with a certificate that has expired.
    pub expired: Arc<ServerConfig>,
    /// The same without any certificate: it answers a handshake with an alert.
    pub refusing: Arc<ServerConfig>,
    /// The authority's certificate in PEM.
    pub ca_pem: String,
}

/// Makes an authority and a certificate for `names`.
///
/// # Errors
/// When a name is no host name.
pub fn make(names: Vec<String>) -> Result<SimTls> {
    let broken = |error: rcgen::Error| Error::new(ErrorKind::Misuse, format!("simulator certificate: {error}"));
    let ca_key = KeyPair::generate().map_err(broken)?;
    let mut ca_params = CertificateParams::new(Vec::<String>::new()).map_err(broken)?;
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca_params.distinguished_name = common_name("tidegate simulator authority");
    let ca = ca_params.self_signed(&ca_key).map_err(broken)?;
    let issuer = Issuer::from_params(&ca_params, &ca_key);
    let key = KeyPair::generate().map_err(broken)?;
    let mut params = CertificateParams::new(names).map_err(broken)?;
    params.distinguished_name = common_name("tidegate simulator");
    let leaf = params.signed_by(&key, &issuer).map_err(broken)?;
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 12, 31);
    let expired = params.signed_by(&key, &issuer).map_err(broken)?;
    let shown = |leaf: &rcgen::Certificate| -> Result<Presented> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = provider().key_provider.load_private_key(key).map_err(refused)?;
        Ok(Presented(Some(Arc::new(CertifiedKey::new(vec![leaf.der().clone()], key)))))
    };
    Ok(SimTls {
        server: config(shown(&leaf)?)?,
        expired: config(shown(&expired)?)?,
        refusing: config(Presented(None))?,
        ca_pem: ca.pem(),
    })
}

/// The certificate that a server shows, whatever name it is asked for.
#[derive(Debug)]
struct Presented(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Presented {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

fn config(certificate: Presented) -> Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn refused(error: rustls::Error) -> Error {
    Error::new(ErrorKind::Misuse, format!("simulator certificate: {error}"))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
