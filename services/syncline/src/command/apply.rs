//! `syncline apply`: everything is read, checked and looked up before the first document is sent.

use std::path::PathBuf;

use serde_json::{Value, json};
use syncline_wire::connection::{ApplyConnectionRequest, ListConnectionsRequest};
use syncline_wire::sync::ApplySyncRequest;

use super::{Context, missing};
use crate::client::ask;
use crate::definition::{self, Complaint, Definitions, Secrets};
use crate::error::CliError;
use crate::exit::Exit;
use crate::table::Table;

/// Names per page, and pages that are read: more connections than this nobody has.
const PAGE_SIZE: u32 = 500;
const PAGES_MAX: usize = 200;

/// What became of one document.
struct Applied {
    kind: &'static str,
    name: String,
    version: Option<u32>,
    result: &'static str,
}

/// # Errors
/// Every mistake of the documents, or what the gateway answers.
pub async fn run(context: &Context, files: &[PathBuf]) -> Result<Exit, CliError> {
    let definitions = definition::read(files)?;
    apply(context, &definitions).await
}

/// Stores connections, then syncs. What was stored before a failure is shown all the same.
///
/// # Errors
/// As [`run`].
pub async fn apply(context: &Context, definitions: &Definitions) -> Result<Exit, CliError> {
    let secrets = secrets(definitions)?;
    store(context, definitions, secrets).await
}

/// As [`apply`], with the connections' secrets in hand.
///
/// # Errors
/// As [`run`].
pub async fn store(context: &Context, definitions: &Definitions, secrets: Vec<Secrets>) -> Result<Exit, CliError> {
    let stored = stored_connections(context).await?;
    definition::refuse(definitions.unknown_connections(&stored))?;

    let mut applied = Vec::new();
    let result = send(context, definitions, secrets, &stored, &mut applied).await;
    if !applied.is_empty() || result.is_ok() {
        show(context, &applied)?;
    }
    result.map(|()| Exit::Ok)
}

/// What the connections' references stand for, in their order.
///
/// # Errors
/// Every reference that leads nowhere.
pub fn secrets(definitions: &Definitions) -> Result<Vec<Secrets>, CliError> {
    let mut found = Vec::new();
    let mut complaints: Vec<Complaint> = Vec::new();
    for connection in &definitions.connections {
        match connection.secrets() {
            Ok(secrets) => found.push(secrets),
            Err(more) => complaints.extend(more),
        }
    }
    definition::refuse(complaints)?;
    Ok(found)
}

async fn stored_connections(context: &Context) -> Result<Vec<String>, CliError> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let request = ListConnectionsRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let answer = context
            .gateway
            .connections()
            .list_connections(ask(request))
            .await
            .map_err(|s| context.gateway.error(s))?
            .into_inner();
        names.extend(answer.connections.into_iter().map(|c| c.name));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(names)
}

async fn send(
    context: &Context,
    definitions: &Definitions,
    secrets: Vec<Secrets>,
    stored: &[String],
    applied: &mut Vec<Applied>,
) -> Result<(), CliError> {
    for (connection, Secrets(secrets)) in definitions.connections.iter().zip(secrets) {
        let name = connection.document.metadata.name.to_string();
        let request = ApplyConnectionRequest {
            yaml: connection.yaml.clone(),
            secrets,
        };
        let answer = context
            .gateway
            .connections()
            .apply_connection(ask(request))
            .await
            .map_err(|s| context.gateway.error(s))?
            .into_inner();
        let result = match (answer.changed, stored.contains(&name)) {
            (false, _) => "unchanged",
            (true, true) => "changed",
            (true, false) => "created",
        };
        applied.push(Applied {
            kind: "connection",
            name,
            version: None,
            result,
        });
    }
    for sync in &definitions.syncs {
        let request = ApplySyncRequest { yaml: sync.yaml.clone() };
        let answer = context
            .gateway
            .syncs()
            .apply_sync(ask(request))
            .await
            .map_err(|s| context.gateway.error(s))?
            .into_inner();
        let stored = answer.sync.ok_or_else(|| missing("sync"))?;
        let result = match (answer.changed, stored.version) {
            (false, _) => "unchanged",
            (true, 0 | 1) => "created",
            (true, _) => "changed",
        };
        applied.push(Applied {
            kind: "sync",
            name: stored.name,
            version: Some(stored.version),
            result,
        });
    }
    Ok(())
}

fn show(context: &Context, applied: &[Applied]) -> Result<(), CliError> {
    let mut table = Table::new(&["kind", "name", ">version", "result"]);
    for a in applied {
        let version = a.version.map_or_else(String::new, |v| v.to_string());
        table.row([a.kind, &a.name, &version, a.result]);
    }
    let json: Vec<Value> = applied
        .iter()
        .map(|a| json!({"kind": a.kind, "name": a.name, "version": a.version, "result": a.result}))
        .collect();
    context.output.result(&table.render(0), &json!({"applied": json}))?;
    Ok(())
}
