//! `syncline dev`: every service in one process: the same code, the same bus, the same ports as apart.
//!
//! One service that fails stops them all: a half-running installation would only look healthy. What the process uses
//! is filed by the monitor at the end of each run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::json;
use syncline_runtime::{Config, entry, failpoint, panics, telemetry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cli::Dev;
use crate::dev_keys;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{Format, Output};
use crate::services::SERVICES;

/// Where keys are made unless told otherwise.
const KEYS_DIR: &str = ".local/keys";
/// NATS and PostgreSQL may take some seconds, and each service waits for them by itself.
const READY_WAIT: Duration = Duration::from_secs(90);
const READY_PAUSE: Duration = Duration::from_millis(50);
const PROBE_WAIT: Duration = Duration::from_secs(2);
/// After this long, services that have not stopped are left to end with the process.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// # Errors
/// When the configuration is not valid, or a service fails.
pub fn run(arguments: Dev, token: Option<SecretString>, output: Output) -> Result<Exit, CliError> {
    let invalid = |e: syncline_runtime::config::ConfigError| CliError::new(Exit::Invalid, e.to_string());
    // The gateway is content with less than the others.
    Config::from_env("coordinator").map_err(invalid)?;
    let mut config = Config::from_env("gateway").map_err(invalid)?;
    let (keys_dir, init_keys) = match arguments.keys_dir {
        Some(dir) => (dir, arguments.init_keys),
        None => (PathBuf::from(KEYS_DIR), true),
    };
    if init_keys {
        for made in dev_keys::make_missing(&keys_dir)? {
            output.message(&format!("made {}", made.display()));
        }
    }
    config.keys.dir = Some(keys_dir.clone());
    if token.is_some() {
        config.gateway_token = token;
    }
    if config.gateway_token.is_none() && init_keys {
        let file = dev_keys::token_file(&keys_dir);
        config.gateway_token = Some(dev_keys::token(&file)?);
        output.message(&format!("the API token: export SYNCLINE_GATEWAY_TOKEN=$(cat {})", file.display()));
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        entry::install_crypto();
        let telemetry = telemetry::init("dev", config.otlp_endpoint.as_deref());
        let _telemetry = telemetry.map_err(|e| CliError::new(Exit::Invalid, e.to_string()))?;
        panics::hide_values();
        failpoint::arm(&config.failpoints);
        let shutdown = CancellationToken::new();
        entry::stop_on_signal(shutdown.clone());
        serve(&config, arguments.ready_file.as_deref(), shutdown, output).await
    });
    if let Some(file) = &arguments.ready_file {
        // It says that the services are up, which they are not any more.
        let _ = std::fs::remove_file(file);
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: &Config, ready_file: Option<&Path>, shutdown: CancellationToken, output: Output) -> Result<Exit, CliError> {
    if let Some(file) = ready_file {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let mut services = JoinSet::new();
    for service in SERVICES {
        let name = service.name;
        let running = (service.start)(config.for_service(name), shutdown.clone());
        services.spawn(async move { (name, running.await) });
    }
    let mut failed = None;
    tokio::select! {
        ready = all_ready(config, output) => match ready {
            Ok(()) => {
                let url = format!("http://{}", reachable(config.listen));
                announce(output, &url)?;
                if let Some(file) = ready_file {
                    write_ready(file, &url)?;
                }
            }
            Err(error) => failed = Some(error),
        },
        ended = services.join_next() => failed = ended.and_then(|ended| verdict(ended, &shutdown)),
        () = shutdown.cancelled() => {}
    }
    if failed.is_none() && !shutdown.is_cancelled() {
        tokio::select! {
            ended = services.join_next() => failed = ended.and_then(|ended| verdict(ended, &shutdown)),
            () = shutdown.cancelled() => {}
        }
    }
    shutdown.cancel();
    output.message("stopping");
    let stopped = tokio::time::timeout(STOP_WAIT, async {
        while let Some(ended) = services.join_next().await {
            failed = failed.take().or_else(|| verdict(ended, &shutdown));
        }
    });
    if stopped.await.is_err() {
        output.message(&format!("{} services did not stop in time", services.len()));
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(Exit::Ok),
    }
}

/// What it means that a service ended.
fn verdict(ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>, shutdown: &CancellationToken) -> Option<CliError> {
    match ended {
        Ok((_, Ok(()))) if shutdown.is_cancelled() => None,
        Ok((name, Ok(()))) => Some(CliError::new(Exit::Unexpected, format!("{name} ended by itself"))),
        Ok((name, Err(error))) => Some(CliError::new(Exit::Unexpected, format!("{name}: {error:#}"))),
        Err(error) => Some(CliError::new(Exit::Unexpected, format!("a service broke down: {error}"))),
    }
}

/// Says of each service when it serves, in the order in which they come up.
async fn all_ready(config: &Config, output: Output) -> Result<(), CliError> {
    let mut probes = JoinSet::new();
    for service in SERVICES {
        let name = service.name;
        let address = reachable(config.for_service(name).listen);
        probes.spawn(async move { (name, address, ready(address).await) });
    }
    while let Some(probe) = probes.join_next().await {
        let (name, address, ready) = probe.map_err(|e| CliError::new(Exit::Unexpected, e.to_string()))?;
        if !ready {
            return Err(CliError::new(
                Exit::Unexpected,
                format!("{name} is not ready after {} s; its log says why", READY_WAIT.as_secs()),
            ));
        }
        match output.format {
            Format::Table => output.result(&format!("{name:<12} ready on {address}\n"), &serde_json::Value::Null)?,
            Format::Json => output.json_line(&json!({"service": name, "address": address.to_string()}))?,
        }
    }
    Ok(())
}

fn announce(output: Output, url: &str) -> Result<(), CliError> {
    match output.format {
        Format::Table => output.result(&format!("gateway      {url}\n"), &serde_json::Value::Null)?,
        Format::Json => output.json_line(&json!({"ready": true, "gateway": url}))?,
    }
    Ok(())
}

/// Asks for health until it is good.
async fn ready(address: SocketAddr) -> bool {
    let deadline = Instant::now() + READY_WAIT;
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else {
        return false;
    };
    let mut health = HealthClient::new(endpoint.connect_timeout(PROBE_WAIT).timeout(PROBE_WAIT).connect_lazy());
    while Instant::now() < deadline {
        let request = HealthCheckRequest { service: String::new() };
        if let Ok(answer) = health.check(request).await
            && answer.into_inner().status() == ServingStatus::Serving
        {
            return true;
        }
        tokio::time::sleep(READY_PAUSE).await;
    }
    false
}

/// An address to reach one that listens everywhere.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Written beside and renamed, so that nobody reads half of it.
fn write_ready(file: &Path, url: &str) -> std::io::Result<()> {
    let staging = file.with_extension("ready-staging");
    std::fs::write(&staging, format!("GATEWAY_URL={url}\n"))?;
    std::fs::rename(&staging, file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_reached_on_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:7600", "127.0.0.1:7600"),
            ("[::]:7600", "[::1]:7600"),
            ("10.0.0.7:1", "10.0.0.7:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn a_service_that_ends_early_is_a_failure_and_a_stopped_one_is_none() {
        let shutdown = CancellationToken::new();
        let early = verdict(Ok(("loader", Ok(()))), &shutdown).unwrap();
        assert!(early.message.contains("loader ended"), "{early}");
        let broken = verdict(Ok(("loader", Err(anyhow::anyhow!("a").context("b")))), &shutdown).unwrap();
        assert_eq!(broken.message, "loader: b: a");
        shutdown.cancel();
        assert!(verdict(Ok(("loader", Ok(()))), &shutdown).is_none());
    }

    #[test]
    fn the_ready_file_holds_the_address() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dev.ready");
        write_ready(&file, "http://127.0.0.1:1").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "GATEWAY_URL=http://127.0.0.1:1\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
