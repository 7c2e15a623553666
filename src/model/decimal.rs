//! Exact decimals: the digits a provider sent, trailing zeros included, or an error. Never rounded.
//! Accepts what JSON numbers and providers' decimal strings hold: a sign, digits, a point, an exponent.

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An exact decimal: at most 96 bits of digits and at most 28 places. Keeps the trailing zeros it was given.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dec(Decimal);

/// Why a text is no [`Dec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalError {
    /// More than 96 bits of digits or more than 28 places: it would have to be rounded.
    Range,
    /// Not a decimal number at all.
    Syntax,
}

impl Dec {
    /// Zero without places.
    pub const ZERO: Dec = Dec(Decimal::ZERO);

    /// Reads a decimal exactly: `12`, `-0.50`, `1E-8` (becomes `0.00000001`), `1.5e3` (becomes `1500`).
    ///
    /// # Errors
    /// [`DecimalError::Syntax`] when `text` is no decimal, [`DecimalError::Range`] when it does not fit unrounded.
    pub fn parse(text: &[u8]) -> Result<Dec, DecimalError> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if let Some(dec) = parse_short(negative, digits) {
            return Ok(dec);
        }
        let (mantissa, exponent) = match digits.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&digits[..at], parse_exponent(&digits[at + 1..])?),
            None => (digits, 0),
        };
        let (value, places) = parse_mantissa(mantissa)?;
        Ok(Dec(assemble(negative, value, places, exponent)?))
    }

    /// `mantissa / 10^places`.
    ///
    /// # Errors
    /// [`DecimalError::Range`] when it does not fit.
    pub fn from_parts(mantissa: i128, places: u32) -> Result<Dec, DecimalError> {
        Decimal::try_from_i128_with_scale(mantissa, places).map(Dec).map_err(|_| DecimalError::Range)
    }

    /// The digits as an integer; the value is `mantissa / 10^places`.
    pub fn mantissa(self) -> i128 {
        self.0.mantissa()
    }

    /// How many digits stand after the point.
    pub fn places(self) -> u32 {
        self.0.scale()
    }

    /// Whether the value is zero, whatever its places.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The value times ten to the power of `places`, exactly: a fraction becomes a percentage with `2`.
    ///
    /// # Errors
    /// [`DecimalError::Range`] when it does not fit.
    pub fn shift(self, places: i32) -> Result<Dec, DecimalError> {
        let value = self.0.mantissa().unsigned_abs();
        assemble(self.0.is_sign_negative(), value, self.0.scale(), places).map(Dec)
    }

    /// `self - other`, exactly.
    ///
    /// # Errors
    /// [`DecimalError::Range`] when the difference does not fit.
    pub fn minus(self, other: Dec) -> Result<Dec, DecimalError> {
        let places = self.places().max(other.places());
        let widen = |dec: Dec| 10_i128.checked_pow(places - dec.places()).and_then(|by| dec.mantissa().checked_mul(by));
        match (widen(self), widen(other)) {
            (Some(a), Some(b)) => Dec::from_parts(a.checked_sub(b).ok_or(DecimalError::Range)?, places),
            _ => Err(DecimalError::Range),
        }
    }

    /// Nanoseconds, when the value is a time in seconds: `1385579841.7774` is exact.
    ///
    /// # Errors
    /// [`DecimalError::Range`] when it has digits beyond nanoseconds other than zero, or is beyond the range.
    pub fn secs_to_nanos(self) -> Result<i64, DecimalError> {
        let shifted = self.shift(9)?.0.normalize();
        if shifted.scale() != 0 {
            return Err(DecimalError::Range);
        }
        i64::try_from(shifted.mantissa()).map_err(|_| DecimalError::Range)
    }

    /// The nearest binary floating-point number: for ratios and displays only, never for records.
    pub fn to_f64_lossy(self) -> f64 {
        self.0.mantissa() as f64 / 10_f64.powi(self.0.scale() as i32)
    }
}

impl From<i64> for Dec {
    fn from(value: i64) -> Self {
        Dec(Decimal::from(value))
    }
}

impl From<u64> for Dec {
    fn from(value: u64) -> Self {
        Dec(Decimal::from(value))
    }
}

impl std::str::FromStr for Dec {
    type Err = DecimalError;
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        Dec::parse(text.as_bytes())
    }
}

impl fmt::Display for Dec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Dec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecimalError::Range => "a decimal of at most 96 bits and 28 places",
            DecimalError::Syntax => "a decimal",
        })
    }
}

impl Serialize for Dec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// From a string or an integer token. A binary floating-point number is refused: its digits are already lost, so a
/// body with such numbers must be read with [`crate::wire::json::exact`].
impl<'de> Deserialize<'de> for Dec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Dec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Dec, E> {
                Dec::parse(text.as_bytes()).map_err(|error| {
                    let shown: String = text.chars().take(40).collect();
                    E::custom(format_args!("expected {error}, found {shown:?}"))
                })
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Dec, E> {
                Ok(Dec::from(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Dec, E> {
                Ok(Dec::from(value))
            }
            // The form in which serde_json hands over a number token with its digits.
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Dec, A::Error> {
                match map.next_entry::<Cow<'_, str>, Cow<'_, str>>()? {
                    Some((key, digits)) if key == "$serde_json::private::Number" => self.visit_str(&digits),
                    _ => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Nearly all decimals: nineteen digits at most, which fit a `u64`, and no exponent. `None` for all others, right or wrong.
fn parse_short(negative: bool, text: &[u8]) -> Option<Dec> {
    if text.len() > 20 {
        return None;
    }
    let (mut value, mut point) = (0_u64, text.len());
    for (at, &byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        } else if byte == b'.' && point == text.len() {
            point = at;
        } else {
            return None;
        }
    }
    let places = (text.len() - point).saturating_sub(1);
    let digits = text.len() - usize::from(point < text.len());
    if digits == 0 || digits > 19 {
        return None;
    }
    Some(Dec(Decimal::from_parts(value as u32, (value >> 32) as u32, 0, negative && value != 0, places as u32)))
}

fn parse_mantissa(text: &[u8]) -> Result<(u128, u32), DecimalError> {
    let mut value: u128 = 0;
    let (mut digits, mut places, mut point) = (0_u32, 0_u32, false);
    for &byte in text {
        match byte {
            b'0'..=b'9' => {
                value = value
                    .checked_mul(10)
                    .and_then(|v| v.checked_add(u128::from(byte - b'0')))
                    .ok_or(DecimalError::Range)?;
                digits += 1;
                places += u32::from(point);
            }
            b'.' if !point => point = true,
            _ => return Err(DecimalError::Syntax),
        }
    }
    // A point needs a digit on at least one side; providers do send `.5` and `5.`.
    if digits == 0 { Err(DecimalError::Syntax) } else { Ok((value, places)) }
}

fn parse_exponent(text: &[u8]) -> Result<i32, DecimalError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::Syntax);
    }
    // Anything over 4 digits is out of range even for a zero with places; saturate so that `assemble` refuses it.
    let value = digits.iter().fold(0_i32, |v, d| v.saturating_mul(10).saturating_add(i32::from(d - b'0')).min(100_000));
    Ok(if negative { -value } else { value })
}

fn assemble(negative: bool, mut value: u128, places: u32, exponent: i32) -> Result<Decimal, DecimalError> {
    let mut scale = i64::from(places) - i64::from(exponent);
    if value == 0 && scale < 0 {
        scale = 0;
    }
    // Zeros at the end may go only where the digits would otherwise not fit: the value stays the same.
    while scale > i64::from(Decimal::MAX_SCALE) && value.is_multiple_of(10) && value != 0 {
        value /= 10;
        scale -= 1;
    }
    if value == 0 && scale > i64::from(Decimal::MAX_SCALE) {
        scale = i64::from(Decimal::MAX_SCALE);
    }
    if scale > i64::from(Decimal::MAX_SCALE) {
        return Err(DecimalError::Range);
    }
    while scale < 0 {
        value = value.checked_mul(10).filter(|v| *v < 1 << 96).ok_or(DecimalError::Range)?;
        scale += 1;
    }
    while value >= 1 << 96 && scale > 0 && value.is_multiple_of(10) {
        value /= 10;
        scale -= 1;
    }
    if value >= 1 << 96 {
        return Err(DecimalError::Range);
    }
    let mut decimal =
        Decimal::from_parts(value as u32, (value >> 32) as u32, (value >> 64) as u32, false, scale as u32);
    decimal.set_sign_negative(negative && value != 0);
    Ok(decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, DecimalError>) {
        assert_eq!(Dec::parse(text.as_bytes()).map(|d| d.to_string()), expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn digits_are_kept_exactly() {
        for same in ["0", "1", "-1.50", "0.00000001", "19.110000610351562", "79228162514264337593543950335"] {
            check(same, Ok(same));
        }
        check("1E-8", Ok("0.00000001"));
        check("1.5e3", Ok("1500"));
        check("1.50e1", Ok("15.0"));
        check("+2", Ok("2"));
        check(".5", Ok("0.5"));
        check("5.", Ok("5"));
        check("-0", Ok("0"));
        check("0e99999", Ok("0"));
    }

    #[test]
    fn what_would_be_rounded_is_refused() {
        check("79228162514264337593543950336", Err(DecimalError::Range));
        check("0.00000000000000000000000000001", Err(DecimalError::Range));
        check("1e29", Err(DecimalError::Range));
        check("1e999999999999", Err(DecimalError::Range));
        check("1e-29", Err(DecimalError::Range));
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for bad in ["", "-", ".", "1.2.3", "1e", "e5", "NaN", "0x1", "1 ", "1_000", "--1", "1e1.5"] {
            check(bad, Err(DecimalError::Syntax));
        }
    }

    #[test]
    fn seconds_become_exact_nanoseconds() {
        let check = |text: &str, nanos| assert_eq!(text.parse::<Dec>().unwrap().secs_to_nanos(), nanos, "{text}");
        check("1385579841.7774", Ok(1_385_579_841_777_400_000));
        check("1.0000000000", Ok(1_000_000_000));
        check("1.0000000001", Err(DecimalError::Range));
        check("99999999999999", Err(DecimalError::Range));
    }

    #[test]
    fn shifting_moves_the_point() {
        let shift = |text: &str, by| text.parse::<Dec>().unwrap().shift(by).unwrap().to_string();
        assert_eq!(shift("0.0123", 2), "1.23");
        assert_eq!(shift("5", 2), "500");
        assert_eq!(shift("-1.50", -2), "-0.0150");
    }
}
