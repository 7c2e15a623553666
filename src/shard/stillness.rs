//! Frozen answers: whole, well-formed, and always of the same moment, as from a cache behind which something has died.
//! Counts per stream, which is a kind with the symbols that are asked together, how many polls in a row brought nothing
//! newer. Invariant: what is dated by the day or only when something happens (bars, news, rates) is never frozen.

use std::collections::BTreeMap;

use crate::model::{Judgement, Kind, Query, Record, Symbol, Verdict};
use crate::time::UnixNanos;

/// The reason of a frozen answer.
pub const FROZEN: &str = "frozen";

/// What is known of a lane's streams.
#[derive(Debug, Default)]
pub struct Stillness {
    polls_max: Option<u32>,
    /// Newest time and polls since it came, by kind and first symbol: as many as there are polls.
    streams: BTreeMap<(Kind, Option<Symbol>), (UnixNanos, u32)>,
}

impl Stillness {
    /// With `polls_max` every stream of moments is watched, 0 watches none; without, those of the provider's own clock.
    pub fn new(polls_max: Option<u32>) -> Self {
        Stillness { polls_max, streams: BTreeMap::new() }
    }

    /// Notes the newest time of a poll's records.
    ///
    /// # Errors
    /// When it has been the same for too many polls.
    pub fn check(&mut self, query: &Query, records: &[Record], is_clocked: bool) -> Result<(), Judgement> {
        let polls_max = self.polls_max.unwrap_or(if is_clocked { POLLS_MAX } else { 0 });
        if polls_max == 0 || !matches!(query.kind, Kind::Book | Kind::Quote | Kind::Ticker | Kind::Trade) {
            return Ok(());
        }
        let Some(newest) = records.iter().filter_map(|record| record.ts_event).max() else { return Ok(()) };
        let stream = self.streams.entry((query.kind, query.symbols.first().cloned())).or_insert((newest, 0));
        // Behind a balancer one server may lag: older than the newest is no news either.
        if newest > stream.0 {
            *stream = (newest, 1);
            return Ok(());
        }
        stream.1 = stream.1.saturating_add(1);
        if stream.1 <= polls_max {
            return Ok(());
        }
        let polls = stream.1;
        let message = format!("expected a later time than {} after {polls} polls, found none", stream.0);
        Err(Judgement::new(Verdict::Malformed, FROZEN, message))
    }
}

/// Polls with one and the same time by the provider's clock: no answer of it is that long in any cache known.
const POLLS_MAX: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Data, Dec, Quote, SourceId};

    fn check(stillness: &mut Stillness, kind: Kind, secs: &[i64], is_clocked: bool) -> Result<(), Judgement> {
        let price = "1".parse::<Dec>().ok();
        let record = |secs: &i64| Record {
            seq: 0,
            source: SourceId("binance"),
            symbol: None,
            native: None,
            ts_event: UnixNanos::from_secs(*secs),
            ts_recv: UnixNanos::EPOCH,
            ts_publish: UnixNanos::EPOCH,
            attempt: 0,
            data: Data::Quote(Quote { bid: price, ..Quote::default() }),
        };
        let records: Vec<Record> = secs.iter().map(record).collect();
        stillness.check(&Query::new(kind).symbol("BTC-USDT"), &records, is_clocked)
    }

    #[test]
    fn a_stream_is_frozen_after_its_polls() {
        let mut stillness = Stillness::new(Some(3));
        let mut times =
            |secs: i64, kind: Kind| check(&mut stillness, kind, &[1, secs], false).map_err(|why| why.reason);
        for _ in 0..3 {
            assert_eq!(times(5, Kind::Ticker), Ok(()));
        }
        assert_eq!(times(5, Kind::Ticker), Err(FROZEN));
        assert_eq!(times(4, Kind::Ticker), Err(FROZEN), "older is no news");
        assert_eq!(times(5, Kind::Quote), Ok(()), "streams count apart");
        assert_eq!(times(6, Kind::Ticker), Ok(()), "it moves again");
        assert_eq!(times(6, Kind::Ticker), Ok(()));
    }

    #[test]
    fn what_may_stand_still_is_never_frozen() {
        let frozen = |polls_max: Option<u32>, kind: Kind, secs: &[i64], is_clocked: bool| {
            let mut stillness = Stillness::new(polls_max);
            (0..100).any(|_| check(&mut stillness, kind, secs, is_clocked).is_err())
        };
        assert!(frozen(None, Kind::Ticker, &[5], true));
        assert!(!frozen(None, Kind::Ticker, &[5], false));
        assert!(!frozen(Some(0), Kind::Ticker, &[5], true));
        assert!(frozen(Some(3), Kind::Trade, &[5], false));
        assert!(!frozen(Some(3), Kind::Bar, &[5], true));
        assert!(!frozen(Some(3), Kind::Rate, &[5], true));
        assert!(!frozen(Some(3), Kind::Ticker, &[], true));
    }
}
