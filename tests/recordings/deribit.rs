//! Recorded answers of Deribit: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

const fn case(
    file: &'static str,
    kind: &'static str,
    symbol: &'static str,
    interval: &'static str,
    status: u16,
    expect: Expect,
) -> Case {
    Case { file, kind, symbol, interval, status, headers: &[], expect }
}

pub const CASES: &[Case] = &[
    case("deribit/http_get_last_trades.json", "trade", "ETH-USD.PERP", "", 200, Expect::Records(trades)),
    case("deribit/http_get_order_book.json", "book", "", "", 200, Expect::Records(book)),
    case("deribit/http_get_order_book.json", "ticker", "BTC-USD.PERP", "", 200, Expect::Records(ticker)),
    case("deribit/http_get_tradingview_chart_data.json", "bar", "BTC-USD.PERP", "1m", 200, Expect::Records(bars)),
    case("deribit/http_get_tradingview_chart_data.json", "bar", "", "", 200, Expect::Records(bars_unknown)),
    case("deribit/ws_error.json", "ticker", "", "", 400, Expect::Verdict("rate_limited", "rate_limit")),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "deribit/get_instruments_USDC_2021.json", why: "list of instruments, no record kind" },
    Skip { file: "deribit/http_get_instrument.json", why: "an instrument, no record kind" },
    Skip { file: "deribit/http_get_instruments.json", why: "list of instruments, no record kind" },
    Skip { file: "deribit/http_get_time.json", why: "the server's time, no record kind" },
    Skip { file: "deribit/ws_book_delta.json", why: "WebSocket frame" },
    Skip { file: "deribit/ws_book_snapshot.json", why: "WebSocket frame" },
    Skip { file: "deribit/ws_chart.json", why: "WebSocket frame" },
    Skip { file: "deribit/ws_quote.json", why: "WebSocket frame" },
    Skip { file: "deribit/ws_ticker.json", why: "WebSocket frame" },
    Skip { file: "deribit/ws_trades.json", why: "WebSocket frame" },
];

fn nanos(ms: &Value) -> i64 {
    text(ms).parse::<i64>().expect("milliseconds") * 1_000_000
}

fn trades(body: &Value) -> Vec<Value> {
    let rows = body["result"]["trades"].as_array().expect("a list");
    rows.iter()
        .map(|row| {
            json!({
                "source": "deribit", "kind": "trade", "symbol": "ETH-USD.PERP", "native": row["instrument_name"], "ts_event": nanos(&row["timestamp"]),
                "data": {"id": row["trade_id"], "price": text(&row["price"]), "size": text(&row["amount"]),
                         "side": row["direction"], "volume_unit": "quote"}
            })
        })
        .collect()
}

fn book(body: &Value) -> Vec<Value> {
    let result = &body["result"];
    let side = |name: &str| -> Vec<Value> {
        let rows = result[name].as_array().expect("a list");
        rows.iter().map(|row| json!([text(&row[0]), text(&row[1])])).collect()
    };
    vec![json!({
        "source": "deribit", "kind": "book", "symbol": "BTC-USD.PERP", "native": "BTC-PERPETUAL", "ts_event": nanos(&result["timestamp"]),
        "data": {"bids": side("bids"), "asks": side("asks"), "sequence": result["change_id"], "volume_unit": "quote"}
    })]
}

fn ticker(body: &Value) -> Vec<Value> {
    let result = &body["result"];
    let stats = &result["stats"];
    vec![json!({
        "source": "deribit", "kind": "ticker", "symbol": "BTC-USD.PERP", "native": "BTC-PERPETUAL", "ts_event": nanos(&result["timestamp"]),
        "data": {"last": text(&result["last_price"]), "high": text(&stats["high"]), "low": text(&stats["low"]),
                 "change_pct": text(&stats["price_change"]), "volume": text(&stats["volume"]),
                 "quote_volume": text(&stats["volume_notional"]), "bid": text(&result["best_bid_price"]),
                 "ask": text(&result["best_ask_price"])}
    })]
}

fn bars(body: &Value) -> Vec<Value> {
    let mut bars = bars_unknown(body);
    for bar in &mut bars {
        let end = bar["data"]["start"].as_i64().expect("a time") + 60_000_000_000;
        bar["symbol"] = "BTC-USD.PERP".into();
        bar["native"] = "BTC-PERPETUAL".into();
        bar["ts_event"] = end.into();
        bar["data"]["interval"] = "1m".into();
        bar["data"]["end"] = end.into();
        bar["data"]["closed"] = true.into();
    }
    bars
}

/// Without a query neither the instrument nor the interval is known.
fn bars_unknown(body: &Value) -> Vec<Value> {
    let result = &body["result"];
    let ticks = result["ticks"].as_array().expect("a list");
    ticks
        .iter()
        .enumerate()
        .map(|(at, tick)| {
            json!({
                "source": "deribit", "kind": "bar", "ts_event": nanos(tick),
                "data": {"start": nanos(tick), "open": text(&result["open"][at]), "high": text(&result["high"][at]),
                         "low": text(&result["low"][at]), "close": text(&result["close"][at]),
                         "volume": text(&result["volume"][at]), "quote_volume": text(&result["cost"][at])}
            })
        })
        .collect()
}
