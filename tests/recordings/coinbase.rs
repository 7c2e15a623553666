//! Recorded answers of Coinbase: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

pub const CASES: &[Case] = &[
    Case {
        file: "coinbase/exchange_ticker.json",
        kind: "ticker",
        symbol: "BTC-USD",
        expect: Expect::Records(ticker),
        ..OK
    },
    // An old form of the day's statistics, without a last price.
    Case {
        file: "coinbase/exchange_stats.json",
        kind: "ticker",
        symbol: "BTC-USD",
        expect: Expect::Verdict("malformed", "shape"),
        ..OK
    },
    Case {
        file: "coinbase/exchange_candles.json",
        kind: "bar",
        symbol: "BTC-USD",
        interval: "1m",
        expect: Expect::Records(candles),
        ..OK
    },
    Case { file: "coinbase/exchange_candles.json", kind: "bar", expect: Expect::Records(candles_bare), ..OK },
    Case {
        file: "coinbase/exchange_candles_BTC-EUR_2020a.json",
        kind: "bar",
        symbol: "BTC-EUR",
        interval: "1d",
        expect: Expect::Records(candles_day),
        ..OK
    },
    Case {
        file: "coinbase/exchange_candles_BTC-EUR_recent.json",
        kind: "bar",
        symbol: "BTC-EUR",
        interval: "1d",
        expect: Expect::Records(candles_day),
        ..OK
    },
    Case {
        file: "coinbase/advanced_http_candles.json",
        kind: "bar",
        symbol: "BTC-USD",
        interval: "1h",
        expect: Expect::Records(candles_named),
        ..OK
    },
    Case { file: "coinbase/advanced_http_product.json", kind: "ticker", expect: Expect::Records(product), ..OK },
    Case { file: "coinbase/advanced_http_products.json", kind: "ticker", expect: Expect::Records(products), ..OK },
    Case { file: "coinbase/advanced_http_product_book.json", kind: "book", expect: Expect::Records(pricebook), ..OK },
    Case {
        file: "coinbase/advanced_http_ticker.json",
        kind: "trade",
        symbol: "BTC-USD",
        expect: Expect::Records(market_trades),
        ..OK
    },
    Case { file: "coinbase/advanced_http_ticker.json", kind: "ticker", expect: Expect::Records(market_ticker), ..OK },
    Case {
        file: "coinbase/advanced_error_429.json",
        status: 429,
        expect: Expect::Verdict("rate_limited", "rate_limit"),
        ..OK
    },
    Case {
        file: "coinbase/exchange_error_not_found.json",
        status: 404,
        expect: Expect::Verdict("not_found", "symbol_unknown"),
        ..OK
    },
    Case {
        file: "coinbase/exchange_error_rate_limit.json",
        status: 429,
        expect: Expect::Verdict("rate_limited", "rate_limit"),
        ..OK
    },
    Case {
        file: "coinbase/exchange_error_too_many_candles.json",
        kind: "bar",
        status: 400,
        expect: Expect::Verdict("bad_request", "range"),
        ..OK
    },
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "coinbase/exchange_currencies_partial.json", why: "no record kind for currencies" },
    Skip {
        file: "coinbase/exchange_products_2021.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip {
        file: "coinbase/exchange_products_partial.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip { file: "coinbase/exchange_ws_2021.jsonl", why: "WebSocket frames" },
    Skip { file: "coinbase/advanced_ws_candles.json", why: "WebSocket frame" },
    Skip { file: "coinbase/advanced_ws_heartbeats.json", why: "WebSocket frame" },
    Skip { file: "coinbase/advanced_ws_l2_data_snapshot.json", why: "WebSocket frame" },
    Skip { file: "coinbase/advanced_ws_l2_data_update.json", why: "WebSocket frame" },
    Skip { file: "coinbase/advanced_ws_market_trades.json", why: "WebSocket frame" },
    Skip { file: "coinbase/advanced_ws_subscriptions.json", why: "WebSocket frame" },
    Skip { file: "coinbase/advanced_ws_ticker.json", why: "WebSocket frame" },
];

const OK: Case = Case {
    file: "",
    kind: "ticker",
    symbol: "",
    interval: "",
    status: 200,
    headers: &[],
    expect: Expect::Verdict("ok", ""),
};

fn nanos(time: &Value) -> i64 {
    let timestamp: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    i64::try_from(timestamp.as_nanosecond()).unwrap()
}

fn record(kind: &str, name: &Value, ts_event: Option<i64>, data: Value) -> Value {
    let mut record = json!({"source": "coinbase", "kind": kind, "symbol": name, "native": name});
    if let Some(ts_event) = ts_event {
        record["ts_event"] = json!(ts_event);
    }
    record["data"] = data;
    record
}

fn ticker(body: &Value) -> Vec<Value> {
    let data = json!({"last": body["price"], "last_size": body["size"], "volume": body["volume"], "bid": body["bid"], "ask": body["ask"]});
    vec![record("ticker", &json!("BTC-USD"), Some(nanos(&body["time"])), data)]
}

/// Columns: time, low, high, open, close, volume.
fn bars(body: &Value, symbol: &str, interval: &str, secs: i64) -> Vec<Value> {
    let bar = |row: &Value| {
        let start = row[0].as_i64().unwrap() * 1_000_000_000;
        let end = start + secs * 1_000_000_000;
        let data = json!({"interval": interval, "start": start, "end": end, "open": text(&row[3]), "high": text(&row[2]),
                          "low": text(&row[1]), "close": text(&row[4]), "volume": text(&row[5]), "closed": true});
        record("bar", &json!(symbol), Some(end), data)
    };
    body.as_array().unwrap().iter().map(bar).collect()
}

fn candles(body: &Value) -> Vec<Value> {
    bars(body, "BTC-USD", "1m", 60)
}

fn candles_day(body: &Value) -> Vec<Value> {
    bars(body, "BTC-EUR", "1d", 86_400)
}

fn candles_bare(body: &Value) -> Vec<Value> {
    let mut records = bars(body, "", "", 60);
    for record in &mut records {
        record.as_object_mut().unwrap().retain(|key, _| key != "symbol" && key != "native");
        record["data"].as_object_mut().unwrap().retain(|key, _| !["interval", "end", "closed"].contains(&key.as_str()));
        record["ts_event"] = record["data"]["start"].clone();
    }
    records
}

fn candles_named(body: &Value) -> Vec<Value> {
    let bar = |row: &Value| {
        let start = row["start"].as_str().unwrap().parse::<i64>().unwrap() * 1_000_000_000;
        let end = start + 3_600_000_000_000;
        let data = json!({"interval": "1h", "start": start, "end": end, "open": row["open"], "high": row["high"],
                          "low": row["low"], "close": row["close"], "volume": row["volume"], "closed": true});
        record("bar", &json!("BTC-USD"), Some(end), data)
    };
    body["candles"].as_array().unwrap().iter().map(bar).collect()
}

fn product(body: &Value) -> Vec<Value> {
    assert_eq!((&body["best_bid_price"], &body["best_ask_price"]), (&json!(""), &json!("")));
    let data = json!({"last": body["price"], "change_pct": body["price_percentage_change_24h"], "volume": body["volume_24h"],
                      "quote_volume": body["approximate_quote_24h_volume"]});
    vec![record("ticker", &body["product_id"], None, data)]
}

fn products(body: &Value) -> Vec<Value> {
    body["products"].as_array().unwrap().iter().flat_map(product).collect()
}

fn pricebook(body: &Value) -> Vec<Value> {
    let book = &body["pricebook"];
    let side = |rows: &Value| {
        rows.as_array().unwrap().iter().map(|row| json!([row["price"], row["size"]])).collect::<Vec<_>>()
    };
    let data = json!({"bids": side(&book["bids"]), "asks": side(&book["asks"])});
    vec![record("book", &book["product_id"], Some(nanos(&book["time"])), data)]
}

fn market_trades(body: &Value) -> Vec<Value> {
    let trade = |row: &Value| {
        // The side is the maker's.
        let side = if row["side"] == "SELL" { "buy" } else { "sell" };
        let data = json!({"id": row["trade_id"], "price": row["price"], "size": row["size"], "side": side});
        record("trade", &row["product_id"], Some(nanos(&row["time"])), data)
    };
    body["trades"].as_array().unwrap().iter().map(trade).collect()
}

fn market_ticker(body: &Value) -> Vec<Value> {
    let newest = &body["trades"][0];
    let data =
        json!({"last": newest["price"], "last_size": newest["size"], "bid": body["best_bid"], "ask": body["best_ask"]});
    vec![record("ticker", &newest["product_id"], Some(nanos(&newest["time"])), data)]
}
