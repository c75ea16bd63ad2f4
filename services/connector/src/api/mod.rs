//! The services: one for people, one for stages, one for the coordinator.

mod access;
mod breaker;
mod connection;

use syncline_domain::ConnectionName;

use crate::error::Error;

/// A name that breaks the rule for names cannot be stored, so it is unknown like any other.
fn connection_name(name: &str) -> Result<ConnectionName, Error> {
    ConnectionName::new(name).map_err(|_| Error::UnknownConnection(name.chars().take(80).collect()))
}
