//! What sources share that name their instruments by rule: equities by their ticker, pairs with a slash between their
//! sides; and the check of a bar's interval against those a provider offers. Owns no provider's rule of its own.

use crate::model::{Interval, Judgement, Symbol};
use crate::source::Context;

/// The canonical name of a ticker (`AAPL`, `BRK.B`, `GS2C.DE`) or of a pair (`BTC/USD`); `None` for any other form.
pub fn canonical(native: &str) -> Option<Symbol> {
    match native.split_once('/') {
        Some((base, quote)) if is_plain(base) && is_plain(quote) => Some(Symbol::from_pair(base, quote)),
        Some(_) => None,
        None => is_ticker(native).then(|| Symbol::new(native)),
    }
}

/// The name of a ticker or of a pair with a slash: `BTC-USD` becomes `BTC/USD`, tickers stay as they are.
///
/// # Errors
/// A local `bad_request` for derivatives and anything else.
pub fn slashed(source: &str, symbol: &Symbol) -> Result<String, Judgement> {
    if let Some((base, quote)) = symbol.pair() {
        return Ok(format!("{base}/{quote}"));
    }
    ticker(source, symbol).map(str::to_owned)
}

/// The symbol itself, where it has the form of a ticker.
///
/// # Errors
/// A local `bad_request` otherwise.
pub fn ticker<'a>(source: &str, symbol: &'a Symbol) -> Result<&'a str, Judgement> {
    let name = symbol.as_str();
    if is_ticker(name) {
        return Ok(name);
    }
    Err(Judgement::unservable(
        "symbol_form",
        format!("{source}: expected a ticker such as AAPL or BRK.B or a pair such as BTC-USD, found {symbol}"),
    ))
}

/// The interval asked for, or `default`, if the provider offers it.
///
/// # Errors
/// A local `bad_request` that names the offered ones.
pub fn interval(
    cx: &Context<'_>,
    source: &str,
    default: Interval,
    offered: &[Interval],
) -> Result<Interval, Judgement> {
    let interval = cx.query.interval.unwrap_or(default);
    if offered.contains(&interval) {
        return Ok(interval);
    }
    let names: Vec<String> = offered.iter().map(Interval::to_string).collect();
    Err(Judgement::unservable(
        "interval_unknown",
        format!("{source}: expected one of {}, found {interval}", names.join(", ")),
    ))
}

/// Letters and digits, then a class or an exchange of up to four letters after a dot; derivatives have more.
fn is_ticker(name: &str) -> bool {
    let (stem, suffix) = name.split_once('.').unwrap_or((name, "A"));
    is_plain(stem) && is_plain(suffix) && suffix.len() <= 4 && suffix != "PERP"
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule_in_both_directions() {
        let check = |native: &str, symbol: &str| {
            assert_eq!(canonical(native), Some(Symbol::new(symbol)));
            assert_eq!(slashed("x", &Symbol::new(symbol)).unwrap(), native);
        };
        check("AAPL", "AAPL");
        check("BRK.B", "BRK.B");
        check("GS2C.DE", "GS2C.DE");
        check("BTC/USD", "BTC-USD");
        for other in ["O:NCLH221014C00005000", "X:BTCUSD", "", "A/B/C", "/USD", "BRK-B", "AAPL:NASDAQ"] {
            assert_eq!(canonical(other), None, "{other}");
        }
        for other in ["BTC-USDT.PERP", "BTC-USD.20240628", "BTC.PERP", "", "A B"] {
            assert!(slashed("x", &Symbol::new(other)).is_err(), "{other}");
        }
    }
}
