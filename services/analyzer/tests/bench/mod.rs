//! Facts for tests: the captured describes that the org simulator is built from, small directories, round counts.
#![allow(clippy::unwrap_used, dead_code)] // every test file uses a part of it

use std::collections::BTreeMap;
use std::path::Path;

use chrono::DateTime;
use syncline_analyzer::build::{Request, build};
use syncline_analyzer::facts::{Count, Directory, Facts, SystemFacts};
use syncline_connect::{OrgInfo, OrgKind};
use syncline_domain::describe::{FieldDescribe, FieldType, ObjectDescribe};
use syncline_domain::issue::{Issue, Severity};
use syncline_domain::plan::Plan;
use syncline_domain::spec::{Document, SyncSpec, read_document};
use syncline_domain::{ErrorCode, FieldName, ObjectName, RunId, SyncName};
use syncline_salesforce::describe::read_describe;
use syncline_salesforce::names::{self, Entry, PriceBookName, RecordTypeName, UserName};

pub const CAPTURED: [&str; 6] = ["Account", "Case", "Contact", "Lead", "Opportunity", "OpportunityContactRole"];

pub fn object_name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

/// A captured describe. Required references into their own object, which no one could load, are taken out, as the
/// simulator does.
pub fn captured(name: &str) -> ObjectDescribe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/simulators/salesforce/data/describe/{name}.json"));
    let mut describe = read_describe(&std::fs::read(path).unwrap()).unwrap();
    describe
        .fields
        .retain(|f| !["ns__LinkedAccount__c", "ns__Description__c", "History__c"].contains(&f.name.as_str()));
    describe
}

/// A field that can be written and left out.
pub fn field(name: &str, field_type: FieldType) -> FieldDescribe {
    FieldDescribe {
        name: FieldName::new(name).unwrap(),
        label: name.to_owned(),
        field_type,
        length: 80,
        precision: 18,
        scale: 2,
        nillable: true,
        createable: true,
        updateable: true,
        defaulted_on_create: false,
        calculated: false,
        auto_number: false,
        unique: false,
        external_id: false,
        case_sensitive: false,
        filterable: true,
        restricted_picklist: false,
        picklist_values: Vec::new(),
        reference_to: Vec::new(),
        relationship_name: None,
        cascade_delete: false,
        compound: None,
    }
}

pub fn reference(name: &str, to: &[&str]) -> FieldDescribe {
    FieldDescribe {
        reference_to: to.iter().map(|o| object_name(o)).collect(),
        ..field(name, FieldType::Reference)
    }
}

pub fn picklist(name: &str, values: &[&str]) -> FieldDescribe {
    FieldDescribe {
        restricted_picklist: true,
        picklist_values: values.iter().map(|v| (*v).to_owned()).collect(),
        ..field(name, FieldType::Picklist)
    }
}

pub fn object(name: &str, fields: Vec<FieldDescribe>) -> ObjectDescribe {
    let id = FieldDescribe {
        createable: false,
        nillable: false,
        ..field("Id", FieldType::Id)
    };
    ObjectDescribe {
        name: object_name(name),
        label: name.to_owned(),
        key_prefix: None,
        createable: true,
        updateable: true,
        deletable: true,
        queryable: true,
        fields: std::iter::once(id).chain(fields).collect(),
        record_types: Vec::new(),
        hash: format!("hash of {name}"),
    }
}

fn system(id: &str, name: &str, kind: OrgKind, describes: &[ObjectDescribe]) -> SystemFacts {
    SystemFacts {
        org: OrgInfo {
            id: id.to_owned(),
            name: name.to_owned(),
            kind,
            now: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        },
        describes: describes.iter().map(|d| (d.name.clone(), d.clone())).collect(),
        directory: Directory::default(),
        calls_left: Some(100_000),
        user: None,
    }
}

fn cells(cells: &[&str]) -> Vec<Vec<Option<String>>> {
    vec![cells.iter().map(|c| (!c.is_empty()).then(|| (*c).to_owned())).collect()]
}

/// A user of the source.
pub fn user(id: &str, username: &str, federation: &str) -> Entry<UserName> {
    names::users(&cells(&[id, federation, username, "true"])).remove(0)
}

/// A user of the target.
pub fn successor(id: &str, username: &str, federation: &str) -> Entry<UserName> {
    names::successors(&cells(&[id, federation, username, "true"])).remove(0)
}

pub fn queue(id: &str, developer_name: &str) -> Entry<String> {
    names::queues(&cells(&[id, developer_name])).remove(0)
}

pub fn record_type(id: &str, object: &str, developer_name: &str) -> Entry<RecordTypeName> {
    names::record_types(&cells(&[id, object, "", developer_name, "true"])).remove(0)
}

pub fn price_book(id: &str, name: &str, standard: bool) -> Entry<PriceBookName> {
    names::price_books(&cells(&[id, name, if standard { "true" } else { "false" }])).remove(0)
}

/// The same, switched off.
pub fn off<K>(mut entry: Entry<K>) -> Entry<K> {
    entry.active = false;
    entry
}

/// The same objects on both ends, a thousand records each.
pub fn facts_of(describes: &[ObjectDescribe]) -> Facts {
    Facts {
        source: system("00DWy0000004567EAA", "Northwind", OrgKind::Production, describes),
        target: system("00D8H0000007890EAA", "Northwind UAT", OrgKind::Sandbox, describes),
        source_counts: describes.iter().map(|d| (d.name.clone(), Count::Records(1_000))).collect(),
        target_counts: BTreeMap::new(),
        usage: Vec::new(),
    }
}

/// Both ends as captured.
pub fn facts() -> Facts {
    facts_of(&CAPTURED.map(captured))
}

/// A spec from the lines below `spec:`, indented by two.
pub fn spec(body: &str) -> SyncSpec {
    let text = format!(
        "apiVersion: syncline.dev/v1\nkind: Sync\nmetadata:\n  name: prod-to-uat\nspec:\n  source: production\n  target: uat\n{body}"
    );
    match read_document(&text).unwrap_or_else(|e| panic!("{e}\n{text}")) {
        Document::Sync(document) => document.spec,
        Document::Connection(_) => panic!("a sync was expected"),
    }
}

/// A spec of these objects under the HIPAA preset.
pub fn masked(objects: &[&str]) -> SyncSpec {
    let lines: Vec<String> = objects.iter().map(|o| format!("    - name: {o}\n")).collect();
    spec(&format!("  objects:\n{}  masking:\n    preset: hipaa\n", lines.concat()))
}

pub fn request(spec: SyncSpec) -> Request {
    Request {
        run: RunId::new("r-1").unwrap(),
        sync: SyncName::new("prod-to-uat").unwrap(),
        sync_version: 3,
        spec,
    }
}

pub fn plan(spec: SyncSpec, facts: &Facts) -> Plan {
    build(&request(spec), facts)
}

pub fn issues(plan: &Plan, code: ErrorCode) -> Vec<&Issue> {
    plan.issues.iter().filter(|i| i.code == code).collect()
}

/// Fatal issues as text, for messages of assertions.
pub fn fatals(plan: &Plan) -> Vec<String> {
    plan.issues
        .iter()
        .filter(|i| i.severity == Severity::Fatal)
        .map(|i| format!("{} {}", i.code, i.message))
        .collect()
}

/// A field's describe, to be changed.
pub fn edit<'f>(system: &'f mut SystemFacts, object: &str, field: &str) -> &'f mut FieldDescribe {
    let describe = system.describes.get_mut(object).unwrap();
    describe.fields.iter_mut().find(|f| f.name.as_str() == field).unwrap()
}

pub fn remove(system: &mut SystemFacts, object: &str, field: &str) {
    let describe = system.describes.get_mut(object).unwrap();
    describe.fields.retain(|f| f.name.as_str() != field);
}
