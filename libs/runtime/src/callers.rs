//! Which service may call which, by the certificate that it shows. Where there is no mTLS, the network decides alone.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use syncline_domain::ErrorCode;
use syncline_wire::status::status;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};

use crate::tls;

/// Services that answer services, and by whom they may be called.
const CALLERS: &[(&str, &[&str])] = &[
    ("syncline.sync.v1.SyncService", &["gateway", "analyzer"]),
    ("syncline.run.v1.RunService", &["gateway", "analyzer"]),
    ("syncline.run.v1.RunControlService", &["analyzer", "extractor", "masker", "loader"]),
    ("syncline.run.v1.ReopenService", &["monitor"]),
    ("syncline.connection.v1.ConnectionService", &["gateway"]),
    // Apart from ConnectionService, which changes connections.
    ("syncline.connection.v1.BreakerService", &["coordinator"]),
    // Tokens and wrapped keys.
    ("syncline.access.v1.AccessService", &["analyzer", "extractor", "masker", "loader"]),
    ("syncline.analysis.v1.AnalysisService", &["gateway"]),
    ("syncline.analysis.v1.PlanService", &["extractor", "masker", "loader"]),
    ("syncline.stage.v1.StageService", &["coordinator"]),
    ("syncline.stage.v1.RefusalService", &["coordinator"]),
    ("syncline.monitor.v1.MonitorService", &["gateway"]),
    // Sealed batches, each for the stage that has its key.
    ("syncline.monitor.v1.LetterService", &["coordinator", "masker", "loader"]),
];
/// For whoever has a certificate: they tell nothing of a run.
const OPEN: [&str; 2] = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];

fn may_call(caller: Option<&str>, path: &str) -> bool {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if OPEN.contains(&service) {
        return true;
    }
    let allowed = CALLERS
        .iter()
        .find(|(name, _)| *name == service)
        .map_or(&[][..], |(_, callers)| callers);
    caller.is_some_and(|caller| allowed.contains(&caller))
}

/// The middleware in front of a service's calls.
pub(crate) async fn admit(request: Request, next: Next) -> Response {
    let shown = request
        .extensions()
        .get::<TlsConnectInfo<TcpConnectInfo>>()
        .and_then(TlsConnectInfo::peer_certs);
    let caller = shown.as_ref().and_then(|certificates| tls::service_of(certificates.first()?));
    if may_call(caller, request.uri().path()) {
        return next.run(request).await;
    }
    let caller = caller.unwrap_or("a certificate without a service's name");
    let path: String = request.uri().path().chars().filter(|c| !c.is_control()).take(100).collect();
    tracing::warn!(caller, path, "a service called what it may not call");
    status(ErrorCode::Role, format!("{caller} may not call {path}")).into_http()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_internal_service_is_in_the_table_and_a_stranger_may_call_none() {
        let contracts = prost_types::FileDescriptorSet::decode(syncline_wire::DESCRIPTORS).unwrap();
        for file in contracts.file.iter().filter(|f| f.package().starts_with("syncline.")) {
            // The gateway answers these itself, and decides by the caller's role.
            if file.package() == "syncline.identity.v1" {
                continue;
            }
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                assert!(CALLERS.iter().any(|(known, _)| *known == name), "{name} is not in the table");
                let path = format!("/{name}/Anything");
                assert!(!may_call(None, &path) && !may_call(Some("migrate"), &path), "{name}");
            }
        }
    }

    #[test]
    fn tokens_and_keys_are_for_stages_and_connections_for_the_door() {
        assert!(may_call(Some("loader"), "/syncline.access.v1.AccessService/GetAccess"));
        for (caller, path) in [
            ("monitor", "/syncline.access.v1.AccessService/GetAccess"),
            ("gateway", "/syncline.access.v1.AccessService/GetRunKeys"),
            ("masker", "/syncline.connection.v1.ConnectionService/ApplyConnection"),
            ("loader", "/syncline.run.v1.RunService/SubmitRun"),
            ("gateway", "/syncline.unknown.v1.Unknown/Do"),
            ("gateway", "//"),
        ] {
            assert!(!may_call(Some(caller), path), "{caller} {path}");
        }
        assert!(may_call(None, "/grpc.health.v1.Health/Check"));
    }
}
