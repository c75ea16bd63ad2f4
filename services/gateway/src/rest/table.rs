//! Which path is which method.

use http::Method;
use prost_reflect::MethodDescriptor;

use super::Refused;
use crate::request::POOL;

/// What a request's body becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// The method's message in JSON; fields that stand in the path are taken from there.
    Message,
    /// The same, or a YAML document that becomes the field `yaml`.
    Document,
}

/// A row of the table.
#[derive(Debug)]
pub struct Endpoint {
    pub verb: Method,
    /// `{name}` is a field of the request.
    pub path: &'static str,
    pub service: &'static str,
    pub method: &'static str,
    pub body: Body,
    /// The answers of a stream, as server-sent events.
    pub stream: bool,
}

macro_rules! endpoints {
    ($( $verb:ident $path:literal => $service:literal $method:literal $body:ident $stream:literal; )*) => {
        &[ $( Endpoint {
            verb: Method::$verb, path: $path, service: $service, method: $method, body: Body::$body, stream: $stream,
        }, )* ]
    };
}

/// Every path. Fields that stand neither in the path nor in the body are query parameters.
pub const ENDPOINTS: &[Endpoint] = endpoints! {
    POST "/v1/runs" => "syncline.run.v1.RunService" "SubmitRun" Message false;
    GET "/v1/runs" => "syncline.run.v1.RunService" "ListRuns" None false;
    GET "/v1/runs/{id}" => "syncline.run.v1.RunService" "GetRun" None false;
    GET "/v1/runs/{id}:explain" => "syncline.run.v1.RunService" "ExplainRun" None false;
    POST "/v1/runs/{id}:approve" => "syncline.run.v1.RunService" "ApproveRun" None false;
    POST "/v1/runs/{id}:pause" => "syncline.run.v1.RunService" "PauseRun" None false;
    POST "/v1/runs/{id}:resume" => "syncline.run.v1.RunService" "ResumeRun" None false;
    POST "/v1/runs/{id}:cancel" => "syncline.run.v1.RunService" "CancelRun" None false;
    POST "/v1/runs/{id}:retry-failed" => "syncline.run.v1.RunService" "RetryFailed" Message false;
    GET "/v1/runs/{run}:watch" => "syncline.monitor.v1.MonitorService" "WatchRun" None true;
    GET "/v1/runs/{run}/report" => "syncline.monitor.v1.MonitorService" "GetReport" None false;
    GET "/v1/runs/{run}/errors" => "syncline.monitor.v1.MonitorService" "ListErrors" None false;
    GET "/v1/runs/{run}/plan" => "syncline.analysis.v1.AnalysisService" "GetPlanSummary" None false;
    GET "/v1/dead-letters" => "syncline.monitor.v1.MonitorService" "ListDeadLetters" None false;
    GET "/v1/dead-letters/{id}" => "syncline.monitor.v1.MonitorService" "GetDeadLetter" None false;
    POST "/v1/dead-letters:replay" => "syncline.monitor.v1.MonitorService" "ReplayDeadLetters" Message false;
    POST "/v1/dead-letters:discard" => "syncline.monitor.v1.MonitorService" "DiscardDeadLetters" Message false;
    PUT "/v1/syncs" => "syncline.sync.v1.SyncService" "ApplySync" Document false;
    GET "/v1/syncs" => "syncline.sync.v1.SyncService" "ListSyncs" None false;
    GET "/v1/syncs/{name}" => "syncline.sync.v1.SyncService" "GetSync" None false;
    POST "/v1/syncs:propose" => "syncline.analysis.v1.AnalysisService" "ProposeSync" Message false;
    POST "/v1/syncs/{sync}:check" => "syncline.analysis.v1.AnalysisService" "CheckSync" None false;
    GET "/v1/connections" => "syncline.connection.v1.ConnectionService" "ListConnections" None false;
    GET "/v1/connections/{name}" => "syncline.connection.v1.ConnectionService" "GetConnection" None false;
    POST "/v1/connections/{name}:test" => "syncline.connection.v1.ConnectionService" "TestConnection" None false;
    GET "/v1/whoami" => "syncline.identity.v1.TokenService" "WhoAmI" None false;
    GET "/v1/audit" => "syncline.identity.v1.AuditService" "ListAuditEntries" None false;
};

impl Endpoint {
    /// The method's descriptor.
    ///
    /// # Panics
    /// Never: a test looks every row up.
    #[must_use]
    pub fn descriptor(&self) -> MethodDescriptor {
        POOL.get_service_by_name(self.service)
            .and_then(|s| s.methods().find(|m| m.name() == self.method))
            .expect("the table names methods of the contracts")
    }

    /// The parameters that a path gives, if it is this row's.
    fn matches(&self, path: &str) -> Option<Parameters> {
        let mut parameters = Vec::new();
        let mut given = path.split('/');
        for wanted in self.path.split('/') {
            let given = given.next()?;
            let Some((name, verb)) = wanted.strip_prefix('{').and_then(|w| w.split_once('}')) else {
                if given != wanted {
                    return None;
                }
                continue;
            };
            let value = given.strip_suffix(verb)?;
            // What has a verb of its own is another row's.
            if value.is_empty() || value.contains(':') {
                return None;
            }
            parameters.push((name, decoded(value)?));
        }
        given.next().is_none().then_some(parameters)
    }
}

/// Percent-decoding (RFC 3986, section 2.1); nothing that decodes to a control character or is not UTF-8 is a name.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte == b'%' {
            let (hex, behind) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(*byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(|c| c.is_control() || c == '/')).then_some(text)
}

/// Fields of a request by name, as the path gives them.
pub type Parameters = Vec<(&'static str, String)>;

/// The row of a path, and what the path gives.
///
/// # Errors
/// [`Refused::Path`] or [`Refused::Method`].
pub fn find(verb: &Method, path: &str) -> Result<(&'static Endpoint, Parameters), Refused> {
    let mut allowed = Vec::new();
    for endpoint in ENDPOINTS {
        let Some(parameters) = endpoint.matches(path) else { continue };
        if endpoint.verb == *verb {
            return Ok((endpoint, parameters));
        }
        allowed.push(endpoint.verb.clone());
    }
    Err(if allowed.is_empty() {
        Refused::Path
    } else {
        Refused::Method(allowed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Route, route};

    #[test]
    fn every_row_is_a_public_method_and_its_parameters_are_fields() {
        for endpoint in ENDPOINTS {
            let path = format!("/{}/{}", endpoint.service, endpoint.method);
            assert!(matches!(route(&path), Route::Method(..)), "{path} is not public");
            let descriptor = endpoint.descriptor();
            for part in endpoint.path.split('{').skip(1) {
                let (name, _) = part.split_once('}').expect("the brace ends");
                assert!(descriptor.input().get_field_by_name(name).is_some(), "{path} has no field {name}");
            }
            assert_eq!(descriptor.is_server_streaming(), endpoint.stream, "{path}");
        }
    }

    #[test]
    fn paths_lead_to_rows_or_nowhere() {
        for (verb, path, found) in [
            (Method::GET, "/v1/runs", Some(("ListRuns", None))),
            (Method::POST, "/v1/runs", Some(("SubmitRun", None))),
            (Method::GET, "/v1/runs/r-1", Some(("GetRun", Some("r-1")))),
            (Method::GET, "/v1/runs/r%2D1", Some(("GetRun", Some("r-1")))),
            (Method::POST, "/v1/runs/r-1:cancel", Some(("CancelRun", Some("r-1")))),
            (Method::GET, "/v1/runs/r-1:watch", Some(("WatchRun", Some("r-1")))),
            (Method::GET, "/v1/runs/r-1/report", Some(("GetReport", Some("r-1")))),
            (Method::GET, "/v1/runs/", None),
            (Method::GET, "/v1/runs/r-1/", None),
            (Method::GET, "/v1/runs/r-1/report/x", None),
            (Method::GET, "/v1/runs/a%2Fb", None),
            (Method::GET, "/v1/runs/a%0d%0ab", None),
            (Method::GET, "/v1/runs/%ff", None),
            (Method::GET, "/v1/runs/%2", None),
            (Method::GET, "/v1/runs/../syncs", None),
            (Method::POST, "/v1/runs/r-1:explode", None),
            (Method::GET, "/v2/runs", None),
        ] {
            let row = find(&verb, path).ok();
            let row = row.map(|(e, parameters)| (e.method, parameters.first().map(|(_, v)| v.clone())));
            assert_eq!(row, found.map(|(m, p)| (m, p.map(str::to_owned))), "{verb} {path}");
        }
        assert!(matches!(find(&Method::DELETE, "/v1/runs"), Err(Refused::Method(m)) if m.len() == 2));
    }
}
