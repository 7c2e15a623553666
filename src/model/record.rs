//! The record: one fact from one provider, with its names and its three times.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{Data, Kind, Native, SourceId, Symbol};
use crate::time::UnixNanos;

/// Units of sizes and volumes other than the base asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeUnit {
    /// Contracts of a derivative.
    Contracts,
    /// The quote asset.
    Quote,
}

/// One fact from one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Place in the journal; zero until the sink core has stamped it.
    pub seq: u64,
    /// Who said so.
    pub source: SourceId,
    /// Canonical name of the instrument; `None` for general news and where only the query would know.
    pub symbol: Option<Symbol>,
    /// The provider's own name.
    pub native: Option<Native>,
    /// The provider's time, when it gives one. Of a bar: its end when closed, else its start.
    pub ts_event: Option<UnixNanos>,
    /// When the last byte of the body had been read.
    pub ts_recv: UnixNanos,
    /// When the record entered the normalization buffer.
    pub ts_publish: UnixNanos,
    /// The attempt that brought it, as the audit log names it; zero when no engine asked.
    pub attempt: u64,
    /// The data, which fixes the kind.
    pub data: Data,
}

impl Record {
    /// The kind of the record.
    pub const fn kind(&self) -> Kind {
        self.data.kind()
    }
}

/// In the order of the format. `seq`, `ts_recv`, `ts_publish` and `attempt` are left out while they are zero: `decode`
/// and `fetch` print records that never entered a buffer.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.seq != 0 {
            map.serialize_entry("seq", &self.seq)?;
        }
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("kind", &self.kind())?;
        if let Some(symbol) = &self.symbol {
            map.serialize_entry("symbol", symbol)?;
        }
        if let Some(native) = &self.native {
            map.serialize_entry("native", native)?;
        }
        if let Some(ts_event) = &self.ts_event {
            map.serialize_entry("ts_event", ts_event)?;
        }
        if self.ts_recv != UnixNanos::EPOCH {
            map.serialize_entry("ts_recv", &self.ts_recv)?;
        }
        if self.ts_publish != UnixNanos::EPOCH {
            map.serialize_entry("ts_publish", &self.ts_publish)?;
        }
        if self.attempt != 0 {
            map.serialize_entry("attempt", &self.attempt)?;
        }
        match &self.data {
            Data::Ticker(data) => map.serialize_entry("data", data)?,
            Data::Quote(data) => map.serialize_entry("data", data)?,
            Data::Trade(data) => map.serialize_entry("data", data)?,
            Data::Bar(data) => map.serialize_entry("data", data)?,
            Data::Book(data) => map.serialize_entry("data", data)?,
            Data::News(data) => map.serialize_entry("data", data)?,
            Data::Filing(data) => map.serialize_entry("data", data)?,
            Data::Observation(data) => map.serialize_entry("data", data)?,
            Data::Rate(data) => map.serialize_entry("data", data)?,
            Data::Balance(data) => map.serialize_entry("data", data)?,
        }
        map.end()
    }
}

/// The owned, loosely typed form of one line of the journal: what readers of stored records need.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    seq: u64,
    source: std::borrow::Cow<'a, str>,
    kind: Kind,
    symbol: Option<Symbol>,
    native: Option<Native>,
    ts_event: Option<UnixNanos>,
    #[serde(default)]
    ts_recv: UnixNanos,
    #[serde(default)]
    ts_publish: UnixNanos,
    #[serde(default)]
    attempt: u64,
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

impl Record {
    /// Reads one line of the journal. `source` resolves a source's id; an unknown one is an error.
    ///
    /// # Errors
    /// Says which part of the line did not fit.
    pub fn from_line(line: &str, source: impl Fn(&str) -> Option<SourceId>) -> Result<Record, String> {
        let parsed: Line<'_> = serde_json::from_str(line).map_err(|error| format!("not a record: {error}"))?;
        let text = parsed.data.get();
        fn data<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
            serde_json::from_str(text).map_err(|error| format!("not a record: data: {error}"))
        }
        Ok(Record {
            seq: parsed.seq,
            source: source(&parsed.source).ok_or_else(|| format!("unknown source {:?}", parsed.source))?,
            symbol: parsed.symbol,
            native: parsed.native,
            ts_event: parsed.ts_event,
            ts_recv: parsed.ts_recv,
            ts_publish: parsed.ts_publish,
            attempt: parsed.attempt,
            data: match parsed.kind {
                Kind::Ticker => Data::Ticker(data(text)?),
                Kind::Quote => Data::Quote(data(text)?),
                Kind::Trade => Data::Trade(data(text)?),
                Kind::Bar => Data::Bar(data(text)?),
                Kind::Book => Data::Book(data(text)?),
                Kind::News => Data::News(data(text)?),
                Kind::Filing => Data::Filing(data(text)?),
                Kind::Observation => Data::Observation(data(text)?),
                Kind::Rate => Data::Rate(data(text)?),
                Kind::Balance => Data::Balance(data(text)?),
            },
        })
    }
}
