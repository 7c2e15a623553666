//! Recorded answers of NewsAPI: which source, kind and verdict each has.

use serde_json::Value;

use super::rows::{instant, record, texts};
use super::{Case, Expect, Skip};

const CASE: Case = Case {
    file: "",
    kind: "news",
    symbol: "",
    interval: "",
    status: 200,
    headers: &[],
    expect: Expect::Records(articles),
};

pub const CASES: &[Case] = &[
    Case { file: "newsapi/top_headlines_us_business_2022.json", ..CASE },
    Case {
        file: "newsapi/error_400_parametersMissing.json",
        status: 400,
        expect: Expect::Verdict("bad_request", "argument"),
        ..CASE
    },
    Case {
        file: "newsapi/error_401_apiKeyInvalid.json",
        status: 401,
        expect: Expect::Verdict("unauthorized", "key"),
        ..CASE
    },
    Case {
        file: "newsapi/error_401_apiKeyMissing.json",
        status: 401,
        expect: Expect::Verdict("unauthorized", "key"),
        ..CASE
    },
    Case {
        file: "newsapi/error_426_maximumResultsReached.json",
        status: 426,
        expect: Expect::Verdict("unauthorized", "plan"),
        ..CASE
    },
    Case {
        file: "newsapi/error_426_parameterInvalid_too_far.json",
        status: 426,
        expect: Expect::Verdict("unauthorized", "plan"),
        ..CASE
    },
    Case {
        file: "newsapi/error_429_rateLimited.json",
        status: 429,
        expect: Expect::Verdict("rate_limited", "requests"),
        ..CASE
    },
];

pub const SKIPS: &[Skip] = &[Skip {
    file: "newsapi/empty.json",
    why: "ok with no record, which proves nothing here; a unit test reads such a body",
}];

fn articles(body: &Value) -> Vec<Value> {
    let rows = body["articles"].as_array().unwrap().iter();
    rows.map(|row| {
        let mut data = texts(row, &[("headline", "title"), ("summary", "description"), ("url", "url")]);
        data.extend(texts(&row["source"], &[("publisher", "name")]));
        if row["author"].as_str().is_some_and(|author| !author.is_empty()) {
            data.insert("authors".to_owned(), vec![row["author"].clone()].into());
        }
        record(["newsapi", "news", "", ""], Some(instant(row["publishedAt"].as_str().unwrap())), data)
    })
    .collect()
}
