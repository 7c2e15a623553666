//! Typed settings, every default in one place; the only reader of the environment.

mod secret;

pub use secret::{Credentials, Secret};
