//! What the sources' bars have in common: when a bar ends and whether it is closed, and the provider's words for
//! intervals. Reads no bodies.

use crate::model::{Bar, Data, Dec, Interval, Judgement, Native, Symbol};
use crate::source::Batch;
use crate::time::UnixNanos;
use crate::wire::times;

/// A bar as most providers send it: its start and its values.
pub struct Candle {
    /// First moment.
    pub start: UnixNanos,
    /// First price.
    pub open: Dec,
    /// Highest price.
    pub high: Dec,
    /// Lowest price.
    pub low: Dec,
    /// Last price.
    pub close: Dec,
    /// Volume in base units.
    pub volume: Option<Dec>,
    /// Volume in quote units.
    pub quote_volume: Option<Dec>,
}

impl Candle {
    /// Adds the bar to `out`. It ends an interval after its start, where the interval is known, and is closed when that
    /// end has passed at `ts_recv`.
    pub fn push(
        self,
        out: &mut Batch,
        (symbol, native): (Option<Symbol>, Option<Native>),
        interval: Option<Interval>,
        ts_recv: UnixNanos,
    ) {
        let times::BarSpan { end, closed, ts_event } = times::bar_span(self.start, interval, None, ts_recv);
        let bar = Bar {
            interval,
            start: self.start,
            end,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: self.volume,
            quote_volume: self.quote_volume,
            trades: None,
            closed,
            volume_unit: None,
        };
        out.push(symbol, native, Some(ts_event), Data::Bar(Box::new(bar)));
    }
}

/// The provider's word for an interval, from its table.
///
/// # Errors
/// A local `bad_request` that names the intervals the provider has.
pub fn word<T: Copy>(source: &str, table: &[(Interval, T)], wanted: Interval) -> Result<T, Judgement> {
    table.iter().find(|(interval, _)| *interval == wanted).map(|(_, word)| *word).ok_or_else(|| {
        let known: Vec<String> = table.iter().map(|(interval, _)| interval.to_string()).collect();
        let known = known.join(", ");
        Judgement::unservable("interval_unknown", format!("{source}: expected one of {known}, found {wanted}"))
    })
}

/// The intervals of a table of words, for a source's `KindSpec`.
pub const fn intervals<T: Copy, const N: usize>(table: &[(Interval, T)]) -> [Interval; N] {
    let mut intervals = [Interval::MINUTE; N];
    let mut index = 0;
    while index < N {
        intervals[index] = table[index].0;
        index += 1;
    }
    intervals
}
