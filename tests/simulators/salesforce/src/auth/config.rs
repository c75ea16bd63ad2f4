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
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            password: "simulator-password".into(),
            security_token: "simulatorToken".into(),
            soap_login: true,
        }
    }
}
