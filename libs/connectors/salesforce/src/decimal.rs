//! Decimal numbers between text and Arrow's scaled integers, exact, without allocation.

/// The largest magnitude plus one that 38 digits can hold.
const LIMIT: u128 = 10_u128.pow(38);
/// Exponents beyond this are no number that a field holds.
const EXPONENT_MAX: i32 = 400;

/// Reads plain or scientific notation at `scale` decimals; further decimals are rounded half away from zero, as the
/// platform rounds. `None`: not a number, or too large for 38 digits.
pub(crate) fn parse_decimal(text: &[u8], scale: u32) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (mantissa, fraction_digits, exponent) = if digits.len() <= 18 { short(digits)? } else { long(digits)? };
    let shift = i64::from(scale) + i64::from(exponent) - i64::from(fraction_digits);
    let magnitude = if mantissa == 0 {
        0
    } else if shift >= 0 {
        let factor = 10_u128.checked_pow(u32::try_from(shift).ok().filter(|s| *s <= 38)?)?;
        mantissa.checked_mul(factor)?
    } else {
        match u32::try_from(-shift).ok().filter(|s| *s <= 38) {
            Some(places) => {
                let divisor = 10_u128.pow(places);
                mantissa / divisor + u128::from(mantissa % divisor >= divisor / 2)
            }
            // Less than a tenth of the last place.
            None => 0,
        }
    };
    if magnitude >= LIMIT {
        return None;
    }
    let value = i128::try_from(magnitude).ok()?;
    Some(if negative { -value } else { value })
}

/// At most 18 characters fit a machine word: mantissa, digits of it behind the point, exponent.
fn short(digits: &[u8]) -> Option<(u128, i32, i32)> {
    let (mut mantissa, mut seen, mut point) = (0_u64, 0_i32, None);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                seen += 1;
            }
            b'.' if point.is_none() => point = Some(seen),
            b'e' | b'E' if seen > 0 => {
                let exponent = exponent(digits.get(at + 1..)?)?;
                return Some((u128::from(mantissa), seen - point.unwrap_or(seen), exponent));
            }
            _ => return None,
        }
    }
    (seen > 0).then(|| (u128::from(mantissa), seen - point.unwrap_or(seen), 0))
}

fn long(digits: &[u8]) -> Option<(u128, i32, i32)> {
    let (mut mantissa, mut seen, mut fraction, mut in_fraction) = (0_u128, false, 0_i32, false);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                seen = true;
                if mantissa < LIMIT / 10 {
                    mantissa = mantissa * 10 + u128::from(byte - b'0');
                    fraction += i32::from(in_fraction);
                } else if !in_fraction {
                    return None;
                }
                // Decimals behind the 38th digit are beyond every scale.
            }
            b'.' if !in_fraction => in_fraction = true,
            b'e' | b'E' if seen => return Some((mantissa, fraction, exponent(digits.get(at + 1..)?)?)),
            _ => return None,
        }
    }
    seen.then_some((mantissa, fraction, 0))
}

fn exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0_i32, |n, b| {
        b.is_ascii_digit()
            .then(|| n * 10 + i32::from(b - b'0'))
            .filter(|n| *n <= EXPONENT_MAX)
    })?;
    Some(if negative { -value } else { value })
}

/// A whole number in any notation; one with decimals other than zero is refused.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let whole = parse_decimal(text, 0)?;
    // Nine decimals tell a whole number from a rounded one.
    if text.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) && parse_decimal(text, 9)? != whole.checked_mul(1_000_000_000)? {
        return None;
    }
    i64::try_from(whole).ok()
}

/// Plain notation without superfluous zeros: `-0.5`, `1000`.
pub(crate) fn write_decimal(out: &mut Vec<u8>, value: i128, scale: i8) {
    let mut buffer = itoa::Buffer::new();
    let magnitude = value.unsigned_abs();
    let digits = match u64::try_from(magnitude) {
        Ok(small) => buffer.format(small),
        Err(_) => buffer.format(magnitude),
    }
    .as_bytes();
    if value < 0 {
        out.push(b'-');
    }
    let Ok(places) = usize::try_from(scale) else {
        out.extend_from_slice(digits);
        out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        return;
    };
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(places));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    let zeros = fraction.iter().rev().take_while(|b| **b == b'0').count();
    let (fraction, _) = fraction.split_at(fraction.len() - zeros);
    if !fraction.is_empty() {
        out.push(b'.');
        out.resize(out.len() + places.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(fraction);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_in_every_notation_are_read_exactly() {
        for (text, scale, value) in [
            ("12.5", 2, Some(1250)),
            ("1.0E7", 2, Some(1_000_000_000)),
            ("1.5e-3", 4, Some(15)),
            ("-0.005", 2, Some(-1)),
            ("0.0049999", 2, Some(0)),
            ("0.125", 2, Some(13)),
            ("-0.125", 2, Some(-13)),
            ("1e-50", 2, Some(0)),
            ("-.5", 1, Some(-5)),
            ("5.", 1, Some(50)),
            ("+7", 0, Some(7)),
            ("0E5", 3, Some(0)),
            ("123456789012345678.12", 2, Some(12_345_678_901_234_567_812)),
            (
                "0.12345678901234567890123456789012345678901234567890",
                18,
                Some(123_456_789_012_345_679),
            ),
            (
                "99999999999999999999999999999999999999",
                0,
                Some(99_999_999_999_999_999_999_999_999_999_999_999_999),
            ),
            ("100000000000000000000000000000000000000", 0, None),
            ("1e39", 0, None),
            ("", 2, None),
            ("-", 2, None),
            (".", 2, None),
            ("E5", 2, None),
            ("1E", 2, None),
            ("1.2.3", 2, None),
            ("12a", 2, None),
            ("NaN", 2, None),
            ("1e99999999999", 2, None),
            (" 1", 2, None),
        ] {
            assert_eq!(parse_decimal(text.as_bytes(), scale), value, "{text} at {scale}");
        }
    }

    #[test]
    fn integers_admit_decimals_only_when_they_are_zero() {
        for (text, value) in [
            ("42", Some(42)),
            ("42.0", Some(42)),
            ("1.0E7", Some(10_000_000)),
            ("-3", Some(-3)),
            ("42.5", None),
            ("x", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), value, "{text}");
        }
        assert_eq!(parse_integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_integer(b"9223372036854775808"), None);
    }

    #[test]
    fn written_decimals_are_plain_and_short() {
        for (value, scale, text) in [
            (1250, 2, "12.5"),
            (100_000, 2, "1000"),
            (-5, 1, "-0.5"),
            (12, 6, "0.000012"),
            (0, 3, "0"),
            (7, 0, "7"),
            (7, -2, "700"),
            (-1, 18, "-0.000000000000000001"),
        ] {
            let mut out = Vec::new();
            write_decimal(&mut out, value, scale);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_i8..=18) {
            let mut out = Vec::new();
            write_decimal(&mut out, value, scale);
            prop_assert_eq!(parse_decimal(&out, u32::from(scale.unsigned_abs())), Some(value));
        }
    }
}
