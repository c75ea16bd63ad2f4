//! The event encoder against nine events whose bytes others wrote: an org with the fixture's fields must have the
//! fixture's schema, and the same changes of the same rows must give the same datum.
#![allow(clippy::unwrap_used)]

use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Map, Value, json};
use syncline_salesforce_simulator::pubsub::event::{self, ChangeType, Header, Transaction};
use syncline_salesforce_simulator::pubsub::event_schema::EventSchema;
use syncline_salesforce_simulator::schema::{Object, Schema};
use syncline_salesforce_simulator::store::row::{Draft, Row};

const AVSC: &str = include_str!("data/cdc/AccountChangeEvent.reconstructed.avsc");
const EVENTS: &str = include_str!("data/cdc/AccountChangeEvent.events.json");

fn describe_field(name: &str, kind: &str, compound: Option<&str>, length: u64, custom: bool) -> Value {
    let mut out = json!({"name": name, "type": kind, "compoundFieldName": compound, "length": length, "custom": custom,
        "nillable": true, "calculated": false, "precision": 18, "htmlFormatted": kind == "textarea" && name.contains("Rich"),
        "referenceTo": if kind == "reference" { json!(["Account"]) } else { json!([]) }});
    for flag in [
        "createable",
        "updateable",
        "defaultedOnCreate",
        "filterable",
        "sortable",
        "groupable",
        "unique",
        "externalId",
        "idLookup",
        "caseSensitive",
        "autoNumber",
        "restrictedPicklist",
        "cascadeDelete",
    ] {
        out[flag] = false.into();
    }
    out
}

/// A describe with the fields of the fixture's schema, and some that events leave out.
fn describe(avsc: &Value) -> String {
    let mut fields = vec![
        describe_field("Id", "id", None, 18, false),
        describe_field("IsDeleted", "boolean", None, 0, false),
    ];
    for field in avsc["fields"].as_array().unwrap().iter().skip(1) {
        let name = field["name"].as_str().unwrap();
        let doc: Vec<&str> = field["doc"].as_str().unwrap().split(':').collect();
        let custom = doc.len() == 3;
        let (kind, length) = match doc[1] {
            "Text" | "Switchable_PersonName" => ("string", 80),
            "ExternalId" => ("string", 20),
            "DynamicEnum" | "StaticEnum" => ("picklist", 40),
            "MultiEnum" => ("multipicklist", 4099),
            "EntityId" => ("reference", 18),
            "StringPlusClob" | "HtmlStringPlusClob" => ("textarea", 32_000),
            "Phone" => ("phone", 40),
            "Url" => ("url", 255),
            "Email" => ("email", 80),
            "Currency" => ("currency", 0),
            "Integer" => ("int", 0),
            "Double" => ("double", 0),
            "Percent" => ("percent", 0),
            "Boolean" => ("boolean", 0),
            "DateTime" => ("datetime", 0),
            "DateOnly" => ("date", 0),
            "TimeOnly" => ("time", 0),
            "Address" => ("address", 0),
            "Location" => ("location", 0),
            other => panic!("{other}"),
        };
        for (part, kind) in parts(name) {
            fields.push(describe_field(&part, kind, Some(name), 80, custom));
        }
        fields.push(describe_field(name, kind, None, length, custom));
    }
    fields.push(describe_field("SystemModstamp", "datetime", None, 0, false));
    fields.push(describe_field("PhotoUrl", "url", None, 255, false));
    let mut formula = describe_field("Formula__c", "string", None, 1300, true);
    formula["calculated"] = true.into();
    formula["calculatedFormula"] = "Name & Phone".into();
    fields.push(formula);
    json!({"name": "Account", "keyPrefix": "001", "label": "Account", "fields": fields}).to_string()
}

/// The columns that a compound's parts have.
fn parts(name: &str) -> Vec<(String, &'static str)> {
    if let Some(prefix) = name.strip_suffix("Address") {
        let part = |p: &str| format!("{prefix}{p}");
        let texts = ["Street", "City", "State", "PostalCode", "Country", "StateCode", "CountryCode"];
        let mut out: Vec<_> = texts.iter().map(|p| (part(p), "string")).collect();
        out.extend([
            (part("Latitude"), "double"),
            (part("Longitude"), "double"),
            (part("GeocodeAccuracy"), "string"),
        ]);
        return out;
    }
    match name.strip_suffix("Geo__c") {
        Some(_) => vec![
            ("Demo_Geo__Latitude__s".into(), "double"),
            ("Demo_Geo__Longitude__s".into(), "double"),
        ],
        None => Vec::new(),
    }
}

struct Fixture {
    schema: EventSchema,
    object: Object,
    events: Vec<Value>,
}

fn fixture() -> Fixture {
    let avsc: Value = serde_json::from_str(AVSC).unwrap();
    let text = describe(&avsc);
    let mut org = Schema::from_sources(&[("Account.json", &text)], &[], &[]).unwrap();
    let object = org.objects.remove(0);
    Fixture {
        schema: EventSchema::of_object(&object, *b"Wy", &[]).unwrap(),
        object,
        events: serde_json::from_str(EVENTS).unwrap(),
    }
}

impl Fixture {
    fn event(&self, case: &str) -> &Value {
        self.events.iter().find(|e| e["case"] == case).unwrap()
    }

    /// Sets the columns that an event's values come from.
    fn fill(&self, draft: &mut Draft, decoded: &Map<String, Value>) {
        for (name, value) in decoded.iter().filter(|(n, _)| *n != "ChangeEventHeader") {
            if let Value::Object(compound) = value {
                let prefix = name.strip_suffix("Address").unwrap();
                for (part, value) in compound {
                    self.set(draft, &format!("{prefix}{part}"), value);
                }
            } else {
                self.set(draft, name, value);
            }
        }
    }

    fn set(&self, draft: &mut Draft, name: &str, value: &Value) {
        let column = self.object.field(name).unwrap();
        let text = match value {
            Value::Null => return,
            Value::String(text) => text.clone(),
            Value::Number(n) if name.ends_with("Date") => {
                let at = chrono::DateTime::from_timestamp_millis(n.as_i64().unwrap()).unwrap();
                at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
            }
            other => other.to_string(),
        };
        draft.set(column, text.as_bytes());
    }

    fn row(&self, build: impl FnOnce(&mut Draft)) -> Row {
        let mut draft = Draft::default();
        draft.reset(self.object.fields.len());
        build(&mut draft);
        draft.finish()
    }

    /// Encodes under the header facts that the fixture's events have.
    fn encode(&self, header: &Header, body: event::Body, decoded: &Value) -> String {
        let facts = &decoded["ChangeEventHeader"];
        let text = |key: &str| facts[key].as_str().unwrap().to_owned();
        let transaction = Transaction {
            origin: text("changeOrigin"),
            key: text("transactionKey"),
            commit_timestamp: facts["commitTimestamp"].as_i64().unwrap(),
            commit_number: facts["commitNumber"].as_i64().unwrap(),
            user: text("commitUser"),
        };
        let writer = GenericDatumWriter::builder(&self.schema.avro).build().unwrap();
        let bytes = event::encode(&writer, &self.schema, &transaction, header, body).unwrap();
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn header(&self, decoded: &Value) -> Header {
        let facts = &decoded["ChangeEventHeader"];
        let ids = facts["recordIds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap().to_owned());
        let change = ChangeType::parse(facts["changeType"].as_str().unwrap()).unwrap();
        Header::new("Account", change, ids.collect())
    }
}

#[test]
fn an_org_with_the_fixtures_fields_has_the_fixtures_schema() {
    let fixture = fixture();
    let mut expected: Value = serde_json::from_str(AVSC).unwrap();
    let mut made: Value = serde_json::from_str(&fixture.schema.json).unwrap();
    assert_eq!(fixture.schema.id.len(), 22);
    for fields in [&mut expected, &mut made] {
        for field in fields["fields"].as_array_mut().unwrap() {
            // Ids of field definitions are the org's own.
            let doc: Vec<&str> = field["doc"].as_str().unwrap().split(':').collect();
            assert!(
                doc.len() == 2 || (doc.len() == 3 && doc[2].starts_with("00N") && doc[2].len() == 15),
                "{doc:?}"
            );
            field["doc"] = doc[..2].join(":").into();
        }
    }
    assert_eq!(made, expected);
}

#[test]
fn created_and_restored_rows_give_the_fixtures_bytes() {
    let fixture = fixture();
    for case in ["create", "undelete"] {
        let event = fixture.event(case);
        let row = fixture.row(|d| fixture.fill(d, event["decoded"].as_object().unwrap()));
        let body = event::whole_body(&fixture.schema, &row);
        let made = fixture.encode(&fixture.header(&event["decoded"]), body, &event["decoded"]);
        // The fixture's last field, a checkbox, is null; an org's is false.
        let expected = event["avroHex"].as_str().unwrap().strip_suffix("00").unwrap().to_owned() + "0200";
        assert_eq!(made, expected, "{case}");
    }
}

#[test]
fn updated_rows_give_the_fixtures_bytes_and_bitmaps() {
    let fixture = fixture();
    for case in ["update", "update-merged-2-records"] {
        let event = fixture.event(case);
        let before = fixture.row(|d| fixture.fill(d, fixture.event("create")["decoded"].as_object().unwrap()));
        let after = fixture.row(|d| {
            d.load(&before, fixture.object.fields.len());
            fixture.fill(d, event["decoded"].as_object().unwrap());
            if case == "update" {
                d.clear(fixture.object.field("Industry").unwrap());
            }
        });
        let mut header = fixture.header(&event["decoded"]);
        let body = event::changed_body(&fixture.schema, &before, &after, &mut header);
        let made = fixture.encode(&header, body, &event["decoded"]);
        assert_eq!(made, event["avroHex"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn a_long_texts_diff_has_the_fixtures_bitmaps() {
    let fixture = fixture();
    let event = fixture.event("update-diff");
    let text = |second: &str| {
        let mut lines: Vec<String> = (0..80).map(|i| format!("a line of the description, {i}")).collect();
        lines[1] = second.into();
        lines.join("\n")
    };
    let column = fixture.object.field("Description").unwrap();
    let stamp = fixture.object.field("LastModifiedDate").unwrap();
    let row = |second: &str, at: &str| {
        fixture.row(|d| {
            d.set(column, text(second).as_bytes());
            d.set(stamp, at.as_bytes());
        })
    };
    let (before, after) = (
        row("old line", "2025-11-20T12:00:00.000Z"),
        row("new line", "2025-11-20T13:03:20.000Z"),
    );
    let mut header = fixture.header(&event["decoded"]);
    let body = event::changed_body(&fixture.schema, &before, &after, &mut header);
    let facts = &event["decoded"]["ChangeEventHeader"];
    assert_eq!(json!(header.diff.strings()), facts["diffFields"]);
    assert_eq!(json!(header.changed.strings()), facts["changedFields"]);
    let value = format!("{:?}", body[17 - 1]);
    let recorded = event["decoded"]["Description"].as_str().unwrap();
    let hunk = recorded.split_once("@@").unwrap().1.replace('\n', "\\n");
    assert!(value.contains("--- \\n+++ ") && value.contains(&hunk), "{value}");
}

#[test]
fn events_without_values_give_the_fixtures_bytes() {
    let fixture = fixture();
    for case in ["delete", "gap-update", "gap-overflow", "wildcard-field-conversion"] {
        let event = fixture.event(case);
        let mut header = fixture.header(&event["decoded"]);
        if case.starts_with("wildcard") {
            header.changed.add(23);
            header.changed.add(34);
        }
        let made = fixture.encode(&header, event::empty_body(&fixture.schema), &event["decoded"]);
        assert_eq!(made, event["avroHex"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn every_object_of_the_org_has_an_event_schema() {
    let org = Schema::builtin(&[]).unwrap();
    let fields = |name: &str| -> Vec<Value> {
        let object = &org.objects[org.object(name).unwrap()];
        let schema = EventSchema::of_object(object, *b"Wy", &[]).unwrap();
        serde_json::from_str::<Value>(&schema.json).unwrap()["fields"]
            .as_array()
            .unwrap()
            .clone()
    };
    let field = |object: &str, name: &str| -> Value { fields(object).into_iter().find(|f| f["name"] == name).unwrap_or_default() };
    for object in &org.objects {
        let all = fields(&object.name);
        assert_eq!(all[0]["name"], "ChangeEventHeader", "{}", object.name);
        for left_out in [
            "Id",
            "IsDeleted",
            "SystemModstamp",
            "MasterRecordId",
            "LastActivityDate",
            "PhotoUrl",
        ] {
            assert!(all.iter().all(|f| f["name"] != left_out), "{}.{left_out}", object.name);
        }
        let same = EventSchema::of_object(object, *b"Wy", &[]).unwrap();
        let again = EventSchema::of_object(object, *b"Wy", &[]).unwrap();
        assert_eq!(same.id, again.id);
    }
    let parts = |record: &Value| -> Vec<String> {
        let list = record["fields"].as_array().cloned().unwrap_or_default();
        list.iter().map(|f| f["name"].as_str().unwrap().to_owned()).collect()
    };
    for object in ["Contact", "Lead"] {
        let name = field(object, "Name");
        assert_eq!(
            (&name["doc"], &name["type"][1]["name"]),
            (&json!("Data:PersonName"), &json!("PersonName"))
        );
        assert_eq!(parts(&name["type"][1]), ["Salutation", "FirstName", "LastName"]);
        assert_eq!(field(object, "LastName"), Value::Null);
    }
    // State and country are plain text in this org: no codes.
    let address = [
        "Street",
        "City",
        "State",
        "PostalCode",
        "Country",
        "Latitude",
        "Longitude",
        "GeocodeAccuracy",
    ];
    assert_eq!(parts(&field("Contact", "OtherAddress")["type"][1]), address);
    assert_eq!(field("Contact", "MailingAddress")["type"], json!(["null", "Address"]));
    assert_eq!(field("Case", "CaseNumber")["doc"], "Data:Text");
    assert_eq!(field("Opportunity", "Probability")["doc"], "Data:Percent");
}
