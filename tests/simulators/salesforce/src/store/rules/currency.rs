//! Multi-currency: only active currencies, and conversion when a record changes its currency alone.

use chrono::NaiveDate;

use crate::schema::{FieldType, Object};
use crate::store::db::Db;
use crate::store::derive::money;
use crate::store::row::{Draft, Row};
use crate::store::value::{self, RowError};

/// Checks the row's currency; an update that changes it converts every amount not sent with it.
pub(super) fn before_write(db: &Db, meta: &Object, stored: Option<&Row>, draft: &mut Draft, given: &[bool]) -> Result<(), RowError> {
    let Some(field) = meta.field("CurrencyIsoCode").filter(|f| given[*f]) else {
        return Ok(());
    };
    let Some(code) = draft.get(field).map(<[u8]>::to_vec) else {
        return Ok(());
    };
    if !is_active(db, &code) {
        return Err(invalid(&code));
    }
    let Some(before) = stored.and_then(|row| row.get(field)).filter(|b| *b != code) else {
        return Ok(());
    };
    // Opportunities follow the rates of their close date, everything else those of the day.
    let date = meta.field("CloseDate").and_then(|f| draft.get(f)).and_then(value::parse_date);
    let (Some(from), Some(to)) = (rate(db, before, date), rate(db, &code, date)) else {
        return Err(invalid(&code));
    };
    for (i, spec) in meta.fields.iter().enumerate() {
        let is_amount = spec.kind == FieldType::Decimal && spec.describe.get("type").is_some_and(|t| t == "currency");
        if !is_amount || given[i] {
            continue;
        }
        let amount = draft.get(i).and_then(|t| std::str::from_utf8(t).ok()?.parse::<f64>().ok());
        if let Some(amount) = amount {
            let mut stored = Vec::new();
            value::normalise(spec, money(amount / from * to).as_bytes(), &mut stored)?;
            draft.set(i, &stored);
        }
    }
    Ok(())
}

fn invalid(code: &[u8]) -> RowError {
    RowError::new(
        "INVALID_CURRENCY_ISO",
        format!("invalid currency code: {}", String::from_utf8_lossy(code)),
        &["CurrencyIsoCode"],
    )
}

/// The rows of a rate object with this code, as a reader of cells.
fn rows<'a>(db: &'a Db, object: &str, code: &'a [u8]) -> impl Iterator<Item = impl Fn(&str) -> Option<&'a [u8]>> {
    let index = db.schema.object(object);
    index.into_iter().flat_map(move |object| {
        let (table, meta) = (&db.tables[object], &db.schema.objects[object]);
        table.scan(false).filter_map(move |i| {
            let row = table.row(i);
            let cell = move |name: &str| meta.field(name).and_then(|f| row.get(f));
            (cell("IsoCode") == Some(code)).then_some(cell)
        })
    })
}

fn is_active(db: &Db, code: &[u8]) -> bool {
    rows(db, "CurrencyType", code).any(|cell| cell("IsActive") == Some(b"true"))
}

fn rate(db: &Db, code: &[u8], date: Option<NaiveDate>) -> Option<f64> {
    let number = |raw: Option<&[u8]>| std::str::from_utf8(raw?).ok()?.parse::<f64>().ok().filter(|r| *r > 0.0);
    let dated = date.and_then(|date| {
        rows(db, "DatedConversionRate", code)
            .find(|cell| {
                let from = cell("StartDate").and_then(value::parse_date);
                let until = cell("NextStartDate").and_then(value::parse_date);
                from.is_some_and(|f| f <= date) && until.is_none_or(|u| date < u)
            })
            .and_then(|cell| number(cell("ConversionRate")))
    });
    dated.or_else(|| rows(db, "CurrencyType", code).find_map(|cell| number(cell("ConversionRate"))))
}
