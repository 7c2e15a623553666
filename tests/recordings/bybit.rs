//! Recorded answers of Bybit: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip};

pub const CASES: &[Case] = &[
    Case {
        file: "bybit/doc_tickers_0.json",
        kind: "ticker",
        symbol: "BTC-USD.PERP",
        expect: Expect::Records(ticker_inverse),
        ..OK
    },
    Case { file: "bybit/doc_tickers_1.json", kind: "ticker", expect: Expect::Records(ticker_option), ..OK },
    Case {
        file: "bybit/doc_tickers_2.json",
        kind: "ticker",
        symbol: "BTC-USDT",
        expect: Expect::Records(ticker_spot),
        ..OK
    },
    Case {
        file: "bybit/doc_kline_0.json",
        kind: "bar",
        symbol: "BTC-USD.PERP",
        interval: "1h",
        expect: Expect::Records(bars_inverse),
        ..OK
    },
    Case {
        file: "bybit/doc_index_kline_0.json",
        kind: "bar",
        interval: "1m",
        expect: Expect::Records(bars_index),
        ..OK
    },
    Case { file: "bybit/doc_orderbook_0.json", kind: "book", symbol: "BTC-USDT", expect: Expect::Records(book), ..OK },
    Case {
        file: "bybit/doc_recent_trade_0.json",
        kind: "trade",
        symbol: "BTC-USDT",
        expect: Expect::Records(trades),
        ..OK
    },
    Case { file: "bybit/error_10001_bad_symbol.json", expect: Expect::Verdict("not_found", "symbol_unknown"), ..OK },
    Case {
        file: "bybit/error_10001_spot_v3_symbol_params.json",
        expect: Expect::Verdict("not_found", "symbol_unknown"),
        ..OK
    },
    Case { file: "bybit/error_10006_rate_limit.json", expect: Expect::Verdict("rate_limited", "rate_limit"), ..OK },
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "bybit/doc_history_fund_rate_0.json", why: "no record kind for funding rates" },
    Skip { file: "bybit/doc_instrument_0.json", why: "a list of options, which are named by rule" },
    Skip {
        file: "bybit/doc_instrument_1.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip { file: "bybit/doc_insurance_0.json", why: "no record kind for insurance funds" },
    Skip { file: "bybit/doc_open_interest_0.json", why: "no record kind for open interest" },
    Skip { file: "bybit/doc_time_0.json", why: "no record kind for the server's time" },
    Skip {
        file: "bybit/http_get_instruments_linear.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip {
        file: "bybit/http_get_instruments_spot.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip {
        file: "bybit/http_get_instruments_spot_xstocks.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip { file: "bybit/ws_doc_kline_0.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_doc_orderbook_0.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_doc_ticker_0.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_doc_ticker_1.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_doc_trade_0.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_kline.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_orderbook_delta.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_orderbook_snapshot.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_public_trade.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_subscription_ack.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_subscription_failure.json", why: "WebSocket frame" },
    Skip { file: "bybit/ws_ticker_linear.json", why: "WebSocket frame" },
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
    let ms = ms.as_i64().unwrap_or_else(|| ms.as_str().unwrap().parse().unwrap());
    ms * 1_000_000
}

fn record(kind: &str, symbol: Option<&str>, native: &Value, ts_event: i64, data: Value) -> Value {
    let mut record = json!({"source": "bybit", "kind": kind, "native": native, "ts_event": ts_event, "data": data});
    if let Some(symbol) = symbol {
        record["symbol"] = json!(symbol);
    }
    record
}

fn ticker(body: &Value, symbol: Option<&str>, change: (&str, Value), turnover: bool, contracts: bool) -> Vec<Value> {
    let row = &body["result"]["list"][0];
    let names = [
        ("last", "lastPrice"),
        ("open", "prevPrice24h"),
        ("high", "highPrice24h"),
        ("low", "lowPrice24h"),
        ("volume", "volume24h"),
        ("bid", "bid1Price"),
        ("bid_size", "bid1Size"),
        ("ask", "ask1Price"),
        ("ask_size", "ask1Size"),
    ];
    let mut data: serde_json::Map<String, Value> = names
        .iter()
        .filter_map(|(ours, theirs)| row.get(*theirs).map(|value| ((*ours).to_owned(), value.clone())))
        .collect();
    data.insert(change.0.to_owned(), change.1);
    if turnover {
        data.insert("quote_volume".to_owned(), row["turnover24h"].clone());
    }
    if contracts {
        data.insert("volume_unit".to_owned(), json!("contracts"));
    }
    vec![record("ticker", symbol, &row["symbol"], nanos(&body["time"]), Value::Object(data))]
}

fn ticker_inverse(body: &Value) -> Vec<Value> {
    assert_eq!(body["result"]["list"][0]["price24hPcnt"], "0.142425");
    ticker(body, Some("BTC-USD.PERP"), ("change_pct", json!("14.2425")), false, true)
}

fn ticker_option(body: &Value) -> Vec<Value> {
    let change = body["result"]["list"][0]["change24h"].clone();
    ticker(body, None, ("change", change), true, false)
}

fn ticker_spot(body: &Value) -> Vec<Value> {
    assert_eq!(body["result"]["list"][0]["price24hPcnt"], "0.0068");
    ticker(body, Some("BTC-USDT"), ("change_pct", json!("0.68")), true, false)
}

fn bars(body: &Value, symbol: Option<&str>, interval: &str, secs: i64) -> Vec<Value> {
    let bar = |row: &Value| {
        let start = nanos(&row[0]);
        let end = start + secs * 1_000_000_000;
        let mut data = json!({"interval": interval, "start": start, "end": end, "open": row[1], "high": row[2], "low": row[3],
                              "close": row[4], "closed": true});
        if let Some(volume) = row.get(5) {
            data["volume"] = volume.clone();
            data["volume_unit"] = json!("contracts");
        }
        record("bar", symbol, &body["result"]["symbol"], end, data)
    };
    body["result"]["list"].as_array().unwrap().iter().map(bar).collect()
}

fn bars_inverse(body: &Value) -> Vec<Value> {
    bars(body, Some("BTC-USD.PERP"), "1h", 3_600)
}

fn bars_index(body: &Value) -> Vec<Value> {
    bars(body, None, "1m", 60)
}

fn book(body: &Value) -> Vec<Value> {
    let book = &body["result"];
    let data = json!({"bids": book["b"], "asks": book["a"], "sequence": book["seq"]});
    vec![record("book", Some("BTC-USDT"), &book["s"], nanos(&book["ts"]), data)]
}

fn trades(body: &Value) -> Vec<Value> {
    let trade = |row: &Value| {
        let side = row["side"].as_str().unwrap().to_lowercase();
        let data = json!({"id": row["execId"], "price": row["price"], "size": row["size"], "side": side});
        record("trade", Some("BTC-USDT"), &row["symbol"], nanos(&row["time"]), data)
    };
    body["result"]["list"].as_array().unwrap().iter().map(trade).collect()
}
