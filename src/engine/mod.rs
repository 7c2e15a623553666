//! The engine: from settings to running shards.

pub mod check;
