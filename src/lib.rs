//! tidegate collects market data, economic series, filings and news from many providers at once.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod cli;
pub mod collector;
pub mod config;
pub mod engine;
pub mod error;
pub mod handoff;
pub mod http;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod runtime;
pub mod shard;
pub mod sim;
pub mod sink;
pub mod source;
pub mod time;
pub mod wire;
