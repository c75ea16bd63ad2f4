//! W3C trace context, in message headers and as text.
//!
//! Control messages (invitations, events, dead letters) always carry it. Of batches one in [`BATCHES_PER_TRACE`] does, and
//! whoever handles a batch that carries none opens no span for it: a run of a million records is not a million spans.

use std::collections::HashMap;

use async_nats::HeaderMap;
use opentelemetry::propagation::{Extractor, Injector};
use syncline_domain::BatchName;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The first batch of every partition, and each that follows it by as many.
pub const BATCHES_PER_TRACE: u32 = 64;
const PARENT: &str = "traceparent";

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty `tracestate` says nothing.
        if !value.is_empty() {
            self.0.insert(key, value.as_str());
        }
    }
}

struct HeadersRef<'a>(&'a HeaderMap);

impl Extractor for HeadersRef<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(async_nats::HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// Writes the current span's context.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut Headers(headers)));
}

/// Writes a context that was kept as text.
pub(crate) fn inject_text(headers: &mut HeaderMap, parent: &str) {
    headers.insert(PARENT, parent);
}

/// Makes a span the child of the context that a message carries.
pub(crate) fn adopt(span: &Span, headers: Option<&HeaderMap>) {
    if let Some(headers) = headers {
        let context = opentelemetry::global::get_text_map_propagator(|p| p.extract(&HeadersRef(headers)));
        // Fails only when the span is disabled by the filter.
        let _ = span.set_parent(context);
    }
}

pub(crate) fn is_carried(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|h| h.get(PARENT).is_some())
}

/// Whether a batch is one of those that are traced.
pub(crate) fn is_sampled(name: &BatchName) -> bool {
    name.seq.is_multiple_of(BATCHES_PER_TRACE)
}

/// The current span's context as the text of a `traceparent` header; none when nothing is traced.
#[must_use]
pub fn current() -> Option<String> {
    let mut carrier = HashMap::new();
    let context = Span::current().context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut carrier));
    carrier.remove(PARENT)
}

/// Makes a span the child of a context that was kept as text. What is not one changes nothing.
pub fn go_on(span: &Span, parent: Option<&str>) {
    let Some(parent) = parent else { return };
    let carrier = HashMap::from([(PARENT.to_owned(), parent.to_owned())]);
    let context = opentelemetry::global::get_text_map_propagator(|p| p.extract(&carrier));
    // Fails only when the span is disabled by the filter.
    let _ = span.set_parent(context);
}
