//! The provider simulator: serves every source's samples at the provider's own paths, with moving prices and times.

pub mod render;
pub mod routes;
