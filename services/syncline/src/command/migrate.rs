//! `syncline migrate`: every schema and stream, once, before services start that may not do it themselves.
//!
//! It can be run again and beside itself: each schema is locked while it is migrated, and what is there is left as it is.

use serde_json::json;
use syncline_bus::{Bus, BusConfig, permissions};
use syncline_runtime::config::Migrating;
use syncline_runtime::tls::TlsFiles;
use syncline_runtime::{Config, entry};

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;
use crate::services::SERVICES;

/// # Errors
/// Which schema or stream could not be made, and why.
pub fn run(output: Output) -> Result<Exit, CliError> {
    // The coordinator's environment names both servers.
    let config = Config::from_env("coordinator").map_err(|e| CliError::new(Exit::Invalid, e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        entry::install_crypto();
        let failed = |e: &dyn std::fmt::Display| CliError::new(Exit::Unexpected, e.to_string());
        let mut done = Vec::new();
        for service in SERVICES {
            let mut config = config.for_service(service.name);
            config.migrating = Migrating::AtStart;
            let db = syncline_runtime::database(&config, Some(service.migrations))
                .await
                .map_err(|e| failed(&e))?;
            db.close().await;
            let newest = service.migrations.iter().map(|m| m.version).max().unwrap_or(0);
            done.push((service.name, newest));
        }
        let bus = BusConfig {
            url: config.nats_url.clone(),
            name: "syncline-migrate".to_owned(),
            service: Some(permissions::ADMINISTRATOR),
            make_streams: true,
            replicas: config.nats_replicas,
            tls: config.tls.as_ref().map(TlsFiles::bus),
        };
        Bus::connect(&bus).await.map_err(|e| failed(&e))?;
        let mut text: String = done
            .iter()
            .map(|(name, newest)| format!("schema {name:<12} at {newest}\n"))
            .collect();
        text.push_str("streams             up to date\n");
        let schemas: serde_json::Map<_, _> = done.iter().map(|(name, newest)| ((*name).to_owned(), json!(newest))).collect();
        output.result(&text, &json!({"schemas": schemas, "streams": true}))?;
        Ok(Exit::Ok)
    })
}
