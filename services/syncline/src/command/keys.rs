//! `syncline keys rewrap`: after a rotation, with the connector's environment.

use std::sync::Arc;

use serde_json::json;
use syncline_connector::rewrap::rewrap;
use syncline_runtime::config::Migrating;
use syncline_runtime::{Config, Keys, entry};

use crate::error::CliError;
use crate::exit::Exit;
use crate::figures::grouped;
use crate::output::Output;

/// # Errors
/// What could not be wrapped anew, and why; what came before it is done.
pub fn run(output: Output) -> Result<Exit, CliError> {
    let mut config = Config::from_env("connector").map_err(|e| CliError::new(Exit::Invalid, e.to_string()))?;
    config.migrating = Migrating::Never;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        entry::install_crypto();
        let failed = |e: &dyn std::fmt::Display| CliError::new(Exit::Unexpected, e.to_string());
        let db = syncline_runtime::database(&config, Some(&syncline_connector::MIGRATIONS))
            .await
            .map_err(|e| failed(&e))?;
        let provider = Keys::load(&config.keys).provider();
        let done = rewrap(&db, Arc::as_ref(&provider)).await.map_err(|e| {
            CliError::coded(e.code(), e.to_string())
                .remedy("Keep the key that was used before beside the new one (docs/security.md), and run this again.")
        })?;
        let text = format!(
            "{} of {} connections and {} of {} runs wrapped anew; the others were already\n",
            grouped(done.connections_changed),
            grouped(done.connections),
            grouped(done.runs_changed),
            grouped(done.runs)
        );
        let json = json!({
            "connections": done.connections,
            "connections_changed": done.connections_changed,
            "runs": done.runs,
            "runs_changed": done.runs_changed,
        });
        output.result(&text, &json)?;
        Ok(Exit::Ok)
    })
}
