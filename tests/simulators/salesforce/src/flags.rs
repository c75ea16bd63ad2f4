//! Flags that concern signing in.

use clap::Args;
use syncline_salesforce_simulator::auth::config::LoginConfig;

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
            api_enabled: !self.no_api,
        }
    }
}
