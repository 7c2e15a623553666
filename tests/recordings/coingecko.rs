//! Recorded answers of CoinGecko: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

const fn case(file: &'static str, kind: &'static str, symbol: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind, symbol, interval: "", status, headers: &[], expect }
}

pub const CASES: &[Case] = &[
    case("coingecko/coin_tickers.json", "ticker", "", 200, Expect::Records(venues_coin)),
    case("coingecko/coins_markets.json", "ticker", "BTC-USD", 200, Expect::Records(markets)),
    case("coingecko/coins_ohlc.json", "bar", "BTC-USD", 200, Expect::Records(ohlc)),
    case("coingecko/error_401_key.json", "ticker", "", 401, Expect::Verdict("unauthorized", "key")),
    case("coingecko/error_404_coin_not_found.json", "bar", "", 404, Expect::Verdict("not_found", "symbol_unknown")),
    Case {
        file: "coingecko/error_429.json",
        kind: "ticker",
        symbol: "",
        interval: "",
        status: 429,
        headers: &[("retry-after", "7")],
        expect: Expect::Verdict("rate_limited", "rate_limit"),
    },
    case("coingecko/exchange_tickers.json", "ticker", "", 200, Expect::Records(venues_exchange)),
    case("coingecko/simple_price.json", "ticker", "BTC-USD", 200, Expect::Records(prices)),
    case("coingecko/simple_price_unknown_id.json", "ticker", "", 200, Expect::Verdict("not_found", "symbol_unknown")),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "coingecko/coins_list.json", why: "list of coins, no record kind" },
    Skip { file: "coingecko/exchange_rates.json", why: "rates of BTC to currencies; the source serves no rates" },
    Skip { file: "coingecko/global.json", why: "totals of all markets, no record kind" },
    Skip { file: "coingecko/market_chart.json", why: "single prices over time, no open, high and low: no bars" },
    Skip { file: "coingecko/ping.json", why: "a greeting, no record kind" },
    Skip { file: "coingecko/search_trending.json", why: "a ranking by interest, no record kind" },
    Skip { file: "coingecko/supported_vs_currencies.json", why: "list of currencies, no record kind" },
];

fn venues(body: &Value, rows: &[(&str, i64)]) -> Vec<Value> {
    let tickers = body["tickers"].as_array().expect("a list");
    assert_eq!(tickers.len(), rows.len());
    tickers
        .iter()
        .zip(rows)
        .map(|(row, (symbol, secs))| {
            json!({
                "source": "coingecko", "kind": "ticker", "symbol": symbol, "native": row["coin_id"], "ts_event": secs * 1_000_000_000,
                "data": {"last": text(&row["last"]), "volume": text(&row["volume"])}
            })
        })
        .collect()
}

/// The times are those of the texts: 2026-05-18T13:37:29Z.
fn venues_coin(body: &Value) -> Vec<Value> {
    venues(body, &[("BTC-USDT", 1_779_111_449)])
}

/// 2026-05-26T10:32:37Z and 10:32:01Z.
fn venues_exchange(body: &Value) -> Vec<Value> {
    venues(body, &[("BTC-USDT", 1_779_791_557), ("BTC-USDC", 1_779_791_521)])
}

/// 2026-05-18T12:49:21.599Z.
fn markets(body: &Value) -> Vec<Value> {
    let row = &body[0];
    vec![json!({
        "source": "coingecko", "kind": "ticker", "symbol": "BTC-USD", "native": "bitcoin", "ts_event": 1_779_108_561_599_000_000_i64,
        "data": {"last": text(&row["current_price"]), "high": text(&row["high_24h"]), "low": text(&row["low_24h"]),
                 "change": text(&row["price_change_24h"]), "change_pct": text(&row["price_change_percentage_24h"]),
                 "quote_volume": text(&row["total_volume"])}
    })]
}

fn prices(body: &Value) -> Vec<Value> {
    let coin = &body["bitcoin"];
    let secs: i64 = text(&coin["last_updated_at"]).parse().expect("seconds");
    vec![json!({
        "source": "coingecko", "kind": "ticker", "symbol": "BTC-USD", "native": "bitcoin", "ts_event": secs * 1_000_000_000,
        "data": {"last": text(&coin["usd"]), "change_pct": text(&coin["usd_24h_change"]), "quote_volume": text(&coin["usd_24h_vol"])}
    })]
}

/// Stamps are the ends of bars, half an hour apart. Whether they have passed depends on the day of the test.
fn ohlc(body: &Value) -> Vec<Value> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_nanos() as i64;
    let rows = body.as_array().expect("a list");
    rows.iter()
        .map(|row| {
            let end = text(&row[0]).parse::<i64>().expect("milliseconds") * 1_000_000;
            let start = end - 1_800_000_000_000;
            json!({
                "source": "coingecko", "kind": "bar", "symbol": "BTC-USD", "native": "bitcoin", "ts_event": if end <= now { end } else { start },
                "data": {"interval": "30m", "start": start, "end": end, "open": text(&row[1]), "high": text(&row[2]),
                         "low": text(&row[3]), "close": text(&row[4]), "closed": end <= now}
            })
        })
        .collect()
}
