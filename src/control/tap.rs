//! `/records`: the live records as server-sent events. Owns the query's words and the events' form; the queue, its bound
//! and its losses are the tap's.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::config::did_you_mean;
use crate::handoff::{TapFilter, TapReader, Tapped};
use crate::model::{Kind, Symbol};
use crate::runtime;
use crate::source::{self, SOURCES};

/// Reads the filter of a query: `source=kraken,okx&kind=trade&symbol=BTC-USD`.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn filter(query: &str) -> Result<TapFilter, String> {
    let mut filter = TapFilter::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, values) = pair.split_once('=').unwrap_or((pair, ""));
        let values = percent_encoding::percent_decode_str(values).decode_utf8_lossy();
        for value in values.split(',').filter(|value| !value.is_empty()) {
            match name {
                "source" => {
                    filter.sources.push(source::find(value).map(|source| source.spec().id).ok_or_else(|| {
                        let near = did_you_mean(value, SOURCES.iter().map(|source| source.spec().id.as_str()));
                        format!("expected the id of a source in source, found {value:?}{near}")
                    })?)
                }
                "kind" => {
                    filter.kinds.push(Kind::ALL.into_iter().find(|kind| kind.as_str() == value).ok_or_else(|| {
                        let near = did_you_mean(value, Kind::ALL.iter().map(|kind| kind.as_str()));
                        format!("expected a kind of record in kind, found {value:?}{near}")
                    })?);
                }
                "symbol" => filter.symbols.push(Symbol::new(value)),
                _ => return Err(format!("expected source, kind or symbol, found {name:?}")),
            }
        }
    }
    if filter.sources.len().max(filter.symbols.len()) > VALUES_MAX {
        return Err(format!("expected at most {VALUES_MAX} values"));
    }
    Ok(filter)
}

/// The events under way.
pub(super) struct Events(Pin<Box<dyn Future<Output = (TapReader, Bytes)>>>);

impl Events {
    /// The events of a reader, beginning with a comment, so that the client sees at once that it is connected.
    pub(super) fn new(reader: TapReader) -> Events {
        Events(Box::pin(async move { (reader, Bytes::from_static(b": records as they are written\n\n")) }))
    }

    /// The next events.
    pub(super) fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Bytes> {
        self.0.as_mut().poll(cx).map(|(reader, events)| {
            self.0 = Box::pin(wait(reader));
            events
        })
    }
}

/// Waits for records, and takes what is there; a comment when nothing comes for a while.
async fn wait(reader: TapReader) -> (TapReader, Bytes) {
    let Some(first) = runtime::timeout(SILENCE_MAX, reader.next()).await else {
        return (reader, Bytes::from_static(b": nothing new\n\n"));
    };
    let mut events = Vec::with_capacity(1024);
    push(&first, &mut events);
    while events.len() < CHUNK_BYTES {
        let Some(next) = reader.take() else { break };
        push(&next, &mut events);
    }
    (reader, events.into())
}

fn push(tapped: &Tapped, events: &mut Vec<u8>) {
    match tapped {
        Tapped::Record(line) => {
            events.extend_from_slice(b"data: ");
            events.extend_from_slice(line);
        }
        Tapped::Lost(count) => {
            events.extend_from_slice(format!("event: lost\ndata: {{\"lost\":{count}}}").as_bytes());
        }
    }
    events.extend_from_slice(b"\n\n");
}

const VALUES_MAX: usize = 100;
/// Proxies end connections that say nothing for longer.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const CHUNK_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_from_a_query() {
        let read = filter("source=kraken,okx&kind=trade&symbol=BTC-USD&symbol=ETH%2DUSD").unwrap();
        assert_eq!(read.sources.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["kraken", "okx"]);
        assert_eq!(read.kinds, [Kind::Trade]);
        assert_eq!(read.symbols, [Symbol::new("BTC-USD"), Symbol::new("ETH-USD")]);
        assert_eq!(filter(""), Ok(TapFilter::default()));
        let check = |query: &str, part: &str| assert!(filter(query).unwrap_err().contains(part), "{query}");
        check("source=krakn", "did you mean kraken?");
        check("kind=trades", "did you mean trade?");
        check("sources=kraken", "expected source, kind or symbol");
        check(&format!("symbol={}", "X,".repeat(101)), "at most 100");
    }

    #[test]
    fn events_are_records_and_losses() {
        let mut events = Vec::new();
        push(&Tapped::Record(Bytes::from_static(b"{\"seq\":1}")), &mut events);
        push(&Tapped::Lost(3), &mut events);
        assert_eq!(events, b"data: {\"seq\":1}\n\nevent: lost\ndata: {\"lost\":3}\n\n");
    }
}
