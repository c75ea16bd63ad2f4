//! Every service as a process of its own, one refresh, and an OTLP receiver of this test's own: what an SRE gets to see.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod apart;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apart::{Apart, SERVICES, SOON};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{MetricsService, MetricsServiceServer};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::trace::v1::Span;
use syncline_e2e::{SimulatedOrg, sync};
use syncline_testkit::eventually;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const RUN_WAIT: Duration = Duration::from_secs(180);
const RECORDS: u64 = 600;

#[derive(Clone, Default)]
struct Receiver {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(&self, request: Request<ExportMetricsServiceRequest>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(&self, request: Request<ExportLogsServiceRequest>) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

fn string(value: Option<&AnyValue>) -> String {
    match value.and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    string(attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_ref()))
}

struct Found {
    service: String,
    span: Span,
}

impl Receiver {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .add_service(LogsServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        endpoint
    }

    fn spans(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for resource in self.traces.lock().unwrap().iter().flat_map(|r| &r.resource_spans) {
            let service = attribute(&resource.resource.as_ref().unwrap().attributes, "service.name");
            let spans = resource.scope_spans.iter().flat_map(|s| &s.spans);
            found.extend(spans.map(|span| Found {
                service: service.clone(),
                span: span.clone(),
            }));
        }
        found
    }

    /// The newest value of every series, by metric and labels.
    fn values(&self) -> BTreeMap<(String, String), f64> {
        let mut values = BTreeMap::new();
        let requests = self.metrics.lock().unwrap();
        let scopes = requests.iter().flat_map(|r| &r.resource_metrics).flat_map(|r| &r.scope_metrics);
        for metric in scopes.flat_map(|s| &s.metrics) {
            let label = |attributes: &[KeyValue]| {
                let labels = attributes.iter().map(|a| format!("{}={}", a.key, string(a.value.as_ref())));
                labels.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
            };
            let points: Vec<(String, f64)> = match metric.data.as_ref().unwrap() {
                Data::Sum(sum) => sum.data_points.iter().map(|p| (label(&p.attributes), number(p.value))).collect(),
                Data::Gauge(gauge) => gauge.data_points.iter().map(|p| (label(&p.attributes), number(p.value))).collect(),
                #[allow(clippy::cast_precision_loss)]
                Data::Histogram(histogram) => {
                    let points = histogram.data_points.iter();
                    points.map(|p| (label(&p.attributes), p.count as f64)).collect()
                }
                other => panic!("nobody asked for {other:?}"),
            };
            values.extend(points.into_iter().map(|(labels, value)| ((metric.name.clone(), labels), value)));
        }
        values
    }
}

#[allow(clippy::cast_precision_loss)]
fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    }
}

/// What one refresh left at the receiver, after every service has been asked to leave and has left well.
struct Story {
    run: String,
    receiver: Receiver,
    /// E-mail addresses and phone numbers of the source, which nobody may see.
    originals: Vec<String>,
}

async fn story() -> Story {
    let receiver = Receiver::default();
    let endpoint = receiver.start().await;
    let apart = Apart::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_METRIC_EXPORT_INTERVAL", "2000")]).await;
    let source = SimulatedOrg::start(SimulatedOrg::production(RECORDS));
    let target = SimulatedOrg::start(SimulatedOrg::sandbox());
    for (name, org) in [("production", &source), ("uat", &target)] {
        apart.connect(name, org).await;
    }
    let door = &apart.door;
    door.apply(&sync::refresh()).await.unwrap();
    let run = door.submit("refresh", "").await.unwrap().id;
    door.reach(&run, &["completed"], RUN_WAIT).await;
    door.report(&run).await;
    let mut originals = Vec::new();
    for contact in source.query("SELECT Email, Phone FROM Contact").await {
        originals.extend(["Email", "Phone"].iter().filter_map(|f| contact[f].as_str().map(str::to_owned)));
    }
    // The books close a moment after the end, the coordinator measures the bus every ten seconds, metrics are sent every two.
    eventually(SOON, || {
        let values = receiver.values();
        let measured = ["syncline.bus.lag", "syncline.run.duration"].map(|name| values.keys().any(|(found, _)| found == name));
        let closed = receiver.spans().iter().any(|f| f.span.name == "report");
        async move {
            match (measured, closed) {
                ([true, true], true) => Ok(()),
                missing => Err(format!("bus and run measured, books closed: {missing:?}")),
            }
        }
    })
    .await;
    apart.stop().await;
    Story { run, receiver, originals }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_one_trace_with_tasks_linked_metrics_moved_and_no_value_told() {
    let story = story().await;
    let spans = story.receiver.spans();
    control_flow(&story.run, &spans);
    no_orphans(&spans);
    tasks_and_batches(&spans);
    metrics_moved(&story.receiver.values());
    logs_find_the_run(&story);
    let told = format!(
        "{:?}{:?}{:?}",
        story.receiver.traces.lock().unwrap(),
        story.receiver.metrics.lock().unwrap(),
        story.receiver.logs.lock().unwrap()
    );
    assert!(story.originals.len() > 100);
    let leaks = story.originals.iter().filter(|o| told.contains(o.as_str())).count();
    assert_eq!(leaks, 0, "values of records are in the telemetry");
}

fn trace_of_submit(spans: &[Found]) -> Vec<u8> {
    let submit: Vec<_> = spans
        .iter()
        .filter(|f| f.span.name == "request" && attribute(&f.span.attributes, "method").ends_with("/SubmitRun"))
        .collect();
    assert_eq!(submit.len(), 1);
    submit[0].span.trace_id.clone()
}

/// From submit to report, across gRPC and NATS, through everybody who has a part in a run's control flow.
fn control_flow(run: &str, spans: &[Found]) {
    let trace = trace_of_submit(spans);
    let control: Vec<&Found> = spans.iter().filter(|f| f.span.trace_id == trace).collect();
    let seen: BTreeSet<(&str, &str)> = control.iter().map(|f| (f.service.as_str(), f.span.name.as_str())).collect();
    for part in [
        ("syncline-gateway", "request"),
        ("syncline-coordinator", "rpc"),
        ("syncline-coordinator", "control"),
        ("syncline-analyzer", "task"),
        ("syncline-extractor", "task"),
        ("syncline-masker", "task"),
        ("syncline-loader", "task"),
        ("syncline-monitor", "event"),
        ("syncline-monitor", "report"),
    ] {
        assert!(seen.contains(&part), "{part:?} is not in the run's trace: {seen:?}");
    }
    for f in control
        .iter()
        .filter(|f| matches!(f.span.name.as_str(), "control" | "task" | "event" | "report"))
    {
        assert_eq!(attribute(&f.span.attributes, "run"), run, "{} {}", f.service, f.span.name);
    }
    let events: BTreeSet<String> = control
        .iter()
        .filter(|f| f.span.name == "control")
        .map(|f| attribute(&f.span.attributes, "event"))
        .collect();
    assert!(events.contains("plan_built") && events.contains("step_done"), "{events:?}");
    // The connector works for tasks, in their traces.
    let services: BTreeSet<&str> = spans.iter().map(|f| f.service.as_str()).collect();
    assert_eq!(services.len(), SERVICES.len(), "{services:?}");
}

fn no_orphans(spans: &[Found]) {
    let known: HashSet<&[u8]> = spans.iter().map(|f| f.span.span_id.as_slice()).collect();
    let orphans: Vec<String> = spans
        .iter()
        .filter(|f| !f.span.parent_span_id.is_empty() && !known.contains(f.span.parent_span_id.as_slice()))
        .map(|f| format!("{} {} {:?}", f.service, f.span.name, f.span.attributes))
        .collect();
    assert!(orphans.is_empty(), "{} of {} spans: {orphans:#?}", orphans.len(), spans.len());
}

/// Each task is a trace of its own that links to the run's; a batch that is traced is one from extractor to loader.
fn tasks_and_batches(spans: &[Found]) {
    let control = trace_of_submit(spans);
    let tasks: Vec<&Found> = spans.iter().filter(|f| f.span.name == "work").collect();
    let stages: BTreeSet<&str> = tasks.iter().map(|f| f.service.as_str()).collect();
    assert_eq!(
        stages.into_iter().collect::<Vec<_>>(),
        ["syncline-analyzer", "syncline-extractor", "syncline-loader", "syncline-masker"]
    );
    for task in &tasks {
        assert!(task.span.parent_span_id.is_empty() && task.span.trace_id != control);
        assert!(
            task.span.links.iter().any(|link| link.trace_id == control),
            "a task does not link to its run: {:?}",
            task.span.attributes
        );
    }
    let mut batches: HashMap<String, BTreeSet<&str>> = HashMap::new();
    let task_traces: HashSet<&[u8]> = tasks.iter().map(|f| f.span.trace_id.as_slice()).collect();
    for f in spans.iter().filter(|f| f.span.name == "batch") {
        assert!(
            task_traces.contains(f.span.trace_id.as_slice()),
            "a batch belongs to the extractor's task"
        );
        batches
            .entry(attribute(&f.span.attributes, "batch"))
            .or_default()
            .insert(&f.service);
    }
    let all = BTreeSet::from(["syncline-loader", "syncline-masker"]);
    assert!(batches.values().any(|services| *services == all), "{batches:?}");
}

fn metrics_moved(values: &BTreeMap<(String, String), f64>) {
    let sum = |name: &str, part: &str| -> f64 {
        let series = values.iter().filter(|((n, labels), _)| n == name && labels.contains(part));
        series.map(|(_, value)| value).sum()
    };
    for (name, label) in [
        ("syncline.stage.records", "stage=extractor"),
        ("syncline.stage.records", "stage=masker"),
        ("syncline.stage.records", "stage=loader"),
        ("syncline.stage.size", "stage=extractor"),
        ("syncline.stage.size", "stage=masker"),
        ("syncline.masked.values", "strategy="),
        ("syncline.step.duration", "step=load_pass_1"),
        ("syncline.run.duration", "status=completed"),
        ("syncline.token.refreshes", "outcome=ok"),
        ("syncline.quota.left", "connection=production"),
        ("syncline.gateway.requests", "result=OK"),
        ("syncline.process.memory", "service="),
        ("syncline.process.cpu", "service="),
        ("syncline.database.connections", "service="),
    ] {
        assert!(sum(name, label) > 0.0, "{name} {{{label}}} did not move: {values:#?}");
    }
    for service in SERVICES {
        let ready = ("syncline.service.ready".to_owned(), format!("service={service}"));
        assert_eq!(values.get(&ready), Some(&1.0), "{service}");
    }
    for name in [
        "syncline.bus.lag",
        "syncline.bus.queue_age",
        "syncline.outbox.age",
        "syncline.bus.messages",
    ] {
        assert!(values.keys().any(|(n, _)| n == name), "{name} is not told");
    }
}

/// What a service logs while it works for a run carries the run's trace or a task's.
fn logs_find_the_run(story: &Story) {
    let requests = story.receiver.logs.lock().unwrap();
    let mut services = BTreeSet::new();
    let mut traced = 0;
    let mut of_the_run = 0;
    for resource in requests.iter().flat_map(|r| &r.resource_logs) {
        services.insert(attribute(&resource.resource.as_ref().unwrap().attributes, "service.name"));
        for record in resource.scope_logs.iter().flat_map(|s| &s.log_records) {
            traced += usize::from(!record.trace_id.is_empty());
            of_the_run += usize::from(attribute(&record.attributes, "run") == story.run);
        }
    }
    assert_eq!(services.len(), SERVICES.len(), "{services:?}");
    assert!(traced > 0, "no log line carries a trace");
    assert!(of_the_run > 0, "no log line names the run");
}
