//! SEC EDGAR: filings by company, from the submissions API.
//! Facts: sec.gov, "EDGAR Application Programming Interfaces" and "Accessing EDGAR Data". Companies are named by their
//! central index key (CIK) of ten digits; a ticker is looked up in the provider's own map, which names share classes
//! with a dash. Filings come as columns, newest first; older ones lie in further files that the first names. Every
//! request must carry a contact address in its User-Agent. A missing file is 404 or 403 with an XML body; a 403 with a
//! page is a block.

use std::collections::BTreeSet;
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{Data, Filing, Judgement, Kind, Native, Query, SourceId, Symbol, Verdict};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::fields::{Int, Pairs};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct SecEdgar;

impl Source for SecEdgar {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    /// A ticker stays one, in the provider's spelling, until the map of tickers is known.
    fn native(&self, _kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement> {
        if let Some(cik) = cik_of(symbol.as_str()) {
            return Ok(Native::new(cik));
        }
        if let Some(native) = state.instruments.native_of(symbol) {
            return Ok(native.clone());
        }
        let is_ticker =
            symbol.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
        if symbol.as_str().is_empty() || !is_ticker {
            return Err(Judgement::unservable(
                "symbol_form",
                format!("sec_edgar: expected a ticker such as BRK.B or a CIK such as 0000320193, found {symbol}"),
            ));
        }
        if state.instruments.is_empty() {
            return Ok(Native::new(symbol.as_str().replace('.', "-")));
        }
        Err(Judgement::not_found(format!("sec_edgar: no company has the ticker {symbol}; a CIK can be asked for, too"))
            .local())
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        // First of all: nothing can be asked without it, not even the map of tickers.
        contact(cx)?;
        let native = cx.only_native()?;
        let cik = cik_of(native).ok_or_else(|| {
            Judgement::unservable(
                "tickers_missing",
                format!("sec_edgar: expected a CIK, found {native}; the map of tickers is not fetched yet"),
            )
        })?;
        // The cursor lists the files that are left; the first of them is next.
        let file = match cx.query.cursor.as_deref().and_then(|cursor| cursor.split(',').next()) {
            Some(file) => crate::wire::request::encode(file),
            None => format!("CIK{cik}.json"),
        };
        declared(cx, Request::get(format!("/submissions/{file}")))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let body: Body = json::plain(&answer.body).read()?;
        if let Some(directory) = body.directory {
            return decode_directory(cx, &directory, out).map(|()| None);
        }
        if let Some(filings) = body.filings {
            let digits = body.cik.map(|cik| cik.0).unwrap_or_default();
            let cik = cik_of(&digits)
                .ok_or_else(|| Judgement::malformed(format!("cik: expected one to ten digits, found {digits:?}")))?;
            let company = Company {
                symbol: symbol_of(cx, &cik, body.tickers.as_deref().unwrap_or_default()),
                name: body.name.filter(|name| !name.is_empty()),
                cik: Some(cik),
            };
            let is_cut = decode_columns("filings.recent.", cx, &company, filings.recent, out)?;
            return Ok(if is_cut { None } else { older(cx, filings.files.unwrap_or_default()) });
        }
        if body.cik.is_some() {
            return Err(Judgement::malformed("filings: expected the company's filings, found nothing"));
        }
        // A further file has the columns alone; whose they are, the question knows.
        let cik = cx.only().and_then(|(_, native)| cik_of(native.as_str()));
        let symbol = cx.only().map(|(symbol, _)| symbol.clone());
        let columns: Columns = json::plain(&answer.body).read()?;
        let is_cut = decode_columns("", cx, &Company { symbol, name: None, cik }, columns, out)?;
        let rest = cx.query.cursor.as_deref().and_then(|cursor| cursor.split_once(',')).map(|(_, rest)| rest.into());
        Ok(rest.filter(|_| !is_cut))
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        refusal(answer)
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, cx: &Context<'_>) -> Result<Request, Judgement> {
        declared(cx, Request::get("/files/company_tickers.json").base(WWW))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(refusal(answer));
        }
        let listed: Pairs<Listed> = json::plain(&answer.body).read()?;
        if listed.0.is_empty() {
            return Err(Judgement::malformed("expected the companies' tickers, found none"));
        }
        let instruments = listed.0.into_iter().map(|(_, row)| Instrument {
            symbol: Symbol::new(row.ticker.replace('-', ".")),
            native: Native::new(format_compact!("{:010}", row.cik_str.0)),
            aliases: Vec::new(),
        });
        state.instruments = instruments.collect::<Vec<_>>().into();
        Ok(())
    }
}

/// A row of the map of tickers.
#[derive(Deserialize)]
struct Listed {
    cik_str: Int,
    ticker: String,
}

/// The submissions of a company, one of their further files, or the index of one filing.
#[derive(Deserialize)]
struct Body {
    /// Ten digits, fewer in older copies.
    cik: Option<Digits>,
    name: Option<String>,
    tickers: Option<Vec<Option<String>>>,
    filings: Option<Filings>,
    directory: Option<Directory>,
}

#[derive(Deserialize)]
struct Filings {
    recent: Columns,
    files: Option<Vec<Further>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Further {
    name: String,
    filing_from: Option<String>,
    filing_to: Option<String>,
}

/// The filings by columns of equal length. Empty texts stand for nothing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Columns {
    accession_number: Option<Vec<CompactString>>,
    filing_date: Option<Vec<Option<CompactString>>>,
    report_date: Option<Vec<Option<CompactString>>>,
    acceptance_date_time: Option<Vec<Option<CompactString>>>,
    form: Option<Vec<Option<CompactString>>>,
    primary_document: Option<Vec<Option<CompactString>>>,
}

/// The files of one filing; its name is the folder they lie in.
#[derive(Deserialize)]
struct Directory {
    name: String,
}

/// Digits sent as a string or as a number.
struct Digits(String);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Int::<i64>::deserialize(deserializer).map(|value| Digits(value.0.to_string()))
    }
}

/// What all filings of an answer have in common.
struct Company {
    symbol: Option<Symbol>,
    name: Option<String>,
    cik: Option<CompactString>,
}

/// Pushes a record per row; returns whether the limit asked for cut the rows off.
fn decode_columns(
    path: &str,
    cx: &Context<'_>,
    company: &Company,
    columns: Columns,
    out: &mut Batch,
) -> Result<bool, Judgement> {
    let accessions = columns
        .accession_number
        .ok_or_else(|| Judgement::malformed(format!("{path}accessionNumber: expected a list, found nothing")))?;
    let column = |name: &str, cells: Option<Vec<Option<CompactString>>>| match cells {
        Some(cells) if cells.len() != accessions.len() => Err(Judgement::malformed(format!(
            "{path}{name}: expected {} values as in accessionNumber, found {}",
            accessions.len(),
            cells.len()
        ))),
        Some(cells) => Ok(cells),
        None => Ok(Vec::new()),
    };
    let filed = column("filingDate", columns.filing_date)?;
    let period = column("reportDate", columns.report_date)?;
    let accepted = column("acceptanceDateTime", columns.acceptance_date_time)?;
    let forms = column("form", columns.form)?;
    let documents = column("primaryDocument", columns.primary_document)?;
    let cell =
        |cells: &[Option<CompactString>], row: usize| cells.get(row).cloned().flatten().filter(|text| !text.is_empty());
    let mut rows = 0;
    for (row, accession) in accessions.iter().enumerate() {
        if accession.is_empty() {
            return Err(Judgement::malformed(format!(
                "{path}accessionNumber[{row}]: expected an accession number, found nothing"
            )));
        }
        let ts_event = cell(&accepted, row).map(|text| times::rfc3339("acceptanceDateTime", &text)).transpose()?;
        if !in_range(cx, ts_event) {
            continue;
        }
        if cx.query.limit.is_some_and(|limit| rows >= limit) {
            return Ok(true);
        }
        rows += 1;
        let document = cell(&documents, row);
        let filing = Filing {
            accession: accession.clone(),
            form: cell(&forms, row),
            company: company.name.clone(),
            cik: company.cik.clone(),
            url: company.cik.as_deref().zip(document).map(|(cik, document)| address(cik, accession, &document)),
            filed: cell(&filed, row),
            period: cell(&period, row),
        };
        let native = company.cik.as_ref().map(Native::new);
        out.push(company.symbol.clone(), native, ts_event, Data::Filing(Box::new(filing)));
    }
    Ok(false)
}

fn decode_directory(cx: &Context<'_>, directory: &Directory, out: &mut Batch) -> Result<(), Judgement> {
    let wrong =
        || Judgement::malformed(format!("directory.name: expected the folder of a filing, found {:?}", directory.name));
    let (folder, number) = directory.name.rsplit_once('/').ok_or_else(wrong)?;
    let cik = folder.rsplit('/').next().and_then(cik_of).ok_or_else(wrong)?;
    if number.len() != 18 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let accession = format_compact!("{}-{}-{}", &number[..10], &number[10..12], &number[12..]);
    let filing = Filing { accession, cik: Some(cik.clone()), ..Filing::default() };
    out.push(symbol_of(cx, &cik, &[]), Some(Native::new(cik)), None, Data::Filing(Box::new(filing)));
    Ok(())
}

/// The further files that may hold filings of the span asked for, as a cursor.
fn older(cx: &Context<'_>, files: Vec<Further>) -> Option<CompactString> {
    let range = cx.query.range.map(|range| (times::date(range.from), times::date(range.to)));
    let is_wanted = |file: &Further| match &range {
        Some((from, to)) => {
            // Dates of this form compare as text.
            file.filing_to.as_ref().is_none_or(|last| last >= from)
                && file.filing_from.as_ref().is_none_or(|first| first <= to)
        }
        None => true,
    };
    let names: Vec<String> = files.into_iter().filter(is_wanted).map(|file| file.name).collect();
    (!names.is_empty()).then(|| names.join(",").into())
}

fn in_range(cx: &Context<'_>, at: Option<UnixNanos>) -> bool {
    match (cx.query.range, at) {
        (Some(range), Some(at)) => range.from <= at && at < range.to,
        _ => true,
    }
}

/// The question's symbol, when the answer is about it; else what the map of tickers says; else the company's ticker,
/// when it has but one.
fn symbol_of(cx: &Context<'_>, cik: &str, tickers: &[Option<String>]) -> Option<Symbol> {
    if let Some(symbol) = cx.symbol_of(cik) {
        return Some(symbol);
    }
    let tickers: BTreeSet<&str> = tickers.iter().flatten().map(String::as_str).collect();
    if let Some((symbol, _)) = cx.only().filter(|(_, native)| tickers.contains(native.as_str())) {
        return Some(symbol.clone());
    }
    tickers.first().filter(|_| tickers.len() == 1).map(|ticker| Symbol::new(ticker.replace('-', ".")))
}

/// `0000320193` from `320193`, `0000320193` or `CIK0000320193`; `None` for tickers.
fn cik_of(text: &str) -> Option<CompactString> {
    let digits = text.strip_prefix("CIK").unwrap_or(text);
    let is_number = (1..=10).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format_compact!("{digits:0>10}"))
}

/// Where the provider keeps a filing's document ("Accessing EDGAR Data", paths).
fn address(cik: &str, accession: &str, document: &str) -> String {
    let folder = accession.replace('-', "");
    format!("https://www.sec.gov/Archives/edgar/data/{}/{folder}/{document}", cik.trim_start_matches('0'))
}

/// Names the contact, without which the provider refuses every request.
fn declared(cx: &Context<'_>, request: Request) -> Result<Request, Judgement> {
    Ok(request.header("user-agent", format!("tidegate {}", contact(cx)?)))
}

/// The contact address of the configuration.
fn contact<'a>(cx: &Context<'a>) -> Result<&'a str, Judgement> {
    let contact = cx.contact.trim();
    let is_header = contact.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if contact.is_empty() || !is_header {
        return Err(Judgement {
            verdict: Verdict::Unauthorized,
            ..Judgement::unservable(
                "contact_missing",
                format!(
                    "sec_edgar: expected a contact address in `contact`, found {contact:?}; set one such as ops@example.com"
                ),
            )
        });
    }
    Ok(contact)
}

fn refusal(answer: &Answer) -> Judgement {
    let text = String::from_utf8_lossy(&answer.body);
    let judgement = by_status(answer, xml_message(&text));
    let (verdict, reason, after) = match answer.status {
        403 | 404 if text.contains("<Code>") => (Verdict::NotFound, "symbol_unknown", None),
        403 if text.contains("Undeclared Automated Tool") => (Verdict::Unauthorized, "user_agent", None),
        403 => (Verdict::Banned, "pace", Some(HOLD)),
        429 => (Verdict::RateLimited, "http_429", Some(HOLD)),
        _ => (judgement.verdict, judgement.reason, None),
    };
    let after = judgement.retry_after.or(after);
    Judgement { verdict, reason, ..judgement }.retry_after(after)
}

fn xml_message(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Message>")?;
    rest.split("</Message>").next()
}

const WWW: usize = 1;
/// An address that was too fast is held for about ten minutes.
const HOLD: Duration = Duration::from_secs(600);

static PREREQUISITES: &[Prerequisite] = &[Prerequisite {
    name: "instruments",
    ttl: Duration::from_secs(86_400),
    needed: |query: &Query, _| query.symbols.iter().any(|symbol| cik_of(symbol.as_str()).is_none()),
    invalidated_by: &[],
}];

static SPEC: Spec = Spec {
    id: SourceId("sec_edgar"),
    title: "SEC EDGAR",
    bases: &[Base { name: "api", url: "https://data.sec.gov" }, Base { name: "www", url: "https://www.sec.gov" }],
    kinds: &[KindSpec {
        kind: Kind::Filing,
        key: KeyUse::None,
        batching: Batching::One,
        whole_market: false,
        intervals: &[],
        past: Past::ranged(1_000),
        every: Duration::from_secs(5),
        examples: &["AAPL", "MSFT"],
    }],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 8, per: Duration::from_secs(1), shape: WindowShape::Rolling }],
    }],
    scope: QuotaScope::Ip,
    samples: samples!(
        "sec_edgar",
        "company_tickers.json",
        "error_403.html",
        "filing_index.json",
        "submissions_aapl.json",
        "submissions_msft.json",
        "submissions_page.json",
    ),
    routes: include_str!("samples/sec_edgar/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "10 requests per second and user over all hosts (sec.gov, \"Accessing EDGAR Data\"; 2026-08-01); held to 8",
};

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::source::testing;

    fn query(symbol: &str) -> Query {
        Query::new(Kind::Filing).symbol(symbol)
    }

    fn first(symbol: &str) -> Value {
        json!({
            "source": "sec_edgar", "kind": "filing", "symbol": symbol, "native": "0000320193",
            "ts_event": 1_767_216_645_000_000_000_i64,
            "data": {
                "accession": "0000320193-25-000123", "form": "8-K", "company": "Apple Inc.", "cik": "0000320193",
                "url": "https://www.sec.gov/Archives/edgar/data/320193/000032019325000123/aapl-20251229.htm",
                "filed": "2025-12-31", "period": "2025-12-29"
            }
        })
    }

    #[test]
    fn columns_are_zipped_into_filings() {
        let check = |asked: &str, symbol: &str| {
            let second = json!({
                "source": "sec_edgar", "kind": "filing", "symbol": symbol, "native": "0000320193",
                "ts_event": 1_767_137_462_000_000_000_i64,
                "data": {"accession": "0000320193-25-000120", "form": "SCHEDULE 13G/A", "company": "Apple Inc.",
                         "cik": "0000320193", "filed": "2025-12-30"}
            });
            testing::check(&SecEdgar, &query(asked), "submissions_aapl.json", json!([first(symbol), second]));
        };
        check("AAPL", "AAPL");
        check("0000320193", "0000320193");
        check("MSFT", "AAPL");
        testing::check(&SecEdgar, &query("AAPL").limit(1), "submissions_aapl.json", json!([first("AAPL")]));
        testing::check_bad_bodies(&SecEdgar, &query("AAPL"), "submissions_aapl.json");
        testing::check_bad_bodies(&SecEdgar, &query("AAPL"), "submissions_page.json");
        testing::check_bad_bodies(&SecEdgar, &query("AAPL"), "filing_index.json");
    }

    #[test]
    fn further_files_and_indexes_are_filings() {
        testing::check(
            &SecEdgar,
            &query("320193"),
            "submissions_page.json",
            json!([{
                "source": "sec_edgar", "kind": "filing", "symbol": "320193", "native": "0000320193",
                "ts_event": 1_433_867_460_000_000_000_i64,
                "data": {"accession": "0000320193-15-000050", "form": "8-K", "cik": "0000320193",
                         "url": "https://www.sec.gov/Archives/edgar/data/320193/000032019315000050/d1.htm",
                         "filed": "2015-06-09", "period": "2015-06-05"}
            }]),
        );
        testing::check(
            &SecEdgar,
            &Query::new(Kind::Filing),
            "filing_index.json",
            json!([{"source": "sec_edgar", "kind": "filing", "native": "0000320193",
                    "data": {"accession": "0000320193-25-000123", "cik": "0000320193"}}]),
        );
    }

    #[test]
    fn tickers_are_looked_up_once() {
        let mut state = State::default();
        let body = SPEC.sample("company_tickers.json").unwrap();
        SecEdgar.prerequisite_decode("instruments", &Answer::new(200, body), &mut state).unwrap();
        let credentials = testing::credentials(&SecEdgar);
        let asked = query("BRK.B");
        let cx = Context::new(&SecEdgar, &asked, &state, &credentials, "ops@example.com", testing::NOW).unwrap();
        let request = SecEdgar.request(&cx).unwrap();
        assert_eq!(request.target(), "/submissions/CIK0001067983.json");
        assert_eq!((request.headers[0].0, request.headers[0].1.as_str()), ("user-agent", "tidegate ops@example.com"));
        let unknown = SecEdgar.native(Kind::Filing, &Symbol::new("NOPE"), &state).unwrap_err();
        assert_eq!((unknown.verdict, unknown.local), (Verdict::NotFound, true));
        let needed = |symbol: &str| (PREREQUISITES[0].needed)(&query(symbol), &state);
        assert!(needed("AAPL") && !needed("0000320193") && !needed("CIK0000320193"));
        assert!(SecEdgar.prerequisite_decode("instruments", &Answer::new(200, "{}"), &mut state).is_err());
    }

    #[test]
    fn requests_need_a_contact() {
        let (state, credentials) = (State::default(), testing::credentials(&SecEdgar));
        let asked = query("320193");
        for contact in ["", "  ", "a\r\nb"] {
            let cx = Context::new(&SecEdgar, &asked, &state, &credentials, contact, testing::NOW).unwrap();
            let refused = SecEdgar.request(&cx).unwrap_err();
            assert_eq!(
                (refused.verdict, refused.reason, refused.local),
                (Verdict::Unauthorized, "contact_missing", true)
            );
        }
        assert_eq!(testing::request(&SecEdgar, &query("AAPL")).unwrap_err().reason, "tickers_missing");
        assert_eq!(testing::request(&SecEdgar, &query("A/B")).unwrap_err().reason, "symbol_form");
    }

    #[test]
    fn older_files_are_further_pages() {
        let cursor = |asked: &Query, sample: &str| {
            let (state, credentials) = (State::default(), testing::credentials(&SecEdgar));
            let cx = Context::new(&SecEdgar, asked, &state, &credentials, "ops@example.com", testing::NOW).unwrap();
            let answer = Answer::new(200, SPEC.sample(sample).unwrap());
            SecEdgar.decode(&cx, &answer, &mut Batch::new(SPEC.id, testing::NOW)).unwrap()
        };
        let file = "CIK0000320193-submissions-001.json";
        assert_eq!(cursor(&query("320193"), "submissions_aapl.json").as_deref(), Some(file));
        assert_eq!(
            cursor(&query("320193").range(UnixNanos::EPOCH, testing::NOW), "submissions_aapl.json").as_deref(),
            Some(file)
        );
        let since_2020 = query("320193").range(UnixNanos::from_secs(1_577_836_800).unwrap(), testing::NOW);
        assert_eq!(cursor(&since_2020, "submissions_aapl.json"), None);
        let paged = query("320193").cursor("a.json,b.json");
        assert_eq!(testing::request(&SecEdgar, &paged).unwrap().target(), "/submissions/a.json");
        assert_eq!(cursor(&paged, "submissions_page.json").as_deref(), Some("b.json"));
        assert_eq!(cursor(&query("320193").cursor("b.json"), "submissions_page.json"), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body, expected| testing::check_verdict(&SecEdgar, &query("320193"), status, body, expected);
        let missing = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
        check(404, missing, (Verdict::NotFound, "symbol_unknown"));
        check(
            403,
            "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(403, SPEC.sample("error_403.html").unwrap(), (Verdict::Unauthorized, "user_agent"));
        check(403, "<html>Request Rate Threshold Exceeded</html>", (Verdict::Banned, "pace"));
        check(429, "", (Verdict::RateLimited, "http_429"));
        check(503, "<html>maintenance</html>", (Verdict::UpstreamError, "http_5xx"));
        let uneven =
            r#"{"cik":"1","name":"A","filings":{"recent":{"accessionNumber":["0-0-1","0-0-2"],"form":["4"]}}}"#;
        check(200, uneven, (Verdict::Malformed, "shape"));
        check(200, r#"{"cik":"1","name":"A","filings":{"recent":{"form":["4"]}}}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"cik":"1","name":"A"}"#, (Verdict::Malformed, "shape"));
    }
}
