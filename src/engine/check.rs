//! Settings held against what only the sources and the host know: ids, kinds, symbols, intervals, keys, CPUs. Starts
//! nothing and asks nobody. Invariant: what passes here names only what exists, with every query that will be asked.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::{
    CpuChoice, Cpus, Credentials, Environment, Loaded, Placement, PollSettings, Problem, Problems, Secret, Settings,
    SinkTarget, SourceSettings, did_you_mean,
};
use crate::control::RULES;
use crate::engine::cluster;
use crate::engine::plan::is_loopback;
use crate::model::{Interval, Kind, Query, SourceId, Symbol};
use crate::source::{
    Batching, Context, KeyUse, KindSpec, SOURCES, Source, State, Tier, WindowShape, WindowSpec, planner,
};
use crate::time::UnixNanos;

/// Settings that passed, with what they stand for.
pub struct Checked {
    /// The settings.
    pub settings: Settings,
    /// Which CPU runs what.
    pub placement: Placement,
    /// The sources of this instance, in the settings' order.
    pub sources: Vec<CheckedSource>,
    /// The sources of other instances, each with its owner.
    pub elsewhere: Vec<(SourceId, usize)>,
    /// What is odd but allowed, one line each.
    pub warnings: Vec<String>,
}

impl Checked {
    /// Why an engine with these settings would poll nothing, and how to mend it; `None` when it polls. An engine that a
    /// program only asks is right without polls: whoever runs one for its timetable says it.
    pub fn idle(&self) -> Option<String> {
        if self.sources.iter().any(|source| !source.polls.is_empty()) {
            return None;
        }
        let Some(source) = self.sources.first() else {
            return Some(match self.elsewhere.len() {
                0 => {
                    "nothing is polled: expected a table [sources.ID] with [[sources.ID.polls]], found no source; see \
                      `tidegate sources` for the ids"
                        .to_owned()
                }
                others => format!(
                    "nothing is polled: none of the sources ({others}) belongs to instance {} of {}",
                    self.settings.cluster.instance, self.settings.cluster.of
                ),
            });
        };
        let (id, kind) = (source.source.spec().id, source.source.spec().kinds[0].kind);
        let found = if self.sources.len() == 1 {
            format!("{id} without any")
        } else {
            format!("{} sources without any", self.sources.len())
        };
        Some(format!(
            "nothing is polled: expected polls such as [[sources.{id}.polls]] with kind = \"{kind}\", found {found}"
        ))
    }
}

/// One source with what its settings stand for.
pub struct CheckedSource {
    /// The source.
    pub source: &'static dyn Source,
    /// Its settings.
    pub settings: SourceSettings,
    /// The address of each of its bases, by index.
    pub bases: Vec<String>,
    /// Its plan.
    pub tier: &'static Tier,
    /// The windows of the plan, as far as they are this instance's.
    pub windows: Vec<WindowSpec>,
    /// Its secrets.
    pub credentials: Credentials,
    /// Its polls.
    pub polls: Vec<CheckedPoll>,
    /// What they need of the plan, window by window.
    pub demand: Vec<Demand>,
}

/// What the polls of a source need of one window of its plan.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The window.
    pub window: WindowSpec,
    /// Weight per window, on average.
    pub need: f64,
    /// Weight that may be used: the limit less the margin.
    pub limit: f64,
}

impl Demand {
    /// The window's length in words: `1m`.
    pub fn per(&self) -> String {
        let per = self.window.per;
        Interval::from_secs(per.as_secs()).map_or(format!("{per:?}"), |interval| interval.to_string())
    }
}

/// One poll with the requests it takes.
pub struct CheckedPoll {
    /// What the source says of the kind.
    pub kind: &'static KindSpec,
    /// Time between polls.
    pub every: Duration,
    /// Shift against the wall clock; `None` = by source.
    pub offset: Option<Duration>,
    /// What is asked, about all symbols at once.
    pub query: Query,
    /// The requests it takes.
    pub queries: Vec<Query>,
}

impl CheckedPoll {
    /// Requests a minute, on average.
    pub fn requests_per_minute(&self) -> f64 {
        self.queries.len() as f64 * 60.0 / self.every.as_secs_f64()
    }
}

/// Holds `loaded` against the sources, the secrets in `environment`, and the host's CPUs.
///
/// # Errors
/// All problems, those of loading included.
pub fn check(loaded: Loaded, environment: &Environment, cpus: &Cpus) -> Result<Checked, Problems> {
    let Loaded { mut settings, mut warnings, mut problems } = loaded;
    check_cores(&settings, cpus, &mut problems);
    let placement = Placement::choose(&settings.cores.shards, &settings.cores.sink, &cpus.allowed);
    check_limits(&settings, &mut problems);
    check_admin(&settings, &mut problems);
    check_alerts(&settings, &mut problems);
    check_sinks(&settings, &mut problems);
    resolve_headers(&mut settings, environment, &mut problems);
    let mut sources = Vec::new();
    for source in &settings.sources {
        let place = |key: &str| settings.place(key).to_owned();
        let checker = Checker { settings: &settings, environment, shards: placement.shards.len(), place: &place };
        sources.extend(checker.source(source, &mut problems, &mut warnings));
    }
    let of = settings.cluster.of;
    let owner = |source: &CheckedSource| cluster::owner(source.source.spec().id.as_str(), of);
    let (sources, others): (Vec<_>, Vec<_>) =
        sources.into_iter().partition(|source| owner(source) == settings.cluster.instance);
    let elsewhere = others.iter().map(|source| (source.source.spec().id, owner(source))).collect();
    if problems.is_empty() { Ok(Checked { settings, placement, sources, elsewhere, warnings }) } else { Err(problems) }
}

/// Finds a source by its id.
///
/// # Errors
/// Says which there are, and which is meant.
pub fn source(id: &str) -> Result<&'static dyn Source, String> {
    crate::source::find(id).ok_or_else(|| {
        let ids: Vec<&str> = SOURCES.iter().map(|source| source.spec().id.as_str()).collect();
        format!("expected a source ({}), found {id:?}{}", ids.join(", "), did_you_mean(id, ids.iter().copied()))
    })
}

/// Finds what a source says of a kind.
///
/// # Errors
/// Says which kinds it serves, and which is meant.
pub fn kind(source: &'static dyn Source, text: &str) -> Result<&'static KindSpec, String> {
    let spec = source.spec();
    spec.kinds.iter().find(|kind| kind.kind.as_str() == text).ok_or_else(|| {
        let kinds: Vec<&str> = spec.kinds.iter().map(|kind| kind.kind.as_str()).collect();
        let near = did_you_mean(text, kinds.iter().copied());
        format!("expected a kind that {} serves ({}), found {text:?}{near}", spec.id, kinds.join(", "))
    })
}

/// Checks that a kind takes so many symbols.
///
/// # Errors
/// Says how many it takes.
pub fn symbol_count(kind: &KindSpec, query: &Query) -> Result<(), String> {
    let name = kind.kind;
    if query.whole_market {
        let served = "expected false: the whole market is not served in one request";
        return if kind.whole_market { Ok(()) } else { Err(format!("{served} for {name}")) };
    }
    match (kind.batching, query.symbols.as_slice()) {
        (Batching::None, [_, ..]) => Err(format!("expected no symbols for {name}, found {}", query.symbols.len())),
        (Batching::One | Batching::Many(_), []) => {
            let example = kind.examples.first().map(|symbol| format!(" such as {symbol}")).unwrap_or_default();
            Err(format!("expected symbols{example} for {name}, found none"))
        }
        _ => Ok(()),
    }
}

fn check_cores(settings: &Settings, cpus: &Cpus, problems: &mut Problems) {
    for (key, choice) in [("cores.shards", &settings.cores.shards), ("cores.sink", &settings.cores.sink)] {
        let CpuChoice::List(list) = choice else { continue };
        if key == "cores.sink" && list.len() != 1 {
            let message = format!("expected one CPU, found {list}");
            problems.push(Problem::new(key, settings.place(key), message));
        }
        for refusal in cpus.refuse(list) {
            problems.push(Problem::new(key, settings.place(key), refusal));
        }
    }
}

fn check_limits(settings: &Settings, problems: &mut Problems) {
    let mut refuse = |key: &str, message: String| problems.push(Problem::new(key, settings.place(key), message));
    if settings.retry.base > settings.retry.cap {
        refuse(
            "retry.base",
            format!("expected at most retry.cap ({:?}), found {:?}", settings.retry.cap, settings.retry.base),
        );
    }
    let (journal, audit) = (&settings.journal, &settings.audit);
    for (table, segment, all) in [
        ("journal", journal.segment_bytes, journal.retention_bytes),
        ("audit", audit.segment_bytes, audit.retention_bytes),
    ] {
        if segment > all {
            let message = format!("expected at most {table}.retention_bytes ({all}), found {segment}");
            refuse(&format!("{table}.segment_bytes"), message);
        }
    }
    if let Some(path) = settings.tls_ca_file.as_ref()
        && let Err(error) = std::fs::File::open(path)
    {
        refuse("tls.ca_file", format!("expected a PEM file, found {}: {error}", path.display()));
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&settings.log.filter) {
        let filter = &settings.log.filter;
        refuse("log.filter", format!("expected levels such as info,tidegate::http=debug, found {filter:?}: {error}"));
    }
}

fn check_admin(settings: &Settings, problems: &mut Problems) {
    let admin = &settings.admin;
    if admin.enabled && admin.token.is_none() && !admin.listen.ip().is_loopback() {
        let message = format!(
            "expected a token, found none: {} can be reached from other hosts; set one, or listen on 127.0.0.1",
            admin.listen
        );
        problems.push(Problem::new("admin.token", settings.place("admin.listen"), message));
    }
}

fn check_alerts(settings: &Settings, problems: &mut Problems) {
    for name in settings.alerts.off.iter().filter(|name| !RULES.contains(&name.as_str())) {
        let near = did_you_mean(name, RULES.iter().copied());
        let message = format!("expected rules ({}), found {name:?}{near}", RULES.join(", "));
        problems.push(Problem::new("alerts.off", settings.place("alerts.off"), message));
    }
}

fn check_sinks(settings: &Settings, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    for sink in &settings.sinks {
        let key = format!("{}.name", sink.key);
        if !names.insert(sink.name.as_str()) {
            let message = format!("expected a name that no other sink has, found {:?}; set name", sink.name);
            problems.push(Problem::new(key, settings.place(&sink.key), message));
        }
        if !settings.journal.enabled && sink.target != SinkTarget::Null {
            let place = settings.place("journal.enabled");
            let message = format!("expected true for a sink of type {}, which reads the journal", sink.target.as_str());
            problems.push(Problem::new("journal.enabled", place, message));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if sink.name.is_empty() || !sink.name.chars().all(plain) {
            let message = format!("expected letters, digits, _ and -, found {:?}", sink.name);
            problems.push(Problem::new(format!("{}.name", sink.key), settings.place(&sink.key), message));
        }
    }
}

/// Puts the environment's secrets into the headers of http sinks.
fn resolve_headers(settings: &mut Settings, environment: &Environment, problems: &mut Problems) {
    for index in 0..settings.sinks.len() {
        let sink = &mut settings.sinks[index];
        let SinkTarget::Http(target) = &mut sink.target else { continue };
        let Err(missing) = target.resolve(environment) else { continue };
        let key = sink.key.clone();
        for (header, message) in missing {
            let header = format!("{key}.headers.{header}");
            let place = Some(settings.place(&header)).filter(|place| !place.is_empty());
            let place = place.unwrap_or_else(|| settings.place(&key)).to_owned();
            problems.push(Problem::new(header, place, message));
        }
    }
}

struct Checker<'a> {
    settings: &'a Settings,
    environment: &'a Environment,
    shards: usize,
    place: &'a dyn Fn(&str) -> String,
}

impl Checker<'_> {
    fn source(
        &self,
        settings: &SourceSettings,
        problems: &mut Problems,
        warnings: &mut Vec<String>,
    ) -> Option<CheckedSource> {
        let key = format!("sources.{}", settings.id);
        let mut refuse = |key: &str, message: String| problems.push(Problem::new(key, (self.place)(key), message));
        let found = match source(&settings.id) {
            Ok(found) => found,
            Err(message) => {
                refuse(&key, message);
                return None;
            }
        };
        let spec = found.spec();
        let tier = match &settings.tier {
            None => spec.tiers.first(),
            Some(name) => spec.tiers.iter().find(|tier| tier.name == name),
        };
        if tier.is_none() {
            let names: Vec<&str> = spec.tiers.iter().map(|tier| tier.name).collect();
            let name = settings.tier.as_deref().unwrap_or_default();
            let near = did_you_mean(name, names.iter().copied());
            refuse(&format!("{key}.tier"), format!("expected one of {}, found {name:?}{near}", names.join(", ")));
        }
        let names: Vec<&str> = spec.bases.iter().map(|base| base.name).collect();
        for name in settings.base_urls.keys().filter(|name| !names.contains(&name.as_str())) {
            let near = did_you_mean(name, names.iter().copied());
            let message = format!("expected one of {}, found {name:?}{near}", names.join(", "));
            refuse(&format!("{key}.base_urls.{name}"), message);
        }
        if settings.simulated_keys
            && !bases(found, settings).iter().all(|url| is_loopback(url))
            && !settings.polls.is_empty()
        {
            let message = "expected false: made-up keys are for base URLs on this host alone";
            refuse(&format!("{key}.simulated_keys"), message.to_owned());
        }
        if settings.shards > self.shards {
            let message = format!("expected at most the number of shards ({}), found {}", self.shards, settings.shards);
            refuse(&format!("{key}.shards"), message);
        }
        let credentials = self.credentials(found, settings, problems);
        let polls: Vec<CheckedPoll> =
            settings.polls.iter().filter_map(|poll| self.poll(found, &credentials, poll, problems)).collect();
        let checked = CheckedSource {
            source: found,
            settings: settings.clone(),
            bases: bases(found, settings),
            tier: tier?,
            windows: tier?
                .windows
                .iter()
                .map(|window| cluster::part(*window, spec.scope, &self.settings.cluster))
                .collect(),
            credentials,
            polls,
            demand: Vec::new(),
        };
        let demand = self.demand(&checked);
        let over = demand.iter().filter(|demand| demand.need > demand.limit);
        let key = &checked.settings.id;
        warnings.extend(over.map(|demand| {
            let Demand { need, limit, .. } = demand;
            let per = demand.per();
            format!("sources.{key}: the polls need {need:.0} of {limit:.0} per {per}; they will come later than asked")
        }));
        Some(CheckedSource { demand, ..checked })
    }

    /// The secrets of a source: from the environment, or the simulator's.
    fn credentials(
        &self,
        source: &'static dyn Source,
        settings: &SourceSettings,
        problems: &mut Problems,
    ) -> Credentials {
        let known = source.spec().credentials;
        if !settings.simulated_keys {
            let variables: Vec<&'static str> = known.iter().map(|credential| credential.variable).collect();
            return self.environment.credentials(&variables, problems);
        }
        let mut credentials = Credentials::default();
        for credential in known {
            credentials.insert(credential.variable, Secret::new(credential.simulated));
        }
        credentials
    }

    fn poll(
        &self,
        source: &'static dyn Source,
        credentials: &Credentials,
        poll: &PollSettings,
        problems: &mut Problems,
    ) -> Option<CheckedPoll> {
        let before = problems.list().len();
        let mut refuse = |name: &str, message: String| {
            let key = format!("{}.{name}", poll.key);
            let place = Some((self.place)(&key)).filter(|place| !place.is_empty());
            problems.push(Problem::new(key, place.unwrap_or_else(|| (self.place)(&poll.key)), message));
        };
        let kind = match kind(source, &poll.kind) {
            Ok(kind) => kind,
            Err(message) => {
                refuse("kind", message);
                return None;
            }
        };
        let interval = interval(kind, poll.interval.as_deref()).unwrap_or_else(|message| {
            refuse("interval", message);
            None
        });
        let every = poll.every.unwrap_or(kind.every);
        if poll.offset.is_some_and(|offset| offset >= every) {
            refuse(
                "offset",
                format!("expected less than every ({every:?}), found {:?}", poll.offset.unwrap_or_default()),
            );
        }
        let base = Query { interval, limit: poll.limit, whole_market: poll.whole_market, ..Query::new(kind.kind) };
        let state = State::default();
        let mut symbols = Vec::new();
        for (index, text) in poll.symbols.iter().enumerate() {
            let symbol = Symbol::new(text);
            let waits =
                source.prerequisites().iter().any(|step| (step.needed)(&base.clone().symbol(symbol.clone()), &state));
            match source.native(kind.kind, &symbol, &state) {
                // What only the provider's own list can tell is not known before it has been fetched.
                Err(_) if waits => {}
                Err(judgement) => refuse(&format!("symbols[{index}]"), judgement.message),
                Ok(_) => {}
            }
            if symbols.contains(&symbol) {
                refuse(&format!("symbols[{index}]"), format!("expected each symbol once, found {symbol} again"));
            }
            symbols.push(symbol);
        }
        let query = base.symbols(symbols);
        if let Err(message) = symbol_count(kind, &query) {
            refuse(if poll.whole_market { "whole_market" } else { "symbols" }, message);
            return None;
        }
        let weigh = |query: &Query| {
            let (contact, now) = (&self.settings.contact, UnixNanos::now());
            let cx = Context::new(source, query, &state, credentials, contact, now).ok()?;
            planner::weight(source, &cx)
        };
        let queries = if query.whole_market { vec![query.clone()] } else { planner::plan(source, &query, weigh) };
        if let Some(message) = self.missing_key(source, kind, credentials, queries.first()) {
            refuse("kind", message);
        }
        (problems.list().len() == before).then_some(CheckedPoll { kind, every, offset: poll.offset, query, queries })
    }

    /// Why the poll cannot be asked with the keys that are set.
    fn missing_key(
        &self,
        source: &'static dyn Source,
        kind: &KindSpec,
        credentials: &Credentials,
        query: Option<&Query>,
    ) -> Option<String> {
        let spec = source.spec();
        let variables: Vec<&str> = spec.credentials.iter().map(|credential| credential.variable).collect();
        let none_set = variables.iter().all(|variable| credentials.find(variable).is_none());
        if kind.key == KeyUse::Required && none_set {
            let names = variables.join(" and ");
            let first = variables.first().copied().unwrap_or_default();
            return Some(format!(
                "expected a key for {} of {} in {names}, found none; set it, or {first}_FILE",
                kind.kind, spec.id
            ));
        }
        // With some of several keys set, only the source knows whether they are enough for this request.
        let state = State::default();
        let query = query?;
        let cx = Context::new(source, query, &state, credentials, &self.settings.contact, UnixNanos::now()).ok()?;
        match source.request(&cx) {
            // Other refusals mean that something has to be fetched first.
            Err(judgement) if judgement.reason.starts_with("key_") || judgement.reason == "contact_missing" => {
                Some(judgement.message)
            }
            _ => None,
        }
    }

    /// What the polls need of each window of the plan.
    fn demand(&self, checked: &CheckedSource) -> Vec<Demand> {
        let state = State::default();
        let contact = &self.settings.contact;
        let mut needs: Vec<(&'static str, f64)> = Vec::new();
        for poll in &checked.polls {
            for query in &poll.queries {
                let cx = Context::new(checked.source, query, &state, &checked.credentials, contact, UnixNanos::now());
                let built = cx.and_then(|cx| checked.source.request(&cx));
                let (bucket, weight) = built.map_or(("", 1), |request| (request.bucket, request.weight));
                needs.push((bucket, f64::from(weight) / poll.every.as_secs_f64()));
            }
        }
        let share = 1.0 - checked.settings.quota_margin;
        let windows = checked.windows.iter().filter(|window| window.shape != WindowShape::Concurrency);
        let demand = windows.map(|window| {
            let counted = needs.iter().filter(|(bucket, _)| window.bucket.is_empty() || window.bucket == *bucket);
            let need = counted.map(|(_, weight)| weight).sum::<f64>() * window.per.as_secs_f64();
            Demand { window: *window, need, limit: f64::from(window.limit) * share }
        });
        demand.collect()
    }
}

/// The address of each base: named ones, else the one for all, else the provider's own.
pub fn bases(source: &'static dyn Source, settings: &SourceSettings) -> Vec<String> {
    let own = source.spec().bases.iter();
    own.map(|base| {
        let named = settings.base_urls.get(base.name).or(settings.base_url.as_ref());
        named.map_or(base.url.to_owned(), String::clone)
    })
    .collect()
}

/// The interval of a query of this kind: as written, else a minute, else the shortest there is.
///
/// # Errors
/// Says which intervals the source offers.
pub fn interval(kind: &KindSpec, text: Option<&str>) -> Result<Option<Interval>, String> {
    let offered = || kind.intervals.iter().map(Interval::to_string).collect::<Vec<_>>();
    match text {
        None if kind.intervals.contains(&Interval::MINUTE) => Ok(Some(Interval::MINUTE)),
        None => Ok(kind.intervals.iter().min().copied()),
        Some(text) if kind.kind != Kind::Bar => Err(format!("expected none for {}, found {text:?}", kind.kind)),
        Some(text) => match text.parse() {
            Ok(interval) if kind.intervals.contains(&interval) => Ok(Some(interval)),
            _ => {
                let names = offered();
                let near = did_you_mean(text, names.iter().map(String::as_str));
                Err(format!("expected one of {}, found {text:?}{near}", names.join(", ")))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;

    fn run(text: &str, variables: &[(&str, &str)]) -> Result<Checked, Vec<String>> {
        let environment = Environment::of(variables.iter().copied());
        let cpus = Cpus { online: "0-3".parse().unwrap(), allowed: "0-2".parse().unwrap() };
        let checked = check(Loader::new(&environment).text("t.toml", text).load(), &environment, &cpus);
        checked.map_err(|problems| problems.list().iter().map(Problem::to_string).collect())
    }

    fn check_problems(text: &str, expected: &[&str]) {
        let Err(found) = run(text, &[]) else { panic!("nothing is wrong with {text}") };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn names_that_do_not_exist_are_refused_with_the_nearest() {
        let ids: Vec<&str> = SOURCES.iter().map(|source| source.spec().id.as_str()).collect();
        let ids = ids.join(", ");
        check_problems(
            "[sources.binanse]",
            &[&format!(
                "t.toml line 1: sources.binanse: expected a source ({ids}), found \"binanse\"; did you mean binance?"
            )],
        );
        check_problems(
            "[sources.binance]\ntier = \"fre\"\nbase_urls = { acount = \"https://x\" }\n[[sources.binance.polls]]\nkind = \"tiker\"\n\
             [[sources.binance.polls]]\nkind = \"bar\"\nsymbols = [\n\"BTC-USDT\",\n\"AAPL\"]\ninterval = \"7m\"",
            &[
                "t.toml line 2: sources.binance.tier: expected one of free, found \"fre\"; did you mean free?",
                "t.toml line 3: sources.binance.base_urls.acount: expected one of api, account, found \"acount\"; did you mean \
                 account?",
                "t.toml line 5: sources.binance.polls[0].kind: expected a kind that binance serves (ticker, quote, trade, bar, \
                 book, balance), found \"tiker\"; did you mean ticker?",
                &format!(
                    "t.toml line 11: sources.binance.polls[1].interval: expected one of {}, found \"7m\"; did you mean 1m?",
                    kind(source("binance").unwrap(), "bar")
                        .unwrap()
                        .intervals
                        .iter()
                        .map(Interval::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                "t.toml line 10: sources.binance.polls[1].symbols[1]: binance: expected a spot pair such as BTC-USDT, found AAPL",
            ],
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        let text = "[[sources.binance.polls]]\nkind = \"balance\"";
        check_problems(
            text,
            &[
                "t.toml line 2: sources.binance.polls[0].kind: expected a key for balance of binance in BINANCE_API_KEY and \
               BINANCE_API_SECRET, found none; set it, or BINANCE_API_KEY_FILE",
            ],
        );
        let Err(half) = run(text, &[("BINANCE_API_KEY", "hunter2")]) else { panic!() };
        assert!(half.len() == 1 && half[0].contains("BINANCE_API_SECRET") && !half[0].contains("hunter2"), "{half:?}");
        assert!(run(text, &[("BINANCE_API_KEY", "k"), ("BINANCE_API_SECRET", "s")]).is_ok());
        let simulated =
            format!("[sources.binance]\nsimulated_keys = true\nbase_url = \"https://binance.localhost:8443\"\n{text}");
        assert!(run(&simulated, &[]).is_ok());
        let live = simulated.replace("binance.localhost:8443", "api.binance.com");
        assert!(run(&live, &[]).err().unwrap()[0].contains("simulated_keys"));
    }

    #[test]
    fn cpus_must_exist_and_be_allowed() {
        check_problems(
            "[cores]\nshards = \"0-4\"\nsink = \"1-2\"",
            &[
                "t.toml line 2: cores.shards: expected CPUs that this process may use (0-2), found 3, which is not allowed",
                "t.toml line 2: cores.shards: expected CPUs of this host (0-3), found 4, which does not exist",
                "t.toml line 3: cores.sink: expected one CPU, found 1-2",
            ],
        );
        let placed = run("[cores]\nshards = \"0-1\"\nsink = 2", &[]).ok().unwrap().placement;
        assert_eq!(placed, Placement { shards: vec![0, 1], sink: 2 });
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        check_problems(
            "[retry]\nbase = \"20s\"\n[journal]\nenabled = false\n[log]\n\
             filter = \"tidegate=loud\"\n[[sinks]]\ntype = \"null\"\n[[sinks]]\ntype = \"stdout\"\nname = \"null\"",
            &[
                "t.toml line 2: retry.base: expected at most retry.cap (10s), found 20s",
                "t.toml line 6: log.filter: expected levels such as info,tidegate::http=debug, found \"tidegate=loud\": error \
                 parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
                "t.toml line 9: sinks[1].name: expected a name that no other sink has, found \"null\"; set name",
                "t.toml line 4: journal.enabled: expected true for a sink of type stdout, which reads the journal",
            ],
        );
    }

    #[test]
    fn polls_become_as_many_queries_as_the_source_needs() {
        let check = |poll: &str, expected: Result<&[usize], &str>| {
            let found = run(&format!("[[sources.binance.polls]]\n{poll}"), &[]);
            match (found, expected) {
                (Ok(checked), Ok(sizes)) => {
                    let queries = &checked.sources[0].polls[0].queries;
                    assert_eq!(queries.iter().map(|query| query.symbols.len()).collect::<Vec<_>>(), sizes, "{poll}");
                }
                (Err(problems), Err(part)) => assert!(problems[0].contains(part), "{poll}: {problems:?}"),
                (Ok(_), Err(_)) => panic!("nothing is wrong with {poll}"),
                (Err(problems), Ok(_)) => panic!("{poll}: {problems:?}"),
            }
        };
        let many: Vec<String> = (0..250).map(|index| format!("\"A{index}-USDT\"")).collect();
        // Three requests of 40 weigh more than the whole market's 80; two do not.
        check(&format!("kind = \"ticker\"\nsymbols = [{}]", many.join(",")), Ok(&[250]));
        check(&format!("kind = \"ticker\"\nsymbols = [{}]", many[..150].join(",")), Ok(&[100, 50]));
        check("kind = \"trade\"\nsymbols = [\"BTC-USDT\", \"ETH-USDT\"]", Ok(&[1, 1]));
        check("kind = \"ticker\"\nwhole_market = true", Ok(&[0]));
        check("kind = \"ticker\"\nwhole_market = true\nsymbols = [\"BTC-USDT\"]", Ok(&[1]));
        check("kind = \"trade\"\nwhole_market = true", Err("polls[0].whole_market: expected false"));
        check("kind = \"ticker\"", Err("polls[0].symbols: expected symbols such as BTC-USDT for ticker, found none"));
        check("kind = \"ticker\"\nsymbols = [\"BTC-USDT\", \"BTC-USDT\"]", Err("expected each symbol once"));
        check(
            "kind = \"ticker\"\nsymbols = [\"BTC-USDT\"]\ninterval = \"1m\"",
            Err("interval: expected none for ticker"),
        );
        check(
            "kind = \"ticker\"\nsymbols = [\"BTC-USDT\"]\nevery = \"5s\"\noffset = \"5s\"",
            Err("less than every (5s)"),
        );
    }

    #[test]
    fn one_address_stands_for_all_that_are_not_named() {
        let text = "[sources.binance]\nbase_url = \"https://a/\"\nbase_urls = { account = \"https://b\" }";
        assert_eq!(run(text, &[]).ok().unwrap().sources[0].bases, ["https://a", "https://b"]);
        let text = "[sources.binance]\nbase_url = \"https://a\"";
        assert_eq!(run(text, &[]).ok().unwrap().sources[0].bases, ["https://a", "https://a"]);
    }

    #[test]
    fn an_engine_that_would_poll_nothing_is_told_of() {
        let check = |text: &str, expected: Option<&str>| {
            let found = run(text, &[]).ok().unwrap().idle();
            assert_eq!(found.as_deref().map(|found| found.strip_prefix("nothing is polled: ").unwrap()), expected);
        };
        check(
            "",
            Some(
                "expected a table [sources.ID] with [[sources.ID.polls]], found no source; see `tidegate sources` for the ids",
            ),
        );
        let kraken = "expected polls such as [[sources.kraken.polls]] with kind = \"ticker\", found";
        check("[sources.kraken]", Some(&format!("{kraken} kraken without any")));
        check("[sources.kraken]\n[sources.kucoin]", Some(&format!("{kraken} 2 sources without any")));
        let poll = "[[sources.kraken.polls]]\nkind = \"ticker\"\nsymbols = [\"BTC-USD\"]";
        check(&format!("[sources.binance]\n{poll}"), None);
        let mine = cluster::owner("kraken", 2);
        check(&format!("[cluster]\ninstance = {mine}\nof = 2\n{poll}"), None);
        check(
            &format!("[cluster]\ninstance = {}\nof = 2\n{poll}", 1 - mine),
            Some(&format!("none of the sources (1) belongs to instance {} of 2", 1 - mine)),
        );
    }

    #[test]
    fn polls_beyond_the_quota_are_told() {
        let text = |every: &str| {
            format!(
                "[[sources.binance.polls]]\nkind = \"book\"\nsymbols = [\"BTC-USDT\"]\nlimit = 5000\nevery = \"{every}\""
            )
        };
        // 250 of weight, 5,880 a minute: one each 2.55 s.
        assert_eq!(run(&text("3s"), &[]).ok().unwrap().warnings.len(), 0);
        let warnings = run(&text("2s"), &[]).ok().unwrap().warnings;
        assert_eq!(warnings, ["sources.binance: the polls need 7500 of 5880 per 1m; they will come later than asked"]);
    }
}
