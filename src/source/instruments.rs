//! The provider's list of instruments: canonical to native and back, aliases included.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Native, Symbol};

/// One instrument of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instrument {
    /// The canonical name.
    pub symbol: Symbol,
    /// The name to ask with.
    pub native: Native,
    /// Other names the provider uses for it in answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Native>,
}

/// A provider's instruments, looked up in both directions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Instrument>", into = "Vec<Instrument>")]
pub struct Instruments {
    list: Vec<Instrument>,
    by_native: BTreeMap<Native, usize>,
    by_symbol: BTreeMap<Symbol, usize>,
}

impl Instruments {
    /// The canonical name of what the provider calls `native`.
    pub fn symbol_of(&self, native: &str) -> Option<&Symbol> {
        self.by_native.get(&Native::new(native)).map(|index| &self.list[*index].symbol)
    }

    /// The name to ask with for a canonical symbol.
    pub fn native_of(&self, symbol: &Symbol) -> Option<&Native> {
        self.by_symbol.get(symbol).map(|index| &self.list[*index].native)
    }

    /// All of them, in the provider's order.
    pub fn list(&self) -> &[Instrument] {
        &self.list
    }

    /// Whether nothing has been fetched yet.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// The first of two instruments with one name keeps it.
impl From<Vec<Instrument>> for Instruments {
    fn from(list: Vec<Instrument>) -> Self {
        let (mut by_native, mut by_symbol) = (BTreeMap::new(), BTreeMap::new());
        for (index, instrument) in list.iter().enumerate() {
            by_native.entry(instrument.native.clone()).or_insert(index);
            for alias in &instrument.aliases {
                by_native.entry(alias.clone()).or_insert(index);
            }
            by_symbol.entry(instrument.symbol.clone()).or_insert(index);
        }
        Instruments { list, by_native, by_symbol }
    }
}

impl From<Instruments> for Vec<Instrument> {
    fn from(instruments: Instruments) -> Self {
        instruments.list
    }
}
