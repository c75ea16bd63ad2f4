//! Who a query runs for: time zone, locale, currency and fiscal year decide what literals
//! and functions mean. Read once per query from the records of User and Organization.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;

use super::dates::Calendar;
use super::money::Rates;
use crate::store::db::Db;
use crate::store::id::Id;

/// Regional forms FORMAT() knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locale {
    EnUs,
    EnGb,
    DeDe,
    FrFr,
    JaJp,
}

impl Locale {
    fn parse(name: &str) -> Self {
        match name {
            "en_GB" => Self::EnGb,
            "de_DE" => Self::DeDe,
            "fr_FR" => Self::FrFr,
            "ja_JP" => Self::JaJp,
            _ => Self::EnUs,
        }
    }

    /// Whether weeks start on Monday.
    fn is_monday_first(self) -> bool {
        matches!(self, Self::EnGb | Self::DeDe | Self::FrFr)
    }
}

/// The settings a query is bound under.
#[derive(Debug, Clone)]
pub struct Viewer {
    pub user: Id,
    /// Major API version of the request.
    pub version: u32,
    pub now: DateTime<Utc>,
    pub zone: Tz,
    pub locale: Locale,
    pub calendar: Calendar,
    pub rates: Arc<Rates>,
    /// What `convertCurrency()` converts to.
    pub currency: String,
}

impl Viewer {
    /// Reads the user's settings; `version` is the path segment, e.g. `v65.0`.
    pub fn of(db: &Db, user: Id, version: &str) -> Self {
        let cell = |name: &str| text_cell(db, &user, name);
        let organization = |name: &str| first_cell(db, "Organization", name);
        let zone = cell("TimeZoneSidKey").or_else(|| organization("TimeZoneSidKey"));
        let locale = cell("LocaleSidKey").or_else(|| organization("DefaultLocaleSidKey"));
        let locale = Locale::parse(&locale.unwrap_or_default());
        let rates = Rates::read(db);
        Self {
            user,
            version: version
                .trim_start_matches('v')
                .split('.')
                .next()
                .and_then(|v| v.parse().ok())
                .unwrap_or(65),
            now: db.clock.now(),
            zone: zone.and_then(|z| z.parse().ok()).unwrap_or(Tz::UTC),
            locale,
            calendar: Calendar {
                fiscal_start_month: organization("FiscalYearStartMonth")
                    .and_then(|m| m.parse().ok())
                    .filter(|m| (1..=12).contains(m))
                    .unwrap_or(1),
                fiscal_named_by_start: organization("UsesStartDateAsFiscalYearName").as_deref() == Some("true"),
                monday_first: locale.is_monday_first(),
            },
            currency: cell("DefaultCurrencyIsoCode").unwrap_or_else(|| rates.corporate.clone()),
            rates: Arc::new(rates),
        }
    }

    /// The user's day.
    pub fn today(&self) -> NaiveDate {
        self.now.with_timezone(&self.zone).date_naive()
    }

    /// The instant a day of the user begins; the first valid one where midnight is skipped.
    pub fn midnight(&self, day: NaiveDate) -> DateTime<Utc> {
        let naive = day.and_time(chrono::NaiveTime::MIN);
        (0..=3)
            .find_map(|hours| self.zone.from_local_datetime(&(naive + chrono::Duration::hours(hours))).earliest())
            .map_or_else(|| naive.and_utc(), |at| at.with_timezone(&Utc))
    }
}

fn text_cell(db: &Db, id: &Id, name: &str) -> Option<String> {
    let (object, index) = db.locate(id)?;
    let field = db.schema.objects[object].field(name)?;
    let value = db.tables[object].row(index).get(field)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn first_cell(db: &Db, object: &str, name: &str) -> Option<String> {
    let object = db.schema.object(object)?;
    let field = db.schema.objects[object].field(name)?;
    let table = &db.tables[object];
    let index = table.scan(false).next()?;
    let value = table.row(index).get(field)?;
    Some(String::from_utf8_lossy(value).into_owned())
}
