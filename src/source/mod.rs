//! Sources: one pure file per provider, and the table that registers them.
//! A source builds requests and reads answers. It does no I/O, reads no clock and holds no state: what it needs to know
//! comes in a [`Context`]. Invariant: nothing here names a socket, an executor or a lock.

mod alpaca;
mod alpha_vantage;
mod bars;
mod binance;
mod bitstamp;
mod bybit;
mod coinbase;
mod coingecko;
mod coinmarketcap;
mod coins;
mod contract;
mod deribit;
mod finnhub;
mod fmp;
mod frankfurter;
mod fred;
mod gdelt;
mod gemini;
mod instruments;
mod judge;
mod kraken;
mod kucoin;
mod listing;
mod newsapi;
mod offline;
mod okx;
pub mod planner;
mod polygon;
mod sec_edgar;
mod spec;
#[cfg(test)]
mod testing;
mod tickers;
mod tiingo;
mod twelve_data;
mod yahoo_finance;

pub use instruments::{Instrument, Instruments};
pub use judge::{by_status, judge};
pub use offline::judge_offline;
pub use spec::{
    Base, Batching, Credential, Evidence, Ids, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Reach, Sample, Spec,
    Tier,
};
// A source states the very limits that the quota keeps.
pub use crate::policy::{WindowShape, WindowSpec};

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::config::Credentials;
use crate::model::{Data, Judgement, Kind, Native, Query, Record, SourceId, Symbol};
use crate::time::UnixNanos;
use crate::wire::{Answer, Request};

/// Every source, in alphabetical order.
pub static SOURCES: &[&dyn Source] = &[
    &alpaca::Alpaca,
    &alpha_vantage::AlphaVantage,
    &binance::Binance,
    &bitstamp::Bitstamp,
    &bybit::Bybit,
    &coinbase::Coinbase,
    &coingecko::CoinGecko,
    &coinmarketcap::CoinMarketCap,
    &deribit::Deribit,
    &finnhub::Finnhub,
    &fmp::Fmp,
    &frankfurter::Frankfurter,
    &fred::Fred,
    &gdelt::Gdelt,
    &gemini::Gemini,
    &kraken::Kraken,
    &kucoin::Kucoin,
    &newsapi::NewsApi,
    &okx::Okx,
    &polygon::Polygon,
    &sec_edgar::SecEdgar,
    &tiingo::Tiingo,
    &twelve_data::TwelveData,
    &yahoo_finance::YahooFinance,
];

/// Finds a source by its id.
pub fn find(id: &str) -> Option<&'static dyn Source> {
    SOURCES.iter().copied().find(|source| source.spec().id.as_str() == id)
}

/// Whether the time of a kind's records is the provider's clock, which moves from one answer to the next whatever the
/// market does: an answer whose time stands still then comes from something that has died.
pub fn is_clocked(source: &dyn Source, kind: Kind) -> bool {
    kind == Kind::Ticker && matches!(source.spec().id.as_str(), "binance" | "bybit" | "deribit")
}

/// One provider: how to ask it and how to read what it says.
pub trait Source: Send + Sync {
    /// What the provider is and allows.
    fn spec(&self) -> &'static Spec;

    /// The provider's own name of a canonical symbol, by rule, or from the instruments in `state` where there is no
    /// rule.
    ///
    /// # Errors
    /// A local `bad_request` when the provider cannot express the symbol; the message gives an example of one it can.
    fn native(&self, kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement>;

    /// Which symbols one request can ask for together: only those with the same key. Differs from `""` where a
    /// provider serves its instruments at several addresses, or relative to one base.
    fn batch_key(&self, _kind: Kind, _symbol: &Symbol) -> CompactString {
        CompactString::default()
    }

    /// The one request that answers `cx.query`.
    ///
    /// # Errors
    /// A local judgement when the query cannot be asked: `unauthorized` without a needed key, `bad_request` otherwise.
    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement>;

    /// Reads a 2xx answer into records; returns where the next page starts, if there is one.
    ///
    /// # Errors
    /// The judgement on a 2xx answer that is none: an error envelope, an unknown symbol, a shape that does not fit.
    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement>;

    /// Judges an answer whose status is not 2xx.
    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        by_status(answer, None)
    }

    /// What has to be known before `query` can be asked, in the order to fetch it.
    fn prerequisites(&self) -> &'static [Prerequisite] {
        &[]
    }

    /// The request of the prerequisite called `name`.
    ///
    /// # Errors
    /// As [`Source::request`].
    fn prerequisite_request(&self, name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        Err(Judgement::unservable(
            "prerequisite_unknown",
            format!("expected the name of a prerequisite, found {name:?}"),
        ))
    }

    /// Reads a prerequisite's answer, whatever its status, into `state`.
    ///
    /// # Errors
    /// The judgement when the answer does not give what was asked for.
    fn prerequisite_decode(&self, name: &str, _answer: &Answer, _state: &mut State) -> Result<(), Judgement> {
        Err(Judgement::unservable(
            "prerequisite_unknown",
            format!("expected the name of a prerequisite, found {name:?}"),
        ))
    }

    /// What the answer says of the quota used so far in a bucket's window, from its headers.
    fn quota_used(&self, _answer: &Answer) -> Option<QuotaReport> {
        None
    }
}

/// A provider's own count, as its headers tell: the quota cell takes the larger of its own count and this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaReport {
    /// The bucket the header speaks of; `""` for the provider-wide one.
    pub bucket: &'static str,
    /// The window's length, to tell several windows of one bucket apart.
    pub window: std::time::Duration,
    /// What has been used in the current window.
    pub used: u32,
}

/// What a source knows from earlier answers. Small and serialisable: it is kept under `data/state/` and can move to
/// another shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Named values: a crumb, a cookie, a clock offset.
    pub values: BTreeMap<CompactString, String>,
    /// The provider's instruments, where they have been fetched.
    #[serde(default)]
    pub instruments: Instruments,
}

/// What a source may know while it builds a request or reads an answer.
pub struct Context<'a> {
    /// The question.
    pub query: &'a Query,
    /// The provider's name of each symbol in the query, in the query's order.
    pub natives: Vec<Native>,
    /// What earlier answers told.
    pub state: &'a State,
    /// The source's secrets.
    pub credentials: &'a Credentials,
    /// A contact address for providers that demand one (SEC); empty when none is configured.
    pub contact: &'a str,
    /// Wall time, for signatures and for telling a running bar from a closed one.
    pub now: UnixNanos,
}

impl<'a> Context<'a> {
    /// Puts a context together; translates the query's symbols.
    ///
    /// # Errors
    /// When the provider cannot express one of the symbols.
    pub fn new(
        source: &dyn Source,
        query: &'a Query,
        state: &'a State,
        credentials: &'a Credentials,
        contact: &'a str,
        now: UnixNanos,
    ) -> Result<Self, Judgement> {
        let natives =
            query.symbols.iter().map(|symbol| source.native(query.kind, symbol, state)).collect::<Result<_, _>>()?;
        Ok(Context { query, natives, state, credentials, contact, now })
    }

    /// The one symbol asked about with the provider's name for it.
    pub fn only(&self) -> Option<(&Symbol, &Native)> {
        match (self.query.symbols.as_slice(), self.natives.as_slice()) {
            ([symbol], [native]) => Some((symbol, native)),
            _ => None,
        }
    }

    /// The provider's name of the only symbol, for requests that take exactly one.
    ///
    /// # Errors
    /// A local `bad_request` when the query names none or several.
    pub fn only_native(&self) -> Result<&str, Judgement> {
        self.only().map(|(_, native)| native.as_str()).ok_or_else(|| {
            let kind = self.query.kind;
            Judgement::unservable("symbol_count", format!("{kind}: expected one symbol, found {}", self.natives.len()))
        })
    }

    /// The canonical name of what the provider calls `native`: from the query, else from its instrument list. Never
    /// guessed: `None` when neither knows it.
    pub fn symbol_of(&self, native: &str) -> Option<Symbol> {
        let asked = self.natives.iter().position(|known| known.as_str() == native);
        match asked {
            Some(index) => Some(self.query.symbols[index].clone()),
            None => self.state.instruments.symbol_of(native).cloned(),
        }
    }

    /// The names of a record: the body's own name where it gives one, else those of the only symbol asked about.
    pub fn names(&self, told: Option<&str>) -> (Option<Symbol>, Option<Native>) {
        match told {
            Some(native) => (self.symbol_of(native), Some(Native::new(native))),
            None => self.only().map(|(symbol, native)| (symbol.clone(), native.clone())).unzip(),
        }
    }

    /// Whether a row about `native` was asked for: of a whole market, only the query's symbols are kept.
    pub fn wants(&self, native: &str) -> bool {
        !self.query.whole_market || self.natives.is_empty() || self.natives.iter().any(|known| known.as_str() == native)
    }

    /// A secret that the request cannot do without.
    ///
    /// # Errors
    /// A local `unauthorized` that names the variable to set.
    pub fn secret(&self, variable: &'static str) -> Result<&crate::config::Secret, Judgement> {
        self.credentials.find(variable).ok_or_else(|| Judgement {
            verdict: crate::model::Verdict::Unauthorized,
            ..Judgement::unservable(
                "key_missing",
                format!("expected a key in {variable}, found none; set {variable} or {variable}_FILE"),
            )
        })
    }
}

/// The records of one answer.
#[derive(Debug)]
pub struct Batch {
    source: SourceId,
    ts_recv: UnixNanos,
    attempt: u64,
    records: Vec<Record>,
}

impl Batch {
    /// An empty batch for an answer of `source` that was received at `ts_recv`.
    pub fn new(source: SourceId, ts_recv: UnixNanos) -> Self {
        Batch { source, ts_recv, attempt: 0, records: Vec::new() }
    }

    /// The same batch of the answer to this attempt.
    pub fn attempt(mut self, id: u64) -> Self {
        self.attempt = id;
        self
    }

    /// The attempt whose answer it is; zero when no engine asked.
    pub fn attempt_id(&self) -> u64 {
        self.attempt
    }

    /// Makes room for so many more records: a list of a thousand would be moved ten times while it grows.
    pub fn expect(&mut self, records: usize) {
        // The number comes from a body that was read: its elements took memory of their own.
        self.records.reserve(records);
    }

    /// Adds a record.
    pub fn push(&mut self, symbol: Option<Symbol>, native: Option<Native>, ts_event: Option<UnixNanos>, data: Data) {
        self.records.push(Record {
            seq: 0,
            source: self.source,
            symbol,
            native,
            ts_event,
            ts_recv: self.ts_recv,
            ts_publish: UnixNanos::EPOCH,
            attempt: self.attempt,
            data,
        });
    }

    /// The records so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Gives the records up.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Drops all records from the `len`-th on: a decode that failed half-way leaves nothing behind.
    pub fn truncate(&mut self, len: usize) {
        self.records.truncate(len);
    }
}
