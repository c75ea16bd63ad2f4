//! The select list and ORDER BY: functions over fields, and TYPEOF.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::SoqlError;
use super::ast::{Order, Path, Term, TypeOf};
use super::dates::Part;
use super::expr::{Bound, Expr, Leaf};
use super::format::Style;
use super::plan::{Binder, Sort, is_aggregate};
use super::shape::{Column, Shown};
use crate::schema::FieldType;

/// Functions that a field is shown through.
const SHOWN_THROUGH: [&str; 3] = ["TOLABEL", "FORMAT", "CONVERTCURRENCY"];

impl Binder<'_> {
    /// A column of an ungrouped query; one without a name of its own has none yet.
    pub(super) fn column(&self, term: &Term, alias: Option<&Path>) -> Result<Column, SoqlError> {
        let (expr, path) = match term {
            Term::Path(path) => {
                if let Some(alias) = alias {
                    return Err(self.malformed(alias.at, "only aggregate expressions use field aliasing"));
                }
                let bound = self.path(path)?;
                (Expr::Path(bound.clone()), Some(bound))
            }
            Term::Call { name, arguments, at } if SHOWN_THROUGH.contains(&name.as_str()) => {
                let bound = innermost(arguments).map(|p| self.path(p)).transpose()?;
                let bound = bound.ok_or_else(|| self.malformed(*at, "the function needs a field"))?;
                (self.shown(term)?, Some(bound))
            }
            Term::Call { name, .. } if name == "DISTANCE" => (self.value(term)?, None),
            _ => {
                let shown = term.first_path().map_or("", |p| p.text.as_str());
                return Err(self.malformed(term.at(), &format!("Field must be grouped or aggregated: {shown}")));
            }
        };
        let name = match (alias, path) {
            (Some(alias), _) => alias.text.clone(),
            (None, Some(bound)) => bound.name,
            (None, None) => String::new(),
        };
        Ok(Column {
            name,
            shown: Shown::Value(expr),
        })
    }

    /// toLabel, FORMAT and convertCurrency, and what they may hold.
    fn shown(&self, term: &Term) -> Result<Expr, SoqlError> {
        let Term::Call { name, arguments, at } = term else {
            return self.value(term);
        };
        let [inner] = arguments.as_slice() else {
            return Err(self.malformed(*at, &format!("{name} takes one field")));
        };
        let path = match inner {
            Term::Path(path) => Some(path),
            _ => None,
        };
        match (name.as_str(), path) {
            ("TOLABEL", Some(path)) => self.label(path),
            ("CONVERTCURRENCY", Some(path)) => self.converted(path, &self.viewer.currency),
            ("FORMAT", _) => {
                let field = innermost(std::slice::from_ref(inner)).map(|p| self.path(p)).transpose()?;
                let field = field.ok_or_else(|| self.malformed(*at, "FORMAT needs a field"))?;
                let shown = self.shown(inner)?;
                Ok(self.formatted(shown, &field, path.is_some()))
            }
            _ => self.value(term),
        }
    }

    /// Any value expression a filter, a sort key or a group may name.
    pub(super) fn value(&self, term: &Term) -> Result<Expr, SoqlError> {
        match term {
            Term::Path(path) => self.path(path).map(Expr::Path),
            Term::Number(text, at) => Err(self.malformed(*at, &format!("unexpected token: '{text}'"))),
            Term::Text(text, at) => Err(self.malformed(*at, &format!("unexpected token: '{text}'"))),
            Term::Call { name, at, arguments } => {
                if let Some(part) = Part::parse(name) {
                    return self.part(part, name, *at, arguments);
                }
                match (name.as_str(), arguments.as_slice()) {
                    ("DISTANCE", _) => self.distance(*at, arguments),
                    ("TOLABEL", [Term::Path(path)]) => self.label(path),
                    ("CONVERTTIMEZONE", _) => Err(self.malformed(*at, "convertTimezone() may only be used inside a date function")),
                    ("GEOLOCATION", _) => Err(self.malformed(*at, "GEOLOCATION() may only be used inside DISTANCE()")),
                    ("FORMAT" | "CONVERTCURRENCY", _) => {
                        Err(self.malformed(*at, &format!("{} may only be used in the SELECT list", pretty(name))))
                    }
                    (name, _) if is_aggregate(name) => {
                        Err(self.malformed(*at, "Aggregate functions are only allowed in SELECT, HAVING and ORDER BY"))
                    }
                    (name, _) => Err(self.malformed(*at, &format!("unexpected token: '{name}'"))),
                }
            }
        }
    }

    fn part(&self, part: Part, name: &str, at: usize, arguments: &[Term]) -> Result<Expr, SoqlError> {
        let (path, zone) = match arguments {
            [Term::Path(path)] => (path, None),
            [Term::Call { name, arguments, .. }] if name == "CONVERTTIMEZONE" => match arguments.as_slice() {
                [Term::Path(path)] => (path, Some(self.viewer.zone)),
                _ => return Err(self.malformed(at, "convertTimezone() takes one dateTime field")),
            },
            _ => return Err(self.malformed(at, &format!("{name} takes one date or dateTime field"))),
        };
        let bound = self.path(path)?;
        let fits = match bound.kind {
            FieldType::DateTime => true,
            FieldType::Date => zone.is_none() && !part.needs_time(),
            _ => false,
        };
        if !fits {
            return Err(self.malformed(path.at, &format!("field '{}' can not be used in {name}", bound.name)));
        }
        Ok(Expr::Part {
            part,
            path: bound,
            zone,
            calendar: self.viewer.calendar,
        })
    }

    fn distance(&self, at: usize, arguments: &[Term]) -> Result<Expr, SoqlError> {
        let [
            Term::Path(path),
            Term::Call {
                name, arguments: point, ..
            },
            Term::Text(unit, unit_at),
        ] = arguments
        else {
            return Err(self.malformed(
                at,
                "DISTANCE takes a location field, GEOLOCATION(latitude, longitude) and 'mi' or 'km'",
            ));
        };
        let coordinate = |term: &Term, limit: f64| match term {
            Term::Number(text, at) => match text.parse::<f64>() {
                Ok(number) if number.abs() <= limit => Ok(number),
                _ => Err(self.malformed(*at, &format!("invalid coordinate: {text}"))),
            },
            other => Err(self.malformed(other.at(), "GEOLOCATION takes a latitude and a longitude")),
        };
        let from = match (name.as_str(), point.as_slice()) {
            ("GEOLOCATION", [latitude, longitude]) => (coordinate(latitude, 90.0)?, coordinate(longitude, 180.0)?),
            _ => return Err(self.malformed(at, "GEOLOCATION takes a latitude and a longitude")),
        };
        let miles = match unit.to_ascii_lowercase().as_str() {
            "mi" => true,
            "km" => false,
            _ => return Err(self.malformed(*unit_at, "the unit of DISTANCE is 'mi' or 'km'")),
        };
        let bound = self.path(path)?;
        let own = bound.name.rsplit('.').next().unwrap_or_default();
        let component = |part: &str| {
            let address = own.strip_suffix("Address").map(|stem| format!("{stem}{part}"));
            let custom = own.strip_suffix("__c").map(|stem| format!("{stem}__{part}__s"));
            address.or(custom).and_then(|name| self.sibling(&bound, &name))
        };
        match (component("Latitude"), component("Longitude")) {
            (Some(latitude), Some(longitude)) => Ok(Expr::Distance {
                latitude,
                longitude,
                from,
                miles,
            }),
            _ => Err(self.malformed(path.at, &format!("field '{}' is not a location", bound.name))),
        }
    }

    pub(super) fn label(&self, path: &Path) -> Result<Expr, SoqlError> {
        let bound = self.path(path)?;
        let labels = match (&bound.leaf, bound.kind) {
            (Leaf::Field { object, field }, FieldType::Picklist | FieldType::MultiPicklist) => self.labels(*object, *field),
            // Names of record types are translated, and have no translations here.
            (Leaf::Field { object, .. }, _) if self.db.schema.objects[*object].name == "RecordType" => HashMap::new(),
            _ => return Err(self.malformed(path.at, &format!("field '{}' does not support toLabel", bound.name))),
        };
        Ok(Expr::Label {
            inner: Box::new(Expr::Path(bound)),
            labels: Arc::new(labels),
        })
    }

    fn labels(&self, object: usize, field: usize) -> HashMap<Vec<u8>, Vec<u8>> {
        let list = self.spec(object, field).describe.get("picklistValues").and_then(Value::as_array);
        let text = |v: &Value, key: &str| v[key].as_str().map(|t| t.as_bytes().to_vec());
        list.into_iter()
            .flatten()
            .filter_map(|v| Some((text(v, "value")?, text(v, "label")?)))
            .collect()
    }

    fn converted(&self, path: &Path, to: &str) -> Result<Expr, SoqlError> {
        let bound = self.path(path)?;
        if self.type_name(&bound) != "currency" {
            return Err(self.malformed(path.at, &format!("field '{}' does not support convertCurrency", bound.name)));
        }
        Ok(self.money(bound, to))
    }

    /// An amount in the currency `to`; as it is where the org has but one.
    pub(super) fn money(&self, bound: Bound, to: &str) -> Expr {
        if !self.viewer.rates.is_multiple() {
            return Expr::Path(bound);
        }
        // Dated rates hold for opportunities, by their close date.
        let day = self.sibling(&bound, "CloseDate");
        Expr::Money {
            iso: self.sibling(&bound, "CurrencyIsoCode"),
            day,
            to: to.to_owned(),
            rates: Arc::clone(&self.viewer.rates),
            inner: Box::new(Expr::Path(bound)),
        }
    }

    pub(super) fn formatted(&self, inner: Expr, field: &Bound, own_currency: bool) -> Expr {
        let type_name = self.type_name(field);
        let scale = match &field.leaf {
            Leaf::Field { object, field } => self.spec(*object, *field).scale as usize,
            _ => 0,
        };
        let style = Style {
            locale: self.viewer.locale,
            zone: self.viewer.zone,
            scale,
            percent: type_name == "percent",
            currency: (type_name == "currency").then(|| self.viewer.currency.clone()),
            multiple_currencies: self.viewer.rates.is_multiple(),
        };
        let iso = if own_currency {
            self.sibling(field, "CurrencyIsoCode")
        } else {
            None
        };
        Expr::Format {
            inner: Box::new(inner),
            iso,
            style: Arc::new(style),
        }
    }

    pub(super) fn sort(&self, key: &Order) -> Result<Sort, SoqlError> {
        let expr = self.value(&key.term)?;
        if let Expr::Path(bound) = &expr
            && !self.leaf_flag(bound, |f| f.sortable)
        {
            return Err(self.malformed(key.term.at(), &format!("field '{}' can not be sorted in a query call", bound.name)));
        }
        Ok(sorted(expr, key))
    }

    pub(super) fn type_of(&self, type_of: &TypeOf) -> Result<Column, SoqlError> {
        let parts: Vec<&str> = type_of.path.text.split('.').collect();
        let (hops, name, targets) = self.links(&type_of.path, &parts)?;
        let name = name.trim_end_matches('.').to_owned();
        if targets.len() < 2 {
            return Err(self.malformed(
                type_of.path.at,
                &format!("TYPEOF needs a polymorphic relationship; '{name}' is none"),
            ));
        }
        let mut arms: Vec<(usize, Vec<Column>)> = Vec::new();
        for (object, fields) in &type_of.arms {
            let found = self.db.schema.object(&object.text).filter(|o| targets.contains(o));
            let found = found.ok_or_else(|| {
                let text = format!("sObject type '{}' is not one that '{name}' refers to", object.text);
                SoqlError::at("INVALID_TYPE", self.query, object.at, &text)
            })?;
            if arms.iter().any(|(o, _)| *o == found) {
                return Err(self.malformed(object.at, &format!("sObject type '{}' stands twice in TYPEOF", object.text)));
            }
            let inside = Binder {
                object: found,
                alias: None,
                relations: Vec::new(),
                ..*self
            };
            let columns = fields.iter().map(|p| inside.column(&Term::Path(p.clone()), None));
            arms.push((found, columns.collect::<Result<_, _>>()?));
        }
        let otherwise = match &type_of.otherwise {
            None => None,
            Some(fields) => Some(fields.iter().map(|p| self.else_column(type_of, p)).collect::<Result<_, _>>()?),
        };
        Ok(Column {
            name,
            shown: Shown::TypeOf { hops, arms, otherwise },
        })
    }

    /// A field of the Name pseudo-object, seen from the record it stands for.
    fn else_column(&self, type_of: &TypeOf, field: &Path) -> Result<Column, SoqlError> {
        let full = Path {
            text: format!("{}.{}", type_of.path.text, field.text),
            at: field.at,
        };
        let bound = self.path(&full)?;
        let name = bound.name.rsplit('.').next().unwrap_or_default().to_owned();
        Ok(Column {
            name,
            shown: Shown::Value(Expr::Path(bound).at_leaf()),
        })
    }
}

pub(super) fn sorted(expr: Expr, key: &Order) -> Sort {
    Sort {
        expr,
        descending: key.descending,
        nulls_first: key.nulls_first.unwrap_or(true),
    }
}

/// The field a chain of functions is about.
pub(super) fn innermost(arguments: &[Term]) -> Option<&Path> {
    arguments.first().and_then(Term::first_path)
}

fn pretty(name: &str) -> &str {
    match name {
        "CONVERTCURRENCY" => "convertCurrency()",
        _ => "FORMAT()",
    }
}
