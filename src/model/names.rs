//! Names: of sources, of instruments (canonical and the provider's own), of bar intervals.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// The id of a source: the lowercase word its file is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SourceId(pub(crate) &'static str);

impl SourceId {
    /// The id as text.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(CompactString);

        impl $name {
            /// Wraps a name as it stands.
            pub fn new(name: impl AsRef<str>) -> Self {
                $name(CompactString::new(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                $name::new(name)
            }
        }
    };
}

text_name! {
    /// A canonical name: `BTC-USDT`, `BTC-USDT.PERP`, `BTC-USD.20240628`, `BTC-USD.20240628.60000.C`, `BRK.B`,
    /// `GS2C.DE`, or a series id such as `GDP`. The same instrument has the same name at every source.
    Symbol
}

text_name! {
    /// The provider's own name of an instrument: `BTCUSDT`, `XXBTZUSD`, `BRK-B`.
    Native
}

impl Symbol {
    /// The two sides of `BASE-QUOTE`; `None` for derivatives, equities and series.
    pub fn pair(&self) -> Option<(&str, &str)> {
        let (base, quote) = self.as_str().split_once('-')?;
        let plain = |side: &str| !side.is_empty() && !side.contains(['-', '.']);
        (plain(base) && plain(quote)).then_some((base, quote))
    }

    /// Joins `base` and `quote` in the canonical, upper-case form.
    pub fn from_pair(base: &str, quote: &str) -> Self {
        let mut name = CompactString::with_capacity(base.len() + quote.len() + 1);
        name.extend(base.chars().flat_map(char::to_uppercase));
        name.push('-');
        name.extend(quote.chars().flat_map(char::to_uppercase));
        Symbol(name)
    }
}

/// The unit of an [`Interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntervalUnit {
    /// Seconds, written `s`.
    Second,
    /// Minutes, written `m`.
    Minute,
    /// Hours, written `h`.
    Hour,
    /// Days, written `d`.
    Day,
    /// Weeks, written `w`.
    Week,
    /// Calendar months, written `M`.
    Month,
}

/// The length of a bar, as a count and a unit: `1m`, `5m`, `1h`, `1d`, `1w`, `1M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    unit: IntervalUnit,
    count: u16,
}

impl Interval {
    /// One minute.
    pub const MINUTE: Interval = Interval::new(1, IntervalUnit::Minute);
    /// One hour.
    pub const HOUR: Interval = Interval::new(1, IntervalUnit::Hour);
    /// One day.
    pub const DAY: Interval = Interval::new(1, IntervalUnit::Day);
    /// One week.
    pub const WEEK: Interval = Interval::new(1, IntervalUnit::Week);
    /// One calendar month.
    pub const MONTH: Interval = Interval::new(1, IntervalUnit::Month);

    /// `count` times `unit`.
    pub const fn new(count: u16, unit: IntervalUnit) -> Self {
        Interval { unit, count }
    }

    /// The largest unit that gives a whole count for `seconds`: 60 is `1m`, 86,400 is `1d`. `None` for zero.
    pub fn from_secs(seconds: u64) -> Option<Self> {
        let units = [
            (604_800, IntervalUnit::Week),
            (86_400, IntervalUnit::Day),
            (3_600, IntervalUnit::Hour),
            (60, IntervalUnit::Minute),
            (1, IntervalUnit::Second),
        ];
        let (size, unit) = units.into_iter().find(|(size, _)| seconds >= *size && seconds.is_multiple_of(*size))?;
        Some(Interval::new(u16::try_from(seconds / size).ok()?, unit))
    }

    /// The count.
    pub const fn count(self) -> u16 {
        self.count
    }

    /// The unit.
    pub const fn unit(self) -> IntervalUnit {
        self.unit
    }

    /// The fixed length; `None` for months, which have none.
    pub const fn duration(self) -> Option<Duration> {
        let secs = match self.unit {
            IntervalUnit::Second => 1,
            IntervalUnit::Minute => 60,
            IntervalUnit::Hour => 3_600,
            IntervalUnit::Day => 86_400,
            IntervalUnit::Week => 604_800,
            IntervalUnit::Month => return None,
        };
        Some(Duration::from_secs(secs * self.count as u64))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            IntervalUnit::Second => 's',
            IntervalUnit::Minute => 'm',
            IntervalUnit::Hour => 'h',
            IntervalUnit::Day => 'd',
            IntervalUnit::Week => 'w',
            IntervalUnit::Month => 'M',
        };
        write!(f, "{}{unit}", self.count)
    }
}

impl FromStr for Interval {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected an interval such as 1m, 5m, 1h, 1d, 1w or 1M, found {text:?}");
        let unit = match text.chars().last().ok_or_else(wrong)? {
            's' => IntervalUnit::Second,
            'm' => IntervalUnit::Minute,
            'h' => IntervalUnit::Hour,
            'd' => IntervalUnit::Day,
            'w' => IntervalUnit::Week,
            'M' => IntervalUnit::Month,
            _ => return Err(wrong()),
        };
        match text[..text.len() - 1].parse() {
            Ok(count) if count > 0 => Ok(Interval { unit, count }),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_read_and_write() {
        for text in ["1s", "1m", "15m", "1h", "1d", "1w", "1M"] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), text);
        }
        for bad in ["", "m", "0m", "1", "1x", "-1m", "1.5h", "é"] {
            assert!(bad.parse::<Interval>().is_err(), "{bad:?}");
        }
        assert_eq!(Interval::from_secs(300).unwrap().to_string(), "5m");
        assert_eq!(Interval::from_secs(86_400), Some(Interval::DAY));
        assert_eq!(Interval::from_secs(0), None);
    }

    #[test]
    fn pairs_split_only_where_they_are_pairs() {
        assert_eq!(Symbol::new("BTC-USDT").pair(), Some(("BTC", "USDT")));
        assert_eq!(Symbol::from_pair("eth", "Usd").as_str(), "ETH-USD");
        for other in ["BTC-USDT.PERP", "BTC-USD.20240628", "AAPL", "BRK.B", "A-B-C", "-X"] {
            assert_eq!(Symbol::new(other).pair(), None, "{other}");
        }
    }
}
