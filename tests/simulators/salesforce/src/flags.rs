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
}

impl LoginArgs {
    /// The settings, defaults where no flag says otherwise.
    pub fn config(&self) -> LoginConfig {
        let defaults = LoginConfig::default();
        LoginConfig {
            password: self.password.clone().unwrap_or(defaults.password),
            security_token: self.security_token.clone().unwrap_or(defaults.security_token),
            soap_login: !self.no_soap_login,
        }
    }
}
