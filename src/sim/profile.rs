//! The profile of a misbehaving simulator: per source its latency, its quota and its faults, as typed values and as
//! TOML. Reading it is all there is here; `actor.rs` acts on it.
//! Invariant: what a profile says in vain is an error: an unknown key, an unknown source, a setting of another fault.
//!
//! ```toml
//! seed = 7                                     # the same seed, the same misfortunes in the same order of requests
//!
//! [default]                                    # every source that does not say otherwise
//! latency = "20ms"                             # constant
//!
//! [sources.binance]
//! latency = { p50 = "20ms", p99 = "120ms" }    # lognormal; or { min = "5ms", max = "50ms" }, evenly between
//! quota = "provider"                           # the free plan's limits, refused as the provider refuses
//!
//! [sources.kraken]
//! quota = { limit = 10, per = "1s", window = "sliding" }   # or "fixed": on multiples of `per`
//!
//! [[sources.kraken.faults]]
//! fault = "http_503"
//! rate = 0.2                                   # share of the requests that it befalls; 1 when not given
//! from = "5s"                                  # since the profile is in force; and until when
//! until = "20s"
//! path = "/0/public/Ticker"                    # only requests whose path starts so
//! retry_after = "2s"                           # what this fault can be told besides: see `Fault`
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use toml::{Table, Value};

use crate::config::{did_you_mean, parse_duration};
use crate::error::{Error, Result};
use crate::sim::delay::Delay;
use crate::sim::fault::{Fault, Setting};
use crate::sim::limits;
use crate::source;

/// How the simulator behaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// What all draws come from.
    pub seed: u64,
    /// Sources that do not say otherwise.
    pub default: Behavior,
    /// Sources by id. What one leaves out is as in `default`.
    pub sources: BTreeMap<String, Behavior>,
}

/// How one source behaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behavior {
    /// How long it takes to answer.
    pub latency: Option<Delay>,
    /// What it allows; everything without.
    pub quota: Option<Quota>,
    /// What goes wrong; the first that befalls a request counts.
    pub faults: Option<Vec<FaultRule>>,
}

/// What a simulated provider allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quota {
    /// So many requests per time, refused by 429 with Retry-After.
    Custom {
        /// Requests at most.
        limit: u32,
        /// Per this time.
        per: Duration,
        /// Whether windows lie on multiples of their length; else they slide.
        fixed: bool,
    },
    /// The provider's own limits, headers and refusals; all times divided by `scale`.
    Provider {
        /// 1 for real time.
        scale: u32,
    },
}

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// What happens.
    pub fault: Fault,
    /// Share of the requests, 0 to 1; of the connections for faults of TLS.
    pub rate: f64,
    /// Since when, counted from the moment the profile is in force.
    pub from: Duration,
    /// Until when; for ever without.
    pub until: Option<Duration>,
    /// Only requests whose path starts so.
    pub path: String,
}

impl FaultRule {
    /// Strikes every request from now on.
    pub fn always(fault: Fault) -> Self {
        FaultRule { fault, rate: 1.0, from: Duration::ZERO, until: None, path: String::new() }
    }
}

impl Profile {
    /// Reads a profile; `origin` names it in errors.
    ///
    /// # Errors
    /// The first thing that is wrong: its key, what was expected, what was found.
    pub fn parse(origin: &str, text: &str) -> Result<Profile> {
        let table = text.parse::<Table>().map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            Error::config(format!("{origin}:{line}: expected TOML: {}", error.message().trim()))
        })?;
        read(table).map_err(|why| Error::config(format!("{origin}: {why}")))
    }

    /// The behavior of a source, with the defaults filled in.
    pub fn of(&self, source: &str) -> Behavior {
        let own = self.sources.get(source).cloned().unwrap_or_default();
        Behavior {
            latency: own.latency.or(self.default.latency),
            quota: own.quota.or(self.default.quota),
            faults: own.faults.or_else(|| self.default.faults.clone()),
        }
    }
}

type Read<T> = std::result::Result<T, String>;

fn read(mut table: Table) -> Read<Profile> {
    let mut profile = Profile::default();
    if let Some(seed) = table.remove("seed") {
        let found = seed.as_integer().and_then(|seed| u64::try_from(seed).ok());
        profile.seed = found.ok_or_else(|| unfit("seed", "an integer that is not negative", &seed))?;
    }
    if let Some(value) = table.remove("default") {
        profile.default = behavior("default", value, None)?;
    }
    if let Some(value) = table.remove("sources") {
        for (id, value) in as_table("sources", value)? {
            let Some(known) = source::find(&id) else {
                let known = source::SOURCES.iter().map(|source| source.spec().id.as_str());
                return Err(format!(
                    "sources.{id}: expected the id of a source, found {id:?}{}",
                    did_you_mean(&id, known)
                ));
            };
            let key = format!("sources.{id}");
            profile.sources.insert(id, behavior(&key, value, Some(known.spec().id.as_str()))?);
        }
    }
    nothing_left("", &table, &["seed", "default", "sources"])?;
    Ok(profile)
}

fn behavior(key: &str, value: Value, source: Option<&str>) -> Read<Behavior> {
    let mut table = as_table(key, value)?;
    let mut behavior = Behavior::default();
    if let Some(value) = table.remove("latency") {
        behavior.latency = Some(latency(&format!("{key}.latency"), value)?);
    }
    if let Some(value) = table.remove("quota") {
        behavior.quota = Some(quota(&format!("{key}.quota"), value, source)?);
    }
    if let Some(value) = table.remove("faults") {
        let key = format!("{key}.faults");
        let Value::Array(rules) = value else { return Err(unfit(&key, "a list of faults", &value)) };
        let rules = rules.into_iter().enumerate().map(|(at, value)| rule(&format!("{key}[{at}]"), value));
        behavior.faults = Some(rules.collect::<Read<_>>()?);
    }
    nothing_left(key, &table, &["latency", "quota", "faults"])?;
    Ok(behavior)
}

fn latency(key: &str, value: Value) -> Read<Delay> {
    const EXPECTED: &str = "a duration, { min, max } or { p50, p99 }";
    if let Value::String(_) = value {
        return Ok(Delay::Constant(duration(key, &value)?));
    }
    let Value::Table(mut table) = value else { return Err(unfit(key, EXPECTED, &value)) };
    let names: &[&str] = if table.contains_key("p50") { &["p50", "p99"] } else { &["min", "max"] };
    let mut pair = [Duration::ZERO; 2];
    for (name, place) in names.iter().zip(&mut pair) {
        let key = format!("{key}.{name}");
        let value =
            table.remove(*name).ok_or_else(|| format!("{key}: expected a duration such as 20ms, found none"))?;
        *place = duration(&key, &value)?;
    }
    nothing_left(key, &table, names)?;
    let [first, second] = pair;
    if second < first || (names[0] == "p50" && first.is_zero()) {
        let least = if first.is_zero() { "p50 above zero" } else { "the second no shorter than the first" };
        return Err(format!("{key}: expected {least}, found {first:?} and {second:?}"));
    }
    Ok(match names[0] {
        "p50" => Delay::LogNormal { p50: first, p99: second },
        _ => Delay::Uniform { min: first, max: second },
    })
}

fn quota(key: &str, value: Value, source: Option<&str>) -> Read<Quota> {
    const EXPECTED: &str = "\"provider\", { scale } or { limit, per, window }";
    let mut table = match value {
        Value::String(ref text) if text == "provider" => Table::new(),
        Value::Table(table) => table,
        other => return Err(unfit(key, EXPECTED, &other)),
    };
    if let Some(limit) = table.remove("limit") {
        let limit = whole(&format!("{key}.limit"), &limit, 1)?;
        let per_key = format!("{key}.per");
        let per =
            table.remove("per").ok_or_else(|| format!("{per_key}: expected a duration such as 1s, found none"))?;
        let per = duration(&per_key, &per)?;
        if per < Duration::from_millis(1) {
            return Err(format!("{per_key}: expected at least 1ms, found {per:?}"));
        }
        let fixed = match table.remove("window") {
            None => false,
            Some(Value::String(word)) if word == "sliding" => false,
            Some(Value::String(word)) if word == "fixed" => true,
            Some(other) => return Err(unfit(&format!("{key}.window"), "\"fixed\" or \"sliding\"", &other)),
        };
        nothing_left(key, &table, &["limit", "per", "window"])?;
        return Ok(Quota::Custom { limit, per, fixed });
    }
    let scale = table.remove("scale").map_or(Ok(1), |scale| whole(&format!("{key}.scale"), &scale, 1))?;
    nothing_left(key, &table, &["scale", "limit", "per", "window"])?;
    match source {
        Some(id) if !limits::knows(id) => {
            let known = limits::PROVIDERS.iter().map(|provider| provider.source).collect::<Vec<_>>().join(", ");
            Err(format!("{key}: expected {{ limit, per }}, since the limits of {id} are not simulated (only {known})"))
        }
        _ => Ok(Quota::Provider { scale }),
    }
}

fn rule(key: &str, value: Value) -> Read<FaultRule> {
    let mut table = as_table(key, value)?;
    let name = match table.remove("fault") {
        Some(Value::String(name)) => name,
        Some(other) => return Err(unfit(&format!("{key}.fault"), "the name of a fault", &other)),
        None => return Err(format!("{key}.fault: expected the name of a fault, found none")),
    };
    let Some(mut fault) = Fault::named(&name) else {
        return Err(format!(
            "{key}.fault: expected the name of a fault, found {name:?}{}",
            did_you_mean(&name, Fault::names())
        ));
    };
    let mut rule = FaultRule::always(fault.clone());
    if let Some(value) = table.remove("rate") {
        let rate = value.as_float().or_else(|| value.as_integer().map(|rate| rate as f64));
        let rate = rate.filter(|rate| (0.0..=1.0).contains(rate));
        rule.rate = rate.ok_or_else(|| unfit(&format!("{key}.rate"), "a share from 0 to 1", &value))?;
    }
    if let Some(value) = table.remove("from") {
        rule.from = duration(&format!("{key}.from"), &value)?;
    }
    if let Some(value) = table.remove("until") {
        let until = duration(&format!("{key}.until"), &value)?;
        if until <= rule.from {
            return Err(format!("{key}.until: expected a time after `from` ({:?}), found {until:?}", rule.from));
        }
        rule.until = Some(until);
    }
    if let Some(value) = table.remove("path") {
        let path = value.as_str().filter(|path| path.starts_with('/'));
        rule.path = path.ok_or_else(|| unfit(&format!("{key}.path"), "a path that starts with /", &value))?.to_owned();
    }
    for (name, setting) in fault.settings() {
        let Some(value) = table.remove(name) else { continue };
        let key = format!("{key}.{name}");
        match setting {
            Setting::Bytes(place) => *place = whole(&key, &value, 1)? as usize,
            Setting::Duration(place) => *place = duration(&key, &value)?,
            Setting::Pointer(place) => {
                let pointer = value.as_str().filter(|pointer| pointer.starts_with('/'));
                *place = pointer.ok_or_else(|| unfit(&key, "a JSON pointer such as /data/*/price", &value))?.to_owned();
            }
            Setting::Skew(place) => *place = skew(&key, &value)?,
        }
    }
    let mut known = vec!["fault", "rate", "from", "until", "path"];
    known.extend(fault.settings().into_iter().map(|(name, _)| name));
    nothing_left(key, &table, &known)?;
    Ok(FaultRule { fault, ..rule })
}

fn as_table(key: &str, value: Value) -> Read<Table> {
    match value {
        Value::Table(table) => Ok(table),
        other => Err(unfit(key, "a table", &other)),
    }
}

fn duration(key: &str, value: &Value) -> Read<Duration> {
    value.as_str().and_then(parse_duration).ok_or_else(|| unfit(key, "a duration such as 20ms or 1m30s", value))
}

/// Milliseconds of a duration that may have a minus in front.
fn skew(key: &str, value: &Value) -> Read<i64> {
    let text = value.as_str().unwrap_or_default();
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let length = parse_duration(rest).and_then(|length| i64::try_from(length.as_millis()).ok());
    let length = length.filter(|length| *length <= SKEW_MAX_MILLIS);
    length
        .map(|length| sign * length)
        .ok_or_else(|| unfit(key, "a duration of at most a year such as 5m or -5m", value))
}

fn whole(key: &str, value: &Value, least: u32) -> Read<u32> {
    let found = value.as_integer().and_then(|count| u32::try_from(count).ok()).filter(|count| *count >= least);
    found.ok_or_else(|| unfit(key, &format!("an integer from {least} to {}", u32::MAX), value))
}

fn unfit(key: &str, expected: &str, found: &Value) -> String {
    format!("{key}: expected {expected}, found {}", found.to_string().trim())
}

fn nothing_left(key: &str, table: &Table, known: &[&str]) -> Read<()> {
    let Some(name) = table.keys().next() else { return Ok(()) };
    let place = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
    let near = did_you_mean(name, known.iter().copied());
    Err(format!("{place}: expected one of {}, found {name:?}{near}", known.join(", ")))
}

const SKEW_MAX_MILLIS: i64 = 366 * 86_400 * 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str, expected: &str) {
        let found = Profile::parse("p.toml", text).unwrap_err().to_string();
        assert_eq!(found, format!("p.toml{expected}"), "{text}");
    }

    #[test]
    fn a_profile_says_what_each_source_does() {
        let text = r#"
            seed = 7
            [default]
            latency = "20ms"
            [sources.binance]
            latency = { p50 = "20ms", p99 = "120ms" }
            quota = { scale = 60 }
            [sources.kraken]
            quota = { limit = 10, per = "1s", window = "fixed" }
            [[sources.kraken.faults]]
            fault = "http_503"
            rate = 0.2
            from = "5s"
            until = "20s"
            path = "/0/public/Ticker"
            retry_after = "3s"
            [[sources.kraken.faults]]
            fault = "clock_skew"
            by = "-5m"
        "#;
        let profile = Profile::parse("p.toml", text).unwrap();
        assert_eq!(profile.seed, 7);
        let ms = Duration::from_millis;
        assert_eq!(profile.of("okx").latency, Some(Delay::Constant(ms(20))));
        let binance = profile.of("binance");
        assert_eq!(binance.latency, Some(Delay::LogNormal { p50: ms(20), p99: ms(120) }));
        assert_eq!(binance.quota, Some(Quota::Provider { scale: 60 }));
        let kraken = profile.of("kraken");
        assert_eq!(kraken.latency, Some(Delay::Constant(ms(20))), "what is left out is the default's");
        assert_eq!(kraken.quota, Some(Quota::Custom { limit: 10, per: ms(1_000), fixed: true }));
        let [first, second] = &kraken.faults.unwrap()[..] else { panic!("two rules") };
        let rule = FaultRule {
            rate: 0.2,
            from: ms(5_000),
            until: Some(ms(20_000)),
            path: "/0/public/Ticker".to_owned(),
            ..FaultRule::always(Fault::Http503 { retry_after: ms(3_000) })
        };
        assert_eq!(first, &rule);
        assert_eq!(second, &FaultRule::always(Fault::ClockSkew { by_millis: -300_000 }));
        assert_eq!(Profile::parse("p.toml", "").unwrap(), Profile::default());
    }

    #[test]
    fn the_readme_shows_a_profile_and_names_every_fault() {
        let readme = include_str!("../../README.md");
        let section = readme.split("## A simulator that misbehaves").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let text = section.split("```toml").nth(1).unwrap().split("```").next().unwrap();
        let profile = Profile::parse("README.md", text).unwrap();
        assert_eq!(profile.of("kraken").faults.unwrap().len(), 1);
        for name in Fault::names() {
            assert!(section.contains(&format!("`{name}`")), "README.md lacks {name}");
        }
    }

    #[test]
    fn every_mistake_is_one_line_that_names_it() {
        let fault = |line: &str| format!("[[sources.okx.faults]]\nfault = \"stall\"\n{line}");
        fails("[default", ":1: expected TOML: unclosed table, expected `]`");
        fails("sed = 1", ": sed: expected one of seed, default, sources, found \"sed\"; did you mean seed?");
        fails("seed = -1", ": seed: expected an integer that is not negative, found -1");
        fails(
            "[sources.binanc]",
            ": sources.binanc: expected the id of a source, found \"binanc\"; did you mean binance?",
        );
        fails("default = 3", ": default: expected a table, found 3");
        fails(
            "[default]\nlatncy = 1",
            ": default.latncy: expected one of latency, quota, faults, found \"latncy\"; did you mean latency?",
        );
        fails(
            "[default]\nlatency = \"fast\"",
            ": default.latency: expected a duration such as 20ms or 1m30s, found \"fast\"",
        );
        fails(
            "[default]\nlatency = { p50 = \"2s\" }",
            ": default.latency.p99: expected a duration such as 20ms, found none",
        );
        fails(
            "[default]\nlatency = { min = \"2s\", max = \"1s\" }",
            ": default.latency: expected the second no shorter than the first, found 2s and 1s",
        );
        fails(
            "[sources.fmp]\nquota = \"provider\"",
            ": sources.fmp.quota: expected { limit, per }, since the limits of fmp are not simulated (only alpha_vantage, binance, bybit, coinbase, coingecko, finnhub, kraken, okx, polygon)",
        );
        fails(
            "[sources.okx]\nquota = { limit = 0, per = \"1s\" }",
            ": sources.okx.quota.limit: expected an integer from 1 to 4294967295, found 0",
        );
        fails(
            "[[sources.okx.faults]]\nfault = \"stal\"",
            ": sources.okx.faults[0].fault: expected the name of a fault, found \"stal\"; did you mean stall?",
        );
        fails(&fault("rate = 2"), ": sources.okx.faults[0].rate: expected a share from 0 to 1, found 2");
        fails(&fault("path = \"x\""), ": sources.okx.faults[0].path: expected a path that starts with /, found \"x\"");
        fails(
            &fault("bytes = 3"),
            ": sources.okx.faults[0].bytes: expected one of fault, rate, from, until, path, lasting, found \"bytes\"",
        );
        fails(
            &fault("from = \"2s\"\nuntil = \"1s\""),
            ": sources.okx.faults[0].until: expected a time after `from` (2s), found 1s",
        );
    }
}
