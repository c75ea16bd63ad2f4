//! What FORMAT() prints: numbers, money and dates in the user's locale.

use chrono::{Datelike, NaiveDateTime, Timelike};
use chrono_tz::Tz;

use super::expr::number;
use super::viewer::Locale;
use crate::schema::FieldType;

/// How a field is printed.
#[derive(Debug, Clone)]
pub struct Style {
    pub locale: Locale,
    pub zone: Tz,
    pub scale: usize,
    pub percent: bool,
    /// The currency of amounts without one of their own; `None` for plain numbers.
    pub currency: Option<String>,
    /// Amounts bear their code rather than a sign.
    pub multiple_currencies: bool,
}

impl Style {
    /// The text of a stored value.
    pub fn text(&self, kind: FieldType, value: &[u8], iso: Option<&[u8]>) -> String {
        let plain = || String::from_utf8_lossy(value).into_owned();
        match kind {
            FieldType::Int | FieldType::Decimal => number(value).map_or_else(plain, |n| self.number(n, kind, iso)),
            FieldType::Date | FieldType::DateTime => self.date(value, kind).unwrap_or_else(plain),
            _ => plain(),
        }
    }

    fn number(&self, number: f64, kind: FieldType, iso: Option<&[u8]>) -> String {
        let scale = if kind == FieldType::Int { 0 } else { self.scale };
        let digits = self.grouped(&format!("{:.scale$}", number.abs()));
        let sign = if number < 0.0 { "-" } else { "" };
        if self.percent {
            return format!("{sign}{digits}%");
        }
        let Some(currency) = &self.currency else {
            return format!("{sign}{digits}");
        };
        let iso = iso.map_or_else(|| currency.clone(), |i| String::from_utf8_lossy(i).into_owned());
        if self.multiple_currencies {
            return format!("{sign}{iso} {digits}");
        }
        let symbol = match iso.as_str() {
            "USD" => "$",
            "EUR" => "€",
            "GBP" => "£",
            "JPY" => "¥",
            other => other,
        };
        match self.locale {
            Locale::DeDe | Locale::FrFr => format!("{sign}{digits} {symbol}"),
            _ => format!("{sign}{symbol}{digits}"),
        }
    }

    fn grouped(&self, plain: &str) -> String {
        let (separator, point) = match self.locale {
            Locale::DeDe => ('.', ','),
            Locale::FrFr => ('\u{202f}', ','),
            _ => (',', '.'),
        };
        let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
        let mut out = String::new();
        for (i, digit) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i).is_multiple_of(3) {
                out.push(separator);
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push(point);
            out.push_str(fraction);
        }
        out
    }

    fn date(&self, value: &[u8], kind: FieldType) -> Option<String> {
        let text = std::str::from_utf8(value).ok()?;
        let day = text.get(..10)?;
        let at = match text.get(..19) {
            Some(stamp) => NaiveDateTime::parse_from_str(stamp, "%Y-%m-%dT%H:%M:%S").ok()?,
            None => chrono::NaiveDate::parse_from_str(day, "%Y-%m-%d")
                .ok()?
                .and_time(chrono::NaiveTime::MIN),
        };
        let at = match kind {
            FieldType::DateTime => at.and_utc().with_timezone(&self.zone).naive_local(),
            _ => at,
        };
        let (y, m, d) = (at.year(), at.month(), at.day());
        let date = match self.locale {
            Locale::EnUs => format!("{m}/{d}/{y}"),
            Locale::EnGb | Locale::FrFr => format!("{d:02}/{m:02}/{y}"),
            Locale::DeDe => format!("{d:02}.{m:02}.{y}"),
            Locale::JaJp => format!("{y}/{m:02}/{d:02}"),
        };
        if kind == FieldType::Date {
            return Some(date);
        }
        let (hour, minute) = (at.hour(), at.minute());
        Some(match self.locale {
            Locale::EnUs => {
                let half = if hour < 12 { "AM" } else { "PM" };
                format!("{date}, {}:{minute:02} {half}", (hour + 11) % 12 + 1)
            }
            Locale::EnGb | Locale::DeDe => format!("{date}, {hour:02}:{minute:02}"),
            Locale::FrFr => format!("{date} {hour:02}:{minute:02}"),
            Locale::JaJp => format!("{date} {hour}:{minute:02}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(locale: Locale) -> Style {
        Style {
            locale,
            zone: chrono_tz::America::Los_Angeles,
            scale: 2,
            percent: false,
            currency: None,
            multiple_currencies: false,
        }
    }

    #[test]
    fn values_follow_the_locale() {
        let us = style(Locale::EnUs);
        let de = style(Locale::DeDe);
        assert_eq!(us.text(FieldType::Decimal, b"-1234567.5", None), "-1,234,567.50");
        assert_eq!(de.text(FieldType::Decimal, b"1234567.5", None), "1.234.567,50");
        assert_eq!(us.text(FieldType::Int, b"999", None), "999");
        assert_eq!(us.text(FieldType::Date, b"2024-02-10", None), "2/10/2024");
        assert_eq!(us.text(FieldType::DateTime, b"2024-02-10T05:05:00.000Z", None), "2/9/2024, 9:05 PM");
        assert_eq!(de.text(FieldType::DateTime, b"2024-02-10T20:05:00.000Z", None), "10.02.2024, 12:05");
        assert_eq!(us.text(FieldType::Text, b"as is", None), "as is");
    }

    #[test]
    fn money_bears_a_sign_or_a_code() {
        let one = Style {
            currency: Some("USD".into()),
            ..style(Locale::EnUs)
        };
        let many = Style {
            multiple_currencies: true,
            ..one.clone()
        };
        assert_eq!(one.text(FieldType::Decimal, b"1000.0", None), "$1,000.00");
        assert_eq!(many.text(FieldType::Decimal, b"1000.0", Some(b"EUR")), "EUR 1,000.00");
        let percent = Style {
            percent: true,
            scale: 0,
            ..style(Locale::EnUs)
        };
        assert_eq!(percent.text(FieldType::Decimal, b"75.0", None), "75%");
    }
}
