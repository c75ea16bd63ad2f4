//! Connections and their health.

use serde_json::{Value, json};
use syncline_wire::connection::Connection;

use super::{dash, moment_json, text_json};
use crate::figures::{grouped, moment};
use crate::table::Table;

#[must_use]
pub fn table(connections: &[Connection]) -> String {
    if connections.is_empty() {
        return "no connections; add one with `syncline connection add`\n".to_owned();
    }
    let mut table = Table::new(&["name", "type", "org", "health", "last connected (UTC)", ">API calls today", "url"]);
    for c in connections {
        table.row([
            c.name.as_str(),
            dash(&c.r#type),
            dash(&c.org_type),
            dash(&c.health),
            &moment(c.last_connected_at.as_ref()),
            &calls(c),
            &c.url,
        ]);
    }
    table.render(0)
}

fn calls(c: &Connection) -> String {
    match c.api_calls_max {
        0 => "-".to_owned(),
        max => format!("{} of {}", grouped(c.api_calls_used), grouped(max)),
    }
}

#[must_use]
pub fn details(c: &Connection) -> String {
    let mut table = Table::new(&["connection", &c.name]);
    table.row(["type", dash(&c.r#type)]);
    table.row(["url", dash(&c.url)]);
    table.row(["API version", dash(&c.api_version)]);
    let org = match c.org_id.as_str() {
        "" => "-".to_owned(),
        id => format!("{} ({id}), {}", dash(&c.org_name), dash(&c.org_type)),
    };
    table.row(["org", &org]);
    table.row(["health", dash(&c.health)]);
    if !c.health_code.is_empty() || !c.health_message.is_empty() {
        table.row(["", &format!("{} {}", c.health_code, c.health_message)]);
    }
    table.row(["last connected", &moment(c.last_connected_at.as_ref())]);
    table.row(["API calls today", &calls(c)]);
    table.render(0)
}

#[must_use]
pub fn to_json(c: &Connection) -> Value {
    json!({
        "name": c.name,
        "type": c.r#type,
        "url": c.url,
        "api_version": c.api_version,
        "org": {"type": text_json(&c.org_type), "id": text_json(&c.org_id), "name": text_json(&c.org_name)},
        "health": {"state": text_json(&c.health), "code": text_json(&c.health_code), "message": text_json(&c.health_message)},
        "last_connected_at": moment_json(c.last_connected_at.as_ref()),
        "api_calls": {"used": c.api_calls_used, "max": c.api_calls_max},
    })
}
