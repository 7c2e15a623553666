//! Recorded instrument lists: each is read by its source's prerequisite, whole, with the right names.

use tidegate::model::Symbol;
use tidegate::source::State;
use tidegate::wire::Answer;

/// Source, prerequisite, recording, how many instruments it lists, and one of them: canonical and native name.
const LISTS: &[(&str, &str, &str, usize, &str, &str)] = &[
    ("binance", "instruments", "binance/exchange_info_2021.json", 12, "BLZ-ETH", "BLZETH"),
    ("binance", "instruments", "binance/exchange_info_small.json", 2, "BTC-USDT", "BTCUSDT"),
    ("bybit", "instruments", "bybit/doc_instrument_1.json", 1, "BTC-USDT", "BTCUSDT"),
    ("bybit", "instruments", "bybit/http_get_instruments_spot.json", 2, "ETH-USDT", "ETHUSDT"),
    ("bybit", "instruments", "bybit/http_get_instruments_spot_xstocks.json", 1, "AAPL-USDT", "AAPLUSDT"),
    ("bybit", "instruments_linear", "bybit/http_get_instruments_linear.json", 2, "ETH-USDT.PERP", "ETHUSDT"),
    ("coinbase", "instruments", "coinbase/exchange_products_2021.json", 162, "BTC-GBP", "BTC-GBP"),
    ("coinbase", "instruments", "coinbase/exchange_products_partial.json", 3, "BTC-EUR", "BTC-EUR"),
    ("kraken", "instruments", "kraken/http_asset_pairs.json", 1, "BTC-USDT", "XBTUSDT"),
    ("okx", "instruments", "okx/http_get_instruments_spot.json", 5, "BTC-USD", "BTC-USD"),
    ("okx", "instruments", "okx/instruments_SPOT_2022.json", 15, "OKB-USDT", "OKB-USDT"),
    ("okx", "instruments_futures", "okx/instruments_FUTURES_2022.json", 15, "BTC-USD.20220624", "BTC-USD-220624"),
    ("okx", "instruments_swap", "okx/http_get_instruments_swap.json", 3, "BTC-USDT.PERP", "BTC-USDT-SWAP"),
];

#[test]
fn instrument_lists_are_read_whole() {
    let Some(root) = super::root() else { return };
    for (source, prerequisite, file, count, symbol, native) in LISTS {
        let mut state = State::default();
        let answer = Answer::new(200, std::fs::read(root.join(file)).unwrap());
        let source = tidegate::source::find(source).unwrap();
        source.prerequisite_decode(prerequisite, &answer, &mut state).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(state.instruments.list().len(), *count, "{file}");
        assert_eq!(state.instruments.symbol_of(native), Some(&Symbol::new(symbol)), "{file}");
        assert_eq!(state.instruments.native_of(&Symbol::new(symbol)).map(|native| native.as_str()), Some(*native));
    }
}
