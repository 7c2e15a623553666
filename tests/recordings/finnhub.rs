//! Recorded answers of Finnhub: which source, kind and verdict each has.

use serde_json::Value;

use super::rows::{DAY, bar_times, decimals, record, secs, texts};
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
    Case { file: "finnhub/quote_SPCX_2026.json", symbol: "SPCX", ..CASE },
    Case {
        file: "finnhub/stock_candle_AAPL_D.json",
        kind: "bar",
        symbol: "AAPL",
        interval: "1d",
        expect: Expect::Records(daily),
        ..CASE
    },
    Case { file: "finnhub/stock_candle_AAPL_D.json", kind: "bar", expect: Expect::Records(unnamed), ..CASE },
    Case { file: "finnhub/company_news_AAPL_2020.json", kind: "news", expect: Expect::Records(news), ..CASE },
    Case {
        file: "finnhub/candle_no_data.json",
        kind: "bar",
        expect: Expect::Verdict("not_found", "symbol_unknown"),
        ..CASE
    },
    Case { file: "finnhub/quote_unknown_symbol.json", expect: Expect::Verdict("not_found", "symbol_unknown"), ..CASE },
    Case {
        file: "finnhub/error_401_bad_key.json",
        status: 401,
        expect: Expect::Verdict("unauthorized", "key"),
        ..CASE
    },
    Case {
        file: "finnhub/error_403_no_access.json",
        status: 403,
        expect: Expect::Verdict("unauthorized", "plan"),
        ..CASE
    },
    Case { file: "finnhub/error_429.json", status: 429, expect: Expect::Verdict("rate_limited", "calls"), ..CASE },
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "finnhub/profile2_AAPL.json", why: "fundamentals" },
    Skip { file: "finnhub/profile2_SPCX_2026.json", why: "fundamentals" },
    Skip { file: "finnhub/profile2_unknown_symbol.json", why: "fundamentals" },
    Skip { file: "finnhub/ws_trades.jsonl", why: "WebSocket frames" },
];

fn quote(body: &Value) -> Vec<Value> {
    let fields = [
        ("last", "c"),
        ("open", "o"),
        ("high", "h"),
        ("low", "l"),
        ("prev_close", "pc"),
        ("change", "d"),
        ("change_pct", "dp"),
    ];
    vec![record(["finnhub", "ticker", "SPCX", "SPCX"], Some(secs(&body["t"])), decimals(body, &fields))]
}

fn candles(body: &Value, name: &str, interval: &str) -> Vec<Value> {
    let starts = body["t"].as_array().unwrap().iter().enumerate();
    starts
        .map(|(at, start)| {
            let mut data = serde_json::Map::new();
            for (field, key) in [("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "v")] {
                data.insert(field.to_owned(), super::text(&body[key][at]).into());
            }
            let ts_event = bar_times(&mut data, interval, secs(start), DAY);
            record(["finnhub", "bar", name, name], Some(ts_event), data)
        })
        .collect()
}

fn daily(body: &Value) -> Vec<Value> {
    candles(body, "AAPL", "1d")
}

fn unnamed(body: &Value) -> Vec<Value> {
    candles(body, "", "")
}

fn news(body: &Value) -> Vec<Value> {
    let fields =
        [("id", "id"), ("headline", "headline"), ("summary", "summary"), ("url", "url"), ("publisher", "source")];
    let rows = body.as_array().unwrap().iter();
    rows.map(|row| {
        let mut data = texts(row, &fields);
        data.insert("symbols".to_owned(), vec![row["related"].clone()].into());
        record(["finnhub", "news", "AAPL", "AAPL"], Some(secs(&row["datetime"])), data)
    })
    .collect()
}
