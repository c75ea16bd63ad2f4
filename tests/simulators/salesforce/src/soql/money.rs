//! Conversion rates of a multi-currency org, from CurrencyType and DatedConversionRate.

use std::collections::HashMap;

use crate::store::db::Db;

/// A dated rate: from inclusive, until exclusive, both as stored dates.
#[derive(Debug, Clone)]
struct Dated {
    from: Vec<u8>,
    until: Vec<u8>,
    rate: f64,
}

/// Units of each currency per unit of the corporate one.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    pub corporate: String,
    flat: HashMap<Vec<u8>, f64>,
    dated: HashMap<Vec<u8>, Vec<Dated>>,
    places: HashMap<Vec<u8>, u32>,
}

impl Rates {
    /// Reads the org's currencies; an org without CurrencyType has none.
    pub fn read(db: &Db) -> Self {
        let mut out = Self {
            corporate: "USD".into(),
            ..Self::default()
        };
        each(
            db,
            "CurrencyType",
            ["IsoCode", "ConversionRate", "DecimalPlaces", "IsCorporate"],
            |cells| {
                let [Some(iso), Some(rate), places, corporate] = cells else {
                    return;
                };
                if corporate == Some(b"true") {
                    out.corporate = String::from_utf8_lossy(iso).into_owned();
                }
                if let Some(rate) = number(rate).filter(|r| *r > 0.0) {
                    out.flat.insert(iso.to_vec(), rate);
                    out.places.insert(iso.to_vec(), places.and_then(number).map_or(2, |p| p as u32));
                }
            },
        );
        let columns = ["IsoCode", "StartDate", "NextStartDate", "ConversionRate"];
        each(db, "DatedConversionRate", columns, |cells| {
            let [Some(iso), Some(from), until, Some(rate)] = cells else {
                return;
            };
            if let Some(rate) = number(rate).filter(|r| *r > 0.0) {
                let until = until.unwrap_or(b"9999-12-31").to_vec();
                let dated = Dated {
                    from: from.to_vec(),
                    until,
                    rate,
                };
                out.dated.entry(iso.to_vec()).or_default().push(dated);
            }
        });
        out
    }

    /// Whether the org has more than one currency.
    pub fn is_multiple(&self) -> bool {
        self.flat.len() > 1
    }

    pub fn knows(&self, iso: &str) -> bool {
        self.flat.contains_key(iso.as_bytes())
    }

    /// Decimal places amounts of a currency are shown with.
    pub fn places(&self, iso: &[u8]) -> u32 {
        self.places.get(iso).copied().unwrap_or(2)
    }

    /// Converts an amount; `day` picks a dated rate where the record has one.
    pub fn convert(&self, amount: f64, from: &[u8], to: &[u8], day: Option<&[u8]>) -> f64 {
        if from == to {
            return amount;
        }
        match (self.rate(from, day), self.rate(to, day)) {
            (Some(from), Some(to)) => amount / from * to,
            _ => amount,
        }
    }

    fn rate(&self, iso: &[u8], day: Option<&[u8]>) -> Option<f64> {
        let dated = day.and_then(|day| {
            let list = self.dated.get(iso)?;
            list.iter().find(|d| day >= &d.from[..] && day < &d.until[..])
        });
        dated.map(|d| d.rate).or_else(|| self.flat.get(iso).copied())
    }
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn each<const N: usize>(db: &Db, object: &str, names: [&str; N], mut take: impl FnMut([Option<&[u8]>; N])) {
    let Some(object) = db.schema.object(object) else { return };
    let fields = names.map(|n| db.schema.objects[object].field(n));
    let table = &db.tables[object];
    for index in table.scan(false) {
        let row = table.row(index);
        take(fields.map(|f| f.and_then(|f| row.get(f))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dated_rate_goes_before_the_flat_one() {
        let mut rates = Rates {
            corporate: "USD".into(),
            ..Rates::default()
        };
        rates.flat.insert(b"USD".to_vec(), 1.0);
        rates.flat.insert(b"EUR".to_vec(), 0.5);
        rates.dated.insert(
            b"EUR".to_vec(),
            vec![Dated {
                from: b"2021-01-01".to_vec(),
                until: b"2022-01-01".to_vec(),
                rate: 0.8,
            }],
        );
        let usd = |day: Option<&[u8]>| rates.convert(4.0, b"EUR", b"USD", day);
        assert_eq!((usd(None), usd(Some(b"2021-06-01")), usd(Some(b"2022-01-01"))), (8.0, 5.0, 8.0));
        assert_eq!(rates.convert(4.0, b"XXX", b"USD", None), 4.0);
    }
}
