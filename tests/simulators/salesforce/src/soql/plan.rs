//! A statement bound to the schema: every name resolved, every literal typed.

use std::collections::HashSet;

use chrono::{NaiveDate, Utc};

use super::parser::{Condition, Item, Operand, Path, Statement};
use super::shape::like_pattern;
pub use super::shape::{Aggregate, Bound, Child, Filter, Leaf, Operator, Plan};
use super::{SoqlError, dates, run};
use crate::schema::FieldType;
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::value;

/// Where the query runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    Rest,
    Bulk,
}

const OFFSET_MAX: u64 = 2000;

/// Binds a statement.
pub fn bind(db: &Db, query: &str, statement: &Statement, surface: Surface) -> Result<Plan, SoqlError> {
    let name = &statement.from.text;
    let object = db.schema.object(name).ok_or_else(|| {
        SoqlError::at("INVALID_TYPE", query, statement.from.at, &format!(
            "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
        ))
    })?;
    bind_object(db, query, statement, surface, object)
}

fn bind_object(db: &Db, query: &str, statement: &Statement, surface: Surface, object: usize) -> Result<Plan, SoqlError> {
    let binder = Binder {
        db,
        query,
        object,
        alias: statement.alias.as_deref(),
    };
    let mut plan = Plan {
        object,
        columns: Vec::new(),
        aggregates: Vec::new(),
        count_all: false,
        group: Vec::new(),
        children: Vec::new(),
        filter: None,
        order: Vec::new(),
        limit: statement.limit,
        offset: statement.offset.unwrap_or(0),
        seek: None,
    };
    for path in &statement.group {
        plan.group.push(binder.path(path)?);
    }
    let mut unnamed = 0;
    for item in &statement.items {
        match item {
            Item::Field(path) => {
                let bound = binder.path(path)?;
                let again = plan.columns.iter().any(|c| c.name == bound.name);
                if again {
                    let text = format!("duplicate field selected: {}", path.text);
                    return Err(SoqlError::new("INVALID_FIELD", text));
                }
                plan.columns.push(bound);
            }
            Item::CountAll => plan.count_all = true,
            Item::Aggregate { function, path, alias } => {
                let name = alias.clone().unwrap_or_else(|| {
                    unnamed += 1;
                    format!("expr{}", unnamed - 1)
                });
                plan.aggregates.push(Aggregate {
                    function: function.clone(),
                    path: binder.path(path)?,
                    name,
                });
            }
            Item::Fields(which, at) => binder.fields(which, *at, statement.limit, &mut plan.columns)?,
            Item::Children(inner) => plan.children.push(binder.child(inner)?),
        }
    }
    if plan.count_all && statement.items.len() > 1 {
        return Err(SoqlError::new(
            "MALFORMED_QUERY",
            "COUNT() must be the only element in the SELECT list",
        ));
    }
    if plan.group.is_empty() && !plan.aggregates.is_empty() && !plan.columns.is_empty() {
        let name = &plan.columns[0].name;
        return Err(SoqlError::new(
            "MALFORMED_QUERY",
            format!("Field must be grouped or aggregated: {name}"),
        ));
    }
    if let Some(c) = plan
        .columns
        .iter()
        .find(|c| !plan.group.is_empty() && !plan.group.iter().any(|g| g.name == c.name))
    {
        return Err(SoqlError::new(
            "MALFORMED_QUERY",
            format!("Field must be grouped or aggregated: {}", c.name),
        ));
    }
    if let Some(condition) = &statement.condition {
        let filter = binder.filter(condition)?;
        plan.seek = seek(db, object, &filter);
        plan.filter = Some(filter);
    }
    for key in &statement.order {
        let bound = binder.path(&key.path)?;
        if !binder.leaf_flag(&bound, |f| f.sortable) {
            return Err(SoqlError::at(
                "MALFORMED_QUERY",
                query,
                key.path.at,
                &format!("field '{}' can not be sorted in a query call", bound.name),
            ));
        }
        plan.order.push((bound, key.descending, key.nulls_first.unwrap_or(true)));
    }
    if plan.offset > OFFSET_MAX {
        return Err(SoqlError::new("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"));
    }
    if surface == Surface::Bulk {
        bulk_rules(&plan, statement)?;
    }
    Ok(plan)
}

fn bulk_rules(plan: &Plan, statement: &Statement) -> Result<(), SoqlError> {
    let no = |what: &str| Err(SoqlError::new("FeatureNotEnabled", format!("{what} not supported in Bulk Query")));
    if plan.count_all || !plan.aggregates.is_empty() {
        return no("Aggregate Relationship query is");
    }
    if !plan.group.is_empty() {
        return no("GROUP BY is");
    }
    if statement.offset.is_some() {
        return no("OFFSET is");
    }
    if !plan.children.is_empty() {
        return no("Nested queries are");
    }
    if plan.columns.iter().any(|c| c.kind == FieldType::Address) {
        return no("Selecting compound data is");
    }
    Ok(())
}

fn seek(db: &Db, object: usize, filter: &Filter) -> Option<(usize, Vec<Vec<u8>>)> {
    match filter {
        Filter::And(list) => list.iter().find_map(|f| seek(db, object, f)),
        Filter::In {
            path,
            negated: false,
            null: false,
            set,
        } if path.hops.is_empty() => seekable(db, object, path).map(|f| (f, set.iter().cloned().collect())),
        Filter::Text {
            path,
            operator: Operator::Eq,
            value,
        } if path.hops.is_empty() => seekable(db, object, path).map(|f| (f, vec![value.clone().into_bytes()])),
        _ => None,
    }
}

fn seekable(db: &Db, object: usize, path: &Bound) -> Option<usize> {
    let Leaf::Field { field, .. } = path.leaf else {
        return None;
    };
    (field == 0 || db.schema.objects[object].fields[field].unique).then_some(field)
}

struct Binder<'a> {
    db: &'a Db,
    query: &'a str,
    object: usize,
    alias: Option<&'a str>,
}

impl Binder<'_> {
    fn no_column(&self, path: &Path, name: &str, object: usize) -> SoqlError {
        let entity = &self.db.schema.objects[object].name;
        SoqlError::at(
            "INVALID_FIELD",
            self.query,
            path.at,
            &format!(
                "No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names."
            ),
        )
    }

    fn path(&self, path: &Path) -> Result<Bound, SoqlError> {
        let schema = &self.db.schema;
        let mut parts: Vec<&str> = path.text.split('.').collect();
        let own = &schema.objects[self.object].name;
        let head = parts[0];
        let is_root = self.alias.is_some_and(|a| a.eq_ignore_ascii_case(head))
            || (head.eq_ignore_ascii_case(own) && schema.objects[self.object].relationship(head).is_none());
        if parts.len() > 1 && is_root {
            parts.remove(0);
        }
        if parts.len() > 6 {
            return Err(SoqlError::new("MALFORMED_QUERY", "relationship paths may span at most 5 levels"));
        }
        let (last, links) = parts.split_last().expect("a path has at least one part");
        let mut objects = vec![self.object];
        let mut hops = Vec::new();
        let mut name = String::new();
        for link in links {
            let [object] = objects[..] else {
                return Err(self.no_column(path, link, objects[0]));
            };
            let field = schema.objects[object].relationship(link).ok_or_else(|| {
                SoqlError::at("INVALID_FIELD", self.query, path.at, &format!(
                    "Didn't understand relationship '{link}' in field path. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names."
                ))
            })?;
            let spec = &schema.objects[object].fields[field];
            if spec.targets.is_empty() {
                return Err(self.no_column(path, link, object));
            }
            hops.push(field);
            name.push_str(spec.relationship.as_deref().unwrap_or(link));
            name.push('.');
            objects = spec.targets.clone();
        }
        if !hops.is_empty() && objects.len() > 1 {
            if last.eq_ignore_ascii_case("Type") {
                name.push_str("Type");
                return Ok(Bound {
                    name,
                    hops,
                    leaf: Leaf::Type,
                    kind: FieldType::Text,
                });
            }
            let list: Vec<(usize, usize)> = objects
                .iter()
                .filter_map(|o| schema.objects[*o].visible(last).map(|f| (*o, f)))
                .collect();
            let Some((object, field)) = list.first().copied() else {
                return Err(self.no_column(path, last, objects[0]));
            };
            let spec = &schema.objects[object].fields[field];
            name.push_str(&spec.name);
            return Ok(Bound {
                name,
                hops,
                kind: spec.kind,
                leaf: Leaf::Poly(list),
            });
        }
        let object = objects[0];
        let field = schema.objects[object]
            .visible(last)
            .ok_or_else(|| self.no_column(path, last, object))?;
        let spec = &schema.objects[object].fields[field];
        name.push_str(&spec.name);
        Ok(Bound {
            name,
            hops,
            kind: spec.kind,
            leaf: Leaf::Field { object, field },
        })
    }

    fn leaf_flag(&self, bound: &Bound, flag: impl Fn(&crate::schema::Field) -> bool) -> bool {
        match &bound.leaf {
            Leaf::Field { object, field } => flag(&self.db.schema.objects[*object].fields[*field]),
            Leaf::Poly(list) => list.iter().all(|(o, f)| flag(&self.db.schema.objects[*o].fields[*f])),
            Leaf::Type => true,
        }
    }

    fn fields(&self, which: &str, at: usize, limit: Option<u64>, out: &mut Vec<Bound>) -> Result<(), SoqlError> {
        let custom = match which {
            "ALL" => None,
            "CUSTOM" => Some(true),
            "STANDARD" => Some(false),
            _ => {
                return Err(SoqlError::at(
                    "MALFORMED_QUERY",
                    self.query,
                    at,
                    "FIELDS takes ALL, STANDARD or CUSTOM",
                ));
            }
        };
        if custom != Some(false) && limit.is_none_or(|l| l > 200) {
            return Err(SoqlError::new(
                "MALFORMED_QUERY",
                format!("The SOQL FIELDS function must have a LIMIT of at most 200 when used with {which}"),
            ));
        }
        let meta = &self.db.schema.objects[self.object];
        for (field, spec) in meta.fields.iter().enumerate() {
            if !spec.is_hidden() && custom.is_none_or(|c| c == spec.name.ends_with("__c")) {
                out.push(Bound {
                    name: spec.name.clone(),
                    hops: Vec::new(),
                    leaf: Leaf::Field {
                        object: self.object,
                        field,
                    },
                    kind: spec.kind,
                });
            }
        }
        Ok(())
    }

    fn child(&self, inner: &Statement) -> Result<Child, SoqlError> {
        let describe = self.db.schema.describe(self.object, "v65.0");
        let list = describe["childRelationships"].as_array().cloned().unwrap_or_default();
        let name = &inner.from.text;
        let found = list
            .iter()
            .find(|c| c["relationshipName"].as_str().is_some_and(|r| r.eq_ignore_ascii_case(name)));
        let target = found.and_then(|c| {
            let object = self.db.schema.object(c["childSObject"].as_str()?)?;
            let field = self.db.schema.objects[object].field(c["field"].as_str()?)?;
            Some((c["relationshipName"].as_str()?.to_owned(), object, field))
        });
        let Some((relationship, object, field)) = target else {
            return Err(SoqlError::at(
                "INVALID_TYPE",
                self.query,
                inner.from.at,
                &format!(
                    "Didn't understand relationship '{name}' in FROM part of query call. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names."
                ),
            ));
        };
        let plan = bind_object(self.db, self.query, inner, Surface::Rest, object)?;
        if !plan.children.is_empty() || plan.count_all || !plan.aggregates.is_empty() {
            return Err(SoqlError::new(
                "MALFORMED_QUERY",
                "only one level of plain child queries is supported by this org",
            ));
        }
        Ok(Child { relationship, field, plan })
    }

    fn filterable(&self, path: &Path) -> Result<Bound, SoqlError> {
        let bound = self.path(path)?;
        if self.leaf_flag(&bound, |f| f.filterable) {
            return Ok(bound);
        }
        Err(SoqlError::at(
            "INVALID_FIELD",
            self.query,
            path.at,
            &format!("field '{}' can not be filtered in a query call", bound.name),
        ))
    }

    fn filter(&self, condition: &Condition) -> Result<Filter, SoqlError> {
        Ok(match condition {
            Condition::And(list) => Filter::And(list.iter().map(|c| self.filter(c)).collect::<Result<_, _>>()?),
            Condition::Or(list) => Filter::Or(list.iter().map(|c| self.filter(c)).collect::<Result<_, _>>()?),
            Condition::Not(inner) => Filter::Not(Box::new(self.filter(inner)?)),
            Condition::Compare { path, operator, operand } => self.compare(path, operator, operand)?,
            Condition::In { path, negated, list } => self.in_list(path, *negated, list)?,
            Condition::SemiJoin { path, negated, inner } => self.semi_join(path, *negated, inner)?,
            Condition::Includes { path, negated, list } => {
                let bound = self.filterable(path)?;
                if bound.kind != FieldType::MultiPicklist {
                    return Err(SoqlError::at(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        self.query,
                        path.at,
                        "includes and excludes operators only valid on multipicklist field",
                    ));
                }
                let groups = list.iter().map(|g| g.split(';').map(|v| v.as_bytes().to_vec()).collect()).collect();
                Filter::Includes {
                    path: bound,
                    negated: *negated,
                    groups,
                }
            }
        })
    }

    fn wrong(&self, path: &Path, expected: &str) -> SoqlError {
        SoqlError::at(
            "INVALID_FIELD",
            self.query,
            path.at,
            &format!("value of filter criterion for field '{}' must be of type {expected}", path.text),
        )
    }

    fn compare(&self, path: &Path, operator: &str, operand: &Operand) -> Result<Filter, SoqlError> {
        let bound = self.filterable(path)?;
        let is_null = matches!(operand, Operand::Word(w, None) if w.eq_ignore_ascii_case("null"));
        if operator == "LIKE" {
            let Operand::Text { pattern, .. } = operand else {
                return Err(self.wrong(path, "string and should be enclosed in quotes"));
            };
            if bound.kind.is_bare_json()
                || matches!(
                    bound.kind,
                    FieldType::Id | FieldType::Reference | FieldType::Date | FieldType::DateTime
                )
            {
                return Err(SoqlError::at(
                    "INVALID_QUERY_FILTER_OPERATOR",
                    self.query,
                    path.at,
                    "invalid operator on id field",
                ));
            }
            return Ok(Filter::Like {
                path: bound,
                pattern: like_pattern(pattern),
            });
        }
        let operator = Operator::parse(operator).ok_or_else(|| self.wrong(path, "comparison"))?;
        if is_null && bound.kind != FieldType::Boolean {
            return match operator {
                Operator::Eq => Ok(Filter::Null {
                    path: bound,
                    negated: false,
                }),
                Operator::Ne => Ok(Filter::Null {
                    path: bound,
                    negated: true,
                }),
                _ => Err(SoqlError::at(
                    "INVALID_QUERY_FILTER_OPERATOR",
                    self.query,
                    path.at,
                    "null may only be compared with = and !=",
                )),
            };
        }
        match bound.kind {
            FieldType::Boolean => {
                let wanted = match operand {
                    Operand::Word(w, None) if w.eq_ignore_ascii_case("true") => true,
                    Operand::Word(w, None) if w.eq_ignore_ascii_case("false") || w.eq_ignore_ascii_case("null") => false,
                    _ => return Err(self.wrong(path, "boolean and should not be enclosed in quotes")),
                };
                Ok(Filter::Flag {
                    path: bound,
                    wanted: wanted == (operator == Operator::Eq),
                })
            }
            FieldType::Int | FieldType::Decimal => match operand {
                Operand::Literal(text) => {
                    let value = text
                        .parse()
                        .map_err(|_| self.wrong(path, "double and should not be enclosed in quotes"))?;
                    Ok(Filter::Number {
                        path: bound,
                        operator,
                        value,
                    })
                }
                _ => Err(self.wrong(path, "double and should not be enclosed in quotes")),
            },
            FieldType::Date | FieldType::DateTime => {
                let (from, until) = self.span(path, &bound, operand)?;
                Ok(Filter::Span {
                    path: bound,
                    operator,
                    from,
                    until,
                })
            }
            _ => match operand {
                Operand::Text { value, .. } => {
                    let value = self.key_text(path, &bound, value)?;
                    Ok(Filter::Text {
                        path: bound,
                        operator,
                        value,
                    })
                }
                _ => Err(self.wrong(path, "string and should be enclosed in quotes")),
            },
        }
    }

    fn key_text(&self, path: &Path, bound: &Bound, value: &str) -> Result<String, SoqlError> {
        if !matches!(bound.kind, FieldType::Id | FieldType::Reference) || value.is_empty() {
            return Ok(value.to_owned());
        }
        match Id::parse(value.as_bytes()) {
            Ok(id) => Ok(id.text()),
            Err(_) => Err(SoqlError::at(
                "INVALID_QUERY_FILTER_OPERATOR",
                self.query,
                path.at,
                &format!("invalid ID field: {value}"),
            )),
        }
    }

    fn span(&self, path: &Path, bound: &Bound, operand: &Operand) -> Result<(Vec<u8>, Vec<u8>), SoqlError> {
        let is_date = bound.kind == FieldType::Date;
        let text = |day: NaiveDate| {
            let form = if is_date { "%Y-%m-%d" } else { "%Y-%m-%dT00:00:00.000Z" };
            day.format(form).to_string().into_bytes()
        };
        match operand {
            Operand::Literal(raw) if is_date => {
                let day = value::parse_date(raw.as_bytes()).ok_or_else(|| self.wrong(path, "date and should not be enclosed in quotes"))?;
                let until = day.succ_opt().unwrap_or(day);
                Ok((text(day), text(until)))
            }
            Operand::Literal(raw) => {
                let mut from = Vec::new();
                if raw.len() < 19 || !value::datetime(raw.as_bytes(), &mut from) {
                    return Err(self.wrong(path, "dateTime and should not be enclosed in quotes"));
                }
                let mut until = from.clone();
                until.push(b'~');
                Ok((from, until))
            }
            Operand::Word(word, count) => {
                let (from, until) = dates::range(word, *count, Utc::now().date_naive())
                    .ok_or_else(|| self.wrong(path, "date and should not be enclosed in quotes"))?;
                Ok((text(from), text(until)))
            }
            Operand::Text { .. } => Err(self.wrong(path, "dateTime and should not be enclosed in quotes")),
        }
    }

    fn in_list(&self, path: &Path, negated: bool, list: &[Operand]) -> Result<Filter, SoqlError> {
        let bound = self.filterable(path)?;
        if !matches!(
            bound.kind,
            FieldType::Int | FieldType::Decimal | FieldType::Boolean | FieldType::Date | FieldType::DateTime
        ) {
            let mut set = HashSet::default();
            let mut null = false;
            for operand in list {
                match operand {
                    Operand::Text { value, .. } if value.is_empty() => null = true,
                    Operand::Text { value, .. } => {
                        set.insert(run::fold(bound.kind, self.key_text(path, &bound, value)?.as_bytes()).into_owned());
                    }
                    Operand::Word(w, None) if w.eq_ignore_ascii_case("null") => null = true,
                    _ => return Err(self.wrong(path, "string and should be enclosed in quotes")),
                }
            }
            return Ok(Filter::In {
                path: bound,
                negated,
                null,
                set,
            });
        }
        let any = list
            .iter()
            .map(|operand| self.compare(path, "=", operand))
            .collect::<Result<Vec<_>, _>>()?;
        let any = Filter::Or(any);
        Ok(if negated { Filter::Not(Box::new(any)) } else { any })
    }

    fn semi_join(&self, path: &Path, negated: bool, inner: &Statement) -> Result<Filter, SoqlError> {
        let bound = self.filterable(path)?;
        let bad = |message: &str| SoqlError::at("MALFORMED_QUERY", self.query, path.at, message);
        if !bound.hops.is_empty() {
            return Err(bad("The left operand of a semi join may not be a relationship path"));
        }
        if !inner.order.is_empty() || inner.limit.is_some() {
            return Err(bad("ORDER BY and LIMIT are not allowed in a semi join"));
        }
        let plan = bind(self.db, self.query, inner, Surface::Rest)?;
        let [column] = &plan.columns[..] else {
            return Err(bad("Semi join sub-selects may only select one field"));
        };
        if !matches!(column.kind, FieldType::Id | FieldType::Reference) {
            return Err(bad("The selected field in the semi join must be an id or a reference"));
        }
        let table = &self.db.tables[plan.object];
        let set = run::rows(self.db, &plan, false)
            .into_iter()
            .filter_map(|i| column.value(self.db, table.row(i)).map(<[u8]>::to_vec))
            .collect();
        Ok(Filter::In {
            path: bound,
            negated,
            null: false,
            set,
        })
    }
}
