//! The provider simulator: serves every source's samples, or recorded answers, at the providers' own paths, over HTTPS
//! on loopback. The embedded default runs against it, and so do tests and users who try their own deployments.

mod answers;
mod recordings;
mod render;
mod routes;
mod server;
mod tls;
mod toml;

pub use server::{Sim, SimSettings, host_name};
