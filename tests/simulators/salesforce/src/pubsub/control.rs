//! `/__sim/pubsub…`: what a test may do to the bus.

use std::sync::atomic::Ordering;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pubsub::bus::{PubSub, now_ms};
use crate::pubsub::config::PlatformType;
use crate::pubsub::event::ChangeType;
use crate::pubsub::event_schema::{EventSchema, SchemaChange};
use crate::pubsub::faults::{Damage, RpcFault};
use crate::pubsub::log::replay_id;
use crate::web::http::Call;
use crate::web::reply::ApiError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    object: String,
    #[serde(rename = "type")]
    change: String,
    #[serde(default)]
    ids: Vec<String>,
    /// Names of fields for `changedFields`.
    #[serde(default)]
    fields: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewForm {
    object: String,
    add: Option<String>,
    #[serde(default)]
    kind: Kind,
    value: Option<String>,
    after: Option<String>,
    drop: Option<String>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Text,
    LongText,
    Number,
    Checkbox,
    Date,
    DateTime,
}

impl From<Kind> for PlatformType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::LongText => Self::LongText,
            Kind::Number => Self::Number,
            Kind::Checkbox => Self::Checkbox,
            Kind::Date => Self::Date,
            Kind::DateTime => Self::DateTime,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spoil {
    kind: Damage,
    #[serde(default = "one")]
    times: u64,
}

fn one() -> u64 {
    1
}

fn body<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, ApiError> {
    serde_json::from_value(call.json()?).map_err(|e| ApiError::bad("BAD_REQUEST", e.to_string()))
}

/// Answers a control request below `pubsub`.
pub fn handle(call: &Call, rest: &[&str]) -> Result<Value, ApiError> {
    let bus = call
        .org
        .pubsub
        .as_ref()
        .ok_or_else(|| ApiError::bad("NO_PUBSUB", "this org has no Pub/Sub port"))?;
    match (&call.method, rest) {
        (&Method::GET, []) => Ok(report(bus)),
        (&Method::POST, ["entities"]) => {
            let names: Vec<String> = body(call)?;
            bus.select(&names).map_err(|e| ApiError::bad("BAD_ENTITY", e.to_string()))?;
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["events"]) => announce(bus, &body(call)?),
        (&Method::POST, ["schema"]) => change_form(bus, body(call)?),
        (&Method::POST, ["forget"]) => {
            let age_ms = call.json()?["older_than_ms"].as_i64().unwrap_or(-1);
            Ok(json!({"forgotten": bus.log.forget(now_ms(), age_ms)}))
        }
        (&Method::POST, ["allocation"]) => {
            let max = call.json()?["max"].as_u64();
            bus.allocation
                .set_max(max.ok_or_else(|| ApiError::bad("BAD_NUMBER", "max must be a whole number"))?);
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["faults"]) => {
            bus.faults.add(fault(call)?);
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["cut"]) => {
            bus.faults.cut(fault(call)?);
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["reset"]) => {
            bus.faults.reset();
            Ok(json!({"ok": true}))
        }
        (&Method::POST, ["damage"]) => {
            let Spoil { kind, times } = body(call)?;
            bus.faults.add_damage(kind, times);
            Ok(json!({"ok": true}))
        }
        (&Method::DELETE, ["faults"]) => {
            bus.faults.clear();
            Ok(json!({"ok": true}))
        }
        _ => Err(ApiError::not_found()),
    }
}

fn fault(call: &Call) -> Result<RpcFault, ApiError> {
    let fault: RpcFault = body(call)?;
    if fault.is_valid() {
        return Ok(fault);
    }
    Err(ApiError::bad(
        "BAD_FAULT",
        format!("{} is no status a call ends with", fault.status),
    ))
}

fn report(bus: &PubSub) -> Value {
    let (events, bytes) = bus.log.size();
    let (allowed, left) = bus.allocation.figures(now_ms());
    let names: Vec<&str> = bus.captured().iter().map(|o| bus.schema.objects[*o].name.as_str()).collect();
    let hex: String = replay_id(bus.log.latest(now_ms())).iter().map(|b| format!("{b:02x}")).collect();
    json!({"entities": names, "retained": events, "retainedBytes": bytes, "latestReplayId": hex,
        "streams": bus.streams.load(Ordering::SeqCst),
        "delivered": allowed - left.min(allowed), "deliveredMax": allowed})
}

fn object(bus: &PubSub, name: &str) -> Result<usize, ApiError> {
    let found = bus.schema.object(name);
    found.ok_or_else(|| ApiError::bad("BAD_ENTITY", format!("{name} is no object of this org")))
}

/// An event without values: a gap, an overflow, or a change of fields that some or all (`001*`) records went through.
fn announce(bus: &PubSub, gap: &Gap) -> Result<Value, ApiError> {
    let at = object(bus, &gap.object)?;
    let change = ChangeType::parse(&gap.change).ok_or_else(|| ApiError::bad("BAD_TYPE", gap.change.as_str()))?;
    let schema = bus.current_schema(at).map_err(|e| ApiError::bad("BAD_SCHEMA", e.to_string()))?;
    let mut header = bus.header(at, change, gap.ids.clone());
    for name in &gap.fields {
        let field = schema.fields.iter().position(|f| f.name == *name);
        let field = field.ok_or_else(|| ApiError::bad("INVALID_FIELD", format!("{name} is not in the event")))?;
        header.changed.add(field + 1);
    }
    let number = bus.announce(at, &header).map_err(|e| ApiError::bad("BAD_SCHEMA", e.to_string()))?;
    Ok(json!({"number": number}))
}

fn change_form(bus: &PubSub, form: NewForm) -> Result<Value, ApiError> {
    let at = object(bus, &form.object)?;
    let change = match (form.add, form.drop) {
        (Some(name), None) => SchemaChange::Add {
            name,
            kind: form.kind.into(),
            value: form.value,
            after: form.after,
        },
        (None, Some(name)) => SchemaChange::Drop { name },
        _ => return Err(ApiError::bad("BAD_CHANGE", "either add or drop a field")),
    };
    let schema = bus
        .change_schema(at, change)
        .map_err(|e| ApiError::bad("BAD_SCHEMA", e.to_string()))?;
    Ok(summary(&schema))
}

fn summary(schema: &EventSchema) -> Value {
    let fields: Vec<&str> = schema.fields.iter().map(|f| f.name.as_str()).collect();
    json!({"schemaId": schema.id, "fields": fields})
}
