//! The provider simulator: serves every source's samples, or recorded answers, at the providers' own paths, over HTTPS
//! on loopback. The embedded default runs against it, and so do tests and users who try their own deployments. By a profile
//! it misbehaves as real providers do.

mod actor;
mod answers;
mod body;
mod connection;
mod delay;
mod fault;
mod limits;
mod profile;
mod recordings;
mod render;
mod routes;
mod series;
mod server;
mod service;
mod tls;
mod toml;

pub use actor::Counts;
pub use delay::Delay;
pub use fault::Fault;
pub use limits::LimitCounts;
pub use profile::{Behavior, FaultRule, Profile, Quota};
pub use server::{Sim, SimSettings, host_name};
