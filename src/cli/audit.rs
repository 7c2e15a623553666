//! `tidegate audit`: prints the audit log, filtered: a line for each attempt, or what was done to the engine and what it
//! decided by itself.

use std::borrow::Cow;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use crate::cli::cat::parse_time;
use crate::cli::lines::Lines;
use crate::collector::ACTIONS_DIR;
use crate::model::{CANCELLED, Verdict};
use crate::time::UnixNanos;

/// Print the audit log: a line for each attempt that was sent.
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Goes on with attempts as they end, until interrupted.
    #[arg(long, short)]
    pub follow: bool,
    /// Only these sources.
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub source: Vec<String>,
    /// Only these verdicts; `cancelled` is an attempt that was given up.
    #[arg(long, value_name = "VERDICT", value_delimiter = ',', value_parser = verdict)]
    pub verdict: Vec<String>,
    /// Only these reasons, such as first_byte_timeout.
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    pub reason: Vec<String>,
    /// Only the attempt with this id: what a record says in `attempt`.
    #[arg(long, value_name = "ID")]
    pub attempt: Option<u64>,
    /// Only what was sent from this time on: 2024-11-01, 2024-11-01T12:00:00Z, nanoseconds since the epoch, or 15m for
    /// that long ago.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<UnixNanos>,
    /// Only what was sent before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<UnixNanos>,
    /// Instead of attempts, what was done to the engine (starts, stops, configurations, forced breakers) and what its
    /// breakers did by themselves.
    #[arg(long, conflicts_with_all = ["verdict", "reason", "attempt"])]
    pub actions: bool,
}

/// Runs the command; gives the exit status: 0, or 1 when lines could not be read.
pub fn run(args: &AuditArgs) -> u8 {
    let mut dir = args.data.join("audit");
    if args.actions {
        dir.push(ACTIONS_DIR);
    }
    let is_plain = args.source.is_empty()
        && args.verdict.is_empty()
        && args.reason.is_empty()
        && args.attempt.is_none()
        && args.since.is_none()
        && args.until.is_none();
    let what = if args.actions { "an action" } else { "an attempt" };
    Lines { dir: &dir, from_seq: 0, follow: args.follow, is_plain, what }.print(|line| wanted(args, line))
}

/// Whether a line passes the filters; `None` when it is no line of the log.
fn wanted(args: &AuditArgs, line: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(default)]
        attempt: u64,
        ts: UnixNanos,
        #[serde(borrow, default)]
        source: Cow<'a, str>,
        #[serde(borrow, default)]
        verdict: Cow<'a, str>,
        #[serde(borrow, default)]
        reason: Cow<'a, str>,
    }
    let head: Head<'_> = serde_json::from_slice(line).ok()?;
    let is_among = |wanted: &[String], found: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == found);
    Some(
        is_among(&args.source, &head.source)
            && is_among(&args.verdict, &head.verdict)
            && is_among(&args.reason, &head.reason)
            && args.attempt.is_none_or(|attempt| attempt == head.attempt)
            && args.since.is_none_or(|since| head.ts >= since)
            && args.until.is_none_or(|until| head.ts < until),
    )
}

/// Reads a verdict's word.
fn verdict(text: &str) -> Result<String, String> {
    let words: Vec<&str> = Verdict::ALL.iter().map(|verdict| verdict.as_str()).chain([CANCELLED]).collect();
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let near = crate::config::did_you_mean(text, words.iter().copied());
    Err(format!("expected one of {}, found {text:?}{near}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> AuditArgs {
        AuditArgs {
            data: PathBuf::from("data"),
            follow: false,
            source: Vec::new(),
            verdict: Vec::new(),
            reason: Vec::new(),
            attempt: None,
            since: None,
            until: None,
            actions: false,
        }
    }

    #[test]
    fn filters_hold_together() {
        let line =
            br#"{"seq":1,"attempt":9,"ts":50,"source":"kraken","url":"x","verdict":"malformed","reason":"shape"}"#;
        let check = |args: AuditArgs, expected| assert_eq!(wanted(&args, line), Some(expected), "{args:?}");
        check(args(), true);
        check(AuditArgs { source: vec!["kraken".into()], verdict: vec!["malformed".into()], ..args() }, true);
        check(AuditArgs { source: vec!["binance".into()], ..args() }, false);
        check(AuditArgs { verdict: vec!["ok".into(), "banned".into()], ..args() }, false);
        check(AuditArgs { reason: vec!["shape".into()], attempt: Some(9), ..args() }, true);
        check(AuditArgs { attempt: Some(8), ..args() }, false);
        let at = |nanos| Some(UnixNanos::from_nanos(nanos));
        check(AuditArgs { since: at(50), until: at(51), ..args() }, true);
        check(AuditArgs { since: at(51), ..args() }, false);
        check(AuditArgs { until: at(50), ..args() }, false);
        assert_eq!(wanted(&args(), b"{}"), None);
    }

    #[test]
    fn verdicts_are_checked() {
        assert_eq!(verdict("cancelled").as_deref(), Ok("cancelled"));
        assert!(verdict("rate_limit").unwrap_err().contains("did you mean rate_limited?"));
    }
}
