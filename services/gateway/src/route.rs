//! Which peer serves which public service. Whatever is not in the table does not exist from outside.

use std::fmt;

/// A service behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Coordinator,
    Connector,
    Analyzer,
    Monitor,
}

impl Peer {
    pub const ALL: [Self; 4] = [Self::Coordinator, Self::Connector, Self::Analyzer, Self::Monitor];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Connector => "connector",
            Self::Analyzer => "analyzer",
            Self::Monitor => "monitor",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The public services. `AccessService`, `RunControlService`, `PlanService` and `StageService` are missing on purpose:
/// they hand out tokens and keys to stages.
pub const ROUTES: &[(&str, Peer)] = &[
    ("syncline.sync.v1.SyncService", Peer::Coordinator),
    ("syncline.run.v1.RunService", Peer::Coordinator),
    ("syncline.connection.v1.ConnectionService", Peer::Connector),
    ("syncline.analysis.v1.AnalysisService", Peer::Analyzer),
    ("syncline.monitor.v1.MonitorService", Peer::Monitor),
];

/// The health service (gRPC Health Checking Protocol), which the gateway answers itself and to anybody.
pub const HEALTH: &str = "grpc.health.v1.Health";

/// What a caller must be to use a path. Roles become variants of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Anybody,
    Authenticated,
}

/// The service part of a gRPC path `/package.Service/Method`; `None` if the path has another form.
#[must_use]
pub fn service_of(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some(service)
}

/// Where a path is served; `None` if nothing public has it.
#[must_use]
pub fn peer_of(path: &str) -> Option<Peer> {
    let service = service_of(path)?;
    ROUTES.iter().find(|(name, _)| *name == service).map(|(_, peer)| *peer)
}

/// What a path asks of its caller. Only health is open.
#[must_use]
pub fn access_of(path: &str) -> Access {
    match service_of(path) {
        Some(HEALTH) => Access::Anybody,
        _ => Access::Authenticated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_services_have_a_peer_and_internal_ones_do_not() {
        for (path, peer) in [
            ("/syncline.sync.v1.SyncService/ApplySync", Some(Peer::Coordinator)),
            ("/syncline.run.v1.RunService/SubmitRun", Some(Peer::Coordinator)),
            ("/syncline.connection.v1.ConnectionService/GetConnection", Some(Peer::Connector)),
            ("/syncline.analysis.v1.AnalysisService/CheckSync", Some(Peer::Analyzer)),
            ("/syncline.monitor.v1.MonitorService/WatchRun", Some(Peer::Monitor)),
            ("/syncline.access.v1.AccessService/GetAccess", None),
            ("/syncline.run.v1.RunControlService/GetIntent", None),
            ("/syncline.analysis.v1.PlanService/GetPlan", None),
            ("/syncline.stage.v1.StageService/GetProgress", None),
            ("/syncline.run.v1.RunServiceX/SubmitRun", None),
            ("/syncline.run.v1.RunService", None),
            ("/syncline.run.v1.RunService/", None),
            ("/syncline.run.v1.RunService/a/b", None),
            ("//SubmitRun", None),
            ("", None),
        ] {
            assert_eq!(peer_of(path), peer, "{path}");
        }
    }

    #[test]
    fn only_health_is_open() {
        assert_eq!(access_of("/grpc.health.v1.Health/Check"), Access::Anybody);
        for path in [
            "/grpc.health.v1.HealthX/Check",
            "/x/grpc.health.v1.Health/Check",
            "/syncline.run.v1.RunService/GetRun",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/",
        ] {
            assert_eq!(access_of(path), Access::Authenticated, "{path}");
        }
    }
}
