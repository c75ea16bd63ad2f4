//! Runs one org until it is told to stop.

mod flags;

use std::io::Write;
use std::path::PathBuf;

use crate::flags::{LimitArgs, LoginArgs};
use anyhow::Context;
use clap::{Parser, ValueEnum};
use syncline_salesforce_simulator::pubsub::config::PubSubArgs;
use syncline_salesforce_simulator::schema::{DependencyOverride, PicklistOverride};
use syncline_salesforce_simulator::store::locks::LockConfig;
use syncline_salesforce_simulator::store::rules::ValidationRule;
use syncline_salesforce_simulator::store::setup::SetupDoc;
use syncline_salesforce_simulator::web::tls::TlsConfig;
use syncline_salesforce_simulator::{Flavour, Org, OrgConfig};
use tokio::signal::unix::{SignalKind, signal};

// Millions of small rows: the system allocator's per-block overhead would double them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy, ValueEnum)]
enum OrgKind {
    Production,
    Sandbox,
}

/// A Salesforce org on loopback.
#[derive(Parser)]
#[command(name = "salesforce-simulator")]
struct Args {
    /// Port on loopback; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Serve HTTPS beside HTTP on this port of loopback; 0 picks a free one.
    #[arg(long, requires_all = ["tls_cert", "tls_key"])]
    tls_port: Option<u16>,
    /// PEM file with the certificate chain.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    login: LoginArgs,
    #[arg(long, value_enum, default_value = "production")]
    org: OrgKind,
    /// The number in the org's own id: two orgs of one kind are told apart by it.
    #[arg(long)]
    org_number: Option<u64>,
    /// Directory of CSV files named after objects.
    #[arg(long)]
    rows: Option<PathBuf>,
    /// Generate at least this many business records, e.g. 100k or 1M (production only).
    #[arg(long, value_parser = parse_count)]
    scale: Option<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value = "northwind.example")]
    user_domain: String,
    #[arg(long)]
    client_id: Option<String>,
    #[arg(long)]
    client_secret: Option<String>,
    /// A session token that never expires by itself.
    #[arg(long)]
    token: Option<String>,
    #[arg(long)]
    refresh_token: Option<String>,
    /// Hand out a new refresh token on every use.
    #[arg(long)]
    rotate_refresh: bool,
    /// PEM certificate or public key for the JWT bearer flow.
    #[arg(long)]
    jwt_key: Option<PathBuf>,
    #[arg(long, default_value_t = 7200)]
    token_ttl_secs: u64,
    #[arg(long, default_value_t = 1_000_000)]
    daily_requests: u64,
    #[arg(long, default_value_t = 100_000)]
    storage_mb: u64,
    #[command(flatten)]
    limits: LimitArgs,
    /// `Object.Field=A|B|C`: another value set; append `!` to restrict it.
    #[arg(long = "picklist")]
    picklists: Vec<String>,
    /// `Object: formula [=> [Field] message]`: rows for which it holds are refused.
    #[arg(long = "validation-rule")]
    validation_rules: Vec<String>,
    /// JSON file with triggers, duplicate rules, permissions and the like.
    #[arg(long)]
    setup: Option<PathBuf>,
    /// `Object.Field<-Controller: A=x|y; B=z`: which values a controlling value allows.
    #[arg(long = "dependent-picklist", value_parser = DependencyOverride::parse)]
    dependent_picklists: Vec<DependencyOverride>,
    /// Directory of describe documents (JSON) that replace or add to the built-in objects.
    #[arg(long = "describe")]
    describes: Option<PathBuf>,
    /// Every object with amounts says their currency.
    #[arg(long)]
    multi_currency: bool,
    /// Addresses have codes of state and country beside the texts.
    #[arg(long)]
    state_country_picklists: bool,
    /// Accounts may be persons.
    #[arg(long)]
    person_accounts: bool,
    /// Contacts relate to several accounts; the direct relation comes by itself.
    #[arg(long)]
    contact_relations: bool,
    /// Parallel transactions wait for each other's records, and fail when they wait too long.
    #[arg(long)]
    lock_contention: bool,
    #[arg(long, default_value_t = 10_000)]
    lock_wait_ms: u64,
    /// How long a transaction keeps its locks.
    #[arg(long, default_value_t = 20)]
    lock_hold_ms: u64,
    /// How often Bulk tries a chunk again before its rows fail.
    #[arg(long, default_value_t = 10)]
    lock_retries: u32,
    /// Let inserts set CreatedDate and the other audit fields.
    #[arg(long)]
    audit_fields: bool,
    #[arg(long, default_value_t = 0)]
    job_latency_ms: u64,
    /// Keep result files in input order.
    #[arg(long)]
    ordered_results: bool,
    /// Never compress answers.
    #[arg(long)]
    no_gzip: bool,
    #[arg(long, default_value_t = 2000)]
    query_page_rows: usize,
    #[arg(long, default_value_t = 100_000)]
    bulk_page_rows: usize,
    #[arg(long, default_value_t = 2)]
    ingest_workers: usize,
    #[command(flatten)]
    pubsub: PubSubArgs,
    /// Write the ready line to this file as well.
    #[arg(long, visible_alias = "port-file")]
    ready_file: Option<PathBuf>,
}

fn parse_count(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.to_ascii_lowercase() {
        t if t.ends_with('k') => (t.trim_end_matches('k').to_owned(), 1000),
        t if t.ends_with('m') => (t.trim_end_matches('m').to_owned(), 1_000_000),
        t => (t, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| format!("{text} is not a count"))
}

fn parse_picklist(text: &str) -> anyhow::Result<PicklistOverride> {
    let (text, restricted) = match text.strip_suffix('!') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (path, values) = text.split_once('=').context("expected Object.Field=A|B")?;
    let (object, field) = path.split_once('.').context("expected Object.Field=A|B")?;
    Ok(PicklistOverride {
        object: object.into(),
        field: field.into(),
        values: values.split('|').map(str::to_owned).collect(),
        restricted,
    })
}

/// A certificate without a port is served on a free one.
fn tls(args: &Args) -> Option<TlsConfig> {
    Some(TlsConfig {
        port: args.tls_port.unwrap_or(0),
        certificate: args.tls_cert.clone()?,
        key: args.tls_key.clone()?,
    })
}

fn setup(path: &std::path::Path) -> anyhow::Result<SetupDoc> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn config(args: &Args) -> anyhow::Result<OrgConfig> {
    let defaults = OrgConfig::default();
    let public_key_pem = match &args.jwt_key {
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?),
        None => None,
    };
    let rule = |text: &String| ValidationRule::parse(text).with_context(|| format!("validation rule {text}"));
    Ok(OrgConfig {
        flavour: match args.org {
            OrgKind::Production => Flavour::Production,
            OrgKind::Sandbox => Flavour::Sandbox,
        },
        org_number: args.org_number,
        port: args.port,
        tls: tls(args),
        login: args.login.config(),
        client_id: args.client_id.clone().unwrap_or(defaults.client_id),
        client_secret: args.client_secret.clone().unwrap_or(defaults.client_secret),
        token: args.token.clone(),
        refresh_token: args.refresh_token.clone().unwrap_or(defaults.refresh_token),
        rotate_refresh: args.rotate_refresh,
        public_key_pem,
        token_ttl_secs: args.token_ttl_secs,
        daily_requests_max: args.daily_requests,
        storage_mb: args.storage_mb,
        limits: args.limits.config(),
        upload_bytes_max: args.limits.upload_bytes_max(),
        rows: args.rows.clone(),
        scale: args.scale,
        seed: args.seed,
        user_domain: args.user_domain.clone(),
        picklists: args.picklists.iter().map(|t| parse_picklist(t)).collect::<anyhow::Result<_>>()?,
        setup: args.setup.as_deref().map_or_else(|| Ok(SetupDoc::default()), setup)?,
        dependent_picklists: args.dependent_picklists.clone(),
        describes: args.describes.clone(),
        multi_currency: args.multi_currency,
        person_accounts: args.person_accounts,
        state_country: args.state_country_picklists,
        contact_relations: args.contact_relations,
        locks: args.lock_contention.then_some(LockConfig {
            wait_ms: args.lock_wait_ms,
            hold_ms: args.lock_hold_ms,
            retries: args.lock_retries,
        }),
        validation_rules: args.validation_rules.iter().map(rule).collect::<anyhow::Result<_>>()?,
        audit_fields: args.audit_fields,
        job_latency_ms: args.job_latency_ms,
        shuffle_results: !args.ordered_results,
        gzip: !args.no_gzip,
        query_page_rows: args.query_page_rows,
        bulk_page_rows: args.bulk_page_rows,
        ingest_workers: args.ingest_workers,
        pubsub: args.pubsub.config(),
    })
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let org = Org::start(config(&args)?)?;
    let line = org.facts().to_string();
    if let Some(path) = &args.ready_file {
        // Readers poll for the file, so it must appear complete.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, &line).with_context(|| format!("writing {}", partial.display()))?;
        std::fs::rename(&partial, path).with_context(|| format!("writing {}", path.display()))?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    drop(out);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        anyhow::Ok(())
    })?;
    drop(org);
    Ok(())
}
