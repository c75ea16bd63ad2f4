//! Cell values: checked against the field's type and brought to the one stored form
//! (the text Bulk results print).

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};

use crate::schema::{Field, FieldType};
use crate::store::id::Id;

/// A row error: what `sf__Error` and collection answers report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    pub code: &'static str,
    pub message: String,
    pub fields: Vec<String>,
    /// More that single-record answers show: a `duplicateResult`.
    pub detail: Option<Box<serde_json::Value>>,
}

impl RowError {
    pub fn new(code: &'static str, message: impl Into<String>, fields: &[&str]) -> Self {
        Self {
            code,
            message: message.into(),
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
            detail: None,
        }
    }

    /// `CODE:message:field1,field2 --`
    pub fn bulk_text(&self) -> String {
        format!("{}:{}:{} --", self.code, self.message, self.fields.join(","))
    }
}

/// Longest text of a stored datetime.
pub const STAMP: usize = 24;

/// Brings `raw` to its stored form in `out`; an empty `out` means null.
pub fn normalise(field: &Field, raw: &[u8], out: &mut Vec<u8>) -> Result<(), RowError> {
    out.clear();
    match field.kind {
        FieldType::Text | FieldType::LongText | FieldType::Phone | FieldType::Url => {
            check_length(field, raw)?;
            out.extend_from_slice(raw);
        }
        FieldType::Email => {
            check_length(field, raw)?;
            if !is_email(raw) {
                return Err(RowError::new(
                    "INVALID_EMAIL_ADDRESS",
                    format!("{}: invalid email address: {}", field.label, lossy(raw)),
                    &[&field.name],
                ));
            }
            out.extend_from_slice(raw);
        }
        FieldType::Picklist => {
            check_length(field, raw)?;
            check_picklist(field, raw)?;
            out.extend_from_slice(raw);
        }
        FieldType::MultiPicklist => {
            check_length(field, raw)?;
            for part in raw.split(|c| *c == b';') {
                check_picklist(field, part)?;
            }
            out.extend_from_slice(raw);
        }
        FieldType::Id | FieldType::Reference => {
            let id = Id::parse(raw).map_err(|_| {
                RowError::new(
                    "MALFORMED_ID",
                    format!("{}: id value of incorrect type: {}", field.label, lossy(raw)),
                    &[&field.name],
                )
            })?;
            out.extend_from_slice(&id.long());
        }
        FieldType::Boolean => {
            if raw == b"1" || raw.eq_ignore_ascii_case(b"true") {
                out.extend_from_slice(b"true");
            } else if raw != b"0" && !raw.eq_ignore_ascii_case(b"false") {
                return Err(wrong_type(field, raw));
            }
        }
        FieldType::Int => {
            let text = lossy(raw);
            let text = text.trim();
            let text = text.strip_suffix(".0").unwrap_or(text);
            let number: i64 = text.parse().map_err(|_| wrong_type(field, raw))?;
            if field.digits > 0 && number.unsigned_abs() >= 10u64.saturating_pow(field.digits.min(18)) {
                return Err(out_of_range(field, raw));
            }
            let mut buffer = itoa::Buffer::new();
            out.extend_from_slice(buffer.format(number).as_bytes());
        }
        FieldType::Decimal => decimal(field, raw, out)?,
        FieldType::Date => {
            if parse_date(raw).is_none() {
                return Err(wrong_type(field, raw));
            }
            out.extend_from_slice(&raw[..10]);
        }
        FieldType::DateTime => {
            if !datetime(raw, out) {
                return Err(wrong_type(field, raw));
            }
        }
        FieldType::Time => {
            let text = lossy(raw);
            let time = chrono::NaiveTime::parse_from_str(text.trim_end_matches('Z'), "%H:%M:%S%.f").map_err(|_| wrong_type(field, raw))?;
            out.extend_from_slice(time.format("%H:%M:%S%.3fZ").to_string().as_bytes());
        }
        FieldType::Address | FieldType::Other => return Err(wrong_type(field, raw)),
    }
    Ok(())
}

fn lossy(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).into_owned()
}

fn wrong_type(field: &Field, raw: &[u8]) -> RowError {
    RowError::new(
        "INVALID_TYPE_ON_FIELD_IN_RECORD",
        format!("{}: value not of required type: {}", field.label, lossy(raw)),
        &[&field.name],
    )
}

fn out_of_range(field: &Field, raw: &[u8]) -> RowError {
    RowError::new(
        "NUMBER_OUTSIDE_VALID_RANGE",
        format!("{}: value outside of valid range on numeric field: {}", field.label, lossy(raw)),
        &[&field.name],
    )
}

fn check_length(field: &Field, raw: &[u8]) -> Result<(), RowError> {
    if field.length == 0 || raw.len() <= field.length {
        return Ok(());
    }
    // UTF-8 continuation bytes don't start a character.
    let characters = raw.iter().filter(|b| (**b & 0xC0) != 0x80).count();
    if characters <= field.length {
        return Ok(());
    }
    let shown: String = lossy(raw).chars().take(255).collect();
    Err(RowError::new(
        "STRING_TOO_LONG",
        format!("{}: data value too large: {shown} (max length={})", field.label, field.length),
        &[&field.name],
    ))
}

fn check_picklist(field: &Field, raw: &[u8]) -> Result<(), RowError> {
    if field.restricted && !field.values.contains(raw) {
        if field.name == "CurrencyIsoCode" {
            let message = format!("invalid currency code: {}", lossy(raw));
            return Err(RowError::new("INVALID_CURRENCY_ISO", message, &[&field.name]));
        }
        return Err(RowError::new(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            format!("{}: bad value for restricted picklist field: {}", field.label, lossy(raw)),
            &[&field.name],
        ));
    }
    Ok(())
}

/// One `@`, a local part without blanks, and a dotted domain of plain labels.
pub fn is_email(raw: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'@', raw) else {
        return false;
    };
    let (local, domain) = (&raw[..at], &raw[at + 1..]);
    let local_ok = !local.is_empty()
        && local.first() != Some(&b'.')
        && local.last() != Some(&b'.')
        && !local.windows(2).any(|w| w == b"..")
        && local
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(c));
    let mut labels = 0;
    let domain_ok = domain.split(|c| *c == b'.').all(|label| {
        labels += 1;
        !label.is_empty() && label.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
    });
    local_ok && domain_ok && labels >= 2
}

fn decimal(field: &Field, raw: &[u8], out: &mut Vec<u8>) -> Result<(), RowError> {
    let text = raw.trim_ascii();
    let (negative, body) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if body.iter().any(|c| matches!(c, b'e' | b'E')) {
        let number: f64 = lossy(text).parse().map_err(|_| wrong_type(field, raw))?;
        if !number.is_finite() || number.abs() >= 1e18 {
            return Err(out_of_range(field, raw));
        }
        let plain = format!("{number:.*}", field.scale as usize);
        return decimal(field, plain.as_bytes(), out);
    }
    let (whole, fraction) = match memchr::memchr(b'.', body) {
        Some(at) => (&body[..at], &body[at + 1..]),
        None => (body, &b""[..]),
    };
    let digits_only = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if (whole.is_empty() && fraction.is_empty()) || !digits_only(whole) || !digits_only(fraction) {
        return Err(wrong_type(field, raw));
    }
    let scale = field.scale as usize;
    let kept = &fraction[..fraction.len().min(scale)];
    let mut digits: Vec<u8> = Vec::with_capacity(whole.len() + scale + 1);
    digits.push(b'0');
    digits.extend_from_slice(whole);
    digits.extend_from_slice(kept);
    // Extra decimals are rounded half up, silently, as the service does.
    if fraction.len() > scale && fraction[scale] >= b'5' {
        for digit in digits.iter_mut().rev() {
            if *digit == b'9' {
                *digit = b'0';
            } else {
                *digit += 1;
                break;
            }
        }
    }
    let split = digits.len() - kept.len();
    let whole = &digits[..split];
    let first = whole.iter().position(|c| *c != b'0').unwrap_or(split - 1);
    let whole = &whole[first..];
    let limit = field.precision.saturating_sub(field.scale) as usize;
    if field.precision > 0 && whole.len() > limit && whole != b"0" {
        return Err(out_of_range(field, raw));
    }
    let mut tail = &digits[split..];
    while tail.last() == Some(&b'0') {
        tail = &tail[..tail.len() - 1];
    }
    if negative && (whole != b"0" || !tail.is_empty()) {
        out.push(b'-');
    }
    out.extend_from_slice(whole);
    out.push(b'.');
    out.extend_from_slice(if tail.is_empty() { b"0" } else { tail });
    Ok(())
}

fn two(raw: &[u8], at: usize) -> Option<u32> {
    let (a, b) = (*raw.get(at)?, *raw.get(at + 1)?);
    (a.is_ascii_digit() && b.is_ascii_digit()).then(|| u32::from(a - b'0') * 10 + u32::from(b - b'0'))
}

/// `yyyy-MM-dd` within the years the service accepts.
pub fn parse_date(raw: &[u8]) -> Option<NaiveDate> {
    if raw.len() != 10 || raw[4] != b'-' || raw[7] != b'-' {
        return None;
    }
    let year = two(raw, 0)? * 100 + two(raw, 2)?;
    let date = NaiveDate::from_ymd_opt(year as i32, two(raw, 5)?, two(raw, 8)?)?;
    (1700..=4000).contains(&year).then_some(date)
}

/// Any accepted ISO form to `yyyy-MM-ddThh:mm:ss.000Z`.
pub fn datetime(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let plain = raw.len() == STAMP
        && raw.ends_with(b".000Z")
        && raw[10] == b'T'
        && raw[13] == b':'
        && raw[16] == b':'
        && parse_date(&raw[..10]).is_some()
        && two(raw, 11).is_some_and(|h| h < 24)
        && two(raw, 14).is_some_and(|m| m < 60)
        && two(raw, 17).is_some_and(|s| s < 60);
    if plain {
        out.extend_from_slice(raw);
        return true;
    }
    let Ok(text) = std::str::from_utf8(raw) else {
        return false;
    };
    if let Some(date) = parse_date(raw) {
        out.extend_from_slice(date.format("%Y-%m-%dT00:00:00.000Z").to_string().as_bytes());
        return true;
    }
    let parsed = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|d| d.with_timezone(&Utc))
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|d| d.and_utc()));
    match parsed {
        Ok(at) if parse_date(&stamp(at)[..10]).is_some() => {
            out.extend_from_slice(&stamp(at));
            true
        }
        _ => false,
    }
}

/// The stored form of an instant: whole seconds, UTC.
pub fn stamp(at: DateTime<Utc>) -> [u8; STAMP] {
    let text = DateTime::<Utc>::from_timestamp(at.timestamp(), 0)
        .unwrap_or(at)
        .to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut out = [b'0'; STAMP];
    let bytes = text.as_bytes();
    let take = bytes.len().min(STAMP);
    out[..take].copy_from_slice(&bytes[..take]);
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    fn check(object: &str, field: &str, raw: &str) -> Result<String, String> {
        let schema = Schema::builtin(&[]).unwrap();
        let object = &schema.objects[schema.object(object).unwrap()];
        let field = &object.fields[object.field(field).unwrap()];
        let mut out = Vec::new();
        normalise(field, raw.as_bytes(), &mut out)
            .map(|()| String::from_utf8(out).unwrap())
            .map_err(|e| e.code.to_owned())
    }

    #[test]
    fn values_are_brought_to_one_form() {
        for (object, field, raw, stored) in [
            ("Opportunity", "Amount", "48016.325", "48016.33"),
            ("Opportunity", "Amount", "1e3", "1000.0"),
            ("Opportunity", "Amount", "-0.001", "0.0"),
            ("Opportunity", "Amount", "+007.5", "7.5"),
            ("Opportunity", "Amount", "99.999", "100.0"),
            ("Account", "NumberOfEmployees", "12.0", "12"),
            (
                "Contact",
                "EmailBouncedDate",
                "2025-11-20T12:00:00+01:00",
                "2025-11-20T11:00:00.000Z",
            ),
            (
                "Contact",
                "EmailBouncedDate",
                "2025-11-20T12:00:00.000+0000",
                "2025-11-20T12:00:00.000Z",
            ),
            ("Contact", "DoNotCall", "1", "true"),
            ("Contact", "DoNotCall", "FALSE", ""),
            ("Contact", "AccountId", "001Wy0000001G2i", "001Wy0000001G2iIAE"),
        ] {
            assert_eq!(check(object, field, raw).as_deref(), Ok(stored), "{raw}");
        }
    }

    #[test]
    fn bad_values_get_the_code_of_their_rule() {
        for (object, field, raw, code) in [
            ("Contact", "Email", "no-at.example", "INVALID_EMAIL_ADDRESS"),
            ("Contact", "Email", "a b@c.example", "INVALID_EMAIL_ADDRESS"),
            ("Contact", "Email", "a@localhost", "INVALID_EMAIL_ADDRESS"),
            ("Contact", "SSN_Last4__c", "12345", "STRING_TOO_LONG"),
            ("Contact", "Birthdate", "2025-02-30", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
            ("Contact", "Birthdate", "20.11.2025", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
            ("Contact", "EmailBouncedDate", "2025-11-20 10:00", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
            ("Contact", "AccountId", "001wY0000001G2iIAE", "MALFORMED_ID"),
            ("Contact", "DoNotCall", "yes", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
            ("Opportunity", "Amount", "12345678901234567", "NUMBER_OUTSIDE_VALID_RANGE"),
            ("Opportunity", "Amount", "12,5", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
            ("Account", "NumberOfEmployees", "123456789", "NUMBER_OUTSIDE_VALID_RANGE"),
            ("Project__c", "Status__c", "Nope", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ] {
            assert_eq!(check(object, field, raw), Err(code.to_owned()), "{raw}");
        }
        assert_eq!(check("Contact", "SSN_Last4__c", "ü😀ab").as_deref(), Ok("ü😀ab"));
    }
}
