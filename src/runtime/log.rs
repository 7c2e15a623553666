//! The log's own thread: lines cross to it through a bounded queue, so that a slow terminal or pipe holds no core up, and
//! repeats of one event are held back. Owns neither format nor levels.
//! Invariants: whoever logs never waits; a line that finds the queue full is lost and counted, and the count is logged;
//! lines of one thread keep their order.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter};

use crate::policy::Repeats;
use crate::time::Mono;

/// Takes lines for the log's thread. Clones lead to the same.
#[derive(Clone, Debug)]
pub struct LogWriter {
    jobs: mpsc::SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

/// Sees to it that what was logged is written: at its end it waits for the thread, for a bounded time.
#[derive(Debug)]
pub struct LogGuard {
    jobs: mpsc::SyncSender<Job>,
}

/// Lets an event pass a given number of times an interval: events from one place with the same fields are the same.
#[derive(Clone, Debug)]
pub struct RepeatFilter(Arc<Mutex<Repeats<What>>>);

/// Starts the log's thread, which writes to `out`; at most `queue_len` lines wait for it.
///
/// # Errors
/// The system's refusal to start a thread.
pub fn log_writer(
    out: impl Write + Send + 'static,
    queue_len: usize,
    repeats: RepeatFilter,
) -> io::Result<(LogWriter, LogGuard)> {
    let (jobs, queue) = mpsc::sync_channel(queue_len.max(1));
    let lost = Arc::new(AtomicU64::new(0));
    let thread = LogThread { out, queue, lost: lost.clone(), repeats };
    std::thread::Builder::new().name("log".to_owned()).spawn(move || thread.run())?;
    Ok((LogWriter { jobs: jobs.clone(), lost }, LogGuard { jobs }))
}

impl LogGuard {
    /// Tells the thread by which subscriber it is to log what it has to say itself.
    pub fn speak_through(&self, dispatch: Dispatch) {
        // The queue is empty at the start; were it full, the thread would only stay silent.
        let _ = self.jobs.try_send(Job::Speak(dispatch));
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, flushed) = mpsc::sync_channel(1);
        let until = Mono::now() + FLUSH_WITHIN;
        let mut job = Job::Flush(done);
        while let Err(mpsc::TrySendError::Full(back)) = self.jobs.try_send(job) {
            if Mono::now() >= until {
                return;
            }
            job = back;
            std::thread::sleep(FULL_PAUSE);
        }
        let _ = flushed.recv_timeout(until.since(Mono::now()));
    }
}

impl Write for LogWriter {
    /// Takes a whole line, as the formatter hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.jobs.try_send(Job::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = LogWriter;

    fn make_writer(&self) -> LogWriter {
        self.clone()
    }
}

impl RepeatFilter {
    /// Lets the same pass `max` times per `interval`; zero is no limit.
    pub fn new(max: u32, interval: Duration) -> Self {
        RepeatFilter(Arc::new(Mutex::new(Repeats::new(max, interval))))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Repeats<What>) -> T) -> T {
        // What is guarded is whole between any two statements.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Filter<S> for RepeatFilter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == TARGET {
            return true;
        }
        let mut said = Said { hasher: DefaultHasher::new(), message: String::new() };
        metadata.callsite().hash(&mut said.hasher);
        event.record(&mut said);
        let key = said.hasher.finish();
        self.with(|repeats| {
            repeats.admit(key, Mono::now(), || What { level: *metadata.level(), message: said.message })
        })
    }
}

/// What was said, for the line that tells how often it was held back.
#[derive(Debug)]
struct What {
    level: Level,
    message: String,
}

/// An event's fields as a hash, and its message.
struct Said {
    hasher: DefaultHasher,
    message: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        (field.name(), &text).hash(&mut self.hasher);
        if field.name() == "message" {
            self.message = text;
        }
    }
}

#[derive(Debug)]
enum Job {
    Flush(mpsc::SyncSender<()>),
    Line(Vec<u8>),
    Speak(Dispatch),
}

struct LogThread<W> {
    out: W,
    queue: mpsc::Receiver<Job>,
    lost: Arc<AtomicU64>,
    repeats: RepeatFilter,
}

impl<W: Write> LogThread<W> {
    fn run(mut self) {
        let mut speaker = None;
        let mut tick_at = Mono::now() + TICK;
        loop {
            match self.queue.recv_timeout(tick_at.since(Mono::now())) {
                Ok(Job::Line(line)) => self.write(&line),
                Ok(Job::Speak(dispatch)) => speaker = Some(dispatch),
                Ok(Job::Flush(done)) => {
                    let held = self.repeats.with(Repeats::rest);
                    self.say(speaker.as_ref(), held);
                    while let Ok(Job::Line(line)) = self.queue.try_recv() {
                        self.write(&line);
                    }
                    let _ = self.out.flush();
                    let _ = done.send(());
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if Mono::now() >= tick_at {
                tick_at = Mono::now() + TICK;
                let held = self.repeats.with(|repeats| repeats.over(Mono::now()));
                self.say(speaker.as_ref(), held);
            }
        }
    }

    /// A log that cannot be written has nobody to tell.
    fn write(&mut self, line: &[u8]) {
        let _ = self.out.write_all(line);
    }

    /// Logs what the thread has to say: what was held back, and how much was lost.
    fn say(&self, speaker: Option<&Dispatch>, held: Vec<(What, u64)>) {
        let Some(speaker) = speaker else { return };
        tracing::dispatcher::with_default(speaker, || {
            for (what, times) in held {
                let message = format_args!("repeated {times} times: {}", what.message).to_string();
                match what.level {
                    Level::ERROR => tracing::error!(target: TARGET, times, "{message}"),
                    Level::WARN => tracing::warn!(target: TARGET, times, "{message}"),
                    Level::INFO => tracing::info!(target: TARGET, times, "{message}"),
                    Level::DEBUG => tracing::debug!(target: TARGET, times, "{message}"),
                    Level::TRACE => tracing::trace!(target: TARGET, times, "{message}"),
                }
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(target: TARGET, lines = lost, "lines of the log were lost: its output is too slow");
            }
        });
    }
}

/// What the thread itself says; never held back.
const TARGET: &str = "tidegate::log";
const TICK: Duration = Duration::from_secs(1);
/// How long the end of a program waits for an output that takes nothing.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);
const FULL_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{EnvFilter, Layer as _};

    use super::*;

    /// An output that can be read, and that writes nothing while its gate is held.
    #[derive(Clone, Default)]
    struct Output {
        text: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    /// Logs by `act` through a queue of `queue_len` and a limit of two an hour; gives what was written in the end.
    fn check(filter: &str, queue_len: usize, act: impl FnOnce(&Output)) -> Vec<String> {
        let output = Output::default();
        let repeats = RepeatFilter::new(2, Duration::from_secs(3_600));
        let (writer, guard) = log_writer(output.clone(), queue_len, repeats.clone()).unwrap();
        let layer = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(writer);
        let layer = layer.with_filter(repeats);
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(EnvFilter::new(filter)).with(layer));
        guard.speak_through(dispatch.clone());
        tracing::dispatcher::with_default(&dispatch, || act(&output));
        drop(guard);
        output.lines()
    }

    #[test]
    fn repeats_are_held_back_and_told_at_the_end() {
        let lines = check("info", 100, |_| {
            for round in 0..6 {
                tracing::warn!(source = "kraken", "a fetch failed");
                tracing::warn!(source = "binance", round, "a fetch failed");
            }
        });
        let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
        assert_eq!(count("source=\"kraken\""), 2, "{lines:?}");
        assert_eq!(count("source=\"binance\""), 6, "other fields are another thing: {lines:?}");
        let last = lines.last().unwrap();
        assert!(last.contains("repeated 4 times: a fetch failed") && last.contains("WARN"), "{lines:?}");
        assert_eq!(lines.len(), 9);
    }

    #[test]
    fn levels_go_by_target() {
        let lines = check("warn,tidegate::http=debug", 100, |_| {
            tracing::debug!(target: "tidegate::http", "shown");
            tracing::info!(target: "tidegate::shard", "hidden");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("shown"));
    }

    #[test]
    fn a_stuck_output_holds_nobody_up_and_what_is_lost_is_told() {
        let lines = check("info", 4, |output| {
            let held = output.gate.lock().unwrap();
            for line in 0..100 {
                tracing::info!(line, "said");
            }
            drop(held);
        });
        let said = lines.iter().filter(|line| line.contains("said")).count();
        // One may be in the thread's hands besides those in the queue.
        assert!((3..=5).contains(&said), "{lines:?}");
        let lost = lines.iter().find(|line| line.contains("lines of the log were lost")).expect("told");
        assert!(lost.contains(&format!("lines={}", 100 - said)), "{lines:?}");
    }
}
