//! The simulator's certificates: an authority made at start and one certificate for all of its host names.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::{Error, ErrorKind, Result};

/// What a simulator serves TLS with, and the authority that its clients have to trust.
#[derive(Clone, Debug)]
pub struct SimTls {
    /// The server's side.
    pub server: Arc<ServerConfig>,
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
    let key = KeyPair::generate().map_err(broken)?;
    let mut params = CertificateParams::new(names).map_err(broken)?;
    params.distinguished_name = common_name("tidegate simulator");
    let leaf = params.signed_by(&key, &Issuer::from_params(&ca_params, &ca_key)).map_err(broken)?;
    let refused = |error: rustls::Error| Error::new(ErrorKind::Misuse, format!("simulator certificate: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .map_err(refused)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(SimTls { server: Arc::new(server), ca_pem: ca.pem() })
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
