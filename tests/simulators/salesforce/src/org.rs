//! One org: its state, its configuration, and starting it in-process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, oneshot};

use crate::auth::config::LoginConfig;
use crate::auth::sessions::{Auth, AuthConfig};
use crate::bulk1;
use crate::bulk2;
use crate::bulk2::ingest::IngestJob;
use crate::bulk2::paging::Paging;
use crate::bulk2::query::QueryJob;
use crate::clock::Clock;
use crate::limits::{LimitConfig, Limits};
use crate::pubsub::bus::BusError;
use crate::pubsub::{self, PubSub, PubSubConfig};
use crate::rest::cursor::Cursors;
use crate::rest::recent::Recent;
use crate::schema::{Access, DependencyOverride, PicklistOverride, Schema, SchemaError, SchemaOptions};
use crate::seed::generate;
use crate::seed::rows;
use crate::seed::{self, Flavour};
use crate::store::db::Db;
use crate::store::id::Id;
use crate::store::locks::{self, LockConfig, LockTable};
use crate::store::rules::assignment::AutoAssign;
use crate::store::rules::places;
use crate::store::rules::{ValidationRule, WriteContext};
use crate::store::setup::{Setup, SetupDoc, SetupError};
use crate::store::shared::{DbRead, DbWrite, SharedDb};
use crate::store::value;
use crate::web::faults::Faults;
use crate::web::http;
use crate::web::listener::CutListener;
use crate::web::serve;
use crate::web::tls::{self, TlsConfig, TlsError, TlsListener};

/// Why an org did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the schema is contradictory: {0}")]
    Schema(#[from] SchemaError),
    #[error("the setup can't be used: {0}")]
    Setup(#[from] SetupError),
    #[error("reading describes: {0}")]
    Describes(#[source] std::io::Error),
    #[error("reading rows: {0}")]
    Rows(#[from] rows::RowsError),
    #[error("listening on loopback: {0}")]
    Listen(#[source] std::io::Error),
    #[error("the event bus: {0}")]
    PubSub(#[from] BusError),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
}

/// Everything that makes one org differ from another.
#[derive(Clone)]
pub struct OrgConfig {
    pub flavour: Flavour,
    /// The number in the org's own id; one per flavour when absent. Two sandboxes are two orgs.
    pub org_number: Option<u64>,
    /// Port on loopback; 0 picks a free one.
    pub port: u16,
    /// The same org over HTTPS beside HTTP.
    pub tls: Option<TlsConfig>,
    pub login: LoginConfig,
    pub client_id: String,
    pub client_secret: String,
    /// An extra token that never expires by itself; generated when absent.
    pub token: Option<String>,
    pub refresh_token: String,
    pub rotate_refresh: bool,
    /// Whom the JWT flow accepts as `sub`; the first user when absent.
    pub public_key_pem: Option<String>,
    pub token_ttl_secs: u64,
    pub daily_requests_max: u64,
    pub storage_mb: u64,
    pub limits: LimitConfig,
    /// Bytes of one Bulk API 2.0 upload.
    pub upload_bytes_max: usize,
    /// Directory of CSV files named after objects.
    pub rows: Option<PathBuf>,
    /// At least this many generated records.
    pub scale: Option<u64>,
    pub seed: u64,
    pub user_domain: String,
    pub picklists: Vec<PicklistOverride>,
    pub validation_rules: Vec<ValidationRule>,
    /// Triggers, duplicate rules, permissions and the like.
    pub setup: SetupDoc,
    pub dependent_picklists: Vec<DependencyOverride>,
    /// Directory of describe documents that replace or add to the built-in objects.
    pub describes: Option<PathBuf>,
    pub multi_currency: bool,
    pub person_accounts: bool,
    /// State and country picklists are on.
    pub state_country: bool,
    /// "Contacts to multiple accounts" is on.
    pub contact_relations: bool,
    /// Parallel transactions fight over records.
    pub locks: Option<LockConfig>,
    pub audit_fields: bool,
    pub job_latency_ms: u64,
    pub shuffle_results: bool,
    pub gzip: bool,
    /// Rows per REST query page.
    pub query_page_rows: usize,
    /// Rows per Bulk result page when the client names no maximum.
    pub bulk_page_rows: usize,
    /// Ingest jobs processed at once.
    pub ingest_workers: usize,
    /// Change data capture and platform events; none without it.
    pub pubsub: Option<PubSubConfig>,
}

impl Default for OrgConfig {
    fn default() -> Self {
        Self {
            flavour: Flavour::Production,
            org_number: None,
            port: 0,
            tls: None,
            login: LoginConfig::default(),
            client_id: "3MVG9simulator.client".into(),
            client_secret: "simulator-secret".into(),
            token: None,
            refresh_token: "5Aep861simulator.refresh".into(),
            rotate_refresh: false,
            public_key_pem: None,
            token_ttl_secs: 7200,
            daily_requests_max: 1_000_000,
            storage_mb: 100_000,
            limits: LimitConfig::default(),
            upload_bytes_max: bulk2::ingest::UPLOAD_BYTES_MAX,
            rows: None,
            scale: None,
            seed: 1,
            user_domain: "northwind.example".into(),
            picklists: Vec::new(),
            validation_rules: Vec::new(),
            setup: SetupDoc::default(),
            dependent_picklists: Vec::new(),
            describes: None,
            multi_currency: false,
            person_accounts: false,
            state_country: false,
            contact_relations: false,
            locks: None,
            audit_fields: false,
            job_latency_ms: 0,
            shuffle_results: true,
            gzip: true,
            query_page_rows: 2000,
            bulk_page_rows: 100_000,
            ingest_workers: 2,
            pubsub: None,
        }
    }
}

/// The state all handlers share.
pub struct OrgState {
    pub config: OrgConfig,
    pub schema: Arc<Schema>,
    pub records: SharedDb,
    pub recent: Recent,
    pub auth: Auth,
    pub org_id: Id,
    pub user_id: Id,
    pub faults: Faults,
    pub requests: AtomicU64,
    pub requests_max: AtomicU64,
    pub storage_mb: AtomicU64,
    pub started: DateTime<Utc>,
    pub clock: Clock,
    pub limits: Limits,
    pub url: OnceLock<String>,
    query_jobs: Mutex<HashMap<Id, Arc<QueryJob>>>,
    ingest_jobs: Mutex<HashMap<Id, Arc<IngestJob>>>,
    pub bulk1: bulk1::Jobs,
    pub bulk_paging: Paging,
    pub cursors: Cursors,
    serial: AtomicU64,
    pub stopping: AtomicBool,
    pub ingest_slots: Arc<Semaphore>,
    pub pubsub: Option<Arc<PubSub>>,
    pub locks: Option<LockTable>,
    setup: RwLock<Arc<Setup>>,
    /// Unix seconds of the last change of the org's metadata.
    metadata_at: AtomicI64,
    /// Unix seconds of the last commit: stamps never run backwards.
    committed_at: AtomicI64,
    /// Seconds in the upper half, writes left in the lower.
    late_commits: AtomicU64,
}

impl OrgState {
    /// Reads the records.
    pub fn db(&self) -> DbRead<'_> {
        self.records.read()
    }

    /// Changes the records.
    pub fn db_mut(&self) -> DbWrite<'_> {
        self.records.write()
    }

    pub fn query_jobs(&self) -> MutexGuard<'_, HashMap<Id, Arc<QueryJob>>> {
        self.query_jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn ingest_jobs(&self) -> MutexGuard<'_, HashMap<Id, Arc<IngestJob>>> {
        self.ingest_jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A fresh id for a job or cursor.
    pub fn next_serial(&self, prefix: [u8; 3]) -> Id {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        Id::new(prefix, self.config.flavour.pod(), serial)
    }

    /// What is set up now.
    pub fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Checks a setup and puts it in force for everything that starts from now on. Validation
    /// rules given by themselves are replaced too.
    pub fn set_up(&self, document: SetupDoc) -> Result<(), SetupError> {
        let setup = Setup::compile(document, &[], &self.schema)?;
        self.install(setup);
        Ok(())
    }

    fn install(&self, setup: Setup) {
        let mut db = self.db_mut();
        for field in self.schema.objects.iter().flat_map(|o| &o.fields) {
            field.set_access(Access::Full);
        }
        for (object, field, access) in &setup.restricted_fields {
            self.schema.objects[*object].fields[*field].set_access(*access);
        }
        setup.prepare(&mut db);
        *self.setup.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(setup);
        // Metadata has a date of whole seconds; two changes within one must still differ.
        let now = self.clock.now().timestamp();
        let _ = self
            .metadata_at
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |at| Some(now.max(at + 1)));
    }

    /// When the org's metadata last changed.
    pub fn metadata_modified(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.metadata_at.load(Ordering::SeqCst), 0).unwrap_or(self.started)
    }

    /// Makes the next `times` writes appear with a SystemModstamp `secs` before their commit.
    pub fn commit_late(&self, secs: u32, times: u32) {
        self.late_commits.store(u64::from(secs) << 32 | u64::from(times), Ordering::SeqCst);
    }

    fn late(&self) -> i64 {
        if self.late_commits.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let used = |packed: u64| (packed as u32 > 0).then(|| packed - 1);
        let packed = self.late_commits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, used);
        packed.map_or(0, |packed| (packed >> 32) as i64)
    }

    /// Who writes now, under which settings.
    pub fn write_context(&self) -> WriteContext {
        let now = self.clock.now().timestamp();
        let late = self.late();
        let now = self.committed_at.fetch_max(now, Ordering::SeqCst).max(now);
        WriteContext {
            user: self.user_id.long(),
            now: value::stamp(DateTime::from_timestamp(now - late, 0).unwrap_or(self.started)),
            setup: self.setup(),
            storage_bytes_max: self.storage_mb.load(Ordering::Relaxed) * 1024 * 1024,
            audit_fields: self.config.audit_fields,
            allow_duplicates: false,
            auto_assign: AutoAssign::Never,
            denied: self.locks.as_ref().and_then(|_| locks::denied()),
            depth: 0,
        }
    }

    /// The org's base URL.
    pub fn url(&self) -> &str {
        self.url.get().map_or("", String::as_str)
    }
}

/// Starts orgs.
pub struct Org;

impl Org {
    /// Loads the data, listens on loopback, and serves until the handle is dropped. Runs on
    /// threads of its own, so it works from any runtime and from none.
    pub fn start(config: OrgConfig) -> Result<RunningOrg, StartError> {
        let schema = Arc::new(Schema::build(&SchemaOptions {
            describes: config.describes.as_deref().map_or_else(|| Ok(Vec::new()), describes)?,
            picklists: config.picklists.clone(),
            dependencies: config.dependent_picklists.clone(),
            multi_currency: config.multi_currency,
            person_accounts: config.person_accounts,
            state_country: config.state_country,
            contact_relations: config.contact_relations,
        })?);
        let setup = Setup::compile(config.setup.clone(), &config.validation_rules, &schema)?;
        let mut db = Db::new(Arc::clone(&schema), config.flavour.pod());
        if let Some(dir) = &config.rows {
            rows::load(&mut db, dir, config.flavour)?;
        }
        let (org_id, user_id) = seed::setup(&mut db, config.flavour, config.org_number, &config.user_domain);
        if config.multi_currency {
            seed::currencies(&mut db, user_id);
        }
        if config.person_accounts {
            seed::person_types(&mut db, user_id);
        }
        if let (Some(scale), Flavour::Production) = (config.scale, config.flavour) {
            generate::fill(&mut db, scale, config.seed, user_id);
        }
        if config.state_country {
            places::convert(&mut db, &schema);
        }
        let username_field = schema.objects[schema.object("User").expect("built in")]
            .field("Username")
            .expect("built in");
        let username = db
            .locate(&user_id)
            .and_then(|(o, i)| db.tables[o].row(i).get(username_field))
            .map(|v| String::from_utf8_lossy(v).into_owned())
            .unwrap_or_default();
        let token = config
            .token
            .clone()
            .unwrap_or_else(|| format!("{}!simulator.{}", &org_id.text()[..15], uuid::Uuid::new_v4().simple()));
        let auth = Auth::new(
            AuthConfig {
                client_id: config.client_id.clone(),
                client_secret: config.client_secret.clone(),
                static_tokens: vec![token.clone()],
                refresh_token: config.refresh_token.clone(),
                public_key_pem: config.public_key_pem.clone(),
                token_ttl_secs: config.token_ttl_secs,
                rotate_refresh: config.rotate_refresh,
                username: username.clone(),
                login: config.login.clone(),
            },
            org_id.text(),
            user_id.text(),
            db.clock.clone(),
        );
        let bus = match &config.pubsub {
            Some(settings) => {
                let bus = PubSub::new(settings.clone(), Arc::clone(&schema), org_id, user_id, config.flavour.pod())?;
                Some(Arc::new(bus))
            }
            None => None,
        };
        let clock = db.clock.clone();
        let state = Arc::new(OrgState {
            schema,
            clock,
            limits: Limits::new(config.limits),
            records: SharedDb::new(db),
            recent: Recent::default(),
            auth,
            org_id,
            user_id,
            faults: Faults::default(),
            requests: AtomicU64::new(0),
            requests_max: AtomicU64::new(config.daily_requests_max),
            storage_mb: AtomicU64::new(config.storage_mb),
            started: Utc::now(),
            url: OnceLock::new(),
            query_jobs: Mutex::default(),
            ingest_jobs: Mutex::default(),
            bulk1: bulk1::Jobs::default(),
            bulk_paging: Paging::new(config.bulk_page_rows),
            cursors: Cursors::new(config.query_page_rows),
            serial: AtomicU64::new(500_000),
            stopping: AtomicBool::new(false),
            ingest_slots: Arc::new(Semaphore::new(config.ingest_workers.max(1))),
            locks: config.locks.map(LockTable::new),
            setup: RwLock::default(),
            metadata_at: AtomicI64::new(Utc::now().timestamp()),
            committed_at: AtomicI64::new(0),
            late_commits: AtomicU64::new(0),
            pubsub: bus.clone(),
            config,
        });
        if !setup.is_empty() {
            state.install(setup);
        }
        if let Some(bus) = bus {
            state.records.on_commit(Box::new(move |db, changes| bus.capture(db, changes)));
        }
        serve(state, token, username)
    }
}

fn bind(port: u16) -> Result<std::net::TcpListener, StartError> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).map_err(StartError::Listen)?;
    listener.set_nonblocking(true).map_err(StartError::Listen)?;
    Ok(listener)
}

/// The describe documents of a directory, by file name.
fn describes(dir: &std::path::Path) -> Result<Vec<(String, String)>, StartError> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
        .map_err(StartError::Describes)?;
    files.retain(|p| p.extension().is_some_and(|e| e == "json"));
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        std::fs::read_to_string(&path)
            .map(|text| (name, text))
            .map_err(StartError::Describes)
    };
    files.into_iter().map(read).collect()
}

fn serve(state: Arc<OrgState>, token: String, username: String) -> Result<RunningOrg, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("salesforce-org")
        .enable_all()
        .build()
        .map_err(StartError::Listen)?;
    let listener = bind(state.config.port)?;
    let url = format!("http://{}", listener.local_addr().map_err(StartError::Listen)?);
    state.url.get_or_init(|| url.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let app = axum::Router::new().fallback(http::dispatch).with_state(Arc::clone(&state));
    // Listeners register with the runtime that will drive them.
    let guard = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Listen)?;
    let server = serve::serve(CutListener(listener), false, app.clone());
    runtime.spawn(async move {
        tokio::select! {
            () = server => {}
            _ = stopped => {}
        }
    });
    let tls_url = match &state.config.tls {
        Some(config) => {
            let listener = bind(config.port)?;
            let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Listen)?;
            let listener = TlsListener::new(listener, tls::acceptor(config)?).map_err(StartError::Listen)?;
            let url = format!(
                "https://{}",
                axum::serve::Listener::local_addr(&listener).map_err(StartError::Listen)?
            );
            // Ends with the runtime.
            runtime.spawn(serve::serve(listener, true, app));
            Some(url)
        }
        None => None,
    };
    let (pubsub_url, pubsub_tls_url) = serve_pubsub(&state)?;
    drop(guard);
    Ok(RunningOrg {
        url,
        tls_url,
        pubsub_url,
        pubsub_tls_url,
        org_id: state.org_id.text(),
        user_id: state.user_id.text(),
        token,
        username,
        client_id: state.config.client_id.clone(),
        client_secret: state.config.client_secret.clone(),
        refresh_token: state.config.refresh_token.clone(),
        state,
        stop: Some(stop),
        runtime: Some(runtime),
    })
}

/// Serves the event bus, when there is one, on its port and over TLS on a free one. Call it inside the runtime.
fn serve_pubsub(state: &Arc<OrgState>) -> Result<(Option<String>, Option<String>), StartError> {
    let Some(bus) = &state.pubsub else { return Ok((None, None)) };
    let start = |port, tls| pubsub::server::start(state, bus, port, tls).map_err(StartError::Listen);
    let plain = format!("http://{}", start(bus.config.port, None)?);
    let secure = match &state.config.tls {
        Some(tls) => Some(format!("https://{}", start(0, Some(tls))?)),
        None => None,
    };
    Ok((Some(plain), secure))
}

/// A served org; dropping it stops the server.
pub struct RunningOrg {
    pub url: String,
    /// The same org over TLS, when configured.
    pub tls_url: Option<String>,
    /// Where the Pub/Sub API answers, when it does, in plain HTTP/2 and over TLS.
    pub pubsub_url: Option<String>,
    pub pubsub_tls_url: Option<String>,
    pub org_id: String,
    pub user_id: String,
    /// The static session token.
    pub token: String,
    pub username: String,
    pub client_id: String,
    pub client_secret: String,
    pub refresh_token: String,
    pub state: Arc<OrgState>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl RunningOrg {
    /// Live records of an object, read past the API.
    pub fn count(&self, object: &str) -> usize {
        let db = self.state.db();
        self.state.schema.object(object).map_or(0, |o| db.tables[o].live)
    }

    /// The connection facts a client needs, as one JSON object.
    pub fn facts(&self) -> serde_json::Value {
        let mut facts = serde_json::json!({"url": self.url, "https_url": self.tls_url, "org_id": self.org_id, "user_id": self.user_id,
            "username": self.username, "token": self.token, "client_id": self.client_id,
            "client_secret": self.client_secret, "refresh_token": self.refresh_token,
            "password": self.state.config.login.password, "security_token": self.state.config.login.security_token});
        for (name, url) in [("pubsub_url", &self.pubsub_url), ("pubsub_https_url", &self.pubsub_tls_url)] {
            if let Some(url) = url {
                facts[name] = url.as_str().into();
            }
        }
        facts
    }
}

impl Drop for RunningOrg {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
