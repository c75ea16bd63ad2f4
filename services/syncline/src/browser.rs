//! A person signs in at an org with a browser of their own (the web-server flow with PKCE).
//!
//! A listener on loopback waits for the browser to come back. What it brings is a code that is worth nothing without the
//! verifier and dies within minutes; both go to the connector service, which alone learns the tokens. Whatever else calls
//! the listener is answered and not believed.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use secrecy::ExposeSecret;
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;
use syncline_domain::spec::{AuthSpec, ConnectionDocument};
use syncline_salesforce::oauth::authorize::{Authorization, Code};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// Where the browser comes back to. The org compares the whole address with those that are registered with the app; it
/// admits `http` on `localhost` alone.
const CALLBACK_PATH: &str = "/OauthRedirect";

/// Until the browser has its page; one that keeps a connection open does not hold up the command.
const PAGE_WAIT: Duration = Duration::from_secs(2);

/// How a person is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    pub port: u16,
    /// Open a browser, where there is one.
    pub opens: bool,
    pub wait: Duration,
}

/// Has somebody sign in for a connection; what the connector service needs to redeem, by the names of its secrets.
///
/// # Errors
/// When the port is taken, the person or the org refuses, or nobody comes.
pub async fn sign_in(output: Output, document: &ConnectionDocument, asking: Asking) -> Result<HashMap<String, String>, CliError> {
    let AuthSpec::WebServer { client_id, .. } = &document.spec.auth else {
        return Ok(HashMap::new());
    };
    let redirect_uri = format!("http://localhost:{}{CALLBACK_PATH}", asking.port);
    let authorization = Authorization::begin(&document.spec.url, client_id, &redirect_uri).map_err(refused)?;
    let listeners = listen(asking.port, &redirect_uri).await?;
    output.message(&format!(
        "sign in for connection {} at:\n\n{}\n\nwaiting for the browser to come back to {redirect_uri}",
        document.metadata.name, authorization.url
    ));
    if asking.opens {
        open(&authorization.url);
    }
    let code = wait_for(authorization, listeners, asking.wait).await?;
    Ok(HashMap::from([
        ("authorization_code".to_owned(), code.code.expose_secret().to_owned()),
        ("code_verifier".to_owned(), code.verifier.expose_secret().to_owned()),
        ("redirect_uri".to_owned(), code.redirect_uri),
    ]))
}

/// Loopback by both protocols, because `localhost` may be either; the second where there is one.
async fn listen(port: u16, redirect_uri: &str) -> Result<Vec<TcpListener>, CliError> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| {
        CliError::new(Exit::Invalid, format!("nothing can listen on port {port}: {e}")).remedy(format!(
            "Free the port, or give another with --port and register it with the app, as {redirect_uri}."
        ))
    })?;
    let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok();
    Ok(std::iter::once(first).chain(second).collect())
}

/// The browser of this machine. If there is none, the address that was printed will do.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if std::env::var_os("DISPLAY").is_some() || std::env::var_os("WAYLAND_DISPLAY").is_some() {
        "xdg-open"
    } else {
        return;
    };
    let mut command = tokio::process::Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok();
}

type Outcome = Result<Code, ConnectError>;

struct Waiting {
    authorization: Authorization,
    outcome: mpsc::Sender<Outcome>,
}

async fn wait_for(authorization: Authorization, listeners: Vec<TcpListener>, wait: Duration) -> Result<Code, CliError> {
    let (outcome, mut came) = mpsc::channel(1);
    let waiting = Arc::new(Waiting { authorization, outcome });
    let router = Router::new().route(CALLBACK_PATH, get(came_back)).with_state(waiting);
    let (stop, _) = tokio::sync::watch::channel(());
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        let mut stopped = stop.subscribe();
        let server = axum::serve(listener, router.clone()).with_graceful_shutdown(async move {
            stopped.changed().await.ok();
        });
        servers.spawn(server.into_future());
    }
    let outcome = tokio::time::timeout(wait, came.recv()).await;
    // The browser gets its page before the listener goes.
    drop(stop);
    tokio::time::timeout(PAGE_WAIT, servers.join_all()).await.ok();
    match outcome {
        Ok(Some(outcome)) => outcome.map_err(refused),
        Ok(None) => Err(CliError::new(Exit::Unexpected, "the listener ended before the browser came back")),
        Err(_) => Err(
            CliError::new(Exit::Unexpected, format!("nobody signed in within {} s", wait.as_secs()))
                .remedy("Run the command again; --wait gives more time. The callback address must be registered with the app."),
        ),
    }
}

async fn came_back(State(waiting): State<Arc<Waiting>>, RawQuery(query): RawQuery) -> Response {
    let (status, text, outcome) = match waiting.authorization.finish(query.as_deref().unwrap_or_default()) {
        Ok(None) => (
            StatusCode::BAD_REQUEST,
            "This is not the sign-in that Syncline waits for. Use the address that it printed last.",
            None,
        ),
        Ok(Some(code)) => (StatusCode::OK, "Signed in. You can close this window.", Some(Ok(code))),
        Err(error) => (
            StatusCode::OK,
            "Access was not granted. You can close this window; the command line says why.",
            Some(Err(error)),
        ),
    };
    if let Some(outcome) = outcome {
        // The first one counts; a page that is loaded again brings a code that is dead.
        waiting.outcome.try_send(outcome).ok();
    }
    let page = format!("<!doctype html><meta charset=\"utf-8\"><title>Syncline</title><p>{text}</p>");
    // The code stands in the address: neither cached nor passed on, and the connection is not kept for more.
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONNECTION, "close"),
    ];
    (status, headers, Html(page)).into_response()
}

fn refused(error: ConnectError) -> CliError {
    match error.code {
        ErrorCode::Credentials => CliError::coded(error.code, error.message)
            .remedy("Sign in again and allow access, or have an administrator allow the app for the user."),
        code => CliError::coded(code, error.message),
    }
}
