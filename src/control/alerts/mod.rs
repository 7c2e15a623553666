//! Alerts: conditions over snapshots, held for a time before they fire, with a gap between firing and ceasing, and quiet
//! for a while after. Pure: a snapshot and the time go in, transitions come out; telling of them is the caller's.
//! Invariants: an alert fires only after its condition has held without a break; it is resolved only after it has been
//! well within its limit for as long; between two firings lies the cooldown.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use rules::RULES;

use crate::config::Alerts;
use crate::metrics::{Alert, Snapshot};
use crate::time::{Mono, Now, UnixNanos};
use rules::{Finding, Memory};

/// The alerts of a run.
#[derive(Debug)]
pub struct AlertEngine {
    settings: Alerts,
    memory: Memory,
    states: BTreeMap<(&'static str, String), State>,
    fired: BTreeMap<String, u64>,
}

/// How one alert stands.
#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when it has been in this phase.
    since: Now,
    /// Since when it has been well within its limit, while it fires.
    well_since: Option<Mono>,
    /// When it was last resolved.
    resolved: Option<Mono>,
    /// What was last found.
    last: Finding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Pending,
    Firing,
    Resolved,
}

impl AlertEngine {
    /// No alerts yet.
    pub fn new(settings: Alerts) -> Self {
        let fired = RULES.iter().map(|rule| ((*rule).to_owned(), 0)).collect();
        AlertEngine { settings, memory: Memory::default(), states: BTreeMap::new(), fired }
    }

    /// Looks at a snapshot; returns the alerts that fire or are resolved with it. Meant to be called once a second.
    pub fn look(&mut self, snapshot: &Snapshot, now: Now) -> Vec<Alert> {
        let mut findings: BTreeMap<(&'static str, String), Finding> = BTreeMap::new();
        for finding in rules::look(snapshot, &self.settings, &mut self.memory, now.mono) {
            if !self.settings.off.iter().any(|off| off == finding.rule) {
                findings.insert((finding.rule, finding.subject.clone()), finding);
            }
        }
        // What is not found any more is well: a sink or a source cannot go, but its rule may have nothing to say.
        let missing = self.states.iter().filter(|(key, _)| !findings.contains_key(*key));
        let missing: Vec<_> = missing.map(|(key, state)| (key.clone(), state.last.ceased())).collect();
        findings.extend(missing);
        let mut changed = Vec::new();
        for (key, finding) in findings {
            if let Some(alert) = self.step(key, finding, now) {
                changed.push(alert);
            }
        }
        let cooldown = self.settings.cooldown.max(SHOWN);
        self.states.retain(|_, state| state.phase != Phase::Resolved || now.mono.since(state.since.mono) < cooldown);
        changed
    }

    /// The alerts that are pending or firing, and those resolved a short time ago.
    pub fn alerts(&self, now: Mono) -> Vec<Alert> {
        let shown = |state: &&State| state.phase != Phase::Resolved || now.since(state.since.mono) < SHOWN;
        self.states.values().filter(shown).map(State::show).collect()
    }

    /// How often each rule has fired.
    pub fn fired(&self) -> &BTreeMap<String, u64> {
        &self.fired
    }

    /// Moves one alert on.
    fn step(&mut self, key: (&'static str, String), finding: Finding, now: Now) -> Option<Alert> {
        let hold = finding.hold.unwrap_or(self.settings.hold).min(self.settings.hold);
        let Some(state) = self.states.get_mut(&key) else {
            if !finding.is_over {
                return None;
            }
            let state = State { phase: Phase::Pending, since: now, well_since: None, resolved: None, last: finding };
            let state = self.states.entry(key).or_insert(state);
            return fire(state, &mut self.fired, hold, self.settings.cooldown, now);
        };
        // What is told of an alert that has ceased is what was wrong.
        if finding.is_over || state.phase == Phase::Firing && !finding.is_well {
            state.last = finding.clone();
        }
        match state.phase {
            Phase::Pending if !finding.is_over => {
                match state.resolved {
                    // The cooldown goes on counting.
                    Some(at) => (state.phase, state.since.mono) = (Phase::Resolved, at),
                    None => drop(self.states.remove(&key)),
                }
                None
            }
            Phase::Resolved if finding.is_over => {
                (state.phase, state.since) = (Phase::Pending, now);
                fire(state, &mut self.fired, hold, self.settings.cooldown, now)
            }
            Phase::Pending => fire(state, &mut self.fired, hold, self.settings.cooldown, now),
            Phase::Firing if finding.is_well => {
                let since = *state.well_since.get_or_insert(now.mono);
                if now.mono.since(since) < hold {
                    return None;
                }
                (state.phase, state.since, state.resolved) = (Phase::Resolved, now, Some(now.mono));
                Some(state.show())
            }
            Phase::Firing => {
                state.well_since = None;
                None
            }
            Phase::Resolved => None,
        }
    }
}

/// Fires a pending alert, if its condition has held for long enough and its last firing is long enough ago.
fn fire(
    state: &mut State,
    fired: &mut BTreeMap<String, u64>,
    hold: Duration,
    cooldown: Duration,
    now: Now,
) -> Option<Alert> {
    let rests = state.resolved.is_some_and(|at| now.mono.since(at) < cooldown);
    if rests || now.mono.since(state.since.mono) < hold {
        return None;
    }
    (state.phase, state.since, state.well_since) = (Phase::Firing, now, None);
    *fired.entry(state.last.rule.to_owned()).or_default() += 1;
    Some(state.show())
}

impl State {
    fn show(&self) -> Alert {
        let last = &self.last;
        let state = match self.phase {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
            Phase::Resolved => "resolved",
        };
        Alert {
            rule: last.rule.to_owned(),
            subject: last.subject.clone(),
            severity: if last.is_critical { "critical" } else { "warning" }.to_owned(),
            state: state.to_owned(),
            since: self.since.wall.max(UnixNanos::EPOCH),
            value: last.value,
            limit: last.limit,
            message: last.message.clone(),
        }
    }
}

/// How long a resolved alert is still shown.
const SHOWN: Duration = Duration::from_secs(300);
