//! `tidegate cat`: prints records of the journal, filtered, and follows it while it grows.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::cli::lines::Lines;
use crate::model::Kind;
use crate::time::UnixNanos;

/// Prints records of the journal.
#[derive(Args, Clone, Debug)]
pub struct CatArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Goes on with records as they come, until interrupted.
    #[arg(long, short)]
    pub follow: bool,
    /// Only these sources.
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub source: Vec<String>,
    /// Only these kinds.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kind: Vec<Kind>,
    /// Only these canonical symbols.
    #[arg(long, value_name = "SYMBOL", value_delimiter = ',')]
    pub symbol: Vec<String>,
    /// Only from this time on: 2024-11-01, 2024-11-01T12:00:00Z, nanoseconds since the epoch, or 15m for that long ago.
    /// The time of a record is its ts_event, or its ts_recv when the provider gave none.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<UnixNanos>,
    /// Only before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<UnixNanos>,
    /// Only from this record on.
    #[arg(long, value_name = "SEQ")]
    pub from_seq: Option<u64>,
}

/// Runs the command; gives the exit status: 0, or 1 when records could not be read.
pub fn run(args: &CatArgs) -> u8 {
    let dir = args.data.join("journal");
    let is_plain = args.source.is_empty()
        && args.kind.is_empty()
        && args.symbol.is_empty()
        && args.since.is_none()
        && args.until.is_none();
    let from_seq = args.from_seq.unwrap_or(0);
    Lines { dir: &dir, from_seq, follow: args.follow, is_plain, what: "a record" }.print(|line| wanted(args, line))
}

/// Whether a line passes the filters; `None` when it is no record.
fn wanted(args: &CatArgs, line: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        source: Cow<'a, str>,
        kind: Kind,
        #[serde(borrow)]
        symbol: Option<Cow<'a, str>>,
        ts_event: Option<UnixNanos>,
        #[serde(default)]
        ts_recv: UnixNanos,
    }
    let head: Head<'_> = serde_json::from_slice(line).ok()?;
    let time = head.ts_event.unwrap_or(head.ts_recv);
    let is_symbol = || head.symbol.as_ref().is_some_and(|symbol| args.symbol.iter().any(|wanted| wanted == symbol));
    Some(
        (args.source.is_empty() || args.source.iter().any(|source| *source == head.source))
            && (args.kind.is_empty() || args.kind.contains(&head.kind))
            && (args.symbol.is_empty() || is_symbol())
            && args.since.is_none_or(|since| time >= since)
            && args.until.is_none_or(|until| time < until),
    )
}

/// Reads a time: a date, a moment, nanoseconds, or how long ago.
pub(super) fn parse_time(text: &str) -> Result<UnixNanos, String> {
    if let Ok(nanos) = text.parse::<i64>() {
        return Ok(UnixNanos::from_nanos(nanos));
    }
    let of = |timestamp: jiff::Timestamp| {
        i64::try_from(timestamp.as_nanosecond()).map(UnixNanos::from_nanos).map_err(|error| error.to_string())
    };
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return of(timestamp);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let start = date.to_datetime(jiff::civil::Time::midnight());
        return of(jiff::tz::TimeZone::UTC.to_timestamp(start).map_err(|error| error.to_string())?);
    }
    let ago = text.len().checked_sub(1).and_then(|at| Some((text.get(..at)?.parse::<u64>().ok()?, text.get(at..)?)));
    let unit = match ago {
        Some((count, "s")) => count.checked_mul(1),
        Some((count, "m")) => count.checked_mul(60),
        Some((count, "h")) => count.checked_mul(3_600),
        Some((count, "d")) => count.checked_mul(86_400),
        _ => None,
    };
    match unit {
        Some(secs) => Ok(UnixNanos::now().saturating_sub(Duration::from_secs(secs))),
        None => Err(format!(
            "expected a time such as 2024-11-01, 2024-11-01T12:00:00Z, 15m (ago) or nanoseconds, found {text:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> CatArgs {
        CatArgs {
            data: PathBuf::from("data"),
            follow: false,
            source: Vec::new(),
            kind: Vec::new(),
            symbol: Vec::new(),
            since: None,
            until: None,
            from_seq: None,
        }
    }

    #[test]
    fn filters_hold_together() {
        let line =
            br#"{"seq":1,"source":"kraken","kind":"trade","symbol":"BTC-USD","ts_event":50,"ts_recv":70,"data":{}}"#;
        let check = |args: CatArgs, expected| assert_eq!(wanted(&args, line), Some(expected), "{args:?}");
        check(args(), true);
        check(CatArgs { source: vec!["binance".into(), "kraken".into()], kind: vec![Kind::Trade], ..args() }, true);
        check(CatArgs { source: vec!["binance".into()], ..args() }, false);
        check(CatArgs { kind: vec![Kind::Bar], ..args() }, false);
        check(CatArgs { symbol: vec!["BTC-USD".into()], ..args() }, true);
        check(CatArgs { symbol: vec!["BTC".into()], ..args() }, false);
        let at = |nanos| Some(UnixNanos::from_nanos(nanos));
        check(CatArgs { since: at(50), until: at(51), ..args() }, true);
        check(CatArgs { since: at(51), ..args() }, false);
        check(CatArgs { until: at(50), ..args() }, false);
        assert_eq!(wanted(&args(), b"{}"), None);
    }

    #[test]
    fn times_read_in_every_form() {
        let check = |text: &str, nanos| assert_eq!(parse_time(text).map(UnixNanos::as_nanos), Ok(nanos), "{text}");
        check("1700000000000000001", 1_700_000_000_000_000_001);
        check("1970-01-02", 86_400_000_000_000);
        check("1970-01-01T00:00:01.5Z", 1_500_000_000);
        let ago = UnixNanos::now().since(parse_time("2h").unwrap()).as_secs();
        assert!((7_100..7_300).contains(&ago), "{ago}");
        for bad in ["", "yesterday", "2x", "-", "é"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
