//! A connector on a database of its own, in front of an org that does as it is told.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use syncline_batch::SealingKey;
use syncline_connector::{Connector, MIGRATIONS, systems};
use syncline_domain::TenantId;
use syncline_runtime::keys::provider::{Kek, LocalKeys};
use syncline_testkit::{FaultProxy, TestDatabase};
use syncline_wire::access::access_service_client::AccessServiceClient;
use syncline_wire::connection::ApplyConnectionRequest;
use syncline_wire::connection::connection_service_client::ConnectionServiceClient;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};

pub const SECRET: &str = "hush-this-is-the-client-secret";
pub const REFRESH: &str = "5Aep-first-refresh-token";

/// How the org behaves, and what it was asked.
#[derive(Default)]
pub struct Script {
    pub token_requests: Vec<HashMap<String, String>>,
    /// Access tokens that are good.
    pub valid: Vec<String>,
    pub refuse: bool,
    /// Answer token requests with HTTP 503.
    pub down: bool,
    /// Answer everything but token requests so.
    pub data_down: bool,
    /// Take this long to answer a token request.
    pub slow: Duration,
    /// The refresh token that is good; a new one comes with every answer.
    pub rotating: Option<String>,
    pub instance_url: Option<String>,
    pub describe_requests: Vec<String>,
    pub sandbox: bool,
}

#[derive(Clone)]
pub struct Org {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Org {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let org = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::default(),
        };
        let router = Router::new()
            .route("/services/oauth2/token", post(token))
            .route("/services/data/v65.0/query", get(query))
            .route("/services/data/v65.0/sobjects/{object}/describe", get(describe))
            .with_state(org.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        org
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }

    pub fn token_requests(&self) -> usize {
        self.script(|s| s.token_requests.len())
    }
}

async fn token(State(org): State<Org>, body: String) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let slow = org.script(|s| s.slow);
    tokio::time::sleep(slow).await;
    org.script(|s| {
        s.token_requests.push(form.clone());
        if s.down {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let good = match form.get("grant_type").map(String::as_str) {
            Some("client_credentials") => form.get("client_secret").is_some_and(|v| v == SECRET),
            Some("refresh_token") => form.get("refresh_token") == s.rotating.as_ref(),
            _ => false,
        };
        if s.refuse || !good {
            let body = json!({"error": "invalid_grant", "error_description": "expired access/refresh token"});
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
        let token = format!("00Dxx!access-token-number-{}", s.token_requests.len());
        s.valid = vec![token.clone()];
        let instance_url = s.instance_url.clone().unwrap_or_else(|| org.url());
        let mut body = json!({"access_token": token, "instance_url": instance_url, "token_type": "Bearer"});
        if s.rotating.is_some() {
            let new = format!("5Aep-rotated-refresh-token-{}", s.token_requests.len());
            body["refresh_token"] = json!(new);
            s.rotating = Some(new);
        }
        Json(body).into_response()
    })
}

fn refused(org: &Org, headers: &HeaderMap) -> Option<Response> {
    let shown = headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned();
    if org.script(|s| s.valid.contains(&shown)) {
        return None;
    }
    let body = json!([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]);
    Some((StatusCode::UNAUTHORIZED, Json(body)).into_response())
}

const USAGE: (&str, &str) = ("Sforce-Limit-Info", "api-usage=18/15000");

async fn query(State(org): State<Org>, headers: HeaderMap) -> Response {
    if org.script(|s| s.data_down) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if let Some(refused) = refused(&org, &headers) {
        return refused;
    }
    let sandbox = org.script(|s| s.sandbox);
    let body = json!({"totalSize": 1, "done": true, "records": [
        {"attributes": {"type": "Organization"}, "Id": "00Dxx0000001gEREAY", "Name": "Acme", "IsSandbox": sandbox,
         "OrganizationType": "Enterprise Edition", "TrialExpirationDate": null}
    ]});
    ([USAGE], Json(body)).into_response()
}

async fn describe(State(org): State<Org>, Path(object): Path<String>, headers: HeaderMap) -> Response {
    if let Some(refused) = refused(&org, &headers) {
        return refused;
    }
    org.script(|s| s.describe_requests.push(object.clone()));
    if object != "Account" && object != "Contact" {
        let body = json!([{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]);
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    }
    let body = json!({
        "name": object, "label": object, "keyPrefix": "001", "createable": true, "updateable": true, "deletable": true,
        "queryable": true, "recordTypeInfos": [],
        "fields": [{
            "name": "Id", "label": "Id", "type": "id", "length": 18, "precision": 0, "scale": 0, "digits": 0, "nillable": false,
            "createable": false, "updateable": false, "defaultedOnCreate": true, "calculated": false, "autoNumber": false,
            "unique": false, "externalId": false, "caseSensitive": false, "filterable": true, "restrictedPicklist": false,
            "picklistValues": [], "referenceTo": [], "relationshipName": null, "cascadeDelete": false, "compoundFieldName": null,
            "idLookup": true, "custom": false, "byteLength": 18, "sortable": true, "groupable": true
        }]
    });
    ([USAGE], Json(body)).into_response()
}

/// The keys are the same for every replica.
pub fn keks() -> LocalKeys {
    LocalKeys::default()
        .with(Kek::Credentials, SealingKey::new([1; 32]), None)
        .with(Kek::Raw, SealingKey::new([2; 32]), None)
        .with(Kek::Clean, SealingKey::new([3; 32]), None)
}

pub struct Bench {
    // Before the database, which can only be dropped once nobody waits on it.
    pub db: PgPool,
    pub org: Org,
    pub database: TestDatabase,
}

pub struct Replica {
    pub connections: ConnectionServiceClient<Channel>,
    pub access: AccessServiceClient<Channel>,
    pub connector: Connector,
}

impl Bench {
    pub async fn start() -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let database = TestDatabase::create().await;
        let db = pool(database.url()).await;
        MIGRATIONS.run(&db).await.unwrap();
        Self {
            db,
            org: Org::start().await,
            database,
        }
    }

    /// A connector with a pool, memory and port of its own.
    pub async fn replica(&self) -> Replica {
        self.replica_of(keks(), self.database.url()).await
    }

    pub async fn replica_with_other_key(&self) -> Replica {
        let other = keks().with(Kek::Credentials, SealingKey::new([9; 32]), None);
        self.replica_of(other, self.database.url()).await
    }

    pub async fn replica_behind_proxy(&self) -> (FaultProxy, Replica) {
        let (proxy, url) = FaultProxy::before(self.database.url(), 5432).await.unwrap();
        let replica = self.replica_of(keks(), &url).await;
        (proxy, replica)
    }

    pub async fn replica_of(&self, keks: LocalKeys, database: &str) -> Replica {
        let http = systems::http_client().unwrap();
        let connector = Connector::new(pool(database).await, TenantId::single(), Arc::new(keks), http);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = connector.routes();
        tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_routes(routes)
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
        });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Replica {
            connections: ConnectionServiceClient::new(channel.clone()),
            access: AccessServiceClient::new(channel),
            connector,
        }
    }

    pub fn document(&self) -> ApplyConnectionRequest {
        self.with_secrets(
            "{flow: client_credentials, client_id: app, client_secret: {env: PROD_SECRET}}",
            &[("client_secret", SECRET)],
        )
    }

    pub fn rotating(&self) -> ApplyConnectionRequest {
        self.org.script(|s| s.rotating = Some(REFRESH.to_owned()));
        self.with_secrets(
            "{flow: refresh_token, client_id: app, refresh_token: {file: /run/secrets/token}}",
            &[("refresh_token", REFRESH)],
        )
    }

    fn with_secrets(&self, auth: &str, secrets: &[(&str, &str)]) -> ApplyConnectionRequest {
        Self::at(&self.org.url(), auth, secrets)
    }

    pub fn at(url: &str, auth: &str, secrets: &[(&str, &str)]) -> ApplyConnectionRequest {
        ApplyConnectionRequest {
            yaml: format!(
                "apiVersion: syncline.dev/v1\nkind: Connection\nmetadata: {{name: production}}\nspec:\n  type: salesforce\n  url: {url}\n  auth: {auth}\n"
            ),
            secrets: secrets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }
}

async fn pool(url: &str) -> PgPool {
    let options = PgPoolOptions::new().max_connections(8).acquire_timeout(Duration::from_secs(3));
    options.connect(url).await.unwrap()
}
