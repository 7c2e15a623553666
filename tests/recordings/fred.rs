//! Recorded answers of FRED: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip, text};

pub const CASES: &[Case] = &[
    case("fred/observations_GDP.json", "GDP", 200, Expect::Records(|body| read(body, Some("GDP")))),
    case("fred/observations_all_releases_GDP_trim.json", "", 200, Expect::Records(|body| read(body, None))),
    case("fred/error_400_key_format.json", "GDP", 400, Expect::Verdict("unauthorized", "key")),
    case("fred/error_400_key_not_registered.json", "GDP", 400, Expect::Verdict("unauthorized", "key")),
    case("fred/error_400_series_missing.json", "NOPE", 400, Expect::Verdict("not_found", "symbol_unknown")),
    case("fred/error_429.json", "GDP", 429, Expect::Verdict("rate_limited", "http_429")),
];

pub const SKIPS: &[Skip] = &[
    Skip { file: "fred/category.json", why: "a category, no observations" },
    Skip { file: "fred/category_children.json", why: "categories, no observations" },
    Skip { file: "fred/release.json", why: "a release, no observations" },
    Skip { file: "fred/releases_dates_trim.json", why: "a calendar of releases, no observations" },
    Skip { file: "fred/releases_trim.json", why: "releases, no observations" },
    Skip { file: "fred/series_GDP.json", why: "a description of a series, no observations" },
    Skip { file: "fred/series_categories.json", why: "categories, no observations" },
    Skip { file: "fred/series_release.json", why: "a release, no observations" },
    Skip { file: "fred/source.json", why: "a publisher of series, no observations" },
    Skip { file: "fred/vintagedates_GDP.json", why: "dates of revisions, no observations" },
];

const fn case(file: &'static str, symbol: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind: "observation", symbol, interval: "", status, headers: &[], expect }
}

fn read(body: &Value, series: Option<&str>) -> Vec<Value> {
    let rows = body["observations"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let midnight: jiff::Timestamp = format!("{}T00:00:00Z", row["date"].as_str().unwrap()).parse().unwrap();
            let mut record = json!({
                "source": "fred", "kind": "observation", "ts_event": midnight.as_second() * 1_000_000_000,
                "data": {"period": row["date"], "unit": body["units"]}
            });
            if row["value"] != "." {
                record["data"]["value"] = text(&row["value"]).into();
            }
            if let Some(series) = series {
                record["symbol"] = series.into();
                record["native"] = series.into();
                record["data"]["series"] = series.into();
            }
            record
        })
        .collect()
}
