//! Genuine recorded answers against an independent plain reader of the same bytes. The recordings stay outside the
//! project; without them the test reports a skip.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate::model::Query;
use tidegate::source::{State, judge_offline};
use tidegate::wire::Answer;

/// One recording: what it answers, and what must come of it.
pub struct Case {
    /// Path under the recordings' folder.
    pub file: &'static str,
    /// The record kind asked for.
    pub kind: &'static str,
    /// The canonical symbol of the query; empty = none.
    pub symbol: &'static str,
    /// The bar interval of the query; empty = none.
    pub interval: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Headers of the answer.
    pub headers: &'static [(&'static str, &'static str)],
    /// What is expected.
    pub expect: Expect,
}

/// What must come of a recording.
pub enum Expect {
    /// A good answer without any record.
    Nothing,
    /// These records, read from the same bytes by an independent reader.
    Records(fn(&Value) -> Vec<Value>),
    /// This verdict with this reason.
    Verdict(&'static str, &'static str),
}

/// A recording that is left out.
pub struct Skip {
    /// Path under the recordings' folder.
    pub file: &'static str,
    /// Why.
    pub why: &'static str,
}

/// A JSON string's text, or a number token's digits with the exponent expanded.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => expand(&number.to_string()),
        other => panic!("expected a number or a string, found {other}"),
    }
}

/// Expands an exponent by moving the point in the digits, without arithmetic.
fn expand(token: &str) -> String {
    let Some((mantissa, exponent)) = token.split_once(['e', 'E']) else { return token.to_owned() };
    let exponent: i32 = exponent.trim_start_matches('+').parse().expect("an exponent");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i32 + exponent;
    let body = if point <= 0 {
        format!("0.{}{digits}", "0".repeat(-point as usize))
    } else if point as usize >= digits.len() {
        format!("{digits}{}", "0".repeat(point as usize - digits.len()))
    } else {
        format!("{}.{}", &digits[..point as usize], &digits[point as usize..])
    };
    let trimmed = body.trim_start_matches('0');
    let body = if trimmed.is_empty() || trimmed.starts_with('.') { format!("0{trimmed}") } else { trimmed.to_owned() };
    format!("{sign}{body}")
}

mod alpaca;
mod alpha_vantage;
mod binance;
mod bitstamp;
mod bybit;
mod coinbase;
mod coingecko;
mod coinmarketcap;
mod deribit;
mod finnhub;
mod fmp;
mod frankfurter;
mod fred;
mod gdelt;
mod gemini;
mod instruments;
mod kraken;
mod kucoin;
mod newsapi;
mod okx;
mod polygon;
mod rows;
mod sec_edgar;
mod tiingo;
mod twelve_data;
mod yahoo_finance;

/// Every source's table.
const TABLES: &[(&str, &[Case], &[Skip])] = &[
    ("alpaca", alpaca::CASES, alpaca::SKIPS),
    ("alpha_vantage", alpha_vantage::CASES, alpha_vantage::SKIPS),
    ("binance", binance::CASES, binance::SKIPS),
    ("bitstamp", bitstamp::CASES, bitstamp::SKIPS),
    ("bybit", bybit::CASES, bybit::SKIPS),
    ("coinbase", coinbase::CASES, coinbase::SKIPS),
    ("coingecko", coingecko::CASES, coingecko::SKIPS),
    ("coinmarketcap", coinmarketcap::CASES, coinmarketcap::SKIPS),
    ("deribit", deribit::CASES, deribit::SKIPS),
    ("finnhub", finnhub::CASES, finnhub::SKIPS),
    ("fmp", fmp::CASES, fmp::SKIPS),
    ("frankfurter", frankfurter::CASES, frankfurter::SKIPS),
    ("fred", fred::CASES, fred::SKIPS),
    ("gdelt", gdelt::CASES, gdelt::SKIPS),
    ("gemini", gemini::CASES, gemini::SKIPS),
    ("kraken", kraken::CASES, kraken::SKIPS),
    ("kucoin", kucoin::CASES, kucoin::SKIPS),
    ("newsapi", newsapi::CASES, newsapi::SKIPS),
    ("okx", okx::CASES, okx::SKIPS),
    ("polygon", polygon::CASES, polygon::SKIPS),
    ("sec_edgar", sec_edgar::CASES, sec_edgar::SKIPS),
    ("tiingo", tiingo::CASES, tiingo::SKIPS),
    ("twelve_data", twelve_data::CASES, twelve_data::SKIPS),
    ("yahoo_finance", yahoo_finance::CASES, yahoo_finance::SKIPS),
];

#[test]
fn recordings_decode_exactly() {
    let Some(root) = root() else { return };
    let mut failures = Vec::new();
    for (source, cases, _) in TABLES {
        for case in *cases {
            if let Err(why) = check(source, case, &root) {
                failures.push(format!("{} as {} {}: {why}", case.file, source, case.kind));
            }
        }
    }
    assert!(failures.is_empty(), "{} recordings differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_recording_is_in_a_table() {
    let Some(root) = root() else { return };
    let named: BTreeSet<&str> = TABLES
        .iter()
        .flat_map(|(_, cases, skips)| cases.iter().map(|case| case.file).chain(skips.iter().map(|skip| skip.file)))
        .collect();
    let manifest: Value = serde_json::from_slice(&std::fs::read(root.join("manifest.json")).unwrap()).unwrap();
    let files: Vec<&str> = manifest.as_array().unwrap().iter().map(|row| row["file"].as_str().unwrap()).collect();
    let missing: Vec<&&str> = files.iter().filter(|file| !named.contains(**file)).collect();
    assert!(missing.is_empty(), "recordings in no table: {missing:?}");
    for (_, _, skips) in TABLES {
        for skip in *skips {
            assert!(
                !skip.why.is_empty() && files.contains(&skip.file),
                "{}: a skip needs a file and a reason",
                skip.file
            );
        }
    }
}

/// Decodes one recording as `tidegate decode` does and compares.
fn check(source: &str, case: &Case, root: &Path) -> Result<(), String> {
    let bytes = std::fs::read(root.join(case.file)).map_err(|error| error.to_string())?;
    let source = tidegate::source::find(source).ok_or("no such source")?;
    let mut query = Query::new(case.kind.parse()?);
    if !case.symbol.is_empty() {
        query = query.symbol(case.symbol);
    }
    if !case.interval.is_empty() {
        query = query.interval(case.interval.parse()?);
    }
    let mut answer = Answer::new(case.status, bytes.clone());
    for (name, value) in case.headers {
        answer.headers.push(name, value.as_bytes());
    }
    let found = judge_offline(source, &query, &State::default(), answer).map(|batch| {
        batch.records().iter().map(|record| serde_json::to_value(record).expect("a record as JSON")).collect::<Vec<_>>()
    });
    match (&case.expect, found) {
        (Expect::Records(read), Ok(records)) => {
            let body: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            let expected = read(&body);
            if expected.is_empty() {
                return Err("the reader expects no record: that checks nothing".to_owned());
            }
            if records.len() != expected.len() {
                return Err(format!("{} records, expected {}", records.len(), expected.len()));
            }
            match records.iter().zip(&expected).position(|(found, expected)| found != expected) {
                Some(at) => Err(format!("record {at}:\n   found {}\nexpected {}", records[at], expected[at])),
                None => Ok(()),
            }
        }
        (Expect::Nothing, Ok(records)) if records.is_empty() => Ok(()),
        (Expect::Nothing, Ok(records)) => Err(format!("{} records, expected none", records.len())),
        (Expect::Verdict(verdict, reason), Err(judgement)) => {
            let found = (judgement.verdict.as_str(), judgement.reason);
            if found == (*verdict, *reason) { Ok(()) } else { Err(format!("{found:?}: {}", judgement.message)) }
        }
        (Expect::Nothing | Expect::Records(_), Err(judgement)) => Err(judgement.to_string()),
        (Expect::Verdict(verdict, _), Ok(records)) => Err(format!("{} records, expected {verdict}", records.len())),
    }
}

fn root() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: no recordings at {}", root.display());
    None
}
