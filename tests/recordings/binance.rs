//! Recorded answers of Binance: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

pub const CASES: &[Case] = &[
    Case {
        file: "binance/agg_trades_BTCUSDT.json",
        kind: "trade",
        symbol: "BTC-USDT",
        expect: Expect::Records(agg_trades),
        ..OK
    },
    Case {
        file: "binance/trades_BTCUSDT.json",
        kind: "trade",
        symbol: "BTC-USDT",
        expect: Expect::Records(trades),
        ..OK
    },
    Case {
        file: "binance/historical_trades_BTCUSDT.json",
        kind: "trade",
        symbol: "BTC-USDT",
        expect: Expect::Records(trades),
        ..OK
    },
    Case {
        file: "binance/historical_trades_BTCUSDT.json",
        kind: "trade",
        expect: Expect::Records(trades_unnamed),
        ..OK
    },
    Case {
        file: "binance/book_ticker_BTCUSDT.json",
        kind: "quote",
        symbol: "BTC-USDT",
        expect: Expect::Records(quote),
        ..OK
    },
    Case {
        file: "binance/depth_BLZETH_1000.json",
        kind: "book",
        symbol: "BLZ-ETH",
        expect: Expect::Records(book_blz),
        ..OK
    },
    Case {
        file: "binance/depth_BTCUSDT.json",
        kind: "book",
        symbol: "BTC-USDT",
        expect: Expect::Records(book_btc),
        ..OK
    },
    Case {
        file: "binance/depth_NKNUSDT_1000.json",
        kind: "book",
        symbol: "NKN-USDT",
        expect: Expect::Records(book_nkn),
        ..OK
    },
    Case {
        file: "binance/us_depth_CRVUSDT_1000.json",
        kind: "book",
        symbol: "CRV-USDT",
        expect: Expect::Records(book_crv),
        ..OK
    },
    Case {
        file: "binance/futures_depth_SUSHIUSDT_1000.json",
        kind: "book",
        expect: Expect::Records(book_futures),
        ..OK
    },
    Case {
        file: "binance/klines_BTCUSDT_1m.json",
        kind: "bar",
        symbol: "BTC-USDT",
        interval: "1m",
        expect: Expect::Records(bars_minute),
        ..OK
    },
    Case { file: "binance/klines_BTCUSDT_1m.json", kind: "bar", expect: Expect::Records(bars_minute_unnamed), ..OK },
    Case { file: "binance/futures_klines.json", kind: "bar", expect: Expect::Records(bars_week), ..OK },
    Case {
        file: "binance/ticker_24hr_BNBBTC.json",
        kind: "ticker",
        symbol: "BNB-BTC",
        expect: Expect::Records(ticker_bnb),
        ..OK
    },
    Case { file: "binance/futures_ticker_24hr.json", kind: "ticker", expect: Expect::Records(ticker_unnamed), ..OK },
    Case {
        file: "binance/ticker_price_BTCUSDT.json",
        kind: "ticker",
        symbol: "BTC-USDT",
        expect: Expect::Records(price),
        ..OK
    },
    // A mean over five minutes is no last price, and the body does not say of what.
    Case {
        file: "binance/avg_price.json",
        kind: "ticker",
        symbol: "BTC-USDT",
        expect: Expect::Verdict("malformed", "shape"),
        ..OK
    },
    Case {
        file: "binance/error_1003_418_ip_banned.json",
        status: 418,
        headers: &[("retry-after", "120")],
        expect: Expect::Verdict("banned", "http_418"),
        ..OK
    },
    Case {
        file: "binance/error_1003_429_too_much_weight.json",
        status: 429,
        headers: &[("retry-after", "21"), ("x-mbx-used-weight-1m", "6001")],
        expect: Expect::Verdict("rate_limited", "weight_used_up"),
        ..OK
    },
    Case {
        file: "binance/error_1021_timestamp.json",
        kind: "balance",
        status: 400,
        expect: Expect::Verdict("bad_request", "clock_skew"),
        ..OK
    },
    Case {
        file: "binance/error_1022_signature.json",
        kind: "balance",
        status: 400,
        expect: Expect::Verdict("unauthorized", "signature"),
        ..OK
    },
    Case {
        file: "binance/error_1100_illegal_chars.json",
        status: 400,
        expect: Expect::Verdict("bad_request", "argument"),
        ..OK
    },
    Case {
        file: "binance/error_1102_missing_param.json",
        status: 400,
        expect: Expect::Verdict("bad_request", "argument"),
        ..OK
    },
    Case {
        file: "binance/error_1121_invalid_symbol.json",
        status: 400,
        expect: Expect::Verdict("not_found", "symbol_unknown"),
        ..OK
    },
    Case {
        file: "binance/error_1121_invalid_symbol.json",
        expect: Expect::Verdict("not_found", "symbol_unknown"),
        ..OK
    },
    Case {
        file: "binance/error_2015_bad_key.json",
        kind: "balance",
        status: 401,
        expect: Expect::Verdict("unauthorized", "key"),
        ..OK
    },
];

pub const SKIPS: &[Skip] = &[
    Skip {
        file: "binance/exchange_info_2021.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip {
        file: "binance/exchange_info_small.json",
        why: "the instrument list, read by a prerequisite; see instruments.rs",
    },
    Skip { file: "binance/server_time.json", why: "the server's time, read by a prerequisite; tested in the source" },
    Skip { file: "binance/signing_vectors.json", why: "signatures; the source's tests read it in place" },
    Skip { file: "binance/futures_funding_rate.json", why: "no record kind for funding rates" },
    Skip { file: "binance/futures_open_interest.json", why: "no record kind for open interest" },
    Skip { file: "binance/ws_combined_2021.jsonl", why: "WebSocket frames" },
    Skip { file: "binance/ws_error_frame.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_futures_agg_trade_stream.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_futures_book_ticker.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_futures_combined_2021.jsonl", why: "WebSocket frames" },
    Skip { file: "binance/ws_futures_depth_update.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_futures_kline_stream_closed.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_futures_kline_stream_open.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_futures_liquidation_stream.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_server_shutdown.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_spot_agg_trade.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_spot_ticker_24hr.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_spot_ticker_book.json", why: "WebSocket frame" },
    Skip { file: "binance/ws_spot_trade.json", why: "WebSocket frame" },
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
    ms.as_i64().unwrap() * 1_000_000
}

fn rows(body: &Value) -> &[Value] {
    body.as_array().unwrap()
}

fn side(buyer_is_maker: &Value) -> &'static str {
    if buyer_is_maker.as_bool().unwrap() { "sell" } else { "buy" }
}

fn trades(body: &Value) -> Vec<Value> {
    let record = |row: &Value| {
        json!({"source": "binance", "kind": "trade", "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": nanos(&row["time"]),
               "data": {"id": text(&row["id"]), "price": row["price"], "size": row["qty"], "side": side(&row["isBuyerMaker"])}})
    };
    rows(body).iter().map(record).collect()
}

fn trades_unnamed(body: &Value) -> Vec<Value> {
    unnamed(trades(body))
}

fn unnamed(mut records: Vec<Value>) -> Vec<Value> {
    for record in &mut records {
        record.as_object_mut().unwrap().retain(|key, _| key != "symbol" && key != "native");
    }
    records
}

fn agg_trades(body: &Value) -> Vec<Value> {
    let record = |row: &Value| {
        json!({"source": "binance", "kind": "trade", "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": nanos(&row["T"]),
               "data": {"id": text(&row["a"]), "price": row["p"], "size": row["q"], "side": side(&row["m"])}})
    };
    rows(body).iter().map(record).collect()
}

fn quote(body: &Value) -> Vec<Value> {
    vec![json!({"source": "binance", "kind": "quote", "symbol": "BTC-USDT", "native": "BTCUSDT",
                "data": {"bid": body["bidPrice"], "bid_size": body["bidQty"], "ask": body["askPrice"], "ask_size": body["askQty"]}})]
}

fn book(body: &Value, symbol: &str, native: &str) -> Vec<Value> {
    vec![json!({"source": "binance", "kind": "book", "symbol": symbol, "native": native,
                "data": {"bids": body["bids"], "asks": body["asks"], "sequence": body["lastUpdateId"]}})]
}

fn book_blz(body: &Value) -> Vec<Value> {
    book(body, "BLZ-ETH", "BLZETH")
}

fn book_btc(body: &Value) -> Vec<Value> {
    book(body, "BTC-USDT", "BTCUSDT")
}

fn book_nkn(body: &Value) -> Vec<Value> {
    book(body, "NKN-USDT", "NKNUSDT")
}

fn book_crv(body: &Value) -> Vec<Value> {
    book(body, "CRV-USDT", "CRVUSDT")
}

fn book_futures(body: &Value) -> Vec<Value> {
    vec![json!({"source": "binance", "kind": "book", "ts_event": nanos(&body["T"]),
                "data": {"bids": body["bids"], "asks": body["asks"], "sequence": body["lastUpdateId"]}})]
}

fn bars(body: &Value, interval: &str) -> Vec<Value> {
    let record = |row: &Value| {
        let end = (row[6].as_i64().unwrap() + 1) * 1_000_000;
        json!({"source": "binance", "kind": "bar", "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": end,
               "data": {"interval": interval, "start": nanos(&row[0]), "end": end, "open": row[1], "high": row[2], "low": row[3],
                        "close": row[4], "volume": row[5], "quote_volume": row[7], "trades": row[8], "closed": true}})
    };
    rows(body).iter().map(record).collect()
}

fn bars_minute(body: &Value) -> Vec<Value> {
    bars(body, "1m")
}

fn bars_minute_unnamed(body: &Value) -> Vec<Value> {
    unnamed(bars(body, "1m"))
}

fn bars_week(body: &Value) -> Vec<Value> {
    unnamed(bars(body, "1w"))
}

fn ticker(body: &Value) -> Value {
    let names = [
        ("last", "lastPrice"),
        ("last_size", "lastQty"),
        ("open", "openPrice"),
        ("high", "highPrice"),
        ("low", "lowPrice"),
        ("prev_close", "prevClosePrice"),
        ("change", "priceChange"),
        ("change_pct", "priceChangePercent"),
        ("vwap", "weightedAvgPrice"),
        ("volume", "volume"),
        ("quote_volume", "quoteVolume"),
        ("bid", "bidPrice"),
        ("bid_size", "bidQty"),
        ("ask", "askPrice"),
        ("ask_size", "askQty"),
        ("trades", "count"),
    ];
    let data: serde_json::Map<String, Value> = names
        .iter()
        .filter_map(|(ours, theirs)| body.get(*theirs).map(|value| ((*ours).to_owned(), value.clone())))
        .collect();
    json!({"source": "binance", "kind": "ticker", "native": body["symbol"], "ts_event": nanos(&body["closeTime"]), "data": data})
}

fn ticker_unnamed(body: &Value) -> Vec<Value> {
    vec![ticker(body)]
}

fn ticker_bnb(body: &Value) -> Vec<Value> {
    let mut record = ticker(body);
    record["symbol"] = json!("BNB-BTC");
    vec![record]
}

fn price(body: &Value) -> Vec<Value> {
    vec![
        json!({"source": "binance", "kind": "ticker", "symbol": "BTC-USDT", "native": "BTCUSDT", "data": {"last": body["price"]}}),
    ]
}
