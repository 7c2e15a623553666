//! What one simulated source does with the next request: the profile's latency, quota and faults, drawn from its seed.
//! Decides only; the server acts. Invariant: the same seed and the same order of requests give the same decisions.

use std::time::Duration;

use crate::sim::delay::Delay;
use crate::sim::fault::Fault;
use crate::sim::limits::{Headers, LimitCounts, Limiter, Refusal};
use crate::sim::profile::{FaultRule, Profile};
use crate::sim::routes::Asked;
use crate::time::{Mono, Now, UnixNanos};

/// One source under a profile.
#[derive(Default)]
pub struct Actor {
    latency: Delay,
    limiter: Option<Limiter>,
    faults: Vec<FaultRule>,
    random: fastrand::Rng,
    /// When the profile came into force.
    since: Mono,
    /// The moment at which a frozen source stands still.
    frozen: Option<UnixNanos>,
    counts: Counts,
}

/// What a simulated source has done since it runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Requests that came, while a profile said something of the source.
    pub requests: u64,
    /// Of these, those that a fault befell, and connections that one of TLS did.
    pub faults: u64,
    /// What its limiter has seen under the profile in force.
    pub limits: LimitCounts,
}

/// What to do with a request.
#[derive(Debug)]
pub struct Decision {
    /// How long to take.
    pub delay: Duration,
    /// The refusal to give, or the headers to add.
    pub admitted: Result<Headers, Refusal>,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// The provider's clock.
    pub clock: UnixNanos,
    /// Whether the connection ends after this answer.
    pub once: bool,
}

impl Actor {
    /// Puts a profile into force.
    pub fn follow(&mut self, profile: &Profile, source: &str, now: Mono) {
        let behavior = profile.of(source);
        let seed = source.bytes().fold(profile.seed, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        *self = Actor {
            latency: behavior.latency.unwrap_or_default(),
            limiter: behavior.quota.and_then(|quota| Limiter::new(source, quota)),
            faults: behavior.faults.unwrap_or_default(),
            random: fastrand::Rng::with_seed(seed),
            since: now,
            frozen: None,
            counts: std::mem::take(&mut self.counts),
        };
    }

    /// Whether it does nothing out of the ordinary.
    pub fn is_plain(&self) -> bool {
        self.latency == Delay::None && self.limiter.is_none() && self.faults.is_empty()
    }

    /// Whether a fault of TLS is or will be in force.
    pub fn breaks_handshakes(&self) -> bool {
        self.faults.iter().any(|rule| rule.fault.is_of_tls())
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        let limits = self.limiter.as_ref().map(Limiter::counts).unwrap_or_default();
        Counts { limits, ..self.counts.clone() }
    }

    /// What happens to a handshake.
    pub fn handshake(&mut self, now: Mono) -> Option<Fault> {
        let since = now.since(self.since);
        let random = &mut self.random;
        let rules = self.faults.iter().filter(|rule| rule.fault.is_of_tls() && in_force(rule, since));
        let fault = rules.into_iter().find(|rule| random.f64() < rule.rate).map(|rule| rule.fault.clone());
        self.counts.faults += u64::from(fault.is_some());
        fault
    }

    /// What happens to a request.
    pub fn decide(&mut self, asked: &Asked<'_>, now: Now) -> Decision {
        self.counts.requests += 1;
        let delay = self.latency.draw(&mut self.random);
        let admitted = self.limiter.as_mut().map_or_else(|| Ok(Headers::new()), |limiter| limiter.admit(asked, now));
        let since = now.mono.since(self.since);
        let mut fault = None;
        let mut once = false;
        for rule in self.faults.iter().filter(|rule| in_force(rule, since)) {
            if rule.fault.is_of_tls() {
                once = true;
                continue;
            }
            // Each rule is drawn for, so that one rule does not shift the luck of another.
            let strikes = self.random.f64() < rule.rate;
            if strikes && fault.is_none() && asked.path.starts_with(&rule.path) {
                fault = Some(rule.fault.clone());
            }
        }
        let fault = fault.filter(|_| admitted.is_ok());
        self.counts.faults += u64::from(fault.is_some());
        let clock = match &fault {
            Some(Fault::Frozen) => *self.frozen.get_or_insert(now.wall),
            Some(Fault::ClockSkew { by_millis }) => skewed(now.wall, *by_millis),
            _ => now.wall,
        };
        Decision { delay, admitted, fault, clock, once }
    }
}

fn in_force(rule: &FaultRule, since: Duration) -> bool {
    since >= rule.from && rule.until.is_none_or(|until| since < until)
}

fn skewed(wall: UnixNanos, by_millis: i64) -> UnixNanos {
    let by = Duration::from_millis(by_millis.unsigned_abs());
    if by_millis < 0 { wall.saturating_sub(by) } else { wall.saturating_add(by) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::profile::Behavior;

    fn actor(seed: u64, rules: Vec<FaultRule>) -> Actor {
        let mut profile = Profile { seed, ..Profile::default() };
        profile.default = Behavior { faults: Some(rules), ..Behavior::default() };
        let mut actor = Actor::default();
        actor.follow(&profile, "binance", Mono::default());
        actor
    }

    fn asked(path: &str) -> Asked<'_> {
        Asked { base: "api", method: "GET", path, params: Vec::new() }
    }

    fn at(secs: u64) -> Now {
        let wall = UnixNanos::from_secs(1_800_000_000).unwrap();
        Now { mono: Mono::default(), wall }.after(Duration::from_secs(secs))
    }

    #[test]
    fn a_seed_repeats_its_misfortunes() {
        let struck = |seed| {
            let mut actor = actor(seed, vec![FaultRule { rate: 0.2, ..FaultRule::always(Fault::Reset) }]);
            (0..1_000).map(|_| actor.decide(&asked("/"), at(0)).fault.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(struck(1), struck(1));
        assert_ne!(struck(1), struck(2));
        let count = struck(1).into_iter().filter(|struck| *struck).count();
        assert!((150..250).contains(&count), "{count}");
    }

    #[test]
    fn rules_hold_in_their_time_and_at_their_path() {
        let rule = FaultRule {
            from: Duration::from_secs(1),
            until: Some(Duration::from_secs(2)),
            path: "/a".to_owned(),
            ..FaultRule::always(Fault::Http500)
        };
        let mut actor = actor(0, vec![rule, FaultRule::always(Fault::ClockSkew { by_millis: -1_000 })]);
        let mut check = |path: &str, secs: u64, expected: Fault, clock: u64| {
            let decision = actor.decide(&asked(path), at(secs));
            assert_eq!((decision.fault, decision.clock), (Some(expected), at(clock).wall), "{path} {secs}");
        };
        let skew = Fault::ClockSkew { by_millis: -1_000 };
        check("/a/b", 1, Fault::Http500, 1);
        check("/b", 1, skew.clone(), 0);
        check("/a", 2, skew, 1);
    }

    #[test]
    fn a_frozen_source_stands_still_and_one_of_bad_tls_serves_once() {
        let mut frozen = actor(0, vec![FaultRule::always(Fault::Frozen)]);
        assert_eq!(frozen.decide(&asked("/"), at(5)).clock, at(5).wall);
        assert_eq!(frozen.decide(&asked("/"), at(9)).clock, at(5).wall);
        let mut expired = actor(0, vec![FaultRule::always(Fault::TlsExpired)]);
        assert_eq!(expired.handshake(Mono::default()), Some(Fault::TlsExpired));
        let decision = expired.decide(&asked("/"), at(0));
        assert!(decision.once && decision.fault.is_none());
        assert_eq!(expired.counts(), Counts { requests: 1, faults: 1, ..Counts::default() });
    }
}
