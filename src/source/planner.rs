//! From the symbols that fall due together to the cheapest set of requests: many symbols in one, the whole market where
//! that weighs less, chunks of the provider's limit. Pure: weights come from the source's own requests.

use compact_str::CompactString;

use crate::model::{Query, Symbol};
use crate::source::{Batching, Context, Source};

/// Splits one question about many symbols into the questions to ask, cheapest first found. `cx` carries what the source
/// needs to build requests; its query is `asked`.
///
/// A source that cannot build a request (a missing key, an unknown symbol) gives the plain chunks: the refusal shows when
/// each is asked.
pub fn plan(source: &dyn Source, asked: &Query, weigh: impl Fn(&Query) -> Option<u32>) -> Vec<Query> {
    let Some(kind) = source.spec().kind(asked.kind) else { return vec![asked.clone()] };
    let max = match kind.batching {
        Batching::None => return vec![Query { symbols: Vec::new(), ..asked.clone() }],
        Batching::Optional if asked.symbols.is_empty() => return vec![asked.clone()],
        batching => batching.symbols_max(),
    };
    let chunks = chunked(source, asked, max.max(1));
    if !kind.whole_market || asked.symbols.len() < 2 {
        return chunks;
    }
    let whole = Query { whole_market: true, ..asked.clone() };
    let total = |queries: &[Query]| queries.iter().try_fold(0_u64, |sum, query| Some(sum + u64::from(weigh(query)?)));
    match (weigh(&whole), total(&chunks)) {
        (Some(one), Some(many)) if u64::from(one) < many => vec![whole],
        _ => chunks,
    }
}

/// The weight of a query's request, when the source can build it.
pub fn weight(source: &dyn Source, cx: &Context<'_>) -> Option<u32> {
    source.request(cx).ok().map(|request| request.weight)
}

/// Two halves of a batch that one bad symbol failed; `None` when there is nothing to split.
pub fn split(failed: &Query) -> Option<[Query; 2]> {
    if failed.whole_market || failed.symbols.len() < 2 {
        return None;
    }
    let (left, right) = failed.symbols.split_at(failed.symbols.len() / 2);
    let half = |symbols: &[Symbol]| Query { symbols: symbols.to_vec(), ..failed.clone() };
    Some([half(left), half(right)])
}

/// Chunks of at most `max` symbols that one request can ask for together, in the order of the symbols.
fn chunked(source: &dyn Source, asked: &Query, max: usize) -> Vec<Query> {
    let mut groups: Vec<(CompactString, Vec<Symbol>)> = Vec::new();
    for symbol in &asked.symbols {
        let key = source.batch_key(asked.kind, symbol);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, symbols)) => symbols.push(symbol.clone()),
            None => groups.push((key, vec![symbol.clone()])),
        }
    }
    let chunks = groups.iter().flat_map(|(_, symbols)| symbols.chunks(max));
    chunks.map(|symbols| Query { symbols: symbols.to_vec(), ..asked.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::source::{State, find};
    use crate::time::UnixNanos;

    fn check(kind: Kind, symbols: usize, expected: &[(usize, bool)]) {
        let source = find("binance").unwrap();
        let asked = Query::new(kind).symbols((0..symbols).map(|n| Symbol::new(format!("A{n}-USDT"))));
        let (state, credentials) = (State::default(), Default::default());
        let weigh = |query: &Query| {
            let cx = Context::new(source, query, &state, &credentials, "", UnixNanos::EPOCH).ok()?;
            weight(source, &cx)
        };
        let found: Vec<_> = plan(source, &asked, weigh).iter().map(|q| (q.symbols.len(), q.whole_market)).collect();
        assert_eq!(found, expected, "{kind} x {symbols}");
    }

    #[test]
    fn the_cheapest_set_is_chosen() {
        check(Kind::Ticker, 1, &[(1, false)]);
        check(Kind::Ticker, 20, &[(20, false)]);
        // 100 symbols weigh 40, the 50 that are left 40 again: the whole market's 80 is no less.
        check(Kind::Ticker, 150, &[(100, false), (50, false)]);
        // Three chunks of 40 weigh more than 80.
        check(Kind::Ticker, 250, &[(250, true)]);
        check(Kind::Trade, 3, &[(1, false), (1, false), (1, false)]);
    }

    #[test]
    fn a_failed_batch_is_halved() {
        let query = Query::new(Kind::Ticker).symbol("A-B").symbol("C-D").symbol("E-F");
        let [left, right] = split(&query).unwrap();
        assert_eq!((left.symbols.len(), right.symbols.len()), (1, 2));
        assert_eq!(split(&left), None);
    }
}
