//! Recorded answers of Alpaca: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

pub const CASES: &[Case] = &[
    case("alpaca/crypto_bars.json", "bar", 200, Expect::Records(|body| read_bars(body, false))),
    Case {
        interval: "1d",
        ..case("alpaca/stocks_bars_AAPL.json", "bar", 200, Expect::Records(|body| read_bars(body, true)))
    },
    case("alpaca/stocks_bars_multi.json", "bar", 200, Expect::Records(|body| read_bars(body, false))),
    case("alpaca/stocks_bars_empty.json", "bar", 200, Expect::Nothing),
    case("alpaca/crypto_latest_quote.json", "quote", 200, Expect::Records(read_quotes)),
    case("alpaca/stocks_latest_quote.json", "quote", 200, Expect::Records(read_quotes)),
    case("alpaca/stocks_quotes.json", "quote", 200, Expect::Records(read_quotes)),
    case("alpaca/crypto_trades.json", "trade", 200, Expect::Records(read_trades)),
    case("alpaca/stocks_trades_AAPL.json", "trade", 200, Expect::Records(read_trades)),
    case("alpaca/stocks_latest_trade_not_found.json", "trade", 200, Expect::Verdict("not_found", "symbol_unknown")),
    case("alpaca/stocks_snapshot_AAPL.json", "ticker", 200, Expect::Records(read_snapshots)),
    case("alpaca/news_page1.json", "news", 200, Expect::Records(read_news)),
    case("alpaca/news_page2.json", "news", 200, Expect::Records(read_news)),
    case("alpaca/error_403_forbidden.json", "bar", 403, Expect::Verdict("unauthorized", "key")),
    case("alpaca/error_403_sip.json", "bar", 403, Expect::Verdict("unauthorized", "plan")),
    case("alpaca/error_429.json", "bar", 429, Expect::Verdict("rate_limited", "http_429")),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "alpaca/corporate_actions.json", why: "corporate actions, no record kind" },
    Skip { file: "alpaca/ws_control.jsonl", why: "WebSocket frames" },
];

const fn case(file: &'static str, kind: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind, symbol: "", interval: "", status, headers: &[], expect }
}

/// The fields of `row` that `map` names, as text.
fn fields(row: &Value, map: &[(&str, &str)]) -> Value {
    let data = map
        .iter()
        .filter(|(_, from)| !row[*from].is_null())
        .map(|(to, from)| ((*to).to_owned(), text(&row[*from]).into()));
    Value::Object(data.collect())
}

fn nanos(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_nanosecond() as i64
}

fn record(kind: &str, name: &str, ts_event: i64, data: Value) -> Value {
    json!({"source": "alpaca", "kind": kind, "symbol": name.replace('/', "-"), "native": name, "ts_event": ts_event, "data": data})
}

/// The rows under `key` with the names they stand under.
fn rows<'a>(body: &'a Value, key: &str) -> Vec<(&'a str, &'a Value)> {
    let of_name = |(name, rows): (&'a String, &'a Value)| match rows {
        Value::Array(rows) => rows.iter().map(|row| (name.as_str(), row)).collect::<Vec<_>>(),
        row => vec![(name.as_str(), row)],
    };
    body[key].as_object().unwrap().iter().flat_map(of_name).collect()
}

fn read_bars(body: &Value, is_day: bool) -> Vec<Value> {
    let bar = |(name, row): (&str, &Value)| {
        let start = nanos(&row["t"]);
        let end = start + 86_400_000_000_000;
        let mut data = fields(row, &[("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "v")]);
        data["start"] = start.into();
        data["trades"] = row["n"].clone();
        if is_day {
            data["interval"] = "1d".into();
            data["end"] = end.into();
            data["closed"] = true.into();
        }
        record("bar", name, if is_day { end } else { start }, data)
    };
    rows(body, "bars").into_iter().map(bar).collect()
}

const SIDES: &[(&str, &str)] = &[("bid", "bp"), ("bid_size", "bs"), ("ask", "ap"), ("ask_size", "as")];

fn read_quotes(body: &Value) -> Vec<Value> {
    let rows = rows(body, "quotes").into_iter();
    rows.map(|(name, row)| record("quote", name, nanos(&row["t"]), fields(row, SIDES))).collect()
}

fn read_trades(body: &Value) -> Vec<Value> {
    let trade = |(name, row): (&str, &Value)| {
        let mut data = fields(row, &[("id", "i"), ("price", "p"), ("size", "s")]);
        if let Some(side) = row["tks"].as_str() {
            data["side"] = if side == "B" { "buy" } else { "sell" }.into();
        }
        record("trade", name, nanos(&row["t"]), data)
    };
    rows(body, "trades").into_iter().map(trade).collect()
}

fn read_snapshots(body: &Value) -> Vec<Value> {
    let ticker = |(name, row): (&String, &Value)| {
        let day = [("open", "o"), ("high", "h"), ("low", "l"), ("vwap", "vw"), ("volume", "v")];
        let parts = [
            fields(&row["latestTrade"], &[("last", "p"), ("last_size", "s")]),
            fields(&row["dailyBar"], &day),
            fields(&row["prevDailyBar"], &[("prev_close", "c")]),
            fields(&row["latestQuote"], SIDES),
            json!({"trades": row["dailyBar"]["n"]}),
        ];
        let data = Value::Object(parts.iter().flat_map(|part| part.as_object().unwrap().clone()).collect());
        record("ticker", name, nanos(&row["latestTrade"]["t"]), data)
    };
    body.as_object().unwrap().iter().map(ticker).collect()
}

fn read_news(body: &Value) -> Vec<Value> {
    let article = |row: &Value| {
        let mut data = json!({
            "id": row["id"].to_string(), "headline": row["headline"], "url": row["url"], "publisher": row["source"],
            "authors": [row["author"]], "symbols": row["symbols"]
        });
        if row["summary"] != "" {
            data["summary"] = row["summary"].clone();
        }
        json!({"source": "alpaca", "kind": "news", "ts_event": nanos(&row["created_at"]), "data": data})
    };
    body["news"].as_array().unwrap().iter().map(article).collect()
}
