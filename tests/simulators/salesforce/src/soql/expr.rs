//! Values a query computes: resolved paths, and the functions over them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime, Timelike};
use chrono_tz::Tz;

use super::dates::{Calendar, Part};
use super::format::Style;
use super::money::Rates;
use crate::schema::FieldType;
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::row::Row;

/// Mean radius of the earth, as the distance function takes it.
const EARTH_KM: f64 = 6371.0088;
const KM_PER_MILE: f64 = 1.609_344;

/// What a path ends in.
#[derive(Debug, Clone)]
pub enum Leaf {
    Field {
        object: usize,
        field: usize,
    },
    /// A field of the `Name` pseudo-object: one field per possible target.
    Poly(Vec<(usize, usize)>),
    /// `Who.Type`
    Type,
}

/// A reference field to follow; rows of another object stop the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    pub object: usize,
    pub field: usize,
}

/// A resolved path.
#[derive(Debug, Clone)]
pub struct Bound {
    /// As the API spells it, e.g. `Account.Owner.Name`.
    pub name: String,
    /// References to follow, from the root.
    pub hops: Vec<Hop>,
    pub leaf: Leaf,
    pub kind: FieldType,
}

impl Bound {
    /// The cell this path leads to from `row`.
    pub fn value<'a>(&self, db: &'a Db, row: &'a Row) -> Option<&'a [u8]> {
        match (&self.leaf, self.hops.first()) {
            (Leaf::Field { field, .. }, None) => row.get(*field),
            (_, Some(hop)) => self.follow(db, hop.object, row),
            _ => None,
        }
    }

    /// The same from a row whose object is known.
    pub fn follow<'a>(&self, db: &'a Db, object: usize, row: &'a Row) -> Option<&'a [u8]> {
        let (object, row) = self.hops.iter().try_fold((object, row), |(object, row), hop| {
            if object != hop.object {
                return None;
            }
            let (next, index) = db.locate(&Id::parse(row.get(hop.field)?).ok()?)?;
            Some((next, db.tables[next].row(index)))
        })?;
        match &self.leaf {
            Leaf::Field { field, object: own } if *own == object => row.get(*field),
            Leaf::Field { .. } => None,
            Leaf::Poly(list) => {
                let (_, field) = list.iter().find(|(o, _)| *o == object)?;
                row.get(*field)
            }
            Leaf::Type => Some(db.schema.objects[object].name.as_bytes()),
        }
    }
}

/// A value of a grouped row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    Key(usize),
    Aggregate(usize),
    Grouping(usize),
}

/// Where values come from: a record, or a group of records.
pub trait Cells {
    fn path<'a>(&'a self, bound: &Bound) -> Option<&'a [u8]>;
    fn slot(&self, slot: Slot) -> Option<&[u8]>;
}

/// A record.
pub struct RowCells<'a> {
    pub db: &'a Db,
    pub object: usize,
    pub row: &'a Row,
}

impl Cells for RowCells<'_> {
    fn path<'a>(&'a self, bound: &Bound) -> Option<&'a [u8]> {
        match &bound.leaf {
            Leaf::Field { field, .. } if bound.hops.is_empty() => self.row.get(*field),
            _ => bound.follow(self.db, self.object, self.row),
        }
    }

    fn slot(&self, _: Slot) -> Option<&[u8]> {
        None
    }
}

/// A value expression.
#[derive(Debug, Clone)]
pub enum Expr {
    Path(Bound),
    Slot {
        slot: Slot,
        kind: FieldType,
    },
    Part {
        part: Part,
        path: Bound,
        zone: Option<Tz>,
        calendar: Calendar,
    },
    Distance {
        latitude: Bound,
        longitude: Bound,
        from: (f64, f64),
        miles: bool,
    },
    /// A picklist value's label.
    Label {
        inner: Box<Expr>,
        labels: Arc<HashMap<Vec<u8>, Vec<u8>>>,
    },
    /// An amount in another currency.
    Money {
        inner: Box<Expr>,
        /// The record's currency and the day its rate is of.
        iso: Option<Bound>,
        day: Option<Bound>,
        to: String,
        rates: Arc<Rates>,
    },
    /// Text in the user's locale.
    Format {
        inner: Box<Expr>,
        iso: Option<Bound>,
        style: Arc<Style>,
    },
}

impl Expr {
    /// The type of the values.
    pub fn kind(&self) -> FieldType {
        match self {
            Self::Path(path) => path.kind,
            Self::Slot { kind, .. } => *kind,
            Self::Part { part: Part::DayOnly, .. } => FieldType::Date,
            Self::Part { .. } => FieldType::Int,
            Self::Distance { .. } | Self::Money { .. } => FieldType::Decimal,
            Self::Label { .. } | Self::Format { .. } => FieldType::Text,
        }
    }

    /// The field itself, where it is one of the root record.
    pub fn root_field(&self) -> Option<usize> {
        match self {
            Self::Path(Bound {
                hops,
                leaf: Leaf::Field { field, .. },
                ..
            }) if hops.is_empty() => Some(*field),
            _ => None,
        }
    }

    /// The value; `None` is null.
    pub fn value<'a, C: Cells>(&'a self, cells: &'a C) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Path(path) => cells.path(path).map(Cow::Borrowed),
            Self::Slot { slot, .. } => cells.slot(*slot).map(Cow::Borrowed),
            Self::Part {
                part,
                path,
                zone,
                calendar,
            } => part_text(*part, cells.path(path)?, *zone, calendar).map(Cow::Owned),
            Self::Distance {
                latitude,
                longitude,
                from,
                miles,
            } => {
                let to = (number(cells.path(latitude)?)?, number(cells.path(longitude)?)?);
                let km = distance_km(*from, to);
                Some(Cow::Owned(number_text(if *miles { km / KM_PER_MILE } else { km })))
            }
            Self::Label { inner, labels } => {
                let value = inner.value(cells)?;
                Some(match labels.get(value.as_ref()) {
                    Some(label) => Cow::Borrowed(label.as_slice()),
                    None => value,
                })
            }
            Self::Money {
                inner,
                iso,
                day,
                to,
                rates,
            } => {
                let amount = number(&inner.value(cells)?)?;
                let from = iso.as_ref().and_then(|i| cells.path(i)).unwrap_or(rates.corporate.as_bytes());
                let day = day.as_ref().and_then(|d| cells.path(d));
                let converted = rates.convert(amount, from, to.as_bytes(), day);
                let factor = 10f64.powi(rates.places(to.as_bytes()) as i32);
                Some(Cow::Owned(number_text((converted * factor).round() / factor)))
            }
            Self::Format { inner, iso, style } => {
                let value = inner.value(cells)?;
                let iso = iso.as_ref().and_then(|i| cells.path(i));
                Some(Cow::Owned(style.text(inner.kind(), &value, iso).into_bytes()))
            }
        }
    }

    /// The same expression seen from the record its path leads to.
    pub fn at_leaf(mut self) -> Self {
        self.clear_hops();
        self
    }

    fn clear_hops(&mut self) {
        match self {
            Self::Path(path) | Self::Part { path, .. } => path.hops.clear(),
            Self::Slot { .. } => {}
            Self::Distance { latitude, longitude, .. } => {
                latitude.hops.clear();
                longitude.hops.clear();
            }
            Self::Label { inner, .. } => inner.clear_hops(),
            Self::Money { inner, iso, day, .. } => {
                inner.clear_hops();
                for path in iso.iter_mut().chain(day) {
                    path.hops.clear();
                }
            }
            Self::Format { inner, iso, .. } => {
                inner.clear_hops();
                if let Some(path) = iso {
                    path.hops.clear();
                }
            }
        }
    }
}

/// A stored number.
pub fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number as the API prints it.
pub fn number_text(number: f64) -> Vec<u8> {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(if number.is_finite() { number } else { 0.0 });
    if text.contains('e') {
        return format!("{number:.1}").into_bytes();
    }
    text.as_bytes().to_vec()
}

/// Day and hour of a stored date or datetime, in `zone` where it has a time.
pub fn moment(text: &[u8], zone: Option<Tz>) -> Option<(NaiveDate, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let day = NaiveDate::parse_from_str(text.get(..10)?, "%Y-%m-%d").ok()?;
    let Some(time) = text.get(11..19) else {
        return Some((day, 0));
    };
    let time = chrono::NaiveTime::parse_from_str(time, "%H:%M:%S").ok()?;
    let mut at = NaiveDateTime::new(day, time);
    if let Some(zone) = zone {
        at = at.and_utc().with_timezone(&zone).naive_local();
    }
    Some((at.date(), at.hour()))
}

fn part_text(part: Part, text: &[u8], zone: Option<Tz>, calendar: &Calendar) -> Option<Vec<u8>> {
    let (day, hour) = moment(text, zone)?;
    if part == Part::DayOnly {
        return Some(day.format("%Y-%m-%d").to_string().into_bytes());
    }
    let mut buffer = itoa::Buffer::new();
    Some(buffer.format(part.of(day, hour, calendar)).as_bytes().to_vec())
}

fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (la, lb) = (a.0.to_radians(), b.0.to_radians());
    let (dla, dlo) = (lb - la, (b.1 - a.1).to_radians());
    let h = (dla / 2.0).sin().powi(2) + la.cos() * lb.cos() * (dlo / 2.0).sin().powi(2);
    2.0 * EARTH_KM * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_moves_with_the_zone() {
        let utc = moment(b"2024-01-01T02:30:00.000Z", None).unwrap();
        let west = moment(b"2024-01-01T02:30:00.000Z", Some(chrono_tz::America::Los_Angeles)).unwrap();
        assert_eq!((utc.0.to_string(), utc.1), ("2024-01-01".into(), 2));
        assert_eq!((west.0.to_string(), west.1), ("2023-12-31".into(), 18));
        assert_eq!(moment(b"2024-01-01", None).unwrap().1, 0);
        assert!(moment(b"nonsense", None).is_none());
    }

    #[test]
    fn distances_follow_the_great_circle() {
        // Paris to London, by the published great-circle figure.
        let km = distance_km((48.8566, 2.3522), (51.5074, -0.1278));
        assert!((km - 343.6).abs() < 1.0, "{km}");
        assert!(distance_km((10.0, 20.0), (10.0, 20.0)) < 1e-6);
        assert!((distance_km((0.0, 0.0), (0.0, 180.0)) - 20_015.1).abs() < 1.0);
    }

    #[test]
    fn numbers_print_plain() {
        assert_eq!(number_text(1000.0), b"1000.0");
        assert_eq!(number_text(0.5), b"0.5");
        assert_eq!(number_text(12_345_678_901_234_567_890.0), b"12345678901234567168.0");
    }
}
