//! What a backfill asks for, and how far it is: pure, but for the small file in which the latter is kept. Bars are asked
//! for in spans of a page each, oldest first, whichever way the provider's pages go; all else by the provider's own pages.

use std::fmt;
use std::path::{Path, PathBuf};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::model::{Interval, Kind, Query, Stream, Symbol, TimeRange};
use crate::shard::Page;
use crate::shard::state::write_atomically;
use crate::source::{Batching, KindSpec, Past, Reach, Source};
use crate::time::UnixNanos;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The stream.
    pub stream: Stream,
    /// The span.
    pub range: TimeRange,
    /// Where it was asked to begin, and whether it was not said where it ends.
    asked_from: UnixNanos,
    is_open: bool,
    past: Past,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Where the span in hand begins.
    at: UnixNanos,
    /// The provider's next page of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<CompactString>,
    /// First and last time of what has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<(UnixNanos, UnixNanos)>,
    /// Records that have come, those that the journal had included.
    pub records: u64,
    /// Pages that have come.
    pub pages: u64,
    /// Whether all is there.
    pub done: bool,
}

/// The file: of what, and how far that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    stream: Stream,
    from: UnixNanos,
    to: UnixNanos,
    position: Position,
}

impl Plan {
    /// Checks a question.
    ///
    /// # Errors
    /// What cannot be asked for, and what can.
    pub(super) fn new(
        (source, kind): (&dyn Source, &KindSpec),
        (symbol, interval): (Option<&str>, Option<Interval>),
        (from, to): (UnixNanos, Option<UnixNanos>),
        now: UnixNanos,
    ) -> std::result::Result<Plan, String> {
        let id = source.spec().id;
        if !kind.past.ranges {
            let with: Vec<&str> =
                source.spec().kinds.iter().filter(|kind| kind.past.ranges).map(|kind| kind.kind.as_str()).collect();
            let with = if with.is_empty() { "none".to_owned() } else { with.join(", ") };
            return Err(format!("expected a kind of {id} whose past can be asked for ({with}), found {}", kind.kind));
        }
        let name = match (symbol, kind.batching) {
            (Some(symbol), Batching::None) => {
                return Err(format!("expected no symbol for {} of {id}, found {symbol}", kind.kind));
            }
            (Some(symbol), _) => symbol,
            (None, Batching::None | Batching::Optional) => "",
            (None, _) => {
                let example = kind.examples.first().map(|symbol| format!(" such as {symbol}")).unwrap_or_default();
                return Err(format!("expected a symbol{example} for {} of {id}, found none", kind.kind));
            }
        };
        let interval = (kind.kind == Kind::Bar).then(|| interval.unwrap_or(Interval::MINUTE));
        let length = interval.and_then(|interval| interval.duration());
        // The newest bar that is over began a length ago.
        let newest = now.saturating_sub(length.unwrap_or_default());
        let (is_open, to) = (to.is_none(), to.map_or(newest, |to| to.min(newest)));
        if from >= to {
            return Err(format!("--from: expected a time before {to}, found {from}"));
        }
        let reach = match kind.past.reach {
            Reach::All => None,
            Reach::Rows(rows) => length.map(|length| length * rows),
            Reach::Time(time) => Some(time),
        };
        if let Some(reach) = reach.filter(|reach| now.saturating_sub(*reach) > from) {
            let oldest = now.saturating_sub(reach);
            return Err(format!("--from: {id} serves {} no further back than {oldest}, found {from}", kind.kind));
        }
        let stream = Stream { source: id.as_str().into(), kind: kind.kind, name: name.into(), interval };
        Ok(Plan { stream, range: TimeRange { from, to }, asked_from: from, is_open, past: kind.past })
    }

    /// Goes on from what is kept. A span without an end is brought to the end that it had when it was begun; when that is
    /// done, the next run brings what has come since.
    pub(super) fn resume(&mut self, stored: Option<Stored>) -> Position {
        match stored {
            None => Position::start(self),
            Some(stored) if !self.is_open => stored.position,
            Some(stored) if !stored.position.done || stored.to >= self.range.to => {
                self.range = TimeRange { from: stored.from, to: stored.to };
                stored.position
            }
            Some(stored) => {
                self.range.from = stored.to;
                Position::start(self)
            }
        }
    }

    /// The question for the next page.
    pub(super) fn query(&self, position: &Position) -> Query {
        let symbol = (!self.stream.name.is_empty()).then(|| Symbol::new(&self.stream.name));
        Query {
            symbols: symbol.into_iter().collect(),
            interval: self.stream.interval,
            limit: Some(self.past.rows.min(PAGE_ROWS_MAX)),
            range: Some(TimeRange { from: position.at, to: self.chunk_end(position) }),
            cursor: position.cursor.clone(),
            ..Query::new(self.stream.kind)
        }
    }

    /// Where the position is kept.
    pub(super) fn file(&self, data_dir: &Path) -> PathBuf {
        let from = self.asked_from.as_nanos();
        let to = if self.is_open { "present".to_owned() } else { self.range.to.as_nanos().to_string() };
        // What a file's name cannot hold stands for itself by its code.
        let text: String = self.stream.to_string().chars().fold(String::new(), |mut text, c| {
            match c {
                ' ' => text.push('_'),
                c if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') => text.push(c),
                c => text.push_str(&format!("%{:x}", u32::from(c))),
            }
            text
        });
        let text: String = text.chars().take(NAME_CHARS_MAX).collect();
        data_dir.join("state/backfill").join(format!("{text}_{from}_{to}.json"))
    }

    /// Where the span in hand ends: of bars, as many as make a page.
    fn chunk_end(&self, position: &Position) -> UnixNanos {
        let rows = self.past.rows.min(PAGE_ROWS_MAX);
        match self.stream.interval.and_then(|interval| interval.duration()) {
            Some(length) => position.at.saturating_add(length.saturating_mul(rows)).min(self.range.to),
            None => self.range.to,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.stream, self.range.from, self.range.to)
    }
}

impl Position {
    /// At the beginning.
    pub(super) fn start(plan: &Plan) -> Position {
        Position { at: plan.range.from, ..Position::default() }
    }

    /// Goes on behind a page.
    pub(super) fn turn(&mut self, plan: &Plan, page: &Page) {
        self.records += page.records;
        self.pages += 1;
        self.times = match (self.times, page.times) {
            (Some((first, last)), Some((other_first, other_last))) => {
                Some((first.min(other_first), last.max(other_last)))
            }
            (known, other) => known.or(other),
        };
        // A provider that names the same page for ever has no further one.
        self.cursor = page.next.clone().filter(|next| Some(next) != self.cursor.as_ref());
        if self.cursor.is_none() {
            self.at = plan.chunk_end(self);
            self.done = self.at >= plan.range.to;
        }
    }

    /// How much of the span is there, from 0 to 1.
    pub(super) fn share(&self, plan: &Plan) -> f64 {
        let whole = plan.range.to.since(plan.range.from).as_secs_f64();
        if self.done || whole <= 0.0 {
            return 1.0;
        }
        let spans = self.at.since(plan.range.from).as_secs_f64();
        // Within the provider's own pages, forward or back, by what has come.
        let came = self.times.map_or(0.0, |(first, last)| last.since(first).as_secs_f64());
        (spans.max(came) / whole).clamp(0.0, 1.0)
    }
}

/// Reads what is kept; `None` when there is nothing.
///
/// # Errors
/// When the file cannot be read or understood.
pub(super) fn load(path: &Path) -> Result<Option<Stored>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io("read", path, &error))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        let path = path.display();
        Error::new(
            ErrorKind::Corrupt,
            format!("{path}: expected how far a backfill is, found something else: {error}; delete it to begin anew"),
        )
    })
}

/// Keeps a position.
///
/// # Errors
/// The system's refusal.
pub(super) fn store(path: &Path, plan: &Plan, position: &Position) -> Result<()> {
    let TimeRange { from, to } = plan.range;
    let stored = Stored { stream: plan.stream.clone(), from, to, position: position.clone() };
    let text = serde_json::to_vec(&stored).unwrap_or_default();
    write_atomically(path, &text).map_err(|error| Error::io("write", path, &error))
}

/// Rows of one page at most, where a provider would serve more: what was asked for before a kill is asked for again.
const PAGE_ROWS_MAX: u32 = 1_000;
/// Of a file's name, which has 255 bytes in all.
const NAME_CHARS_MAX: usize = 150;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::find;

    fn at(secs: i64) -> UnixNanos {
        UnixNanos::from_secs(secs).unwrap()
    }

    fn plan(source: &str, kind: Kind, symbol: Option<&str>, from: i64, to: i64) -> std::result::Result<Plan, String> {
        let source = find(source).unwrap();
        let kind = source.spec().kind(kind).unwrap();
        Plan::new((source, kind), (symbol, None), (at(from), Some(at(to))), at(1_000_000))
    }

    fn page(next: Option<&str>, times: (i64, i64)) -> Page {
        Page { records: 10, next: next.map(Into::into), times: Some((at(times.0), at(times.1))) }
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        let check = |found: std::result::Result<Plan, String>, part: &str| {
            let why = found.unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        check(plan("binance", Kind::Ticker, Some("BTC-USDT"), 0, 60), "(trade, bar)");
        check(plan("binance", Kind::Bar, None, 0, 60), "such as BTC-USDT");
        check(plan("binance", Kind::Bar, Some("BTC-USDT"), 60, 60), "--from: expected a time before");
        check(plan("binance", Kind::Bar, Some("BTC-USDT"), 999_950, 1_000_000), "--from: expected a time before");
        check(plan("kraken", Kind::Bar, Some("BTC-USD"), 1_000_000 - 720 * 60 - 1, 999_000), "no further back than");
        assert!(plan("kraken", Kind::Bar, Some("BTC-USD"), 1_000_000 - 720 * 60, 999_000).is_ok());
        assert!(plan("newsapi", Kind::News, None, 0, 60).is_ok());
    }

    #[test]
    fn bars_are_asked_for_by_the_page() {
        let plan = plan("coinbase", Kind::Bar, Some("BTC-USD"), 0, 30_000).unwrap();
        let mut position = Position::start(&plan);
        let span = |position: &Position| {
            let query = plan.query(position);
            let range = query.range.unwrap();
            (range.from.as_secs(), range.to.as_secs(), query.limit, query.cursor)
        };
        assert_eq!(span(&position), (0, 18_000, Some(300), None));
        position.turn(&plan, &page(Some("x"), (0, 9_000)));
        assert_eq!(span(&position), (0, 18_000, Some(300), Some("x".into())));
        position.turn(&plan, &page(None, (9_000, 17_940)));
        assert_eq!((span(&position), position.done), ((18_000, 30_000, Some(300), None), false));
        assert!((position.share(&plan) - 0.6).abs() < 0.001);
        position.turn(&plan, &page(None, (18_000, 29_940)));
        assert!(position.done && position.records == 30 && position.pages == 3);
    }

    #[test]
    fn other_pages_are_the_providers_own() {
        let plan = plan("binance", Kind::Trade, Some("BTC-USDT"), 100, 300).unwrap();
        let mut position = Position::start(&plan);
        position.turn(&plan, &Page { records: 0, next: Some("7".into()), times: None });
        assert_eq!(plan.query(&position).cursor.as_deref(), Some("7"));
        position.turn(&plan, &page(Some("17"), (100, 150)));
        assert!((position.share(&plan) - 0.25).abs() < 0.001);
        position.turn(&plan, &page(Some("17"), (150, 151)));
        assert!(position.done, "the same page again is the end");
    }

    #[test]
    fn a_span_without_an_end_goes_on_with_what_has_come_since() {
        let source = find("binance").unwrap();
        let open = |now| {
            let kind = source.spec().kind(Kind::Trade).unwrap();
            Plan::new((source, kind), (Some("BTC-USDT"), None), (at(100), None), at(now)).unwrap()
        };
        let stored = |plan: &Plan, done| Stored {
            stream: plan.stream.clone(),
            from: plan.range.from,
            to: plan.range.to,
            position: Position { done, pages: 3, ..Position::start(plan) },
        };
        let (first, mut again) = (open(1_000), open(2_000));
        assert_eq!(first.file(Path::new("d")), again.file(Path::new("d")));
        assert_eq!(again.resume(Some(stored(&first, false))).pages, 3);
        assert_eq!(again.range, first.range, "what was begun is ended first");
        let mut again = open(2_000);
        assert_eq!(again.resume(Some(stored(&first, true))), Position::start(&again));
        assert_eq!(again.range, TimeRange { from: at(1_000), to: at(2_000) });
    }

    #[test]
    fn a_position_is_kept_by_what_is_asked_for() {
        let dir = std::env::temp_dir().join(format!("tidegate-backfill-{}", std::process::id()));
        let plan = plan("newsapi", Kind::News, Some("a/b c"), 0, 60).unwrap();
        let file = plan.file(&dir);
        assert!(file.ends_with("state/backfill/newsapi_news_a%2fb_c_0_60000000000.json"), "{}", file.display());
        assert_eq!(load(&file).unwrap(), None);
        let position = Position { cursor: Some("2".into()), ..Position::start(&plan) };
        store(&file, &plan, &position).unwrap();
        assert_eq!(load(&file).unwrap().map(|stored| stored.position), Some(position));
        std::fs::write(&file, "{").unwrap();
        assert!(load(&file).unwrap_err().to_string().contains("delete it to begin anew"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
