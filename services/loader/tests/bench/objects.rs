//! Plans for tests: a few objects of the simulated org, with texts and references only.

use std::collections::BTreeMap;

use chrono::DateTime;
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{Cost, Endpoint, FieldPlan, FieldRole, ObjectPlan, Plan, Reference};
use syncline_domain::spec::{Existing, Orphans};
use syncline_domain::{ConnectionName, FieldName, SyncName};

use super::{name, new_run};

pub fn plan(target: &str, objects: Vec<ObjectPlan>) -> Plan {
    let endpoint = |connection: &str, identity: &str| Endpoint {
        connection: ConnectionName::new(connection).unwrap(),
        identity: identity.to_owned(),
        label: connection.to_owned(),
    };
    Plan {
        run: new_run(),
        sync: SyncName::new("prod-to-uat").unwrap(),
        sync_version: 1,
        source: endpoint("production", "00DSource"),
        target: endpoint("uat", target),
        default_owner: None,
        reviewed_until: None,
        t0: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        existing: Existing::Update,
        orphans: Orphans::Delete,
        objects,
        matched: BTreeMap::new(),
        issues: Vec::new(),
        cost: Cost::default(),
    }
}

pub fn object(object: &str, fields: Vec<FieldPlan>) -> ObjectPlan {
    let id = FieldPlan {
        role: FieldRole::SourceKey,
        updateable: false,
        ..field("Id", FieldType::Id)
    };
    ObjectPlan {
        name: name(object),
        target: name(object),
        fields: std::iter::once(id).chain(fields).collect(),
        filter: None,
        order_by: None,
        has_created_date: true,
        records: 100,
        parents: Vec::new(),
        deferred_parents: Vec::new(),
        key: None,
        deletable: None,
        source_describe_hash: String::new(),
        target_describe_hash: String::new(),
    }
}

pub fn keyed(mut object: ObjectPlan, key: &str) -> ObjectPlan {
    object.key = Some(FieldName::new(key).unwrap());
    object
}

pub fn field(field: &str, field_type: FieldType) -> FieldPlan {
    FieldPlan {
        name: FieldName::new(field).unwrap(),
        target: FieldName::new(field).unwrap(),
        field_type,
        length: 80,
        precision: 0,
        scale: 0,
        nillable: true,
        unique: false,
        updateable: true,
        role: FieldRole::Value,
        mask: None,
    }
}

pub fn text(name: &str) -> FieldPlan {
    field(name, FieldType::String)
}

pub fn reference(field_name: &str, to: &str) -> FieldPlan {
    FieldPlan {
        role: FieldRole::Reference(Reference {
            to: vec![name(to)],
            required: false,
            deferred: false,
        }),
        ..field(field_name, FieldType::Reference)
    }
}

pub fn required(field_name: &str, to: &str) -> FieldPlan {
    changed(reference(field_name, to), |r| r.required = true)
}

pub fn deferred(field_name: &str, to: &str) -> FieldPlan {
    changed(reference(field_name, to), |r| r.deferred = true)
}

fn changed(mut field: FieldPlan, change: impl FnOnce(&mut Reference)) -> FieldPlan {
    if let FieldRole::Reference(reference) = &mut field.role {
        change(reference);
    }
    field
}

/// Name, city, and the parent account in pass 2.
pub fn accounts() -> ObjectPlan {
    object("Account", vec![text("Name"), text("BillingCity"), deferred("ParentId", "Account")])
}

/// Last name, email, and the account.
pub fn contacts() -> ObjectPlan {
    object(
        "Contact",
        vec![
            text("LastName"),
            field("Email", FieldType::Email),
            reference("AccountId", "Account"),
        ],
    )
}

pub fn row(cells: &[&str]) -> Vec<Option<String>> {
    cells.iter().map(|c| (!c.is_empty()).then(|| (*c).to_owned())).collect()
}

/// A source key: an id of the object's form that the target never gives.
pub fn key(object: &str, number: usize) -> String {
    let prefix = match object {
        "Account" => "001",
        "Contact" => "003",
        "Project__c" => "a00",
        _ => "a01",
    };
    format!("{prefix}Wy{number:013}")
}

/// `count` accounts without parents, named by number.
pub fn some_accounts(from: usize, count: usize) -> Vec<Vec<Option<String>>> {
    (from..from + count)
        .map(|i| row(&[&key("Account", i), &format!("Account {i}"), "Berlin", ""]))
        .collect()
}
