//! A statement bound to the schema: every name resolved, every literal typed.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

use super::SoqlError;
use super::ast::{Item, Statement, With};
pub use super::expr::{Bound, Expr, Hop, Leaf};
pub use super::shape::{Child, Column, Filter, Operator, Plan, Shown, Sort};
pub use super::viewer::Viewer;
use crate::schema::FieldType;
use crate::store::db::Db;

/// Where the query runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    Rest,
    Bulk,
}

/// Limits of a query (SOQL and SOSL reference, "Relationship Query Limitations").
const OFFSET_MAX: u64 = 2000;
const PARENTS_MAX: usize = 55;
const CHILDREN_MAX: usize = 20;
const CHILD_LEVELS_MAX: usize = 5;
/// The version since which subqueries may hold subqueries.
const NESTED_CHILDREN_SINCE: u32 = 58;
const FIELDS_LIMIT_MAX: u64 = 200;

/// Counts that span a query and its subqueries.
#[derive(Default)]
pub(super) struct Census {
    pub parents: RefCell<HashSet<String>>,
    pub children: Cell<usize>,
    pub semi_joins: Cell<usize>,
}

pub(super) struct Binder<'a> {
    pub db: &'a Db,
    pub query: &'a str,
    pub viewer: &'a Viewer,
    pub surface: Surface,
    pub object: usize,
    pub alias: Option<&'a str>,
    /// `FROM Contact c, c.Account a`: alias and full path.
    pub relations: Vec<(String, String)>,
    pub census: &'a Census,
    /// Subqueries above this one.
    pub level: usize,
}

/// Binds a statement.
pub fn bind(db: &Db, query: &str, statement: &Statement, surface: Surface, viewer: &Viewer) -> Result<Plan, SoqlError> {
    let census = Census::default();
    let object = find_object(db, query, statement)?;
    let binder = Binder::new(db, query, viewer, surface, statement, object, &census, 0);
    let plan = binder.plan(statement)?;
    if census.parents.borrow().len() > PARENTS_MAX {
        return Err(SoqlError::new(
            "MALFORMED_QUERY",
            format!("A query may follow at most {PARENTS_MAX} different child-to-parent relationships"),
        ));
    }
    Ok(plan)
}

pub(super) fn find_object(db: &Db, query: &str, statement: &Statement) -> Result<usize, SoqlError> {
    let name = &statement.from.text;
    db.schema.object(name).ok_or_else(|| {
        SoqlError::at("INVALID_TYPE", query, statement.from.at, &format!(
            "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
        ))
    })
}

impl<'a> Binder<'a> {
    #[allow(clippy::too_many_arguments, reason = "one constructor for the query and its subqueries")]
    pub(super) fn new(
        db: &'a Db,
        query: &'a str,
        viewer: &'a Viewer,
        surface: Surface,
        statement: &'a Statement,
        object: usize,
        census: &'a Census,
        level: usize,
    ) -> Self {
        let mut relations: Vec<(String, String)> = Vec::new();
        for (path, alias) in &statement.relations {
            let (head, rest) = path.text.split_once('.').unwrap_or(("", &path.text));
            let above = relations.iter().find(|(a, _)| a.eq_ignore_ascii_case(head));
            let full = above.map_or_else(|| rest.to_owned(), |(_, p)| format!("{p}.{rest}"));
            relations.push((alias.clone(), full));
        }
        Self {
            db,
            query,
            viewer,
            surface,
            object,
            alias: statement.alias.as_deref(),
            relations,
            census,
            level,
        }
    }

    pub(super) fn malformed(&self, at: usize, message: &str) -> SoqlError {
        SoqlError::at("MALFORMED_QUERY", self.query, at, message)
    }

    pub(super) fn plan(&self, statement: &Statement) -> Result<Plan, SoqlError> {
        if self.surface == Surface::Bulk {
            bulk_rules(statement)?;
        }
        self.clauses(statement)?;
        let mut plan = Plan {
            object: self.object,
            columns: Vec::new(),
            count_all: false,
            groups: None,
            children: Vec::new(),
            filter: None,
            order: Vec::new(),
            limit: statement.limit,
            offset: statement.offset.unwrap_or(0),
            seek: None,
        };
        if statement.items.contains(&Item::CountAll) {
            self.count_all(statement)?;
            plan.count_all = true;
        } else if is_grouped(statement) {
            self.grouped(statement, &mut plan)?;
        } else {
            self.columns(statement, &mut plan)?;
            for key in &statement.order {
                plan.order.push(self.sort(key)?);
            }
        }
        if self.surface == Surface::Bulk && plan.columns.iter().any(is_compound) {
            return Err(not_in_bulk("Selecting compound data is"));
        }
        self.filters(statement, &mut plan)?;
        Ok(plan)
    }

    fn filters(&self, statement: &Statement, plan: &mut Plan) -> Result<(), SoqlError> {
        if let Some(condition) = &statement.condition {
            let filter = self.filter(condition, true)?;
            plan.seek = self.seek(&filter);
            plan.filter = Some(filter);
        }
        let name = self.db.schema.objects[self.object].name.as_str();
        if let Some(scope) = &statement.scope {
            let own = self.scope(scope)?;
            plan.filter = match (plan.filter.take(), own) {
                (Some(filter), Some(own)) => Some(Filter::And(vec![filter, own])),
                (filter, own) => filter.or(own),
            };
        }
        if name == "ContentDocumentLink" && !statement.condition.as_ref().is_some_and(|c| names_one_of(c, &LINK_KEYS)) {
            return Err(SoqlError::new(
                "MALFORMED_QUERY",
                "Implementation restriction: ContentDocumentLink requires a filter by a single Id on ContentDocumentId or LinkedEntityId using the equals operator or multiple Id's using the IN operator.",
            ));
        }
        Ok(())
    }

    /// Rules on clauses that need no schema.
    fn clauses(&self, statement: &Statement) -> Result<(), SoqlError> {
        if statement.offset.is_some_and(|o| o > OFFSET_MAX) {
            return Err(SoqlError::new("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"));
        }
        if let Some(With::Category(at)) = statement.with {
            let name = &self.db.schema.objects[self.object].name;
            return Err(self.malformed(at, &format!("sObject type '{name}' does not support data category filtering")));
        }
        if let Some(at) = statement.lock {
            if !statement.order.is_empty() {
                return Err(self.malformed(at, "ORDER BY not allowed with FOR UPDATE"));
            }
            if is_grouped(statement) || statement.items.contains(&Item::CountAll) {
                return Err(self.malformed(at, "FOR UPDATE is not allowed in an aggregate query"));
            }
        }
        Ok(())
    }

    fn count_all(&self, statement: &Statement) -> Result<(), SoqlError> {
        let no = |message: &str| Err(SoqlError::new("MALFORMED_QUERY", message));
        if statement.items.len() > 1 {
            return no("COUNT() must be the only element in the SELECT list");
        }
        if !statement.group.is_empty() {
            return no("Grouped query must use COUNT(fieldname)");
        }
        match statement.order.first() {
            Some(key) => Err(self.malformed(key.term.at(), "ORDER BY is not allowed with COUNT()")),
            None => Ok(()),
        }
    }

    fn scope(&self, scope: &super::ast::Path) -> Result<Option<Filter>, SoqlError> {
        const MINE: [&str; 2] = ["mine", "mine_and_my_groups"];
        const OTHERS: [&str; 6] = [
            "everything",
            "delegated",
            "my_territory",
            "my_team_territory",
            "team",
            "scopingrule",
        ];
        let name = scope.text.to_ascii_lowercase();
        if MINE.contains(&name.as_str()) {
            let meta = &self.db.schema.objects[self.object];
            let Some(owner) = meta.field("OwnerId") else {
                return Err(self.malformed(
                    scope.at,
                    &format!("scope '{}' is not supported by sObject type '{}'", scope.text, meta.name),
                ));
            };
            return Ok(Some(Filter::Text {
                expr: Expr::Path(self.own_field(owner)),
                operator: Operator::Eq,
                value: self.viewer.user.text(),
                exact: true,
            }));
        }
        match OTHERS.contains(&name.as_str()) {
            // No territories, teams or delegations here: nobody but the user has them.
            true if name != "everything" && name != "scopingrule" => Ok(Some(Filter::Or(Vec::new()))),
            true => Ok(None),
            false => Err(self.malformed(scope.at, &format!("unexpected token: '{}'", scope.text))),
        }
    }

    fn columns(&self, statement: &Statement, plan: &mut Plan) -> Result<(), SoqlError> {
        let mut seen = HashSet::new();
        for item in &statement.items {
            match item {
                Item::Value(term, alias) => {
                    let mut column = self.column(term, alias.as_ref())?;
                    if column.name.is_empty() {
                        let unnamed = plan.columns.iter().filter(|c| c.name.starts_with("expr")).count();
                        column.name = format!("expr{unnamed}");
                    }
                    plan.columns.push(column);
                }
                Item::Fields(which, at) => self.fields(which, *at, statement, &mut plan.columns)?,
                Item::TypeOf(type_of) => plan.columns.push(self.type_of(type_of)?),
                Item::Children(inner) => plan.children.push(self.child(inner)?),
                Item::CountAll => {}
            }
        }
        for column in &plan.columns {
            if !seen.insert(column.name.to_ascii_lowercase()) {
                let text = format!("duplicate field selected: {}", column.name);
                return Err(SoqlError::new("INVALID_FIELD", text));
            }
        }
        for column in plan.columns.iter().filter(|c| matches!(c.shown, Shown::TypeOf { .. })) {
            let inside = format!("{}.", column.name.to_ascii_lowercase());
            if seen.iter().any(|name| name.starts_with(&inside)) {
                return Err(SoqlError::new(
                    "MALFORMED_QUERY",
                    format!("The relationship '{}' is used in TYPEOF and in the field list", column.name),
                ));
            }
        }
        for (i, child) in plan.children.iter().enumerate() {
            if plan.children[..i].iter().any(|c| c.relationship == child.relationship) {
                let text = format!("duplicate relationship selected: {}", child.relationship);
                return Err(SoqlError::new("MALFORMED_QUERY", text));
            }
        }
        Ok(())
    }

    fn fields(&self, which: &str, at: usize, statement: &Statement, out: &mut Vec<Column>) -> Result<(), SoqlError> {
        let custom = match which {
            "ALL" => None,
            "CUSTOM" => Some(true),
            "STANDARD" => Some(false),
            _ => return Err(self.malformed(at, "FIELDS takes ALL, STANDARD or CUSTOM")),
        };
        let bounded = statement.limit.is_some_and(|l| l <= FIELDS_LIMIT_MAX)
            || statement
                .condition
                .as_ref()
                .is_some_and(|c| ids_named(c, FIELDS_LIMIT_MAX as usize));
        if custom != Some(false) && !bounded {
            return Err(SoqlError::new(
                "MALFORMED_QUERY",
                "The SOQL FIELDS function must have a LIMIT of at most 200",
            ));
        }
        let meta = &self.db.schema.objects[self.object];
        let before = out.len();
        for (field, spec) in meta.fields.iter().enumerate() {
            let compound = self.surface == Surface::Bulk && spec.kind == FieldType::Address;
            if !spec.is_hidden() && custom.is_none_or(|c| c == spec.name.ends_with("__c")) && !spec.name.starts_with('_') && !compound {
                out.push(Column {
                    name: spec.name.clone(),
                    shown: Shown::Value(Expr::Path(self.own_field(field))),
                });
            }
        }
        if out.len() == before {
            return Err(self.malformed(at, &format!("The sObject type '{}' has no custom fields", meta.name)));
        }
        Ok(())
    }

    fn child(&self, inner: &Statement) -> Result<Child, SoqlError> {
        let level = self.level + 1;
        let bad = |message: &str| Err(self.malformed(inner.from.at, message));
        if level > CHILD_LEVELS_MAX {
            return bad("Subqueries may be nested at most 5 levels deep");
        }
        if level > 1 && self.viewer.version < NESTED_CHILDREN_SINCE {
            return bad("Nested subqueries are available from API version 58.0 on");
        }
        self.census.children.set(self.census.children.get() + 1);
        if self.census.children.get() > CHILDREN_MAX {
            return bad("A query may hold at most 20 subqueries");
        }
        if is_grouped(inner) || inner.items.contains(&Item::CountAll) {
            return bad("Aggregate functions and GROUP BY are not allowed in a subquery of the SELECT list");
        }
        let name = &inner.from.text;
        let Some((relationship, object, field)) = self.child_link(name) else {
            return Err(SoqlError::at(
                "INVALID_TYPE",
                self.query,
                inner.from.at,
                &format!(
                    "Didn't understand relationship '{name}' in FROM part of query call. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names."
                ),
            ));
        };
        let binder = Binder::new(self.db, self.query, self.viewer, self.surface, inner, object, self.census, level);
        let plan = Arc::new(binder.plan(inner)?);
        Ok(Child { relationship, field, plan })
    }

    fn child_link(&self, name: &str) -> Option<(String, usize, usize)> {
        let schema = &self.db.schema;
        let list = schema.children(self.object);
        let found = list
            .iter()
            .find(|c| c["relationshipName"].as_str().is_some_and(|r| r.eq_ignore_ascii_case(name)))?;
        let object = schema.object(found["childSObject"].as_str()?)?;
        let field = self.field_of(object, found["field"].as_str()?)?;
        Some((found["relationshipName"].as_str()?.to_owned(), object, field))
    }

    fn seek(&self, filter: &Filter) -> Option<(usize, Vec<Vec<u8>>)> {
        match filter {
            Filter::And(list) => list.iter().find_map(|f| self.seek(f)),
            Filter::In {
                expr,
                negated: false,
                null: false,
                set,
                ..
            } => self.seekable(expr).map(|f| (f, set.iter().cloned().collect())),
            Filter::Text {
                expr,
                operator: Operator::Eq,
                value,
                ..
            } if !value.is_empty() => self.seekable(expr).map(|f| (f, vec![value.clone().into_bytes()])),
            _ => None,
        }
    }

    fn seekable(&self, expr: &Expr) -> Option<usize> {
        let field = expr.root_field()?;
        (field == 0 || self.db.schema.objects[self.object].fields[field].unique).then_some(field)
    }
}

/// What a query of ContentDocumentLink must filter on.
const LINK_KEYS: [&str; 3] = ["Id", "ContentDocumentId", "LinkedEntityId"];

fn names_one_of(condition: &super::ast::Condition, names: &[&str]) -> bool {
    use super::ast::{Condition, Term};
    let named = |term: &Term| match term {
        Term::Path(path) => {
            let last = path.text.rsplit('.').next().unwrap_or_default();
            names.iter().any(|n| n.eq_ignore_ascii_case(last))
        }
        _ => false,
    };
    match condition {
        Condition::And(list) => list.iter().any(|c| names_one_of(c, names)),
        Condition::Or(list) => list.iter().all(|c| names_one_of(c, names)),
        Condition::Compare { term, operator, .. } => operator == "=" && named(term),
        Condition::In { term, negated, .. } => !negated && named(term),
        Condition::SemiJoin { .. } | Condition::Not(_) | Condition::Includes { .. } => false,
    }
}

/// Whether the condition names at most `max` ids, which bounds the answer as a LIMIT does.
fn ids_named(condition: &super::ast::Condition, max: usize) -> bool {
    use super::ast::{Condition, Term};
    let is_id = |term: &Term| matches!(term, Term::Path(p) if p.text.eq_ignore_ascii_case("Id"));
    match condition {
        Condition::And(list) => list.iter().any(|c| ids_named(c, max)),
        Condition::Compare { term, operator, .. } => operator == "=" && is_id(term),
        Condition::In { term, negated, list } => !negated && is_id(term) && list.len() <= max,
        _ => false,
    }
}

pub(super) fn is_aggregate(name: &str) -> bool {
    ["COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG", "GROUPING"].contains(&name)
}

fn has_aggregate(term: &super::ast::Term) -> bool {
    match term {
        super::ast::Term::Call { name, arguments, .. } => is_aggregate(name) || arguments.iter().any(has_aggregate),
        _ => false,
    }
}

/// Whether the answer consists of AggregateResult rows.
pub(super) fn is_grouped(statement: &Statement) -> bool {
    let aggregate = |item: &Item| matches!(item, Item::Value(term, _) if has_aggregate(term));
    !statement.group.is_empty() || statement.items.iter().any(aggregate)
}

fn is_compound(column: &Column) -> bool {
    match column.expr() {
        Some(Expr::Path(bound)) => bound.kind == FieldType::Address,
        _ => false,
    }
}

fn not_in_bulk(what: &str) -> SoqlError {
    SoqlError::new("FeatureNotEnabled", format!("{what} not supported in Bulk Query"))
}

/// What Bulk refuses (fact sheet, Bulk API 2.0 query jobs).
fn bulk_rules(statement: &Statement) -> Result<(), SoqlError> {
    let any = |wanted: fn(&Item) -> bool| statement.items.iter().any(wanted);
    if !statement.group.is_empty() {
        return Err(not_in_bulk("GROUP BY is"));
    }
    if any(|i| *i == Item::CountAll) || is_grouped(statement) {
        return Err(not_in_bulk("Aggregate Relationship query is"));
    }
    if statement.offset.is_some() {
        return Err(not_in_bulk("OFFSET is"));
    }
    if any(|i| matches!(i, Item::TypeOf(_))) {
        return Err(not_in_bulk("TYPEOF is"));
    }
    if any(|i| matches!(i, Item::Children(_))) {
        return Err(not_in_bulk("Nested queries are"));
    }
    Ok(())
}
