//! Spans reach an OTLP receiver under the service's name, and a trace crosses a gRPC call in its headers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{MetricsService, MetricsServiceServer};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use syncline_runtime::{metrics, rpc, telemetry};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tracing::Instrument;

#[derive(Clone, Default)]
struct Receiver {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.requests.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The metrics that arrived, by name.
#[derive(Clone, Default)]
struct Counted {
    names: Arc<Mutex<std::collections::BTreeSet<String>>>,
}

#[tonic::async_trait]
impl MetricsService for Counted {
    async fn export(&self, request: Request<ExportMetricsServiceRequest>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics;
        let metrics = resources.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
        self.names.lock().unwrap().extend(metrics.map(|m| m.name));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Receiver {
    fn spans(&self) -> Vec<(String, Span)> {
        let requests = self.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|r| &r.resource_spans);
        let mut found = Vec::new();
        for resource in resources {
            let attributes = resource.resource.iter().flat_map(|r| &r.attributes);
            let service = attributes
                .filter(|a| a.key == "service.name")
                .map(|a| format!("{:?}", a.value))
                .collect::<String>();
            let spans = resource.scope_spans.iter().flat_map(|s| &s.spans);
            found.extend(spans.map(|s| (service.clone(), s.clone())));
        }
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_exported_under_the_services_name_and_calls_carry_the_trace() {
    let receiver = Receiver::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(receiver.clone()));
    let counted = Counted::default();
    let server = server.add_service(MetricsServiceServer::new(counted.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let exporting = telemetry::init("tested", Some(&endpoint)).unwrap();
    let header = async {
        let request = rpc::traced(Request::new(())).unwrap();
        request.metadata().get("traceparent").unwrap().to_str().unwrap().to_owned()
    }
    .instrument(tracing::info_span!("outgoing call"))
    .await;
    metrics::count(metrics::STAGE_RECORDS, 7, &[("stage", "tested")]);
    metrics::set(metrics::SERVICE_READY, 1.0, &[("service", "tested")]);
    metrics::record(metrics::STEP_DURATION, 0.3, &[("step", "tested")]);
    // Dropping flushes, and waits for it.
    tokio::task::spawn_blocking(move || drop(exporting)).await.unwrap();

    for name in [metrics::STAGE_RECORDS, metrics::SERVICE_READY, metrics::STEP_DURATION] {
        assert!(counted.names.lock().unwrap().contains(name), "{name} did not arrive");
    }
    let spans = syncline_testkit::eventually(Duration::from_secs(10), || {
        let spans = receiver.spans();
        async move {
            if spans.is_empty() {
                Err("no span yet".to_owned())
            } else {
                Ok(spans)
            }
        }
    })
    .await;
    let (service, span) = spans
        .iter()
        .find(|(_, s)| s.name == "outgoing call")
        .expect("the span was exported");
    assert!(service.contains("syncline-tested"), "{service}");
    let trace_id: String = span.trace_id.iter().map(|b| format!("{b:02x}")).collect();
    assert!(header.contains(&trace_id), "{header} carries {trace_id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_with_a_certificate_is_sent_to_over_tls() {
    syncline_runtime::entry::install_crypto();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let identity = tonic::transport::Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let receiver = Receiver::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = tonic::transport::ServerTlsConfig::new().identity(identity);
    let mut server = tonic::transport::Server::builder().tls_config(tls).unwrap();
    let server = server.add_service(TraceServiceServer::new(receiver.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    // A process of its own: the authorities are read from its environment.
    let authorities = std::env::temp_dir().join(format!("syncline-otlp-{}.pem", uuid::Uuid::new_v4().simple()));
    std::fs::write(&authorities, made.cert.pem()).unwrap();
    let sender = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_sender_of_another_test", "--ignored"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://localhost:{port}"))
        .env("SSL_CERT_FILE", &authorities)
        .output()
        .await
        .unwrap();
    std::fs::remove_file(&authorities).unwrap();
    assert!(sender.status.success(), "{}", String::from_utf8_lossy(&sender.stderr));
    assert!(receiver.spans().iter().any(|(_, span)| span.name == "over tls"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "part of the test of TLS, which starts it"]
async fn the_sender_of_another_test() {
    syncline_runtime::entry::install_crypto();
    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap();
    let exporting = telemetry::init("tested", Some(&endpoint)).unwrap();
    tracing::info_span!("over tls").in_scope(|| {});
    tokio::task::spawn_blocking(move || drop(exporting)).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_said_and_not_passed_over() {
    let error = telemetry::init("tested", Some("http://not an address")).err().unwrap().to_string();
    assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{error}");
}
