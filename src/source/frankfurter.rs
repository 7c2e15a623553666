//! Frankfurter: the reference rates of the European Central Bank, one set a working day.
//! Facts: frankfurter.dev, API v1 and v2 (OpenAPI files of 2026-08). Rates are number tokens, dates are days; a request
//! about a day without rates answers with the day before and says so. Requests go to v1, which serves the ECB alone; the
//! answers of both versions are read. Rates relative to another base than the euro are computed by the provider.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{Data, Dec, Judgement, Kind, Native, Rate, SourceId, Symbol, Verdict};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Evidence, KeyUse, KindSpec, Past, QuotaScope, Source, Spec, Tier, WindowShape,
    WindowSpec, by_status,
};
use crate::wire::fields::Pairs;
use crate::wire::{Answer, Request, fields, json, times};

/// The source.
pub struct Frankfurter;

impl Source for Frankfurter {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    /// The provider has no name for a pair; its v2 paths name one as `EUR/USD`.
    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &crate::source::State) -> Result<Native, Judgement> {
        let (base, quote) = pair(symbol)?;
        Ok(native(base, quote))
    }

    /// All rates of one answer have one base.
    fn batch_key(&self, _kind: Kind, symbol: &Symbol) -> CompactString {
        symbol.pair().map(|(base, _)| base.into()).unwrap_or_default()
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let pairs = cx.query.symbols.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
        let Some((base, _)) = pairs.first() else {
            return Err(Judgement::unservable(
                "symbol_count",
                "frankfurter: expected a pair such as EUR-USD, found none",
            ));
        };
        if pairs.iter().any(|(other, _)| other != base) {
            return Err(Judgement::unservable(
                "batch_mix",
                format!("frankfurter: expected pairs of one base, found {base} and another; ask for them apart"),
            ));
        }
        let quotes: Vec<&str> = pairs.iter().map(|(_, quote)| *quote).collect();
        let path = match cx.query.range {
            // Both days are inclusive.
            Some(range) => format!(
                "/v1/{}..{}",
                times::date(range.from),
                times::date(range.to.saturating_sub(Duration::from_nanos(1)))
            ),
            None => "/v1/latest".to_owned(),
        };
        Ok(Request::get(path).param("base", base).param("symbols", quotes.join(",")))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let body = &answer.body;
        if json::is_array(body) {
            for row in json::exact(body).read::<Vec<Option<Row>>>()?.into_iter().flatten() {
                push(out, &row.base, &row.quote, row.rate, row.date)?;
            }
            return Ok(None);
        }
        let form: Form = json::exact(body).read()?;
        if form.rate.is_some() || form.quote.is_some() {
            let row: Row = json::exact(body).read()?;
            push(out, &row.base, &row.quote, row.rate, row.date)?;
        } else if form.start_date.is_some() {
            decode_series(body, out)?;
        } else if form.rates.is_none() && form.message.is_some() {
            return Err(
                self.classify(cx, &Answer { status: form.status.map_or(400, |code| code.0 as u16), ..answer.clone() })
            );
        } else {
            decode_day(body, out)?;
        }
        Ok(None)
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        let Ok(Form { message: Some(message), .. }) = json::exact(&answer.body).read::<Form>() else {
            return by_status(answer, None);
        };
        let judgement = by_status(answer, Some(&message));
        let (verdict, reason) = match answer.status {
            404 => (Verdict::NotFound, "symbol_unknown"),
            400 | 422 if message.to_lowercase().contains("currenc") => (Verdict::NotFound, "symbol_unknown"),
            400 | 422 => (Verdict::BadRequest, "argument"),
            _ => (judgement.verdict, judgement.reason),
        };
        Judgement { verdict, reason, ..judgement }
    }
}

/// The fields that tell the forms of an answer apart.
#[derive(Deserialize)]
struct Form {
    rate: Option<serde::de::IgnoredAny>,
    quote: Option<serde::de::IgnoredAny>,
    rates: Option<serde::de::IgnoredAny>,
    start_date: Option<serde::de::IgnoredAny>,
    message: Option<String>,
    status: Option<fields::Int>,
}

/// A rate of v2, alone or in a list. The list has a row of the base itself, too.
#[derive(Deserialize)]
struct Row {
    date: CompactString,
    base: String,
    quote: String,
    rate: Dec,
}

/// The rates of a day (v1).
#[derive(Deserialize)]
struct Day {
    amount: Option<Dec>,
    base: String,
    date: CompactString,
    rates: Pairs<Option<Dec>>,
}

/// The rates of several days (v1), by day.
#[derive(Deserialize)]
struct Series {
    amount: Option<Dec>,
    base: String,
    rates: Pairs<Option<Pairs<Option<Dec>>>>,
}

fn decode_day(body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let day: Day = json::exact(body).read()?;
    check_amount(day.amount)?;
    if day.rates.0.is_empty() {
        // There always is a latest rate of a currency that the bank quotes.
        return Err(Judgement::not_found(format!("rates: expected a rate per {}, found none", day.base)));
    }
    for (quote, value) in day.rates.0 {
        let Some(value) = value else { continue };
        push(out, &day.base, &quote, value, day.date.clone())?;
    }
    Ok(())
}

fn decode_series(body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let series: Series = json::exact(body).read()?;
    check_amount(series.amount)?;
    for (date, rates) in series.rates.0 {
        for (quote, value) in rates.map(|rates| rates.0).unwrap_or_default() {
            let Some(value) = value else { continue };
            push(out, &series.base, &quote, value, date.clone())?;
        }
    }
    Ok(())
}

fn push(out: &mut Batch, base: &str, quote: &str, value: Dec, date: CompactString) -> Result<(), Judgement> {
    let ts_event = times::local("date", &date, &TimeZone::UTC)?;
    let rate = Rate { base: base.into(), quote: quote.into(), value, date: Some(date) };
    out.push(Some(Symbol::from_pair(base, quote)), Some(native(base, quote)), Some(ts_event), Data::Rate(rate));
    Ok(())
}

/// v1 multiplies its rates by the amount asked for; a rate is that of one unit, which is never asked otherwise.
fn check_amount(amount: Option<Dec>) -> Result<(), Judgement> {
    match amount {
        Some(amount) if amount.minus(Dec::from(1_i64)).is_ok_and(Dec::is_zero) => Ok(()),
        Some(amount) => Err(Judgement::malformed(format!("amount: expected 1, found {amount}"))),
        None => Ok(()),
    }
}

fn pair(symbol: &Symbol) -> Result<(&str, &str), Judgement> {
    let is_currency = |side: &str| side.len() == 3 && side.bytes().all(|byte| byte.is_ascii_uppercase());
    symbol.pair().filter(|(base, quote)| is_currency(base) && is_currency(quote)).ok_or_else(|| {
        Judgement::unservable(
            "symbol_form",
            format!("frankfurter: expected a pair of currencies such as EUR-USD, found {symbol}"),
        )
    })
}

fn native(base: &str, quote: &str) -> Native {
    Native::new(format_compact!("{base}/{quote}"))
}

static SPEC: Spec = Spec {
    id: SourceId("frankfurter"),
    title: "Frankfurter (ECB reference rates)",
    bases: &[Base { name: "api", url: "https://api.frankfurter.dev" }],
    kinds: &[KindSpec {
        kind: Kind::Rate,
        key: KeyUse::None,
        batching: Batching::Many(30),
        whole_market: false,
        intervals: &[],
        past: Past::ranged(10_000),
        every: Duration::from_secs(5),
        examples: &["EUR-USD", "EUR-GBP", "EUR-JPY"],
    }],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 60, per: Duration::from_secs(60), shape: WindowShape::Rolling }],
    }],
    scope: QuotaScope::Ip,
    samples: samples!("frankfurter", "v1_latest.json", "v1_series.json", "v2_rate.json", "v2_rates.json"),
    routes: include_str!("samples/frankfurter/routes.toml"),
    evidence: Evidence::Documented,
    quota_docs: "no limit published, answers may be cached for a day (frankfurter.dev; 2026-08-01); held to 60 a minute",
};

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Query;
    use crate::source::testing;
    use crate::time::UnixNanos;

    fn query() -> Query {
        Query::new(Kind::Rate).symbol("EUR-USD")
    }

    fn rate(quote: &str, value: &str, date: &str, ts_event: i64) -> Value {
        json!({"source": "frankfurter", "kind": "rate", "symbol": format!("EUR-{quote}"), "native": format!("EUR/{quote}"),
               "ts_event": ts_event * 1_000_000_000, "data": {"base": "EUR", "quote": quote, "value": value, "date": date}})
    }

    #[test]
    fn every_form_gives_the_same_records() {
        let usd = rate("USD", "1.1750", "2025-12-31", 1_767_139_200);
        testing::check(
            &Frankfurter,
            &query(),
            "v1_latest.json",
            json!([
                usd,
                rate("GBP", "0.87260", "2025-12-31", 1_767_139_200),
                rate("JPY", "184.09", "2025-12-31", 1_767_139_200)
            ]),
        );
        testing::check(
            &Frankfurter,
            &query(),
            "v1_series.json",
            json!([rate("USD", "1.1768", "2025-12-30", 1_767_052_800), usd]),
        );
        testing::check(
            &Frankfurter,
            &query(),
            "v2_rates.json",
            json!([rate("EUR", "1.0", "2025-12-31", 1_767_139_200), usd]),
        );
        testing::check(&Frankfurter, &query(), "v2_rate.json", json!([usd]));
        for sample in ["v1_latest.json", "v1_series.json", "v2_rate.json", "v2_rates.json"] {
            testing::check_bad_bodies(&Frankfurter, &query(), sample);
        }
    }

    #[test]
    fn requests_name_one_base() {
        let target = |query: &Query| testing::request(&Frankfurter, query).map(|request| request.target().to_owned());
        assert_eq!(target(&query().symbol("EUR-GBP")).unwrap(), "/v1/latest?base=EUR&symbols=USD,GBP");
        let day = |secs| UnixNanos::from_secs(secs).unwrap();
        assert_eq!(
            target(&query().range(day(1_767_052_800), day(1_767_225_600))).unwrap(),
            "/v1/2025-12-30..2025-12-31?base=EUR&symbols=USD"
        );
        assert_eq!(target(&query().symbol("USD-JPY")).unwrap_err().reason, "batch_mix");
        assert_eq!(target(&Query::new(Kind::Rate).symbol("AAPL")).unwrap_err().reason, "symbol_form");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, body, expected| testing::check_verdict(&Frankfurter, &query(), status, body, expected);
        check(404, r#"{"status":404,"message":"not found"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(404, r#"{"message":"not found"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(200, r#"{"status":404,"message":"not found"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(422, r#"{"status":422,"message":"invalid date"}"#, (Verdict::BadRequest, "argument"));
        check(422, r#"{"status":422,"message":"invalid currency: XXX"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(503, "<html>busy</html>", (Verdict::UpstreamError, "http_5xx"));
        check(301, "", (Verdict::BadRequest, "redirect"));
        let scaled = r#"{"amount":10.0,"base":"EUR","date":"2025-12-31","rates":{"USD":11.750}}"#;
        check(200, scaled, (Verdict::Malformed, "shape"));
        check(
            200,
            r#"{"amount":1.0,"base":"EUR","date":"2025-12-31","rates":{}}"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(200, r#"{"base":"EUR","date":"2025-12-31","rates":{"USD":"x"}}"#, (Verdict::Malformed, "shape"));
    }
}
