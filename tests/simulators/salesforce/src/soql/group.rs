//! Groups of rows and what is computed over them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use super::expr::{Bound, Cells, RowCells, Slot, number, number_text};
use super::run;
use super::shape::{Aggregate, Function, Groups, Plan};
use crate::schema::FieldType;
use crate::store::db::Db;

type Text = Option<Vec<u8>>;

/// One row of a grouped answer.
pub struct GroupRow {
    keys: Vec<Text>,
    kept: Vec<bool>,
    aggregates: Vec<Text>,
}

impl Cells for GroupRow {
    fn path<'a>(&'a self, _: &Bound) -> Option<&'a [u8]> {
        None
    }

    fn slot(&self, slot: Slot) -> Option<&[u8]> {
        match slot {
            Slot::Key(i) => self.keys[i].as_deref(),
            Slot::Aggregate(i) => self.aggregates[i].as_deref(),
            Slot::Grouping(i) => Some(if self.kept[i] { b"0" } else { b"1" }),
        }
    }
}

/// A running aggregate.
enum Tally {
    Count(u64),
    Distinct(HashSet<Vec<u8>, ahash::RandomState>),
    /// Sum in units of the last decimal place, and how many values it has.
    Sum(i128, u64),
    Best(Text),
}

impl Tally {
    fn new(function: Function) -> Self {
        match function {
            Function::Count => Self::Count(0),
            Function::CountDistinct => Self::Distinct(HashSet::default()),
            Function::Sum | Function::Avg => Self::Sum(0, 0),
            Function::Min | Function::Max => Self::Best(None),
        }
    }

    fn add(&mut self, aggregate: &Aggregate, value: &[u8]) {
        match self {
            Self::Count(count) => *count += 1,
            Self::Distinct(seen) => {
                if !seen.contains(value) {
                    seen.insert(value.to_vec());
                }
            }
            Self::Sum(sum, count) => {
                if let Some(units) = units(value, aggregate.scale) {
                    *sum = sum.saturating_add(units);
                    *count += 1;
                }
            }
            Self::Best(best) => {
                let wanted = if aggregate.function == Function::Min {
                    Ordering::Less
                } else {
                    Ordering::Greater
                };
                let kind = aggregate.expr.kind();
                if best.as_deref().is_none_or(|have| run::compare(kind, value, have) == wanted) {
                    *best = Some(value.to_vec());
                }
            }
        }
    }

    fn finish(self, aggregate: &Aggregate) -> Text {
        let whole = |n: u64| Some(n.to_string().into_bytes());
        match self {
            Self::Count(count) => whole(count),
            Self::Distinct(seen) => whole(seen.len() as u64),
            Self::Sum(_, 0) => None,
            Self::Sum(sum, count) if aggregate.function == Function::Avg => {
                let scale = 10f64.powi(aggregate.scale as i32);
                Some(number_text(sum as f64 / count as f64 / scale))
            }
            Self::Sum(sum, _) => Some(decimal(sum, aggregate.scale)),
            Self::Best(best) => best,
        }
    }
}

/// A stored number in units of its last decimal place, exactly.
fn units(text: &[u8], scale: u32) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.trim_end_matches('0');
    if digits.len() > scale as usize || text.contains(['e', 'E']) {
        return Some((number(text.as_bytes())? * 10f64.powi(scale as i32)).round() as i128);
    }
    let factor = 10i128.checked_pow(scale)?;
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let part = part * 10i128.checked_pow(scale - digits.len() as u32)?;
    let negative = whole.starts_with('-');
    let whole: i128 = whole.parse().ok()?;
    let whole = whole.checked_mul(factor)?;
    Some(if negative { whole - part } else { whole + part })
}

fn decimal(units: i128, scale: u32) -> Vec<u8> {
    let factor = 10i128.checked_pow(scale).unwrap_or(1);
    let sign = if units < 0 { "-" } else { "" };
    let (whole, part) = ((units / factor).unsigned_abs(), (units % factor).unsigned_abs());
    let digits = format!("{part:0width$}", width = scale as usize);
    let digits = digits.trim_end_matches('0');
    format!("{sign}{whole}.{}", if digits.is_empty() { "0" } else { digits }).into_bytes()
}

/// Sums up the rows; HAVING, ORDER BY, OFFSET and LIMIT are done.
pub fn rows(db: &Db, plan: &Plan, groups: &Groups, found: &[u32]) -> Vec<GroupRow> {
    let table = &db.tables[plan.object];
    let fresh = || -> Vec<Tally> { groups.aggregates.iter().map(|a| Tally::new(a.function)).collect() };
    // Keys keep their set's number: a null key and a subtotal are not the same group.
    let mut tallies: HashMap<(usize, Vec<Text>), Vec<Tally>, ahash::RandomState> = HashMap::default();
    if groups.keys.is_empty() {
        tallies.insert((0, Vec::new()), fresh());
    }
    for index in found {
        let cells = RowCells {
            db,
            object: plan.object,
            row: table.row(*index),
        };
        let keys: Vec<Option<Cow<'_, [u8]>>> = groups.keys.iter().map(|k| value(k, &cells)).collect();
        let values: Vec<Option<Cow<'_, [u8]>>> = groups.aggregates.iter().map(|a| a.expr.value(&cells)).collect();
        for (set, kept) in groups.sets.iter().enumerate() {
            let key: Vec<Text> = keys
                .iter()
                .zip(kept)
                .map(|(k, kept)| k.as_deref().filter(|_| *kept).map(<[u8]>::to_vec))
                .collect();
            let group = tallies.entry((set, key)).or_insert_with(fresh);
            for ((tally, aggregate), value) in group.iter_mut().zip(&groups.aggregates).zip(&values) {
                if let Some(value) = value {
                    tally.add(aggregate, value);
                }
            }
        }
    }
    let mut ordered: Vec<_> = tallies.into_iter().collect();
    // Subtotals follow what they sum up.
    ordered.sort_by(|((set_a, a), _), ((set_b, b), _)| {
        let side = |set: &usize, i: usize| !groups.sets[*set][i];
        let each = a.iter().zip(b).enumerate();
        each.map(|(i, (x, y))| (side(set_a, i), x).cmp(&(side(set_b, i), y)))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    let mut out: Vec<GroupRow> = ordered
        .into_iter()
        .map(|((set, keys), tallies)| GroupRow {
            keys,
            kept: groups.sets[set].clone(),
            aggregates: tallies.into_iter().zip(&groups.aggregates).map(|(t, a)| t.finish(a)).collect(),
        })
        .filter(|row| groups.having.as_ref().is_none_or(|having| run::matches(row, having)))
        .collect();
    out.sort_by(|a, b| run::order(a, b, &plan.order));
    out.drain(..out.len().min(plan.offset as usize));
    if let Some(limit) = plan.limit {
        out.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    out
}

fn value<'a>(key: &'a super::expr::Expr, cells: &'a RowCells<'_>) -> Option<Cow<'a, [u8]>> {
    let value = key.value(cells);
    // A false boolean is stored as absent, but it is no null.
    match key.kind() {
        FieldType::Boolean => value.or(Some(Cow::Borrowed(b"false"))),
        _ => value,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_decimals() {
        let sum: i128 = [&b"0.1"[..], b"0.2", b"-0.05", b"1000"].iter().map(|t| units(t, 2).unwrap()).sum();
        assert_eq!(decimal(sum, 2), b"1000.25");
        assert_eq!(decimal(units(b"-0.5", 2).unwrap(), 2), b"-0.5");
        assert_eq!(decimal(units(b"12", 0).unwrap(), 0), b"12.0");
        assert_eq!(units(b"x", 2), None);
    }
}
