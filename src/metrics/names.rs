//! The closed sets that label metrics: stages of a request, reasons of local refusals, states of a gap and of a breaker.

use serde::{Deserialize, Serialize};

/// The stages that a request's time is made of, in the order it passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for quota and a breaker permit.
    Admission,
    /// Waiting for a connection.
    PoolWait,
    /// Resolving the name.
    Dns,
    /// Connecting.
    Connect,
    /// The TLS handshake.
    Tls,
    /// From the request's first byte out to the answer's head.
    FirstByte,
    /// From the head to the last byte of the body.
    Body,
    /// Decoding into records.
    Decode,
    /// Entering the normalization buffer, waits for room included.
    Publish,
    /// From entering the buffer to being taken by the sink core; of records, as what follows.
    BufferWait,
    /// From there to being written to the journal.
    SinkWrite,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 11] = [
        Stage::Admission,
        Stage::PoolWait,
        Stage::Dns,
        Stage::Connect,
        Stage::Tls,
        Stage::FirstByte,
        Stage::Body,
        Stage::Decode,
        Stage::Publish,
        Stage::BufferWait,
        Stage::SinkWrite,
    ];

    /// How many of them, from the first on, a shard passes.
    pub const OF_SHARD: usize = Stage::BufferWait as usize;

    /// The stage's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Admission => "admission",
            Stage::PoolWait => "pool_wait",
            Stage::Dns => "dns",
            Stage::Connect => "connect",
            Stage::Tls => "tls",
            Stage::FirstByte => "first_byte",
            Stage::Body => "body",
            Stage::Decode => "decode",
            Stage::Publish => "publish",
            Stage::BufferWait => "buffer_wait",
            Stage::SinkWrite => "sink_write",
        }
    }
}

/// Why a request was refused here, before anything was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The provider has shut the scope out.
    Banned,
    /// The breaker does not admit it.
    Breaker,
    /// As many requests are under way as are allowed.
    Concurrency,
    /// The deadline would pass while waiting.
    Deadline,
    /// The pool has no connection to give.
    Pool,
    /// A quota window is used up.
    Quota,
    /// The retry budget is spent.
    RetryBudget,
    /// The query cannot be asked of the source.
    Unservable,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Refusal; 8] = [
        Refusal::Banned,
        Refusal::Breaker,
        Refusal::Concurrency,
        Refusal::Deadline,
        Refusal::Pool,
        Refusal::Quota,
        Refusal::RetryBudget,
        Refusal::Unservable,
    ];

    /// The reason's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Banned => "banned",
            Refusal::Breaker => "breaker",
            Refusal::Concurrency => "concurrency",
            Refusal::Deadline => "deadline",
            Refusal::Pool => "pool",
            Refusal::Quota => "quota",
            Refusal::RetryBudget => "retry_budget",
            Refusal::Unservable => "unservable",
        }
    }
}

/// What became of records that a poll had missed and that did not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapState {
    /// Nobody can bring them.
    Lost,
    /// They are asked for again.
    Open,
    /// They were recorded as open, and have come.
    Refilled,
}

impl GapState {
    /// Every state.
    pub const ALL: [GapState; 3] = [GapState::Lost, GapState::Open, GapState::Refilled];

    /// The state's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            GapState::Lost => "lost",
            GapState::Open => "open",
            GapState::Refilled => "refilled",
        }
    }
}

/// The states of a breaker by their code in metric cells.
pub const BREAKER_STATES: [&str; 5] = ["closed", "disabled", "forced_open", "half_open", "open"];

/// The word of a breaker state's code.
pub fn breaker_state(code: u64) -> &'static str {
    usize::try_from(code).ok().and_then(|code| BREAKER_STATES.get(code)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::BreakerState;

    #[test]
    fn breaker_codes_name_their_states() {
        let states = [
            BreakerState::Closed,
            BreakerState::Disabled,
            BreakerState::ForcedOpen,
            BreakerState::HalfOpen,
            BreakerState::Open,
        ];
        assert_eq!(states.map(|state| breaker_state(state.code())), states.map(BreakerState::as_str));
        assert_eq!(breaker_state(99), "unknown");
    }
}
