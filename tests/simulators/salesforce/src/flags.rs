//! Flags that concern signing in, and what may be used up.

use clap::Args;
use syncline_salesforce_simulator::auth::config::LoginConfig;
use syncline_salesforce_simulator::bulk2::ingest::UPLOAD_BYTES_MAX;
use syncline_salesforce_simulator::limits::LimitConfig;

#[derive(Args)]
pub struct LoginArgs {
    /// Every active user's password.
    #[arg(long)]
    password: Option<String>,
    /// Appended to the password by programs.
    #[arg(long)]
    security_token: Option<String>,
    /// Refuse SOAP login() as newly created orgs do.
    #[arg(long)]
    no_soap_login: bool,
    /// A callback URL of the connected app; may be repeated.
    #[arg(long = "callback")]
    callbacks: Vec<String>,
    /// The app's scopes, separated by blanks.
    #[arg(long)]
    scopes: Option<String>,
    /// Approve authorization requests at once, without a form.
    #[arg(long)]
    auto_approve: bool,
    /// The app needs no secret in the flows that users approve.
    #[arg(long)]
    public_client: bool,
    /// End sessions unused for so long, instead of after --token-ttl-secs.
    #[arg(long)]
    session_idle_secs: Option<u64>,
    /// Logins a user may have in an hour, over all ways to sign in.
    #[arg(long)]
    logins_per_hour: Option<u64>,
    /// The user lacks the permission to use the API.
    #[arg(long)]
    no_api: bool,
}

impl LoginArgs {
    /// The settings, defaults where no flag says otherwise.
    pub fn config(&self) -> LoginConfig {
        let defaults = LoginConfig::default();
        LoginConfig {
            password: self.password.clone().unwrap_or(defaults.password),
            security_token: self.security_token.clone().unwrap_or(defaults.security_token),
            soap_login: !self.no_soap_login,
            callbacks: if self.callbacks.is_empty() {
                defaults.callbacks
            } else {
                self.callbacks.clone()
            },
            scopes: self.scopes.clone().unwrap_or(defaults.scopes),
            auto_approve: self.auto_approve,
            public_client: self.public_client,
            session_idle_secs: self.session_idle_secs,
            logins_per_hour: self.logins_per_hour.unwrap_or(defaults.logins_per_hour),
            api_enabled: !self.no_api,
        }
    }
}

#[derive(Args)]
pub struct LimitArgs {
    /// Bulk batches in 24 hours, of both Bulk APIs.
    #[arg(long, default_value_t = LimitConfig::default().bulk_batches)]
    bulk_batches: u64,
    /// Bulk API 2.0 query jobs in 24 hours.
    #[arg(long, default_value_t = LimitConfig::default().query_jobs)]
    query_jobs: u64,
    /// Calls that may run for long at once: 25, or 5 in a developer org.
    #[arg(long, default_value_t = LimitConfig::default().long_calls)]
    long_calls: u64,
    /// From when on a call runs for long.
    #[arg(long, default_value_t = LimitConfig::default().long_call_ms)]
    long_call_ms: u64,
    /// Bytes of one Bulk API 2.0 upload.
    #[arg(long, default_value_t = UPLOAD_BYTES_MAX)]
    upload_bytes: usize,
}

impl LimitArgs {
    pub fn config(&self) -> LimitConfig {
        LimitConfig {
            bulk_batches: self.bulk_batches,
            query_jobs: self.query_jobs,
            long_calls: self.long_calls,
            long_call_ms: self.long_call_ms,
        }
    }

    pub fn upload_bytes_max(&self) -> usize {
        self.upload_bytes
    }
}
