//! What a record carries, per kind. Prices are in quote units and volumes in base units unless a field says otherwise;
//! percentages are percent; times are nanoseconds since the epoch. A field the provider did not give is `None`.

use std::borrow::Cow;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::model::{Dec, Interval, VolumeUnit};
use crate::time::UnixNanos;

/// The kinds of record, in the order of the format's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A summary of an instrument over the last day or session.
    Ticker,
    /// Best bid and ask.
    Quote,
    /// One execution.
    Trade,
    /// Open, high, low, close over an interval.
    Bar,
    /// The order book.
    Book,
    /// An article.
    News,
    /// A regulatory filing.
    Filing,
    /// A value of an economic series.
    Observation,
    /// A reference exchange rate.
    Rate,
    /// What an account holds of one asset.
    Balance,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 10] = [
        Kind::Ticker,
        Kind::Quote,
        Kind::Trade,
        Kind::Bar,
        Kind::Book,
        Kind::News,
        Kind::Filing,
        Kind::Observation,
        Kind::Rate,
        Kind::Balance,
    ];

    /// The kind's word in records, configuration and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Ticker => "ticker",
            Kind::Quote => "quote",
            Kind::Trade => "trade",
            Kind::Bar => "bar",
            Kind::Book => "book",
            Kind::News => "news",
            Kind::Filing => "filing",
            Kind::Observation => "observation",
            Kind::Rate => "rate",
            Kind::Balance => "balance",
        }
    }

    /// The kind's place in [`Kind::ALL`], for tables with one cell per kind.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("expected a kind ({}), found {text:?}", all.join(", "))
        })
    }
}

/// A summary of an instrument over the last day or session, as far as the provider gives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ticker {
    /// Price of the last trade. Required.
    pub last: Dec,
    /// Size of the last trade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_size: Option<Dec>,
    /// First price of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Dec>,
    /// Highest price of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<Dec>,
    /// Lowest price of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<Dec>,
    /// Close of the window before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev_close: Option<Dec>,
    /// Change against the window's start, in price units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Dec>,
    /// The same in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_pct: Option<Dec>,
    /// Volume-weighted average price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vwap: Option<Dec>,
    /// Traded volume, in base units unless `volume_unit` says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Dec>,
    /// Traded volume in quote units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote_volume: Option<Dec>,
    /// Best bid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid: Option<Dec>,
    /// Size at the best bid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid_size: Option<Dec>,
    /// Best ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<Dec>,
    /// Size at the best ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_size: Option<Dec>,
    /// Number of trades in the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trades: Option<u64>,
    /// Set where sizes and volumes are not in base units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_unit: Option<VolumeUnit>,
}

/// Best bid and ask.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quote {
    /// Best bid; left out when that side is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid: Option<Dec>,
    /// Size at the best bid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid_size: Option<Dec>,
    /// Best ask; left out when that side is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<Dec>,
    /// Size at the best ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_size: Option<Dec>,
    /// Set where sizes are not in base units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_unit: Option<VolumeUnit>,
}

/// The aggressor of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// The provider's id of the trade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CompactString>,
    /// Price.
    pub price: Dec,
    /// Size, in base units unless `volume_unit` says otherwise.
    pub size: Dec,
    /// The aggressor's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// Set where the size is not in base units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_unit: Option<VolumeUnit>,
}

/// Open, high, low, close over an interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// The bar's length, when the body or the query tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// First moment of the bar.
    pub start: UnixNanos,
    /// First moment after the bar; left out when the interval is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<UnixNanos>,
    /// First price.
    pub open: Dec,
    /// Highest price.
    pub high: Dec,
    /// Lowest price.
    pub low: Dec,
    /// Last price.
    pub close: Dec,
    /// Volume, in base units unless `volume_unit` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Dec>,
    /// Volume in quote units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_volume: Option<Dec>,
    /// Number of trades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trades: Option<u64>,
    /// `false` while the bar is running; left out when nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<bool>,
    /// Set where the volume is not in base units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_unit: Option<VolumeUnit>,
}

/// Price and size of one level of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Level(pub Dec, pub Dec);

/// From an array that begins with price and size, or an object that has both. What providers add to them (order counts,
/// times, empty arrays) is ignored.
impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Level;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a price and a size")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Level, A::Error> {
                let price = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let size = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Level(price, size))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Level, A::Error> {
                let (mut price, mut size) = (None, None);
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    match &*key {
                        "price" => price = Some(map.next_value()?),
                        "size" => size = Some(map.next_value()?),
                        _ => drop(map.next_value::<de::IgnoredAny>()?),
                    }
                }
                let price = price.ok_or_else(|| de::Error::missing_field("price"))?;
                Ok(Level(price, size.ok_or_else(|| de::Error::missing_field("size"))?))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The order book, best level first on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// Buy side, highest price first.
    pub bids: Vec<Level>,
    /// Sell side, lowest price first.
    pub asks: Vec<Level>,
    /// The provider's sequence number of this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Set where sizes are not in base units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_unit: Option<VolumeUnit>,
}

/// An article. One of `headline` and `url` is present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct News {
    /// The provider's id of the article.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<CompactString>,
    /// Headline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// Summary or description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Address of the article.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who published it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// Authors, as the provider names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Instruments the article is about, canonical.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<CompactString>,
    /// Language, as the provider names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<CompactString>,
}

/// A regulatory filing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filing {
    /// Accession number with its dashes: `0000320193-24-000123`. Required.
    pub accession: CompactString,
    /// Form: `10-K`, `8-K`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<CompactString>,
    /// Company name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// Central index key, ten digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cik: Option<CompactString>,
    /// Address of the primary document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Date of filing: `2024-11-01`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filed: Option<CompactString>,
    /// Last day of the period reported on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<CompactString>,
}

/// A value of an economic series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// Id of the series; only the query knows it at some providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<CompactString>,
    /// First day of the period: `2024-10-01`. Required.
    pub period: CompactString,
    /// The value; left out when the provider marks it missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Dec>,
    /// Unit, as the provider names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<CompactString>,
}

/// A reference exchange rate: one `base` costs `value` units of `quote`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    /// Base currency.
    pub base: CompactString,
    /// Quote currency.
    pub quote: CompactString,
    /// Units of quote per base.
    pub value: Dec,
    /// The day the rate is of: `2024-11-01`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<CompactString>,
}

/// What an account holds of one asset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Balance {
    /// The asset.
    pub asset: CompactString,
    /// Freely usable amount.
    pub free: Dec,
    /// Amount locked in open orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<Dec>,
}

/// The data of a record, by kind. Kinds on the hot path are held in place; large and rare ones behind a pointer, so
/// that a slot of the normalization buffer stays small.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// See [`Ticker`].
    Ticker(Box<Ticker>),
    /// See [`Quote`].
    Quote(Quote),
    /// See [`Trade`].
    Trade(Trade),
    /// See [`Bar`].
    Bar(Box<Bar>),
    /// See [`Book`].
    Book(Box<Book>),
    /// See [`News`].
    News(Box<News>),
    /// See [`Filing`].
    Filing(Box<Filing>),
    /// See [`Observation`].
    Observation(Observation),
    /// See [`Rate`].
    Rate(Rate),
    /// See [`Balance`].
    Balance(Balance),
}

impl Data {
    /// The kind of the data.
    pub const fn kind(&self) -> Kind {
        match self {
            Data::Ticker(_) => Kind::Ticker,
            Data::Quote(_) => Kind::Quote,
            Data::Trade(_) => Kind::Trade,
            Data::Bar(_) => Kind::Bar,
            Data::Book(_) => Kind::Book,
            Data::News(_) => Kind::News,
            Data::Filing(_) => Kind::Filing,
            Data::Observation(_) => Kind::Observation,
            Data::Rate(_) => Kind::Rate,
            Data::Balance(_) => Kind::Balance,
        }
    }
}
