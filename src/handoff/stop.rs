//! The stop signal: one side says it once, every task of every core can ask or wait for it.

use std::time::Duration;

use super::doorbell::Doorbell;
use super::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// Makes a stop signal: the side that says it and the side that listens.
pub fn stop() -> (StopSource, Stop) {
    let shared =
        Arc::new(Shared { stopped: AtomicBool::new(false), grace_ms: AtomicU64::new(0), bell: Doorbell::new() });
    (StopSource { shared: shared.clone() }, Stop { shared })
}

/// The side that says it. Dropping it says it too: what nobody can stop any more has to end.
#[derive(Debug)]
pub struct StopSource {
    shared: Arc<Shared>,
}

impl StopSource {
    /// Says it, with the time that what is under way may still take.
    pub fn stop_within(&self, grace: Duration) {
        self.shared.grace_ms.store(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        self.stop();
    }

    /// Says it; saying it again changes nothing.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.bell.ring();
    }

    /// Another listener.
    pub fn listener(&self) -> Stop {
        Stop { shared: self.shared.clone() }
    }
}

impl Drop for StopSource {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The side that listens.
#[derive(Clone, Debug)]
pub struct Stop {
    shared: Arc<Shared>,
}

impl Stop {
    /// Whether it has been said.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// How long what is under way may still take; zero until it is said.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.shared.grace_ms.load(Ordering::Acquire))
    }

    /// Waits until it is said.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn stopped(&self) {
        self.shared.bell.wait(|| self.is_stopped().then_some(())).await;
    }
}

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    grace_ms: AtomicU64,
    bell: Doorbell,
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_listener_hears_it() {
        let (source, stop) = stop();
        let listeners: Vec<_> = (0..4)
            .map(|_| {
                let stop = stop.clone();
                std::thread::spawn(move || futures_lite::future::block_on(stop.stopped()))
            })
            .collect();
        assert!(!stop.is_stopped());
        source.stop();
        for listener in listeners {
            listener.join().unwrap();
        }
        assert!(source.listener().is_stopped());
    }

    #[test]
    fn a_source_that_is_gone_has_said_it() {
        let (source, stop) = stop();
        drop(source);
        futures_lite::future::block_on(stop.stopped());
    }
}
