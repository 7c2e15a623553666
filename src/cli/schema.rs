//! `tidegate schema`: the JSON Schema of a record. Invariant: it admits every line that the encoder writes, and no
//! field that the encoder does not know.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::{Done, Failure};
use crate::model::Kind;
use crate::source::SOURCES;

/// Print the JSON Schema of a record.
#[derive(Args, Debug)]
pub struct PrintSchema {}

impl PrintSchema {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, &record_schema()).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(Done::Fine)
    }
}

/// The JSON Schema (draft 2020-12) of one line.
pub fn record_schema() -> Value {
    let sources: Vec<&str> = SOURCES.iter().map(|source| source.spec().id.as_str()).collect();
    let kinds = Kind::ALL.map(Kind::as_str);
    let mut defs = Map::new();
    defs.insert(
        "decimal".to_owned(),
        json!({
            "type": "string",
            "pattern": DECIMAL,
            "description": "An exact decimal, as the provider gave it.",
        }),
    );
    defs.insert(
        "time".to_owned(),
        json!({
            "type": "integer",
            "description": "Nanoseconds since 1970-01-01T00:00:00Z.",
        }),
    );
    defs.insert("date".to_owned(), json!({ "type": "string", "pattern": DATE, "description": "A day: 2024-11-01." }));
    defs.insert(
        "volume_unit".to_owned(),
        json!({
            "enum": ["contracts", "quote"],
            "description": "Present where sizes and volumes are not in base units.",
        }),
    );
    defs.insert(
        "level".to_owned(),
        json!({
            "type": "array",
            "prefixItems": [decimal(), decimal()],
            "minItems": 2,
            "maxItems": 2,
            "description": "Price and size.",
        }),
    );
    for kind in Kind::ALL {
        defs.insert(kind.as_str().to_owned(), data_schema(kind));
    }
    let by_kind = kinds.map(|kind| {
        json!({
            "if": { "properties": { "kind": { "const": kind } } },
            "then": { "properties": { "data": reference(kind) } },
        })
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tidegate record",
        "description": "One fact from one provider. A field that the provider did not give is absent, never null.",
        "type": "object",
        "properties": {
            "seq": { "type": "integer", "minimum": 1, "description": "Place in the journal; absent outside it." },
            "source": { "enum": sources, "description": "Who said so." },
            "kind": { "enum": kinds, "description": "What the data is." },
            "symbol": { "type": "string", "description": "Canonical name of the instrument." },
            "native": { "type": "string", "description": "The provider's own name of it." },
            "ts_event": described(reference("time"), "The provider's time; of a bar its end when closed, else its start."),
            "ts_recv": described(reference("time"), "When the last byte of the answer had been read."),
            "ts_publish": described(reference("time"), "When the record entered the buffer."),
            "attempt": { "type": "integer", "minimum": 1, "description": "The attempt that brought it: its id in the audit log." },
            "data": { "type": "object" },
        },
        "required": ["source", "kind", "data"],
        "additionalProperties": false,
        "allOf": by_kind,
        "$defs": defs,
    })
}

/// The data of one kind: its fields in the format's order, the required ones by name.
fn data_schema(kind: Kind) -> Value {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let integer = || json!({ "type": "integer", "minimum": 0 });
    let interval = || json!({ "type": "string", "pattern": INTERVAL });
    let levels = || json!({ "type": "array", "items": reference("level") });
    let unit = ("volume_unit", reference("volume_unit"));
    let decimals = |names: &[&'static str]| names.iter().map(|name| (*name, decimal())).collect::<Vec<_>>();
    let (required, fields): (&[&str], Vec<(&str, Value)>) = match kind {
        Kind::Ticker => {
            let mut fields = decimals(&[
                "last",
                "last_size",
                "open",
                "high",
                "low",
                "prev_close",
                "change",
                "change_pct",
                "vwap",
                "volume",
                "quote_volume",
                "bid",
                "bid_size",
                "ask",
                "ask_size",
            ]);
            fields.extend([("trades", integer()), unit]);
            (&["last"], fields)
        }
        Kind::Quote => {
            let mut fields = decimals(&["bid", "bid_size", "ask", "ask_size"]);
            fields.push(unit);
            (&[], fields)
        }
        Kind::Trade => (
            &["price", "size"],
            vec![
                ("id", text()),
                ("price", decimal()),
                ("size", decimal()),
                ("side", json!({ "enum": ["buy", "sell"], "description": "The aggressor." })),
                unit,
            ],
        ),
        Kind::Bar => {
            let mut fields = vec![("interval", interval()), ("start", reference("time")), ("end", reference("time"))];
            fields.extend(decimals(&["open", "high", "low", "close", "volume", "quote_volume"]));
            fields.extend([("trades", integer()), ("closed", json!({ "type": "boolean" })), unit]);
            (&["start", "open", "high", "low", "close"], fields)
        }
        Kind::Book => (&["bids", "asks"], vec![("bids", levels()), ("asks", levels()), ("sequence", integer()), unit]),
        Kind::News => (
            &[],
            vec![
                ("id", text()),
                ("headline", text()),
                ("summary", text()),
                ("url", text()),
                ("publisher", text()),
                ("authors", texts()),
                ("symbols", texts()),
                ("language", text()),
            ],
        ),
        Kind::Filing => (
            &["accession"],
            vec![
                ("accession", text()),
                ("form", text()),
                ("company", text()),
                ("cik", json!({ "type": "string", "pattern": CIK })),
                ("url", text()),
                ("filed", reference("date")),
                ("period", reference("date")),
            ],
        ),
        Kind::Observation => (
            &["period"],
            vec![("series", text()), ("period", reference("date")), ("value", decimal()), ("unit", text())],
        ),
        Kind::Rate => (
            &["base", "quote", "value"],
            vec![("base", text()), ("quote", text()), ("value", decimal()), ("date", reference("date"))],
        ),
        Kind::Balance => (&["asset", "free"], vec![("asset", text()), ("free", decimal()), ("locked", decimal())]),
    };
    let properties: Map<String, Value> = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn decimal() -> Value {
    reference("decimal")
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn described(mut schema: Value, text: &str) -> Value {
    schema["description"] = text.into();
    schema
}

const DECIMAL: &str = r"^-?[0-9]+(\.[0-9]+)?$";
const DATE: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$";
const INTERVAL: &str = r"^[1-9][0-9]*[smhdwM]$";
const CIK: &str = r"^[0-9]{10}$";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Balance, Bar, Book, Data, Dec, Filing, Interval, Level, Native, News, Observation, Quote, Rate, Record, Side,
        SourceId, Symbol, Ticker, Trade, VolumeUnit,
    };
    use crate::time::UnixNanos;

    /// Holds `value` against the part of JSON Schema that the record's schema uses; panics on any other keyword.
    fn fits(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
        for (keyword, rule) in schema.as_object().expect("a schema") {
            let text = || value.as_str().ok_or(format!("{value} is no string"));
            let holds = match keyword.as_str() {
                "$schema" | "title" | "description" | "$defs" => true,
                "$ref" => {
                    let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                    fits(value, root.pointer(pointer).expect("a definition"), root)?;
                    true
                }
                "type" => match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("unknown type {other}"),
                },
                "const" => value == rule,
                "enum" => rule.as_array().unwrap().contains(value),
                "minimum" => value.as_i64() >= rule.as_i64(),
                "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
                "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
                "pattern" => matches(text()?, rule.as_str().unwrap()),
                "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
                "additionalProperties" => {
                    let known = schema["properties"].as_object().unwrap();
                    value.as_object().is_none_or(|fields| fields.keys().all(|name| known.contains_key(name)))
                }
                "properties" => {
                    for (name, schema) in rule.as_object().unwrap() {
                        if let Some(inner) = value.get(name) {
                            fits(inner, schema, root).map_err(|why| format!("{name}: {why}"))?;
                        }
                    }
                    true
                }
                "items" | "prefixItems" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        let schema = if keyword == "items" { rule } else { &rule[index] };
                        fits(item, schema, root).map_err(|why| format!("[{index}]: {why}"))?;
                    }
                    true
                }
                "allOf" => {
                    for part in rule.as_array().unwrap() {
                        if fits(value, &part["if"], root).is_ok() {
                            fits(value, &part["then"], root)?;
                        }
                    }
                    true
                }
                other => panic!("the schema uses a keyword that this test does not know: {other}"),
            };
            if !holds {
                return Err(format!("{keyword} {rule} does not hold for {value}"));
            }
        }
        Ok(())
    }

    /// The four patterns, by hand.
    fn matches(text: &str, pattern: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match pattern {
            DECIMAL => {
                let text = text.strip_prefix('-').unwrap_or(text);
                let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
                digits(whole) && digits(fraction)
            }
            DATE => {
                let parts: Vec<&str> = text.split('-').collect();
                parts.iter().map(|part| part.len()).eq([4, 2, 2]) && parts.iter().all(|part| digits(part))
            }
            INTERVAL => text.parse::<Interval>().is_ok(),
            CIK => text.len() == 10 && digits(text),
            other => panic!("unknown pattern {other}"),
        }
    }

    fn check(record: &Value) -> Result<(), String> {
        let schema = record_schema();
        fits(record, &schema, &schema)
    }

    /// One record of each kind with every field set: a field added to the model does not compile until it is here.
    fn full() -> Vec<Data> {
        let dec = || "-12.50".parse::<Dec>().unwrap();
        let some = || Some(dec());
        let time = UnixNanos::from_secs(1_730_000_000).unwrap();
        let unit = Some(VolumeUnit::Contracts);
        vec![
            Data::Ticker(Box::new(Ticker {
                last: dec(),
                last_size: some(),
                open: some(),
                high: some(),
                low: some(),
                prev_close: some(),
                change: some(),
                change_pct: some(),
                vwap: some(),
                volume: some(),
                quote_volume: some(),
                bid: some(),
                bid_size: some(),
                ask: some(),
                ask_size: some(),
                trades: Some(7),
                volume_unit: unit,
            })),
            Data::Quote(Quote { bid: some(), bid_size: some(), ask: some(), ask_size: some(), volume_unit: unit }),
            Data::Trade(Trade {
                id: Some("1".into()),
                price: dec(),
                size: dec(),
                side: Some(Side::Sell),
                volume_unit: Some(VolumeUnit::Quote),
            }),
            Data::Bar(Box::new(Bar {
                interval: Some(Interval::MONTH),
                start: time,
                end: Some(time),
                open: dec(),
                high: dec(),
                low: dec(),
                close: dec(),
                volume: some(),
                quote_volume: some(),
                trades: Some(0),
                closed: Some(false),
                volume_unit: unit,
            })),
            Data::Book(Box::new(Book {
                bids: vec![Level(dec(), dec())],
                asks: vec![],
                sequence: Some(1),
                volume_unit: unit,
            })),
            Data::News(Box::new(News {
                id: Some("1".into()),
                headline: Some("a".into()),
                summary: Some("b".into()),
                url: Some("https://host".into()),
                publisher: Some("c".into()),
                authors: vec!["d".into()],
                symbols: vec!["AAPL".into()],
                language: Some("en".into()),
            })),
            Data::Filing(Box::new(Filing {
                accession: "0000320193-24-000123".into(),
                form: Some("10-K".into()),
                company: Some("Apple Inc.".into()),
                cik: Some("0000320193".into()),
                url: Some("https://host".into()),
                filed: Some("2024-11-01".into()),
                period: Some("2024-09-28".into()),
            })),
            Data::Observation(Observation {
                series: Some("GDP".into()),
                period: "2024-07-01".into(),
                value: some(),
                unit: Some("USD".into()),
            }),
            Data::Rate(Rate { base: "EUR".into(), quote: "USD".into(), value: dec(), date: Some("2024-11-01".into()) }),
            Data::Balance(Balance { asset: "BTC".into(), free: dec(), locked: some() }),
        ]
    }

    fn record(data: Data) -> Value {
        let time = UnixNanos::from_secs(1_730_000_000).unwrap();
        let record = Record {
            seq: 1,
            source: SourceId("binance"),
            symbol: Some(Symbol::new("BTC-USDT")),
            native: Some(Native::new("BTCUSDT")),
            ts_event: Some(time),
            ts_recv: time,
            ts_publish: time,
            attempt: 1,
            data,
        };
        let mut line = Vec::new();
        record.encode_line(&mut line);
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn every_field_of_every_kind_fits() {
        let schema = record_schema();
        let records = full();
        assert_eq!(records.iter().map(Data::kind).collect::<Vec<_>>(), Kind::ALL);
        for data in records {
            let kind = data.kind();
            let record = record(data);
            check(&record).unwrap_or_else(|why| panic!("{kind}: {why}"));
            let declared: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
            assert_eq!(record.as_object().unwrap().keys().collect::<Vec<_>>(), declared, "order of {kind}");
            let declared = schema["$defs"][kind.as_str()]["properties"].as_object().unwrap();
            let fields = record["data"].as_object().unwrap();
            assert_eq!(fields.keys().collect::<Vec<_>>(), declared.keys().collect::<Vec<_>>(), "fields of {kind}");
        }
    }

    #[test]
    fn what_is_no_record_does_not_fit() {
        let good = record(full().remove(0));
        let check = |pointer: &str, wrong: Value| {
            let mut record = good.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            record.pointer_mut(parent).unwrap()[name] = wrong;
            assert!(self::check(&record).is_err(), "{pointer}: {record}");
        };
        check("/seq", json!(0));
        check("/source", json!("nobody"));
        check("/kind", json!("quote"));
        check("/symbol", json!(null));
        check("/ts_event", json!("2024-11-01"));
        check("/extra", json!(1));
        check("/data/last", json!(12.5));
        check("/data/last", json!("1e5"));
        check("/data/last", json!(null));
        check("/data/extra", json!("1"));
        check("/data/volume_unit", json!("lots"));
    }
}
