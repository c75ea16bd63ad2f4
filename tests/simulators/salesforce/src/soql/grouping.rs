//! Aggregate queries: keys, subtotals, aggregates, and what HAVING and ORDER BY may name.

use std::sync::Arc;

use serde_json::Value;

use super::SoqlError;
use super::ast::{Condition, Grouping, Item, Statement, Term};
use super::expr::{Expr, Leaf, Slot};
use super::plan::{Binder, is_aggregate};
use super::select::{innermost, sorted};
use super::shape::{Aggregate, Column, Filter, Function, Groups, Plan, Shown};
use crate::schema::FieldType;

/// Keys of `GROUP BY ROLLUP` and `GROUP BY CUBE`.
const SUBTOTAL_KEYS_MAX: usize = 3;

impl Binder<'_> {
    /// Columns, groups, HAVING and ORDER BY of an aggregate query.
    pub(super) fn grouped(&self, statement: &Statement, plan: &mut Plan) -> Result<(), SoqlError> {
        let mut groups = GroupBinder {
            binder: self,
            names: Vec::new(),
            groups: Groups::default(),
        };
        groups.keys(statement)?;
        let mut unnamed = 0;
        for item in &statement.items {
            let (term, alias) = match item {
                Item::Value(term, alias) => (term, alias),
                Item::Fields(_, at) => return Err(self.malformed(*at, "FIELDS() is not allowed in an aggregate query")),
                Item::TypeOf(type_of) => return Err(self.malformed(type_of.path.at, "TYPEOF is not allowed in an aggregate query")),
                Item::Children(inner) => return Err(self.malformed(inner.from.at, "Subqueries are not allowed in an aggregate query")),
                Item::CountAll => continue,
            };
            let expr = groups.resolve(term)?;
            let name = match (alias, term) {
                (Some(alias), _) => alias.text.clone(),
                (None, Term::Path(path)) => {
                    let bound = self.path(path)?;
                    bound.name.rsplit('.').next().unwrap_or_default().to_owned()
                }
                (None, _) => {
                    unnamed += 1;
                    format!("expr{}", unnamed - 1)
                }
            };
            if plan.columns.iter().any(|c| c.name.eq_ignore_ascii_case(&name)) {
                return Err(self.malformed(term.at(), &format!("duplicate alias: {name}")));
            }
            plan.columns.push(Column {
                name,
                shown: Shown::Value(expr),
            });
        }
        if let Some(having) = &statement.having {
            groups.groups.having = Some(self.group_filter(&mut groups, having)?);
        }
        for key in &statement.order {
            plan.order.push(sorted(groups.resolve(&key.term)?, key));
        }
        if statement.limit.is_some() && statement.group.is_empty() {
            return Err(SoqlError::new(
                "MALFORMED_QUERY",
                "LIMIT is not allowed in a query that uses an aggregate function without GROUP BY",
            ));
        }
        plan.groups = Some(groups.groups);
        Ok(())
    }

    fn group_filter(&self, groups: &mut GroupBinder<'_>, condition: &Condition) -> Result<Filter, SoqlError> {
        let mut of = |term: &Term| groups.resolve(term);
        self.filter_with(condition, false, &mut of)
    }
}

struct GroupBinder<'a> {
    binder: &'a Binder<'a>,
    /// Canonical text of each key.
    names: Vec<String>,
    groups: Groups,
}

impl GroupBinder<'_> {
    fn keys(&mut self, statement: &Statement) -> Result<(), SoqlError> {
        let binder = self.binder;
        for term in &statement.group {
            let expr = binder.value(term)?;
            let refused = match &expr {
                Expr::Path(bound) => !binder.leaf_flag(bound, |f| f.groupable),
                Expr::Part { .. } => false,
                _ => true,
            };
            if refused {
                let shown = term.first_path().map_or("", |p| p.text.as_str());
                return Err(binder.malformed(term.at(), &format!("field '{shown}' can not be grouped in a query call")));
            }
            self.names.push(canonical(term, &expr));
            self.groups.keys.push(expr);
        }
        let count = self.groups.keys.len();
        if statement.grouping != Grouping::Plain && count > SUBTOTAL_KEYS_MAX {
            return Err(binder.malformed(statement.group[SUBTOTAL_KEYS_MAX].at(), "ROLLUP and CUBE take at most 3 fields"));
        }
        self.groups.sets = match statement.grouping {
            Grouping::Plain => vec![vec![true; count]],
            Grouping::Rollup => (0..=count).rev().map(|kept| (0..count).map(|i| i < kept).collect()).collect(),
            Grouping::Cube => (0..1usize << count)
                .rev()
                .map(|mask| (0..count).map(|i| mask >> i & 1 == 1).collect())
                .collect(),
        };
        Ok(())
    }

    /// A value of the grouped rows.
    fn resolve(&mut self, term: &Term) -> Result<Expr, SoqlError> {
        let binder = self.binder;
        if let Term::Call { name, at, arguments } = term {
            match (name.as_str(), arguments.as_slice()) {
                ("GROUPING", [inner]) => {
                    let key = self.key(inner)?;
                    let (i, _) = key.ok_or_else(|| self.ungrouped(inner))?;
                    return Ok(Expr::Slot {
                        slot: Slot::Grouping(i),
                        kind: FieldType::Int,
                    });
                }
                ("COUNT", []) => return Err(binder.malformed(*at, "Grouped query must use COUNT(fieldname)")),
                (name, [inner]) if is_aggregate(name) => return self.aggregate(name, *at, inner),
                ("FORMAT", [inner]) => {
                    let field = innermost(arguments).map(|p| binder.path(p)).transpose()?;
                    let field = field.ok_or_else(|| binder.malformed(*at, "FORMAT needs a field"))?;
                    let shown = self.resolve(inner)?;
                    return Ok(binder.formatted(shown, &field, false));
                }
                // Aggregated amounts come in the corporate currency.
                ("CONVERTCURRENCY", [inner]) => {
                    let inner = self.resolve(inner)?;
                    if !binder.viewer.rates.is_multiple() {
                        return Ok(inner);
                    }
                    return Ok(Expr::Money {
                        inner: Box::new(inner),
                        iso: None,
                        day: None,
                        to: binder.viewer.currency.clone(),
                        rates: Arc::clone(&binder.viewer.rates),
                    });
                }
                ("TOLABEL", [inner @ Term::Path(path)]) => {
                    let Expr::Label { labels, .. } = binder.label(path)? else {
                        return Err(self.ungrouped(inner));
                    };
                    let inner = Box::new(self.resolve(inner)?);
                    return Ok(Expr::Label { inner, labels });
                }
                _ => {}
            }
        }
        match self.key(term)? {
            Some((i, kind)) => Ok(Expr::Slot { slot: Slot::Key(i), kind }),
            None => Err(self.ungrouped(term)),
        }
    }

    fn ungrouped(&self, term: &Term) -> SoqlError {
        let shown = term.first_path().map_or("", |p| p.text.as_str());
        self.binder
            .malformed(term.at(), &format!("Field must be grouped or aggregated: {shown}"))
    }

    fn key(&self, term: &Term) -> Result<Option<(usize, FieldType)>, SoqlError> {
        let expr = self.binder.value(term)?;
        let name = canonical(term, &expr);
        let found = self.names.iter().position(|n| *n == name);
        Ok(found.map(|i| (i, expr.kind())))
    }

    fn aggregate(&mut self, name: &str, at: usize, inner: &Term) -> Result<Expr, SoqlError> {
        let binder = self.binder;
        let Term::Path(path) = inner else {
            return Err(binder.malformed(at, &format!("{name} takes a field")));
        };
        let bound = binder.path(path)?;
        let numeric = matches!(bound.kind, FieldType::Int | FieldType::Decimal);
        let function = match name {
            "COUNT" => Function::Count,
            "COUNT_DISTINCT" => Function::CountDistinct,
            "SUM" => Function::Sum,
            "AVG" => Function::Avg,
            "MIN" => Function::Min,
            _ => Function::Max,
        };
        let aggregatable = binder.leaf_flag(&bound, |f| {
            !matches!(
                f.kind,
                FieldType::Boolean | FieldType::Time | FieldType::Address | FieldType::Other | FieldType::MultiPicklist
            ) && f.describe.get("aggregatable") != Some(&Value::Bool(false))
        });
        if !aggregatable || (matches!(function, Function::Sum | Function::Avg) && !numeric) {
            return Err(binder.malformed(path.at, &format!("field {} does not support aggregate operator {name}", bound.name)));
        }
        let mut scale = match &bound.leaf {
            Leaf::Field { object, field } => binder.spec(*object, *field).scale,
            _ => 0,
        };
        let kind = match function {
            Function::Count | Function::CountDistinct => FieldType::Int,
            Function::Sum | Function::Avg => FieldType::Decimal,
            Function::Min | Function::Max => bound.kind,
        };
        let canonical = format!("{name}({})", bound.name);
        let is_amount = binder.type_name(&bound) == "currency" && kind != FieldType::Int;
        let expr = if is_amount {
            scale = scale.max(2);
            binder.money(bound, &binder.viewer.rates.corporate)
        } else {
            Expr::Path(bound)
        };
        let list = &mut self.groups.aggregates;
        let at = list.iter().position(|a| a.canonical == canonical).unwrap_or(list.len());
        if at == list.len() {
            list.push(Aggregate {
                function,
                expr,
                scale,
                canonical,
            });
        }
        Ok(Expr::Slot {
            slot: Slot::Aggregate(at),
            kind,
        })
    }
}

/// A text that equal expressions share.
fn canonical(term: &Term, expr: &Expr) -> String {
    let function = match term {
        Term::Call { name, .. } => name.as_str(),
        _ => "",
    };
    match expr {
        Expr::Path(bound) => bound.name.clone(),
        Expr::Part { path, zone, .. } => format!("{function}({}{})", path.name, if zone.is_some() { "@" } else { "" }),
        _ => format!("{function}?"),
    }
}
