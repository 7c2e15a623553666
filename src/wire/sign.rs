//! Request signatures: HMAC-SHA256 in hex, Ed25519 in base64.

use aws_lc_rs::{hmac, signature};
use base64::Engine as _;

use crate::config::Secret;

/// HMAC-SHA256 of `payload` under `secret`, in lowercase hex.
pub fn hmac_sha256_hex(secret: &Secret, payload: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hmac::sign(&key, payload.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `secret` is a private key in PEM rather than a shared secret.
pub fn is_pem(secret: &Secret) -> bool {
    secret.expose().trim_start().starts_with("-----BEGIN")
}

/// Ed25519 signature of `payload` by a PKCS#8 key in PEM, in base64.
///
/// # Errors
/// Says what is wrong with the key, without showing it.
pub fn ed25519_base64(pem: &Secret, payload: &str) -> Result<String, String> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let body: String = pem.expose().lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let der =
        base64.decode(body).map_err(|_| "expected a PKCS#8 private key in PEM, found broken base64".to_owned())?;
    let pair = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
        .map_err(|_| "expected an Ed25519 private key in PKCS#8, found another kind of key".to_owned())?;
    Ok(base64.encode(pair.sign(payload.as_bytes())))
}
