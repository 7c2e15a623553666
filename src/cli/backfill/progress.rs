//! How a backfill shows how far it is: a bar with an estimate on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::backfill::plan::{Plan, Position};
use crate::model::{Judgement, Verdict};
use crate::time::Mono;

/// What is shown.
pub(super) struct Progress<'a> {
    plan: &'a Plan,
    bar: Option<ProgressBar>,
    /// When this run began, and how much was there.
    started: Mono,
    began_with: f64,
    told: Mono,
}

impl<'a> Progress<'a> {
    /// Begins to show; on standard error.
    pub(super) fn new(plan: &'a Plan, position: &Position) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
            // The template is a constant and parses.
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = Mono::now();
        let progress = Progress { plan, bar, started: now, began_with: position.share(plan), told: now };
        if position.pages > 0 {
            progress.say(&format!("goes on behind page {}, {} records", position.pages, position.records));
        }
        progress
    }

    /// Shows how far it is after a page.
    pub(super) fn show(&mut self, position: &Position) {
        let (now, share) = (Mono::now(), position.share(self.plan));
        let left = left(share, self.began_with, now.since(self.started));
        let left = left.map_or_else(String::new, |left| format!(", about {} left", span(left)));
        let text = format!("{} records in {} pages{left}", position.records, position.pages);
        if let Some(bar) = &self.bar {
            bar.set_position((share * STEPS as f64) as u64);
            bar.set_message(text);
        } else if now.since(self.told) >= TELL_EVERY && !position.done {
            self.told = now;
            eprintln!("{}: {:.0} %, {text}", self.plan, share * 100.0);
        }
    }

    /// Shows why nothing comes for a while.
    pub(super) fn wait(&mut self, judgement: &Judgement, pause: Duration) {
        let what = match judgement.verdict {
            Verdict::RateLimited => "waits for the quota",
            Verdict::Banned => "waits for the end of the ban",
            _ => "tries again",
        };
        self.say(&format!("{what} in {}: {}", span(pause), judgement.message));
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprintln!("{}: {text}", self.plan),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How long the rest will take at the pace so far; `None` before there is one.
fn left(share: f64, began_with: f64, elapsed: Duration) -> Option<Duration> {
    let done = share - began_with;
    if done <= 0.0 || share >= 1.0 {
        return None;
    }
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * (1.0 - share) / done).ok()
}

/// A length of time by its two largest units.
fn span(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0..=59 => format!("{secs}s"),
        60..=3_599 => format!("{}m {}s", secs / 60, secs % 60),
        3_600..=86_399 => format!("{}h {}m", secs / 3_600, secs / 60 % 60),
        _ => format!("{}d {}h", secs / 86_400, secs / 3_600 % 24),
    }
}

const STEPS: u64 = 1_000;
/// Enough to see that it lives, and not to fill a log.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_goes_by_the_pace_of_this_run() {
        let secs = Duration::from_secs;
        assert_eq!(left(0.75, 0.5, secs(10)), Some(secs(10)));
        assert_eq!(left(0.5, 0.5, secs(10)), None);
        assert_eq!(left(1.0, 0.0, secs(10)), None);
        for (secs, text) in [(5, "5s"), (65, "1m 5s"), (7_265, "2h 1m"), (180_000, "2d 2h")] {
            assert_eq!(span(Duration::from_secs(secs)), text);
        }
    }
}
