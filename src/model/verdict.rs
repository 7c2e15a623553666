//! How an attempt is judged: a closed list of verdicts, with a finer reason and what the provider said.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::time::UnixNanos;

/// The closed list of verdicts on one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A whole answer that decoded.
    Ok,
    /// The provider, or the local quota, says: later.
    RateLimited,
    /// The provider has shut the address or key out until a given time.
    Banned,
    /// The key is missing, wrong, or its plan does not allow this.
    Unauthorized,
    /// The instrument, series or page does not exist.
    NotFound,
    /// The request is wrong in itself.
    BadRequest,
    /// No whole answer, or a failure on the provider's side.
    UpstreamError,
    /// A whole 2xx answer that does not fit.
    Malformed,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 8] = [
        Verdict::Ok,
        Verdict::RateLimited,
        Verdict::Banned,
        Verdict::Unauthorized,
        Verdict::NotFound,
        Verdict::BadRequest,
        Verdict::UpstreamError,
        Verdict::Malformed,
    ];

    /// The verdict's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::RateLimited => "rate_limited",
            Verdict::Banned => "banned",
            Verdict::Unauthorized => "unauthorized",
            Verdict::NotFound => "not_found",
            Verdict::BadRequest => "bad_request",
            Verdict::UpstreamError => "upstream_error",
            Verdict::Malformed => "malformed",
        }
    }

    /// The verdict's place in [`Verdict::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether the same request can succeed later without being changed.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Verdict::RateLimited | Verdict::UpstreamError | Verdict::Malformed)
    }

    /// Whether the breaker counts it as a failure of the provider: refusals that the request or the pace earned do not.
    pub const fn is_failure(self) -> bool {
        matches!(self, Verdict::UpstreamError | Verdict::Malformed)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A verdict other than `ok`, with everything known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The finer cause, from a closed set of lowercase words: `http_429`, `symbol_unknown`, `shape`, `timeout_connect`.
    pub reason: &'static str,
    /// The provider's own message, trimmed and without secrets, or what was expected and what was found.
    pub message: String,
    /// How long to wait, when the provider says or implies it.
    pub retry_after: Option<Duration>,
    /// Until when the ban holds, when the provider names the moment.
    pub banned_until: Option<UnixNanos>,
    /// Whether the refusal was made here, before anything was sent.
    pub local: bool,
    /// How the offending body begins, bounded and without secrets: for the status alone. Empty when there was none.
    pub excerpt: String,
}

impl Judgement {
    /// A judgement on what the provider did.
    pub fn new(verdict: Verdict, reason: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let cut = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
            message.push('…');
        }
        Judgement {
            verdict,
            reason,
            message,
            retry_after: None,
            banned_until: None,
            local: false,
            excerpt: String::new(),
        }
    }

    /// A whole 2xx answer that does not fit: names the path, what was expected and what was found.
    pub fn malformed(message: impl Into<String>) -> Self {
        Judgement::new(Verdict::Malformed, "shape", message)
    }

    /// The instrument or series does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Judgement::new(Verdict::NotFound, "symbol_unknown", message)
    }

    /// A request that cannot be made as asked; judged before anything is sent.
    pub fn unservable(reason: &'static str, message: impl Into<String>) -> Self {
        Judgement { local: true, ..Judgement::new(Verdict::BadRequest, reason, message) }
    }

    /// The same judgement with a time to wait.
    pub fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after.or(self.retry_after);
        self
    }

    /// The same judgement with the end of a ban.
    pub fn banned_until(mut self, until: Option<UnixNanos>) -> Self {
        self.banned_until = until.or(self.banned_until);
        self
    }

    /// The same judgement, made here before anything was sent.
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.verdict, self.reason, self.message)
    }
}

/// The verdict line of `decode` and `fetch`.
impl Serialize for Judgement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("verdict", &self.verdict)?;
        if let Some(after) = self.retry_after {
            map.serialize_entry("retry_after_ms", &(after.as_millis() as u64))?;
        }
        if let Some(until) = self.banned_until {
            map.serialize_entry("banned_until", &until)?;
        }
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("reason", self.reason)?;
        if self.local {
            map.serialize_entry("origin", "local")?;
        }
        map.end()
    }
}

/// Long enough for every provider's message seen, short enough for a status line and a log field.
const MESSAGE_BYTES_MAX: usize = 300;
