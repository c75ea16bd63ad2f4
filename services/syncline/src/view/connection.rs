//! Connections and their health.

use std::time::Duration;

use serde_json::{Value, json};
use syncline_domain::breaker::Breaker;
use syncline_domain::retry::Span;
use syncline_wire::connection::{Connection, RetryPolicy};

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
            &health(c),
            &moment(c.last_connected_at.as_ref()),
            &calls(c),
            &c.url,
        ]);
    }
    table.render(0)
}

/// What the last test or sign-in said, unless nothing is sent for now.
fn health(c: &Connection) -> String {
    match c.breaker.as_ref().map(|b| b.state.as_str()) {
        Some("held") => "held back".to_owned(),
        Some("half_open") => "breaker half-open".to_owned(),
        Some(_) => "breaker open".to_owned(),
        None => dash(&c.health).to_owned(),
    }
}

fn breaker(c: &Connection) -> Option<Breaker> {
    syncline_wire::breaker::from_proto(c.breaker.as_ref()?)
}

fn breaker_json(b: &syncline_wire::connection::Breaker) -> Value {
    json!({
        "state": b.state,
        "since": moment_json(b.since.as_ref()),
        "failures": b.failures,
        "failure": text_json(&b.failure),
        "until": moment_json(b.until.as_ref()),
    })
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
    table.row(["health", &health(c)]);
    if !c.health_code.is_empty() || !c.health_message.is_empty() {
        table.row(["", &format!("{} {}", c.health_code, c.health_message)]);
    }
    if let Some(words) = breaker(c).and_then(|b| b.words()) {
        table.row(["", &words]);
    }
    table.row(["last connected", &moment(c.last_connected_at.as_ref())]);
    table.row(["API calls today", &calls(c)]);
    if let Some(retry) = &c.retry {
        table.row(["tries", &tries(retry)]);
        table.row(["tried again", &retried(retry)]);
        let (connect, request) = (span(retry.connect_timeout_ms), span(retry.request_timeout_ms));
        table.row(["given up after", &format!("{connect} to connect, {request} for an answer")]);
    }
    table.render(0)
}

fn span(ms: u64) -> String {
    Span(Duration::from_millis(ms)).to_string()
}

/// `5, after 1s, growing by 2 up to 1m, jittered`
fn tries(retry: &RetryPolicy) -> String {
    if retry.attempts <= 1 {
        return "1".to_owned();
    }
    let (first, longest) = (span(retry.initial_delay_ms), span(retry.max_delay_ms));
    let jitter = if retry.jitter { ", jittered" } else { "" };
    format!(
        "{}, after {first}, growing by {} up to {longest}{jitter}",
        retry.attempts, retry.factor
    )
}

fn retried(retry: &RetryPolicy) -> String {
    let statuses: Vec<String> = retry.statuses.iter().map(ToString::to_string).collect();
    let and = if statuses.is_empty() { "" } else { " and HTTP " };
    format!("network errors{and}{}", statuses.join(", "))
}

fn retry_json(retry: &RetryPolicy) -> Value {
    json!({
        "attempts": retry.attempts,
        "initial_delay": span(retry.initial_delay_ms),
        "factor": retry.factor,
        "max_delay": span(retry.max_delay_ms),
        "jitter": retry.jitter,
        "statuses": retry.statuses,
        "connect_timeout": span(retry.connect_timeout_ms),
        "request_timeout": span(retry.request_timeout_ms),
    })
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
        "retry": c.retry.as_ref().map(retry_json),
        "breaker": c.breaker.as_ref().map(breaker_json),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_breaker_is_the_connection_s_health() {
        let mut breaker = Breaker::default();
        for _ in 0..syncline_domain::breaker::FAILURES_TO_OPEN {
            breaker = breaker.failed(syncline_domain::breaker::Failure::NoAnswer, 1_000_000_000);
        }
        let mut connection = Connection {
            name: "uat".into(),
            health: "Connected".into(),
            breaker: syncline_wire::breaker::to_proto("uat", &breaker),
            ..Connection::default()
        };
        assert!(table(std::slice::from_ref(&connection)).contains("breaker open"));
        let text = details(&connection);
        assert!(
            text.contains("5 requests in a row failed, the last because no answer came"),
            "{text}"
        );
        assert!(text.contains("the next probe is at 13:46:45 UTC"), "{text}");
        let json = to_json(&connection);
        assert_eq!(
            (&json["breaker"]["state"], &json["breaker"]["failures"]),
            (&json!("open"), &json!(5))
        );
        assert_eq!(json["health"]["state"], json!("Connected"), "what the last test said");
        connection.breaker = None;
        assert!(table(std::slice::from_ref(&connection)).contains("Connected"));
        assert_eq!(to_json(&connection)["breaker"], Value::Null);
    }

    #[test]
    fn the_policy_is_shown_as_it_would_be_written() {
        let policy = syncline_domain::retry::RetryPolicy::default();
        let connection = Connection {
            name: "uat".into(),
            retry: Some(syncline_wire::retry::to_proto(&policy)),
            ..Connection::default()
        };
        let text = details(&connection);
        for line in [
            "5, after 1s, growing by 2 up to 1m, jittered",
            "network errors and HTTP 408, 429, 500, 502, 503, 504",
            "30s to connect, 1m for an answer",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let retry = &to_json(&connection)["retry"];
        assert_eq!((&retry["max_delay"], &retry["statuses"][5]), (&json!("1m"), &json!(504)));
    }
}
