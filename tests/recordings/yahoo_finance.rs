//! Recorded answers of Yahoo Finance: which source, kind and verdict each has.

use serde_json::Value;

use super::rows::{self, DAY, bar_times, decimals, record, secs, texts};
use super::{Case, Expect, Skip};

const CASE: Case = Case {
    file: "",
    kind: "ticker",
    symbol: "",
    interval: "",
    status: 200,
    headers: &[],
    expect: Expect::Records(quotes),
};

pub const CASES: &[Case] = &[
    Case { file: "yahoo/chart_v8_GS2C.DE.json", kind: "bar", expect: Expect::Records(bars), ..CASE },
    Case { file: "yahoo/chart_v8_INR_with_null.json", kind: "bar", expect: Expect::Records(bars), ..CASE },
    Case { file: "yahoo/chart_v8_MSFT.json", kind: "bar", symbol: "MSFT", expect: Expect::Records(bars), ..CASE },
    Case { file: "yahoo/chart_v8_TSLA_recent.json", kind: "bar", expect: Expect::Records(bars), ..CASE },
    Case { file: "yahoo/chart_v8_GS2C.DE.json", expect: Expect::Records(meta), ..CASE },
    Case { file: "yahoo/chart_v8_INR_with_null.json", symbol: "USD-INR", expect: Expect::Records(meta), ..CASE },
    Case { file: "yahoo/chart_v8_MSFT.json", expect: Expect::Records(meta), ..CASE },
    // Of its columns only the closes were kept, and a bar needs all four prices.
    Case {
        file: "yahoo/response_yahoo_historical01.json",
        kind: "bar",
        expect: Expect::Verdict("malformed", "shape"),
        ..CASE
    },
    Case { file: "yahoo/quote_0P000071W8.TO.json", ..CASE },
    Case { file: "yahoo/quote_AAPL-BABA.json", ..CASE },
    Case { file: "yahoo/quote_AAPL.json", ..CASE },
    Case { file: "yahoo/quote_AAPL_NONEXIST_partial.json", ..CASE },
    Case { file: "yahoo/quote_BTC-USD.json", ..CASE },
    Case { file: "yahoo/quote_EURUSD_X.json", ..CASE },
    Case { file: "yahoo/quote_OCDO.L.json", ..CASE },
    Case { file: "yahoo/quote_v7_2025_AAPL-MSFT.json", ..CASE },
    Case { file: "yahoo/quote_NONEXIST_empty.json", expect: NOT_FOUND, ..CASE },
    Case { file: "yahoo/quote_v7_2025_unknown_symbol.json", expect: NOT_FOUND, ..CASE },
    Case {
        file: "yahoo/search_AAPL.json",
        kind: "news",
        symbol: "AAPL",
        expect: Expect::Records(search_apple),
        ..CASE
    },
    Case { file: "yahoo/search_EUR.json", kind: "news", expect: Expect::Records(search), ..CASE },
    Case { file: "yahoo/news_ncp_latestNews_AAPL.json", kind: "news", expect: Expect::Records(stream), ..CASE },
    Case {
        file: "yahoo/search_noOpts.json",
        kind: "news",
        status: 400,
        expect: Expect::Verdict("bad_request", "argument"),
        ..CASE
    },
    Case { file: "yahoo/error_chart_404_delisted.json", status: 404, expect: NOT_FOUND, ..CASE },
    Case { file: "yahoo/error_429_too_many_requests.txt", status: 429, expect: THROTTLED, ..CASE },
    Case { file: "yahoo/error_crumb_too_many_requests.txt", expect: THROTTLED, ..CASE },
    Case {
        file: "yahoo/error_invalid_crumb_401.json",
        status: 401,
        expect: Expect::Verdict("unauthorized", "crumb"),
        ..CASE
    },
    Case { file: "yahoo/quoteSummary_assetProfile_QQQQ.json", status: 404, expect: NOT_FOUND, ..CASE },
    Case { file: "yahoo/quoteSummary_balanceSheetHistory_BTC-USD.json", status: 404, expect: NOT_FOUND, ..CASE },
    Case {
        file: "yahoo/quoteSummary_assetProfile_EMPTY.json",
        status: 404,
        expect: Expect::Verdict("not_found", "http_404"),
        ..CASE
    },
];

const NOT_FOUND: Expect = Expect::Verdict("not_found", "symbol_unknown");
const THROTTLED: Expect = Expect::Verdict("rate_limited", "throttled");

pub const SKIPS: &[Skip] = &[
    Skip { file: "yahoo/getcrumb_body.txt", why: "a crumb, not records; the source's own test reads one" },
    Skip { file: "yahoo/history_v7_csv_AAPL.csv", why: "retired endpoint" },
    Skip { file: "yahoo/history_v7_csv_ADH.csv", why: "retired endpoint" },
    Skip { file: "yahoo/history_v7_csv_BTC-USD.csv", why: "retired endpoint" },
    Skip { file: "yahoo/options_v7_AAPL.json", why: "option chains are no kind of ours" },
    Skip { file: "yahoo/quoteSummary_assetProfile_AAPL.json", why: "fundamentals" },
    Skip { file: "yahoo/quoteSummary_balanceSheetHistory_AAPL.json", why: "fundamentals" },
    Skip { file: "yahoo/quoteSummary_calendarEvents_AAPL.json", why: "fundamentals" },
    Skip { file: "yahoo/quoteSummary_defaultKeyStatistics_AAPL.json", why: "fundamentals" },
    Skip { file: "yahoo/recommendations_AAPL-BMW.DE.json", why: "recommendations are no kind of ours" },
    Skip { file: "yahoo/recommendations_AAPL.json", why: "recommendations are no kind of ours" },
    Skip { file: "yahoo/recommendations_BTC-USD.json", why: "recommendations are no kind of ours" },
    Skip {
        file: "yahoo/search_v1_apple.json",
        why: "a search without news: ok with no record, which proves nothing here",
    },
    Skip { file: "yahoo/timeseries_income_annual_AAPL.json", why: "fundamentals" },
    Skip { file: "yahoo/trending_US.json", why: "a list of names" },
    Skip { file: "yahoo/ws_stream_multi.b64.txt", why: "WebSocket frame" },
];

fn symbol(native: &str) -> &str {
    match native {
        "INR=X" => "USD-INR",
        "EURUSD=X" => "EUR-USD",
        other => other,
    }
}

fn quotes(body: &Value) -> Vec<Value> {
    let rows = body["quoteResponse"]["result"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let mut data = decimals(
                row,
                &[
                    ("last", "regularMarketPrice"),
                    ("open", "regularMarketOpen"),
                    ("high", "regularMarketDayHigh"),
                    ("low", "regularMarketDayLow"),
                    ("prev_close", "regularMarketPreviousClose"),
                    ("change", "regularMarketChange"),
                    ("change_pct", "regularMarketChangePercent"),
                    ("volume", "regularMarketVolume"),
                ],
            );
            for (side, size, size_key) in [("bid", "bid_size", "bidSize"), ("ask", "ask_size", "askSize")] {
                // Zero stands for no price.
                if row.get(side).is_some_and(|price| super::text(price) != "0") {
                    data.extend(decimals(row, &[(side, side), (size, size_key)]));
                }
            }
            if row["quoteType"] == "CRYPTOCURRENCY" {
                data.insert("volume_unit".to_owned(), "quote".into());
            }
            let native = row["symbol"].as_str().unwrap();
            record(["yahoo_finance", "ticker", symbol(native), native], Some(secs(&row["regularMarketTime"])), data)
        })
        .collect()
}

fn meta(body: &Value) -> Vec<Value> {
    let meta = &body["chart"]["result"][0]["meta"];
    let fields = [
        ("last", "regularMarketPrice"),
        ("high", "regularMarketDayHigh"),
        ("low", "regularMarketDayLow"),
        ("volume", "regularMarketVolume"),
    ];
    let native = meta["symbol"].as_str().unwrap();
    let names = ["yahoo_finance", "ticker", symbol(native), native];
    vec![record(names, Some(secs(&meta["regularMarketTime"])), decimals(meta, &fields))]
}

fn bars(body: &Value) -> Vec<Value> {
    let chart = &body["chart"]["result"][0];
    assert_eq!(chart["meta"]["dataGranularity"], "1d");
    let native = chart["meta"]["symbol"].as_str().unwrap();
    let columns = &chart["indicators"]["quote"][0];
    let stamps = chart["timestamp"].as_array().unwrap();
    let rows = stamps.iter().enumerate().filter(|(at, _)| !columns["open"][at].is_null());
    rows.map(|(at, stamp)| {
        let mut data = serde_json::Map::new();
        for name in ["open", "high", "low", "close", "volume"] {
            data.insert(name.to_owned(), super::text(&columns[name][at]).into());
        }
        let ts_event = bar_times(&mut data, "1d", secs(stamp), DAY);
        record(["yahoo_finance", "bar", symbol(native), native], Some(ts_event), data)
    })
    .collect()
}

fn articles(body: &Value, name: &str) -> Vec<Value> {
    let fields = [("id", "uuid"), ("headline", "title"), ("url", "link"), ("publisher", "publisher")];
    let rows = body["news"].as_array().unwrap();
    let record = |row: &Value| {
        record(["yahoo_finance", "news", name, name], Some(secs(&row["providerPublishTime"])), texts(row, &fields))
    };
    rows.iter().map(record).collect()
}

fn search(body: &Value) -> Vec<Value> {
    articles(body, "")
}

fn search_apple(body: &Value) -> Vec<Value> {
    articles(body, "AAPL")
}

fn stream(body: &Value) -> Vec<Value> {
    let rows = body["data"]["tickerStream"]["stream"].as_array().unwrap();
    rows.iter()
        .map(|item| {
            let story = &item["content"];
            let mut data = texts(story, &[("id", "id"), ("headline", "title"), ("summary", "summary")]);
            data.extend(texts(&story["provider"], &[("publisher", "displayName")]));
            data.extend(texts(&story["canonicalUrl"], &[("url", "url"), ("language", "lang")]));
            let symbols: Vec<Value> = story["finance"]["stockTickers"]
                .as_array()
                .map(|list| list.iter().map(|row| row["symbol"].clone()).collect())
                .unwrap_or_default();
            if !symbols.is_empty() {
                data.insert("symbols".to_owned(), symbols.into());
            }
            let ts_event = rows::instant(story["pubDate"].as_str().unwrap());
            record(["yahoo_finance", "news", "", ""], Some(ts_event), data)
        })
        .collect()
}
