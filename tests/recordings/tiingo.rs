//! Recorded answers of Tiingo: which source, kind and verdict each has.

use serde_json::Value;

use super::rows::{DAY, bar_times, decimals, instant, record, texts};
use super::{Case, Expect, Skip};

const CASE: Case =
    Case { file: "", kind: "bar", symbol: "", interval: "", status: 200, headers: &[], expect: Expect::Records(plain) };

pub const CASES: &[Case] = &[
    Case { file: "tiingo/crypto_prices.json", interval: "1d", expect: Expect::Records(pairs), ..CASE },
    Case { file: "tiingo/crypto_top.json", kind: "ticker", expect: Expect::Records(top), ..CASE },
    Case { file: "tiingo/daily_columns_GOOGL.json", ..CASE },
    Case { file: "tiingo/daily_latest_GOOGL.json", ..CASE },
    Case {
        file: "tiingo/daily_latest_GOOGL.json",
        kind: "ticker",
        symbol: "GOOGL",
        expect: Expect::Records(latest),
        ..CASE
    },
    Case {
        file: "tiingo/daily_prices_GOOGL.json",
        symbol: "GOOGL",
        interval: "1d",
        expect: Expect::Records(google),
        ..CASE
    },
    Case {
        file: "tiingo/fx_prices_EURUSD_daily.json",
        symbol: "EUR-USD",
        interval: "1d",
        expect: Expect::Records(euro),
        ..CASE
    },
    Case {
        file: "tiingo/iex_intraday_GOOGL_30min.json",
        symbol: "GOOGL",
        interval: "30m",
        expect: Expect::Records(half_hours),
        ..CASE
    },
    Case { file: "tiingo/news.json", kind: "news", expect: Expect::Records(news), ..CASE },
    Case {
        file: "tiingo/error_401_bad_token.json",
        status: 401,
        expect: Expect::Verdict("unauthorized", "key"),
        ..CASE
    },
    Case {
        file: "tiingo/error_403_no_permission.json",
        kind: "news",
        status: 403,
        expect: Expect::Verdict("unauthorized", "plan"),
        ..CASE
    },
    Case {
        file: "tiingo/error_404_not_found.json",
        status: 404,
        expect: Expect::Verdict("not_found", "symbol_unknown"),
        ..CASE
    },
    Case {
        file: "tiingo/error_429_hourly.txt",
        status: 429,
        expect: Expect::Verdict("rate_limited", "requests"),
        ..CASE
    },
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "tiingo/crypto_meta.json", why: "a list of names" },
    Skip { file: "tiingo/daily_meta_GOOGL.json", why: "a description of the instrument" },
    Skip { file: "tiingo/daily_prices_GOOGL.csv", why: "CSV, which is never asked for" },
    Skip { file: "tiingo/fundamentals_daily_GOOGL.json", why: "fundamentals" },
];

const OHLC: [(&str, &str); 7] = [
    ("open", "open"),
    ("high", "high"),
    ("low", "low"),
    ("close", "close"),
    ("volume", "volume"),
    ("quote_volume", "volumeNotional"),
    ("trades", "tradesDone"),
];

fn bars(rows: &Value, names: [&str; 2], interval: &str, length: i64) -> Vec<Value> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| {
        let mut data = decimals(row, &OHLC);
        if let Some(trades) = row.get("tradesDone") {
            data.insert("trades".to_owned(), trades.clone());
        }
        let ts_event = bar_times(&mut data, interval, instant(row["date"].as_str().unwrap()), length);
        record(["tiingo", "bar", names[0], names[1]], Some(ts_event), data)
    })
    .collect()
}

fn plain(body: &Value) -> Vec<Value> {
    bars(body, ["", ""], "", 0)
}

fn google(body: &Value) -> Vec<Value> {
    bars(body, ["GOOGL", "GOOGL"], "1d", DAY)
}

fn half_hours(body: &Value) -> Vec<Value> {
    bars(body, ["GOOGL", "GOOGL"], "30m", 1_800_000_000_000)
}

fn euro(body: &Value) -> Vec<Value> {
    bars(body, ["EUR-USD", "eurusd"], "1d", DAY)
}

fn pair_names(native: &str) -> [&str; 2] {
    match native {
        "btcusd" => ["BTC-USD", "btcusd"],
        "fldcbtc" => ["FLDC-BTC", "fldcbtc"],
        other => panic!("unexpected {other}"),
    }
}

fn pairs(body: &Value) -> Vec<Value> {
    let pairs = body.as_array().unwrap().iter();
    pairs.flat_map(|pair| bars(&pair["priceData"], pair_names(pair["ticker"].as_str().unwrap()), "1d", DAY)).collect()
}

fn top(body: &Value) -> Vec<Value> {
    let fields = [
        ("last", "lastPrice"),
        ("last_size", "lastSize"),
        ("bid", "bidPrice"),
        ("bid_size", "bidSize"),
        ("ask", "askPrice"),
        ("ask_size", "askSize"),
    ];
    let pairs = body.as_array().unwrap().iter();
    pairs
        .map(|pair| {
            let names = pair_names(pair["ticker"].as_str().unwrap());
            let best = &pair["topOfBookData"][0];
            let ts_event = instant(best["lastSaleTimestamp"].as_str().unwrap());
            record(["tiingo", "ticker", names[0], names[1]], Some(ts_event), decimals(best, &fields))
        })
        .collect()
}

fn latest(body: &Value) -> Vec<Value> {
    let row = &body[0];
    let data =
        decimals(row, &[("last", "close"), ("open", "open"), ("high", "high"), ("low", "low"), ("volume", "volume")]);
    vec![record(["tiingo", "ticker", "GOOGL", "GOOGL"], Some(instant(row["date"].as_str().unwrap())), data)]
}

fn news(body: &Value) -> Vec<Value> {
    let fields =
        [("id", "id"), ("headline", "title"), ("summary", "description"), ("url", "url"), ("publisher", "source")];
    let rows = body.as_array().unwrap().iter();
    rows.map(|row| {
        let mut data = texts(row, &fields);
        let tickers = row["tickers"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_uppercase());
        data.insert("symbols".to_owned(), tickers.collect::<Vec<_>>().into());
        record(["tiingo", "news", "", ""], Some(instant(row["publishedDate"].as_str().unwrap())), data)
    })
    .collect()
}
