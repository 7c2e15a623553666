//! The plan: which shard owns which source, with its endpoints, quota, policies and polls. Plain data in, plain data
//! out; nothing is started here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::SourceSettings;
use crate::engine::check::{Checked, CheckedPoll, CheckedSource};
use crate::engine::keep;
use crate::error::Result;
use crate::handoff::{self, QUORUM_SHARDS_MAX, QuorumSeat, QuotaCell, QuotaSettings};
use crate::http::{Endpoint, Limits};
use crate::model::{SourceId, Symbol};
use crate::policy::{Backoff, BreakerSpec, BudgetSpec, WindowSpec};
use crate::shard::{LaneSpec, PollSpec, Timetable};

/// What differs between an engine with providers and one that is embedded, a test, or a one-off fetch.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Neither reads nor writes state.
    pub stateless: bool,
    /// Sets the limits of every quota out of reach, though each request still passes the code: load runs.
    pub unlimited: bool,
    /// Leaves the polls out.
    pub no_polls: bool,
    /// Divides the times of all quota windows; 0 and 1 leave them as they are.
    pub quota_scale: u32,
}

/// The plan.
pub struct Plan {
    /// The lanes of each shard.
    pub shards: Vec<Vec<LaneSpec>>,
    /// Which shards own a source.
    pub owners: BTreeMap<SourceId, Vec<usize>>,
    /// The quota cells that are kept between runs, with their files.
    pub kept: Vec<(QuotaCell, PathBuf)>,
    /// The quota cell of each source.
    pub quotas: Vec<(SourceId, QuotaCell)>,
}

/// Plans `checked` over its shards.
///
/// # Errors
/// When an address of a source is none.
pub fn plan(checked: &Checked, options: &PlanOptions) -> Result<Plan> {
    let count = checked.placement.shards.len();
    let mut shards: Vec<Vec<LaneSpec>> = (0..count).map(|_| Vec::new()).collect();
    let mut load = vec![0.0_f64; count];
    let mut owners = BTreeMap::new();
    let mut kept = Vec::new();
    let mut quotas = Vec::new();
    // The busiest first, each to the least loaded shard: within 4/3 of the best spread (Graham 1969).
    let mut sources: Vec<&CheckedSource> = checked.sources.iter().collect();
    let demand = |source: &CheckedSource| source.polls.iter().map(CheckedPoll::requests_per_minute).sum::<f64>();
    sources.sort_by(|a, b| demand(b).total_cmp(&demand(a)).then(a.settings.id.cmp(&b.settings.id)));
    for entry in sources {
        let id = entry.source.spec().id;
        let spread = entry.settings.shards.clamp(1, count);
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| load[*a].total_cmp(&load[*b]));
        let chosen = &order[..spread];
        let quota = quota(entry, options);
        quotas.push((id, quota.clone()));
        let state_folder = state_folder(checked, entry, options);
        if let Some(folder) = &state_folder {
            let file = folder.with_extension("quota.json");
            keep::restore(&quota, &file);
            kept.push((quota.clone(), file));
        }
        let mut seats = seats(entry.bases.len(), spread);
        for (part, shard) in chosen.iter().enumerate() {
            load[*shard] += demand(entry).max(0.01) / spread as f64;
            let lane = lane(checked, entry, options, (part, spread), quota.clone(), state_folder.clone())?;
            shards[*shard].push(LaneSpec { quorum: seats.pop().unwrap_or_default(), ..lane });
        }
        owners.insert(id, chosen.to_vec());
    }
    Ok(Plan { shards, owners, kept, quotas })
}

fn lane(
    checked: &Checked,
    entry: &CheckedSource,
    options: &PlanOptions,
    (part, of): (usize, usize),
    quota: QuotaCell,
    state_file: Option<PathBuf>,
) -> Result<LaneSpec> {
    let settings = &checked.settings;
    let http = &settings.http;
    let endpoints = entry.bases.iter().map(|url| endpoint(&entry.settings, url)).collect::<Result<Vec<_>>>()?;
    let state_file = state_file.map(|path| path.with_extension("state.json"));
    let polls = if options.no_polls { Vec::new() } else { polls(entry, part, of) };
    Ok(LaneSpec {
        source: entry.source,
        endpoints,
        credentials: entry.credentials.clone(),
        contact: settings.contact.clone(),
        quota,
        breaker: BreakerSpec {
            failures: settings.breaker.failures,
            window: settings.breaker.window,
            volume_min: settings.breaker.volume_min,
            failure_ratio: settings.breaker.failure_ratio as f32,
            slow_after: settings.breaker.slow_call,
            slow_ratio: settings.breaker.slow_ratio as f32,
            open_for: settings.breaker.open_for,
            probes: settings.breaker.probes,
            ..BreakerSpec::default()
        },
        quorum: Vec::new(),
        budget: BudgetSpec {
            share_pct: (settings.retry.budget * 100.0) as u32,
            per_minute: settings.retry.budget_floor,
            ..BudgetSpec::default()
        },
        backoff: Backoff { base: settings.retry.base, cap: settings.retry.cap },
        attempts_max: settings.retry.attempts_max,
        hedge: entry.settings.hedge.unwrap_or(settings.retry.hedge),
        limits: Limits {
            connect: http.connect_timeout,
            tls: http.tls_timeout,
            first_byte: http.first_byte_timeout,
            body: http.body_timeout,
            body_bytes_max: http.body_bytes_max,
            ..Limits::default()
        },
        deadline: entry.settings.deadline.unwrap_or(http.deadline),
        in_flight_max: (entry.settings.in_flight_max / of).clamp(1, settings.in_flight_max),
        warm: entry.settings.warm.div_ceil(of),
        state: state_file.as_deref().map(keep::load_state).unwrap_or_default(),
        state_file,
        frozen_polls: entry.settings.frozen_polls,
        follow: None,
        polls,
    })
}

/// The seats of each part of a source among its breakers, one for each base. A source on one shard has none, nor has
/// one on more shards than a quorum counts: there each decides alone.
fn seats(bases: usize, spread: usize) -> Vec<Vec<QuorumSeat>> {
    let mut parts: Vec<Vec<QuorumSeat>> = (0..spread).map(|_| Vec::new()).collect();
    if (2..=QUORUM_SHARDS_MAX).contains(&spread) {
        for _ in 0..bases {
            parts.iter_mut().zip(handoff::quorum(spread)).for_each(|(part, seat)| part.push(seat));
        }
    }
    parts
}

/// One address of a source, with what its settings say of the way there.
///
/// # Errors
/// When the address is none.
pub(super) fn endpoint(settings: &SourceSettings, url: &str) -> Result<Endpoint> {
    let mut endpoint =
        Endpoint::parse(url)?.http_version(settings.http_version).local_addresses(settings.local_addresses.clone());
    let named = match &settings.proxy {
        Some(proxy) => Some(proxy.clone()),
        None => settings.proxies.find(endpoint.is_tls(), endpoint.host(), endpoint.port())?,
    };
    if let Some(proxy) = named {
        endpoint = endpoint.proxy(&proxy.url())?;
    }
    Ok(endpoint)
}

/// One cell for all shards of a source.
fn quota(entry: &CheckedSource, options: &PlanOptions) -> QuotaCell {
    let windows = entry
        .windows
        .iter()
        .map(|window| WindowSpec { limit: if options.unlimited { u32::MAX / 2 } else { window.limit }, ..*window });
    let margin = 1.0 - entry.settings.quota_margin;
    let scale = options.quota_scale.max(1);
    QuotaCell::new(windows.collect(), QuotaSettings { margin, scale, ..QuotaSettings::default() })
}

/// Where a source's state lies: by source, authority and key, so that none applies to another. Simulated upstreams keep
/// none.
fn state_folder(checked: &Checked, entry: &CheckedSource, options: &PlanOptions) -> Option<PathBuf> {
    let simulated = entry.settings.simulated_keys || entry.bases.iter().any(|url| is_loopback(url));
    if options.stateless || simulated {
        return None;
    }
    let authority = entry.bases.first().map_or("", |url| authority(url));
    let key = entry.source.spec().credentials.iter().find_map(|known| entry.credentials.find(known.variable));
    let fingerprint = key.map_or_else(|| "nokey".to_owned(), crate::config::Secret::fingerprint);
    let name = format!("{}@{}#{fingerprint}", entry.settings.id, authority.replace([':', '/'], "_"));
    // `with_extension` replaces what follows the last dot: the name has to end in one that is ours.
    Some(checked.settings.data_dir.join("state").join(format!("{name}.json")))
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Whether a base URL leads to this host.
pub fn is_loopback(url: &str) -> bool {
    let authority = authority(url);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let local_name = host == "localhost" || host.ends_with(".localhost");
    local_name || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Merges polls that differ in their symbols alone, and takes the symbols that belong to this part of the source.
fn polls(entry: &CheckedSource, part: usize, of: usize) -> Vec<PollSpec> {
    let mut merged: Vec<PollSpec> = Vec::new();
    for poll in &entry.polls {
        let first = &poll.query;
        let name = format!("{} {} {:?}", entry.settings.id, first.kind, first.interval);
        let offset = poll.offset.unwrap_or_else(|| Timetable::spread(poll.every, &name));
        let symbols: Vec<Symbol> =
            first.symbols.iter().filter(|symbol| owner(symbol.as_str(), of) == part).cloned().collect();
        if symbols.is_empty() && (!first.symbols.is_empty() || part != 0) {
            continue;
        }
        let spec = PollSpec {
            kind: first.kind,
            symbols,
            whole_market: first.whole_market,
            interval: first.interval,
            limit: first.limit,
            every: poll.every.max(EVERY_MIN),
            offset,
        };
        let same = merged.iter_mut().find(|known| {
            !known.symbols.is_empty()
                && !spec.symbols.is_empty()
                && PollSpec { symbols: Vec::new(), ..(*known).clone() }
                    == PollSpec { symbols: Vec::new(), ..spec.clone() }
        });
        match same {
            Some(known) => known.symbols.extend(spec.symbols),
            None => merged.push(spec),
        }
    }
    merged
}

/// Which part of a spread source a symbol belongs to: always the same, so that its records stay in order.
fn owner(symbol: &str, of: usize) -> usize {
    let hash = symbol.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    (hash % of.max(1) as u64) as usize
}

/// Faster polls would only measure the timer.
const EVERY_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_the_world() {
        for url in ["http://127.0.0.1:80/x", "https://localhost", "https://a.b.localhost:1", "https://[::1]:9"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["https://api.binance.com", "https://localhost.example.com", "https://10.0.0.1:443"] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn the_parts_of_a_spread_source_sit_together() {
        let check = |spread, seats_each| {
            let parts = seats(2, spread);
            assert_eq!(parts.len(), spread);
            assert!(parts.iter().all(|part| part.len() == seats_each), "{spread}");
        };
        check(1, 0);
        check(2, 2);
        check(QUORUM_SHARDS_MAX, 2);
        check(QUORUM_SHARDS_MAX + 1, 0);
        let parts = seats(1, 2);
        parts.iter().for_each(|part| part[0].opened());
        assert!(parts.iter().all(|part| part[0].advise() == handoff::Advice::Open));
    }

    #[test]
    fn a_symbol_always_has_the_same_owner() {
        for of in 1..8 {
            let parts: Vec<usize> = ["BTC-USDT", "ETH-USDT", "AAPL"].iter().map(|symbol| owner(symbol, of)).collect();
            assert!(parts.iter().all(|part| *part < of));
            assert_eq!(parts[0], owner("BTC-USDT", of));
        }
    }
}
