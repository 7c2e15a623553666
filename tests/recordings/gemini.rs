//! Recorded answers of Gemini: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

const fn case(file: &'static str, kind: &'static str, symbol: &'static str, expect: Expect) -> Case {
    Case { file, kind, symbol, interval: "", status: 200, headers: &[], expect }
}

pub const CASES: &[Case] = &[
    case("gemini/book.json", "book", "BTC-USD", Expect::Records(book)),
    case("gemini/pubticker.json", "ticker", "BTC-USD", Expect::Records(pubticker)),
    case("gemini/trades.json", "trade", "", Expect::Records(trades)),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "gemini/symbol_details_btcusd.json", why: "an instrument, no record kind" },
    Skip { file: "gemini/symbols_2021.json", why: "list of instruments, no record kind" },
];

fn book(body: &Value) -> Vec<Value> {
    let side = |name: &str| -> Vec<Value> {
        let rows = body[name].as_array().expect("a list");
        rows.iter().map(|row| json!([row["price"], row["amount"]])).collect()
    };
    vec![json!({
        "source": "gemini", "kind": "book", "symbol": "BTC-USD", "native": "btcusd",
        "data": {"bids": side("bids"), "asks": side("asks")}
    })]
}

fn pubticker(body: &Value) -> Vec<Value> {
    let nanos: i64 = text(&body["timestamp"]).replace('.', "").parse().expect("nine places");
    vec![json!({
        "source": "gemini", "kind": "ticker", "symbol": "BTC-USD", "native": "btcusd", "ts_event": nanos,
        "data": {"last": body["last_price"], "high": body["high"], "low": body["low"], "volume": body["volume"],
                 "bid": body["bid"], "ask": body["ask"]}
    })]
}

fn trades(body: &Value) -> Vec<Value> {
    let rows = body.as_array().expect("a list");
    rows.iter()
        .map(|row| {
            let secs: i64 = text(&row["timestamp"]).parse().expect("seconds");
            json!({
                "source": "gemini", "kind": "trade", "ts_event": secs * 1_000_000_000,
                "data": {"id": text(&row["tid"]), "price": row["price"], "size": row["amount"]}
            })
        })
        .collect()
}
