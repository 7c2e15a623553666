//! Timers of one core, to about a millisecond.

use std::future::Future;
use std::time::Duration;

use futures_lite::FutureExt as _;

use crate::time::Mono;

/// Waits.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Waits until a moment; returns at once when it has passed.
pub async fn sleep_until(at: Mono) {
    let left = at.since(Mono::now());
    if !left.is_zero() {
        glommio::timer::sleep(left).await;
    }
}

/// Waits for `future`, at most so long; `None` when the time is up, and then `future` is dropped.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timer = async {
        glommio::timer::sleep(duration).await;
        None
    };
    async { Some(future.await) }.or(timer).await
}
