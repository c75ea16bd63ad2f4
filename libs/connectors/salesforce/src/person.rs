//! Person accounts: an Account and a Contact in one, of which the platform shows both.
//!
//! Read: the shadow contacts are left out of Contact, they come into being with their accounts. Write: through Account
//! alone, with a person record type; the name in its parts, because the name as a whole is read-only then. Fact sheet:
//! an org where `Account` has `IsPersonAccount` has person accounts; it is irreversible.

use syncline_domain::describe::{FieldDescribe, ObjectDescribe};

/// On Account and on Contact, where the org has person accounts.
const FLAG: &str = "IsPersonAccount";
/// The shadow contact's id on its account.
pub const SHADOW: &str = "PersonContactId";
/// Parts of a person's name, on Account as on Contact.
const NAME_PARTS: &[&str] = &["Salutation", "FirstName", "MiddleName", "LastName", "Suffix"];

/// Whether an org, by its describe of Account or Contact, has person accounts.
#[must_use]
pub fn has_person_accounts(describe: &ObjectDescribe) -> bool {
    matches!(describe.name.as_str(), "Account" | "Contact") && describe.field(FLAG).is_some()
}

/// The condition that leaves out records which exist only as the other half of one.
#[must_use]
pub fn shadows_excluded(describe: &ObjectDescribe) -> Option<&'static str> {
    (describe.name.as_str() == "Contact" && has_person_accounts(describe)).then_some("IsPersonAccount = false")
}

/// What kind of account a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountKind {
    Business,
    Person,
}

/// Whether a row of `kind` may carry a field of Account: a person has no name as a whole and no parent, a business none
/// of a person's fields. Fields of both kinds in one row are refused by the platform.
#[must_use]
pub fn writes(kind: AccountKind, field: &FieldDescribe) -> bool {
    let name = field.name.as_str();
    match kind {
        AccountKind::Person => !matches!(name, "Name" | "ParentId"),
        AccountKind::Business => !is_of_a_person(name),
    }
}

/// `PersonEmail`, `FirstName` and `Custom__pc`.
fn is_of_a_person(name: &str) -> bool {
    NAME_PARTS.contains(&name) || name.ends_with("__pc") || (name.starts_with("Person") && name != "PersonActionCadenceId")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::describe::read_describe;

    fn describe(name: &str, fields: &[&str]) -> ObjectDescribe {
        let fields: Vec<_> = fields.iter().map(|f| json!({"name": f, "type": "string"})).collect();
        read_describe(json!({"name": name, "fields": fields}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn shadows_are_left_out_where_there_are_any() {
        for (object, fields, condition) in [
            ("Contact", &["Id", "IsPersonAccount"][..], Some("IsPersonAccount = false")),
            ("Contact", &["Id"], None),
            ("Account", &["Id", "IsPersonAccount"], None),
            ("Thing__c", &["Id", "IsPersonAccount"], None),
        ] {
            assert_eq!(shadows_excluded(&describe(object, fields)), condition, "{object} {fields:?}");
        }
        assert!(has_person_accounts(&describe("Account", &["IsPersonAccount"])));
        assert!(!has_person_accounts(&describe("Account", &["Name"])));
    }

    #[test]
    fn each_kind_of_account_carries_its_own_fields() {
        let account = describe(
            "Account",
            &["Name", "ParentId", "Phone", "LastName", "PersonEmail", "Hobby__pc", "Rank__c"],
        );
        let of = |kind| -> Vec<&str> { account.fields.iter().filter(|f| writes(kind, f)).map(|f| f.name.as_str()).collect() };
        assert_eq!(
            of(AccountKind::Person),
            ["Phone", "LastName", "PersonEmail", "Hobby__pc", "Rank__c"]
        );
        assert_eq!(of(AccountKind::Business), ["Name", "ParentId", "Phone", "Rank__c"]);
    }
}
