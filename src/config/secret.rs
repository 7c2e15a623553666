//! Secrets: held in memory, shown nowhere.

use std::collections::BTreeMap;
use std::fmt;

/// A key, token or password. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Secret(secret.into())
    }

    /// The secret itself, for the wire and for signatures alone.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A short name for the secret that tells two apart and tells nothing else: eight hex digits of its SHA-256.
    pub fn fingerprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.as_bytes());
        digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The secrets of one source, by the names of their environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<&'static str, Secret>);

impl Credentials {
    /// Adds one.
    pub fn insert(&mut self, variable: &'static str, secret: Secret) {
        self.0.insert(variable, secret);
    }

    /// All secrets themselves, to keep them out of what is shown.
    pub fn exposed(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(Secret::expose)
    }

    /// The secret of a variable, when it is set.
    pub fn find(&self, variable: &str) -> Option<&Secret> {
        self.0.get(variable)
    }
}
