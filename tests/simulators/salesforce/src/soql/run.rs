//! Which rows a plan selects, and in which order.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::shape::{Bound, Filter, Operator, Plan, like};
use crate::schema::FieldType;
use crate::store::db::{Db, Life, same_text};
use crate::store::id::Id;
use crate::store::row::Row;

/// The form texts are compared in: ids as they are, other text without case.
pub fn fold(kind: FieldType, text: &[u8]) -> Cow<'_, [u8]> {
    if matches!(kind, FieldType::Id | FieldType::Reference) {
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

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether a row satisfies a filter.
pub fn matches(db: &Db, row: &Row, filter: &Filter) -> bool {
    match filter {
        Filter::And(list) => list.iter().all(|f| matches(db, row, f)),
        Filter::Or(list) => list.iter().any(|f| matches(db, row, f)),
        Filter::Not(inner) => !matches(db, row, inner),
        Filter::Null { path, negated } => path.value(db, row).is_none() != *negated,
        Filter::Flag { path, wanted } => (path.value(db, row) == Some(b"true")) == *wanted,
        Filter::Text { path, operator, value } => match path.value(db, row) {
            None if value.is_empty() => *operator == Operator::Eq,
            None => *operator == Operator::Ne,
            Some(text) if *operator == Operator::Eq => equal(path.kind, text, value.as_bytes()),
            Some(text) if *operator == Operator::Ne => !equal(path.kind, text, value.as_bytes()),
            Some(text) => operator.accepts(fold(path.kind, text).cmp(&fold(path.kind, value.as_bytes()))),
        },
        Filter::Number { path, operator, value } => match path.value(db, row).and_then(number) {
            None => *operator == Operator::Ne,
            Some(have) => have.partial_cmp(value).is_some_and(|o| operator.accepts(o)),
        },
        Filter::Span {
            path,
            operator,
            from,
            until,
        } => match path.value(db, row) {
            None => *operator == Operator::Ne,
            Some(at) => match operator {
                Operator::Eq => at >= &from[..] && at < &until[..],
                Operator::Ne => at < &from[..] || at >= &until[..],
                Operator::Lt => at < &from[..],
                Operator::Le => at < &until[..],
                Operator::Gt => at >= &until[..],
                Operator::Ge => at >= &from[..],
            },
        },
        Filter::Like { path, pattern } => path.value(db, row).is_some_and(|text| {
            let text: Vec<char> = String::from_utf8_lossy(text).chars().flat_map(char::to_lowercase).collect();
            like(pattern, &text)
        }),
        Filter::In { path, negated, null, set } => match path.value(db, row) {
            None => *null != *negated,
            Some(text) => set.contains(fold(path.kind, text).as_ref()) != *negated,
        },
        Filter::Includes { path, negated, groups } => {
            let have = path.value(db, row).unwrap_or_default();
            let hit = groups.iter().any(|group| {
                group
                    .iter()
                    .all(|wanted| have.split(|c| *c == b';').any(|v| v == wanted.as_slice()))
            });
            hit != *negated
        }
    }
}

fn equal(kind: FieldType, a: &[u8], b: &[u8]) -> bool {
    if matches!(kind, FieldType::Id | FieldType::Reference) {
        a == b
    } else {
        same_text(a, b)
    }
}

/// Orders two values of one kind; null handling is the caller's.
pub fn compare(kind: FieldType, a: &[u8], b: &[u8]) -> Ordering {
    match kind {
        FieldType::Int | FieldType::Decimal => number(a).partial_cmp(&number(b)).unwrap_or(Ordering::Equal),
        _ => fold(kind, a).cmp(&fold(kind, b)),
    }
}

fn order_rows(db: &Db, a: &Row, b: &Row, keys: &[(Bound, bool, bool)]) -> Ordering {
    for (path, descending, nulls_first) in keys {
        // A false boolean is stored as absent, but it is no null.
        let value = |row| {
            let value = path.value(db, row);
            if path.kind == FieldType::Boolean {
                value.or(Some(&b"false"[..]))
            } else {
                value
            }
        };
        let order = match (value(a), value(b)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if *nulls_first => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) if *nulls_first => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if *descending => compare(path.kind, b, a),
            (Some(a), Some(b)) => compare(path.kind, a, b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Positions of the selected rows, after ORDER BY, OFFSET and LIMIT.
pub fn rows(db: &Db, plan: &Plan, with_deleted: bool) -> Vec<u32> {
    let table = &db.tables[plan.object];
    let keep = |index: &u32| plan.filter.as_ref().is_none_or(|f| matches(db, table.row(*index), f));
    let wanted = plan
        .limit
        .map_or(usize::MAX, |l| usize::try_from(l + plan.offset).unwrap_or(usize::MAX));
    let early = if plan.order.is_empty() { wanted } else { usize::MAX };
    let sought = plan
        .seek
        .as_ref()
        .and_then(|(field, keys)| seek(db, plan.object, *field, keys, with_deleted));
    let mut out: Vec<u32> = match sought {
        Some(candidates) => candidates.into_iter().filter(keep).take(early).collect(),
        None => table.scan(with_deleted).filter(keep).take(early).collect(),
    };
    if !plan.order.is_empty() {
        out.sort_by(|a, b| order_rows(db, table.row(*a), table.row(*b), &plan.order));
    }
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

/// Like [`rows`], without LIMIT and OFFSET: a child query's limit counts per parent.
pub fn rows_without_limit(db: &Db, plan: &Plan) -> Vec<u32> {
    let table = &db.tables[plan.object];
    let mut out: Vec<u32> = table
        .scan(false)
        .filter(|i| plan.filter.as_ref().is_none_or(|f| matches(db, table.row(*i), f)))
        .collect();
    out.sort_by(|a, b| order_rows(db, table.row(*a), table.row(*b), &plan.order));
    out
}
