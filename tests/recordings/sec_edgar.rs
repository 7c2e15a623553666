//! Recorded answers of SEC EDGAR: which source, kind and verdict each has.

use serde_json::{Value, json};

use super::{Case, Expect, Skip};

pub const CASES: &[Case] = &[
    case("sec_edgar/submissions_CIK0000310522.json", "FNMA", 200, Expect::Records(|body| read(body, Some("FNMA")))),
    case("sec_edgar/submissions_CIK0000789019.json", "", 200, Expect::Records(|body| read(body, Some("MSFT")))),
    case("sec_edgar/submissions_CIK0001318605.json", "TSLA", 200, Expect::Records(|body| read(body, Some("TSLA")))),
    case("sec_edgar/submissions_CIK0001718179.json", "", 200, Expect::Records(|body| read(body, None))),
    case(
        "sec_edgar/submissions_CIK0001771340.json",
        "1771340",
        200,
        Expect::Records(|body| read(body, Some("1771340"))),
    ),
    case("sec_edgar/submissions_CIK0001800903.json", "", 200, Expect::Records(|body| read(body, None))),
    case("sec_edgar/submissions_CIK0001911716.json", "", 200, Expect::Records(|body| read(body, None))),
    case("sec_edgar/submissions_CIK0001940261.json", "", 200, Expect::Records(|body| read(body, None))),
    case("sec_edgar/filing_index.json", "", 200, Expect::Records(read_index)),
    case("sec_edgar/error_403_archives.xml", "320193", 403, Expect::Verdict("not_found", "symbol_unknown")),
    case("sec_edgar/error_404_submissions.xml", "1", 404, Expect::Verdict("not_found", "symbol_unknown")),
];

pub const SKIPS: &[Skip] = &[Skip {
    file: "sec_edgar/company_tickers_trim.json",
    why: "the map of tickers, which is a prerequisite and no record",
}];

const fn case(file: &'static str, symbol: &'static str, status: u16, expect: Expect) -> Case {
    Case { file, kind: "filing", symbol, interval: "", status, headers: &[], expect }
}

fn read(body: &Value, symbol: Option<&str>) -> Vec<Value> {
    let recent = &body["filings"]["recent"];
    let cik = body["cik"].as_str().unwrap();
    (0..recent["accessionNumber"].as_array().unwrap().len())
        .map(|row| {
            let accepted: jiff::Timestamp = recent["acceptanceDateTime"][row].as_str().unwrap().parse().unwrap();
            let accession = recent["accessionNumber"][row].as_str().unwrap();
            let mut record = json!({
                "source": "sec_edgar", "kind": "filing", "native": cik, "ts_event": accepted.as_nanosecond() as i64,
                "data": {"accession": accession, "company": body["name"], "cik": cik}
            });
            if let Some(symbol) = symbol {
                record["symbol"] = symbol.into();
            }
            for (column, field) in [("form", "form"), ("filingDate", "filed"), ("reportDate", "period")] {
                if recent[column][row] != "" {
                    record["data"][field] = recent[column][row].clone();
                }
            }
            let document = recent["primaryDocument"][row].as_str().unwrap();
            if !document.is_empty() {
                let number: u64 = cik.parse().unwrap();
                let folder = accession.replace('-', "");
                record["data"]["url"] =
                    format!("https://www.sec.gov/Archives/edgar/data/{number}/{folder}/{document}").into();
            }
            record
        })
        .collect()
}

fn read_index(_body: &Value) -> Vec<Value> {
    vec![json!({"source": "sec_edgar", "kind": "filing", "native": "0001648960",
                "data": {"accession": "0001213900-24-004875", "cik": "0001648960"}})]
}
