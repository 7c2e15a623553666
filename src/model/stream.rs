//! Streams: what one source says of one instrument in one kind, and how far one has been followed. Knows no provider:
//! whether trades are numbered without holes is told.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::model::{Data, Interval, Kind, Record};
use crate::time::UnixNanos;

/// The name of a stream: `binance trade BTC-USDT`, `kraken bar BTC-USD 1m`, `newsapi news`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// Id of the source.
    pub source: CompactString,
    /// The kind.
    pub kind: Kind,
    /// The canonical name of the instrument, else the provider's own; empty for general news.
    pub name: CompactString,
    /// Bars: their length.
    pub interval: Option<Interval>,
}

impl Stream {
    /// The stream that a record belongs to.
    pub fn of(record: &Record) -> Stream {
        let interval = match &record.data {
            Data::Bar(bar) => bar.interval,
            _ => None,
        };
        Stream { source: record.source.as_str().into(), kind: record.kind(), name: name_of(record).into(), interval }
    }

    /// Whether a record belongs to it.
    pub fn holds(&self, record: &Record) -> bool {
        self.source == record.source.as_str()
            && self.kind == record.kind()
            && self.name == name_of(record)
            && match &record.data {
                Data::Bar(bar) => self.interval == bar.interval,
                _ => true,
            }
    }
}

fn name_of(record: &Record) -> &str {
    let symbol = record.symbol.as_ref().map(|symbol| symbol.as_str());
    symbol.or(record.native.as_ref().map(|native| native.as_str())).unwrap_or_default()
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.kind)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        self.interval.map_or(Ok(()), |interval| write!(f, " {interval}"))
    }
}

/// Names have no spaces, but a text that is searched for may.
impl FromStr for Stream {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a stream such as binance trade BTC-USDT, found {text:?}");
        let (source, rest) = text.split_once(' ').ok_or_else(wrong)?;
        let (kind, mut name) = rest.split_once(' ').unwrap_or((rest, ""));
        let kind = kind.parse::<Kind>().map_err(|_| wrong())?;
        let mut interval = None;
        if kind == Kind::Bar
            && let Some((front, last)) = name.rsplit_once(' ')
            && let Ok(length) = last.parse()
        {
            (name, interval) = (front, Some(length));
        }
        Ok(Stream { source: source.into(), kind, name: name.into(), interval })
    }
}

impl Serialize for Stream {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How far a stream has been followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the newest record, where they are numbered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Its time: of a bar its end.
    pub ts: UnixNanos,
}

impl Head {
    /// Moves on to a record if it is newer.
    pub fn advance(&mut self, to: Head) {
        let is_newer = match (to.number, self.number) {
            (Some(to), Some(own)) => to > own,
            _ => to.ts > self.ts,
        };
        if is_newer || self.restarts_with(to) {
            *self = to;
        }
    }

    /// Whether a record with a smaller number comes so much later that the provider must have begun to number anew.
    pub fn restarts_with(&self, other: Head) -> bool {
        match (other.number, self.number) {
            (Some(other_number), Some(own)) => {
                other_number <= own && other.ts > self.ts.saturating_add(RENUMBERED_AFTER)
            }
            _ => false,
        }
    }
}

/// The number of a record in a stream without holes: a trade's id where those are consecutive, and a closed bar's place in
/// the row of bars of its length. `None` for all others.
pub fn number_of(record: &Record, is_numbered: bool) -> Option<u64> {
    match &record.data {
        Data::Trade(trade) if is_numbered => trade.id.as_ref()?.parse().ok(),
        Data::Bar(bar) if bar.closed == Some(true) => {
            let length = i64::try_from(bar.interval?.duration()?.as_nanos()).ok()?;
            u64::try_from(bar.start.as_nanos().div_euclid(length)).ok()
        }
        _ => None,
    }
}

/// Ids and times of trades run together; a minute is more than any disorder in them.
const RENUMBERED_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_and_write() {
        for text in [
            "binance trade BTC-USDT",
            "kraken bar BTC-USD 1m",
            "yahoo_finance bar BRK.B 1M",
            "newsapi news",
            "newsapi news two words",
        ] {
            assert_eq!(text.parse::<Stream>().unwrap().to_string(), text);
        }
        assert_eq!("kraken bar BTC-USD 1m".parse::<Stream>().unwrap().interval, Some(Interval::MINUTE));
        for text in ["", "binance", "binance price BTC-USDT"] {
            assert!(text.parse::<Stream>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_head_moves_on_and_begins_anew() {
        let head = |number, secs| Head { number, ts: UnixNanos::from_secs(secs).unwrap() };
        let check = |from: Head, to: Head, is_moved: bool| {
            let mut moved = from;
            moved.advance(to);
            assert_eq!(moved, if is_moved { to } else { from }, "{from:?} {to:?}");
        };
        check(head(Some(5), 100), head(Some(6), 100), true);
        check(head(Some(5), 100), head(Some(5), 150), false);
        check(head(Some(5), 100), head(Some(4), 160), false);
        check(head(Some(5), 100), head(Some(4), 161), true);
        check(head(None, 100), head(None, 101), true);
        check(head(None, 100), head(None, 100), false);
    }
}
