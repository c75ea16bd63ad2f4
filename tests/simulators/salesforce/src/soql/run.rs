//! Which rows a plan selects, and in which order.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::expr::{Cells, RowCells, number};
use super::shape::{Filter, Operator, Plan, Sort, like};
use crate::schema::FieldType;
use crate::store::db::{Db, Life, same_text};
use crate::store::id::Id;
use crate::store::row::Row;

/// The form texts are compared in: without case, unless the field minds it.
pub fn fold(exact: bool, text: &[u8]) -> Cow<'_, [u8]> {
    if exact {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        if text.iter().any(u8::is_ascii_uppercase) {
            return Cow::Owned(text.to_ascii_lowercase());
        }
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(text).to_lowercase().into_bytes())
}

fn equal(exact: bool, a: &[u8], b: &[u8]) -> bool {
    if exact { a == b } else { same_text(a, b) }
}

/// Whether a record, or a group, satisfies a filter.
pub fn matches<C: Cells>(cells: &C, filter: &Filter) -> bool {
    match filter {
        Filter::And(list) => list.iter().all(|f| matches(cells, f)),
        Filter::Or(list) => list.iter().any(|f| matches(cells, f)),
        Filter::Not(inner) => !matches(cells, inner),
        Filter::Null { expr, negated } => expr.value(cells).is_none() != *negated,
        Filter::Flag { expr, wanted } => (expr.value(cells).as_deref() == Some(b"true")) == *wanted,
        Filter::Text {
            expr,
            operator,
            value,
            exact,
        } => match expr.value(cells) {
            None if value.is_empty() => *operator == Operator::Eq,
            None => *operator == Operator::Ne,
            Some(text) if *operator == Operator::Eq => equal(*exact, &text, value.as_bytes()),
            Some(text) if *operator == Operator::Ne => !equal(*exact, &text, value.as_bytes()),
            Some(text) => operator.accepts(fold(*exact, &text).cmp(&fold(*exact, value.as_bytes()))),
        },
        Filter::Number { expr, operator, value } => match expr.value(cells).as_deref().and_then(number) {
            None => *operator == Operator::Ne,
            Some(have) => have.partial_cmp(value).is_some_and(|o| operator.accepts(o)),
        },
        Filter::Span {
            expr,
            operator,
            from,
            until,
        } => match expr.value(cells) {
            None => *operator == Operator::Ne,
            Some(at) => within(*operator, &at, from, until),
        },
        Filter::Like { expr, pattern } => expr.value(cells).is_some_and(|text| like(pattern, &text)),
        Filter::In {
            expr,
            negated,
            null,
            set,
            exact,
        } => match expr.value(cells) {
            None => *null != *negated,
            Some(text) => set.contains(fold(*exact, &text).as_ref()) != *negated,
        },
        Filter::Includes { expr, negated, groups } => {
            let have = expr.value(cells).unwrap_or_default();
            let hit = groups
                .iter()
                .any(|group| group.iter().all(|wanted| have.split(|c| *c == b';').any(|v| same_text(v, wanted))));
            hit != *negated
        }
        Filter::SameSet { expr, negated, values } => {
            let same = expr.value(cells).is_some_and(|have| {
                let list: Vec<&[u8]> = have.split(|c| *c == b';').collect();
                list.len() == values.len() && values.iter().all(|w| list.iter().any(|v| same_text(v, w)))
            });
            same != *negated
        }
    }
}

fn within(operator: Operator, at: &[u8], from: &[u8], until: &[u8]) -> bool {
    match operator {
        Operator::Eq => at >= from && at < until,
        Operator::Ne => at < from || at >= until,
        Operator::Lt => at < from,
        Operator::Le => at < until,
        Operator::Gt => at >= until,
        Operator::Ge => at >= from,
    }
}

/// Orders two values of one kind; null handling is the caller's.
pub fn compare(kind: FieldType, a: &[u8], b: &[u8]) -> Ordering {
    match kind {
        FieldType::Int | FieldType::Decimal => number(a).partial_cmp(&number(b)).unwrap_or(Ordering::Equal),
        FieldType::Id | FieldType::Reference => a.cmp(b),
        _ => fold(false, a).cmp(&fold(false, b)),
    }
}

/// Orders two records, or two groups.
pub fn order<C: Cells>(a: &C, b: &C, keys: &[Sort]) -> Ordering {
    for key in keys {
        let kind = key.expr.kind();
        // A false boolean is stored as absent, but it is no null.
        let value = |cells| {
            let value = key.expr.value(cells);
            if kind == FieldType::Boolean {
                value.or(Some(Cow::Borrowed(&b"false"[..])))
            } else {
                value
            }
        };
        let order = match (value(a), value(b)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if key.nulls_first => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) if key.nulls_first => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if key.descending => compare(kind, &b, &a),
            (Some(a), Some(b)) => compare(kind, &a, &b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn keeps(db: &Db, plan: &Plan, row: &Row) -> bool {
    plan.filter.as_ref().is_none_or(|filter| {
        let object = plan.object;
        matches(&RowCells { db, object, row }, filter)
    })
}

fn sort(db: &Db, plan: &Plan, list: &mut [u32]) {
    if !plan.order.is_empty() {
        let (table, object) = (&db.tables[plan.object], plan.object);
        let cells = |i: u32| RowCells {
            db,
            object,
            row: table.row(i),
        };
        list.sort_by(|a, b| order(&cells(*a), &cells(*b), &plan.order));
    }
}

/// Positions of the selected rows, after ORDER BY, OFFSET and LIMIT; of all rows to be
/// summed up where the query groups.
pub fn rows(db: &Db, plan: &Plan, with_deleted: bool) -> Vec<u32> {
    let table = &db.tables[plan.object];
    let keep = |index: &u32| keeps(db, plan, table.row(*index));
    let grouped = plan.groups.is_some();
    let wanted = match plan.limit {
        Some(limit) if !grouped => usize::try_from(limit.saturating_add(plan.offset)).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let sorted = !plan.order.is_empty() && !grouped;
    let early = if sorted { usize::MAX } else { wanted };
    let sought = plan
        .seek
        .as_ref()
        .and_then(|(field, keys)| seek(db, plan.object, *field, keys, with_deleted));
    let mut out: Vec<u32> = match sought {
        Some(candidates) => candidates.into_iter().filter(keep).take(early).collect(),
        None => table.scan(with_deleted).filter(keep).take(early).collect(),
    };
    if grouped {
        return out;
    }
    sort(db, plan, &mut out);
    out.truncate(wanted);
    if plan.offset > 0 {
        out.drain(..out.len().min(plan.offset as usize));
    }
    out
}

fn seek(db: &Db, object: usize, field: usize, keys: &[Vec<u8>], with_deleted: bool) -> Option<Vec<u32>> {
    let table = &db.tables[object];
    let mut out = Vec::new();
    if field == 0 {
        for key in keys {
            let found = Id::parse(key).ok().filter(|id| id.prefix() == db.schema.objects[object].prefix);
            if let Some(index) = found.and_then(|id| table.find(&id))
                && (with_deleted || table.life(index) == Life::Live)
            {
                out.push(index);
            }
        }
    } else {
        // Key indexes know live rows only.
        if with_deleted {
            return None;
        }
        for key in keys {
            out.extend(table.by_key(field, key)?);
        }
    }
    out.sort_unstable();
    out.dedup();
    Some(out)
}

/// Like [`rows`], without LIMIT and OFFSET: those of a child query count per parent.
pub fn rows_without_limit(db: &Db, plan: &Plan, with_deleted: bool) -> Vec<u32> {
    let table = &db.tables[plan.object];
    let mut out: Vec<u32> = table.scan(with_deleted).filter(|i| keeps(db, plan, table.row(*i))).collect();
    sort(db, plan, &mut out);
    out
}
