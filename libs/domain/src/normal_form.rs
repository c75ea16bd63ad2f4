//! One spelling per value, so that what was sent, what the target echoes and what is read back compare equal.
//!
//! The digest of a row is taken over these spellings (ARCHITECTURE.md, "Why a crash is harmless"): text is trimmed and an
//! empty text is null, datetimes are UTC with milliseconds and `Z`, numbers have neither trailing zeros nor an
//! exponent, booleans are `true` or `false`.

use std::borrow::Cow;

use crate::describe::FieldType;

/// The normal form of a value in any wire spelling; `None` is null.
#[must_use]
pub fn normal_form(field_type: FieldType, value: &str) -> Option<Cow<'_, str>> {
    let trimmed = value.trim();
    if trimmed.is_empty() || trimmed == "#N/A" {
        return None;
    }
    Some(match field_type {
        FieldType::Boolean => Cow::Borrowed(match trimmed {
            "1" | "true" | "TRUE" | "True" => "true",
            _ => "false",
        }),
        FieldType::Int | FieldType::Long | FieldType::Number => decimal(trimmed),
        FieldType::DateTime => datetime(trimmed),
        FieldType::Id | FieldType::Reference | FieldType::Date | FieldType::Time => Cow::Borrowed(trimmed),
        _ => text(trimmed),
    })
}

/// Line ends are stored as supplied by some paths and as LF by others.
fn text(trimmed: &str) -> Cow<'_, str> {
    if trimmed.contains('\r') {
        Cow::Owned(trimmed.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(trimmed)
    }
}

/// `+0000`, `+00:00` and missing milliseconds are spelt `.000Z`. Other offsets are kept: servers answer in UTC.
fn datetime(trimmed: &str) -> Cow<'_, str> {
    let bytes = trimmed.as_bytes();
    if bytes.len() == 24 && bytes.last() == Some(&b'Z') {
        return Cow::Borrowed(trimmed);
    }
    let base = trimmed
        .strip_suffix("+0000")
        .or_else(|| trimmed.strip_suffix("+00:00"))
        .or_else(|| trimmed.strip_suffix('Z'));
    match base {
        Some(base) if base.len() == 19 => Cow::Owned(format!("{base}.000Z")),
        Some(base) if base.len() == 23 => Cow::Owned(format!("{base}Z")),
        _ => Cow::Borrowed(trimmed),
    }
}

/// Plain decimal notation without superfluous zeros: `1.0E7` is `10000000`, `-0.50` is `-0.5`.
fn decimal(trimmed: &str) -> Cow<'_, str> {
    if is_normal_decimal(trimmed.as_bytes()) {
        return Cow::Borrowed(trimmed);
    }
    let (mantissa, exponent) = match trimmed.find(['e', 'E']) {
        Some(at) => match trimmed.get(at + 1..).and_then(|e| e.trim_start_matches('+').parse::<i32>().ok()) {
            Some(exponent) if exponent.abs() <= 400 => (trimmed.get(..at).unwrap_or(trimmed), exponent),
            _ => return Cow::Borrowed(trimmed),
        },
        None => (trimmed, 0),
    };
    if exponent == 0 && !mantissa.contains('.') && !mantissa.starts_with(['+', '0', '-']) {
        return Cow::Borrowed(mantissa);
    }
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.trim_start_matches('+')),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Cow::Borrowed(trimmed);
    }
    let all = format!("{whole}{fraction}");
    let point = i64::try_from(whole.len()).unwrap_or(0) + i64::from(exponent);
    let (whole, fraction) = if point <= 0 {
        (String::new(), format!("{}{all}", "0".repeat(usize::try_from(-point).unwrap_or(0))))
    } else {
        let point = usize::try_from(point).unwrap_or(0);
        if point >= all.len() {
            (format!("{all}{}", "0".repeat(point - all.len())), String::new())
        } else {
            let (w, f) = all.split_at(point);
            (w.to_owned(), f.to_owned())
        }
    };
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let zero = whole.is_empty() && fraction.is_empty();
    let mut out = String::with_capacity(whole.len() + fraction.len() + 3);
    if negative && !zero {
        out.push('-');
    }
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    Cow::Owned(out)
}

/// What connectors write is in normal form already, and this is asked for every number of every row.
fn is_normal_decimal(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let (whole, rest) = digits.split_at(whole);
    let short = match whole {
        [] => false,
        [b'0'] => !rest.is_empty() || digits.len() == bytes.len(),
        [first, ..] => *first != b'0',
    };
    short
        && match rest {
            [] => true,
            [b'.', fraction @ .., last] => *last != b'0' && last.is_ascii_digit() && fraction.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_one_value_has_one_normal_form() {
        let table: &[(FieldType, &[&str], Option<&str>)] = &[
            (FieldType::Number, &["1000", "1000.0", "1.0E3", "+1000.00", "01000"], Some("1000")),
            (FieldType::Number, &["-0.50", "-0.5", "-5E-1", "-.5"], Some("-0.5")),
            (FieldType::Number, &["0", "-0", "0.00", "0E5", "-0.0", "00", "0."], Some("0")),
            (FieldType::Number, &["-12.05", "-012.050", "-1.205e1"], Some("-12.05")),
            (FieldType::Number, &["7", "7.", "07", "7.0"], Some("7")),
            (FieldType::Number, &["0.000012", "1.2E-5"], Some("0.000012")),
            (FieldType::Int, &["42", "42.0"], Some("42")),
            (
                FieldType::DateTime,
                &[
                    "2025-11-20T11:28:31.000Z",
                    "2025-11-20T11:28:31.000+0000",
                    "2025-11-20T11:28:31Z",
                    "2025-11-20T11:28:31+00:00",
                ],
                Some("2025-11-20T11:28:31.000Z"),
            ),
            (FieldType::Boolean, &["true", "1", "TRUE"], Some("true")),
            (FieldType::String, &["  a b ", "a b"], Some("a b")),
            (FieldType::TextArea, &["a\r\nb", "a\nb"], Some("a\nb")),
            (FieldType::String, &["", "   ", "#N/A"], None),
        ];
        for (kind, spellings, expected) in table {
            for spelling in *spellings {
                assert_eq!(normal_form(*kind, spelling).as_deref(), *expected, "{kind:?} {spelling:?}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_left_alone() {
        assert_eq!(normal_form(FieldType::Number, "12a").as_deref(), Some("12a"));
        assert_eq!(normal_form(FieldType::Number, "1e99999999999").as_deref(), Some("1e99999999999"));
    }
}
