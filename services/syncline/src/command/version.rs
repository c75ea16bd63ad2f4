//! `syncline version`

use serde_json::json;
use syncline_domain::spec::API_VERSION;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// # Errors
/// When stdout cannot be written.
pub fn run(output: Output) -> Result<Exit, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    output.result(
        &format!("syncline {version}, definitions {API_VERSION}\n"),
        &json!({"version": version, "api_version": API_VERSION}),
    )?;
    Ok(Exit::Ok)
}
