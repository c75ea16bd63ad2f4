//! `syncline serve SERVICE`: one service of the installation, as its own binary would run it.

use syncline_runtime::{Config, entry};

use crate::error::CliError;
use crate::exit::Exit;
use crate::services::SERVICES;

/// # Errors
/// When the environment is not valid, or what ended the service.
pub fn run(service: &str) -> Result<Exit, CliError> {
    let service = SERVICES.iter().find(|s| s.name == service);
    let service = service.ok_or_else(|| CliError::new(Exit::Invalid, "there is no such service"))?;
    let config = Config::from_env(service.name).map_err(|e| CliError::new(Exit::Invalid, e.to_string()))?;
    match entry::serve(service.name, config, service.start) {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(CliError::new(Exit::Unexpected, format!("{}: {error:#}", service.name))),
    }
}
