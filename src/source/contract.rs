//! What a canonical name of a crypto instrument says: a spot pair, a perpetual, a dated future or an option; and the two
//! ways in which exchanges write its date. Pure text: knows no provider's list.

use compact_str::format_compact;

use crate::model::Symbol;

/// What an instrument is, beyond its pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract<'a> {
    /// A future that ends on a day: `20240628`.
    Dated(&'a str),
    /// An option: its last day, strike, and whether it is a call.
    Option {
        /// Last day: `20240628`.
        date: &'a str,
        /// Strike price, as written.
        strike: &'a str,
        /// A call, else a put.
        call: bool,
    },
    /// A future without an end.
    Perpetual,
    /// The pair itself.
    Spot,
}

impl<'a> Contract<'a> {
    /// Splits a canonical name into base, quote and contract; `None` for anything but a crypto instrument.
    pub fn split(symbol: &'a Symbol) -> Option<(&'a str, &'a str, Contract<'a>)> {
        let (pair, rest) = match symbol.as_str().split_once('.') {
            Some((pair, rest)) => (pair, Some(rest)),
            None => (symbol.as_str(), None),
        };
        let (base, quote) = pair.split_once('-')?;
        if base.is_empty() || quote.is_empty() || quote.contains('-') {
            return None;
        }
        let contract = match rest {
            None => Contract::Spot,
            Some("PERP") => Contract::Perpetual,
            Some(date) if is_date(date) => Contract::Dated(date),
            Some(option) => {
                let (date, rest) = option.split_once('.')?;
                let (strike, side) = rest.rsplit_once('.')?;
                let numeric = strike.starts_with(|c: char| c.is_ascii_digit())
                    && strike.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                if !is_date(date) || !numeric || !matches!(side, "C" | "P") {
                    return None;
                }
                Contract::Option { date, strike, call: side == "C" }
            }
        };
        Some((base, quote, contract))
    }

    /// The canonical name of the contract on a pair.
    pub fn symbol(self, base: &str, quote: &str) -> Symbol {
        let pair = Symbol::from_pair(base, quote);
        match self {
            Contract::Spot => pair,
            Contract::Perpetual => Symbol::new(format_compact!("{pair}.PERP")),
            Contract::Dated(date) => Symbol::new(format_compact!("{pair}.{date}")),
            Contract::Option { date, strike, call } => {
                let side = if call { 'C' } else { 'P' };
                Symbol::new(format_compact!("{pair}.{date}.{strike}.{side}"))
            }
        }
    }
}

/// `240628` as `20240628`; `None` for anything else.
pub fn from_six_digits(text: &str) -> Option<String> {
    let date = format!("20{text}");
    is_date(&date).then_some(date)
}

/// `20240628` as `240628`.
pub fn to_six_digits(date: &str) -> &str {
    date.get(2..).unwrap_or(date)
}

/// `27DEC24` or `7MAR25` as `20241227` and `20250307`; `None` for anything else.
pub fn from_day_month_year(text: &str) -> Option<String> {
    let (rest, year) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let (day, month) = rest.split_at_checked(rest.len().checked_sub(3)?)?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let day: u8 = day.parse().ok()?;
    let date = format!("20{year}{month:02}{day:02}");
    is_date(&date).then_some(date)
}

/// `20241227` as `27DEC24`, `20250307` as `7MAR25`; `None` when it is no date.
pub fn to_day_month_year(date: &str) -> Option<String> {
    if !is_date(date) {
        return None;
    }
    let month = MONTHS.get(date[4..6].parse::<usize>().ok()?.checked_sub(1)?)?;
    Some(format!("{}{month}{}", date[6..].trim_start_matches('0'), &date[2..4]))
}

fn is_date(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<jiff::civil::Date>().is_ok()
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_and_join() {
        let check = |name: &str, base: &str, quote: &str, contract: Contract<'_>| {
            let symbol = Symbol::new(name);
            assert_eq!(Contract::split(&symbol), Some((base, quote, contract)), "{name}");
            assert_eq!(contract.symbol(base, quote), symbol);
        };
        check("BTC-USDT", "BTC", "USDT", Contract::Spot);
        check("BTC-USDT.PERP", "BTC", "USDT", Contract::Perpetual);
        check("BTC-USD.20240628", "BTC", "USD", Contract::Dated("20240628"));
        let option = |strike, call| Contract::Option { date: "20240628", strike, call };
        check("BTC-USD.20240628.60000.C", "BTC", "USD", option("60000", true));
        check("XRP-USD.20240628.0.55.P", "XRP", "USD", option("0.55", false));
        for other in [
            "AAPL",
            "BRK.B",
            "BTC-USD.2024",
            "BTC-USD.20241301",
            "BTC-USD.20240628.60000.X",
            "A-B-C",
            "-X",
            "BTC-USD.PERP.1",
        ] {
            assert_eq!(Contract::split(&Symbol::new(other)), None, "{other}");
        }
    }

    #[test]
    fn dates_of_both_ways() {
        assert_eq!(from_six_digits("240628").as_deref(), Some("20240628"));
        assert_eq!(from_six_digits("241340"), None);
        assert_eq!(from_six_digits("SWAP"), None);
        assert_eq!(to_six_digits("20240628"), "240628");
        for (text, date) in [("27DEC24", "20241227"), ("7MAR25", "20250307")] {
            assert_eq!(from_day_month_year(text).as_deref(), Some(date));
            assert_eq!(to_day_month_year(date).as_deref(), Some(text));
        }
        assert_eq!(from_day_month_year("07MAR25").as_deref(), Some("20250307"));
        for other in ["", "24", "DEC24", "32DEC24", "1ABC24", "é", "1éé24"] {
            assert_eq!(from_day_month_year(other), None, "{other}");
        }
    }
}
