//! The sync that the tests run, and changes to it.

/// Every business object, parents first.
pub const OBJECTS: [&str; 12] = [
    "Account",
    "Contact",
    "Lead",
    "Opportunity",
    "OpportunityContactRole",
    "Case",
    "Product2",
    "PricebookEntry",
    "OpportunityLineItem",
    "Project__c",
    "Milestone__c",
    "Task",
];

/// A masked refresh of everything.
pub fn refresh() -> String {
    of(&OBJECTS)
}

/// A masked refresh of some objects.
pub fn of(objects: &[&str]) -> String {
    let list: String = objects.iter().map(|name| format!("    - name: {name}\n")).collect();
    format!(
        "apiVersion: syncline.dev/v1
kind: Sync
metadata:
  name: refresh
spec:
  source: production
  target: uat
  existing: update
  orphans: keep
  objects:
{list}  masking:
    preset: hipaa
    rules:
      Account:
        Name: fake(company)
"
    )
}

/// The document with one place changed.
///
/// # Panics
/// When there is no such place: the test would test nothing.
pub fn with(yaml: &str, from: &str, to: &str) -> String {
    assert!(yaml.contains(from), "the sync does not hold `{from}`");
    yaml.replacen(from, to, 1)
}
