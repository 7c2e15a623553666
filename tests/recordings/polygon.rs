//! Recorded answers of Polygon: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

pub const CASES: &[Case] = &[
    Case {
        interval: "1d",
        ..case("polygon/aggs_AAPL_day.json", "bar", 200, Expect::Records(|body| read_bars(body, true)))
    },
    case("polygon/aggs_grouped.json", "bar", 200, Expect::Records(|body| read_bars(body, false))),
    case("polygon/aggs_prev_AAPL.json", "bar", 200, Expect::Records(|body| read_bars(body, false))),
    case("polygon/open_close.json", "bar", 200, Expect::Records(read_day)),
    case("polygon/empty_results.json", "bar", 200, Expect::Verdict("not_found", "symbol_unknown")),
    case("polygon/last_nbbo_AAPL.json", "quote", 200, Expect::Records(read_nbbo)),
    case("polygon/quotes_v3_AAPL.json", "quote", 200, Expect::Records(read_quotes)),
    case("polygon/last_trade_AAPL.json", "trade", 200, Expect::Records(read_last_trade)),
    case("polygon/trades_v3_AAPL.json", "trade", 200, Expect::Records(read_trades)),
    case("polygon/snapshot_AAPL.json", "ticker", 200, Expect::Records(read_snapshot)),
    case("polygon/snapshot_v3.json", "ticker", 200, Expect::Records(read_snapshots)),
    case("polygon/news_NFLX.json", "news", 200, Expect::Records(|body| read_news(body, false))),
    Case {
        symbol: "NFLX",
        ..case("polygon/news_NFLX.json", "news", 200, Expect::Records(|body| read_news(body, true)))
    },
    case("polygon/error_401_unknown_key.json", "bar", 401, Expect::Verdict("unauthorized", "key")),
    case("polygon/error_403_not_authorized.json", "ticker", 403, Expect::Verdict("unauthorized", "plan")),
    case("polygon/error_429.json", "bar", 429, Expect::Verdict("rate_limited", "requests_minute")),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "polygon/dividends.json", why: "corporate actions, no record kind" },
    Skip { file: "polygon/market_status.json", why: "the state of the markets, no record kind" },
    Skip { file: "polygon/tickers_page1.json", why: "reference data, no record kind" },
    Skip { file: "polygon/tickers_page2.json", why: "reference data, no record kind" },
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

fn record(kind: &str, name: Option<&Value>, ts_event: &Value, data: Value) -> Value {
    let mut record = json!({"source": "polygon", "kind": kind, "ts_event": ts_event, "data": data});
    if let Some(name) = name {
        record["native"] = name.clone();
        if !name.as_str().unwrap().contains(':') {
            record["symbol"] = name.clone();
        }
    }
    record
}

fn read_bars(body: &Value, is_day: bool) -> Vec<Value> {
    let rows = body["results"].as_array().unwrap().iter();
    rows.map(|row| {
        let start = row["t"].as_i64().unwrap() * 1_000_000;
        let end = start + 86_400_000_000_000;
        let mut data = fields(row, &[("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "v")]);
        data["start"] = start.into();
        data["trades"] = row["n"].clone();
        if is_day {
            data["interval"] = "1d".into();
            data["end"] = end.into();
            data["closed"] = true.into();
        }
        let name = if row["T"].is_null() { &body["ticker"] } else { &row["T"] };
        record("bar", Some(name), &json!(if is_day { end } else { start }), data)
    })
    .collect()
}

fn read_day(body: &Value) -> Vec<Value> {
    let start = 1_617_235_200_000_000_000_i64;
    let end = start + 86_400_000_000_000;
    let names = ["open", "high", "low", "close", "volume"].map(|name| (name, name));
    let mut data = fields(body, &names);
    data["interval"] = "1d".into();
    data["start"] = start.into();
    data["end"] = end.into();
    data["closed"] = true.into();
    vec![record("bar", Some(&body["symbol"]), &json!(end), data)]
}

fn read_nbbo(body: &Value) -> Vec<Value> {
    let row = &body["results"];
    let data = fields(row, &[("bid", "p"), ("bid_size", "s"), ("ask", "P"), ("ask_size", "S")]);
    vec![record("quote", Some(&row["T"]), &row["t"], data)]
}

fn read_quotes(body: &Value) -> Vec<Value> {
    let rows = body["results"].as_array().unwrap().iter();
    let map = [("bid", "bid_price"), ("bid_size", "bid_size"), ("ask", "ask_price"), ("ask_size", "ask_size")];
    rows.map(|row| record("quote", None, &row["sip_timestamp"], fields(row, &map))).collect()
}

fn read_last_trade(body: &Value) -> Vec<Value> {
    let row = &body["results"];
    vec![record("trade", Some(&row["T"]), &row["t"], fields(row, &[("id", "i"), ("price", "p"), ("size", "s")]))]
}

fn read_trades(body: &Value) -> Vec<Value> {
    let rows = body["results"].as_array().unwrap().iter();
    let map = [("id", "id"), ("price", "price"), ("size", "size")];
    rows.map(|row| record("trade", None, &row["sip_timestamp"], fields(row, &map))).collect()
}

fn read_snapshot(body: &Value) -> Vec<Value> {
    let row = &body["ticker"];
    let parts = [
        fields(&row["lastTrade"], &[("last", "p"), ("last_size", "s")]),
        fields(&row["day"], &[("open", "o"), ("high", "h"), ("low", "l"), ("vwap", "vw"), ("volume", "v")]),
        fields(&row["prevDay"], &[("prev_close", "c")]),
        fields(row, &[("change", "todaysChange"), ("change_pct", "todaysChangePerc")]),
        fields(&row["lastQuote"], &[("bid", "p"), ("bid_size", "s"), ("ask", "P"), ("ask_size", "S")]),
    ];
    vec![record("ticker", Some(&row["ticker"]), &row["updated"], merged(&parts))]
}

fn read_snapshots(body: &Value) -> Vec<Value> {
    let rows = body["results"].as_array().unwrap().iter().filter(|row| row["error"].is_null());
    rows.map(|row| {
        let trade = &row["last_trade"];
        let session = [
            ("open", "open"),
            ("high", "high"),
            ("low", "low"),
            ("prev_close", "previous_close"),
            ("change", "change"),
            ("change_pct", "change_percent"),
            ("volume", "volume"),
        ];
        let sides = ["bid", "bid_size", "ask", "ask_size"].map(|name| (name, name));
        let mut data = merged(&[
            fields(trade, &[("last", "price"), ("last_size", "size")]),
            fields(&row["session"], &session),
            fields(&row["last_quote"], &sides),
        ]);
        if row["type"] == "options" {
            data["volume_unit"] = "contracts".into();
        }
        let at = if trade["sip_timestamp"].is_null() { &trade["last_updated"] } else { &trade["sip_timestamp"] };
        record("ticker", Some(&row["ticker"]), at, data)
    })
    .collect()
}

fn read_news(body: &Value, is_asked: bool) -> Vec<Value> {
    let rows = body["results"].as_array().unwrap().iter();
    rows.map(|row| {
        let at: jiff::Timestamp = row["published_utc"].as_str().unwrap().parse().unwrap();
        let data = json!({
            "id": row["id"], "headline": row["title"], "summary": row["description"], "url": row["article_url"],
            "publisher": row["publisher"]["name"], "authors": [row["author"]], "symbols": row["tickers"]
        });
        record("news", is_asked.then_some(&json!("NFLX")), &json!(at.as_nanosecond() as i64), data)
    })
    .collect()
}

fn merged(parts: &[Value]) -> Value {
    Value::Object(parts.iter().flat_map(|part| part.as_object().unwrap().clone()).collect())
}
