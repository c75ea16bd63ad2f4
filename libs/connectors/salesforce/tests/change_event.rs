//! Change events against nine whose bytes others wrote, and against bytes that are none.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use syncline_salesforce::change_event::{ChangeEvent, ChangeType, Decoder, EventError, EventSchema, Fault, FieldPath, Value};

const AVSC: &str = include_str!("data/cdc/AccountChangeEvent.reconstructed.avsc");
const EVENTS: &str = include_str!("data/cdc/AccountChangeEvent.events.json");
const ID: &str = "AccountSchema";

fn decoder() -> Decoder {
    static LEARNT: LazyLock<Decoder> = LazyLock::new(|| {
        let mut decoder = Decoder::new();
        decoder.learn(ID, AVSC).expect("the fixture's schema");
        decoder
    });
    LEARNT.clone()
}

fn events() -> Vec<(String, Json, Vec<u8>)> {
    let all: Vec<Json> = serde_json::from_str(EVENTS).expect("the fixture");
    let text = |v: &Json| v.as_str().expect("text").to_owned();
    all.iter()
        .map(|e| (text(&e["case"]), e["decoded"].clone(), unhex(&text(&e["avroHex"]))))
        .collect()
}

fn event(case: &str) -> Vec<u8> {
    events().into_iter().find(|(c, ..)| c == case).expect("a case").2
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Long(n) => json!(n),
        Value::Double(n) => json!(n),
        Value::Text(t) => json!(t),
        Value::Bytes(b) => json!(b),
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::Record(fields) => fields.iter().map(|(n, v)| (n.clone(), plain(v))).collect::<Map<_, _>>().into(),
    }
}

fn names(paths: &[FieldPath]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

#[test]
fn nine_recorded_events_are_decoded_value_for_value() {
    let decoder = decoder();
    for (case, expected, bytes) in events() {
        let event = decoder.decode(ID, &bytes).expect(&case);
        let header = &expected["ChangeEventHeader"];
        assert_eq!(
            json!([
                event.entity,
                event.record_ids,
                event.origin,
                event.transaction_key,
                event.sequence_number
            ]),
            json!([
                header["entityName"],
                header["recordIds"],
                header["changeOrigin"],
                header["transactionKey"],
                header["sequenceNumber"]
            ]),
            "{case}"
        );
        assert_eq!(
            json!([event.commit_timestamp_ms, event.commit_number, event.commit_user]),
            json!([header["commitTimestamp"], header["commitNumber"], header["commitUser"]]),
            "{case}"
        );
        let body = expected
            .as_object()
            .expect("a record")
            .iter()
            .filter(|(n, _)| *n != "ChangeEventHeader");
        let expected: Map<String, Json> = body.map(|(n, v)| (n.clone(), v.clone())).collect();
        let decoded: Map<String, Json> = event.fields.iter().map(|(n, v)| (n.clone(), plain(v))).collect();
        assert_eq!(decoded, expected, "{case}");
    }
}

#[test]
fn bitmaps_name_fields_and_parts() {
    let decoder = decoder();
    let decode = |case: &str| -> ChangeEvent { decoder.decode(ID, &event(case)).expect(case) };
    let update = decode("update");
    assert_eq!(
        names(&update.changed),
        [
            "Phone",
            "Industry",
            "LastModifiedDate",
            "BillingAddress.City",
            "BillingAddress.PostalCode"
        ]
    );
    assert_eq!(
        (update.change, names(&update.nulled)),
        (ChangeType::Update, vec!["Industry".to_owned()])
    );
    let diff = decode("update-diff");
    assert_eq!(
        (names(&diff.diffed), names(&diff.changed)),
        (vec!["Description".into()], vec!["Description".into(), "LastModifiedDate".into()])
    );
    assert!(names(&decode("create").changed).is_empty());
    let wildcard = decode("wildcard-field-conversion");
    assert!(wildcard.is_wildcard() && !update.is_wildcard());
    assert_eq!(names(&wildcard.changed), ["LastModifiedDate", "Demo_Number__c"]);
    assert_eq!(decode("gap-overflow").change, ChangeType::GapOverflow);
}

#[test]
fn every_cut_of_an_event_is_an_error_at_a_byte_of_a_field() {
    let decoder = decoder();
    let bytes = event("create");
    for length in 0..bytes.len() {
        let error = decoder.decode(ID, &bytes[..length]).expect_err("a cut event");
        assert!(error.offset.is_some_and(|at| at <= length), "{error}");
        assert!(!error.path.is_empty(), "{error}");
        assert!(matches!(error.fault, Fault::Truncated | Fault::Length(_)), "{error}");
    }
    let mut longer = bytes.clone();
    longer.extend_from_slice(&[2, 4]);
    let error = decoder.decode(ID, &longer).expect_err("bytes behind the end");
    assert_eq!((error.offset, error.fault), (Some(bytes.len()), Fault::Trailing(2)));
    let error = decoder.decode(ID, &bytes[..300]).expect_err("a cut event");
    assert_eq!(
        error.to_string(),
        "change event of schema AccountSchema, field CleanStatus, byte 297: a length of 7, which the payload does not have"
    );
}

#[test]
fn an_event_under_another_form_of_its_schema_is_an_error_with_the_place() {
    let mut form: Json = serde_json::from_str(AVSC).expect("the fixture");
    let fields = form["fields"].as_array_mut().expect("fields");
    fields.insert(2, json!({"name": "Grade__c", "type": ["null", "double"], "default": null}));
    let mut decoder = decoder();
    decoder.learn("NewForm", &form.to_string()).expect("a schema");
    let error = decoder.decode("NewForm", &event("create")).expect_err("the old form's bytes");
    assert!(!error.path.is_empty() && error.offset.is_some(), "{error}");
    // Each event is decoded with its own schema, so both forms in one stream are fine.
    assert!(decoder.decode(ID, &event("create")).is_ok());
    let error = decoder.decode("Unheard", &event("create")).expect_err("an unknown schema");
    assert_eq!(error.fault, Fault::UnknownSchema);
    assert_eq!(error.to_string(), "change event of schema Unheard: the schema is not known");
}

fn number(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

#[test]
fn lengths_that_no_payload_has_reserve_nothing() {
    let decoder = decoder();
    let text = |bytes: &[u8]| [number(2 * bytes.len() as u64), bytes.to_vec()].concat();
    let entity = text(b"Account");
    for (what, bytes, path) in [
        ("a text of 2^62 bytes", number(1 << 63), "ChangeEventHeader.entityName"),
        ("a negative length", number(3), "ChangeEventHeader.entityName"),
        (
            "2^62 ids",
            [entity.clone(), number(1 << 63)].concat(),
            "ChangeEventHeader.recordIds",
        ),
        (
            "the least count",
            [entity.clone(), number(u64::MAX), number(0)].concat(),
            "ChangeEventHeader.recordIds",
        ),
        (
            "an endless number",
            [entity.clone(), vec![0xff; 40]].concat(),
            "ChangeEventHeader.recordIds",
        ),
        (
            "no such type of change",
            [entity, number(0), number(98)].concat(),
            "ChangeEventHeader.changeType",
        ),
    ] {
        let error = decoder.decode(ID, &bytes).expect_err(what);
        assert_eq!(error.path, path, "{what}: {error}");
    }
}

#[test]
fn bitmaps_that_fit_no_field_name_their_place() {
    let decoder = decoder();
    let bytes = event("update");
    let swap = |from: &str, to: &str| -> EventError {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("the bitmap");
        let mut damaged = bytes.clone();
        damaged[at..at + from.len()].copy_from_slice(to.as_bytes());
        decoder.decode(ID, &damaged).expect_err(to)
    };
    let error = swap("5-0x0A", "9-0x0A");
    assert_eq!(
        (error.path.as_str(), error.fault),
        ("ChangeEventHeader.changedFields[1]", Fault::Bit(9))
    );
    assert_eq!(swap("5-0x0A", "5-0xZZ").fault, Fault::Bitmap);
    assert_eq!(swap("5-0x0A", "x-0x0A").fault, Fault::Bitmap);
    assert_eq!(swap("0x801080", "0xQQ1080").fault, Fault::Bitmap);
}

#[test]
fn schemas_that_are_none_of_change_events_are_refused() {
    let header = json!({"name": "ChangeEventHeader", "type": {"type": "record", "name": "ChangeEventHeader", "fields": []}});
    let with = |kind: Json| json!({"type": "record", "name": "E", "fields": [header, {"name": "F", "type": kind}]}).to_string();
    for (text, path) in [
        (String::new(), ""),
        ("{".into(), ""),
        ("\"string\"".into(), ""),
        (
            json!({"type": "record", "name": "E", "fields": [{"name": "F", "type": "string"}]}).to_string(),
            "",
        ),
        (with(json!({"type": "map", "values": "string"})), "F"),
        (with(json!({"type": "fixed", "name": "X", "size": 3})), "F"),
        (
            with(json!(["null", {"type": "record", "name": "R", "fields": [{"name": "Inner", "type": ["null", "R"]}]}])),
            "F.Inner",
        ),
        (with(json!("Nowhere")), ""),
        (format!("{}{}", "[".repeat(5000), "]".repeat(5000)), ""),
    ] {
        let error = EventSchema::parse(ID, &text).expect_err(&text);
        assert_eq!(error.path, path, "{error}");
    }
    // A header without its fields is found when it is needed.
    let schema = EventSchema::parse(ID, &with(json!("string"))).expect("a schema");
    let error = schema.decode(&[0]).expect_err("no header");
    assert_eq!(error.path, "ChangeEventHeader.changeType");
}

#[test]
fn a_value_is_not_shown_by_debug_or_errors() {
    let event = decoder().decode(ID, &event("create")).expect("an event");
    let shown = format!("{event:?} {:?}", event.fields);
    assert!(!shown.contains("Acme") && !shown.contains("Reno"), "{shown}");
}

/// Values at all levels and bytes of text: what decoding has allocated.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => 1 + text.len(),
        Value::Bytes(bytes) => 1 + bytes.len(),
        Value::Array(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Record(fields) => 1 + fields.iter().map(|(_, v)| size(v)).sum::<usize>(),
        _ => 1,
    }
}

fn check(decoder: &Decoder, bytes: &[u8]) -> Result<(), TestCaseError> {
    match decoder.decode(ID, bytes) {
        Ok(event) => {
            let total: usize = event.fields.iter().map(|(_, v)| size(v)).sum::<usize>() + event.record_ids.len();
            prop_assert!(total <= 200 + bytes.len(), "{total} of {}", bytes.len());
        }
        Err(error) => {
            prop_assert!(error.offset.is_none_or(|at| at <= bytes.len()), "{}", error);
            prop_assert!(!error.path.is_empty(), "{}", error);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_an_event_or_an_error_with_a_place(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        check(&decoder(), &bytes)?;
    }

    #[test]
    fn a_damaged_event_is_an_event_or_an_error_with_a_place(
        case in 0usize..9,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = events().swap_remove(case).2;
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        check(&decoder(), &bytes)?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_schema_is_a_schema_or_an_error(
        hits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"{}[]\",:0anul".to_vec())), 1..4),
        case in 0usize..9,
    ) {
        let mut text: Vec<u8> = AVSC.bytes().collect();
        for (at, byte) in hits {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Ok(schema) = EventSchema::parse(ID, &String::from_utf8_lossy(&text)) {
            let _ = schema.decode(&events().swap_remove(case).2);
        }
    }
}
