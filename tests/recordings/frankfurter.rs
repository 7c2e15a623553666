//! Recorded answers of Frankfurter: which source, kind and verdict each has. The ECB's own files are here, too.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

pub const CASES: &[Case] = &[
    case("frankfurter/v1_latest.json", "", 200, Expect::Records(read_day)),
    case("frankfurter/v1_series.json", "EUR-AUD", 200, Expect::Records(read_series)),
    case("frankfurter/v2_rate_pair.json", "EUR-USD", 200, Expect::Records(|body| vec![read_row(body)])),
    case(
        "frankfurter/v2_rates.json",
        "",
        200,
        Expect::Records(|body| body.as_array().unwrap().iter().map(read_row).collect()),
    ),
    case("frankfurter/error_404.json", "EUR-USD", 404, Expect::Verdict("not_found", "symbol_unknown")),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "frankfurter/v2_currencies.json", why: "a list of currencies, no rates" },
    Skip { file: "frankfurter/v2_currency.json", why: "a description of a currency, no rates" },
    Skip { file: "ecb/ecb_data_api_exr_recent.csv", why: "CSV of the ECB's own service, which is no listed source" },
    Skip { file: "ecb/eurofxref_hist_empty.xml", why: "XML of the ECB's own service, which is no listed source" },
];

const fn case(file: &'static str, symbol: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind: "rate", symbol, interval: "", status, headers: &[], expect }
}

fn read_day(body: &Value) -> Vec<Value> {
    let rates = body["rates"].as_object().unwrap();
    rates.iter().map(|(quote, value)| record(&body["base"], quote, value, body["date"].as_str().unwrap())).collect()
}

fn read_series(body: &Value) -> Vec<Value> {
    let days = body["rates"].as_object().unwrap().iter();
    days.flat_map(|(date, rates)| {
        rates.as_object().unwrap().iter().map(|(quote, value)| record(&body["base"], quote, value, date))
    })
    .collect()
}

fn read_row(row: &Value) -> Value {
    record(&row["base"], row["quote"].as_str().unwrap(), &row["rate"], row["date"].as_str().unwrap())
}

fn record(base: &Value, quote: &str, value: &Value, date: &str) -> Value {
    let base = base.as_str().unwrap();
    let midnight: jiff::Timestamp = format!("{date}T00:00:00Z").parse().unwrap();
    json!({
        "source": "frankfurter", "kind": "rate", "symbol": format!("{base}-{quote}"), "native": format!("{base}/{quote}"),
        "ts_event": midnight.as_second() * 1_000_000_000,
        "data": {"base": base, "quote": quote, "value": text(value), "date": date}
    })
}
