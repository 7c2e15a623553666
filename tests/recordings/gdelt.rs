//! Recorded answers of GDELT: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip};

pub const CASES: &[Case] = &[
    case("gdelt/doc_artlist_vizhinjam_2024.json", 200, Expect::Records(read)),
    case("gdelt/empty_object.json", 200, Expect::Nothing),
    case("gdelt/error_200_keyword.txt", 200, Expect::Verdict("bad_request", "query")),
    case("gdelt/error_429.txt", 429, Expect::Verdict("rate_limited", "notice")),
];

pub const SKIPS: &[Skip] = &[];

const fn case(file: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind: "news", symbol: "", interval: "", status, headers: &[], expect }
}

fn read(body: &Value) -> Vec<Value> {
    let articles = body["articles"].as_array().unwrap().iter();
    articles
        .map(|row| {
            let seen = row["seendate"].as_str().unwrap();
            let (date, time) = (&seen[..8], &seen[9..15]);
            let iso = format!(
                "{}-{}-{}T{}:{}:{}Z",
                &date[..4],
                &date[4..6],
                &date[6..],
                &time[..2],
                &time[2..4],
                &time[4..]
            );
            let at: jiff::Timestamp = iso.parse().unwrap();
            json!({
                "source": "gdelt", "kind": "news", "ts_event": at.as_nanosecond() as i64,
                "data": {"headline": row["title"], "url": row["url"], "publisher": row["domain"], "language": row["language"]}
            })
        })
        .collect()
}
