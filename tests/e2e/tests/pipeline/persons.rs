//! Accounts that are persons: one record that the org shows as an account and as a contact.

use serde_json::{Value, json};
use syncline_e2e::{SimulatedOrg, World, assert_balanced, object, sync};
use syncline_salesforce_simulator::OrgConfig;

use crate::copying::a_second_passes;

const PERSONS: usize = 3;
const BUSINESSES: usize = 2;

fn with_persons(config: OrgConfig) -> OrgConfig {
    OrgConfig {
        person_accounts: true,
        ..config
    }
}

/// Persons, and businesses with a contact each.
async fn populate(org: &SimulatedOrg) {
    let types = "SELECT Id FROM RecordType WHERE SobjectType = 'Account' AND DeveloperName = 'PersonAccount'";
    let person_type = org.query(types).await.remove(0)["Id"].clone();
    for n in 0..PERSONS {
        let person = json!({"RecordTypeId": person_type, "FirstName": "Ada", "LastName": format!("Byron {n}"),
            "PersonEmail": format!("ada{n}@example.com"), "PersonBirthdate": "1815-12-10", "PersonMailingCity": "London",
            "PersonHasOptedOutOfEmail": true, "CurrencyIsoCode": "USD"});
        org.rest("POST", "sobjects/Account", person).await;
    }
    for n in 0..BUSINESSES {
        let business = org
            .rest(
                "POST",
                "sobjects/Account",
                json!({"Name": format!("Works {n}"), "CurrencyIsoCode": "USD"}),
            )
            .await;
        let contact = json!({"FirstName": "Charles", "LastName": format!("Babbage {n}"), "AccountId": business["id"]});
        org.rest("POST", "sobjects/Contact", contact).await;
    }
    a_second_passes().await;
}

async fn change(org: &SimulatedOrg, condition: &str, body: Value) {
    let id = org
        .query(&format!("SELECT Id FROM Account WHERE {condition} LIMIT 1"))
        .await
        .remove(0)["Id"]
        .clone();
    org.rest("PATCH", &format!("sobjects/Account/{}", id.as_str().unwrap()), body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_written_once_as_a_person_and_changes_like_any_account() {
    let world = World::between(with_persons(OrgConfig::default()), with_persons(SimulatedOrg::sandbox())).await;
    populate(&world.source).await;
    let yaml = sync::of(&["Account", "Contact"]);
    let report = world.run_to(&yaml, "completed").await;
    assert_balanced(&report);
    let (accounts, contacts) = (object(&report, "Account"), object(&report, "Contact"));
    assert_eq!(accounts.inserted, (PERSONS + BUSINESSES) as u64, "{accounts:?}");
    assert_eq!(
        (contacts.read, contacts.inserted),
        (BUSINESSES as u64, BUSINESSES as u64),
        "{contacts:?}"
    );
    // The org makes a person's contact by itself; there is no second one.
    assert_eq!(world.target.count("Contact").await, (PERSONS + BUSINESSES) as u64);

    let fields = "Name, FirstName, LastName, PersonEmail, PersonHasOptedOutOfEmail, IsPersonAccount";
    let written = world.target.query(&format!("SELECT {fields} FROM Account")).await;
    let text = |record: &Value, field: &str| record[field].as_str().unwrap_or_default().to_owned();
    let (persons, businesses): (Vec<_>, Vec<_>) = written.into_iter().partition(|a| a["IsPersonAccount"] == true);
    assert_eq!((persons.len(), businesses.len()), (PERSONS, BUSINESSES));
    for person in &persons {
        assert_eq!(
            text(person, "Name"),
            format!("{} {}", text(person, "FirstName"), text(person, "LastName"))
        );
        assert!(
            !text(person, "LastName").contains("Byron") && text(person, "PersonEmail").ends_with(".invalid"),
            "{person}"
        );
        assert_eq!(person["PersonHasOptedOutOfEmail"], true, "{person}");
    }
    assert!(
        businesses
            .iter()
            .all(|b| !text(b, "Name").contains("Works") && b["LastName"].is_null())
    );

    let unchanged = world.run_to(&yaml, "completed").await;
    assert_balanced(&unchanged);
    assert!(unchanged.objects.iter().all(|o| o.unchanged == o.read), "{:?}", unchanged.objects);

    change(
        &world.source,
        "IsPersonAccount = true",
        json!({"PersonMailingCity": "Paris", "Industry": "Energy"}),
    )
    .await;
    change(&world.source, "IsPersonAccount = false", json!({"Industry": "Energy"})).await;
    let changed = world.run_to(&yaml, "completed").await;
    assert_balanced(&changed);
    let accounts = object(&changed, "Account");
    assert_eq!((accounts.updated, accounts.refused), (2, 0), "{accounts:?}");
    assert_eq!(
        world.target.query("SELECT Id FROM Account WHERE Industry = 'Energy'").await.len(),
        2
    );
}
