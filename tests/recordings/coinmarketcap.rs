//! Recorded answers of CoinMarketCap: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

const fn case(file: &'static str, kind: &'static str, symbol: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind, symbol, interval: "", status, headers: &[], expect }
}

pub const CASES: &[Case] = &[
    case("coinmarketcap/error_200_body_500.json", "bar", "", 200, Expect::Verdict("upstream_error", "provider")),
    case("coinmarketcap/error_401_1001.json", "ticker", "", 401, Expect::Verdict("unauthorized", "key")),
    case("coinmarketcap/error_429_1008.json", "ticker", "", 429, Expect::Verdict("rate_limited", "minute")),
    case("coinmarketcap/listings_latest_2019.json", "ticker", "", 200, Expect::Records(listings)),
    case("coinmarketcap/web_historical_v3.json", "bar", "BTC-AUD", 200, Expect::Records(web_bars)),
    case("coinmarketcap/xchange_ticker.json", "ticker", "", 200, Expect::Records(ticker_alone)),
];

pub const SKIPS: &[Skip] =
    &[Skip { file: "coinmarketcap/cryptocurrency_map.json", why: "list of coins, no record kind" }];

fn ticker(row: &Value, symbol: &str, secs: i64) -> Value {
    let quote = &row["quote"]["USD"];
    json!({
        "source": "coinmarketcap", "kind": "ticker", "symbol": symbol, "native": text(&row["id"]), "ts_event": secs * 1_000_000_000,
        "data": {"last": text(&quote["price"]), "change_pct": text(&quote["percent_change_24h"]), "quote_volume": text(&quote["volume_24h"])}
    })
}

/// The times are those of the texts: 2019-02-08T12:28:26Z, 12:28:04Z and 12:28:16Z.
fn listings(body: &Value) -> Vec<Value> {
    let rows = body["data"].as_array().expect("a list");
    assert_eq!(rows.len(), 3);
    vec![
        ticker(&rows[0], "BTC-USD", 1_549_628_906),
        ticker(&rows[1], "XRP-USD", 1_549_628_884),
        ticker(&rows[2], "ETH-USD", 1_549_628_896),
    ]
}

/// 2021-08-28T16:13:19Z.
fn ticker_alone(body: &Value) -> Vec<Value> {
    vec![ticker(body, "BTC-USD", 1_630_167_199)]
}

/// Seven days from 2021-01-01 on, in Australian dollars (id 2782).
fn web_bars(body: &Value) -> Vec<Value> {
    let rows = body["data"]["quotes"].as_array().expect("a list");
    assert_eq!(rows.len(), 7);
    rows.iter()
        .zip(0_i64..)
        .map(|(row, day)| {
            let start = (1_609_459_200 + day * 86_400) * 1_000_000_000;
            let end = start + 86_400_000_000_000;
            let quote = &row["quote"];
            json!({
                "source": "coinmarketcap", "kind": "bar", "symbol": "BTC-AUD", "native": "1", "ts_event": end,
                "data": {"interval": "1d", "start": start, "end": end, "open": text(&quote["open"]), "high": text(&quote["high"]),
                         "low": text(&quote["low"]), "close": text(&quote["close"]), "quote_volume": text(&quote["volume"]),
                         "closed": true}
            })
        })
        .collect()
}
