//! Every metric of Syncline, in one table; what is not in it cannot be counted.
//!
//! They leave over OTLP (`OTEL_EXPORTER_OTLP_ENDPOINT`). A collector that exposes them to Prometheus names them as
//! [`Metric::prometheus`] does. Labels are bounded: stages, steps, codes of the catalogue, services, streams,
//! statuses, and names of connections. None holds anything of a record.

use std::collections::HashMap;
use std::sync::LazyLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A row of the table.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// UCUM, as OpenTelemetry asks: `s`, `By`; in braces what is counted.
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($( $constant:ident $kind:ident $name:literal $unit:literal [$($label:literal)*] $help:literal; )*) => {
        $( #[doc = $help] pub const $constant: &str = $name; )*
        /// All of them.
        pub const METRICS: &[Metric] = &[ $( Metric {
            name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help,
        }, )* ];
    };
}

metrics! {
    STAGE_RECORDS Counter "syncline.stage.records" "{record}" ["stage"] "Records that a stage has passed on; in the loader: written.";
    STAGE_SIZE Counter "syncline.stage.size" "By" ["stage"] "Sealed bytes that a stage has published.";
    STEP_DURATION Histogram "syncline.step.duration" "s" ["step"] "How long a task worked under one lease until its step was done.";
    RETRIES Counter "syncline.retries" "{task}" ["stage" "code"] "Tasks that failed with something that passes by itself, and are tried again.";
    LEASES_LOST Counter "syncline.leases.lost" "{lease}" ["stage"] "Leases that were taken by somebody else while their holder worked.";
    BUS_LOSSES Counter "syncline.bus.losses" "{object}" ["audience"] "Objects that are read again because batches were gone from the bus (raw, clean).";
    REDELIVERIES Counter "syncline.redeliveries" "{message}" ["stage"] "Batches that were delivered again.";
    DEAD_LETTERS Counter "syncline.dead_letters" "{message}" ["stage"] "Messages that were given up.";
    RECORDS_REFUSED Counter "syncline.records.refused" "{record}" ["code"] "Records that the target refused.";
    MASKED_VALUES Counter "syncline.masked.values" "{value}" ["strategy"] "Values that a masking strategy replaced.";
    CLAIMS_UNSETTLED Gauge "syncline.claims.unsettled" "{job}" [] "Jobs at targets of which it is not recorded yet what came of them.";
    QUOTA_LEFT Gauge "syncline.quota.left" "{call}" ["connection"] "Daily API calls that a system said are left.";
    BREAKER_OPEN Gauge "syncline.breaker.open" "1" ["connection"] "1: nothing is sent over a connection, because its system is away or asked for it; 0: requests go out.";
    TOKEN_REFRESHES Counter "syncline.token.refreshes" "{token}" ["outcome"] "Access tokens that were asked for: ok, or failed.";
    RUNS_ACTIVE Gauge "syncline.runs.active" "{run}" ["status"] "Runs that are not finished.";
    RUN_DURATION Histogram "syncline.run.duration" "s" ["status"] "From submit to the end of a run.";
    OUTBOX_AGE Gauge "syncline.outbox.age" "s" ["service"] "Age of the oldest message that waits to be relayed.";
    SERVICE_READY Gauge "syncline.service.ready" "1" ["service"] "1: the servers that the service needs answer; 0: not.";
    DATABASE_CONNECTIONS Gauge "syncline.database.connections" "{connection}" ["service"] "Connections to PostgreSQL that are in use.";
    BUS_MESSAGES Gauge "syncline.bus.messages" "{message}" ["stream"] "Messages that a stream holds.";
    BUS_LAG Gauge "syncline.bus.lag" "{message}" ["stage"] "Tasks and batches that a stage has before it or in its hands.";
    BUS_QUEUE_AGE Gauge "syncline.bus.queue_age" "s" ["stage"] "For how long the oldest task or batch of a stage has been there.";
    BUS_OLDEST Gauge "syncline.bus.oldest" "s" ["stream"] "Age of the oldest message of a stream.";
    PROCESS_MEMORY Gauge "syncline.process.memory" "By" ["service"] "Resident memory at its peak.";
    PROCESS_CPU Gauge "syncline.process.cpu" "s" ["service"] "CPU time of all threads since the start.";
    GATEWAY_REQUESTS Counter "syncline.gateway.requests" "{request}" ["result"] "Requests by their gRPC code, refused ones among them.";
    GATEWAY_THROTTLED Counter "syncline.gateway.throttled" "{request}" [] "Requests that were refused because their caller sent too many.";
    GATEWAY_AUTH_FAILURES Counter "syncline.gateway.auth_failures" "{request}" [] "Requests whose caller was not recognised.";
}

impl Metric {
    /// The name that the metric bears in Prometheus, by the rules of OpenTelemetry's translation.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut name = self.name.replace('.', "_");
        name.push_str(match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            "1" => "_ratio",
            _ => "",
        });
        if self.kind == Kind::Counter {
            name.push_str("_total");
        }
        name
    }
}

enum Instrument {
    Counter(Counter<u64>),
    Gauge(Gauge<f64>),
    Histogram(Histogram<f64>),
}

/// Seconds; a step takes from milliseconds to hours.
const BOUNDS: [f64; 12] = [
    0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 10_800.0, 36_000.0, 86_400.0,
];

/// Made at the first use, from the provider that [`crate::telemetry::init`] has set.
static INSTRUMENTS: LazyLock<HashMap<&'static str, Instrument>> = LazyLock::new(|| {
    let meter = opentelemetry::global::meter("syncline");
    let make = |m: &Metric| match m.kind {
        Kind::Counter => Instrument::Counter(meter.u64_counter(m.name).with_unit(m.unit).with_description(m.help).build()),
        Kind::Gauge => Instrument::Gauge(meter.f64_gauge(m.name).with_unit(m.unit).with_description(m.help).build()),
        Kind::Histogram => Instrument::Histogram(
            meter
                .f64_histogram(m.name)
                .with_unit(m.unit)
                .with_description(m.help)
                .with_boundaries(BOUNDS.to_vec())
                .build(),
        ),
    };
    METRICS.iter().map(|m| (m.name, make(m))).collect()
});

fn attributes(labels: &[(&'static str, &str)]) -> Vec<KeyValue> {
    labels
        .iter()
        .map(|(name, value)| KeyValue::new(*name, (*value).to_owned()))
        .collect()
}

fn row(name: &str, labels: &[(&'static str, &str)]) {
    debug_assert!(
        METRICS
            .iter()
            .any(|m| m.name == name && m.labels.iter().eq(labels.iter().map(|(label, _)| label))),
        "{name} is not in the table with these labels"
    );
}

/// Adds to a counter.
pub fn count(name: &'static str, n: u64, labels: &[(&'static str, &str)]) {
    row(name, labels);
    if let Some(Instrument::Counter(counter)) = INSTRUMENTS.get(name) {
        counter.add(n, &attributes(labels));
    }
}

/// Sets a gauge.
pub fn set(name: &'static str, value: f64, labels: &[(&'static str, &str)]) {
    row(name, labels);
    if let Some(Instrument::Gauge(gauge)) = INSTRUMENTS.get(name) {
        gauge.record(value, &attributes(labels));
    }
}

/// Adds a value to a histogram.
pub fn record(name: &'static str, value: f64, labels: &[(&'static str, &str)]) {
    row(name, labels);
    if let Some(Instrument::Histogram(histogram)) = INSTRUMENTS.get(name) {
        histogram.record(value, &attributes(labels));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_page_about_metrics_is_the_table() {
        let mut page = String::from(
            "# Metrics\n\nWhat every service counts, over OTLP where `OTEL_EXPORTER_OTLP_ENDPOINT` names a receiver. The table is made from\n\
             `libs/runtime/src/metrics.rs`; a test keeps it current.\n\n| OpenTelemetry | Prometheus | kind | labels | |\n|---|---|---|---|---|\n",
        );
        for m in METRICS {
            let kind = format!("{:?}", m.kind).to_lowercase();
            writeln!(
                page,
                "| `{}` | `{}` | {kind} | {} | {} |",
                m.name,
                m.prometheus(),
                m.labels.join(", "),
                m.help
            )
            .unwrap();
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        if std::env::var_os("SYNCLINE_WRITE_DOCS").is_some() {
            std::fs::write(file, &page).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            page,
            "write it anew: SYNCLINE_WRITE_DOCS=1 cargo test -p syncline-runtime"
        );
    }

    #[test]
    fn names_are_unique_in_both_worlds() {
        let names: HashSet<_> = METRICS.iter().map(|m| m.name).collect();
        let theirs: HashSet<_> = METRICS.iter().map(Metric::prometheus).collect();
        assert_eq!((names.len(), theirs.len()), (METRICS.len(), METRICS.len()));
    }
}
