//! Recorded answers of KuCoin: which source, kind and verdict each has.

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
    case("kucoin/all_tickers.json", "ticker", "", "", 200, Expect::Records(tickers_2018)),
    case("kucoin/element_parseOHLCV_0.json", "bar", "", "1m", 200, Expect::Records(bar_alone)),
    case("kucoin/element_parseTicker_0.json", "ticker", "", "", 200, Expect::Records(ticker_alone)),
    case("kucoin/element_parseTrade_0.json", "trade", "ETH-BTC", "", 200, Expect::Records(trade_alone)),
    case("kucoin/error_429000_too_many.json", "ticker", "", "", 429, Expect::Verdict("rate_limited", "rate_limit")),
    case("kucoin/error_900001_bad_symbol.json", "ticker", "", "", 200, Expect::Verdict("not_found", "symbol_unknown")),
    case("kucoin/orderbook_level2_BCHSV-USDT.json", "book", "BCHSV-USDT", "", 200, Expect::Records(book_bchsv)),
    case("kucoin/orderbook_level2_SNX-BTC.json", "book", "SNX-BTC", "", 200, Expect::Records(book_snx)),
    case("kucoin/stats_24h.json", "ticker", "XAS-BTC", "", 200, Expect::Records(stats_2018)),
    case("kucoin/ticker_level1.json", "ticker", "", "", 200, Expect::Records(level1_2018)),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "kucoin/currency.json", why: "a currency, no record kind" },
    Skip { file: "kucoin/symbols_2021.json", why: "list of instruments, no record kind" },
    Skip { file: "kucoin/ws_public_2021.jsonl", why: "WebSocket frames" },
];

/// A fraction as percent: the point moved two places in the digits.
fn percent(value: &Value) -> String {
    let digits = text(value);
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = format!("{fraction:0<2}");
    let whole = format!("{whole}{}", &fraction[..2]);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    let rest = &fraction[2..];
    if rest.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

/// A row of 2018: number tokens and names of its own.
fn row_2018(row: &Value) -> Value {
    let mut data = json!({});
    let names = [
        ("last", "lastDealPrice"),
        ("high", "high"),
        ("low", "low"),
        ("change", "change"),
        ("volume", "vol"),
        ("quote_volume", "volValue"),
        ("bid", "buy"),
        ("ask", "sell"),
    ];
    for (ours, theirs) in names {
        if let Some(value) = row.get(theirs) {
            data[ours] = text(value).into();
        }
    }
    if let Some(rate) = row.get("changeRate") {
        data["change_pct"] = percent(rate).into();
    }
    let ms: i64 = text(&row["datetime"]).parse().expect("milliseconds");
    json!({"source": "kucoin", "kind": "ticker", "symbol": row["symbol"], "native": row["symbol"], "ts_event": ms * 1_000_000, "data": data})
}

fn tickers_2018(body: &Value) -> Vec<Value> {
    let rows = body["data"].as_array().expect("a list");
    // One of the 179 has never traded.
    rows.iter().filter(|row| row.get("lastDealPrice").is_some()).map(row_2018).collect()
}

fn stats_2018(body: &Value) -> Vec<Value> {
    vec![row_2018(&body["data"])]
}

fn level1_2018(body: &Value) -> Vec<Value> {
    vec![row_2018(body)]
}

fn ticker_alone(body: &Value) -> Vec<Value> {
    vec![json!({
        "source": "kucoin", "kind": "ticker", "symbol": "BTC-USDT", "native": "BTC-USDT",
        "data": {"last": body["last"], "high": body["high"], "low": body["low"], "change": body["changePrice"],
                 "change_pct": percent(&body["changeRate"]), "volume": body["vol"], "quote_volume": body["volValue"],
                 "bid": body["buy"], "ask": body["sell"]}
    })]
}

fn trade_alone(body: &Value) -> Vec<Value> {
    vec![json!({
        "source": "kucoin", "kind": "trade", "symbol": "ETH-BTC", "native": "ETH-BTC", "ts_event": body["time"],
        "data": {"id": body["sequence"], "price": body["price"], "size": body["size"], "side": body["side"]}
    })]
}

fn bar_alone(body: &Value) -> Vec<Value> {
    let start = text(&body[0]).parse::<i64>().expect("seconds") * 1_000_000_000;
    let end = start + 60_000_000_000;
    vec![json!({
        "source": "kucoin", "kind": "bar", "ts_event": end,
        "data": {"interval": "1m", "start": start, "end": end, "open": body[1], "high": body[3], "low": body[4],
                 "close": body[2], "volume": body[5], "quote_volume": body[6], "closed": true}
    })]
}

fn book(body: &Value, symbol: &str) -> Vec<Value> {
    let data = &body["data"];
    let ms: i64 = text(&data["time"]).parse().expect("milliseconds");
    let sequence: u64 = text(&data["sequence"]).parse().expect("a sequence");
    vec![json!({
        "source": "kucoin", "kind": "book", "symbol": symbol, "native": symbol, "ts_event": ms * 1_000_000,
        "data": {"bids": data["bids"], "asks": data["asks"], "sequence": sequence}
    })]
}

fn book_bchsv(body: &Value) -> Vec<Value> {
    book(body, "BCHSV-USDT")
}

fn book_snx(body: &Value) -> Vec<Value> {
    book(body, "SNX-BTC")
}
