//! Small plans.

use std::collections::BTreeMap;

use chrono::Utc;
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{Cost, Endpoint, FieldPlan, FieldRole, MaskDecision, ObjectPlan, Plan};
use syncline_domain::spec::{Existing, Orphans};
use syncline_domain::{ConnectionName, FieldName, ObjectName, RunId, SyncName};

/// A field that is carried over as it is.
pub fn field(name: &str, field_type: FieldType) -> FieldPlan {
    FieldPlan {
        name: FieldName::new(name).unwrap(),
        target: FieldName::new(name).unwrap(),
        field_type,
        length: if matches!(field_type, FieldType::Email | FieldType::String | FieldType::TextArea) {
            255
        } else {
            0
        },
        precision: 18,
        scale: if field_type == FieldType::Number { 2 } else { 0 },
        nillable: field_type != FieldType::Id,
        unique: false,
        updateable: true,
        role: if field_type == FieldType::Id {
            FieldRole::SourceKey
        } else {
            FieldRole::Value
        },
        mask: None,
    }
}

/// A field with a masking decision.
pub fn masked(name: &str, field_type: FieldType, strategy: &str) -> FieldPlan {
    FieldPlan {
        mask: Some(MaskDecision {
            strategy: strategy.to_owned(),
            why: "rule".to_owned(),
        }),
        ..field(name, field_type)
    }
}

/// An object without parents; `Id` stands in front of the given fields.
pub fn object(name: &str, records: u64, fields: Vec<FieldPlan>) -> ObjectPlan {
    ObjectPlan {
        name: ObjectName::new(name).unwrap(),
        target: ObjectName::new(name).unwrap(),
        fields: std::iter::once(field("Id", FieldType::Id)).chain(fields).collect(),
        filter: None,
        order_by: None,
        has_created_date: true,
        records,
        parents: Vec::new(),
        deferred_parents: Vec::new(),
        key: None,
        deletable: None,
        source_describe_hash: "s".to_owned(),
        target_describe_hash: "t".to_owned(),
    }
}

/// A plan as of now.
pub fn plan(run: &RunId, objects: Vec<ObjectPlan>) -> Plan {
    let end = |name: &str| Endpoint {
        connection: ConnectionName::new(name).unwrap(),
        identity: format!("identity of {name}"),
        label: name.to_owned(),
    };
    Plan {
        run: run.clone(),
        sync: SyncName::new("prod-to-uat").unwrap(),
        sync_version: 1,
        source: end("production"),
        target: end("uat"),
        default_owner: None,
        reviewed_until: None,
        t0: Utc::now() + chrono::TimeDelta::seconds(5),
        existing: Existing::Update,
        orphans: Orphans::Keep,
        objects,
        matched: BTreeMap::new(),
        issues: Vec::new(),
        cost: Cost::default(),
    }
}
