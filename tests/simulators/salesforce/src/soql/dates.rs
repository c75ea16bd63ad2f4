//! Date literals as half-open ranges of days, and the parts of a date the functions name.

use chrono::{Datelike, Days, Months, NaiveDate};

/// What the org and the user mean by fiscal years and weeks.
#[derive(Debug, Clone, Copy)]
pub struct Calendar {
    pub fiscal_start_month: u32,
    /// A fiscal year bears the name of the calendar year it starts in, not the one it ends in.
    pub fiscal_named_by_start: bool,
    pub monday_first: bool,
}

impl Calendar {
    /// Months since the fiscal year began.
    fn fiscal_months(&self, day: NaiveDate) -> u32 {
        (day.month() + 12 - self.fiscal_start_month) % 12
    }

    pub fn fiscal_month(&self, day: NaiveDate) -> u32 {
        self.fiscal_months(day) + 1
    }

    pub fn fiscal_quarter(&self, day: NaiveDate) -> u32 {
        self.fiscal_months(day) / 3 + 1
    }

    pub fn fiscal_year(&self, day: NaiveDate) -> i32 {
        let start = day.year() - i32::from(day.month() < self.fiscal_start_month);
        start + i32::from(self.fiscal_start_month > 1 && !self.fiscal_named_by_start)
    }

    /// The first day of the unit `day` lies in.
    fn start(&self, unit: Unit, day: NaiveDate) -> Option<NaiveDate> {
        let back = |months: u32| day.with_day(1)?.checked_sub_months(Months::new(months));
        match unit {
            Unit::Day => Some(day),
            Unit::Week => {
                let weekday = day.weekday();
                let past = if self.monday_first {
                    weekday.num_days_from_monday()
                } else {
                    weekday.num_days_from_sunday()
                };
                day.checked_sub_days(Days::new(u64::from(past)))
            }
            Unit::Month => back(0),
            Unit::Quarter => back(day.month0() % 3),
            Unit::Year => back(day.month0()),
            Unit::FiscalQuarter => back(self.fiscal_months(day) % 3),
            Unit::FiscalYear => back(self.fiscal_months(day)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
    FiscalQuarter,
    FiscalYear,
}

impl Unit {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "DAY" => Self::Day,
            "WEEK" => Self::Week,
            "MONTH" => Self::Month,
            "QUARTER" => Self::Quarter,
            "YEAR" => Self::Year,
            "FISCAL_QUARTER" => Self::FiscalQuarter,
            "FISCAL_YEAR" => Self::FiscalYear,
            _ => return None,
        })
    }

    fn shift(self, day: NaiveDate, count: i64) -> Option<NaiveDate> {
        let days = |n: i64| {
            let step = Days::new(n.unsigned_abs());
            if n >= 0 {
                day.checked_add_days(step)
            } else {
                day.checked_sub_days(step)
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
        match self {
            Self::Day => days(count),
            Self::Week => days(count.checked_mul(7)?),
            Self::Month => months(count),
            Self::Quarter | Self::FiscalQuarter => months(count.checked_mul(3)?),
            Self::Year | Self::FiscalYear => months(count.checked_mul(12)?),
        }
    }
}

/// The first day and the day after the last of a literal, or `None` when there is no such
/// literal.
pub fn range(word: &str, count: Option<u32>, today: NaiveDate, calendar: &Calendar) -> Option<(NaiveDate, NaiveDate)> {
    let name = word.to_ascii_uppercase();
    let day = |n: i64| Unit::Day.shift(today, n);
    match (name.as_str(), count) {
        ("TODAY", None) => return Some((today, day(1)?)),
        ("YESTERDAY", None) => return Some((day(-1)?, today)),
        ("TOMORROW", None) => return Some((day(1)?, day(2)?)),
        ("LAST_90_DAYS", None) => return Some((day(-90)?, day(1)?)),
        ("NEXT_90_DAYS", None) => return Some((day(1)?, day(91)?)),
        // Of all LAST_N only this one takes in the running unit.
        ("LAST_N_DAYS", Some(n)) => return Some((day(-i64::from(n))?, day(1)?)),
        _ => {}
    }
    let unit = |stem: &str| Unit::parse(stem).filter(|u| *u != Unit::Day);
    let plural = |stem: &str| Unit::parse(stem.strip_suffix('S')?);
    let (unit, from, to) = match count.map(i64::from) {
        None => {
            let (word, stem) = name.split_once('_')?;
            let unit = unit(stem)?;
            match word {
                "THIS" => (unit, 0, 1),
                "LAST" => (unit, -1, 0),
                "NEXT" => (unit, 1, 2),
                _ => return None,
            }
        }
        Some(n) => {
            if let Some(stem) = name.strip_prefix("LAST_N_") {
                (plural(stem)?, -n, 0)
            } else if let Some(stem) = name.strip_prefix("NEXT_N_") {
                (plural(stem)?, 1, n + 1)
            } else {
                let stem = name.strip_prefix("N_")?.strip_suffix("_AGO")?;
                (plural(stem)?, -n, 1 - n)
            }
        }
    };
    let start = calendar.start(unit, today)?;
    Some((unit.shift(start, from)?, unit.shift(start, to)?))
}

/// A part of a date that grouping and filters may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    CalendarMonth,
    CalendarQuarter,
    CalendarYear,
    DayInMonth,
    DayInWeek,
    DayInYear,
    DayOnly,
    FiscalMonth,
    FiscalQuarter,
    FiscalYear,
    HourInDay,
    WeekInMonth,
    WeekInYear,
}

impl Part {
    /// The function of that name, in upper case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "CALENDAR_MONTH" => Self::CalendarMonth,
            "CALENDAR_QUARTER" => Self::CalendarQuarter,
            "CALENDAR_YEAR" => Self::CalendarYear,
            "DAY_IN_MONTH" => Self::DayInMonth,
            "DAY_IN_WEEK" => Self::DayInWeek,
            "DAY_IN_YEAR" => Self::DayInYear,
            "DAY_ONLY" => Self::DayOnly,
            "FISCAL_MONTH" => Self::FiscalMonth,
            "FISCAL_QUARTER" => Self::FiscalQuarter,
            "FISCAL_YEAR" => Self::FiscalYear,
            "HOUR_IN_DAY" => Self::HourInDay,
            "WEEK_IN_MONTH" => Self::WeekInMonth,
            "WEEK_IN_YEAR" => Self::WeekInYear,
            _ => return None,
        })
    }

    /// Whether it makes sense only where there is a time of day.
    pub fn needs_time(self) -> bool {
        matches!(self, Self::DayOnly | Self::HourInDay)
    }

    /// The part as a number; `DAY_ONLY` is no number and gives the day of the month.
    pub fn of(self, day: NaiveDate, hour: u32, calendar: &Calendar) -> i64 {
        i64::from(match self {
            Self::CalendarMonth => day.month(),
            Self::CalendarQuarter => day.month0() / 3 + 1,
            Self::CalendarYear => return i64::from(day.year()),
            Self::DayInMonth | Self::DayOnly => day.day(),
            Self::DayInWeek => day.weekday().num_days_from_sunday() + 1,
            Self::DayInYear => day.ordinal(),
            Self::FiscalMonth => calendar.fiscal_month(day),
            Self::FiscalQuarter => calendar.fiscal_quarter(day),
            Self::FiscalYear => return i64::from(calendar.fiscal_year(day)),
            Self::HourInDay => hour,
            // Weeks count from the first day of the month or year, not from a weekday.
            Self::WeekInMonth => day.day0() / 7 + 1,
            Self::WeekInYear => day.ordinal0() / 7 + 1,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap()
    }

    fn calendar(fiscal_start_month: u32) -> Calendar {
        Calendar {
            fiscal_start_month,
            fiscal_named_by_start: false,
            monday_first: false,
        }
    }

    #[test]
    fn literals_cover_the_documented_days() {
        let today = day("2025-11-20");
        for (word, count, from, to) in [
            ("TODAY", None, "2025-11-20", "2025-11-21"),
            ("yesterday", None, "2025-11-19", "2025-11-20"),
            ("TOMORROW", None, "2025-11-21", "2025-11-22"),
            ("LAST_90_DAYS", None, "2025-08-22", "2025-11-21"),
            ("NEXT_90_DAYS", None, "2025-11-21", "2026-02-19"),
            ("LAST_N_DAYS", Some(2), "2025-11-18", "2025-11-21"),
            ("NEXT_N_DAYS", Some(2), "2025-11-21", "2025-11-23"),
            ("N_DAYS_AGO", Some(2), "2025-11-18", "2025-11-19"),
            ("THIS_WEEK", None, "2025-11-16", "2025-11-23"),
            ("LAST_WEEK", None, "2025-11-09", "2025-11-16"),
            ("NEXT_WEEK", None, "2025-11-23", "2025-11-30"),
            ("N_WEEKS_AGO", Some(2), "2025-11-02", "2025-11-09"),
            ("LAST_MONTH", None, "2025-10-01", "2025-11-01"),
            ("LAST_N_MONTHS", Some(3), "2025-08-01", "2025-11-01"),
            ("N_MONTHS_AGO", Some(1), "2025-10-01", "2025-11-01"),
            ("THIS_QUARTER", None, "2025-10-01", "2026-01-01"),
            ("NEXT_N_QUARTERS", Some(2), "2026-01-01", "2026-07-01"),
            ("LAST_YEAR", None, "2024-01-01", "2025-01-01"),
            ("NEXT_N_YEARS", Some(2), "2026-01-01", "2028-01-01"),
            ("THIS_FISCAL_QUARTER", None, "2025-10-01", "2026-01-01"),
        ] {
            assert_eq!(range(word, count, today, &calendar(1)), Some((day(from), day(to))), "{word}");
        }
        for (word, count) in [
            ("LAST_N_DAYS", None),
            ("SOMEDAY", None),
            ("THIS_DAY", None),
            ("THIS_CENTURY", None),
            ("NEXT_N_YEARS", Some(u32::MAX)),
            ("LAST_N_YEARS", Some(400_000)),
            ("N_DAYS_AGO", Some(u32::MAX)),
            ("LAST_N_WEEK", Some(1)),
            ("TODAY", Some(1)),
        ] {
            assert_eq!(range(word, count, today, &calendar(1)), None, "{word}");
        }
    }

    #[test]
    fn fiscal_units_follow_the_org() {
        let today = day("2025-11-20");
        for (word, count, from, to) in [
            ("THIS_FISCAL_YEAR", None, "2025-02-01", "2026-02-01"),
            ("LAST_FISCAL_YEAR", None, "2024-02-01", "2025-02-01"),
            ("THIS_FISCAL_QUARTER", None, "2025-11-01", "2026-02-01"),
            ("N_FISCAL_QUARTERS_AGO", Some(1), "2025-08-01", "2025-11-01"),
            ("LAST_N_FISCAL_YEARS", Some(2), "2023-02-01", "2025-02-01"),
            ("NEXT_N_FISCAL_QUARTERS", Some(1), "2026-02-01", "2026-05-01"),
        ] {
            assert_eq!(range(word, count, today, &calendar(2)), Some((day(from), day(to))), "{word}");
        }
        let parts = |text: &str, start: u32| {
            let c = calendar(start);
            (c.fiscal_year(day(text)), c.fiscal_quarter(day(text)), c.fiscal_month(day(text)))
        };
        assert_eq!(parts("2025-01-31", 2), (2025, 4, 12));
        assert_eq!(parts("2025-02-01", 2), (2026, 1, 1));
        assert_eq!(parts("2025-11-20", 1), (2025, 4, 11));
        let by_start = Calendar {
            fiscal_named_by_start: true,
            ..calendar(2)
        };
        assert_eq!(by_start.fiscal_year(day("2025-02-01")), 2025);
    }

    #[test]
    fn parts_count_weeks_from_the_first_day() {
        let c = calendar(1);
        let part = |name: &str, text: &str| Part::parse(name).unwrap().of(day(text), 13, &c);
        assert_eq!((part("WEEK_IN_MONTH", "2025-11-07"), part("WEEK_IN_MONTH", "2025-11-08")), (1, 2));
        assert_eq!((part("WEEK_IN_YEAR", "2025-01-08"), part("WEEK_IN_YEAR", "2024-12-31")), (2, 53));
        assert_eq!((part("DAY_IN_WEEK", "2025-11-16"), part("DAY_IN_WEEK", "2025-11-22")), (1, 7));
        assert_eq!(
            (part("DAY_IN_YEAR", "2024-12-31"), part("CALENDAR_QUARTER", "2024-12-31")),
            (366, 4)
        );
        assert_eq!(part("HOUR_IN_DAY", "2024-12-31"), 13);
        assert_eq!(Part::parse("ERA"), None);
    }
}
