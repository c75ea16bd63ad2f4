//! What the analyzer derives for a run, and everything that the stages need to know about it.
//!
//! A plan never changes: stages fetch it once and every batch carries its hash. It holds names, types and ids, never
//! a record's value.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::describe::FieldType;
use crate::issue::{Issue, Severity};
use crate::spec::{Existing, Orphans};
use crate::{ConnectionName, FieldName, ObjectName, RunId, SyncName};

/// The plan of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub run: RunId,
    pub sync: SyncName,
    pub sync_version: u32,
    pub source: Endpoint,
    pub target: Endpoint,
    /// Full loads read what was created before this moment of the source's clock.
    pub t0: DateTime<Utc>,
    pub existing: Existing,
    pub orphans: Orphans,
    /// In an order in which parents stand before children.
    pub objects: Vec<ObjectPlan>,
    /// Source id -> target id of what is matched by name and never created: users, queues, record types, price books.
    pub matched: BTreeMap<String, String>,
    /// The target's user under whom Syncline writes: owner of what belongs to nobody that the target has. Written
    /// explicitly, because what the target fills in by itself could not be told from a wrong link.
    #[serde(default)]
    pub default_owner: Option<String>,
    /// What the target's user made before this moment of the target's clock, and no ledger knows, somebody has looked at.
    #[serde(default)]
    pub reviewed_until: Option<DateTime<Utc>>,
    pub issues: Vec<Issue>,
    pub cost: Cost,
}

/// One end of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub connection: ConnectionName,
    /// The org id or system identifier: what a link is made of.
    pub identity: String,
    pub label: String,
}

/// Projected use of both ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    pub records: u64,
    pub source_calls: u64,
    pub target_calls: u64,
    pub jobs: u64,
}

/// One object of the plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObjectPlan {
    pub name: ObjectName,
    /// The target's object; the same name unless mapped.
    pub target: ObjectName,
    /// Source fields to select, `Id` first.
    pub fields: Vec<FieldPlan>,
    pub filter: Option<String>,
    /// Source order, where the platform imposes one (standard prices before others).
    pub order_by: Option<String>,
    /// Does the source object have `CreatedDate`, so that T0 can be applied?
    pub has_created_date: bool,
    /// Source records by an exact count, the filter applied.
    pub records: u64,
    /// Objects whose first pass must be finished before this one's may start.
    pub parents: Vec<ObjectName>,
    /// Objects that must be loaded before this one's second pass: those that its deferred fields point to.
    pub deferred_parents: Vec<ObjectName>,
    /// A unique external id by which existing target records are found.
    pub key: Option<FieldName>,
    /// Which of the target's records can be deleted; the others come and go by themselves or stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletable: Option<String>,
    pub source_describe_hash: String,
    pub target_describe_hash: String,
}

/// One field of the plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FieldPlan {
    pub name: FieldName,
    /// The target's field; the same name unless mapped.
    pub target: FieldName,
    pub field_type: FieldType,
    /// The target field's room in characters; 0 where it has none.
    pub length: u32,
    pub precision: u32,
    pub scale: u32,
    pub nillable: bool,
    pub unique: bool,
    /// May an update carry it? (insert-only fields are left out of updates)
    pub updateable: bool,
    pub role: FieldRole,
    /// The masking decision in its textual form; `None` where the field is not classified.
    pub mask: Option<MaskDecision>,
}

/// What a stage does with a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum FieldRole {
    /// The source record's id: the source key. Read, never written.
    SourceKey,
    /// A plain value.
    Value,
    /// A reference to other objects.
    Reference(Reference),
}

/// How a reference is carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Objects of this sync that it may point to; ids of others are looked up in [`Plan::matched`].
    pub to: Vec<ObjectName>,
    /// A record whose parent is missing is parked (true) or written with null (false).
    pub required: bool,
    /// Written in pass 2: it points into its own object or a cycle.
    pub deferred: bool,
}

/// Why and how a field is masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskDecision {
    /// `fake(email)`, `hash`, `redact`, `preserve`.
    pub strategy: String,
    /// What classified the field, such as `hipaa:6` or `rule`.
    pub why: String,
}

impl Plan {
    #[must_use]
    pub fn object(&self, name: &str) -> Option<&ObjectPlan> {
        self.objects.iter().find(|o| o.name.as_str() == name)
    }

    /// No fatal issue.
    #[must_use]
    pub fn can_proceed(&self) -> bool {
        !self.issues.iter().any(|i| i.severity == Severity::Fatal)
    }
}

impl ObjectPlan {
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldPlan> {
        self.fields.iter().find(|f| f.name.as_str() == name)
    }

    /// Fields that pass 1 writes, in plan order: values and references that are not deferred.
    pub fn pass1_fields(&self) -> impl Iterator<Item = &FieldPlan> {
        self.fields.iter().filter(|f| match &f.role {
            FieldRole::SourceKey => false,
            FieldRole::Value => true,
            FieldRole::Reference(r) => !r.deferred,
        })
    }

    /// References that pass 2 writes.
    pub fn deferred_fields(&self) -> impl Iterator<Item = &FieldPlan> {
        self.fields
            .iter()
            .filter(|f| matches!(&f.role, FieldRole::Reference(r) if r.deferred))
    }

    pub fn reference_fields(&self) -> impl Iterator<Item = &FieldPlan> {
        self.fields.iter().filter(|f| matches!(&f.role, FieldRole::Reference(_)))
    }

    #[must_use]
    pub fn has_deferred(&self) -> bool {
        self.deferred_fields().next().is_some()
    }
}
