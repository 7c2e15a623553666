//! The engine: from settings to running shards and a sink core, and the handle that callers hold.

mod audit;
pub mod check;
mod cluster;
mod handle;
pub mod host;
mod keep;
mod observe;
mod plan;
mod sinks;
mod start;
mod watch;

pub(crate) use handle::LoadPart;
pub use handle::{Answered, Ask, Engine, Pending};
pub use start::{EngineBuilder, Finish};
