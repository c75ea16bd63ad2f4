#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod any;

use serde_json::{Value, json};
use syncline_domain::spec::{Document, Existing, SyncDocument, read_documents};
use syncline_mask::Strategy as Mask;

use super::property::{MAPPING, MOCK, OBJECT, OBJECT_SET, Property, ROOT};
use super::*;

const SCHEMA: &str = include_str!("../../../../tests/data/sfdmu/export.schema.json");
const EXAMPLE: &str = include_str!("../../../../tests/data/sfdmu/export.example.json");
const PAGE: &str = include_str!("../../../../../../docs/from-sfdmu.md");

fn names() -> Names {
    Names {
        sync: "refresh".parse().unwrap(),
        source: "production".parse().unwrap(),
        target: "uat".parse().unwrap(),
    }
}

fn run(text: &str) -> Result<Imported, Box<Refused>> {
    import("export.json", text, &names())
}

fn good(text: &str) -> (Imported, Vec<SyncDocument>) {
    let imported = run(text).unwrap_or_else(|refused| panic!("{text}: {refused:?}"));
    let syncs = syncs(&imported.yaml);
    (imported, syncs)
}

/// Read as `syncline apply` reads them; the masking rules too, which a check parses.
fn syncs(yaml: &str) -> Vec<SyncDocument> {
    let documents = read_documents(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    documents
        .into_iter()
        .map(|document| match document {
            Document::Sync(sync) => {
                for strategy in sync.spec.masking.rules.values().flat_map(|rules| rules.values()) {
                    strategy.parse::<Mask>().unwrap_or_else(|e| panic!("{e}\n{yaml}"));
                }
                sync
            }
            Document::Connection(_) => panic!("a connection\n{yaml}"),
        })
        .collect()
}

/// An export.json of one object that everything is known of, changed by `with`.
fn one(with: Value) -> String {
    let mut object = json!({"query": "SELECT Id, Name, Email__c FROM Thing__c", "operation": "Upsert", "externalId": "Key__c"});
    object.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    serde_json::to_string_pretty(&json!({"objects": [object]})).unwrap()
}

fn paths(notes: &[Note]) -> Vec<&str> {
    notes.iter().map(|n| n.path.as_str()).collect()
}

#[test]
fn a_file_of_somebody_else_becomes_a_sync() {
    let (imported, syncs) = good(EXAMPLE);
    let spec = &syncs[0].spec;
    assert_eq!((spec.source.as_str(), spec.target.as_str()), ("production", "uat"));
    let object = &spec.objects[0];
    assert_eq!(object.name.as_str(), "Account");
    let fields: Vec<&str> = object.fields.iter().flatten().map(|f| f.as_str()).collect();
    assert_eq!(fields, ["Id", "FirstName", "LastName", "CPR__pc", "PersonEmail"]);
    assert_eq!(object.filter.as_deref(), Some("Party_Id__c IN ('181009E')"));
    assert_eq!(object.key, None, "an Insert looks for nothing");
    let notes: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 3, "{notes:#?}");
    assert!(
        notes[0].starts_with("4:13: objects[0].query: `RecordType.DeveloperName` is a field of another record"),
        "{notes:#?}"
    );
    assert!(notes[1].starts_with("5:13: objects[0].operation: "), "{notes:#?}");
    assert!(notes[2].starts_with("6:13: objects[0].externalId: "), "{notes:#?}");
    for note in &imported.notes {
        assert!(
            imported.yaml.contains(&format!("# {}:{}: {}: ", note.line, note.column, note.path)),
            "{}",
            imported.yaml
        );
    }
}

#[test]
fn what_a_sync_can_hold_is_carried_over() {
    let (imported, syncs) = good(
        &json!({"objects": [
            {"query": "SELECT all FROM Account WHERE Type = 'it''s \"x\": # no'", "operation": "Upsert", "externalId": "Ext__c",
             "excludedFields": ["Fax"]},
            {"query": "SELECT Id, Title, LastName, Email, AccountId, Fax FROM Contact", "operation": "Upsert", "externalId": "Ext__c",
             "excludedFields": ["fax"], "useFieldMapping": false, "master": true, "excluded": false, "deleteQuery": null,
             "updateWithMockData": true,
             "mockFields": [{"name": "LastName", "pattern": "last_name"}, {"name": "Email", "pattern": "email"}, {"name": "Title", "pattern": "c_set_value('x \"y\"')"}]},
            {"query": "SELECT Id, A__c FROM Old__c", "operation": "Upsert", "externalId": "K__c", "useFieldMapping": true,
             "fieldMapping": [{"targetObject": "New__c"}, {"sourceField": "A__c", "targetField": "B__c"}]}
        ]})
        .to_string(),
    );
    let spec = &syncs[0].spec;
    assert_eq!(spec.existing, Existing::Update);
    let names: Vec<&str> = spec.objects.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["Account", "Contact", "Old__c"], "in their order");
    let [account, contact, old] = spec.objects.as_slice() else {
        panic!("three")
    };
    assert_eq!((account.fields.as_ref(), account.exclude[0].as_str()), (None, "Fax"));
    assert_eq!(account.filter.as_deref(), Some("Type = 'it''s \"x\": # no'"));
    assert_eq!(account.key.as_ref().unwrap().as_str(), "Ext__c");
    assert_eq!(contact.fields.as_ref().unwrap().len(), 5, "without Fax");
    assert!(contact.exclude.is_empty());
    assert_eq!(old.target.as_ref().unwrap().as_str(), "New__c");
    assert_eq!(
        old.mapping.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>(),
        [("A__c", "B__c")]
    );
    let rules = &spec.masking.rules["Contact"];
    assert_eq!(
        (rules["LastName"].as_str(), rules["Email"].as_str()),
        ("fake(family_name)", "fake(email)")
    );
    assert_eq!(rules["Title"], "redact(\"x \\\"y\\\"\")");
    assert_eq!(
        paths(&imported.notes),
        ["objects[2].useFieldMapping"],
        "FieldMapping.csv is all that is missing"
    );
}

/// What is no object of the sync stands in it as a comment, ready to be taken in.
#[test]
fn an_object_that_is_not_to_be_written_is_left_out_and_kept_as_a_comment() {
    for (with, path, says) in [
        (json!({"operation": "Update"}), "operation", "inserts nothing"),
        (json!({"operation": "Readonly"}), "operation", "only read"),
        (json!({"operation": "Delete"}), "operation", "deletes only"),
        (json!({"operation": "DeleteHierarchy"}), "operation", "deletes only"),
        (json!({"operation": "HardDelete"}), "operation", "deletes only"),
        (json!({"operation": "DeleteSource"}), "operation", "nothing in a source"),
        (json!({"operation": "upsert"}), "operation", "no such operation"),
        (json!({"operation": null}), "", "without an operation"),
        (json!({"excluded": true}), "excluded", "`excluded` is true"),
        (json!({"useSourceCSVFile": true}), "useSourceCSVFile", "CSV file"),
        (json!({"deleteFromSource": true}), "deleteFromSource", "nothing in a source"),
        (
            json!({"query": "SELECT Name, COUNT(Id) FROM Thing__c GROUP BY Name"}),
            "query",
            "groups",
        ),
        (json!({"query": "SELECT Id, custom_true FROM Thing__c"}), "query", "cannot choose"),
        (json!({"query": "SELECT Id, Owner.Name FROM Thing__c"}), "query", "no field"),
    ] {
        let mut with = with;
        with["mockFields"] = json!([{"name": "Email__c", "pattern": "email"}]);
        with["updateWithMockData"] = json!(true);
        let text = one(with.clone()).replace(
            "\"objects\": [",
            "\"objects\": [{\"query\": \"SELECT Name FROM Other__c\", \"operation\": \"Insert\"},",
        );
        let (imported, syncs) = good(&text);
        assert_eq!(syncs[0].spec.objects.len(), 1, "{with}\n{}", imported.yaml);
        assert!(
            syncs[0].spec.masking.rules.is_empty(),
            "{with}: a rule for what is not written is fatal"
        );
        let path = member("objects[1]", path).replace("[\"\"]", "");
        let note = imported.notes.iter().find(|n| n.path == path && n.why.contains(says));
        assert!(
            note.is_some_and(|n| n.why.contains("left out") && !n.instead.is_empty()),
            "{with}: {:#?}",
            imported.notes
        );
        assert!(imported.yaml.contains("    # - name: Thing__c\n"), "{}", imported.yaml);
        assert!(imported.yaml.contains("      #   Email__c: fake(email)\n"), "{}", imported.yaml);

        // Uncommented, it is an object like any other.
        let uncommented: String = imported
            .yaml
            .lines()
            .skip_while(|l| !l.starts_with("    # - name: Thing__c"))
            .take_while(|l| !l.starts_with("  # masking"))
            .map(|l| format!("{}\n", l.replacen("# ", "", 1)))
            .collect();
        let yaml = imported.yaml.split("    # - name: Thing__c").next().unwrap().to_owned() + &uncommented;
        let again = read_documents(&yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
        assert!(matches!(&again[0], Document::Sync(sync) if sync.spec.objects[1].name.as_str() == "Thing__c"));
    }
}

#[test]
fn what_existing_records_need_is_the_strictest_that_is_asked_for() {
    let clears = |a: Value, b: Value| {
        json!({"objects": [
            {"query": "SELECT Name FROM A__c", "operation": "Insert", "deleteOldData": a},
            {"query": b["query"].as_str().unwrap_or("SELECT Name FROM B__c"), "operation": "Insert", "deleteOldData": b["on"], "deleteQuery": b["only"]},
        ]})
        .to_string()
    };
    for (text, existing, notes) in [
        (one(json!({})), Existing::Update, 0),
        (one(json!({"externalId": "Name"})), Existing::Refuse, 1),
        (one(json!({"externalId": "Id"})), Existing::Refuse, 1),
        (one(json!({"externalId": "Name;Email__c"})), Existing::Refuse, 1),
        (one(json!({"externalId": "Owner.Name"})), Existing::Refuse, 1),
        (one(json!({"externalId": null})), Existing::Refuse, 1),
        (one(json!({"externalId": ""})), Existing::Refuse, 1),
        (clears(json!(true), json!({"on": true})), Existing::Replace, 2),
        (clears(json!(true), json!({"on": false})), Existing::Update, 3),
        (
            clears(json!(true), json!({"on": true, "only": "SELECT Id FROM B__c WHERE X = 1"})),
            Existing::Update,
            5,
        ),
        (
            clears(json!(true), json!({"on": true, "query": "SELECT Name FROM B__c WHERE X = 1"})),
            Existing::Update,
            4,
        ),
    ] {
        let (imported, syncs) = good(&text);
        assert_eq!(syncs[0].spec.existing, existing, "{text}");
        assert_eq!(imported.notes.len(), notes, "{text}: {:#?}", imported.notes);
    }
}

#[test]
fn what_was_to_be_masked_never_travels_unmasked_unsaid() {
    for (mock, on, rule, path) in [
        (
            json!({"name": "Email__c", "pattern": "username"}),
            true,
            Some(("Email__c", "redact")),
            "pattern",
        ),
        (
            json!({"name": "Email__c", "pattern": "ids"}),
            true,
            Some(("Email__c", "redact")),
            "pattern",
        ),
        (json!({"name": "Email__c"}), true, Some(("Email__c", "redact")), "pattern"),
        (
            json!({"name": "Email__c", "pattern": "email", "excludedRegex": "a"}),
            true,
            Some(("Email__c", "fake(email)")),
            "excludedRegex",
        ),
        (
            json!({"name": "Email__c", "pattern": "email", "locale": "de_DE"}),
            true,
            Some(("Email__c", "fake(email)")),
            "locale",
        ),
        (
            json!({"name": "Emial__c", "pattern": "email"}),
            true,
            Some(("Emial__c", "fake(email)")),
            "",
        ),
        (
            json!({"name": "all", "pattern": "name", "excludeNames": ["Id"]}),
            true,
            Some(("*", "fake(full_name)")),
            "name",
        ),
        (json!({"name": "Owner.Name", "pattern": "name"}), true, None, "name"),
        (
            json!({"name": "Email__c", "pattern": "email"}),
            false,
            Some(("Email__c", "fake(email)")),
            "!objects[0].updateWithMockData",
        ),
    ] {
        let (imported, syncs) = good(&one(json!({"updateWithMockData": on, "mockFields": [mock]})));
        let rules = syncs[0].spec.masking.rules.get("Thing__c");
        let found = rules
            .and_then(|r| r.iter().next())
            .map(|(field, strategy)| (field.as_str(), strategy.as_str()));
        assert_eq!(found, rule, "{mock}");
        let wanted = path
            .strip_prefix('!')
            .map_or_else(|| format!("objects[0].mockFields[0].{path}"), str::to_owned);
        assert!(
            path.is_empty() || paths(&imported.notes).contains(&wanted.as_str()),
            "{mock}: {:#?}",
            imported.notes
        );
    }
    let (imported, _) = good(&one(json!({"updateWithMockData": true})));
    assert!(imported.notes[0].why.contains("masks nothing"), "{:#?}", imported.notes);
}

#[test]
fn every_set_of_objects_is_a_sync_of_its_own() {
    let set = |object: &str| json!([{"query": format!("SELECT Name FROM {object}"), "operation": "Insert"}]);
    let (imported, syncs) = good(
        &json!({
            "objectSets": [{"objects": set("B__c")}, set("C__c"), {"objects": []}, {"objects": [{"query": "SELECT Name FROM D__c"}]}],
            "objects": set("A__c"),
        })
        .to_string(),
    );
    let found: Vec<(&str, &str)> = syncs
        .iter()
        .map(|s| (s.metadata.name.as_str(), s.spec.objects[0].name.as_str()))
        .collect();
    assert_eq!(found, [("refresh", "A__c"), ("refresh-2", "B__c"), ("refresh-3", "C__c")]);
    assert_eq!((imported.syncs, imported.objects), (3, 3));
    let readonly = "objectSets[3].objects[0]: D__c is left out";
    assert!(imported.yaml.contains(readonly), "{}", imported.yaml);

    let mut long = names();
    long.sync = "x".repeat(63).parse().unwrap();
    let text = json!({"objectSets": [set("A__c"), set("B__c")]}).to_string();
    let refused = import("export.json", &text, &long).unwrap_err();
    assert!(refused.errors[0].instead.contains("--name"), "{refused:?}");
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place_all_at_once() {
    for (text, places) in [
        ("", vec![(1, 1, "the file ends here")]),
        ("{\n  \"objects\": [ // all\n]}", vec![(2, 16, "a comment")]),
        ("\u{feff}{\"objects\": [}", vec![(1, 14, "expected a value")]),
        ("[]", vec![(1, 1, "expected an object")]),
        ("{}", vec![(1, 1, "neither `objects` nor `objectSets`")]),
        ("{\"objects\": {}}", vec![(1, 13, "expected a list")]),
        ("{\"objects\": []}", vec![(1, 1, "it lists no object")]),
        ("{\"objects\": [{\"operation\": \"Insert\"}]}", vec![(1, 14, "no query")]),
        (
            "{\"objects\": [{\"query\": 1, \"operation\": 2},\n 7,\n {\"query\": \"SELECT A FROM B\", \"operation\": true, \"excluded\": \"yes\", \"excludedFields\": [1], \"mockFields\": [{\"pattern\": \"x\"}]}]}",
            vec![
                (1, 24, "a number, expected text"),
                (2, 2, "an object"),
                (3, 44, "true or false, expected text"),
                (3, 62, "expected true or false"),
                (3, 88, "expected text"),
                (3, 107, "no name"),
            ],
        ),
        (
            "{\"objects\": [{\"query\": \"SELECT A FROM B\", \"operation\": \"Delete\"}]}",
            vec![(1, 1, "no object of it")],
        ),
        (
            "{\"objects\": [{\"query\": \"DELETE\", \"operation\": \"Insert\"}]}",
            vec![(1, 1, "no object of it")],
        ),
    ] {
        let refused = run(text).err().unwrap_or_else(|| panic!("{text}"));
        for (line, column, says) in places {
            let found = refused
                .errors
                .iter()
                .any(|e| (e.line, e.column) == (line, column) && e.why.contains(says));
            assert!(found, "{text}: {line}:{column} {says}: {:#?}", refused.errors);
        }
        assert!(
            refused.errors.iter().all(|e| !e.instead.is_empty()),
            "each has a remedy: {:#?}",
            refused.errors
        );
    }
}

#[test]
fn unknown_and_repeated_names_are_listed_and_secrets_are_not_repeated() {
    let text = r#"{"orgs": [{"name": "prod", "accessToken": "hush-1"}], "colour": "hush-2", "apiversion": "hush-3", "a\nb": "hush-4", "objects": [],
        "objects": [{"query": "SELECT Name FROM A__c WHERE Name = 'kept'", "operation": "hush-5", "Operation": "Insert", "operation": "Insert",
                     "mockFields": [{"name": "Name", "pattern": "hush_6", "extra": "hush-7"}]}]}"#;
    let (imported, _) = good(text);
    let wanted = [
        "orgs",
        "colour",
        "apiversion",
        "[\"a?b\"]",
        "objects",
        "objects[0].operation",
        "objects[0].Operation",
        "objects[0].mockFields[0].extra",
        "objects[0].mockFields[0].pattern",
    ];
    for path in wanted {
        assert!(paths(&imported.notes).contains(&path), "{path}: {:#?}", imported.notes);
    }
    let notes: String = imported.notes.iter().map(|n| format!("{n}\n")).collect();
    assert!(notes.contains("is it `apiVersion`?"), "{notes}");
    assert!(
        !notes.contains("hush") && !imported.yaml.contains("hush"),
        "{notes}\n{}",
        imported.yaml
    );
    assert!(!notes.contains("kept"), "a condition may hold somebody's name: {notes}");
}

#[test]
fn a_byte_order_mark_changes_nothing() {
    let (plain, _) = good(EXAMPLE);
    let (marked, _) = good(&format!("\u{feff}{EXAMPLE}"));
    assert_eq!((plain.yaml, plain.notes), (marked.yaml, marked.notes));
}

/// A value of a property that is not what SFDMU takes without it.
fn sample(schema: &Value, property: &Value) -> Value {
    if let Some(reference) = property["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let properties = schema["$defs"][name]["properties"].as_object().unwrap();
        return properties.iter().map(|(name, p)| (name.clone(), sample(schema, p))).collect();
    }
    if let Some(values) = property["enum"].as_array() {
        return values[0].clone();
    }
    match property["type"].as_str() {
        Some("array") => json!([sample(schema, &property["items"])]),
        Some("boolean") => json!(true),
        Some("integer" | "number") => json!(7),
        Some("object") => json!({"x": 1}),
        Some("string") => json!("Given__c"),
        None => sample(schema, &property["oneOf"][0]),
        Some(other) => panic!("the schema has a new type, {other}"),
    }
}

fn schema_names(schema: &Value, of: Option<&str>) -> Vec<(String, Value)> {
    let of = of.map_or(schema, |name| &schema["$defs"][name]);
    of["properties"].as_object().unwrap().clone().into_iter().collect()
}

#[test]
fn every_property_of_the_schema_is_carried_over_or_listed() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let base = |with: Value, name: &str| -> (String, Value) {
        let mut root: Value = serde_json::from_str(&one(json!({
            "updateWithMockData": true, "useFieldMapping": true,
            "mockFields": [{"name": "Email__c", "pattern": "email"}],
            "fieldMapping": [{"sourceField": "Name", "targetField": "Name2__c"}],
        })))
        .unwrap();
        let (path, at) = match name {
            "" => ("", &mut root),
            "scriptObject" => ("objects[0]", &mut root["objects"][0]),
            "mappingItem" => ("objects[0].fieldMapping[0]", &mut root["objects"][0]["fieldMapping"][0]),
            "mockField" => ("objects[0].mockFields[0]", &mut root["objects"][0]["mockFields"][0]),
            other => panic!("{other}"),
        };
        at.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        (path.to_owned(), root)
    };
    // A change that can be seen in the definition, for properties that are carried over.
    let telling = |name: &str, given: Value| match name {
        "objects" => json!([{"query": "SELECT Name FROM X__c", "operation": "Insert"}]),
        "objectSets" => json!([{"objects": [{"query": "SELECT Name FROM X__c", "operation": "Insert"}]}]),
        "query" => json!("SELECT Name, Email__c, More__c FROM Thing__c"),
        "sourceField" => json!("Email__c"),
        "useFieldMapping" | "updateWithMockData" => json!(false),
        "excludedFields" => json!(["Email__c"]),
        "pattern" => json!("phone"),
        "master" => json!(false),
        "externalId" => json!("Other_Key__c"),
        _ => given,
    };
    let plain = syncs(&good(&base(json!({}), "").1.to_string()).0.yaml);
    let mut walked = 0;
    for (def, table) in [("", ROOT), ("scriptObject", OBJECT), ("mappingItem", MAPPING), ("mockField", MOCK)] {
        for (name, property) in schema_names(&schema, Some(def).filter(|d| !d.is_empty())) {
            assert!(table.iter().any(|p| p.name == name), "{def}.{name} has no fate");
            let value = telling(&name, sample(&schema, &property));
            let (path, root) = base(json!({ name.clone(): value }), def);
            let text = root.to_string();
            let place = member(&path, &name);
            let (yaml, notes) = match run(&text) {
                Ok(imported) => (Some(imported.yaml), imported.notes),
                Err(refused) => (None, [refused.errors, refused.notes].concat()),
            };
            let listed = notes
                .iter()
                .any(|n| n.path == place || n.path.starts_with(&format!("{place}[")) || n.path.starts_with(&format!("{place}.")));
            let carried = yaml.is_some_and(|yaml| syncs(&yaml) != plain);
            assert!(listed || carried, "{place} is dropped unsaid: {notes:#?}");
            walked += 1;
        }
    }
    for (name, _) in schema_names(&schema, Some("scriptObjectSet")) {
        assert!(OBJECT_SET.iter().any(|p| p.name == name), "scriptObjectSet.{name} has no fate");
    }
    // Orgs, add-ons and polymorphic look-ups are listed as wholes.
    let known = [
        "scriptOrg",
        "scriptObjectSet",
        "scriptObject",
        "mappingItem",
        "mockField",
        "addonManifestDefinition",
        "polymorphicLookup",
    ];
    for name in schema["$defs"].as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()), "{name} is new in the schema");
    }
    assert!(walked > 90, "{walked} properties were walked");
}

#[test]
fn the_page_names_what_is_read_and_every_pattern() {
    for table in [ROOT, OBJECT, MAPPING, MOCK] {
        for Property { name, fate } in table {
            if matches!(fate, Fate::Read) {
                assert!(PAGE.contains(&format!("`{name}`")), "{name} is not on the page");
            }
        }
    }
    for (pattern, kind) in mock::KINDS {
        let line = PAGE.lines().find(|l| l.contains(&format!("`{pattern}`")) && l.contains("`fake("));
        assert!(line.is_some_and(|l| l.contains(&format!("`fake({kind})`"))), "{pattern}: {line:?}");
    }
}

/// The text between two fences of the page.
fn fenced<'p>(page: &'p str, language: &str) -> &'p str {
    let start = format!("\n```{language}\n");
    let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("{language}"));
    rest.split_once("```").unwrap().0
}

#[test]
fn the_example_of_the_page_is_what_comes_out() {
    let (imported, _) = good(fenced(PAGE, "json"));
    assert_eq!(imported.yaml, fenced(PAGE, "yaml"), "\n{}", imported.yaml);
    let notes: String = imported.notes.iter().map(|n| format!("export.json:{n}\n")).collect();
    assert_eq!(notes, fenced(PAGE, "text"), "\n{notes}");
}
