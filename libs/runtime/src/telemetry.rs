//! Logs to standard error and, where an endpoint is named, traces, metrics and logs over OTLP.

use std::io::IsTerminal;
use std::sync::LazyLock;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tonic::transport::ClientTlsConfig;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Targets of whoever carries telemetry away.
const EXPORTERS: [&str; 5] = ["opentelemetry", "tonic", "h2", "hyper", "tower"];

#[derive(Debug, Error)]
#[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
pub struct TelemetryError(#[from] ExporterBuildError);

/// Flushes what is left when dropped.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    meters: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // At this point nobody is left to tell.
            let _ = provider.shutdown();
        }
        if let Some(meters) = self.meters.take() {
            let _ = meters.shutdown();
        }
        if let Some(logs) = self.logs.take() {
            let _ = logs.shutdown();
        }
    }
}

/// Sets up logging (`RUST_LOG`, `SYNCLINE_LOG=json|pretty`) and tracing (`OTEL_EXPORTER_OTLP_ENDPOINT`). Called once per
/// process, inside the runtime; a second call changes nothing.
///
/// # Errors
/// [`TelemetryError`] when the endpoint is no address that could ever be sent to.
pub fn init(service: &'static str, otlp_endpoint: Option<&str>) -> Result<Telemetry, TelemetryError> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn,sqlx=warn,hyper=warn,h2=warn"));
    let json = std::env::var("SYNCLINE_LOG").is_ok_and(|v| v == "json");
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let format = if json { format.json().boxed() } else { format.compact().boxed() };
    let provider = otlp_endpoint.map(|endpoint| tracer_provider(service, endpoint)).transpose()?;
    let traces = provider
        .as_ref()
        .map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer("syncline")));
    let logger = otlp_endpoint.map(|endpoint| logger_provider(service, endpoint)).transpose()?;
    let sent = logger.as_ref().map(|provider| {
        // What the exporter says of its own sending would be sent, and said again.
        let others = filter_fn(|metadata| !EXPORTERS.iter().any(|target| metadata.target().starts_with(target)));
        OpenTelemetryTracingBridge::new(provider).with_filter(others)
    });
    // Fails only when a subscriber is set already, as in tests that start several services.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(format)
        .with(traces)
        .with(sent)
        .try_init();
    let meters = otlp_endpoint.map(|endpoint| meter_provider(service, endpoint)).transpose()?;
    if let Some(meters) = &meters {
        opentelemetry::global::set_meter_provider(meters.clone());
    }
    Ok(Telemetry {
        provider,
        meters,
        logs: logger,
    })
}

/// Whose telemetry it is; each process counts for itself, so replicas must be told apart.
fn resource(service: &'static str) -> Resource {
    static INSTANCE: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().to_string());
    Resource::builder()
        .with_service_name(format!("syncline-{service}"))
        .with_attribute(KeyValue::new("service.instance.id", INSTANCE.clone()))
        .build()
}

/// Whom `https://` trusts: the system's authorities, or those of `SSL_CERT_FILE`.
fn tls() -> ClientTlsConfig {
    ClientTlsConfig::new().with_enabled_roots()
}

/// Sends what was counted at OpenTelemetry's own interval (`OTEL_METRIC_EXPORT_INTERVAL`, a minute unless set).
fn meter_provider(service: &'static str, endpoint: &str) -> Result<SdkMeterProvider, ExporterBuildError> {
    let builder = MetricExporter::builder().with_tonic();
    let exporter = builder.with_endpoint(endpoint).with_tls_config(tls()).build()?;
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter);
    Ok(provider.with_resource(resource(service)).build())
}

fn tracer_provider(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let builder = SpanExporter::builder().with_tonic();
    let exporter = builder.with_endpoint(endpoint).with_tls_config(tls()).build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
    Ok(provider.with_resource(resource(service)).build())
}

fn logger_provider(service: &'static str, endpoint: &str) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let builder = LogExporter::builder().with_tonic();
    let exporter = builder.with_endpoint(endpoint).with_tls_config(tls()).build()?;
    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter);
    Ok(provider.with_resource(resource(service)).build())
}
