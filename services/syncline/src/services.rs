//! Every service of an installation: what it is called, how it is run, what its schema is.

use std::pin::Pin;

use sqlx::migrate::Migrator;
use syncline_runtime::Config;
use tokio_util::sync::CancellationToken;

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

pub struct Service {
    pub name: &'static str,
    pub start: fn(Config, CancellationToken) -> Running,
    pub migrations: &'static Migrator,
}

/// In the order in which `dev` starts them.
pub const SERVICES: &[Service] = &[
    Service {
        name: "connector",
        start: |c, s| Box::pin(syncline_connector::run(c, s)),
        migrations: &syncline_connector::MIGRATIONS,
    },
    Service {
        name: "analyzer",
        start: |c, s| Box::pin(syncline_analyzer::run(c, s)),
        migrations: &syncline_analyzer::MIGRATIONS,
    },
    Service {
        name: "coordinator",
        start: |c, s| Box::pin(syncline_coordinator::run(c, s)),
        migrations: &syncline_coordinator::MIGRATIONS,
    },
    Service {
        name: "extractor",
        start: |c, s| Box::pin(syncline_extractor::run(c, s)),
        migrations: &syncline_extractor::MIGRATIONS,
    },
    Service {
        name: "masker",
        start: |c, s| Box::pin(syncline_masker::run(c, s)),
        migrations: &syncline_masker::MIGRATIONS,
    },
    Service {
        name: "loader",
        start: |c, s| Box::pin(syncline_loader::run(c, s)),
        migrations: &syncline_loader::MIGRATIONS,
    },
    Service {
        name: "monitor",
        start: |c, s| Box::pin(syncline_monitor::run(c, s)),
        migrations: &syncline_monitor::MIGRATIONS,
    },
    Service {
        name: "gateway",
        start: |c, s| Box::pin(syncline_gateway::run(c, s)),
        migrations: &syncline_gateway::MIGRATIONS,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_of_the_installation_is_here() {
        let mut here: Vec<&str> = SERVICES.iter().map(|s| s.name).collect();
        let mut all: Vec<&str> = syncline_runtime::config::PORTS.iter().map(|(name, _)| *name).collect();
        here.sort_unstable();
        all.sort_unstable();
        assert_eq!(here, all);
    }
}
