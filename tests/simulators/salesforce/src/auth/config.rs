//! How people and programs may sign in.

/// Settings of logins and of the one connected app.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    /// Every active user's password.
    pub password: String,
    /// Appended to the password by programs.
    pub security_token: String,
    /// SOAP `login()` is enabled, up to v64.0.
    pub soap_login: bool,
    /// The app's callback URLs.
    pub callbacks: Vec<String>,
    /// The app's scopes, separated by blanks.
    pub scopes: String,
    /// The first user approves at once, so that no form is shown.
    pub auto_approve: bool,
    /// The app needs no secret in the flows that users approve.
    pub public_client: bool,
    /// Sessions end when unused for so long, instead of after a fixed time.
    pub session_idle_secs: Option<u64>,
    /// Logins a user may have in an hour.
    pub logins_per_hour: u64,
    /// The user may use the API.
    pub api_enabled: bool,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            password: "simulator-password".into(),
            security_token: "simulatorToken".into(),
            soap_login: true,
            callbacks: vec!["http://localhost:1717/OauthRedirect".into()],
            scopes: "api refresh_token openid".into(),
            auto_approve: false,
            public_client: false,
            session_idle_secs: None,
            logins_per_hour: 3600,
            api_enabled: true,
        }
    }
}
