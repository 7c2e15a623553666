//! The heartbeat of a core: a task that shows that its executor still runs tasks, and how late it came to run this one.

use std::time::Duration;

use crate::metrics::SharedCore;
use crate::runtime::{sleep, thread_cpu_time};
use crate::time::Mono;

/// Beats for ever; `each` shows what else changes by itself with time.
pub async fn heartbeat(cells: SharedCore, mut each: impl FnMut()) {
    let mut late = Duration::ZERO;
    loop {
        cells.beat(Mono::now(), thread_cpu_time(), late);
        each();
        let due = Mono::now() + INTERVAL;
        sleep(INTERVAL).await;
        late = Mono::now().since(due);
    }
}

const INTERVAL: Duration = Duration::from_millis(500);
