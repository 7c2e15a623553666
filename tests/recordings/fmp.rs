//! Recorded answers of Financial Modeling Prep: which source, kind and verdict each has.

use serde_json::Value;

use super::rows::{DAY, bar_times, decimals, record, secs, texts, wall};
use super::{Case, Expect, Skip};

const CASE: Case = Case {
    file: "",
    kind: "ticker",
    symbol: "",
    interval: "",
    status: 200,
    headers: &[],
    expect: Expect::Records(quote),
};

pub const CASES: &[Case] = &[
    Case { file: "fmp/quote_AAPL.json", ..CASE },
    Case {
        file: "fmp/historical_price_eod_full_AAPL.json",
        kind: "bar",
        interval: "1d",
        expect: Expect::Records(daily),
        ..CASE
    },
    Case {
        file: "fmp/historical_price_eod_full_AAPL.json",
        kind: "bar",
        symbol: "AAPL",
        expect: Expect::Records(dated),
        ..CASE
    },
    Case { file: "fmp/news_stock.json", kind: "news", expect: Expect::Records(news), ..CASE },
    Case { file: "fmp/empty_unknown_symbol.json", expect: Expect::Verdict("not_found", "symbol_unknown"), ..CASE },
    Case {
        file: "fmp/error_401_invalid_key.json",
        status: 401,
        expect: Expect::Verdict("unauthorized", "key"),
        ..CASE
    },
    Case {
        file: "fmp/error_402_exclusive_endpoint.json",
        status: 402,
        expect: Expect::Verdict("unauthorized", "plan"),
        ..CASE
    },
    Case {
        file: "fmp/error_402_premium_symbol.txt",
        status: 402,
        expect: Expect::Verdict("unauthorized", "plan"),
        ..CASE
    },
    Case {
        file: "fmp/error_403_legacy_endpoint.json",
        status: 403,
        expect: Expect::Verdict("unauthorized", "plan"),
        ..CASE
    },
    Case {
        file: "fmp/error_429_limit_reach.json",
        status: 429,
        expect: Expect::Verdict("rate_limited", "calls"),
        ..CASE
    },
];

pub const SKIPS: &[Skip] = &[Skip { file: "fmp/income_statement_AAPL.json", why: "fundamentals" }];

fn quote(body: &Value) -> Vec<Value> {
    let fields = [
        ("last", "price"),
        ("open", "open"),
        ("high", "dayHigh"),
        ("low", "dayLow"),
        ("prev_close", "previousClose"),
        ("change", "change"),
        ("change_pct", "changePercentage"),
        ("volume", "volume"),
    ];
    let rows = body.as_array().unwrap().iter();
    rows.map(|row| record(["fmp", "ticker", "AAPL", "AAPL"], Some(secs(&row["timestamp"])), decimals(row, &fields)))
        .collect()
}

fn bars(body: &Value, interval: &str) -> Vec<Value> {
    let fields = [("open", "open"), ("high", "high"), ("low", "low"), ("close", "close"), ("volume", "volume")];
    let rows = body.as_array().unwrap().iter();
    rows.map(|row| {
        let mut data = decimals(row, &fields);
        let ts_event = bar_times(&mut data, interval, wall(row["date"].as_str().unwrap(), "UTC"), DAY);
        record(["fmp", "bar", "AAPL", "AAPL"], Some(ts_event), data)
    })
    .collect()
}

fn daily(body: &Value) -> Vec<Value> {
    bars(body, "1d")
}

fn dated(body: &Value) -> Vec<Value> {
    bars(body, "")
}

fn news(body: &Value) -> Vec<Value> {
    let fields = [("headline", "title"), ("summary", "text"), ("url", "url"), ("publisher", "publisher")];
    let rows = body.as_array().unwrap().iter();
    rows.map(|row| {
        let mut data = texts(row, &fields);
        let name = row["symbol"].as_str().unwrap();
        data.insert("symbols".to_owned(), vec![name].into());
        record(
            ["fmp", "news", name, name],
            Some(wall(row["publishedDate"].as_str().unwrap(), "America/New_York")),
            data,
        )
    })
    .collect()
}
