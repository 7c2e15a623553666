//! Recorded answers of Bitstamp: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

const fn case(file: &'static str, kind: &'static str, symbol: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind, symbol, interval: "", status, headers: &[], expect }
}

pub const CASES: &[Case] = &[
    case("bitstamp/element_parseTicker_0.json", "ticker", "", 200, Expect::Records(ticker_with_pair)),
    case("bitstamp/element_parseTrade_0.json", "trade", "", 200, Expect::Records(trade_alone)),
    case("bitstamp/order_book_ethusd_trim.json", "book", "ETH-USD", 200, Expect::Records(book_ethusd)),
    case("bitstamp/order_book_sgbeur.json", "book", "SGB-EUR", 200, Expect::Records(book_sgbeur)),
    case("bitstamp/order_book_usdteur.json", "book", "USDT-EUR", 200, Expect::Records(book_usdteur)),
    case("bitstamp/order_book_usdtusd.json", "book", "", 200, Expect::Records(book_unnamed)),
    case("bitstamp/xchange_error_limit_order.json", "ticker", "", 400, Expect::Verdict("bad_request", "http_4xx")),
    case("bitstamp/xchange_ticker.json", "ticker", "BTC-USD", 200, Expect::Records(ticker_2013)),
    case("bitstamp/xchange_transactions.json", "trade", "BTC-USD", 200, Expect::Records(trades_2013)),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "bitstamp/trading_pairs_info_2022.json", why: "list of instruments, no record kind" },
    Skip { file: "bitstamp/ws_2022.jsonl", why: "WebSocket frames" },
];

/// Seconds or smaller units as text into nanoseconds, by appending zeros.
fn nanos(value: &Value, zeros: &str) -> i64 {
    format!("{}{zeros}", text(value)).parse().expect("a time")
}

fn ticker_with_pair(body: &Value) -> Vec<Value> {
    vec![json!({
        "source": "bitstamp", "kind": "ticker", "symbol": "BTC-USD", "native": "BTC/USD", "ts_event": nanos(&body["timestamp"], "000000000"),
        "data": {"last": body["last"], "open": body["open"], "high": body["high"], "low": body["low"],
                 "change_pct": body["percent_change_24"], "vwap": body["vwap"], "volume": body["volume"],
                 "bid": body["bid"], "ask": body["ask"]}
    })]
}

fn ticker_2013(body: &Value) -> Vec<Value> {
    vec![json!({
        "source": "bitstamp", "kind": "ticker", "symbol": "BTC-USD", "native": "btcusd", "ts_event": nanos(&body["timestamp"], "000000000"),
        "data": {"last": body["last"], "high": body["high"], "low": body["low"], "vwap": body["vwap"],
                 "volume": body["volume"], "bid": body["bid"], "ask": body["ask"]}
    })]
}

fn trade_alone(body: &Value) -> Vec<Value> {
    vec![json!({
        "source": "bitstamp", "kind": "trade", "ts_event": nanos(&body["date"], "000000000"),
        "data": {"id": body["tid"], "price": body["price"], "size": body["amount"], "side": "buy"}
    })]
}

fn trades_2013(body: &Value) -> Vec<Value> {
    let rows = body.as_array().expect("a list");
    rows.iter()
        .map(|row| {
            json!({
                "source": "bitstamp", "kind": "trade", "symbol": "BTC-USD", "native": "btcusd", "ts_event": nanos(&row["date"], "000000000"),
                "data": {"id": text(&row["tid"]), "price": row["price"], "size": row["amount"]}
            })
        })
        .collect()
}

fn book(body: &Value) -> Value {
    json!({
        "source": "bitstamp", "kind": "book", "ts_event": nanos(&body["microtimestamp"], "000"),
        "data": {"bids": body["bids"], "asks": body["asks"]}
    })
}

fn named(mut record: Value, symbol: &str, native: &str) -> Vec<Value> {
    record["symbol"] = symbol.into();
    record["native"] = native.into();
    vec![record]
}

fn book_ethusd(body: &Value) -> Vec<Value> {
    named(book(body), "ETH-USD", "ethusd")
}

fn book_sgbeur(body: &Value) -> Vec<Value> {
    named(book(body), "SGB-EUR", "sgbeur")
}

fn book_usdteur(body: &Value) -> Vec<Value> {
    named(book(body), "USDT-EUR", "usdteur")
}

fn book_unnamed(body: &Value) -> Vec<Value> {
    vec![book(body)]
}
