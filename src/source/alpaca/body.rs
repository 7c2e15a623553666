//! The bodies of Alpaca's answers, and the records of their rows. Owns no request and knows no symbol: whose rows they
//! are, the question and the keys they stand under say.

use compact_str::CompactString;
use serde::{Deserialize, Deserializer};

use crate::model::{Bar, Data, Dec, Interval, Judgement, Quote, Side, Trade};
use crate::time::UnixNanos;
use crate::wire::fields::{Int, OneOrMany, Pairs};
use crate::wire::times;

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub(super) message: String,
}

/// Rows under one key, of one symbol or by symbol: `T` alone in the latest forms, in lists in a span.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    #[serde(rename = "bars", alias = "quotes", alias = "trades", bound(deserialize = "T: Deserialize<'de>"))]
    pub(super) rows: Option<Rows<T>>,
    #[serde(rename = "bar", alias = "quote", alias = "trade")]
    pub(super) row: Option<T>,
    /// Of the forms about one symbol.
    pub(super) symbol: Option<String>,
    /// Null on the last page; absent where there are no pages.
    #[serde(default, deserialize_with = "present")]
    pub(super) next_page_token: Option<Option<CompactString>>,
    pub(super) message: Option<String>,
}

/// Keeps a null apart from an absent field.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<CompactString>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Rows with the symbol they stand under, if any.
pub(super) struct Rows<T>(pub(super) Vec<(Option<String>, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = Rows<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("rows by symbol or a list of rows")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Rows<T>, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = seq.next_element::<Option<T>>()? {
                    rows.extend(row.map(|row| (None, row)));
                }
                Ok(Rows(rows))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Rows<T>, A::Error> {
                let mut rows = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let of_name =
                        map.next_value::<Option<OneOrMany<T>>>()?.map(|several| several.rows).unwrap_or_default();
                    rows.extend(of_name.into_iter().map(|row| (Some(name.clone()), row)));
                }
                Ok(Rows(rows))
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// A trade.
#[derive(Deserialize)]
pub(super) struct TradeRow {
    pub(super) t: Option<CompactString>,
    pub(super) p: Dec,
    pub(super) s: Dec,
    pub(super) i: Option<CompactString>,
    /// The taker's side, `B` or `S`; crypto only.
    pub(super) tks: Option<CompactString>,
}

impl TradeRow {
    pub(super) fn record(self) -> Result<(Option<UnixNanos>, Data), Judgement> {
        let side = match self.tks.as_deref() {
            Some("B") => Some(Side::Buy),
            Some("S") => Some(Side::Sell),
            _ => None,
        };
        let trade = Trade { id: self.i, price: self.p, size: self.s, side, volume_unit: None };
        Ok((at(self.t.as_deref())?, Data::Trade(trade)))
    }
}

/// A quote; an empty side has the price zero.
#[derive(Deserialize)]
pub(super) struct QuoteRow {
    pub(super) t: Option<CompactString>,
    pub(super) bp: Option<Dec>,
    pub(super) bs: Option<Dec>,
    pub(super) ap: Option<Dec>,
    #[serde(rename = "as")]
    pub(super) ask_size: Option<Dec>,
}

impl QuoteRow {
    pub(super) fn quote(&self) -> Quote {
        let of_side = |price: Option<Dec>| price.filter(|price| !price.is_zero());
        let (bid, ask) = (of_side(self.bp), of_side(self.ap));
        Quote { bid, bid_size: bid.and(self.bs), ask, ask_size: ask.and(self.ask_size), volume_unit: None }
    }

    pub(super) fn record(self) -> Result<(Option<UnixNanos>, Data), Judgement> {
        if self.bp.is_none() && self.ap.is_none() {
            return Err(Judgement::malformed("quotes: bp: expected a price, found nothing"));
        }
        Ok((at(self.t.as_deref())?, Data::Quote(self.quote())))
    }
}

/// A bar.
#[derive(Deserialize)]
pub(super) struct BarRow {
    /// The start.
    pub(super) t: CompactString,
    pub(super) o: Dec,
    pub(super) h: Dec,
    pub(super) l: Dec,
    pub(super) c: Dec,
    pub(super) v: Option<Dec>,
    pub(super) n: Option<Int>,
    pub(super) vw: Option<Dec>,
}

impl BarRow {
    pub(super) fn trades(&self) -> Result<Option<u64>, Judgement> {
        let count = self.n.map(|count| u64::try_from(count.0)).transpose();
        count.map_err(|_| Judgement::malformed("n: expected a count, found a negative number"))
    }

    pub(super) fn record(
        self,
        interval: Option<Interval>,
        now: UnixNanos,
    ) -> Result<(Option<UnixNanos>, Data), Judgement> {
        let start = times::rfc3339("bars.t", &self.t)?;
        let end = interval.and_then(|interval| times::bar_end(start, interval));
        let closed = end.map(|end| end <= now);
        let bar = Bar {
            interval,
            start,
            end,
            open: self.o,
            high: self.h,
            low: self.l,
            close: self.c,
            volume: self.v,
            quote_volume: None,
            trades: self.trades()?,
            closed,
            volume_unit: None,
        };
        Ok((Some(end.filter(|_| closed == Some(true)).unwrap_or(start)), Data::Bar(Box::new(bar))))
    }
}

/// A symbol's latest trade, quote and bars.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Snapshot {
    pub(super) symbol: Option<String>,
    pub(super) latest_trade: Option<TradeRow>,
    pub(super) latest_quote: Option<QuoteRow>,
    pub(super) minute_bar: Option<BarRow>,
    pub(super) daily_bar: Option<BarRow>,
    pub(super) prev_daily_bar: Option<BarRow>,
}

/// The forms of snapshots: equities by symbol at the top, crypto under `snapshots`, one symbol alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotForm {
    pub(super) snapshots: Option<Pairs<Option<Snapshot>>>,
    pub(super) latest_trade: Option<serde::de::IgnoredAny>,
    pub(super) latest_quote: Option<serde::de::IgnoredAny>,
    pub(super) daily_bar: Option<serde::de::IgnoredAny>,
    pub(super) message: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct NewsPage {
    pub(super) news: Option<Vec<Option<Article>>>,
    pub(super) next_page_token: Option<CompactString>,
    pub(super) message: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Article {
    pub(super) id: Option<Int>,
    pub(super) headline: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) author: Option<String>,
    pub(super) created_at: Option<CompactString>,
    pub(super) url: Option<String>,
    pub(super) source: Option<String>,
    pub(super) symbols: Option<Vec<Option<String>>>,
}

pub(super) fn at(text: Option<&str>) -> Result<Option<UnixNanos>, Judgement> {
    text.map(|text| times::rfc3339("t", text)).transpose()
}
