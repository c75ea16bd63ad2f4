//! Whether two orgs hold the same, judged over plain REST and from a list of its own.
//!
//! Records of two orgs share no ids, so each gets a colour: a hash of its unmasked values and of the names its look-ups
//! lead to. Then, round by round, a record's colour takes in the colours of the records it points to. Both orgs must
//! show the same colours equally often: a record too many, a changed value or a swapped parent each show up.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use serde_json::Value;
use syncline_salesforce_simulator::Flavour;

use crate::org::SimulatedOrg;

/// How far a record's neighbourhood reaches into its colour; hierarchies of the generated orgs are not deeper.
const ROUNDS: usize = 6;
/// Differences that are shown per object and side.
const EXAMPLES_MAX: usize = 3;

/// What is promised of one object.
struct Promise {
    object: &'static str,
    /// The same on both sides.
    equal: &'static [&'static str],
    /// Filled on both sides or on neither, and never with the source's value.
    masked: &'static [&'static str],
    /// Lead to the counterpart.
    references: &'static [&'static str],
    /// Lead to the same name.
    lookups: &'static [&'static str],
}

const PROMISES: [Promise; 12] = [
    Promise {
        object: "Account",
        equal: &[
            "Ext_Id__c",
            "Type",
            "Industry",
            "AnnualRevenue",
            "NumberOfEmployees",
            "BillingState",
            "BillingCountry",
            "CurrencyIsoCode",
            "SLA_Expiration__c",
            "Tags__c",
        ],
        masked: &["Name", "Phone", "Website", "BillingStreet", "BillingCity", "BillingPostalCode"],
        references: &["ParentId", "Primary_Contact__c"],
        lookups: &["Owner.Username", "RecordType.DeveloperName"],
    },
    Promise {
        object: "Contact",
        equal: &[
            "Ext_Id__c",
            "Title",
            "Department",
            "MailingState",
            "MailingCountry",
            "LeadSource",
            "DoNotCall",
        ],
        masked: &["FirstName", "LastName", "Email", "Phone", "MobilePhone", "MailingStreet", "MRN__c"],
        references: &["AccountId", "ReportsToId"],
        lookups: &["Owner.Username"],
    },
    Promise {
        object: "Lead",
        equal: &["Ext_Id__c", "Title", "Status", "LeadSource", "State", "Country"],
        masked: &["FirstName", "LastName", "Company", "Email", "Phone", "Street"],
        references: &[],
        lookups: &["RecordType.DeveloperName"],
    },
    Promise {
        object: "Opportunity",
        equal: &[
            "Ext_Id__c",
            "StageName",
            "Probability",
            "CloseDate",
            "Type",
            "LeadSource",
            "CurrencyIsoCode",
        ],
        masked: &["Name"],
        references: &["AccountId"],
        lookups: &["Owner.Username", "RecordType.DeveloperName", "Pricebook2.Name"],
    },
    Promise {
        object: "OpportunityContactRole",
        equal: &["Role", "IsPrimary"],
        masked: &[],
        references: &["OpportunityId", "ContactId"],
        lookups: &[],
    },
    Promise {
        object: "Case",
        equal: &["Ext_Id__c", "Status", "Priority", "Origin", "Type", "Reason"],
        masked: &["SuppliedEmail"],
        references: &["AccountId", "ContactId", "ParentId"],
        lookups: &["RecordType.DeveloperName"],
    },
    Promise {
        object: "Product2",
        equal: &["Ext_Id__c", "Name", "ProductCode", "Family", "IsActive"],
        masked: &[],
        references: &[],
        lookups: &[],
    },
    Promise {
        object: "PricebookEntry",
        equal: &["UnitPrice", "IsActive", "UseStandardPrice", "CurrencyIsoCode"],
        masked: &[],
        references: &["Product2Id"],
        lookups: &["Pricebook2.Name"],
    },
    Promise {
        object: "OpportunityLineItem",
        equal: &["Quantity", "UnitPrice", "ServiceDate"],
        masked: &[],
        references: &["OpportunityId", "PricebookEntryId"],
        lookups: &[],
    },
    Promise {
        object: "Project__c",
        equal: &["Ext_Id__c", "Name", "Budget__c", "Status__c"],
        masked: &["Contact_Email__c"],
        references: &["Account__c", "Current_Milestone__c"],
        lookups: &["Owner.Username"],
    },
    Promise {
        object: "Milestone__c",
        equal: &["Ext_Id__c", "Name", "Due__c", "Done__c"],
        masked: &["Owner_Phone__c"],
        references: &["Project__c"],
        lookups: &["Owner.Username"],
    },
    Promise {
        object: "Task",
        equal: &["ActivityDate", "Status", "Priority", "TaskSubtype"],
        masked: &[],
        references: &["WhoId", "WhatId"],
        lookups: &["Owner.Username"],
    },
];

/// Colour -> records of this colour.
type Colours = BTreeMap<u64, Vec<Value>>;

/// Reads both orgs and compares them.
///
/// # Panics
/// With an example of each kind of difference.
pub async fn assert_same(source: &SimulatedOrg, target: &SimulatedOrg, objects: &[&str]) {
    assert_eq!(source.counts(objects).await, target.counts(objects).await, "records by object");
    let differences = differences(source, target, objects).await;
    assert!(differences.is_empty(), "the orgs differ:\n{}", differences.join("\n"));
}

/// Examples of what differs: values first, because what differs by value spreads to all that point to it; then links;
/// then masked fields that do not hide.
pub async fn differences(source: &SimulatedOrg, target: &SimulatedOrg, objects: &[&str]) -> Vec<String> {
    let (left, right) = (records(source, objects).await, records(target, objects).await);
    let mut found = Vec::new();
    for rounds in [0, ROUNDS] {
        let (left, right) = (picture(&left, rounds), picture(&right, rounds));
        for promise in promises(objects) {
            let (a, b) = (&left[promise.object], &right[promise.object]);
            found.extend(surplus(promise, a, b, "source"));
            found.extend(surplus(promise, b, a, "target"));
            if rounds > 0 {
                found.extend(unhidden(promise, a, b));
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// Examples of records that one side has more often than the other.
fn surplus(promise: &Promise, a: &Colours, b: &Colours, side: &str) -> Vec<String> {
    a.iter()
        .filter(|(colour, records)| records.len() > b.get(colour).map_or(0, Vec::len))
        .take(EXAMPLES_MAX)
        .map(|(_, records)| format!("{} at the {side} only: {}", promise.object, records[0]))
        .collect()
}

/// Masked values that are the source's own, missing, or invented. Records are paired by colour where it is unique.
fn unhidden(promise: &Promise, a: &Colours, b: &Colours) -> Vec<String> {
    let mut found = Vec::new();
    for (colour, records) in a {
        let (Some(x), Some([y])) = (records.first().filter(|_| records.len() == 1), b.get(colour).map(Vec::as_slice)) else {
            continue;
        };
        for field in promise.masked {
            if x[*field].is_null() != y[*field].is_null() {
                found.push(format!("{}.{field} of {}: filled on one side only", promise.object, x["Id"]));
            } else if !x[*field].is_null() && x[*field] == y[*field] {
                found.push(format!("{}.{field} of {}: not masked", promise.object, x["Id"]));
            }
        }
    }
    found
}

fn promises<'a>(objects: &'a [&str]) -> impl Iterator<Item = &'static Promise> + 'a {
    PROMISES.iter().filter(|p| objects.contains(&p.object))
}

async fn records(org: &SimulatedOrg, objects: &[&str]) -> Vec<(&'static Promise, Value)> {
    let mut records = Vec::new();
    for promise in promises(objects) {
        let fields = [&["Id"], promise.equal, promise.masked, promise.references, promise.lookups]
            .concat()
            .join(", ");
        let soql = format!("SELECT {fields} FROM {}", promise.object);
        records.extend(org.query(&soql).await.into_iter().map(|r| (promise, r)));
    }
    records
}

/// Every record under its colour, by object.
fn picture(records: &[(&'static Promise, Value)], rounds: usize) -> BTreeMap<&'static str, Colours> {
    let id = |record: &Value| record["Id"].as_str().unwrap_or_default().to_owned();
    let mut colours: HashMap<String, u64> = records.iter().map(|(p, r)| (id(r), own_colour(p, r))).collect();
    for _ in 0..rounds {
        let next = records.iter().map(|(promise, record)| {
            let mut hasher = DefaultHasher::new();
            colours[&id(record)].hash(&mut hasher);
            for field in promise.references {
                // What lies outside of the comparison is only there or not.
                match record[*field].as_str() {
                    Some(other) => colours.get(other).unwrap_or(&1).hash(&mut hasher),
                    None => 0_u64.hash(&mut hasher),
                }
            }
            (id(record), hasher.finish())
        });
        colours = next.collect();
    }
    let mut by_object: BTreeMap<&'static str, Colours> = PROMISES.iter().map(|p| (p.object, Colours::new())).collect();
    for (promise, record) in records {
        let colour = colours[&id(record)];
        by_object
            .entry(promise.object)
            .or_default()
            .entry(colour)
            .or_default()
            .push(record.clone());
    }
    by_object
}

fn own_colour(promise: &Promise, record: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    promise.object.hash(&mut hasher);
    for field in promise.equal {
        record[*field].to_string().hash(&mut hasher);
    }
    for path in promise.lookups {
        let value = path.split('.').fold(record, |at, step| &at[step]);
        let name = value.as_str().unwrap_or_default();
        name.strip_suffix(Flavour::Sandbox.suffix()).unwrap_or(name).hash(&mut hasher);
    }
    hasher.finish()
}
