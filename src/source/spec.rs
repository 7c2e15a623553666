//! What a source declares of itself, as constant data: hosts, kinds, keys, quotas, samples.

use std::time::Duration;

use crate::model::{Interval, Judgement, Kind, Query, SourceId, Verdict};
use crate::policy::WindowSpec;

/// What a provider is and allows.
#[derive(Debug)]
pub struct Spec {
    /// The id: the word its file is named by.
    pub id: SourceId,
    /// The provider's name as it writes it.
    pub title: &'static str,
    /// Base URLs by name; the first is where most requests go. A request names its own by index.
    pub bases: &'static [Base],
    /// The kinds it serves.
    pub kinds: &'static [KindSpec],
    /// The environment variables of its secrets and settings.
    pub credentials: &'static [Credential],
    /// Its quotas by plan; the first is the free one and the default.
    pub tiers: &'static [Tier],
    /// What the quota is counted by.
    pub scope: QuotaScope,
    /// Sample answers, written after the vendor's documentation, for tests and for the simulator.
    pub samples: &'static [Sample],
    /// How the simulator serves the samples; the format is described in `sim/routes.rs`.
    pub routes: &'static str,
    /// How well the decoding is evidenced.
    pub evidence: Evidence,
    /// The vendor's documentation of the quota, with the date it was read.
    pub quota_docs: &'static str,
}

impl Spec {
    /// What it declares of a kind; `None` when it does not serve it.
    pub fn kind(&self, kind: Kind) -> Option<&KindSpec> {
        self.kinds.iter().find(|spec| spec.kind == kind)
    }

    /// The bar length that a query asks for; a minute when it names none.
    ///
    /// # Errors
    /// A local `bad_request` that names the lengths the provider offers.
    pub fn interval(&self, query: &Query) -> Result<Interval, Judgement> {
        let offered = self.kind(Kind::Bar).map_or(&[][..], |spec| spec.intervals);
        let interval = query.interval.unwrap_or(Interval::MINUTE);
        if offered.contains(&interval) {
            return Ok(interval);
        }
        let names: Vec<String> = offered.iter().map(Interval::to_string).collect();
        let expected = names.join(", ");
        Err(Judgement::unservable(
            "interval_unknown",
            format!("{}: expected an interval of {expected}, found {interval}", self.id),
        ))
    }

    /// A sample's body by its file name.
    pub fn sample(&self, name: &str) -> Option<&'static str> {
        self.samples.iter().find(|sample| sample.name == name).map(|sample| sample.body)
    }
}

/// A base URL and its name in configuration.
#[derive(Debug)]
pub struct Base {
    /// The name: `api` for the first.
    pub name: &'static str,
    /// `https://host`, without a trailing slash; a path prefix may follow.
    pub url: &'static str,
}

/// One kind that a source serves.
#[derive(Debug)]
pub struct KindSpec {
    /// The kind.
    pub kind: Kind,
    /// Whether it needs a key.
    pub key: KeyUse,
    /// How many symbols one request takes.
    pub batching: Batching,
    /// Whether one request can fetch the whole market (`Query::whole_market`).
    pub whole_market: bool,
    /// Bar lengths the provider offers; empty for other kinds.
    pub intervals: &'static [Interval],
    /// How its past can be asked for.
    pub past: Past,
    /// How often the embedded default and a configuration without `every` poll it.
    pub every: Duration,
    /// What the embedded default polls: canonical symbols; empty where the kind takes none.
    pub examples: &'static [&'static str],
}

/// How the past of a kind can be asked for, page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Whether `Query::range` is honoured.
    pub ranges: bool,
    /// How its records are numbered, and asked for by number.
    pub ids: Ids,
    /// Rows of one page at most; zero where there is no past.
    pub rows: u32,
    /// How far back it reaches.
    pub reach: Reach,
}

impl Past {
    /// Only what is newest can be asked for.
    pub const NONE: Past = Past { ranges: false, ids: Ids::Loose, rows: 0, reach: Reach::All };

    /// By spans of time, in pages of so many rows.
    pub const fn ranged(rows: u32) -> Past {
        Past { ranges: true, rows, ..Past::NONE }
    }

    /// The same with records that are numbered so.
    pub const fn ids(self, ids: Ids) -> Past {
        Past { ids, ..self }
    }

    /// The same, no further back than that.
    pub const fn reach(self, reach: Reach) -> Past {
        Past { reach, ..self }
    }
}

/// How the records of one instrument are numbered. Where the numbers are consecutive, a missing one is a record that was
/// missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Consecutive; `Query::cursor` is the id before which a page ends, and pages go back.
    Backward,
    /// Consecutive; asked for by time alone.
    ByTime,
    /// Consecutive; `Query::cursor` is the id with which a page begins, and pages go on to later ones.
    Forward,
    /// Not consecutive.
    Loose,
}

/// How far back a provider serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the beginning, as far as is known.
    All,
    /// So many of the newest rows.
    Rows(u32),
    /// For so long.
    Time(Duration),
}

/// Whether a kind needs a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// Works without.
    None,
    /// Works without; a key raises the limits.
    Optional,
    /// Refused without.
    Required,
}

/// How many symbols one request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// Takes no symbols at all.
    None,
    /// None or one: general news, or news of one instrument.
    Optional,
    /// Exactly one.
    One,
    /// One to that many.
    Many(usize),
}

impl Batching {
    /// The most symbols one request takes.
    pub const fn symbols_max(self) -> usize {
        match self {
            Batching::None => 0,
            Batching::Optional | Batching::One => 1,
            Batching::Many(max) => max,
        }
    }
}

/// A variable that a source reads: a secret or a setting.
#[derive(Debug)]
pub struct Credential {
    /// The environment variable, under the provider's usual name.
    pub variable: &'static str,
    /// What it is, for `tidegate sources` and `.env.example`.
    pub about: &'static str,
    /// What the simulator takes for it.
    pub simulated: &'static str,
}

/// A plan of the provider and its windows.
#[derive(Debug)]
pub struct Tier {
    /// The plan's name in configuration; `free` for the default.
    pub name: &'static str,
    /// Its windows; a request must pass all that apply to it.
    pub windows: &'static [WindowSpec],
}

/// What a provider counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaScope {
    /// The address requests come from.
    Ip,
    /// The key.
    Key,
}

/// A sample answer.
#[derive(Debug)]
pub struct Sample {
    /// Its file name under `samples/<source>/`.
    pub name: &'static str,
    /// Its body.
    pub body: &'static str,
}

/// How well a source's decoding is evidenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Examples in the provider's documentation.
    Documented,
    /// Genuine recorded answers of every kind.
    Recorded,
    /// Recorded answers of some kinds, documentation for the rest.
    Mixed,
}

/// Something that must be known before a query can be asked.
#[derive(Debug)]
pub struct Prerequisite {
    /// Its name, also the key of its age in the state.
    pub name: &'static str,
    /// How long it holds.
    pub ttl: Duration,
    /// Whether a query cannot be asked without it. What is only nice to have is refreshed in the background.
    pub needed: fn(&Query, &super::State) -> bool,
    /// Verdicts on later answers that make it void.
    pub invalidated_by: &'static [Verdict],
}

/// Samples of a source by file name: `samples!("binance", "depth.json", …)`.
macro_rules! samples {
    ($source:literal, $($name:literal),+ $(,)?) => {
        &[$($crate::source::Sample { name: $name, body: include_str!(concat!("samples/", $source, "/", $name)) }),+]
    };
}
pub(crate) use samples;

/// Bar lengths by count and unit: `intervals![1 Minute, 4 Hour]`.
macro_rules! intervals {
    ($($count:literal $unit:ident),+ $(,)?) => {
        &[$($crate::model::Interval::new($count, $crate::model::IntervalUnit::$unit)),+]
    };
}
pub(crate) use intervals;
