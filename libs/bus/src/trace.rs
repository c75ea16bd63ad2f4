//! W3C trace context in message headers.

use async_nats::HeaderMap;
use opentelemetry::propagation::{Extractor, Injector};
use tracing_opentelemetry::OpenTelemetrySpanExt;

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key, value.as_str());
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
    let context = tracing::Span::current().context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut Headers(headers)));
}

/// Makes a span the child of the context that a message carries.
pub(crate) fn adopt(span: &tracing::Span, headers: Option<&HeaderMap>) {
    if let Some(headers) = headers {
        let context = opentelemetry::global::get_text_map_propagator(|p| p.extract(&HeadersRef(headers)));
        // Fails only when the span is disabled by the filter.
        let _ = span.set_parent(context);
    }
}
