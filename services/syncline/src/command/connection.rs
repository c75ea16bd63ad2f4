//! `syncline connection ...`

use std::time::Duration;

use serde_json::{Value, json};
use syncline_domain::ErrorCode;
use syncline_domain::spec::{
    ApiVersion, AuthSpec, ConnectionDocument, ConnectionKind, ConnectionMetadata, ConnectionSpec, SecretRef, SystemKind,
};
use syncline_wire::connection::{
    self as wire, DeleteConnectionRequest, GetConnectionRequest, ListConnectionsRequest, TestConnectionRequest,
};

use super::{Context, apply, missing};
use crate::browser::{self, Asking};
use crate::cli::{Connection, ConnectionAdd, Flow};
use crate::client::{ANALYSIS_WAIT, ask, ask_within};
use crate::definition::{self, Definitions, Loaded, Secrets};
use crate::error::CliError;
use crate::exit::Exit;
use crate::view;

/// Connections that `list` shows at most.
const LIST_MAX: u32 = 1_000;

/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, command: Connection) -> Result<Exit, CliError> {
    match command {
        Connection::Add(arguments) => add(context, arguments).await,
        Connection::List => list(context).await,
        Connection::Show { name } => show(context, name).await,
        Connection::Test { name } => test(context, name).await,
        Connection::Delete { name } => delete(context, name).await,
    }
}

async fn add(context: &Context, arguments: ConnectionAdd) -> Result<Exit, CliError> {
    let asking = Asking {
        port: arguments.port,
        opens: !arguments.no_browser,
        wait: Duration::from_secs(arguments.wait),
    };
    let definitions = match &arguments.file {
        Some(file) => definition::read(std::slice::from_ref(file))?,
        None => from_flags(arguments)?,
    };
    if let Some(sync) = definitions.syncs.first() {
        let message = "only documents of kind Connection are added; use `syncline apply -f` for syncs".to_owned();
        definition::refuse(vec![sync.complain(ErrorCode::SyncInvalid, "kind:", message)])?;
    }
    let mut secrets = apply::secrets(&definitions)?;
    if definitions.connections.iter().any(|c| is_of_a_browser(&c.document)) {
        // Nobody is asked to sign in for a gateway that does not answer.
        list_of(context, 1).await?;
    }
    for (connection, Secrets(secrets)) in definitions.connections.iter().zip(&mut secrets) {
        secrets.extend(browser::sign_in(context.output, &connection.document, asking).await?);
    }
    apply::store(context, &definitions, secrets).await
}

fn is_of_a_browser(document: &ConnectionDocument) -> bool {
    matches!(document.spec.auth, AuthSpec::WebServer { .. })
}

/// The document that the flags describe, checked like one from a file.
fn from_flags(arguments: ConnectionAdd) -> Result<Definitions, CliError> {
    let required = |value: Option<String>, flag: &str| value.ok_or_else(|| CliError::new(Exit::Invalid, format!("{flag} is missing")));
    let invalid = |message: String| CliError::coded(ErrorCode::SyncInvalid, message).remedy("Correct the flag; nothing was applied.");
    let client_secret = match (arguments.client_secret_env, arguments.client_secret_file) {
        (Some(variable), _) => Some(SecretRef::Env(variable)),
        (None, file) => file.map(SecretRef::File),
    };
    let client_id = required(arguments.client_id, "--client-id")?;
    let auth = match (arguments.flow, client_secret) {
        (Flow::ClientCredentials, Some(client_secret)) => AuthSpec::ClientCredentials { client_id, client_secret },
        (Flow::ClientCredentials, None) => {
            return Err(CliError::new(
                Exit::Invalid,
                "--client-secret-env or --client-secret-file is missing",
            ));
        }
        (Flow::WebServer, client_secret) => AuthSpec::WebServer { client_id, client_secret },
    };
    let document = ConnectionDocument {
        api_version: ApiVersion::V1,
        kind: ConnectionKind::Connection,
        metadata: ConnectionMetadata {
            name: required(arguments.name, "NAME")?.parse().map_err(|e| invalid(format!("{e}")))?,
            labels: Default::default(),
        },
        spec: ConnectionSpec {
            kind: SystemKind::Salesforce,
            url: required(arguments.url, "--url")?,
            auth,
            api_version: arguments.api_version,
            requests_per_second: None,
            retry: None,
        },
    };
    // JSON is YAML, too.
    let yaml = serde_json::to_string_pretty(&document).map_err(|e| CliError::new(Exit::Unexpected, e.to_string()))?;
    syncline_domain::spec::read_document(&yaml).map_err(|e| invalid(e.message))?;
    Ok(Definitions {
        connections: vec![Loaded {
            file: "<flags>".to_owned(),
            lines_before: 0,
            yaml,
            document,
        }],
        syncs: Vec::new(),
    })
}

async fn list(context: &Context) -> Result<Exit, CliError> {
    let connections = list_of(context, LIST_MAX).await?;
    let json: Vec<Value> = connections.iter().map(view::connection::to_json).collect();
    context
        .output
        .result(&view::connection::table(&connections), &json!({"connections": json}))?;
    Ok(Exit::Ok)
}

async fn list_of(context: &Context, page_size: u32) -> Result<Vec<wire::Connection>, CliError> {
    let request = ListConnectionsRequest {
        page_size,
        page_token: String::new(),
    };
    let answer = context.gateway.connections().list_connections(ask(request)).await;
    Ok(answer.map_err(|s| context.gateway.error(s))?.into_inner().connections)
}

async fn show(context: &Context, name: String) -> Result<Exit, CliError> {
    let answer = context
        .gateway
        .connections()
        .get_connection(ask(GetConnectionRequest { name }))
        .await;
    let answer = answer.map_err(|s| context.gateway.error(s))?.into_inner();
    let connection = answer.connection.ok_or_else(|| missing("connection"))?;
    context
        .output
        .result(&view::connection::details(&connection), &view::connection::to_json(&connection))?;
    Ok(Exit::Ok)
}

async fn test(context: &Context, name: String) -> Result<Exit, CliError> {
    let answer = context
        .gateway
        .connections()
        .test_connection(ask_within(TestConnectionRequest { name }, ANALYSIS_WAIT))
        .await
        .map_err(|s| context.gateway.error(s))?;
    let connection = answer.into_inner().connection.ok_or_else(|| missing("connection"))?;
    context
        .output
        .result(&view::connection::details(&connection), &view::connection::to_json(&connection))?;
    if connection.health == "Connected" {
        return Ok(Exit::Ok);
    }
    let message = match connection.health_message.as_str() {
        "" => format!("connection `{}` is not healthy", connection.name),
        message => message.to_owned(),
    };
    Err(match connection.health_code.parse::<ErrorCode>() {
        Ok(code) => CliError::coded(code, message),
        Err(_) => CliError::new(Exit::Unexpected, message),
    })
}

async fn delete(context: &Context, name: String) -> Result<Exit, CliError> {
    context
        .gateway
        .connections()
        .delete_connection(ask(DeleteConnectionRequest { name: name.clone() }))
        .await
        .map_err(|s| context.gateway.error(s))?;
    context
        .output
        .result(&format!("connection {name} deleted\n"), &json!({"deleted": name}))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flags(name: &str, url: &str, version: Option<&str>) -> ConnectionAdd {
        ConnectionAdd {
            name: Some(name.into()),
            file: None,
            url: Some(url.into()),
            flow: Flow::ClientCredentials,
            client_id: Some("app \"x\": y".into()),
            client_secret_env: Some("VAR".into()),
            client_secret_file: None,
            api_version: version.map(Into::into),
            port: 1717,
            no_browser: true,
            wait: 1,
        }
    }

    #[test]
    fn flags_make_the_same_document_as_a_file() {
        let definitions = from_flags(flags("prod", "https://example.my.salesforce.com", Some("65.0"))).unwrap_or_else(|e| panic!("{e}"));
        let read = syncline_domain::spec::read_documents(&definitions.connections[0].yaml).unwrap();
        assert_eq!(
            read,
            [syncline_domain::spec::Document::Connection(
                definitions.connections[0].document.clone()
            )]
        );
    }

    #[test]
    fn a_secret_may_be_missing_only_where_a_person_signs_in() {
        let without = |flow| ConnectionAdd {
            flow,
            client_secret_env: None,
            ..flags("prod", "https://example.my.salesforce.com", None)
        };
        let error = from_flags(without(Flow::ClientCredentials)).err().unwrap();
        assert!(error.message.contains("--client-secret-env"), "{error}");
        let definitions = from_flags(without(Flow::WebServer)).unwrap_or_else(|e| panic!("{e}"));
        let auth = &definitions.connections[0].document.spec.auth;
        assert!(matches!(auth, AuthSpec::WebServer { client_secret: None, .. }), "{auth:?}");
    }

    #[test]
    fn flags_are_checked_like_a_file() {
        for bad in [
            flags("Prod", "https://example.com", None),
            flags("prod", "http://example.com", None),
            flags("prod", "https://example.com", Some("latest")),
        ] {
            let error = from_flags(bad).err().unwrap();
            assert_eq!((error.exit, error.code), (Exit::Invalid, Some(ErrorCode::SyncInvalid)), "{error}");
        }
    }
}
