//! `ConnectionService`: for people, through the gateway.

use std::time::Duration;

use syncline_connect::{ConnectError, OrgInfo, OrgKind, Source};
use syncline_domain::spec::{AuthSpec, ConnectionDocument};
use syncline_domain::{ConnectionName, ErrorCode};
use syncline_salesforce::oauth::authorize::Code;
use syncline_wire::caller::{Caller, note_connections};
use syncline_wire::connection::connection_service_server::ConnectionService;
use syncline_wire::connection::{
    ApplyConnectionRequest, ApplyConnectionResponse, Connection, DeleteConnectionRequest, DeleteConnectionResponse, GetConnectionRequest,
    GetConnectionResponse, ListConnectionsRequest, ListConnectionsResponse, TestConnectionRequest, TestConnectionResponse,
};
use syncline_wire::page::List;
use syncline_wire::time::to_proto;
use tonic::{Request, Response, Status};

use super::connection_name;
use crate::broker::{Want, health_of, stored_document};
use crate::document::REFRESH_TOKEN;
use crate::error::Error;
use crate::secrets::Secrets;
use crate::store::ConnectionRow;
use crate::systems::Gate;
use crate::{Connector, breakers, document, signin, store};

const LIST: List<'_> = List {
    name: "connections",
    filter: "",
    size_default: 100,
    size_max: 1_000,
};
/// A test ends by then, one way or the other.
const TEST_WAIT_MAX: Duration = Duration::from_secs(90);
/// Waiting for a renewal to let go of the credentials that are being replaced.
const APPLY_HOLD_MAX: Duration = Duration::from_secs(60);

#[tonic::async_trait]
impl ConnectionService for Connector {
    async fn apply_connection(&self, request: Request<ApplyConnectionRequest>) -> Result<Response<ApplyConnectionResponse>, Status> {
        let caller = Caller::of(request.metadata());
        let ApplyConnectionRequest { yaml, mut secrets } = request.into_inner();
        let document = document::read(&yaml)?;
        let code = signin::take_code(&document.spec.auth, &mut secrets)?;
        let secrets = Secrets::for_document(&document.spec.auth, secrets)?;
        let changed = self.apply(&document, secrets, code, caller.as_ref()).await?;
        let name = &document.metadata.name;
        let answer = ApplyConnectionResponse {
            connection: Some(self.shown(name).await?),
            changed,
        };
        Ok(about(name, answer))
    }

    async fn get_connection(&self, request: Request<GetConnectionRequest>) -> Result<Response<GetConnectionResponse>, Status> {
        let name = connection_name(&request.into_inner().name)?;
        Ok(Response::new(GetConnectionResponse {
            connection: Some(self.shown(&name).await?),
        }))
    }

    async fn list_connections(&self, request: Request<ListConnectionsRequest>) -> Result<Response<ListConnectionsResponse>, Status> {
        let ListConnectionsRequest { page_size, page_token } = request.into_inner();
        let page = LIST.page(page_size, &page_token)?;
        let mut rows = store::connection_list(&self.db, &self.tenant, &page.after, page.rows())
            .await
            .map_err(Error::from)?;
        let next_page_token = LIST.next(&page, &mut rows, |row| row.name.clone());
        let connections = rows.into_iter().map(to_wire).collect::<Result<_, _>>()?;
        Ok(Response::new(ListConnectionsResponse {
            connections,
            next_page_token,
        }))
    }

    async fn test_connection(&self, request: Request<TestConnectionRequest>) -> Result<Response<TestConnectionResponse>, Status> {
        let name = connection_name(&request.into_inner().name)?;
        self.test(&name).await?;
        let connection = Some(self.shown(&name).await?);
        Ok(about(&name, TestConnectionResponse { connection }))
    }

    async fn delete_connection(&self, request: Request<DeleteConnectionRequest>) -> Result<Response<DeleteConnectionResponse>, Status> {
        let caller = Caller::of(request.metadata());
        let name = connection_name(&request.into_inner().name)?;
        self.delete(&name, caller.as_ref()).await?;
        Ok(about(&name, DeleteConnectionResponse {}))
    }
}

impl Connector {
    /// Stores document and secrets together. False if both were stored already.
    async fn apply(
        &self,
        document: &ConnectionDocument,
        mut secrets: Secrets,
        code: Option<Code>,
        caller: Option<&Caller>,
    ) -> Result<bool, Error> {
        let name = &document.metadata.name;
        let text = serde_json::to_string(document).expect("a document becomes JSON");
        let mut tx = self.db.begin().await?;
        if let Some(owner) = store::connection_lock(&mut tx, &self.tenant, name).await? {
            may_change(name, &owner, caller)?;
        }
        if let Some(row) = store::credential_lock(&mut tx, &self.tenant, name, APPLY_HOLD_MAX).await? {
            // Credentials that do not open any more (another key) are mended by applying them again.
            let stored = self.broker.open_secrets(name, &row).await.ok();
            let same_secrets = stored.as_ref().is_some_and(|stored| stored.same_as_applied(&secrets));
            if code.is_none() && same_secrets && row.document == text {
                tx.rollback().await?;
                return Ok(false);
            }
            // Who consented once goes on being the one, as long as it is the same app at the same place.
            if let Some(token) = stored.and_then(|stored| stored.get(REFRESH_TOKEN).cloned())
                && stored_document(name, &row.document).is_ok_and(|stored| document::same_consent(&document.spec, &stored.spec))
            {
                secrets = secrets.rotated(token);
            }
        }
        if let Some(code) = code {
            let redeemed = signin::redeem(&self.http, &document.spec, &secrets, code).await;
            secrets = secrets.rotated(redeemed.map_err(|source| Error::System {
                name: name.clone(),
                source,
            })?);
        }
        if matches!(document.spec.auth, AuthSpec::WebServer { .. }) && secrets.get(REFRESH_TOKEN).is_none() {
            return Err(Error::ConsentMissing { name: name.clone() });
        }
        let (data_key, sealed) = self.broker.seal_secrets(name, &secrets).await?;
        let version = store::connection_put(&mut tx, &self.tenant, name, &text, caller.map_or("", |c| &c.subject)).await?;
        store::credential_put(&mut *tx, &self.tenant, name, version, &data_key, &sealed).await?;
        tx.commit().await?;
        self.forget(name);
        tracing::info!(connection = %name, version, "connection applied");
        Ok(true)
    }

    async fn delete(&self, name: &ConnectionName, caller: Option<&Caller>) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let owner = store::connection_lock(&mut tx, &self.tenant, name).await?;
        let owner = owner.ok_or_else(|| Error::UnknownConnection(name.to_string()))?;
        may_change(name, &owner, caller)?;
        store::connection_delete(&mut *tx, &self.tenant, name).await?;
        tx.commit().await?;
        self.forget(name);
        tracing::info!(connection = %name, "connection deleted");
        Ok(())
    }

    /// Signs in, asks the system who it is, and stores what came of it. What the system refuses is a result, not an error.
    async fn test(&self, name: &ConnectionName) -> Result<(), Error> {
        let (version, document) = self.connection(name).await?;
        let system = self.system(name, &document.spec, Gate::Ignored);
        let ask = async {
            self.broker.token(name, Want::SignIn).await?;
            system.salesforce.org().await.map_err(|source| Error::System {
                name: name.clone(),
                source,
            })
        };
        let answer = match tokio::time::timeout(TEST_WAIT_MAX, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::System {
                name: name.clone(),
                source: ConnectError::new(ErrorCode::NetworkTimeout, "the system did not answer in time"),
            }),
        };
        system.report_usage().await?;
        match answer {
            Ok(org) => {
                let OrgInfo {
                    id, name: org_name, kind, ..
                } = org;
                store::org_record(&self.db, &self.tenant, name, version, kind_name(kind), &id, &org_name).await?;
                store::health_connected(&self.db, &self.tenant, name, version).await?;
                Ok(())
            }
            Err(error @ (Error::System { .. } | Error::InstanceUrl { .. })) => {
                let health = health_of(&error, &document.spec.auth);
                tracing::warn!(connection = %name, code = %error.code(), health, "connection test failed");
                store::health_failed(&self.db, &self.tenant, name, version, health, error.code(), &error.message()).await?;
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    async fn shown(&self, name: &ConnectionName) -> Result<Connection, Error> {
        let row = store::connection_get(&self.db, &self.tenant, name).await?;
        to_wire(row.ok_or_else(|| Error::UnknownConnection(name.to_string()))?)
    }
}

/// An answer with its connection noted for the audit log.
fn about<T>(name: &ConnectionName, answer: T) -> Response<T> {
    let mut response = Response::new(answer);
    note_connections(response.metadata_mut(), [name.as_str()]);
    response
}

/// Who calls from within the installation may change everything.
fn may_change(name: &ConnectionName, owner: &str, caller: Option<&Caller>) -> Result<(), Error> {
    match caller {
        Some(caller) if !caller.may_change(owner) => Err(Error::NotTheOwner {
            name: name.clone(),
            owner: owner.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn kind_name(kind: OrgKind) -> &'static str {
    match kind {
        OrgKind::Production => "Production",
        OrgKind::Sandbox => "Sandbox",
        OrgKind::Scratch => "Scratch",
        OrgKind::Developer => "Developer",
    }
}

fn to_wire(row: ConnectionRow) -> Result<Connection, Error> {
    let name = connection_name(&row.name)?;
    let document = stored_document(&name, &row.document)?;
    let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Ok(Connection {
        breaker: breakers::shown(&row.name, row.breaker.as_deref()),
        name: row.name,
        r#type: document::type_name(document.spec.kind).to_owned(),
        api_version: document::api_version(&document.spec).to_owned(),
        retry: Some(syncline_wire::retry::to_proto(&document.spec.retry_policy())),
        url: document.spec.url,
        org_type: row.org_type.unwrap_or_default(),
        org_id: row.org_id.unwrap_or_default(),
        org_name: row.org_name.unwrap_or_default(),
        health: row.health.unwrap_or_default(),
        health_code: row.health_code.unwrap_or_default(),
        health_message: row.health_message.unwrap_or_default(),
        last_connected_at: row.last_connected_at.map(to_proto),
        api_calls_used: count(row.calls_used),
        api_calls_max: count(row.calls_max),
        owner: row.owner,
    })
}
