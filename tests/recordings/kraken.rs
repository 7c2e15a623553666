//! Recorded answers of Kraken: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

pub const CASES: &[Case] = &[
    Case { file: "kraken/http_ticker.json", kind: "ticker", symbol: "BTC-USDT", expect: Expect::Records(ticker), ..OK },
    Case { file: "kraken/http_ticker.json", kind: "ticker", expect: Expect::Records(ticker_unnamed), ..OK },
    Case {
        file: "kraken/http_ohlc.json",
        kind: "bar",
        symbol: "BTC-USDT",
        interval: "1m",
        expect: Expect::Records(bars),
        ..OK
    },
    Case { file: "kraken/http_trades.json", kind: "trade", symbol: "BTC-USDT", expect: Expect::Records(trades), ..OK },
    Case { file: "kraken/http_order_book.json", kind: "book", symbol: "BTC-USDT", expect: Expect::Records(book), ..OK },
    Case { file: "kraken/error_rate_limit.json", expect: Expect::Verdict("rate_limited", "rate_limit"), ..OK },
    Case { file: "kraken/error_too_many_requests.json", expect: Expect::Verdict("rate_limited", "rate_limit"), ..OK },
    Case {
        file: "kraken/error_too_many_requests.json",
        status: 429,
        expect: Expect::Verdict("rate_limited", "rate_limit"),
        ..OK
    },
    Case { file: "kraken/error_unknown_pair.json", expect: Expect::Verdict("not_found", "symbol_unknown"), ..OK },
];

pub const SKIPS: &[Skip] = &[
    Skip {
        file: "kraken/http_asset_pairs.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip { file: "kraken/http_futures_orderbook.json", why: "another product: futures, on another host" },
    Skip { file: "kraken/http_futures_tickers.json", why: "another product: futures, on another host" },
    Skip { file: "kraken/http_server_time.json", why: "no record kind for the server's time" },
    Skip { file: "kraken/http_system_status.json", why: "no record kind for the provider's state" },
    Skip { file: "kraken/xchange_assets.json", why: "no record kind for assets; pairs come from AssetPairs" },
    Skip { file: "kraken/xchange_servertime.json", why: "no record kind for the server's time" },
    Skip { file: "kraken/xchange_spreads.json", why: "quotes of Kraken are not served" },
    Skip { file: "kraken/ws_book_snapshot.json", why: "WebSocket frame" },
    Skip { file: "kraken/ws_book_update.json", why: "WebSocket frame" },
    Skip { file: "kraken/ws_ohlc_update.json", why: "WebSocket frame" },
    Skip { file: "kraken/ws_pong.json", why: "WebSocket frame" },
    Skip { file: "kraken/ws_subscribe_response.json", why: "WebSocket frame" },
    Skip { file: "kraken/ws_ticker_snapshot.json", why: "WebSocket frame" },
    Skip { file: "kraken/ws_trade_update.json", why: "WebSocket frame" },
    Skip { file: "kraken/ws_v1_trade_2021.jsonl", why: "WebSocket frames" },
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

fn record(kind: &str, ts_event: Option<i64>, data: Value) -> Value {
    let mut record = json!({"source": "kraken", "kind": kind, "symbol": "BTC-USDT", "native": "XBTUSDT"});
    if let Some(ts_event) = ts_event {
        record["ts_event"] = json!(ts_event);
    }
    record["data"] = data;
    record
}

fn ticker(body: &Value) -> Vec<Value> {
    let row = &body["result"]["XBTUSDT"];
    vec![record(
        "ticker",
        None,
        json!({"last": row["c"][0], "last_size": row["c"][1], "open": row["o"], "high": row["h"][1], "low": row["l"][1],
               "vwap": row["p"][1], "volume": row["v"][1], "bid": row["b"][0], "bid_size": row["b"][2], "ask": row["a"][0],
               "ask_size": row["a"][2], "trades": row["t"][1]}),
    )]
}

fn ticker_unnamed(body: &Value) -> Vec<Value> {
    let mut records = ticker(body);
    records[0].as_object_mut().unwrap().remove("symbol");
    records
}

fn bars(body: &Value) -> Vec<Value> {
    let rows = body["result"]["XBTUSDT"].as_array().unwrap();
    let bar = |(index, row): (usize, &Value)| {
        let start = row[0].as_i64().unwrap() * 1_000_000_000;
        let end = start + 60_000_000_000;
        let closed = index + 1 < rows.len();
        record(
            "bar",
            Some(if closed { end } else { start }),
            json!({"interval": "1m", "start": start, "end": end, "open": row[1], "high": row[2], "low": row[3], "close": row[4],
                   "volume": row[6], "trades": row[7], "closed": closed}),
        )
    };
    rows.iter().enumerate().map(bar).collect()
}

fn trades(body: &Value) -> Vec<Value> {
    let trade = |row: &Value| {
        let token = text(&row[2]);
        let (secs, fraction) = token.split_once('.').unwrap_or((&token, ""));
        let nanos: i64 = format!("{secs}{fraction:0<9}").parse().unwrap();
        let side = if row[3] == "b" { "buy" } else { "sell" };
        record("trade", Some(nanos), json!({"id": text(&row[6]), "price": row[0], "size": row[1], "side": side}))
    };
    body["result"]["XBTUSDT"].as_array().unwrap().iter().map(trade).collect()
}

fn book(body: &Value) -> Vec<Value> {
    let side = |rows: &Value| rows.as_array().unwrap().iter().map(|row| json!([row[0], row[1]])).collect::<Vec<_>>();
    let book = &body["result"]["XBTUSDT"];
    vec![record("book", None, json!({"bids": side(&book["bids"]), "asks": side(&book["asks"])}))]
}
