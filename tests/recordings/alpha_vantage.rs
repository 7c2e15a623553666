//! Recorded answers of Alpha Vantage: which source, kind and verdict each has.

use serde_json::Value;

use super::rows::{DAY, bar_times, decimals, record, wall};
use super::{Case, Expect, Skip};

const CASE: Case =
    Case { file: "", kind: "bar", symbol: "", interval: "", status: 200, headers: &[], expect: Expect::Records(rate) };

pub const CASES: &[Case] = &[
    Case { file: "alpha_vantage/currency_exchange_rate_BTC_CNY.json", kind: "rate", ..CASE },
    Case { file: "alpha_vantage/global_quote_MSFT.json", kind: "ticker", expect: Expect::Records(quote), ..CASE },
    Case { file: "alpha_vantage/daily_adjusted_IBM_2021.json", expect: Expect::Records(ibm), ..CASE },
    Case { file: "alpha_vantage/digital_currency_daily_BTC_AUD.json", expect: Expect::Records(bitcoin), ..CASE },
    Case { file: "alpha_vantage/fx_daily_EUR_AUD.json", symbol: "EUR-AUD", expect: Expect::Records(euro), ..CASE },
    Case { file: "alpha_vantage/intraday_MSFT_1min.json", expect: Expect::Records(microsoft), ..CASE },
    Case { file: "alpha_vantage/empty_global_quote.json", kind: "ticker", expect: NOT_FOUND, ..CASE },
    Case { file: "alpha_vantage/error_200_invalid_call.json", expect: NOT_FOUND, ..CASE },
    Case { file: "alpha_vantage/error_200_bad_apikey.json", expect: Expect::Verdict("unauthorized", "key"), ..CASE },
    Case { file: "alpha_vantage/error_200_information_daily_limit.json", expect: DAILY, ..CASE },
    Case { file: "alpha_vantage/error_200_information_daily_limit_v2.json", expect: DAILY, ..CASE },
    Case {
        file: "alpha_vantage/error_200_information_premium_endpoint.json",
        expect: Expect::Verdict("unauthorized", "plan"),
        ..CASE
    },
    Case {
        file: "alpha_vantage/error_200_note_per_minute.json",
        expect: Expect::Verdict("rate_limited", "calls_per_minute"),
        ..CASE
    },
];

const NOT_FOUND: Expect = Expect::Verdict("not_found", "symbol_unknown");
const DAILY: Expect = Expect::Verdict("rate_limited", "calls_per_day");

pub const SKIPS: &[Skip] = &[
    Skip { file: "alpha_vantage/currency_list_digital-partial.csv", why: "a list of names" },
    Skip { file: "alpha_vantage/currency_list_physical-partial.csv", why: "a list of names" },
    Skip { file: "alpha_vantage/income_statement_IBM.json", why: "fundamentals" },
    Skip { file: "alpha_vantage/intraday_extended_slice.csv", why: "retired endpoint" },
    Skip { file: "alpha_vantage/overview_IBM.json", why: "fundamentals" },
    Skip { file: "alpha_vantage/symbol_search_BA.json", why: "a search for names" },
];

fn rate(body: &Value) -> Vec<Value> {
    let row = &body["Realtime Currency Exchange Rate"];
    let mut data = decimals(
        row,
        &[("base", "1. From_Currency Code"), ("quote", "3. To_Currency Code"), ("value", "5. Exchange Rate")],
    );
    let refreshed = row["6. Last Refreshed"].as_str().unwrap();
    data.insert("date".to_owned(), refreshed[..10].into());
    vec![record(["alpha_vantage", "rate", "BTC-CNY", "BTC/CNY"], Some(wall(refreshed, "UTC")), data)]
}

fn quote(body: &Value) -> Vec<Value> {
    let row = &body["Global Quote"];
    let mut data = decimals(
        row,
        &[
            ("last", "05. price"),
            ("open", "02. open"),
            ("high", "03. high"),
            ("low", "04. low"),
            ("prev_close", "08. previous close"),
            ("change", "09. change"),
            ("volume", "06. volume"),
        ],
    );
    let percent = row["10. change percent"].as_str().unwrap().strip_suffix('%').unwrap();
    data.insert("change_pct".to_owned(), percent.into());
    let ts_event = wall(row["07. latest trading day"].as_str().unwrap(), "UTC");
    vec![record(["alpha_vantage", "ticker", "MSFT", "MSFT"], Some(ts_event), data)]
}

fn series(body: &Value, series: &str, names: [&str; 2], zone: &str, interval: (&str, i64)) -> Vec<Value> {
    let rows = body[series].as_object().unwrap();
    let fields =
        [("open", "1. open"), ("high", "2. high"), ("low", "3. low"), ("close", "4. close"), ("volume", "5. volume")];
    let mut records: Vec<(i64, Value)> = rows
        .iter()
        .map(|(time, row)| {
            let mut data = decimals(row, &fields);
            let start = wall(time, zone);
            let ts_event = bar_times(&mut data, interval.0, start, interval.1);
            (start, record(["alpha_vantage", "bar", names[0], names[1]], Some(ts_event), data))
        })
        .collect();
    // Newest first, as sent; serde_json may have put the keys in another order.
    records.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
    records.into_iter().map(|(_, record)| record).collect()
}

fn ibm(body: &Value) -> Vec<Value> {
    series(body, "Time Series (Daily)", ["IBM", "IBM"], "America/New_York", ("1d", DAY))
}

fn bitcoin(body: &Value) -> Vec<Value> {
    series(body, "Time Series (Digital Currency Daily)", ["BTC-AUD", "BTC/AUD"], "UTC", ("1d", DAY))
}

fn euro(body: &Value) -> Vec<Value> {
    series(body, "Time Series FX (Daily)", ["EUR-AUD", "EUR/AUD"], "UTC", ("1d", DAY))
}

fn microsoft(body: &Value) -> Vec<Value> {
    series(body, "Time Series (1min)", ["MSFT", "MSFT"], "America/New_York", ("1m", 60_000_000_000))
}
