//! Recorded answers of OKX: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip};

pub const CASES: &[Case] = &[
    Case { file: "okx/element_parseTicker_1.json", kind: "ticker", expect: Expect::Records(element), ..OK },
    Case {
        file: "okx/http_get_candlesticks.json",
        kind: "bar",
        symbol: "BTC-USDT",
        interval: "1m",
        expect: Expect::Records(bars_spot),
        ..OK
    },
    Case {
        file: "okx/http_get_candlesticks_full.json",
        kind: "bar",
        symbol: "BTC-USDT.PERP",
        interval: "1m",
        expect: Expect::Records(bars_swap),
        ..OK
    },
    Case { file: "okx/http_get_candlesticks_full.json", kind: "bar", expect: Expect::Records(bars_bare), ..OK },
    Case {
        file: "okx/http_get_order_book.json",
        kind: "book",
        symbol: "BTC-USDT",
        expect: Expect::Records(book),
        ..OK
    },
    Case { file: "okx/http_get_trades.json", kind: "trade", expect: Expect::Records(trades), ..OK },
    // The level of an index and a mark price are no last trades.
    Case { file: "okx/http_get_index_price.json", kind: "ticker", expect: Expect::Verdict("malformed", "shape"), ..OK },
    Case { file: "okx/http_get_mark_price.json", kind: "ticker", expect: Expect::Verdict("malformed", "shape"), ..OK },
    Case {
        file: "okx/error_50011_rate_limit.json",
        status: 429,
        expect: Expect::Verdict("rate_limited", "rate_limit"),
        ..OK
    },
    Case {
        file: "okx/error_50014_missing_param.json",
        status: 400,
        expect: Expect::Verdict("bad_request", "argument"),
        ..OK
    },
    Case { file: "okx/error_51001_bad_instrument.json", expect: Expect::Verdict("not_found", "symbol_unknown"), ..OK },
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "okx/http_get_funding_rate_history.json", why: "no record kind for funding rates" },
    Skip {
        file: "okx/http_get_instruments_spot.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip {
        file: "okx/http_get_instruments_swap.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip {
        file: "okx/instruments_FUTURES_2022.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip {
        file: "okx/instruments_SPOT_2022.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip { file: "okx/ws_bbo_tbt.json", why: "WebSocket frame" },
    Skip { file: "okx/ws_books_snapshot.json", why: "WebSocket frame" },
    Skip { file: "okx/ws_books_update.json", why: "WebSocket frame" },
    Skip { file: "okx/ws_candle.json", why: "WebSocket frame" },
    Skip { file: "okx/ws_error_60018.json", why: "WebSocket frame" },
    Skip { file: "okx/ws_notice_and_ping.txt", why: "WebSocket frame" },
    Skip { file: "okx/ws_public_2022.jsonl", why: "WebSocket frames" },
    Skip { file: "okx/ws_tickers.json", why: "WebSocket frame" },
    Skip { file: "okx/ws_trades.json", why: "WebSocket frame" },
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

fn nanos(ms: &Value) -> i64 {
    ms.as_str().unwrap().parse::<i64>().unwrap() * 1_000_000
}

fn record(kind: &str, symbol: &str, native: &str, ts_event: i64, data: Value) -> Value {
    json!({"source": "okx", "kind": kind, "symbol": symbol, "native": native, "ts_event": ts_event, "data": data})
}

fn element(row: &Value) -> Vec<Value> {
    let data = json!({"last": row["last"], "last_size": row["lastSz"], "open": row["open24h"], "high": row["high24h"], "low": row["low24h"],
                      "volume": row["vol24h"], "quote_volume": row["volCcy24h"], "bid": row["bidPx"], "bid_size": row["bidSz"],
                      "ask": row["askPx"], "ask_size": row["askSz"]});
    vec![record("ticker", "ETH-BTC", "ETH-BTC", nanos(&row["ts"]), data)]
}

fn bars(body: &Value, symbol: &str, native: &str, contracts: bool) -> Vec<Value> {
    let bar = |row: &Value| {
        let start = nanos(&row[0]);
        let end = start + 60_000_000_000;
        let closed = row[8] == "1";
        let mut data = json!({"interval": "1m", "start": start, "end": end, "open": row[1], "high": row[2], "low": row[3],
                              "close": row[4], "volume": row[5], "quote_volume": row[7], "closed": closed});
        if contracts {
            data["volume_unit"] = json!("contracts");
        }
        record("bar", symbol, native, if closed { end } else { start }, data)
    };
    body["data"].as_array().unwrap().iter().map(bar).collect()
}

fn bars_spot(body: &Value) -> Vec<Value> {
    bars(body, "BTC-USDT", "BTC-USDT", false)
}

fn bars_swap(body: &Value) -> Vec<Value> {
    bars(body, "BTC-USDT.PERP", "BTC-USDT-SWAP", true)
}

fn bars_bare(body: &Value) -> Vec<Value> {
    let mut records = bars(body, "", "", true);
    for record in &mut records {
        record.as_object_mut().unwrap().retain(|key, _| key != "symbol" && key != "native");
        record["data"].as_object_mut().unwrap().retain(|key, _| key != "interval" && key != "end");
        record["ts_event"] = record["data"]["start"].clone();
    }
    records
}

fn book(body: &Value) -> Vec<Value> {
    let book = &body["data"][0];
    let side = |rows: &Value| rows.as_array().unwrap().iter().map(|row| json!([row[0], row[1]])).collect::<Vec<_>>();
    let data = json!({"bids": side(&book["bids"]), "asks": side(&book["asks"])});
    vec![record("book", "BTC-USDT", "BTC-USDT", nanos(&book["ts"]), data)]
}

fn trades(body: &Value) -> Vec<Value> {
    let trade = |row: &Value| {
        let data = json!({"id": row["tradeId"], "price": row["px"], "size": row["sz"], "side": row["side"]});
        record("trade", "BTC-USDT", "BTC-USDT", nanos(&row["ts"]), data)
    };
    body["data"].as_array().unwrap().iter().map(trade).collect()
}
