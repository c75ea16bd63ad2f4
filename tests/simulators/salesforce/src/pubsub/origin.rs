//! Which API a change came through: the header's `changeOrigin`.
//!
//! Rows are written from a dozen places that know nothing of the request behind them, so the origin belongs to the
//! thread that serves it.

use std::cell::RefCell;

use http::HeaderMap;

use crate::web::http::Call;

thread_local! {
    static ORIGIN: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Sets the thread's origin until it is dropped.
pub struct Entered(String);

impl Drop for Entered {
    fn drop(&mut self) {
        ORIGIN.replace(std::mem::take(&mut self.0));
    }
}

/// Everything this thread commits comes from `origin` until the guard is dropped.
#[must_use]
pub fn enter(origin: String) -> Entered {
    Entered(ORIGIN.replace(origin))
}

/// The thread's origin; empty for what the org does by itself.
#[must_use]
pub fn current() -> String {
    ORIGIN.with_borrow(Clone::clone)
}

/// What a REST request's changes come from.
#[must_use]
pub fn of_call(call: &Call) -> String {
    of_request("rest", &call.version, &call.headers)
}

/// `com/salesforce/api/rest/65.0;client=X` for a request to `api` in `version` (`v65.0`).
#[must_use]
pub fn of_request(api: &str, version: &str, headers: &HeaderMap) -> String {
    let mut out = format!("com/salesforce/api/{api}/{}", version.trim_start_matches('v'));
    let options = headers.get("sforce-call-options").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let client = options.split([',', ';']).find_map(|o| o.trim().strip_prefix("client="));
    if let Some(client) = client.filter(|c| !c.is_empty()) {
        out.push_str(";client=");
        out.push_str(client.trim());
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_the_call_options_is_named() {
        let mut headers = HeaderMap::new();
        assert_eq!(of_request("rest", "v65.0", &headers), "com/salesforce/api/rest/65.0");
        headers.insert("sforce-call-options", "defaultNamespace=x, client=demo/1.2".parse().unwrap());
        assert_eq!(
            of_request("bulkapi", "v60.0", &headers),
            "com/salesforce/api/bulkapi/60.0;client=demo/1.2"
        );
    }

    #[test]
    fn an_origin_ends_with_its_guard() {
        let outer = enter("outer".into());
        drop(enter("inner".into()));
        assert_eq!(current(), "outer");
        drop(outer);
        assert_eq!(current(), "");
    }
}
