//! The command line: one file per command.

pub mod cat;
pub mod export;
pub mod verify;
