//! OAuth 2.0 and the sessions behind every call.

pub mod authorize;
pub mod caller;
pub mod config;
pub mod grants;
pub mod identity;
pub mod jwt;
pub mod oauth;
pub mod sessions;
pub mod users;
