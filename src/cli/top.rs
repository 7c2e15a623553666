//! `tidegate top`: a running engine in a terminal, from its `/status`, once a second. Owns the screen and the keys; what is
//! measured comes as it is from the engine.
//! Invariant: the terminal is given back as it was, also after an error, a panic or a signal.

use std::cmp::Ordering;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};

use crate::cli::admin::{AdminServer, Target};
use crate::cli::{Done, Failure, duration, usage};
use crate::error::{Error, ErrorKind};
use crate::metrics::{Snapshot, SourceSnapshot};
use crate::time::Mono;

/// Watch a running engine in the terminal: sources, latency, breakers, quotas, buffer, alerts.
///
/// Keys: q ends, s sorts by the next column, r the other way round, / filters, arrows scroll.
#[derive(Args, Debug)]
pub struct Top {
    #[command(flatten)]
    target: Target,
    /// Time between two looks.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    interval: Duration,
    /// Prints one picture as text and ends; for scripts.
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let server = self.target.find()?;
        let mut view = View::default();
        // Told before the screen is taken when there is nothing to show.
        view.take(look(&server)?);
        if self.once {
            return print(&view).map(|()| Done::Fine);
        }
        if !io::stdout().is_terminal() {
            return Err(usage("expected a terminal; --once prints one picture as text"));
        }
        let mut signals =
            signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP])?;
        // Gives the terminal back when something panics, too.
        let mut terminal = ratatui::try_init()?;
        let ended = watch(&mut terminal, &server, &mut view, self.interval, || signals.pending().next().is_some());
        ratatui::try_restore()?;
        ended.map(|()| Done::Fine)
    }
}

/// Draws, listens to keys, and looks again, until it is told to end.
fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    server: &AdminServer,
    view: &mut View,
    interval: Duration,
    mut is_signaled: impl FnMut() -> bool,
) -> Result<(), Failure> {
    let mut next = Mono::now() + interval;
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        let left = next.since(Mono::now());
        if event::poll(left.min(SIGNALS_EVERY))?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && view.press(key)
        {
            return Ok(());
        }
        if is_signaled() {
            return Ok(());
        }
        if Mono::now() >= next {
            next = Mono::now() + interval;
            match look(server) {
                Ok(snapshot) => view.take(snapshot),
                Err(Failure::Failed(error)) => view.away = Some(error.to_string()),
                Err(closed) => return Err(closed),
            }
        }
    }
}

fn look(server: &AdminServer) -> Result<Snapshot, Failure> {
    let (status, body) = server.ask("/status", ANSWER_WITHIN)?;
    let wrong = |found: String| {
        let address = server.address;
        Failure::from(Error::new(
            ErrorKind::Io,
            format!("expected the status of an engine at {address}, found {found}"),
        ))
    };
    match status {
        200 => serde_json::from_slice(&body).map_err(|error| wrong(error.to_string())),
        401 => Err(wrong("that it wants its token: give the engine's configuration or INGESTION_ADMIN__TOKEN".into())),
        other => Err(wrong(format!("status {other}"))),
    }
}

/// One picture as text, without colors.
fn print(view: &View) -> Result<(), Failure> {
    let height = u16::try_from(view.snapshot.sources.len() + view.alerts().len()).unwrap_or(u16::MAX).saturating_add(9);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(WIDTH, height));
    let Ok(_) = terminal.draw(|frame| view.draw(frame));
    let mut out = io::stdout().lock();
    for line in terminal.backend().buffer().content.chunks(usize::from(WIDTH)) {
        let line: String = line.iter().map(|cell| cell.symbol()).collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// What is shown, and how.
#[derive(Default)]
struct View {
    snapshot: Snapshot,
    /// Why the last look failed.
    away: Option<String>,
    column: usize,
    reversed: bool,
    filter: String,
    is_typing: bool,
    scrolled: usize,
}

impl View {
    fn take(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
        self.away = None;
    }

    /// Takes a key; whether it is to end.
    fn press(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return true,
            KeyCode::Esc | KeyCode::Enter if self.is_typing => {
                self.is_typing = false;
                if key.code == KeyCode::Esc {
                    self.filter.clear();
                }
            }
            KeyCode::Backspace if self.is_typing => {
                self.filter.pop();
            }
            KeyCode::Char(letter) if self.is_typing => self.filter.push(letter.to_ascii_lowercase()),
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('s') => self.column = (self.column + 1) % COLUMNS.len(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Down => self.scrolled += 1,
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageDown => self.scrolled += 10,
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(10),
            KeyCode::Home => self.scrolled = 0,
            _ => {}
        }
        false
    }

    fn alerts(&self) -> Vec<&crate::metrics::Alert> {
        self.snapshot.alerts.iter().filter(|alert| alert.state == "firing").take(ALERTS_MAX).collect()
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let alerts = self.alerts();
        let rows = [5, u16::try_from(alerts.len()).unwrap_or(0)].map(Constraint::Length);
        let areas = Layout::vertical([rows[0], rows[1], Constraint::Min(3), Constraint::Length(1)]).split(frame.area());
        frame.render_widget(Paragraph::new(self.summary()), areas[0]);
        let alerts = alerts.iter().map(|alert| {
            let style = if alert.severity == "critical" { bad() } else { warn() };
            Line::styled(format!("alert {} {}: {}", alert.rule, alert.subject, alert.message), style)
        });
        frame.render_widget(Paragraph::new(alerts.collect::<Vec<_>>()), areas[1]);
        self.sources(frame, areas[2]);
        let keys = match (&self.away, self.is_typing, self.filter.is_empty()) {
            (Some(why), ..) => Line::styled(format!("old: {why}"), bad()),
            (_, true, _) => Line::from(format!("filter: {}_", self.filter)),
            (_, _, false) => {
                Line::styled(format!("filter: {}   q quit  s sort  r reverse  / filter", self.filter), dim())
            }
            _ => Line::styled("q quit  s sort  r reverse  / filter  arrows scroll", dim()),
        };
        frame.render_widget(Paragraph::new(keys), areas[3]);
    }

    fn summary(&self) -> Vec<Line<'static>> {
        let Snapshot { total, records, buffer, targets, health, .. } = &self.snapshot;
        let (word, style) = match (health.live, health.ready) {
            (_, true) => ("ready", good()),
            (true, false) => ("not ready", warn()),
            (false, _) => ("not alive", bad()),
        };
        let (recent, minute) = (&total.last_10s, &total.last_60s);
        let late = recent.latency.p95_ms > targets.p95_ms;
        let cores = self.snapshot.cores.iter().map(|core| format!("{} {:.0} %", core.name, core.busy_share * 100.0));
        let journal = self.snapshot.journal.as_ref().map_or_else(
            || "journal off".to_owned(),
            |journal| match &journal.failing {
                Some(why) => format!("journal: {why}"),
                None => format!("journal at {}, durable to {}", journal.written_seq, journal.durable_seq),
            },
        );
        let sinks = self.snapshot.sinks.iter().map(|sink| format!("{} {} behind", sink.name, sink.lag_records));
        let reasons: Vec<String> =
            health.reasons.iter().map(|reason| format!("{}: {}", reason.what, reason.why)).collect();
        vec![
            Line::from(vec![
                Span::styled("tidegate ", Style::new().add_modifier(Modifier::BOLD)),
                Span::styled(word, style),
                Span::raw(format!("  up {}  {}", age(self.snapshot.uptime_ms), reasons.join("; "))),
            ]),
            Line::from(vec![
                Span::raw(format!(
                    "requests {:.1}/s, peak {:.1}   ",
                    recent.requests_per_second, total.requests_per_second_peak
                )),
                Span::styled(
                    format!(
                        "p50 {} p95 {} p99 {}",
                        ms(recent.latency.p50_ms),
                        ms(recent.latency.p95_ms),
                        ms(recent.latency.p99_ms)
                    ),
                    if late { bad() } else { Style::new() },
                ),
                Span::raw(format!("   success {}", share(minute.success, minute.requests))),
            ]),
            Line::from(format!(
                "records {:.1}/s: published {} = delivered {} + dropped {} + queued {}; buffer {} of {}",
                recent.records_per_second,
                records.published,
                records.delivered,
                records.dropped,
                records.queued,
                buffer.len,
                buffer.capacity
            )),
            Line::from(format!("cores {}; {}", cores.collect::<Vec<_>>().join(", "), journal)),
            Line::from(sinks.collect::<Vec<_>>().join(", ")),
        ]
    }

    fn sources(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut shown: Vec<(&String, &SourceSnapshot)> = self.snapshot.sources.iter().collect();
        shown.retain(|(name, source)| {
            self.filter.is_empty() || name.contains(&self.filter) || source.breaker.contains(&self.filter)
        });
        shown.sort_by(|one, other| {
            let order = (COLUMNS[self.column].order)(one, other).then_with(|| one.0.cmp(other.0));
            if self.reversed { order.reverse() } else { order }
        });
        let room = usize::from(area.height.saturating_sub(1));
        let skipped = self.scrolled.min(shown.len().saturating_sub(room));
        let header = COLUMNS.iter().enumerate().map(|(index, column)| {
            let arrow = if index != self.column {
                ""
            } else if self.reversed {
                " ↑"
            } else {
                " ↓"
            };
            Cell::from(format!("{}{arrow}", column.title))
        });
        let rows = shown.into_iter().skip(skipped).map(|(name, source)| {
            let recent = &source.last_60s;
            let breaker = match source.breaker.as_str() {
                "closed" => good(),
                "half_open" | "disabled" => warn(),
                _ => bad(),
            };
            Row::new(vec![
                Cell::from(name.clone()),
                Cell::from(format!("{:.2}", source.last_10s.requests_per_second)),
                Cell::from(if recent.latency.count == 0 { "-".to_owned() } else { ms(recent.latency.p95_ms) }),
                Cell::from(share(recent.success, recent.requests)),
                Cell::from(Span::styled(source.breaker.clone(), breaker)),
                Cell::from(quota(source).map_or_else(|| "-".to_owned(), |used| format!("{:.0} %", used * 100.0))),
                Cell::from(source.record_age_ms.map_or_else(|| "-".to_owned(), age)),
                // A line of a provider's may hold what moves a cursor.
                Cell::from(source.last_error.clone().unwrap_or_default().replace(char::is_control, " ")),
            ])
        });
        let widths = [16, 11, 10, 9, 12, 7, 9].map(Constraint::Length).into_iter().chain([Constraint::Min(10)]);
        let table = Table::new(rows, widths).header(Row::new(header).style(dim()));
        frame.render_widget(table, area);
    }
}

struct Column {
    title: &'static str,
    order: fn(&(&String, &SourceSnapshot), &(&String, &SourceSnapshot)) -> Ordering,
}

/// By name first; numbers from the one that needs to be looked at.
const COLUMNS: [Column; 8] = [
    Column { title: "source", order: |one, other| one.0.cmp(other.0) },
    Column {
        title: "requests/s",
        order: |one, other| other.1.last_10s.requests_per_second.total_cmp(&one.1.last_10s.requests_per_second),
    },
    Column {
        title: "p95",
        order: |one, other| other.1.last_60s.latency.p95_ms.total_cmp(&one.1.last_60s.latency.p95_ms),
    },
    Column { title: "success", order: |one, other| part(one.1).total_cmp(&part(other.1)) },
    Column { title: "breaker", order: |one, other| other.1.breaker.cmp(&one.1.breaker) },
    Column {
        title: "quota",
        order: |one, other| quota(other.1).unwrap_or(-1.0).total_cmp(&quota(one.1).unwrap_or(-1.0)),
    },
    Column { title: "data age", order: |one, other| other.1.record_age_ms.cmp(&one.1.record_age_ms) },
    Column { title: "last error", order: |one, other| other.1.last_error.cmp(&one.1.last_error) },
];

fn part(source: &SourceSnapshot) -> f64 {
    let recent = &source.last_60s;
    if recent.requests == 0 { 2.0 } else { recent.success as f64 / recent.requests as f64 }
}

/// How much of the fullest window is used: of those of a minute and longer, if there are any, since a window of a second
/// is full whenever a request has just gone out.
fn quota(source: &SourceSnapshot) -> Option<f64> {
    let long = source.quota.iter().any(|window| window.per_ms >= 60_000);
    let windows = source.quota.iter().filter(|window| window.limit > 0 && (!long || window.per_ms >= 60_000));
    windows.map(|window| window.used as f64 / window.limit as f64).max_by(f64::total_cmp)
}

fn share(success: u64, requests: u64) -> String {
    if requests == 0 {
        return "-".to_owned();
    }
    // Cut, not rounded: what is not all is never shown as all.
    let hundredths = success as u128 * 10_000 / u128::from(requests);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn ms(value: f64) -> String {
    if value >= 1_000.0 { format!("{:.2} s", value / 1_000.0) } else { format!("{value:.1} ms") }
}

fn age(ms: u64) -> String {
    match ms / 1_000 {
        secs @ 0..60 => format!("{secs} s"),
        secs @ 60..3_600 => format!("{} min", secs / 60),
        secs => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
    }
}

fn good() -> Style {
    Style::new().fg(Color::Green)
}

fn warn() -> Style {
    Style::new().fg(Color::Yellow)
}

fn bad() -> Style {
    Style::new().fg(Color::Red)
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const SIGNALS_EVERY: Duration = Duration::from_millis(250);
const ALERTS_MAX: usize = 6;
/// Of a picture that is printed.
const WIDTH: u16 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let mut snapshot = Snapshot::default();
        for (name, rate, breaker, age) in [("alpha", 1.0, "closed", 500), ("beta", 3.0, "open", 90_000)] {
            let mut source =
                SourceSnapshot { breaker: breaker.to_owned(), record_age_ms: Some(age), ..Default::default() };
            source.last_10s.requests_per_second = rate;
            (source.last_60s.requests, source.last_60s.success) = (100_000, 99_999);
            source.last_error = Some("a\u{1b}[2Jb".to_owned());
            snapshot.sources.insert(name.to_owned(), source);
        }
        View { snapshot, ..View::default() }
    }

    fn drawn(view: &View, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(WIDTH, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let content = &terminal.backend().buffer().content;
        content.chunks(usize::from(WIDTH)).map(|line| line.iter().map(|cell| cell.symbol()).collect()).collect()
    }

    fn names(view: &View) -> Vec<String> {
        let lines = drawn(view, 12);
        let rows = lines.iter().filter(|line| line.starts_with("alpha") || line.starts_with("beta"));
        rows.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }

    #[test]
    fn sources_are_sorted_and_filtered() {
        let mut view = view();
        let press = |view: &mut View, keys: &str| {
            keys.chars().for_each(|key| assert!(!view.press(KeyEvent::from(KeyCode::Char(key)))));
        };
        assert_eq!(names(&view), ["alpha", "beta"]);
        press(&mut view, "s");
        assert_eq!(names(&view), ["beta", "alpha"]);
        press(&mut view, "r");
        assert_eq!(names(&view), ["alpha", "beta"]);
        press(&mut view, "/OPEN");
        assert_eq!(names(&view), ["beta"]);
        view.press(KeyEvent::from(KeyCode::Esc));
        assert_eq!(names(&view).len(), 2);
        assert!(view.press(KeyEvent::from(KeyCode::Char('q'))));
    }

    #[test]
    fn what_is_shown_is_cut_and_clean() {
        let text = drawn(&view(), 12).join("\n");
        assert!(text.contains("99.99 %") && text.contains("1 min"), "{text}");
        assert!(!text.contains('\u{1b}') && text.contains("a [2Jb"), "{text}");
        // The smallest screen is none to panic on.
        for height in 1..8 {
            drawn(&view(), height);
        }
    }
}
