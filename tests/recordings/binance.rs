//! Recorded answers of Binance: which source, kind and verdict each has.

use super::{Case, Skip};

pub const CASES: &[Case] = &[];

pub const SKIPS: &[Skip] = &[];
