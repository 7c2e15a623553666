//! Rules over names and texts that several sources share: which codes are currencies, how share classes are written, whose
//! name a record carries, and the masking of keys that providers repeat. Pure functions.

use crate::model::{Native, Symbol};
use crate::source::Context;

/// The names of what the body calls `native`: the query's symbol where it asked for that name, else the instrument
/// list's, else the one `rule` gives. Where the body names nothing, the names of the only symbol asked about.
pub fn names(
    cx: &Context<'_>,
    native: Option<&str>,
    rule: impl FnOnce(&str) -> Option<Symbol>,
) -> (Option<Symbol>, Option<Native>) {
    match native {
        Some(native) => (cx.symbol_of(native).or_else(|| rule(native)), Some(Native::new(native))),
        None => cx.only().map(|(symbol, native)| (symbol.clone(), native.clone())).unzip(),
    }
}

/// A text unless it is empty: an empty headline or summary is none.
pub fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Whether `code` is a currency of ISO 4217 or a precious metal quoted like one: tells a pair of currencies from one of
/// crypto assets where a provider serves both under different names.
pub fn is_currency(code: &str) -> bool {
    code.len() == 3 && CURRENCIES.split(' ').any(|known| known == code)
}

/// A canonical equity in the form of providers that write share classes with a dash: `BRK.B` becomes `BRK-B`,
/// `VOLV.B.ST` becomes `VOLV-B.ST`. A single letter of `exchanges` is the suffix of an exchange and stays: `OCDO.L`.
pub fn dashed(symbol: &str, exchanges: &str) -> String {
    let mut parts = symbol.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(ticker), Some(class), None) if is_class(class) && !exchanges.contains(class) => {
            format!("{ticker}-{class}")
        }
        (Some(ticker), Some(class), Some(exchange)) if is_class(class) => format!("{ticker}-{class}.{exchange}"),
        _ => symbol.to_owned(),
    }
}

/// The canonical form of an equity with a dash before its share class, in upper case; `None` when a dash stands
/// for something else.
pub fn dotted(native: &str) -> Option<String> {
    let Some((ticker, rest)) = native.split_once('-') else { return Some(native.to_uppercase()) };
    let class = rest.split('.').next().unwrap_or(rest);
    (!ticker.is_empty() && is_class(class)).then(|| format!("{ticker}.{rest}").to_uppercase())
}

/// A message without what looks like a key: runs of at least 16 letters and digits that are not all lower-case letters.
pub fn mask_keys(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    for piece in message.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let plain = word.bytes().all(|byte| byte.is_ascii_lowercase());
        if word.len() >= KEY_BYTES_MIN && !plain {
            shown.push_str("***");
            shown.push_str(&piece[word.len()..]);
        } else {
            shown.push_str(piece);
        }
    }
    shown
}

fn is_class(text: &str) -> bool {
    text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Providers' keys are longer; words of a message that are not all lower-case letters are shorter.
const KEY_BYTES_MIN: usize = 16;

/// ISO 4217 (list one of 2026-01-01) without funds and testing codes, with CNH, gold, silver, platinum, palladium.
const CURRENCIES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD \
    CAD CDF CHF CLP CNH CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD \
    HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD \
    MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON \
    RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX \
    USD UYU UZS VED VES VND VUV WST XAF XAG XAU XCD XOF XPD XPF XPT YER ZAR ZMW ZWG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_classes_go_both_ways() {
        for (symbol, native) in [
            ("BRK.B", "BRK-B"),
            ("VOLV.B.ST", "VOLV-B.ST"),
            ("OCDO.L", "OCDO.L"),
            ("GS2C.DE", "GS2C.DE"),
            ("AAPL", "AAPL"),
        ] {
            assert_eq!(dashed(symbol, "FLTV"), native);
            assert_eq!(dotted(native).as_deref(), Some(symbol));
        }
        assert_eq!(dotted("BTC-USD"), None);
        assert_eq!(dotted("BAC-PB"), None);
    }

    #[test]
    fn currencies_are_told_from_assets() {
        assert!(is_currency("EUR") && is_currency("XAU"));
        assert!(!is_currency("BTC") && !is_currency("USDT") && !is_currency("D C"));
    }

    #[test]
    fn keys_are_masked_and_words_are_not() {
        let check = |message: &str, expected: &str| assert_eq!(mask_keys(message), expected);
        check("your API key as XXXXXXXXXXXXXXXX and our", "your API key as *** and our");
        check("Invalid API key: c0ffee1234567890abcd.", "Invalid API key: ***.");
        check("see uncharacteristically long words", "see uncharacteristically long words");
    }
}
