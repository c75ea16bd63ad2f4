//! Certificates: whom they name, and for how long.

use chrono::{DateTime, Utc};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Finding;

/// A certificate that ends sooner than this wants to be renewed.
const DAYS_MIN: i64 = 30;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// Names of hosts and services.
    pub names: Vec<String>,
}

/// Of a certificate in DER form.
pub fn of_der(der: &[u8]) -> Option<Validity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or_else(Vec::new, |names| {
        let dns = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        dns.collect()
    });
    Some(Validity {
        from: DateTime::from_timestamp(validity.not_before.timestamp(), 0)?,
        to: DateTime::from_timestamp(validity.not_after.timestamp(), 0)?,
        names,
    })
}

/// Of the first certificate in a PEM text.
pub fn of_pem(text: &[u8]) -> Option<Validity> {
    let pem = Pem::iter_from_buffer(text).find_map(|pem| pem.ok().filter(|p| p.label == "CERTIFICATE"))?;
    of_der(&pem.contents)
}

/// `whose` is shown before the days that are left, such as `of the masker, `.
pub fn judge(check: &str, whose: &str, validity: &Validity, now: DateTime<Utc>, renewal: &str) -> Finding {
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
    let days = (validity.to - now).num_days();
    if now > validity.to {
        return Finding::fail(check, format!("{whose}it ran out on {}", day(validity.to)), renewal);
    }
    if now < validity.from {
        return Finding::fail(
            check,
            format!("{whose}it is not valid before {}", day(validity.from)),
            "Set this machine's clock, or wait.",
        );
    }
    let left = match days {
        1 => format!("{whose}valid for 1 more day, until {}", day(validity.to)),
        days => format!("{whose}valid for {days} more days, until {}", day(validity.to)),
    };
    if days < DAYS_MIN {
        Finding::warn(check, left, renewal)
    } else {
        Finding::ok(check, left)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::TimeZone as _;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_the_days_it_has_left() {
        let day = |d: u32| Utc.with_ymd_and_hms(2026, 3, d, 0, 0, 0).unwrap();
        let validity = Validity {
            from: day(2),
            to: Utc.with_ymd_and_hms(2026, 5, 1, 0, 0, 0).unwrap(),
            names: Vec::new(),
        };
        let at = |now| judge("c", "of h, ", &validity, now, "Renew it.");
        assert_eq!(at(day(1)).verdict, Verdict::Fail);
        assert_eq!(at(day(10)), Finding::ok("c", "of h, valid for 52 more days, until 2026-05-01"));
        let late = Utc.with_ymd_and_hms(2026, 4, 29, 12, 0, 0).unwrap();
        assert_eq!(
            at(late),
            Finding::warn("c", "of h, valid for 1 more day, until 2026-05-01", "Renew it.")
        );
        let later = Utc.with_ymd_and_hms(2026, 5, 2, 0, 0, 0).unwrap();
        assert_eq!(at(later), Finding::fail("c", "of h, it ran out on 2026-05-01", "Renew it."));
    }
}
