//! SOAP, as far as clients still need it: signing in and out, who am I, what time is it.
//!
//! Served for the partner (`/services/Soap/u/…`) and enterprise (`/services/Soap/c/…`) WSDL.

mod envelope;
mod login;

use axum::response::Response;
use http::Method;

use crate::soap::envelope::{Fault, Request, Wsdl};
use crate::web::http::Call;
use crate::web::reply::raw_reply;
use crate::web::target::VERSIONS;

/// Answers a SOAP call; errors are faults with HTTP 500.
pub fn handle(call: &Call) -> Response {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let (wsdl, version) = match segments.as_slice() {
        ["services", "Soap", "u", version, ..] => (Wsdl::Partner, *version),
        ["services", "Soap", "c", version, ..] => (Wsdl::Enterprise, *version),
        _ => return raw_reply(404, "text/html;charset=UTF-8", "<html><body>URL No Longer Exists</body></html>"),
    };
    if call.method != Method::POST {
        return raw_reply(
            405,
            "text/html;charset=UTF-8",
            "<html><body>HTTP method not allowed; supported: POST</body></html>",
        );
    }
    match answer(call, version) {
        Ok(body) => raw_reply(200, "text/xml;charset=UTF-8", wsdl.envelope(&body)),
        Err(fault) => raw_reply(500, "text/xml;charset=UTF-8", wsdl.fault(&fault)),
    }
}

fn answer(call: &Call, version: &str) -> Result<String, Fault> {
    let number = version
        .split_once('.')
        .filter(|(_, minor)| *minor == "0")
        .and_then(|(major, _)| major.parse::<u32>().ok())
        .filter(|n| VERSIONS.contains(n))
        .ok_or_else(|| {
            Fault::unexpected(
                "UNSUPPORTED_API_VERSION",
                format!("Invalid Api version specified on URL: {version}"),
            )
        })?;
    let request = Request::read(&call.body)?;
    match request.operation.name.as_str() {
        "login" => login::login(call, &request.operation, number),
        "logout" => login::logout(call, &request),
        "getUserInfo" => login::user_info(call, &request),
        "getServerTimestamp" => login::timestamp(call, &request),
        other => Err(Fault::client(format!("No operation available for request {other}"))),
    }
}
