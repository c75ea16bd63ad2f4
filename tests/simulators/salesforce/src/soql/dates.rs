//! Date literals as half-open ranges of days, in UTC.

use chrono::{Datelike, Days, Months, NaiveDate};

fn quarter(day: NaiveDate) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(day.year(), (day.month() - 1) / 3 * 3 + 1, 1)
}

fn week(day: NaiveDate) -> Option<NaiveDate> {
    day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_sunday())))
}

fn shift(day: NaiveDate, unit: &str, count: i64) -> Option<NaiveDate> {
    let days = |n: i64| {
        if n >= 0 {
            day.checked_add_days(Days::new(n.unsigned_abs()))
        } else {
            day.checked_sub_days(Days::new(n.unsigned_abs()))
        }
    };
    let months = |n: i64| {
        let step = Months::new(u32::try_from(n.unsigned_abs()).ok()?);
        if n >= 0 {
            day.checked_add_months(step)
        } else {
            day.checked_sub_months(step)
        }
    };
    match unit {
        "DAY" => days(count),
        "WEEK" => days(count.checked_mul(7)?),
        "MONTH" => months(count),
        "QUARTER" => months(count.checked_mul(3)?),
        _ => months(count.checked_mul(12)?),
    }
}

/// The first day and the day after the last of a literal, or `None` when there is no such
/// literal.
pub fn range(word: &str, count: Option<u32>, today: NaiveDate) -> Option<(NaiveDate, NaiveDate)> {
    let name = word.to_ascii_uppercase().replace("FISCAL_", "");
    let day = |n: i64| shift(today, "DAY", n);
    match (name.as_str(), count) {
        ("TODAY", None) => return Some((today, day(1)?)),
        ("YESTERDAY", None) => return Some((day(-1)?, today)),
        ("TOMORROW", None) => return Some((day(1)?, day(2)?)),
        ("LAST_90_DAYS", None) => return Some((day(-90)?, day(1)?)),
        ("NEXT_90_DAYS", None) => return Some((day(1)?, day(91)?)),
        ("LAST_N_DAYS", Some(n)) => return Some((day(-i64::from(n))?, day(1)?)),
        ("NEXT_N_DAYS", Some(n)) => return Some((day(1)?, day(i64::from(n) + 1)?)),
        ("N_DAYS_AGO", Some(n)) => return Some((day(-i64::from(n))?, day(1 - i64::from(n))?)),
        _ => {}
    }
    let units = ["WEEK", "MONTH", "QUARTER", "YEAR"];
    let unit = units.into_iter().find(|u| name.contains(u))?;
    let start = match unit {
        "WEEK" => week(today)?,
        "MONTH" => today.with_day(1)?,
        "QUARTER" => quarter(today)?,
        _ => NaiveDate::from_ymd_opt(today.year(), 1, 1)?,
    };
    let at = |n: i64| shift(start, unit, n);
    let n = i64::from(count.unwrap_or(1));
    let form = name.replace(unit, "U");
    match (form.as_str(), count.is_some()) {
        ("THIS_U", false) => Some((start, at(1)?)),
        ("LAST_U", false) => Some((at(-1)?, start)),
        ("NEXT_U", false) => Some((at(1)?, at(2)?)),
        ("LAST_N_US", true) => Some((at(-n)?, start)),
        ("NEXT_N_US", true) => Some((at(1)?, at(n + 1)?)),
        ("N_US_AGO", true) => Some((at(-n)?, at(1 - n)?)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn literals_cover_the_documented_days() {
        let day = |t: &str| NaiveDate::parse_from_str(t, "%Y-%m-%d").unwrap();
        let today = day("2025-11-20");
        for (word, count, from, to) in [
            ("TODAY", None, "2025-11-20", "2025-11-21"),
            ("LAST_N_DAYS", Some(2), "2025-11-18", "2025-11-21"),
            ("THIS_WEEK", None, "2025-11-16", "2025-11-23"),
            ("LAST_MONTH", None, "2025-10-01", "2025-11-01"),
            ("THIS_FISCAL_QUARTER", None, "2025-10-01", "2026-01-01"),
            ("NEXT_N_YEARS", Some(2), "2026-01-01", "2028-01-01"),
            ("N_MONTHS_AGO", Some(1), "2025-10-01", "2025-11-01"),
        ] {
            assert_eq!(range(word, count, today), Some((day(from), day(to))), "{word}");
        }
        assert_eq!(range("LAST_N_DAYS", None, today), None);
        assert_eq!(range("SOMEDAY", None, today), None);
        assert_eq!(range("NEXT_N_YEARS", Some(u32::MAX), today), None);
    }
}
