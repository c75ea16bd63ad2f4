//! The one table of what can be called from outside: which service has it, which role it needs, whether it changes
//! anything. Whatever is not in the table does not exist from outside.

use std::fmt;

use syncline_domain::Role;

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

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Peer(Peer),
    /// The gateway itself.
    Here,
}

/// Whether a method changes anything: then it is recorded before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Reads,
    Changes,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    pub name: &'static str,
    /// The least role.
    pub role: Role,
    pub effect: Effect,
}

/// A public service.
#[derive(Debug)]
pub struct Service {
    pub name: &'static str,
    pub home: Home,
    /// What its `name` and `id` fields name, for the audit log.
    pub noun: &'static str,
    pub methods: &'static [Method],
}

const fn reads(name: &'static str, role: Role) -> Method {
    Method {
        name,
        role,
        effect: Effect::Reads,
    }
}

const fn changes(name: &'static str, role: Role) -> Method {
    Method {
        name,
        role,
        effect: Effect::Changes,
    }
}

use Role::{Admin, Operator, Viewer};

/// The public services. `AccessService`, `BreakerService`, `RunControlService`, `PlanService`, `LetterService` and the services of stages
/// are missing on purpose: they hand out tokens, keys and sealed records.
pub const SERVICES: &[Service] = &[
    Service {
        name: "syncline.sync.v1.SyncService",
        home: Home::Peer(Peer::Coordinator),
        noun: "sync",
        methods: &[changes("ApplySync", Operator), reads("GetSync", Viewer), reads("ListSyncs", Viewer)],
    },
    Service {
        name: "syncline.run.v1.RunService",
        home: Home::Peer(Peer::Coordinator),
        noun: "run",
        methods: &[
            changes("SubmitRun", Operator),
            reads("GetRun", Viewer),
            reads("ListRuns", Viewer),
            reads("ExplainRun", Viewer),
            changes("ApproveRun", Operator),
            changes("PauseRun", Operator),
            changes("ResumeRun", Operator),
            changes("CancelRun", Operator),
            changes("RetryFailed", Operator),
        ],
    },
    Service {
        name: "syncline.connection.v1.ConnectionService",
        home: Home::Peer(Peer::Connector),
        noun: "connection",
        methods: &[
            // Whose connection it is, the connector checks: an operator changes their own, an administrator all.
            changes("ApplyConnection", Operator),
            reads("GetConnection", Viewer),
            reads("ListConnections", Viewer),
            changes("TestConnection", Operator),
            changes("DeleteConnection", Operator),
        ],
    },
    Service {
        name: "syncline.analysis.v1.AnalysisService",
        home: Home::Peer(Peer::Analyzer),
        noun: "sync",
        methods: &[
            reads("CheckSync", Viewer),
            reads("ProposeSync", Operator),
            reads("GetPlanSummary", Viewer),
        ],
    },
    Service {
        name: "syncline.monitor.v1.MonitorService",
        home: Home::Peer(Peer::Monitor),
        noun: "run",
        methods: &[
            reads("WatchRun", Viewer),
            reads("GetReport", Viewer),
            reads("ListErrors", Viewer),
            reads("ListDeadLetters", Viewer),
            reads("GetDeadLetter", Viewer),
            changes("ReplayDeadLetters", Operator),
            changes("DiscardDeadLetters", Operator),
        ],
    },
    Service {
        name: "syncline.identity.v1.TokenService",
        home: Home::Here,
        noun: "token",
        methods: &[
            changes("CreateToken", Admin),
            reads("ListTokens", Admin),
            changes("RevokeToken", Admin),
            reads("WhoAmI", Viewer),
        ],
    },
    Service {
        name: "syncline.identity.v1.AuditService",
        home: Home::Here,
        noun: "",
        methods: &[reads("ListAuditEntries", Admin), reads("GetAuditHead", Viewer)],
    },
];

/// The health service (gRPC Health Checking Protocol), which the gateway answers itself and to anybody.
pub const HEALTH: &str = "grpc.health.v1.Health";
/// Reflection, for whoever has a token.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

/// What a path is.
#[derive(Debug, Clone, Copy)]
pub enum Route {
    /// Open to anybody.
    Health,
    /// Open to every caller that is known.
    Reflection,
    Method(&'static Service, &'static Method),
    /// Nothing public.
    Unknown,
}

/// The parts of a gRPC path `/package.Service/Method`; `None` if the path has another form.
fn parts(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

/// Finds a path in the table.
#[must_use]
pub fn route(path: &str) -> Route {
    let Some((service, method)) = parts(path) else {
        return Route::Unknown;
    };
    match service {
        HEALTH => Route::Health,
        REFLECTION => Route::Reflection,
        _ => SERVICES
            .iter()
            .find(|s| s.name == service)
            .and_then(|s| Some((s, s.methods.iter().find(|m| m.name == method)?)))
            .map_or(Route::Unknown, |(s, m)| Route::Method(s, m)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_methods_have_a_home_and_internal_ones_do_not() {
        for (path, home) in [
            ("/syncline.sync.v1.SyncService/ApplySync", Some(Home::Peer(Peer::Coordinator))),
            ("/syncline.run.v1.RunService/SubmitRun", Some(Home::Peer(Peer::Coordinator))),
            (
                "/syncline.connection.v1.ConnectionService/GetConnection",
                Some(Home::Peer(Peer::Connector)),
            ),
            ("/syncline.analysis.v1.AnalysisService/CheckSync", Some(Home::Peer(Peer::Analyzer))),
            ("/syncline.monitor.v1.MonitorService/WatchRun", Some(Home::Peer(Peer::Monitor))),
            ("/syncline.identity.v1.TokenService/CreateToken", Some(Home::Here)),
            ("/syncline.access.v1.AccessService/GetAccess", None),
            ("/syncline.connection.v1.BreakerService/ListBreakers", None),
            ("/syncline.run.v1.RunControlService/GetIntent", None),
            ("/syncline.analysis.v1.PlanService/GetPlan", None),
            ("/syncline.stage.v1.StageService/GetProgress", None),
            ("/syncline.stage.v1.RefusalService/ChooseRefusals", None),
            ("/syncline.monitor.v1.LetterService/FetchLetters", None),
            ("/syncline.run.v1.ReopenService/ReopenRun", None),
            ("/syncline.run.v1.RunServiceX/SubmitRun", None),
            ("/syncline.run.v1.RunService/SubmitRunX", None),
            ("/syncline.run.v1.RunService", None),
            ("/syncline.run.v1.RunService/", None),
            ("/syncline.run.v1.RunService/a/b", None),
            ("//SubmitRun", None),
            ("", None),
        ] {
            let found = match route(path) {
                Route::Method(service, _) => Some(service.home),
                _ => None,
            };
            assert_eq!(found, home, "{path}");
        }
    }

    #[test]
    fn only_health_is_open() {
        assert!(matches!(route("/grpc.health.v1.Health/Check"), Route::Health));
        for path in ["/grpc.health.v1.HealthX/Check", "/x/grpc.health.v1.Health/Check", "/"] {
            assert!(matches!(route(path), Route::Unknown), "{path}");
        }
    }

    #[test]
    fn whatever_changes_something_needs_more_than_a_viewer() {
        for service in SERVICES {
            for method in service.methods.iter().filter(|m| m.effect == Effect::Changes) {
                assert!(method.role > Role::Viewer, "{}", method.name);
            }
        }
    }
}
