//! Recorded answers of Twelve Data: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

pub const CASES: &[Case] = &[
    case("twelve_data/quote_AAPL.json", "ticker", 200, Expect::Records(read_quote)),
    case("twelve_data/time_series_TSLA_1day.json", "bar", 200, Expect::Records(read_days)),
    case("twelve_data/error_401_apikey.json", "ticker", 401, Expect::Verdict("unauthorized", "key")),
    case("twelve_data/error_404_symbol.json", "ticker", 404, Expect::Verdict("not_found", "symbol_unknown")),
    case("twelve_data/error_429_credits.json", "ticker", 200, Expect::Verdict("rate_limited", "credits_minute")),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "twelve_data/ema_AAPL_1min.json", why: "an indicator, no record kind" },
    Skip { file: "twelve_data/ws_frames.jsonl", why: "WebSocket frames" },
];

const fn case(file: &'static str, kind: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind, symbol: "", interval: "", status, headers: &[], expect }
}

fn read_quote(body: &Value) -> Vec<Value> {
    let fields = [
        ("last", "close"),
        ("open", "open"),
        ("high", "high"),
        ("low", "low"),
        ("prev_close", "previous_close"),
        ("change", "change"),
        ("change_pct", "percent_change"),
        ("volume", "volume"),
    ];
    let data: serde_json::Map<String, Value> =
        fields.iter().map(|(field, from)| ((*field).to_owned(), text(&body[*from]).into())).collect();
    vec![json!({
        "source": "twelve_data", "kind": "ticker", "symbol": "AAPL", "native": "AAPL",
        "ts_event": body["timestamp"].as_i64().unwrap() * 1_000_000_000, "data": data
    })]
}

fn read_days(body: &Value) -> Vec<Value> {
    let rows = body["values"].as_array().unwrap().iter();
    rows.map(|row| {
        // All of these days are in summer time: New York is four hours behind.
        let midnight: jiff::Timestamp = format!("{}T00:00:00-04:00", row["datetime"].as_str().unwrap()).parse().unwrap();
        let start = midnight.as_second() * 1_000_000_000;
        let end = start + 86_400_000_000_000;
        json!({
            "source": "twelve_data", "kind": "bar", "symbol": "TSLA", "native": "TSLA", "ts_event": end,
            "data": {"interval": "1d", "start": start, "end": end, "open": row["open"], "high": row["high"], "low": row["low"],
                     "close": row["close"], "volume": row["volume"], "closed": true}
        })
    })
    .collect()
}
