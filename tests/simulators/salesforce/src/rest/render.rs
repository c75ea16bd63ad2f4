//! Records as JSON: the select list as nested objects, and the cells inside.

use std::io::Write;

use crate::schema::FieldType;
use crate::soql::expr::{Cells, RowCells};
use crate::soql::plan::{Bound, Column, Expr, Hop, Leaf, Shown};
use crate::store::db::Db;
use crate::store::files;
use crate::store::id::Id;
use crate::store::row::Row;

/// The select list as nested objects.
pub struct Tree {
    cells: Vec<(String, Leafy)>,
    /// The cell a record's URL ends with: its id, as a rule.
    key: usize,
}

enum Leafy {
    Cell(Expr),
    /// A compound value: its keys and the fields they come from.
    Compound(Vec<(&'static str, Option<usize>)>),
    Parent {
        hop: Hop,
        tree: Tree,
    },
    TypeOf {
        hop: Hop,
        arms: Vec<(usize, Tree)>,
        otherwise: Option<Tree>,
    },
}

impl Tree {
    /// A list of paths.
    pub fn new(db: &Db, columns: &[Bound]) -> Self {
        let columns: Vec<Column> = columns
            .iter()
            .map(|c| Column {
                name: c.name.clone(),
                shown: Shown::Value(Expr::Path(c.clone())),
            })
            .collect();
        Self::of(db, &columns)
    }

    /// A select list.
    pub fn of(db: &Db, columns: &[Column]) -> Self {
        let list: Vec<(Vec<&str>, &Column)> = columns.iter().map(|c| (c.name.split('.').collect(), c)).collect();
        Self::build(db, &list, 0)
    }

    /// Lets URLs end with another cell than the id.
    pub fn keyed(mut self, field: Option<usize>) -> Self {
        self.key = field.unwrap_or(0);
        self
    }

    fn build(db: &Db, list: &[(Vec<&str>, &Column)], depth: usize) -> Self {
        let mut cells: Vec<(String, Leafy)> = Vec::new();
        for (parts, column) in list {
            let name = parts[depth];
            if parts.len() == depth + 1 {
                cells.push((name.to_owned(), leaf(db, column, depth > 0)));
                continue;
            }
            if cells.iter().any(|(n, _)| n == name) {
                continue;
            }
            let below: Vec<(Vec<&str>, &Column)> = list
                .iter()
                .filter(|(p, _)| p.len() > depth + 1 && p[depth] == name)
                .map(|(p, c)| (p.clone(), *c))
                .collect();
            if let Some(hop) = hop(column, depth) {
                let tree = Self::build(db, &below, depth + 1);
                cells.push((name.to_owned(), Leafy::Parent { hop, tree }));
            }
        }
        Self { cells, key: 0 }
    }
}

/// The reference a column's path follows at a depth.
fn hop(column: &Column, depth: usize) -> Option<Hop> {
    fn of(expr: &Expr, depth: usize) -> Option<Hop> {
        match expr {
            Expr::Path(path) | Expr::Part { path, .. } => path.hops.get(depth).copied(),
            Expr::Distance { latitude, .. } => latitude.hops.get(depth).copied(),
            Expr::Label { inner, .. } | Expr::Money { inner, .. } | Expr::Format { inner, .. } => of(inner, depth),
            Expr::Slot { .. } => None,
        }
    }
    match &column.shown {
        Shown::Value(expr) => of(expr, depth),
        Shown::TypeOf { hops, .. } => hops.get(depth).copied(),
    }
}

fn leaf(db: &Db, column: &Column, nested: bool) -> Leafy {
    match &column.shown {
        Shown::TypeOf { hops, arms, otherwise } => {
            let hop = hops.last().copied().unwrap_or(Hop {
                object: usize::MAX,
                field: 0,
            });
            Leafy::TypeOf {
                hop,
                arms: arms.iter().map(|(o, c)| (*o, Tree::of(db, c))).collect(),
                otherwise: otherwise.as_ref().map(|c| Tree::of(db, c)),
            }
        }
        Shown::Value(Expr::Path(Bound {
            leaf: Leaf::Field { object, field },
            kind: FieldType::Address,
            ..
        })) => Leafy::Compound(address_parts(db, *object, *field)),
        Shown::Value(Expr::Path(Bound {
            leaf: Leaf::Field { object, field },
            kind: FieldType::Other,
            ..
        })) if is_location(db, *object, *field) => Leafy::Compound(location_parts(db, *object, *field)),
        // An alias stands at the root however far its value is away.
        Shown::Value(expr) if nested => Leafy::Cell(expr.clone().at_leaf()),
        Shown::Value(expr) => Leafy::Cell(expr.clone()),
    }
}

fn is_location(db: &Db, object: usize, field: usize) -> bool {
    db.schema.objects[object].fields[field]
        .describe
        .get("type")
        .is_some_and(|t| t == "location")
}

fn location_parts(db: &Db, object: usize, field: usize) -> Vec<(&'static str, Option<usize>)> {
    let meta = &db.schema.objects[object];
    let name = &meta.fields[field].name;
    let stem = name.strip_suffix("__c").unwrap_or(name);
    [("latitude", "Latitude"), ("longitude", "Longitude")]
        .into_iter()
        .map(|(key, part)| (key, meta.field(&format!("{stem}__{part}__s"))))
        .collect()
}

fn address_parts(db: &Db, object: usize, field: usize) -> Vec<(&'static str, Option<usize>)> {
    let meta = &db.schema.objects[object];
    let name = &meta.fields[field].name;
    let stem = name.strip_suffix("Address").unwrap_or(name);
    [
        ("city", "City"),
        ("country", "Country"),
        ("countryCode", "CountryCode"),
        ("geocodeAccuracy", "GeocodeAccuracy"),
        ("latitude", "Latitude"),
        ("longitude", "Longitude"),
        ("postalCode", "PostalCode"),
        ("state", "State"),
        ("stateCode", "StateCode"),
        ("street", "Street"),
    ]
    .into_iter()
    .map(|(key, part)| (key, meta.field(&format!("{stem}{part}"))))
    // Codes show only where the org has them.
    .filter(|(key, field)| field.is_some() || !key.ends_with("Code") || *key == "postalCode")
    .collect()
}

/// Appends one record with its attributes.
pub fn record(out: &mut Vec<u8>, db: &Db, version: &str, object: usize, row: &Row, tree: &Tree, more: &mut dyn FnMut(&mut Vec<u8>)) {
    let name = &db.schema.objects[object].name;
    let id = String::from_utf8_lossy(row.get(tree.key).unwrap_or_default());
    let _ = write!(
        out,
        "{{\"attributes\":{{\"type\":\"{name}\",\"url\":\"/services/data/{version}/sobjects/{name}/{id}\"}}"
    );
    let cells = RowCells { db, object, row };
    for (name, leaf) in &tree.cells {
        let _ = write!(out, ",\"{name}\":");
        match leaf {
            Leafy::Cell(expr) => match expr.value(&cells).as_deref() {
                // The bytes of a file are fetched from elsewhere.
                Some(at) if expr.kind() == FieldType::Other && at.starts_with(b"/sobjects/") => {
                    let _ = write!(out, "\"/services/data/{version}{}\"", String::from_utf8_lossy(files::path(at)));
                }
                value => cell(out, expr.kind(), value),
            },
            Leafy::Compound(parts) => compound(out, row, parts),
            Leafy::Parent { hop, tree } => match target(db, &cells, *hop) {
                Some((object, row)) => record(out, db, version, object, row, tree, &mut |_| {}),
                None => out.extend_from_slice(b"null"),
            },
            Leafy::TypeOf { hop, arms, otherwise } => {
                let found = target(db, &cells, *hop);
                let shown = found.and_then(|(object, row)| {
                    let arm = arms.iter().find(|(o, _)| *o == object).map(|(_, tree)| tree);
                    Some((object, row, arm.or(otherwise.as_ref())?))
                });
                match shown {
                    Some((object, row, tree)) => record(out, db, version, object, row, tree, &mut |_| {}),
                    None => out.extend_from_slice(b"null"),
                }
            }
        }
    }
    more(out);
    out.push(b'}');
}

fn target<'a>(db: &'a Db, cells: &RowCells<'_>, hop: Hop) -> Option<(usize, &'a Row)> {
    if hop.object != cells.object {
        return None;
    }
    let id = Id::parse(cells.row.get(hop.field)?).ok()?;
    let (object, index) = db.locate(&id)?;
    Some((object, db.tables[object].row(index)))
}

fn compound(out: &mut Vec<u8>, row: &Row, parts: &[(&'static str, Option<usize>)]) {
    if !parts.iter().any(|(_, f)| f.is_some_and(|f| row.get(f).is_some())) {
        out.extend_from_slice(b"null");
        return;
    }
    for (i, (key, field)) in parts.iter().enumerate() {
        let _ = write!(out, "{}\"{key}\":", if i == 0 { '{' } else { ',' });
        let kind = if key.ends_with("itude") {
            FieldType::Decimal
        } else {
            FieldType::Text
        };
        cell(out, kind, field.and_then(|f| row.get(f)));
    }
    out.push(b'}');
}

/// Appends a record-like object whose cells come from anywhere, e.g. a group.
pub fn cells_of<C: Cells>(out: &mut Vec<u8>, source: &C, columns: &[Column]) {
    for column in columns {
        let _ = write!(out, ",\"{}\":", column.name);
        let value = column.expr().and_then(|e| e.value(source));
        cell(out, column.kind(), value.as_deref());
    }
}

/// Appends one value as JSON.
pub fn cell(out: &mut Vec<u8>, kind: FieldType, value: Option<&[u8]>) {
    match (kind, value) {
        (FieldType::Boolean, value) => out.extend_from_slice(if value == Some(b"true") { b"true" } else { b"false" }),
        (_, None) => out.extend_from_slice(b"null"),
        (kind, Some(text)) if kind.is_bare_json() => out.extend_from_slice(text),
        (FieldType::DateTime, Some(text)) => {
            out.push(b'"');
            out.extend_from_slice(text.strip_suffix(b"Z").unwrap_or(text));
            out.extend_from_slice(b"+0000\"");
        }
        (_, Some(text)) => {
            let text = String::from_utf8_lossy(text);
            if serde_json::to_writer(&mut *out, text.as_ref()).is_err() {
                out.extend_from_slice(b"null");
            }
        }
    }
}
