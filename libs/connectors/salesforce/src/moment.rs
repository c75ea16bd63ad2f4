//! Dates, times and moments between text and Arrow's numbers, without allocation.
//!
//! Salesforce admits years 1700 to 4000; anything that is four digits long is read. The arithmetic is the proleptic
//! Gregorian calendar in days since 1970-01-01 (the algorithm is in the public domain: Hinnant, "chrono-Compatible
//! Low-Level Date Algorithms").

const DAY_MS: i64 = 86_400_000;

fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter()
        .try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn days_of(text: &[u8]) -> Option<i64> {
    let &[ref year @ .., b'-', m1, m2, b'-', d1, d2] = text else {
        return None;
    };
    if year.len() != 4 {
        return None;
    }
    let (year, month, day) = (digits(year)?, digits(&[m1, m2])?, digits(&[d1, d2])?);
    let days = days_from_civil(year, month, day);
    // A day that does not exist comes back as another one.
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

/// `2025-11-20` as days since 1970-01-01.
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    days_of(text).and_then(|d| i32::try_from(d).ok())
}

/// `hh:mm:ss` with or without a fraction, as milliseconds of the day.
fn clock(text: &[u8]) -> Option<i64> {
    let (whole, fraction) = text.split_at_checked(8)?;
    let &[h1, h2, b':', m1, m2, b':', s1, s2] = whole else {
        return None;
    };
    let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[m1, m2])?, digits(&[s1, s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let ms = match fraction {
        [] => 0,
        [b'.', a, b, c] => digits(&[*a, *b, *c])?,
        [b'.', more @ ..] => {
            let n = digits(more)?;
            let places = u32::try_from(more.len()).ok()?;
            if places < 3 {
                n * 10_i64.pow(3 - places)
            } else {
                n / 10_i64.pow(places - 3)
            }
        }
        _ => return None,
    };
    Some(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

/// `09:30:00.000Z`, the `Z` optional, as milliseconds of the day.
pub(crate) fn parse_time(text: &[u8]) -> Option<i32> {
    clock(text.strip_suffix(b"Z").unwrap_or(text)).and_then(|ms| i32::try_from(ms).ok())
}

/// `2025-11-20T11:28:31.000Z`, with `Z`, `+0000`, `+00:00` or any other offset, as milliseconds since 1970 in UTC.
pub(crate) fn parse_datetime(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(b"T")?;
    let (time, offset_minutes) = match rest {
        [time @ .., b'Z'] => (time, 0),
        [time @ .., sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [time @ .., sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let minutes = hours * 60 + minutes;
            (time, if *sign == b'-' { -minutes } else { minutes })
        }
        _ => return None,
    };
    Some(days_of(date)? * DAY_MS + clock(time)? - offset_minutes * 60_000)
}

fn push(out: &mut Vec<u8>, number: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = number / 10_i64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).expect("a remainder of ten of a number that is not negative"));
    }
}

fn push_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    if (0..=9999).contains(&year) {
        push(out, year, 4);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    }
    out.push(b'-');
    push(out, month, 2);
    out.push(b'-');
    push(out, day, 2);
}

fn push_clock(out: &mut Vec<u8>, ms: i64) {
    push(out, ms / 3_600_000, 2);
    out.push(b':');
    push(out, ms / 60_000 % 60, 2);
    out.push(b':');
    push(out, ms / 1000 % 60, 2);
    out.push(b'.');
    push(out, ms % 1000, 3);
    out.push(b'Z');
}

/// `2025-11-20`
pub(crate) fn write_date(out: &mut Vec<u8>, days: i32) {
    push_date(out, i64::from(days));
}

/// `09:30:00.000Z`
pub(crate) fn write_time(out: &mut Vec<u8>, ms: i32) {
    push_clock(out, i64::from(ms).rem_euclid(DAY_MS));
}

/// `2025-11-20T11:28:31.000Z`
pub(crate) fn write_datetime(out: &mut Vec<u8>, ms: i64) {
    push_date(out, ms.div_euclid(DAY_MS));
    out.push(b'T');
    push_clock(out, ms.rem_euclid(DAY_MS));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_dates_have_known_numbers() {
        for (text, days) in [
            ("1970-01-01", Some(0)),
            ("1969-12-31", Some(-1)),
            ("1700-01-01", Some(-98_615)),
            ("4000-12-31", Some(741_807)),
            ("2000-02-29", Some(11_016)),
            ("1900-02-29", None),
            ("2025-13-01", None),
            ("2025-00-10", None),
            ("2025-11-31", None),
            ("25-11-20", None),
            ("2025-11-2O", None),
            ("2025/11/20", None),
            ("", None),
        ] {
            assert_eq!(parse_date(text.as_bytes()), days, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_a_moment_is_read() {
        let moment = Some(1_763_638_111_000);
        for (text, ms) in [
            ("2025-11-20T11:28:31.000Z", moment),
            ("2025-11-20T11:28:31.000+0000", moment),
            ("2025-11-20T11:28:31+00:00", moment),
            ("2025-11-20T11:28:31Z", moment),
            ("2025-11-20T12:28:31+0100", moment),
            ("2025-11-20T09:58:31-01:30", moment),
            ("2025-11-20T11:28:31.5Z", moment.map(|m| m + 500)),
            ("2025-11-20T11:28:31.123456Z", moment.map(|m| m + 123)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2025-11-20 11:28:31Z", None),
            ("2025-11-20T25:28:31Z", None),
            ("2025-11-20T11:28:31", None),
            ("2025-11-20T11:28:31.Z", None),
            ("2025-11-20", None),
        ] {
            assert_eq!(parse_datetime(text.as_bytes()), ms, "{text}");
        }
        assert_eq!(parse_time(b"09:30:00.000Z"), Some(34_200_000));
        assert_eq!(parse_time(b"09:30:00"), Some(34_200_000));
        assert_eq!(parse_time(b"9:30"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(days in -98_615_i32..741_808, ms in -8_520_336_000_000_i64..64_092_211_200_000, time in 0_i32..86_400_000) {
            let mut out = Vec::new();
            write_date(&mut out, days);
            prop_assert_eq!(parse_date(&out), Some(days));
            out.clear();
            write_datetime(&mut out, ms);
            prop_assert_eq!(out.len(), 24);
            prop_assert_eq!(parse_datetime(&out), Some(ms));
            out.clear();
            write_time(&mut out, time);
            prop_assert_eq!(parse_time(&out), Some(time));
        }
    }
}
