//! Whatever stands in a file: no panic, and a definition that reads or an error with a place.

use proptest::prelude::*;
use serde_json::{Value, json};
use syncline_domain::spec::read_documents;

use super::super::property::{MAPPING, MOCK, OBJECT, ROOT};
use super::{good, one, run};

fn any_name() -> impl proptest::strategy::Strategy<Value = String> {
    let known: Vec<&str> = [ROOT, OBJECT, MAPPING, MOCK].into_iter().flatten().map(|p| p.name).collect();
    prop_oneof![4 => proptest::sample::select(known).prop_map(str::to_owned), 1 => ".{0,6}"]
}

fn any_text() -> impl proptest::strategy::Strategy<Value = String> {
    prop_oneof![
        "SELECT (Id|Name|all|A__c|A\\.B|null|custom_true|,|, |[(]X[)]| ){1,6} FROM (A|B__c|No)( WHERE .{0,12})?( LIMIT 3)?",
        "(Insert|Upsert|Update|Readonly|Name|Ext__c|all|email|c_set_value\\('.{0,5}'\\)|yes|null)",
        ".{0,10}",
    ]
}

fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((any_name(), inner), 0..8).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Something like an object of an export.json.
fn any_object() -> impl proptest::strategy::Strategy<Value = Value> {
    (
        any_text(),
        any_json(),
        any_text(),
        proptest::collection::vec((any_name(), any_json()), 0..3),
    )
        .prop_map(|(query, mocks, operation, more)| {
            let mut object = json!({"query": query, "operation": operation});
            if mocks.is_array() {
                object["mockFields"] = mocks;
            }
            object.as_object_mut().unwrap().extend(more);
            object
        })
}

fn holds(text: &str) -> Result<(), TestCaseError> {
    match run(text) {
        Ok(imported) => {
            let documents = read_documents(&imported.yaml).map_err(|e| TestCaseError::fail(format!("{e}\n{text}\n{}", imported.yaml)))?;
            prop_assert_eq!(documents.len(), imported.syncs);
        }
        Err(refused) => {
            prop_assert!(!refused.errors.is_empty());
            for e in &refused.errors {
                prop_assert!(
                    e.line >= 1 && e.line <= text.matches('\n').count() as u64 + 1 && e.column >= 1,
                    "{:?}",
                    e
                );
                prop_assert!(!e.instead.is_empty() && !e.to_string().contains('\n'), "{:?}", e);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_json_gives_a_definition_that_reads_or_an_error_with_a_place(value in any_json()) {
        holds(&value.to_string())?;
    }

    #[test]
    fn any_objects_give_a_definition_that_reads_or_an_error_with_a_place(
        objects in proptest::collection::vec(any_object(), 0..4), pretty: bool, cut in proptest::option::weighted(0.2, 0_usize..400)
    ) {
        let root = json!({"objects": objects});
        let mut text = if pretty { serde_json::to_string_pretty(&root).unwrap() } else { root.to_string() };
        if let Some(cut) = cut {
            text = text.chars().take(cut).collect();
        }
        holds(&text)?;
    }

    #[test]
    fn a_condition_arrives_as_it_was(condition in "[^'()\\\\\\s]([^'()\\\\]{0,30}[^'()\\\\\\s])?") {
        let text = one(json!({"query": format!("SELECT Name FROM Thing__c WHERE {condition}")}));
        let words: Vec<&str> = condition.split_whitespace().collect();
        let clause = ["WHERE", "USING", "WITH", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FOR", "ALL"];
        prop_assume!(!words.iter().any(|w| clause.iter().any(|c| w.to_ascii_uppercase().contains(c))));
        let (_, syncs) = good(&text);
        prop_assert_eq!(syncs[0].spec.objects[0].filter.as_deref(), Some(condition.trim()));
    }
}
