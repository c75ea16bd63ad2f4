//! Names resolved against the schema: fields, relationships, and what they allow.

use super::SoqlError;
use super::ast::Path;
use super::expr::{Bound, Hop, Leaf};
use super::plan::Binder;
use crate::schema::{Field, FieldType};

/// Relationships a path may follow.
const PATH_LEVELS_MAX: usize = 5;
/// What the `Name` pseudo-object of a polymorphic reference has, whatever it refers to.
const NAME_FIELDS: [&str; 15] = [
    "Id",
    "Name",
    "FirstName",
    "LastName",
    "Alias",
    "Email",
    "Phone",
    "Title",
    "Username",
    "IsActive",
    "ProfileId",
    "UserRoleId",
    "RecordTypeId",
    "NameOrAlias",
    "Type",
];
/// Its relationships.
const NAME_LINKS: [&str; 3] = ["Profile", "UserRole", "RecordType"];

impl Binder<'_> {
    /// The one way a field is looked up: what the user may not see is not there.
    pub(super) fn field_of(&self, object: usize, name: &str) -> Option<usize> {
        self.db.schema.objects[object].visible(name)
    }

    pub(super) fn spec(&self, object: usize, field: usize) -> &Field {
        &self.db.schema.objects[object].fields[field]
    }

    pub(super) fn own_field(&self, field: usize) -> Bound {
        let spec = self.spec(self.object, field);
        Bound {
            name: spec.name.clone(),
            hops: Vec::new(),
            leaf: Leaf::Field {
                object: self.object,
                field,
            },
            kind: spec.kind,
        }
    }

    fn no_column(&self, path: &Path, name: &str, entity: &str) -> SoqlError {
        SoqlError::at(
            "INVALID_FIELD",
            self.query,
            path.at,
            &format!(
                "No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names."
            ),
        )
    }

    fn no_link(&self, path: &Path, link: &str) -> SoqlError {
        SoqlError::at(
            "INVALID_FIELD",
            self.query,
            path.at,
            &format!(
                "Didn't understand relationship '{link}' in field path. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names."
            ),
        )
    }

    /// The path with aliases and the object's own name taken away.
    fn parts<'p>(&'p self, path: &'p Path) -> Vec<&'p str> {
        let mut parts: Vec<&str> = path.text.split('.').collect();
        if parts.len() < 2 {
            return parts;
        }
        let head = parts[0];
        let meta = &self.db.schema.objects[self.object];
        if let Some((_, full)) = self.relations.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(head)) {
            parts.splice(..1, full.split('.'));
        } else if self.alias.is_some_and(|a| a.eq_ignore_ascii_case(head))
            || (head.eq_ignore_ascii_case(&meta.name) && meta.relationship(head).is_none())
        {
            parts.remove(0);
        }
        parts
    }

    /// Resolves a field path.
    pub(super) fn path(&self, path: &Path) -> Result<Bound, SoqlError> {
        let parts = self.parts(path);
        let Some((last, links)) = parts.split_last() else {
            return Err(self.no_column(path, &path.text, &self.db.schema.objects[self.object].name));
        };
        let (hops, mut name, objects) = self.links(path, links)?;
        let schema = &self.db.schema;
        let [object] = objects[..] else {
            return self.name_field(path, last, hops, name, &objects);
        };
        let entity = &schema.objects[object].name;
        let field = self.field_of(object, last).ok_or_else(|| self.no_column(path, last, entity))?;
        let spec = self.spec(object, field);
        name.push_str(&spec.name);
        Ok(Bound {
            name,
            hops,
            kind: spec.kind,
            leaf: Leaf::Field { object, field },
        })
    }

    /// Follows relationships: the hops, their dotted name, and the objects they may end at.
    pub(super) fn links(&self, path: &Path, links: &[&str]) -> Result<(Vec<Hop>, String, Vec<usize>), SoqlError> {
        if links.len() > PATH_LEVELS_MAX {
            return Err(self.malformed(path.at, "A relationship path may follow at most 5 levels"));
        }
        let schema = &self.db.schema;
        let mut objects = vec![self.object];
        let mut hops = Vec::new();
        let mut name = String::new();
        for link in links {
            // Behind a polymorphic reference only the Name pseudo-object's links go on.
            let candidates = match objects[..] {
                [_] => &objects[..],
                _ if NAME_LINKS.iter().any(|n| n.eq_ignore_ascii_case(link)) => &objects[..],
                _ => return Err(self.no_link(path, link)),
            };
            let found = candidates
                .iter()
                .find_map(|o| schema.objects[*o].relationship(link).map(|field| (*o, field)));
            let (object, field) = found.ok_or_else(|| self.no_link(path, link))?;
            let spec = self.spec(object, field);
            if spec.targets.is_empty() {
                return Err(self.no_link(path, link));
            }
            hops.push(Hop { object, field });
            name.push_str(spec.relationship.as_deref().unwrap_or(link));
            let relation = format!("{}:{}.{name}", self.level, schema.objects[self.object].name);
            self.census.parents.borrow_mut().insert(relation);
            name.push('.');
            objects = spec.targets.clone();
        }
        Ok((hops, name, objects))
    }

    fn name_field(&self, path: &Path, last: &str, hops: Vec<Hop>, mut name: String, objects: &[usize]) -> Result<Bound, SoqlError> {
        let known = NAME_FIELDS.iter().find(|n| n.eq_ignore_ascii_case(last));
        let known = known.ok_or_else(|| self.no_column(path, last, "Name"))?;
        name.push_str(known);
        if *known == "Type" {
            return Ok(Bound {
                name,
                hops,
                leaf: Leaf::Type,
                kind: FieldType::Text,
            });
        }
        let list: Vec<(usize, usize)> = objects.iter().filter_map(|o| self.name_of(*o, known).map(|f| (*o, f))).collect();
        let Some((object, field)) = list.first().copied() else {
            return Err(self.no_column(path, last, "Name"));
        };
        let kind = self.spec(object, field).kind;
        Ok(Bound {
            name,
            hops,
            kind,
            leaf: Leaf::Poly(list),
        })
    }

    /// The field that stands for one of the Name pseudo-object's; a case's name is its number.
    fn name_of(&self, object: usize, known: &str) -> Option<usize> {
        let own = self.field_of(object, known);
        if known == "Name" {
            let fields = &self.db.schema.objects[object].fields;
            return own.or_else(|| fields.iter().position(|f| f.describe.get("nameField") == Some(&true.into())));
        }
        own
    }

    pub(super) fn leaf_flag(&self, bound: &Bound, flag: impl Fn(&Field) -> bool) -> bool {
        match &bound.leaf {
            Leaf::Field { object, field } => flag(self.spec(*object, *field)),
            Leaf::Poly(list) => list.iter().all(|(o, f)| flag(self.spec(*o, *f))),
            Leaf::Type => true,
        }
    }

    /// The describe's type name, e.g. `currency`.
    pub(super) fn type_name<'b>(&'b self, bound: &Bound) -> &'b str {
        let spec = match &bound.leaf {
            Leaf::Field { object, field } => Some(self.spec(*object, *field)),
            Leaf::Poly(list) => list.first().map(|(o, f)| self.spec(*o, *f)),
            Leaf::Type => None,
        };
        spec.and_then(|s| s.describe.get("type"))
            .and_then(serde_json::Value::as_str)
            .unwrap_or("string")
    }

    /// Another field of the record `bound` ends at.
    pub(super) fn sibling(&self, bound: &Bound, name: &str) -> Option<Bound> {
        let Leaf::Field { object, .. } = bound.leaf else {
            return None;
        };
        let field = self.field_of(object, name)?;
        Some(Bound {
            name: name.into(),
            hops: bound.hops.clone(),
            leaf: Leaf::Field { object, field },
            kind: self.spec(object, field).kind,
        })
    }
}
