//! Samples against genuine recordings of the same form: the same keys, the same types, all the way down. A key of the
//! sample has to be in the recording, and a key that all objects of the recording have at a place has to be in the
//! sample. The recordings stay outside the project; without them the test reports a skip.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use tidegate::source::SOURCES;

/// A sample and the recording that it has to be like.
struct Pair {
    source: &'static str,
    sample: &'static str,
    /// Pointer to the part of the sample that the recording is; empty = all of it.
    part: &'static str,
    /// Path under the recordings' folder.
    recording: &'static str,
    /// Where keys are data (symbols, dates), with `*` for indexes and such keys.
    maps: &'static [&'static str],
    /// Differences with their reason, by path.
    except: &'static [(&'static str, &'static str)],
}

/// A sample without a recording of its form.
struct Alone {
    source: &'static str,
    sample: &'static str,
    why: &'static str,
}

const PAIR: Pair = Pair { source: "", sample: "", part: "", recording: "", maps: &[], except: &[] };

const PAIRS: &[Pair] = &[
    Pair { source: "alpaca", sample: "bars.json", recording: "alpaca/stocks_bars_AAPL.json", maps: &["/bars"], ..PAIR },
    Pair {
        source: "alpaca",
        sample: "crypto_bars.json",
        recording: "alpaca/crypto_bars.json",
        maps: &["/bars"],
        ..PAIR
    },
    Pair {
        source: "alpaca",
        sample: "crypto_quotes_latest.json",
        recording: "alpaca/crypto_latest_quote.json",
        maps: &["/quotes"],
        ..PAIR
    },
    Pair {
        source: "alpaca",
        sample: "crypto_trades.json",
        recording: "alpaca/crypto_trades.json",
        maps: &["/trades"],
        ..PAIR
    },
    Pair { source: "alpaca", sample: "news.json", recording: "alpaca/news_page1.json", ..PAIR },
    Pair {
        source: "alpaca",
        sample: "quotes.json",
        recording: "alpaca/stocks_quotes.json",
        maps: &["/quotes"],
        ..PAIR
    },
    Pair {
        source: "alpaca",
        sample: "quotes_latest.json",
        recording: "alpaca/stocks_latest_quote.json",
        maps: &["/quotes"],
        ..PAIR
    },
    Pair {
        source: "alpaca",
        sample: "snapshots.json",
        recording: "alpaca/stocks_snapshot_AAPL.json",
        maps: &[""],
        ..PAIR
    },
    Pair {
        source: "alpaca",
        sample: "trades.json",
        recording: "alpaca/stocks_trades_AAPL.json",
        maps: &["/trades"],
        ..PAIR
    },
    Pair {
        source: "alpha_vantage",
        sample: "crypto_daily.json",
        recording: "alpha_vantage/digital_currency_daily_BTC_AUD.json",
        maps: &["", "/*"],
        ..PAIR
    },
    Pair {
        source: "alpha_vantage",
        sample: "exchange_rate.json",
        recording: "alpha_vantage/currency_exchange_rate_BTC_CNY.json",
        except: &[
            ("/Realtime Currency Exchange Rate/8. Bid Price", "the present form has both sides"),
            ("/Realtime Currency Exchange Rate/9. Ask Price", "the present form has both sides"),
        ],
        ..PAIR
    },
    Pair {
        source: "alpha_vantage",
        sample: "fx_daily.json",
        recording: "alpha_vantage/fx_daily_EUR_AUD.json",
        maps: &["", "/*"],
        ..PAIR
    },
    Pair {
        source: "alpha_vantage",
        sample: "global_quote.json",
        recording: "alpha_vantage/global_quote_MSFT.json",
        ..PAIR
    },
    Pair {
        source: "alpha_vantage",
        sample: "time_series_daily.json",
        recording: "alpha_vantage/daily_adjusted_IBM_2021.json",
        maps: &["", "/*"],
        except: &[("/*/*/5. volume", "the recording is of the adjusted series, where volume is the sixth column")],
        ..PAIR
    },
    Pair {
        source: "alpha_vantage",
        sample: "time_series_intraday.json",
        recording: "alpha_vantage/intraday_MSFT_1min.json",
        maps: &["", "/*"],
        ..PAIR
    },
    Pair { source: "binance", sample: "agg_trades.json", recording: "binance/agg_trades_BTCUSDT.json", ..PAIR },
    Pair { source: "binance", sample: "book_ticker.json", recording: "binance/book_ticker_BTCUSDT.json", ..PAIR },
    Pair { source: "binance", sample: "depth.json", recording: "binance/depth_BTCUSDT.json", ..PAIR },
    Pair { source: "binance", sample: "exchange_info.json", recording: "binance/exchange_info_small.json", ..PAIR },
    Pair { source: "binance", sample: "klines.json", recording: "binance/klines_BTCUSDT_1m.json", ..PAIR },
    Pair { source: "binance", sample: "ticker_24hr.json", recording: "binance/ticker_24hr_BNBBTC.json", ..PAIR },
    Pair { source: "binance", sample: "time.json", recording: "binance/server_time.json", ..PAIR },
    Pair { source: "binance", sample: "trades.json", recording: "binance/trades_BTCUSDT.json", ..PAIR },
    Pair { source: "bitstamp", sample: "order_book.json", recording: "bitstamp/order_book_ethusd_trim.json", ..PAIR },
    Pair { source: "bitstamp", sample: "ticker.json", recording: "bitstamp/element_parseTicker_0.json", ..PAIR },
    Pair {
        source: "bitstamp",
        sample: "trading_pairs_info.json",
        recording: "bitstamp/trading_pairs_info_2022.json",
        ..PAIR
    },
    Pair {
        source: "bybit",
        sample: "instruments_linear.json",
        recording: "bybit/http_get_instruments_linear.json",
        ..PAIR
    },
    Pair { source: "bybit", sample: "instruments_spot.json", recording: "bybit/doc_instrument_1.json", ..PAIR },
    Pair { source: "bybit", sample: "kline.json", recording: "bybit/doc_kline_0.json", ..PAIR },
    Pair { source: "bybit", sample: "orderbook.json", recording: "bybit/doc_orderbook_0.json", ..PAIR },
    Pair { source: "bybit", sample: "tickers.json", recording: "bybit/doc_tickers_2.json", ..PAIR },
    Pair { source: "bybit", sample: "tickers_all.json", recording: "bybit/doc_tickers_2.json", ..PAIR },
    Pair { source: "bybit", sample: "trades.json", recording: "bybit/doc_recent_trade_0.json", ..PAIR },
    Pair { source: "coinbase", sample: "candles.json", recording: "coinbase/exchange_candles.json", ..PAIR },
    Pair { source: "coinbase", sample: "products.json", recording: "coinbase/exchange_products_partial.json", ..PAIR },
    Pair { source: "coinbase", sample: "ticker.json", recording: "coinbase/exchange_ticker.json", ..PAIR },
    Pair { source: "coingecko", sample: "coin_tickers.json", recording: "coingecko/coin_tickers.json", ..PAIR },
    Pair { source: "coingecko", sample: "markets.json", recording: "coingecko/coins_markets.json", ..PAIR },
    Pair { source: "coingecko", sample: "ohlc.json", recording: "coingecko/coins_ohlc.json", ..PAIR },
    Pair { source: "coingecko", sample: "simple_price.json", recording: "coingecko/simple_price.json", ..PAIR },
    Pair {
        source: "coinmarketcap",
        sample: "listings_latest.json",
        recording: "coinmarketcap/listings_latest_2019.json",
        ..PAIR
    },
    Pair { source: "coinmarketcap", sample: "map.json", recording: "coinmarketcap/cryptocurrency_map.json", ..PAIR },
    Pair {
        source: "deribit",
        sample: "chart_data.json",
        recording: "deribit/http_get_tradingview_chart_data.json",
        ..PAIR
    },
    Pair { source: "deribit", sample: "instruments.json", recording: "deribit/http_get_instruments.json", ..PAIR },
    Pair { source: "deribit", sample: "last_trades.json", recording: "deribit/http_get_last_trades.json", ..PAIR },
    Pair { source: "deribit", sample: "order_book.json", recording: "deribit/http_get_order_book.json", ..PAIR },
    Pair { source: "finnhub", sample: "company_news.json", recording: "finnhub/company_news_AAPL_2020.json", ..PAIR },
    Pair { source: "finnhub", sample: "quote.json", recording: "finnhub/quote_SPCX_2026.json", ..PAIR },
    Pair { source: "finnhub", sample: "stock_candle.json", recording: "finnhub/stock_candle_AAPL_D.json", ..PAIR },
    Pair {
        source: "fmp",
        sample: "historical_price_eod.json",
        recording: "fmp/historical_price_eod_full_AAPL.json",
        ..PAIR
    },
    Pair { source: "fmp", sample: "news_stock.json", recording: "fmp/news_stock.json", ..PAIR },
    Pair { source: "fmp", sample: "quote.json", recording: "fmp/quote_AAPL.json", ..PAIR },
    Pair {
        source: "frankfurter",
        sample: "v1_latest.json",
        recording: "frankfurter/v1_latest.json",
        maps: &["/rates"],
        ..PAIR
    },
    Pair {
        source: "frankfurter",
        sample: "v1_series.json",
        recording: "frankfurter/v1_series.json",
        maps: &["/rates", "/rates/*"],
        ..PAIR
    },
    Pair { source: "frankfurter", sample: "v2_rate.json", recording: "frankfurter/v2_rate_pair.json", ..PAIR },
    Pair { source: "frankfurter", sample: "v2_rates.json", recording: "frankfurter/v2_rates.json", ..PAIR },
    Pair { source: "fred", sample: "observations.json", recording: "fred/observations_GDP.json", ..PAIR },
    Pair { source: "gdelt", sample: "artlist.json", recording: "gdelt/doc_artlist_vizhinjam_2024.json", ..PAIR },
    Pair { source: "gemini", sample: "book.json", recording: "gemini/book.json", ..PAIR },
    Pair {
        source: "kraken",
        sample: "asset_pairs.json",
        recording: "kraken/http_asset_pairs.json",
        maps: &["/result"],
        ..PAIR
    },
    Pair {
        source: "kraken",
        sample: "depth.json",
        recording: "kraken/http_order_book.json",
        maps: &["/result"],
        ..PAIR
    },
    Pair { source: "kraken", sample: "ohlc.json", recording: "kraken/http_ohlc.json", maps: &["/result"], ..PAIR },
    Pair { source: "kraken", sample: "ticker.json", recording: "kraken/http_ticker.json", maps: &["/result"], ..PAIR },
    Pair { source: "kraken", sample: "trades.json", recording: "kraken/http_trades.json", maps: &["/result"], ..PAIR },
    Pair { source: "kucoin", sample: "level2.json", recording: "kucoin/orderbook_level2_SNX-BTC.json", ..PAIR },
    Pair { source: "kucoin", sample: "symbols.json", recording: "kucoin/symbols_2021.json", ..PAIR },
    Pair {
        source: "newsapi",
        sample: "everything.json",
        recording: "newsapi/top_headlines_us_business_2022.json",
        ..PAIR
    },
    Pair { source: "okx", sample: "books.json", recording: "okx/http_get_order_book.json", ..PAIR },
    Pair { source: "okx", sample: "candles.json", recording: "okx/http_get_candlesticks.json", ..PAIR },
    Pair { source: "okx", sample: "instruments_spot.json", recording: "okx/http_get_instruments_spot.json", ..PAIR },
    Pair { source: "okx", sample: "instruments_swap.json", recording: "okx/http_get_instruments_swap.json", ..PAIR },
    Pair { source: "okx", sample: "ticker.json", part: "/data/0", recording: "okx/element_parseTicker_1.json", ..PAIR },
    Pair {
        source: "okx",
        sample: "tickers.json",
        part: "/data/0",
        recording: "okx/element_parseTicker_1.json",
        ..PAIR
    },
    Pair { source: "okx", sample: "trades.json", recording: "okx/http_get_trades.json", ..PAIR },
    Pair { source: "polygon", sample: "aggs.json", recording: "polygon/aggs_AAPL_day.json", ..PAIR },
    Pair { source: "polygon", sample: "aggs_grouped.json", recording: "polygon/aggs_grouped.json", ..PAIR },
    Pair { source: "polygon", sample: "aggs_prev.json", recording: "polygon/aggs_prev_AAPL.json", ..PAIR },
    Pair { source: "polygon", sample: "last_nbbo.json", recording: "polygon/last_nbbo_AAPL.json", ..PAIR },
    Pair { source: "polygon", sample: "last_trade.json", recording: "polygon/last_trade_AAPL.json", ..PAIR },
    Pair { source: "polygon", sample: "news.json", recording: "polygon/news_NFLX.json", ..PAIR },
    Pair { source: "polygon", sample: "open_close.json", recording: "polygon/open_close.json", ..PAIR },
    Pair { source: "polygon", sample: "quotes.json", recording: "polygon/quotes_v3_AAPL.json", ..PAIR },
    Pair { source: "polygon", sample: "snapshot.json", recording: "polygon/snapshot_v3.json", ..PAIR },
    Pair { source: "polygon", sample: "snapshot_v2.json", recording: "polygon/snapshot_AAPL.json", ..PAIR },
    Pair { source: "polygon", sample: "trades.json", recording: "polygon/trades_v3_AAPL.json", ..PAIR },
    Pair {
        source: "sec_edgar",
        sample: "company_tickers.json",
        recording: "sec_edgar/company_tickers_trim.json",
        maps: &[""],
        ..PAIR
    },
    Pair { source: "sec_edgar", sample: "filing_index.json", recording: "sec_edgar/filing_index.json", ..PAIR },
    Pair {
        source: "sec_edgar",
        sample: "submissions_aapl.json",
        recording: "sec_edgar/submissions_CIK0000789019.json",
        ..PAIR
    },
    Pair {
        source: "sec_edgar",
        sample: "submissions_msft.json",
        recording: "sec_edgar/submissions_CIK0000789019.json",
        ..PAIR
    },
    Pair {
        source: "tiingo",
        sample: "crypto_prices.json",
        recording: "tiingo/crypto_prices.json",
        except: &[("/*/exchangeData", "sent where raw exchange data was asked for")],
        ..PAIR
    },
    Pair {
        source: "tiingo",
        sample: "crypto_top.json",
        recording: "tiingo/crypto_top.json",
        except: &[("/*/exchangeData", "sent where raw exchange data was asked for")],
        ..PAIR
    },
    Pair { source: "tiingo", sample: "daily_prices.json", recording: "tiingo/daily_prices_GOOGL.json", ..PAIR },
    Pair { source: "tiingo", sample: "fx_prices.json", recording: "tiingo/fx_prices_EURUSD_daily.json", ..PAIR },
    Pair {
        source: "tiingo",
        sample: "iex_prices.json",
        recording: "tiingo/iex_intraday_GOOGL_30min.json",
        except: &[("/*/volume", "a column that has to be asked for")],
        ..PAIR
    },
    Pair { source: "tiingo", sample: "news.json", recording: "tiingo/news.json", ..PAIR },
    Pair { source: "twelve_data", sample: "quote.json", recording: "twelve_data/quote_AAPL.json", ..PAIR },
    Pair {
        source: "twelve_data",
        sample: "time_series.json",
        recording: "twelve_data/time_series_TSLA_1day.json",
        ..PAIR
    },
    Pair { source: "yahoo_finance", sample: "chart.json", recording: "yahoo/chart_v8_INR_with_null.json", ..PAIR },
    Pair { source: "yahoo_finance", sample: "quote.json", recording: "yahoo/quote_v7_2025_AAPL-MSFT.json", ..PAIR },
    Pair { source: "yahoo_finance", sample: "search.json", recording: "yahoo/search_AAPL.json", ..PAIR },
];

const ALONE: &[Alone] = &[
    Alone { source: "alpaca", sample: "bars_latest.json", why: "no recording of the latest bars" },
    Alone { source: "alpaca", sample: "crypto_bars_latest.json", why: "no recording of the latest bars" },
    Alone { source: "alpaca", sample: "crypto_snapshots.json", why: "no recording of crypto snapshots" },
    Alone { source: "alpaca", sample: "error_forbidden.json", why: "an error: its text is not verified" },
    Alone { source: "alpaca", sample: "news_last.json", why: "an empty last page" },
    Alone { source: "alpaca", sample: "quotes_last.json", why: "an empty last page" },
    Alone { source: "alpaca", sample: "trades_last.json", why: "an empty last page" },
    Alone { source: "alpha_vantage", sample: "error_key.json", why: "an error: its text is not verified" },
    Alone { source: "binance", sample: "account.json", why: "no recording of signed answers" },
    Alone { source: "bitstamp", sample: "ohlc.json", why: "no recording" },
    Alone { source: "bitstamp", sample: "tickers.json", why: "no recording of the whole market" },
    Alone {
        source: "bitstamp",
        sample: "transactions.json",
        why: "the recording went through a client that turned texts into numbers and left fields out",
    },
    Alone { source: "coinbase", sample: "book.json", why: "no recording of the book of the Exchange API" },
    Alone { source: "coinbase", sample: "trades.json", why: "no recording of trades of the Exchange API" },
    Alone { source: "coinmarketcap", sample: "error_401.json", why: "no recording of a refused key" },
    Alone { source: "coinmarketcap", sample: "ohlcv_historical.json", why: "no recording of the keyed endpoint" },
    Alone { source: "coinmarketcap", sample: "quotes_latest.json", why: "no recording" },
    Alone {
        source: "deribit",
        sample: "ticker.json",
        why: "no recording of the REST ticker; the book, which has the same fields, is compared",
    },
    Alone { source: "finnhub", sample: "error_401.json", why: "an error: its text is not verified" },
    Alone { source: "fmp", sample: "error_401.json", why: "an error: its text is not verified" },
    Alone { source: "fmp", sample: "historical_chart.json", why: "no recording of intraday bars" },
    Alone { source: "fred", sample: "error_key.json", why: "no recording of a refused key" },
    Alone { source: "gemini", sample: "candles.json", why: "no recording" },
    Alone {
        source: "gemini",
        sample: "pubticker.json",
        why: "the recording mixes in fields of an older form, with its volume as one text",
    },
    Alone { source: "gemini", sample: "symbol_details.json", why: "the recording is of one symbol, the sample of all" },
    Alone { source: "gemini", sample: "ticker_v2.json", why: "no recording of the second version" },
    Alone {
        source: "gemini",
        sample: "trades.json",
        why: "the recording is of an older form, without milliseconds and type",
    },
    Alone {
        source: "kucoin",
        sample: "all_tickers.json",
        why: "the recording is of the first version, with other fields",
    },
    Alone { source: "kucoin", sample: "candles.json", why: "no whole recording" },
    Alone { source: "kucoin", sample: "histories.json", why: "no recording over REST" },
    Alone { source: "kucoin", sample: "level1.json", why: "the recording is of the first version, with other fields" },
    Alone { source: "kucoin", sample: "stats.json", why: "the recording is of the first version, with other fields" },
    Alone { source: "newsapi", sample: "error_key.json", why: "an error: its text is not verified" },
    Alone { source: "polygon", sample: "error_key.json", why: "an error: its text is not verified" },
    Alone { source: "polygon", sample: "quotes_last.json", why: "an empty last page" },
    Alone { source: "polygon", sample: "snapshot_all.json", why: "no recording of the whole market" },
    Alone { source: "sec_edgar", sample: "submissions_page.json", why: "no recording of a further page" },
    Alone { source: "tiingo", sample: "error_401.json", why: "an error: its text is not verified" },
    Alone { source: "tiingo", sample: "iex_top.json", why: "no recording" },
    Alone { source: "twelve_data", sample: "error_key.json", why: "an error: its text is not verified" },
    Alone { source: "twelve_data", sample: "quote_batch.json", why: "no recording of several symbols" },
    Alone { source: "twelve_data", sample: "time_series_fx.json", why: "no recording of a pair" },
];

#[test]
fn samples_are_shaped_like_recordings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
    if !root.is_dir() {
        eprintln!("skipped: no recordings at {}", root.display());
        return;
    }
    let mut failures = Vec::new();
    for pair in PAIRS {
        let body = tidegate::source::find(pair.source).and_then(|source| source.spec().sample(pair.sample));
        let body = body.unwrap_or_else(|| panic!("{}: no sample {}", pair.source, pair.sample));
        let sample: Value = serde_json::from_str(body).expect("a sample is JSON");
        let sample = sample.pointer(pair.part).unwrap_or_else(|| panic!("{}: no {}", pair.sample, pair.part));
        let recording =
            std::fs::read(root.join(pair.recording)).unwrap_or_else(|error| panic!("{}: {error}", pair.recording));
        let recording: Value = serde_json::from_slice(&recording).expect("a recording is JSON");
        let mut found = Vec::new();
        compare(&[sample], &[&recording], "", pair.maps, &mut found);
        for (path, why) in pair.except {
            let before = found.len();
            found.retain(|(at, _)| at != path);
            if found.len() == before || why.is_empty() {
                failures.push(format!("{}/{}: {path} needs no exception", pair.source, pair.sample));
            }
        }
        let found = found.into_iter();
        failures.extend(
            found.map(|(path, what)| format!("{}/{}: {path}: {what} {}", pair.source, pair.sample, pair.recording)),
        );
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_sample_is_in_one_table() {
    let pairs = PAIRS.iter().map(|pair| (pair.source, pair.sample));
    let mut named: Vec<_> = pairs.chain(ALONE.iter().map(|alone| (alone.source, alone.sample))).collect();
    named.sort_unstable();
    let mut all: Vec<_> = SOURCES
        .iter()
        .flat_map(|source| source.spec().samples.iter().map(|sample| (source.spec().id.as_str(), sample.name)))
        .filter(|(_, name)| name.ends_with(".json"))
        .collect();
    all.sort_unstable();
    assert_eq!(named, all);
    assert!(ALONE.iter().all(|alone| !alone.why.is_empty()));
}

#[test]
fn differences_are_found() {
    let check = |sample: Value, recording: Value, expected: &[&str]| {
        let mut found = Vec::new();
        compare(&[&sample], &[&recording], "", &["/map"], &mut found);
        assert_eq!(found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), expected, "{sample} {recording}");
    };
    use serde_json::json;
    check(json!({"a": "1"}), json!({"a": "2"}), &[]);
    check(json!({"a": 1}), json!({"a": "2"}), &["/a"]);
    check(json!({"a": 1, "b": 1}), json!({"a": 2}), &["/b"]);
    check(json!({"a": 1}), json!({"a": 2, "b": 1}), &["/b"]);
    check(json!([{"a": 1}]), json!([{"a": 2, "b": 1}, {"a": null}]), &[]);
    check(json!([[1, "x"]]), json!([[2, "y"], [3, null]]), &[]);
    check(json!([[1, true]]), json!([[2, "y"]]), &["/*/*"]);
    check(json!({"map": {"k": {"a": 1}}}), json!({"map": {"l": {"a": 2}, "m": {"a": 3}}}), &[]);
    check(json!({"map": {"k": {"a": 1}}}), json!({"map": {"l": {"a": "2"}}}), &["/map/*/a"]);
}

/// Notes where `samples`, all values at one place of the sample, are not like `recordings`, those of the recording.
fn compare(samples: &[&Value], recordings: &[&Value], path: &str, maps: &[&str], out: &mut Vec<(String, String)>) {
    if samples.is_empty() || recordings.is_empty() {
        return;
    }
    let (ours, theirs) = (types(samples), types(recordings));
    let odd: Vec<_> = ours.iter().filter(|kind| **kind != "null" && !theirs.contains(*kind)).collect();
    if !odd.is_empty() && theirs.iter().any(|kind| *kind != "null") {
        out.push((path.to_owned(), format!("{odd:?} is not among the types {theirs:?} of")));
    }
    let is_map = maps.contains(&path);
    let (ours, theirs) = (members(samples, is_map), members(recordings, is_map));
    let objects = recordings.iter().filter(|value| value.is_object()).count();
    if !ours.is_empty() && !theirs.is_empty() {
        for (key, values) in &ours {
            match theirs.get(key) {
                Some(recorded) => compare(values, recorded, &format!("{path}/{key}"), maps, out),
                None => out.push((format!("{path}/{key}"), "is not in".to_owned())),
            }
        }
        for (key, _) in theirs.iter().filter(|(key, values)| values.len() >= objects && !ours.contains_key(*key)) {
            out.push((format!("{path}/{key}"), "is missing, and in every object of".to_owned()));
        }
    }
    compare(&elements(samples), &elements(recordings), &format!("{path}/*"), maps, out);
}

fn types(values: &[&Value]) -> BTreeSet<&'static str> {
    let name = |value: &&Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    values.iter().map(name).collect()
}

/// The values of each key over all objects; of a map, of all keys together.
fn members<'a>(values: &[&'a Value], is_map: bool) -> BTreeMap<&'a str, Vec<&'a Value>> {
    let mut members: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (key, value) in values.iter().filter_map(|value| value.as_object()).flatten() {
        members.entry(if is_map { "*" } else { key }).or_default().push(value);
    }
    members
}

fn elements<'a>(values: &[&'a Value]) -> Vec<&'a Value> {
    values.iter().filter_map(|value| value.as_array()).flatten().collect()
}
