//! The entry point of every service binary.

use std::future::Future;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::{failpoint, panics, telemetry};

/// Runs a service until it ends, SIGTERM or Ctrl-C. Exit code 0 after a clean stop, 1 after an error, which is printed.
pub fn main<F, Fut>(service: &'static str, run: F) -> ExitCode
where
    F: FnOnce(Config, CancellationToken) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let config = match Config::from_env(service) {
        Ok(config) => config,
        Err(error) => return complain(service, &error.into()),
    };
    match serve(service, config, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(service, &error),
    }
}

/// Runs a configured service until it ends, SIGTERM or Ctrl-C.
///
/// # Errors
/// What ended it, if that was not a signal.
pub fn serve<F, Fut>(service: &'static str, config: Config, run: F) -> anyhow::Result<()>
where
    F: FnOnce(Config, CancellationToken) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        install_crypto();
        let _telemetry = telemetry::init(service, config.otlp_endpoint.as_deref())?;
        panics::hide_values();
        failpoint::arm(&config.failpoints);
        let shutdown = CancellationToken::new();
        stop_on_signal(shutdown.clone());
        run(config, shutdown).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}

/// One TLS provider for every library of the process; without it some of them panic at their first connection.
pub fn install_crypto() {
    // Fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Cancels at SIGTERM or Ctrl-C.
pub fn stop_on_signal(shutdown: CancellationToken) {
    tokio::spawn(async move {
        let terminate = async {
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(mut signal) => {
                    signal.recv().await;
                }
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = terminate => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        shutdown.cancel();
    });
}

#[allow(clippy::print_stderr, reason = "the last word of a process that may have no logger yet")]
fn complain(service: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("syncline {service}: {error:#}");
    ExitCode::FAILURE
}
