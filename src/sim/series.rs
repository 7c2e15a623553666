//! Rows of a sample as members of one long invented series: row `n` has the same id, time and price in every answer, so
//! that pages fit together and a span asked for twice is the same. Which part a request gets follows its parameters; the
//! format is described in `sim/routes.rs`. Invariant: no row is later than the provider's clock.

use serde::Deserialize;
use serde_json::Value;

use crate::model::Dec;
use crate::sim::render::{self, COUNT_EPOCH_SECS, read_time, visit, write_time};
use crate::sim::routes::{Asked, Route};
use crate::time::UnixNanos;

/// How a route's rows go on before and behind the sample.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Pointer to the array of rows.
    #[serde(default)]
    rows: String,
    /// Time between two rows; the route's own step when it is not given.
    step: Option<String>,
    /// The order of rows in an answer.
    #[serde(default)]
    order: Order,
    /// The order without a span, where it is another.
    plain_order: Option<Order>,
    /// Where the first moment stands.
    from: Option<String>,
    /// Whether rows begin after it, not with it.
    #[serde(default)]
    after: bool,
    /// Where the last moment stands, which is included.
    to: Option<String>,
    /// The format of both.
    #[serde(default = "millis")]
    form: String,
    /// Where the id stands that rows begin with.
    from_id: Option<String>,
    /// Where the id stands that rows end before.
    before_id: Option<String>,
    /// Where the number of rows to skip stands.
    offset: Option<String>,
    /// Where the number of the page stands, from 1 on.
    page: Option<String>,
    /// Where the number of rows stands.
    size: Option<String>,
    /// Whether an answer without a span has more rows than the sample when more are asked for.
    #[serde(default)]
    grows: bool,
    /// Rows of a span that names no number.
    rows_default: i64,
    /// Rows of one answer at most.
    rows_max: i64,
    /// Whether the newest of too many rows are kept, not the oldest.
    #[serde(default)]
    newest: bool,
    /// Pointers to the number of rows in the whole span.
    #[serde(default)]
    total: Vec<String>,
    /// Pointers to the number of rows skipped.
    #[serde(default)]
    skipped: Vec<String>,
    /// Where the time of the last row stands, whatever is asked for.
    last: Option<String>,
    /// Rows between the last row and the one told by `last`: 1 where that is the last bar that is over.
    #[serde(default)]
    last_back: usize,
}

/// An order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Ascending,
    Descending,
}

/// Puts the rows that are asked for into `body`.
///
/// # Errors
/// Says which pointer of the route does not fit its sample.
pub fn fill(
    route: &Route,
    series: &Series,
    body: &mut Value,
    name: Option<&str>,
    asked: &Asked<'_>,
    now: UnixNanos,
) -> Result<(), String> {
    let (mut patterns, sample_order) = (patterns(route, series, body)?, series.plain_order.unwrap_or(series.order));
    if sample_order == Order::Descending {
        patterns.reverse();
    }
    let grid = Grid::new(route, series, patterns, asked)?;
    let part = series.part(&grid, asked, now);
    let mut rows = Vec::with_capacity(usize::try_from(part.count()).unwrap_or(0));
    for index in part.indices() {
        rows.push(grid.row(route, series, index, name)?);
    }
    let told = match part.order {
        Order::Ascending => rows.iter().rev().nth(series.last_back),
        Order::Descending => rows.get(series.last_back),
    };
    let told = told.or(rows.last()).and_then(|row| grid.anchor_of(row));
    let mut is_placed = false;
    visit(body, &series.rows, &mut |value| {
        if !is_placed {
            *value = Value::Array(std::mem::take(&mut rows));
            is_placed = true;
        }
        Ok(())
    })?;
    for (pointers, number) in [(&series.total, part.total), (&series.skipped, part.skipped)] {
        for pointer in pointers {
            visit(body, pointer, &mut |value| {
                *value = Value::from(number);
                Ok(())
            })?;
        }
    }
    outer_times(route, series, body, told.unwrap_or(now.as_nanos()), now)
}

/// Times beside the rows: that of the last row, and the present.
fn outer_times(route: &Route, series: &Series, body: &mut Value, last: i64, now: UnixNanos) -> Result<(), String> {
    let zone = render::zone(route, &route.time)?;
    for (format, pointers) in &route.time.formats {
        for pointer in pointers.iter().filter(|pointer| inner(pointer, &series.rows).is_none()) {
            let nanos = if series.last.as_ref() == Some(pointer) { last } else { now.as_nanos() };
            visit(body, pointer, &mut |value| {
                write_time(format, value, nanos, &zone);
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// The rows of the sample.
fn patterns(route: &Route, series: &Series, body: &mut Value) -> Result<Vec<Value>, String> {
    let mut found = None;
    visit(body, &series.rows, &mut |value| {
        if let (Value::Array(rows), None) = (&*value, &found) {
            found = Some(rows.clone());
        }
        Ok(())
    })?;
    match found {
        Some(rows) if !rows.is_empty() => Ok(rows),
        _ => Err(format!("{}: expected rows at {:?}, found none", route.sample, series.rows)),
    }
}

/// A pointer relative to one row, when it leads into the rows.
fn inner<'a>(pointer: &'a str, rows: &str) -> Option<&'a str> {
    let rest = pointer.strip_prefix(rows)?.strip_prefix('/')?;
    let (index, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (index == "*" || index.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
}

/// Where a request's part of the series lies.
struct Part {
    /// First and last index of what is answered; none when the first is greater.
    first: i64,
    last: i64,
    order: Order,
    /// Rows of the whole span.
    total: i64,
    skipped: i64,
}

impl Part {
    fn count(&self) -> i64 {
        (self.last - self.first + 1).max(0)
    }

    fn indices(&self) -> Vec<i64> {
        let mut indices: Vec<i64> = (self.first..=self.last).collect();
        if self.order == Order::Descending {
            indices.reverse();
        }
        indices
    }
}

impl Series {
    fn part(&self, grid: &Grid, asked: &Asked<'_>, now: UnixNanos) -> Part {
        let number = |place: &Option<String>| param(asked, place).and_then(|text| text.parse::<i64>().ok());
        let moment = |place: &Option<String>| {
            let text = Value::from(param(asked, place)?);
            read_time(&self.form, &text, &jiff::tz::TimeZone::UTC)
        };
        let newest = grid.newest(now);
        let size = number(&self.size).unwrap_or(self.rows_default).clamp(1, self.rows_max);
        let after = i64::from(self.after);
        let from = moment(&self.from).map(|nanos| (nanos + after + grid.step - 1).div_euclid(grid.step));
        let from = from.or(number(&self.from_id).map(|id| grid.index_of(id)));
        let to = moment(&self.to).map(|nanos| nanos.div_euclid(grid.step));
        let to = to.or(number(&self.before_id).map(|id| grid.index_of(id) - 1));
        if from.is_none() && to.is_none() {
            let sample = grid.patterns.len() as i64;
            let rows = match number(&self.size) {
                Some(_) if self.grows => size,
                Some(asked) => asked.clamp(1, sample),
                None => sample,
            };
            let order = self.plain_order.unwrap_or(self.order);
            return Part { first: newest - rows + 1, last: newest, order, total: rows, skipped: 0 };
        }
        let last = to.unwrap_or(newest).min(newest);
        let first = from.unwrap_or(last - size + 1).max(grid.oldest);
        let total = (last - first + 1).max(0);
        let page = number(&self.page).unwrap_or(1).clamp(1, 1 << 20);
        let skipped = number(&self.offset).unwrap_or((page - 1) * size).clamp(0, 1 << 40);
        let (first, last) = match (self.order, self.newest) {
            (Order::Ascending, false) => (first + skipped, last.min(first + skipped + size - 1)),
            _ => (first.max(last - skipped - size + 1), last - skipped),
        };
        Part { first, last, order: self.order, total, skipped }
    }
}

fn param<'a>(asked: &'a Asked<'_>, place: &Option<String>) -> Option<&'a str> {
    let place = place.as_deref()?;
    asked.param(place.strip_prefix("query:").unwrap_or(place))
}

/// The rows by number.
struct Grid {
    /// Nanoseconds between two rows.
    step: i64,
    /// The length of the sample's bars; zero where rows are no bars.
    bar: i64,
    /// Rows of the sample, oldest first.
    patterns: Vec<Value>,
    /// Times of a row: format and pointer; the first is what rows are placed by.
    times: Vec<(String, String)>,
    /// The id of the row of number zero.
    base: i64,
    /// The number of the first row there is.
    oldest: i64,
    zone: jiff::tz::TimeZone,
}

impl Grid {
    fn new(route: &Route, series: &Series, patterns: Vec<Value>, asked: &Asked<'_>) -> Result<Grid, String> {
        let step = render::step_nanos(series.step.as_deref().or(route.step.as_deref()), asked);
        let bar = route.bar.as_deref().map_or(0, |bar| render::step_nanos(Some(bar), asked));
        let times = route.time.formats.iter().flat_map(|(format, pointers)| {
            let inner = pointers.iter().filter_map(|pointer| inner(pointer, &series.rows));
            inner.map(|pointer| (format.clone(), pointer.to_owned()))
        });
        let times: Vec<_> = times.collect();
        let zone = render::zone(route, &route.time)?;
        let (anchor, number) = (times.first(), COUNT_EPOCH_SECS * 1_000_000_000 / step);
        if anchor.is_none() {
            return Err(format!("{}: expected a time in the rows, found none", route.sample));
        }
        let has_ids = !route.count.is_empty();
        let first_id = route.count.iter().find_map(|pointer| {
            let value = patterns[0].pointer(inner(pointer, &series.rows)?)?;
            value.as_i64().or_else(|| value.as_str()?.parse().ok())
        });
        let oldest = if has_ids { number } else { OLDEST_SECS * 1_000_000_000 / step };
        Ok(Grid { step, bar, patterns, times, base: first_id.unwrap_or(0) - number, oldest, zone })
    }

    fn index_of(&self, id: i64) -> i64 {
        id - self.base
    }

    /// The number of the last row all of whose times have come.
    fn newest(&self, now: UnixNanos) -> i64 {
        let tail = self.times.iter().filter_map(|time| self.behind(&self.patterns[0], time)).max().unwrap_or(0);
        (now.as_nanos() - tail).div_euclid(self.step)
    }

    /// How far a time of a row is behind the one that the row is placed by.
    fn behind(&self, row: &Value, (format, pointer): &(String, String)) -> Option<i64> {
        let (anchor, nanos) = (self.anchor_of(row)?, read_time(format, row.pointer(pointer)?, &self.zone)?);
        if self.bar == 0 {
            return Some(nanos - anchor);
        }
        // Bars of another length: as many lengths behind, and as near to a boundary.
        let bars = (nanos - anchor + self.bar / 2).div_euclid(self.bar);
        Some(bars * self.step + nanos - anchor - bars * self.bar)
    }

    fn anchor_of(&self, row: &Value) -> Option<i64> {
        let (format, pointer) = self.times.first()?;
        read_time(format, row.pointer(pointer)?, &self.zone)
    }

    /// The row of a number.
    fn row(&self, route: &Route, series: &Series, index: i64, name: Option<&str>) -> Result<Value, String> {
        let pattern = &self.patterns[index.rem_euclid(self.patterns.len() as i64) as usize];
        let mut row = pattern.clone();
        let at = index * self.step;
        for time in &self.times {
            let Some(behind) = self.behind(pattern, time) else { continue };
            visit(&mut row, &time.1, &mut |value| {
                write_time(&time.0, value, at + behind, &self.zone);
                Ok(())
            })?;
        }
        let relative = |pointers: &'_ [String]| -> Vec<String> {
            pointers.iter().filter_map(|pointer| inner(pointer, &series.rows).map(str::to_owned)).collect()
        };
        for pointer in relative(&route.count) {
            let oldest = self.patterns[0].pointer(&pointer).cloned().unwrap_or_default();
            let own = oldest.as_i64().or_else(|| oldest.as_str()?.parse().ok()).unwrap_or(0);
            let moved = own + index - COUNT_EPOCH_SECS * 1_000_000_000 / self.step;
            visit(&mut row, &pointer, &mut |value| {
                let _ = render::map_decimal(value, |dec| Ok(Dec::from_parts(i128::from(moved), 0).unwrap_or(dec)));
                Ok(())
            })?;
        }
        for pointer in relative(&route.unique) {
            visit(&mut row, &pointer, &mut |value| {
                if let Value::String(text) = value {
                    *text = render::numbered(text, index.unsigned_abs());
                }
                Ok(())
            })?;
        }
        let walk = render::walk_ppm(name.unwrap_or(""), UnixNanos::from_nanos(at));
        for pointer in relative(&route.price) {
            // A value that the sample marks missing stays so.
            visit(&mut row, &pointer, &mut |value| {
                let _ = render::walked(value, walk);
                Ok(())
            })?;
        }
        Ok(row)
    }
}

fn millis() -> String {
    "ms".to_owned()
}

/// 2000-01-01T00:00:00Z: the first row of a series without ids, which begins with 2024.
const OLDEST_SECS: i64 = 946_684_800;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Credentials, Secret};
    use crate::model::{Data, Interval, Kind, Query, Record};
    use crate::sim::answers::Answers;
    use crate::source::{Batch, Context, SOURCES, Source, State};

    /// Midday of 2026-01-15 and some.
    const NOW: i64 = 1_768_478_400 + 17;

    /// One page, as the source reads it.
    fn page(query: &Query, id: &str) -> (Vec<Record>, Option<String>) {
        let index = SOURCES.iter().position(|source| source.spec().id.as_str() == id).unwrap();
        let source: &dyn Source = SOURCES[index];
        let now = UnixNanos::from_secs(NOW).unwrap();
        let (state, mut credentials) = (State::default(), Credentials::default());
        source.spec().credentials.iter().for_each(|key| credentials.insert(key.variable, Secret::new(key.simulated)));
        let cx = Context::new(source, query, &state, &credentials, "ops@example.com", now).unwrap();
        let request = source.request(&cx).unwrap();
        let answer = Answers::load(None).unwrap().to_request(index, &request, now);
        let mut batch = Batch::new(source.spec().id, now);
        let next = source.decode(&cx, &answer, &mut batch).unwrap_or_else(|why| panic!("{id}: {why:?}: {answer:?}"));
        (batch.into_records(), next.map(Into::into))
    }

    /// All pages, and how many there were.
    fn pages(query: &Query, id: &str) -> (Vec<Record>, usize) {
        let (mut all, mut query, mut count) = (Vec::new(), query.clone(), 0);
        loop {
            let (records, next) = page(&query, id);
            all.extend(records);
            count += 1;
            assert!(count < 100, "{id}: the pages have no end");
            match next {
                Some(next) => query = query.cursor(next),
                None => return (all, count),
            }
        }
    }

    fn ids(records: &[Record]) -> Vec<u64> {
        let id = |record: &Record| match &record.data {
            Data::Trade(trade) => trade.id.as_ref().unwrap().parse().unwrap(),
            other => panic!("{other:?}"),
        };
        records.iter().map(id).collect()
    }

    fn hours(back_from: i64, back_to: i64) -> (UnixNanos, UnixNanos) {
        let at = |hours: i64| UnixNanos::from_secs(NOW / 3_600 * 3_600 - hours * 3_600).unwrap();
        (at(back_from), at(back_to))
    }

    #[test]
    fn trades_of_a_span_come_page_by_page_and_once() {
        // Sources whose pages go forward, on, and back.
        for (id, symbol, step) in [("binance", "BTC-USDT", 3), ("kraken", "BTC-USD", 5), ("coinbase", "BTC-USD", 3)] {
            let (from, to) = hours(2, 1);
            let query = Query::new(Kind::Trade).symbol(symbol).range(from, to).limit(500);
            let (records, count) = pages(&query, id);
            let mut found = ids(&records);
            assert_eq!(found.len(), 3_600 / step, "{id}");
            assert!(count > 2 || id == "kraken", "{id}: {count}");
            found.sort_unstable();
            assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1), "{id}: an id is missing or twice");
            assert!(records.iter().all(|record| record.ts_event.is_some_and(|at| at >= from && at < to)), "{id}");
            // The newest without a span are the same records as with one.
            let (newest, _) = page(&Query::new(Kind::Trade).symbol(symbol), id);
            let last = ids(&newest).into_iter().max().unwrap();
            let spanned = Query::new(Kind::Trade).symbol(symbol).range(hours(1, 0).0, hours(0, -1).1);
            let (again, _) = pages(&spanned, id);
            let find =
                |records: &[Record]| records.iter().find(|one| ids(std::slice::from_ref(one))[0] == last).cloned();
            assert_eq!(find(&again), find(&newest), "{id}");
        }
    }

    #[test]
    fn bars_of_a_span_are_whole() {
        for (id, symbol, most) in
            [("binance", "BTC-USDT", 1_000), ("coinbase", "BTC-USD", 300), ("kraken", "BTC-USD", 720)]
        {
            let (from, to) = hours(11, 1);
            let query = Query::new(Kind::Bar).symbol(symbol).interval(Interval::MINUTE).range(from, to).limit(most);
            let (records, _) = pages(&query, id);
            let mut starts: Vec<i64> = records
                .iter()
                .map(|record| match &record.data {
                    Data::Bar(bar) => bar.start.as_secs(),
                    other => panic!("{other:?}"),
                })
                .collect();
            starts.sort_unstable();
            let expected: Vec<i64> = (0..600).map(|minute| from.as_secs() + 60 * minute).collect();
            assert_eq!(starts, expected, "{id}");
            assert_eq!(pages(&query, id).0, records, "{id}: the same span is the same");
        }
    }

    #[test]
    fn series_and_news_come_in_pages() {
        let day = 24;
        let (from, to) = hours(40 * day, 10 * day);
        let query = Query::new(Kind::Observation).symbol("DGS10").range(from, to).limit(7);
        let (records, count) = pages(&query, "fred");
        assert_eq!((records.len(), count), (31, 5), "the first day and the last are both in the span");
        assert!(records.is_sorted_by_key(|record| record.ts_event));
        let (from, to) = hours(5, 0);
        let (articles, count) = pages(&Query::new(Kind::News).symbol("AAPL").range(from, to), "newsapi");
        let urls: std::collections::BTreeSet<_> = articles
            .iter()
            .map(|record| match &record.data {
                Data::News(news) => news.url.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((articles.len(), urls.len(), count), (301, 301, 4));
    }
}
