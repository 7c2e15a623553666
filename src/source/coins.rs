//! Providers that name coins by ids of their own: ids of the best-known coins, those of the fetched list, and the
//! canonical names made of a coin and the currency of its price. Reads no bodies.
//! Invariant: several coins share a ticker, so a ticker counts only for the coin that the table or the list gives it.

use std::time::Duration;

use crate::model::{Judgement, Native, Symbol};
use crate::source::{Context, State, WindowShape, WindowSpec};

/// What is known about a provider's coins.
#[derive(Clone, Copy)]
pub struct Coins<'a> {
    /// Ticker and id of the best-known coins, so that they can be asked for without a list.
    pub known: &'static [(&'static str, &'static str)],
    /// The state with the provider's list, whose symbols are bare tickers.
    pub state: &'a State,
}

impl Coins<'_> {
    /// The id of the coin with this ticker.
    pub fn id(&self, ticker: &str) -> Option<&str> {
        let known = self.known.iter().find(|(known, _)| *known == ticker).map(|(_, id)| *id);
        known.or_else(|| self.state.instruments.native_of(&Symbol::new(ticker)).map(Native::as_str))
    }

    /// The ticker of the coin with this id.
    pub fn ticker(&self, id: &str) -> Option<&str> {
        let known = self.known.iter().find(|(_, known)| *known == id).map(|(ticker, _)| *ticker);
        known.or_else(|| self.state.instruments.symbol_of(id).map(Symbol::as_str))
    }

    /// The id of a canonical pair's base.
    ///
    /// # Errors
    /// A local `bad_request` when `symbol` is no pair or its base is not known.
    pub fn native(&self, source: &str, symbol: &Symbol) -> Result<Native, Judgement> {
        let (base, _) = symbol.pair().ok_or_else(|| {
            let message = format!("{source}: expected a pair such as BTC-USD, found {symbol}");
            Judgement::unservable("symbol_form", message)
        })?;
        self.id(&base.to_uppercase()).map(Native::new).ok_or_else(|| {
            let message = format!("{source}: expected a coin of its list such as BTC-USD, found {symbol}");
            Judgement::unservable("symbol_unlisted", message)
        })
    }

    /// The canonical name of a price in `quote` of the coin `id`, which the body says has `ticker`: as asked, else by
    /// what is known, else by the body, unless the ticker is known to be another coin's.
    pub fn symbol(&self, cx: &Context<'_>, id: &str, ticker: Option<&str>, quote: &str) -> Option<Symbol> {
        if let Some(symbol) = asked(cx, id, quote) {
            return Some(symbol.clone());
        }
        if let Some(ticker) = self.ticker(id) {
            return Some(Symbol::from_pair(ticker, quote));
        }
        let ticker = ticker?.to_uppercase();
        let symbol = Symbol::from_pair(&ticker, quote);
        (self.id(&ticker).is_none() && symbol.pair().is_some()).then_some(symbol)
    }
}

/// The query's symbol about the coin `id` priced in `quote`.
pub fn asked<'a>(cx: &'a Context<'_>, id: &str, quote: &str) -> Option<&'a Symbol> {
    let mut pairs = cx.query.symbols.iter().zip(&cx.natives).filter(|(_, native)| native.as_str() == id);
    pairs.find(|(symbol, _)| symbol.pair().is_some_and(|(_, known)| known.eq_ignore_ascii_case(quote))).map(|(s, _)| s)
}

/// Whether a price that was not asked for came along: of several coins and several currencies all combinations are
/// sent.
pub fn came_along(cx: &Context<'_>, id: &str, quote: &str) -> bool {
    let several = cx.query.symbols.len() > 1;
    several && cx.natives.iter().any(|native| native.as_str() == id) && asked(cx, id, quote).is_none()
}

/// The currencies of the query's symbols, each once, in the query's order.
pub fn quotes<'a>(cx: &'a Context<'_>) -> Vec<&'a str> {
    let mut quotes = Vec::new();
    for (_, quote) in cx.query.symbols.iter().filter_map(Symbol::pair) {
        if !quotes.contains(&quote) {
            quotes.push(quote);
        }
    }
    quotes
}

/// The ids of the query's coins, each once, joined by commas.
pub fn ids(cx: &Context<'_>) -> String {
    let mut ids: Vec<&str> = Vec::new();
    for native in &cx.natives {
        if !ids.contains(&native.as_str()) {
            ids.push(native.as_str());
        }
    }
    ids.join(",")
}

/// The windows of a plan: calls a minute and calls a month.
pub const fn plan(per_minute: u32, per_month: u32) -> [WindowSpec; 2] {
    let (minute, month) = (Duration::from_secs(60), Duration::from_secs(30 * 86_400));
    [
        WindowSpec { bucket: "", limit: per_minute, per: minute, shape: WindowShape::Rolling },
        WindowSpec { bucket: "", limit: per_month, per: month, shape: WindowShape::Rolling },
    ]
}
