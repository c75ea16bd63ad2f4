//! Conditions bound: each literal typed by the field it is compared with.

use super::SoqlError;
use super::ast::{Condition, Operand, Path, Statement, Term};
use super::expr::{Expr, Leaf};
use super::plan::{Binder, find_object, is_grouped};
use super::shape::{Filter, Operator, TextSet, like_pattern};
use super::{dates, run};
use crate::schema::FieldType;
use crate::store::id::Id;
use crate::store::value;
use chrono::{DateTime, NaiveDate, Utc};

/// Longest string in a condition, in characters.
const TEXT_CHARS_MAX: usize = 4000;
/// Semi- and anti-joins per query.
const SEMI_JOINS_MAX: usize = 2;
/// Objects a semi-join may not select from.
const NOT_JOINED: [&str; 6] = ["ActivityHistory", "Attachment", "Event", "EventAttendee", "Note", "Task"];

type Resolve<'r> = dyn FnMut(&Term) -> Result<Expr, SoqlError> + 'r;

impl Binder<'_> {
    /// A condition over records; semi-joins are allowed where `top` says so.
    pub(super) fn filter(&self, condition: &Condition, top: bool) -> Result<Filter, SoqlError> {
        self.filter_with(condition, top, &mut |term| self.filterable(term))
    }

    fn filterable(&self, term: &Term) -> Result<Expr, SoqlError> {
        let expr = self.value(term)?;
        match &expr {
            Expr::Path(bound) if !self.leaf_flag(bound, |f| f.filterable && f.kind != FieldType::Address) => Err(SoqlError::at(
                "INVALID_FIELD",
                self.query,
                term.at(),
                &format!("field '{}' can not be filtered in a query call", bound.name),
            )),
            _ => Ok(expr),
        }
    }

    /// A condition whose terms `resolve` binds.
    pub(super) fn filter_with(&self, condition: &Condition, top: bool, resolve: &mut Resolve<'_>) -> Result<Filter, SoqlError> {
        Ok(match condition {
            Condition::And(list) => Filter::And(list.iter().map(|c| self.filter_with(c, top, resolve)).collect::<Result<_, _>>()?),
            Condition::Or(list) => Filter::Or(list.iter().map(|c| self.filter_with(c, false, resolve)).collect::<Result<_, _>>()?),
            Condition::Not(inner) => Filter::Not(Box::new(self.filter_with(inner, false, resolve)?)),
            Condition::Compare { term, operator, operand } => {
                let expr = resolve(term)?;
                self.compare(term, expr, operator, operand)?
            }
            Condition::In { term, negated, list } => {
                let expr = resolve(term)?;
                self.in_list(term, expr, *negated, list)?
            }
            Condition::SemiJoin { term, negated, inner } => {
                if !top {
                    return Err(self.malformed(
                        term.at(),
                        "Semi join sub-selects are only allowed at the top level WHERE expressions and not in nested WHERE expressions.",
                    ));
                }
                self.semi_join(term, *negated, inner)?
            }
            Condition::Includes { term, negated, list } => {
                let expr = resolve(term)?;
                if expr.kind() != FieldType::MultiPicklist {
                    return Err(self.operator(term, "includes and excludes operators only valid on multipicklist field"));
                }
                let groups = list.iter().map(|g| g.split(';').map(|v| v.as_bytes().to_vec()).collect()).collect();
                Filter::Includes {
                    expr,
                    negated: *negated,
                    groups,
                }
            }
        })
    }

    fn operator(&self, term: &Term, message: &str) -> SoqlError {
        SoqlError::at("INVALID_QUERY_FILTER_OPERATOR", self.query, term.at(), message)
    }

    fn wrong(&self, term: &Term, expected: &str) -> SoqlError {
        let name = term.first_path().map_or("", |p| p.text.as_str());
        SoqlError::at(
            "INVALID_FIELD",
            self.query,
            term.at(),
            &format!("value of filter criterion for field '{name}' must be of type {expected}"),
        )
    }

    /// Whether a field compares with case.
    fn is_exact(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Path(bound) => {
                matches!(bound.kind, FieldType::Id | FieldType::Reference) || self.leaf_flag(bound, |f| f.case_sensitive && f.unique)
            }
            other => matches!(other.kind(), FieldType::Id | FieldType::Reference),
        }
    }

    fn compare(&self, term: &Term, expr: Expr, operator: &str, operand: &Operand) -> Result<Filter, SoqlError> {
        let kind = expr.kind();
        if operator == "LIKE" {
            return self.like(term, expr, operand);
        }
        let operator = Operator::parse(operator).ok_or_else(|| self.wrong(term, "comparison"))?;
        if let Expr::Distance { .. } = expr
            && !matches!(operator, Operator::Lt | Operator::Gt)
        {
            return Err(self.operator(term, "DISTANCE may only be compared with < and >"));
        }
        let is_equality = matches!(operator, Operator::Eq | Operator::Ne);
        if is_null(operand) && kind != FieldType::Boolean {
            let negated = operator == Operator::Ne;
            return match is_equality {
                true => Ok(Filter::Null { expr, negated }),
                false => Err(self.operator(term, "null may only be compared with = and !=")),
            };
        }
        match kind {
            FieldType::Boolean => {
                if !is_equality {
                    return Err(self.operator(term, "invalid operator on boolean field"));
                }
                let wanted = match operand {
                    Operand::Word(w, None) if w.eq_ignore_ascii_case("true") => true,
                    Operand::Word(w, None) if w.eq_ignore_ascii_case("false") || w.eq_ignore_ascii_case("null") => false,
                    _ => return Err(self.wrong(term, "boolean and should not be enclosed in quotes")),
                };
                let wanted = wanted == (operator == Operator::Eq);
                Ok(Filter::Flag { expr, wanted })
            }
            FieldType::Int | FieldType::Decimal => self.numeric(term, expr, operator, operand),
            FieldType::Date | FieldType::DateTime | FieldType::Time => {
                let (from, until) = self.span(term, kind, operand)?;
                Ok(Filter::Span {
                    expr,
                    operator,
                    from,
                    until,
                })
            }
            _ => self.textual(term, expr, operator, operand),
        }
    }

    fn textual(&self, term: &Term, expr: Expr, operator: Operator, operand: &Operand) -> Result<Filter, SoqlError> {
        let value = self.string(term, operand)?;
        if expr.kind() == FieldType::MultiPicklist && !value.is_empty() {
            let values = value.split(';').map(|v| v.as_bytes().to_vec()).collect();
            return match operator {
                Operator::Eq | Operator::Ne => Ok(Filter::SameSet {
                    expr,
                    negated: operator == Operator::Ne,
                    values,
                }),
                _ => Err(self.operator(term, "invalid operator on multipicklist field")),
            };
        }
        let exact = self.is_exact(&expr);
        let value = self.key_text(term, expr.kind(), value)?;
        Ok(Filter::Text {
            expr,
            operator,
            value,
            exact,
        })
    }

    fn string<'o>(&self, term: &Term, operand: &'o Operand) -> Result<&'o str, SoqlError> {
        match operand {
            Operand::Text { value, .. } if value.len() > TEXT_CHARS_MAX && value.chars().count() > TEXT_CHARS_MAX => {
                Err(self.malformed(term.at(), "a string in a WHERE clause cannot be longer than 4000 characters"))
            }
            Operand::Text { value, .. } => Ok(value),
            _ => Err(self.wrong(term, "string and should be enclosed in quotes")),
        }
    }

    fn like(&self, term: &Term, expr: Expr, operand: &Operand) -> Result<Filter, SoqlError> {
        self.string(term, operand)?;
        let Operand::Text { pattern, .. } = operand else {
            return Err(self.wrong(term, "string and should be enclosed in quotes"));
        };
        let kind = expr.kind();
        let fits = !kind.is_bare_json()
            && !matches!(
                kind,
                FieldType::Id | FieldType::Reference | FieldType::Date | FieldType::DateTime | FieldType::Time | FieldType::MultiPicklist
            );
        if !fits {
            return Err(self.operator(term, "invalid operator on id field"));
        }
        let pattern = like_pattern(pattern);
        Ok(Filter::Like { expr, pattern })
    }

    fn numeric(&self, term: &Term, expr: Expr, operator: Operator, operand: &Operand) -> Result<Filter, SoqlError> {
        let wrong = || self.wrong(term, "double and should not be enclosed in quotes");
        match operand {
            Operand::Literal(text) => {
                let value: f64 = text.parse().map_err(|_| wrong())?;
                if !value.is_finite() {
                    return Err(wrong());
                }
                Ok(Filter::Number { expr, operator, value })
            }
            Operand::Word(word, None) => {
                let (iso, amount) = word.split_at_checked(3).ok_or_else(wrong)?;
                let amount: f64 = amount.parse().map_err(|_| wrong())?;
                let iso = iso.to_ascii_uppercase();
                let rates = &self.viewer.rates;
                let Expr::Path(bound) = expr else { return Err(wrong()) };
                if self.type_name(&bound) != "currency" || !amount.is_finite() || !rates.is_multiple() || !rates.knows(&iso) {
                    return Err(wrong());
                }
                // Both sides are compared in the corporate currency, at today's rates.
                let value = rates.convert(amount, iso.as_bytes(), rates.corporate.as_bytes(), None);
                let expr = self.money(bound, &rates.corporate);
                Ok(Filter::Number { expr, operator, value })
            }
            _ => Err(wrong()),
        }
    }

    fn key_text(&self, term: &Term, kind: FieldType, value: &str) -> Result<String, SoqlError> {
        if !matches!(kind, FieldType::Id | FieldType::Reference) || value.is_empty() {
            return Ok(value.to_owned());
        }
        match Id::parse(value.as_bytes()) {
            Ok(id) => Ok(id.text()),
            Err(_) => Err(self.operator(term, &format!("invalid ID field: {value}"))),
        }
    }

    /// Where a date or time literal begins and ends, in stored form.
    fn span(&self, term: &Term, kind: FieldType, operand: &Operand) -> Result<(Vec<u8>, Vec<u8>), SoqlError> {
        let (wanted, form) = match kind {
            FieldType::Date => ("date", "%Y-%m-%d"),
            FieldType::Time => ("time", "%H:%M:%S%.3fZ"),
            _ => ("dateTime", "%Y-%m-%dT%H:%M:%S.000Z"),
        };
        let wrong = || self.wrong(term, &format!("{wanted} and should not be enclosed in quotes"));
        let day_text = |day: NaiveDate| match kind {
            FieldType::Date => day.format(form).to_string().into_bytes(),
            _ => instant(self.viewer.midnight(day)),
        };
        match operand {
            Operand::Literal(raw) if kind == FieldType::Time => {
                let time = chrono::NaiveTime::parse_from_str(raw.trim_end_matches('Z'), "%H:%M:%S%.f").map_err(|_| wrong())?;
                let from = time.format(form).to_string().into_bytes();
                Ok((from.clone(), just_after(from)))
            }
            Operand::Literal(raw) if kind == FieldType::Date => {
                let day = value::parse_date(raw.as_bytes()).filter(|_| raw.len() == 10).ok_or_else(wrong)?;
                if !in_range(day) {
                    return Err(wrong());
                }
                Ok((day_text(day), day_text(day.succ_opt().unwrap_or(day))))
            }
            Operand::Literal(raw) => {
                let mut from = Vec::new();
                if raw.len() < 19 || !value::datetime(raw.as_bytes(), &mut from) {
                    return Err(wrong());
                }
                if !value::parse_date(from.get(..10).unwrap_or_default()).is_some_and(in_range) {
                    return Err(wrong());
                }
                Ok((from.clone(), just_after(from)))
            }
            Operand::Word(word, count) if kind != FieldType::Time => {
                let range = dates::range(word, *count, self.viewer.today(), &self.viewer.calendar);
                let (from, until) = range.ok_or_else(wrong)?;
                Ok((day_text(from), day_text(until)))
            }
            _ => Err(wrong()),
        }
    }

    fn in_list(&self, term: &Term, expr: Expr, negated: bool, list: &[Operand]) -> Result<Filter, SoqlError> {
        let kind = expr.kind();
        let is_set = !matches!(
            kind,
            FieldType::Int
                | FieldType::Decimal
                | FieldType::Boolean
                | FieldType::Date
                | FieldType::DateTime
                | FieldType::Time
                | FieldType::MultiPicklist
        );
        if is_set {
            let exact = self.is_exact(&expr);
            let mut set = TextSet::default();
            let mut null = false;
            for operand in list {
                if is_null(operand) {
                    null = true;
                    continue;
                }
                let text = self.string(term, operand)?;
                if text.is_empty() {
                    null = true;
                    continue;
                }
                set.insert(run::fold(exact, self.key_text(term, kind, text)?.as_bytes()).into_owned());
            }
            return Ok(Filter::In {
                expr,
                negated,
                null,
                set,
                exact,
            });
        }
        let any = list
            .iter()
            .map(|operand| self.compare(term, expr.clone(), "=", operand))
            .collect::<Result<Vec<_>, _>>()?;
        let any = Filter::Or(any);
        Ok(if negated { Filter::Not(Box::new(any)) } else { any })
    }

    fn semi_join(&self, term: &Term, negated: bool, inner: &Statement) -> Result<Filter, SoqlError> {
        let bad = |message: &str| Err(self.malformed(term.at(), message));
        let joins = self.census.semi_joins.get() + 1;
        self.census.semi_joins.set(joins);
        if joins > SEMI_JOINS_MAX {
            return bad("Maximum 2 semi join sub-selects are allowed");
        }
        let Term::Path(path) = term else {
            return bad("The left operand of a semi join must be a field");
        };
        let expr = self.filterable(term)?;
        let Expr::Path(left) = &expr else {
            return bad("The left operand of a semi join must be a field");
        };
        if !left.hops.is_empty() {
            return bad("The left operand of a semi join may not be a relationship path");
        }
        if !matches!(left.kind, FieldType::Id | FieldType::Reference) {
            return bad(&format!(
                "The left operand '{}' of a semi join must be an id or a reference",
                path.text
            ));
        }
        let set = self.join_values(left, inner)?;
        Ok(Filter::In {
            expr,
            negated,
            null: false,
            set,
            exact: true,
        })
    }

    /// Checks the inner select and runs it.
    fn join_values(&self, left: &super::expr::Bound, inner: &Statement) -> Result<TextSet, SoqlError> {
        let bad = |message: &str| Err(self.malformed(inner.from.at, message));
        if !inner.order.is_empty() || inner.limit.is_some() || inner.offset.is_some() || inner.lock.is_some() {
            return bad("ORDER BY, LIMIT, OFFSET and FOR are not allowed in a semi join sub-select");
        }
        if is_grouped(inner) || inner.items.contains(&super::ast::Item::CountAll) {
            return bad("Aggregates are not allowed in a semi join sub-select");
        }
        if inner.condition.as_ref().is_some_and(holds_semi_join) {
            return bad("Nesting of semi join sub-selects is not supported");
        }
        let object = find_object(self.db, self.query, inner)?;
        let name = &self.db.schema.objects[object].name;
        if NOT_JOINED.contains(&name.as_str()) || name.ends_with("Tag") {
            return bad(&format!("Entity '{name}' is not supported for semi join inner selects"));
        }
        if object == self.object {
            return bad("The inner and outer selects should not be on the same object type");
        }
        let [super::ast::Item::Value(Term::Path(selected), None)] = inner.items.as_slice() else {
            return bad("Semi join sub-selects may only select one field");
        };
        let binder = Binder::new(
            self.db,
            self.query,
            self.viewer,
            self.surface,
            inner,
            object,
            self.census,
            self.level,
        );
        self.same_target(left, &binder, selected)?;
        let plan = binder.plan(inner)?;
        let column = plan.columns.first().and_then(|c| c.root_field());
        let table = &self.db.tables[object];
        let rows = run::rows(self.db, &plan, false);
        Ok(rows
            .into_iter()
            .filter_map(|i| table.row(i).get(column?).map(<[u8]>::to_vec))
            .collect())
    }

    fn same_target(&self, left: &super::expr::Bound, inner: &Binder<'_>, selected: &Path) -> Result<(), SoqlError> {
        let right = inner.path(selected)?;
        let bad = |message: &str| Err(self.malformed(selected.at, message));
        if !right.hops.is_empty() {
            return bad("The selected field of a semi join sub-select may not be a relationship path");
        }
        if !matches!(right.kind, FieldType::Id | FieldType::Reference) {
            return bad("The selected field in the semi join must be an id or a reference");
        }
        let targets = |bound: &super::expr::Bound| match (&bound.leaf, bound.kind) {
            (Leaf::Field { object, .. }, FieldType::Id) => vec![*object],
            (Leaf::Field { object, field }, _) => self.spec(*object, *field).targets.clone(),
            _ => Vec::new(),
        };
        let (a, b) = (targets(left), targets(&right));
        if a.iter().any(|o| b.contains(o)) {
            return Ok(());
        }
        bad(&format!(
            "The selected field '{}' in the subquery and the left operand field in the where expression in the outer query '{}' should point to the same object type",
            right.name, left.name
        ))
    }
}

fn is_null(operand: &Operand) -> bool {
    matches!(operand, Operand::Word(w, None) if w.eq_ignore_ascii_case("null"))
}

fn holds_semi_join(condition: &Condition) -> bool {
    match condition {
        Condition::And(list) | Condition::Or(list) => list.iter().any(holds_semi_join),
        Condition::Not(inner) => holds_semi_join(inner),
        Condition::SemiJoin { .. } => true,
        _ => false,
    }
}

fn instant(at: DateTime<Utc>) -> Vec<u8> {
    at.format("%Y-%m-%dT%H:%M:%S.000Z").to_string().into_bytes()
}

/// A text behind every text that is equal, before every one that is greater.
fn just_after(mut text: Vec<u8>) -> Vec<u8> {
    text.push(b'~');
    text
}

/// The years dates may lie in.
fn in_range(day: NaiveDate) -> bool {
    use chrono::Datelike;
    (1700..=4000).contains(&day.year())
}
