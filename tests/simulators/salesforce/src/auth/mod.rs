//! OAuth 2.0 and the sessions behind every call.

pub mod caller;
pub mod config;
pub mod oauth;
pub mod sessions;
pub mod users;
