//! How long a simulated provider takes to answer: a distribution, and a draw from it by a generator of the caller.

use std::time::Duration;

/// A distribution of delays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Delay {
    /// Always this long.
    Constant(Duration),
    /// A logarithm that is normally distributed, given by two quantiles: the shape of real networks.
    LogNormal {
        /// Half of the answers are no slower.
        p50: Duration,
        /// 99 % of the answers are no slower.
        p99: Duration,
    },
    /// No delay.
    #[default]
    None,
    /// Evenly between two bounds.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
}

impl Delay {
    /// One delay, at most `DELAY_MAX`.
    pub fn draw(&self, random: &mut fastrand::Rng) -> Duration {
        let delay = match *self {
            Delay::Constant(delay) => delay,
            Delay::LogNormal { p50, p99 } => {
                let sigma = (p99.as_secs_f64() / p50.as_secs_f64()).ln() / Z99;
                let secs = p50.as_secs_f64() * (sigma * normal(random)).exp();
                Duration::try_from_secs_f64(secs).unwrap_or(DELAY_MAX)
            }
            Delay::None => Duration::ZERO,
            Delay::Uniform { min, max } => min + max.saturating_sub(min).mul_f64(random.f64()),
        };
        delay.min(DELAY_MAX)
    }
}

/// A draw from the standard normal distribution (Box and Muller 1958).
fn normal(random: &mut fastrand::Rng) -> f64 {
    // In (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// The standard normal distribution's quantile of 0.99.
const Z99: f64 = 2.326_347_874;
/// No delay is longer: the tail of a distribution has no end.
pub const DELAY_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn draws(latency: Delay, seed: u64) -> Vec<Duration> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut draws: Vec<_> = (0..20_000).map(|_| latency.draw(&mut random)).collect();
        draws.sort();
        draws
    }

    #[test]
    fn quantiles_are_those_asked_for() {
        let near = |found: Duration, wanted: Duration, off: f64| {
            let ratio = found.as_secs_f64() / wanted.as_secs_f64();
            assert!((1.0 / off..off).contains(&ratio), "{found:?} against {wanted:?}");
        };
        let normal = draws(Delay::LogNormal { p50: 20 * MS, p99: 80 * MS }, 7);
        near(normal[10_000], 20 * MS, 1.03);
        near(normal[19_800], 80 * MS, 1.1);
        let uniform = draws(Delay::Uniform { min: 5 * MS, max: 15 * MS }, 7);
        assert!(uniform[0] >= 5 * MS && uniform[19_999] <= 15 * MS);
        near(uniform[10_000], 10 * MS, 1.03);
        assert_eq!(draws(Delay::Constant(3 * MS), 7)[19_999], 3 * MS);
        assert_eq!(draws(Delay::None, 7)[19_999], Duration::ZERO);
    }

    #[test]
    fn a_seed_gives_the_same_delays() {
        let latency = Delay::LogNormal { p50: 20 * MS, p99: 80 * MS };
        assert_eq!(draws(latency, 1), draws(latency, 1));
        assert_ne!(draws(latency, 1), draws(latency, 2));
    }
}
