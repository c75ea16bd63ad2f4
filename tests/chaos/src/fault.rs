//! What is done to a running installation: every named point, every listed fault. A fault is chosen as data, so that the same
//! seed chooses the same ones; what it does is in [`crate::strike`].

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use syncline_runtime::config::PORTS;
use syncline_runtime::failpoint::{POINTS, Point};

use crate::installation::WORKERS;

/// Which org.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

/// A way between two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Nats,
    Database,
    /// From everybody who calls it.
    Callers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Connections break; new ones are served.
    Cut,
    /// Connections hang.
    Held,
    /// Connections break and no new one is let in.
    Refused,
    /// Every packet takes longer.
    Delayed,
}

/// What an org does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrgFault {
    Network(Trouble),
    Unavailable503,
    TooMany429,
    /// Requests are executed and their answers lost.
    AnswersLost,
    CreateAnswerLost,
    CloseAnswerLost,
    UploadCut,
    /// A job fails after part of it is committed.
    JobFails,
    RowLocks,
    /// A job stays in progress for as long as it is asked a number of times.
    JobStuck,
    TokensRevoked,
    /// Results of query jobs and locators of queries are gone.
    ResultsExpired,
    /// A query job is gone between two of its pages.
    JobVanishes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Undisturbed,
    KilledAt(&'static Point, &'static str),
    StoppedAt(&'static Point, &'static str),
    Killed(&'static str),
    /// While jobs of the target take long.
    KilledBesideSlowJobs(&'static str),
    AllKilled,
    /// Two processes of each, each of which leaves in order and comes back before the next one.
    AllRestarted,
    Paused(&'static str),
    NatsKilled,
    BatchConsumerDeleted,
    TaskConsumerDeleted,
    PostgresKilled,
    PostgresTerminated,
    Org(Side, OrgFault),
    Network(&'static str, Link, Trouble),
}

impl Fault {
    /// Every named point, in every service that passes it.
    pub fn points() -> Vec<Self> {
        let passed = |point: &'static Point| point.services.iter().map(move |service| Self::KilledAt(point, service));
        POINTS.iter().flat_map(|point| passed(point)).collect()
    }

    /// Points at which work hangs until another replica has taken it, and then goes on.
    pub fn hangs() -> Vec<Self> {
        let hanging = |name: &str| POINTS.iter().find(|point| point.name == name);
        [
            ("extractor.batch_recorded", "extractor"),
            ("extractor.batch_published", "extractor"),
            ("masker.clean_published", "masker"),
            ("loader.intent_stored", "loader"),
            ("loader.job_created", "loader"),
            ("loader.uploaded", "loader"),
            ("loader.closing_stored", "loader"),
            ("loader.job_closed", "loader"),
            ("loader.results_read", "loader"),
        ]
        .into_iter()
        .filter_map(|(name, service)| Some(Self::StoppedAt(hanging(name)?, service)))
        .collect()
    }

    /// Everything else on the list.
    pub fn others() -> Vec<Self> {
        use OrgFault::*;
        let mut all = vec![
            Self::AllKilled,
            Self::AllRestarted,
            Self::KilledBesideSlowJobs("loader"),
            Self::NatsKilled,
            Self::BatchConsumerDeleted,
            Self::TaskConsumerDeleted,
            Self::PostgresKilled,
            Self::PostgresTerminated,
        ];
        all.extend(PORTS.iter().map(|(name, _)| Self::Killed(name)));
        all.extend(PORTS.iter().map(|(name, _)| Self::Paused(name)));
        for side in [Side::Source, Side::Target] {
            let both = [
                Network(Trouble::Refused),
                Network(Trouble::Held),
                Network(Trouble::Cut),
                Unavailable503,
                TooMany429,
                AnswersLost,
                TokensRevoked,
            ];
            all.extend(both.map(|fault| Self::Org(side, fault)));
        }
        all.extend([ResultsExpired, JobVanishes, JobFails, JobStuck].map(|fault| Self::Org(Side::Source, fault)));
        let writing = [CreateAnswerLost, CloseAnswerLost, UploadCut, JobFails, RowLocks, JobStuck];
        all.extend(writing.map(|fault| Self::Org(Side::Target, fault)));
        for service in WORKERS.into_iter().chain(["coordinator"]) {
            for link in [Link::Nats, Link::Database] {
                let troubles = [Trouble::Cut, Trouble::Held, Trouble::Refused, Trouble::Delayed];
                all.extend(troubles.map(|trouble| Self::Network(service, link, trouble)));
            }
        }
        for service in ["coordinator", "connector", "analyzer", "extractor", "masker", "loader"] {
            all.extend([Trouble::Cut, Trouble::Held].map(|trouble| Self::Network(service, Link::Callers, trouble)));
        }
        all
    }

    /// What is done, as the matrix calls it.
    pub fn name(self) -> String {
        match self {
            Self::Undisturbed => "nothing".to_owned(),
            Self::KilledAt(..) => "kill -9 at a point".to_owned(),
            Self::StoppedAt(..) => "hangs at a point beyond its lease, then goes on beside its follower".to_owned(),
            Self::Killed(_) => "kill -9 at a random moment".to_owned(),
            Self::KilledBesideSlowJobs(_) => "kill -9 while jobs are under way".to_owned(),
            Self::AllKilled => "kill -9 of every service at once".to_owned(),
            Self::AllRestarted => "rolling restart of two processes of every service".to_owned(),
            Self::Paused(_) => "SIGSTOP for longer than the lease, SIGCONT".to_owned(),
            Self::NatsKilled => "NATS killed and restarted".to_owned(),
            Self::BatchConsumerDeleted => "a consumer of batches deleted".to_owned(),
            Self::TaskConsumerDeleted => "a consumer of invitations deleted".to_owned(),
            Self::PostgresKilled => "PostgreSQL stopped at once and restarted".to_owned(),
            Self::PostgresTerminated => "every connection to PostgreSQL terminated".to_owned(),
            Self::Org(_, fault) => fault.name().to_owned(),
            Self::Network(_, _, trouble) => trouble.name().to_owned(),
        }
    }

    /// Where it is done.
    pub fn point(self) -> String {
        match self {
            Self::Undisturbed | Self::AllKilled | Self::AllRestarted => "-".to_owned(),
            Self::KilledAt(point, service) | Self::StoppedAt(point, service) if point.services.len() > 1 => {
                format!("{} ({service})", point.name)
            }
            Self::KilledAt(point, _) | Self::StoppedAt(point, _) => point.name.to_owned(),
            Self::Killed(service) | Self::KilledBesideSlowJobs(service) | Self::Paused(service) => service.to_owned(),
            Self::NatsKilled | Self::BatchConsumerDeleted | Self::TaskConsumerDeleted => "NATS".to_owned(),
            Self::PostgresKilled | Self::PostgresTerminated => "PostgreSQL".to_owned(),
            Self::Org(Side::Source, _) => "source".to_owned(),
            Self::Org(Side::Target, _) => "target".to_owned(),
            Self::Network(service, Link::Nats, _) => format!("{service} - NATS"),
            Self::Network(service, Link::Database, _) => format!("{service} - PostgreSQL"),
            Self::Network(service, Link::Callers, _) => format!("callers - {service}"),
        }
    }

    /// Its row of the matrix.
    pub fn cell(self) -> String {
        format!("{} @ {}", self.name(), self.point())
    }

    /// The service whose process it strikes, if it is one.
    pub fn service(self) -> Option<&'static str> {
        match self {
            Self::KilledAt(_, service) | Self::StoppedAt(_, service) | Self::Killed(service) | Self::KilledBesideSlowJobs(service) => {
                Some(service)
            }
            Self::Paused(service) | Self::Network(service, _, _) => Some(service),
            _ => None,
        }
    }

    /// The stage whose next batch shows that work goes on; any, when it is not one stage's matter.
    pub fn stage(self) -> Option<&'static str> {
        self.service().filter(|service| WORKERS.contains(service))
    }

    /// Whether a second process of each service stands by.
    pub fn needs_replicas(self) -> bool {
        match self {
            Self::StoppedAt(..) | Self::AllRestarted => true,
            Self::Paused(service) => WORKERS.contains(&service),
            _ => false,
        }
    }

    /// Whether the target has to be full before, because the fault lies in emptying it.
    pub fn needs_records(self) -> bool {
        matches!(self, Self::KilledAt(point, _) if point.name == "loader.deletions_sent")
    }

    /// Of the target: how long its jobs take at least.
    pub fn job_latency_ms(self) -> u64 {
        match self {
            Self::KilledBesideSlowJobs(_) => 2500,
            // Long enough for all of them to come and go in one run.
            Self::AllRestarted => 1500,
            _ => 0,
        }
    }

    /// Which passage of a point: some are passed once in a run, others with every batch.
    pub fn passage(self, rng: &mut StdRng) -> u64 {
        const ONCE: [&str; 7] = [
            "gateway",
            "analyzer",
            "connector",
            "coordinator.run",
            "extractor.generation",
            "monitor.books",
            "loader.deletions",
        ];
        let name = match self {
            Self::KilledAt(point, _) | Self::StoppedAt(point, _) => point.name,
            _ => return 1,
        };
        let service = match self {
            Self::KilledAt(_, service) | Self::StoppedAt(_, service) => service,
            _ => "",
        };
        if ONCE.iter().any(|once| name.starts_with(once)) || service == "analyzer" {
            return 1;
        }
        rng.random_range(1..=3)
    }
}

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Self::Cut => "connections cut",
            Self::Held => "connections hang",
            Self::Refused => "cannot be reached for seconds",
            Self::Delayed => "every packet late",
        }
    }
}

impl OrgFault {
    fn name(self) -> &'static str {
        match self {
            Self::Network(trouble) => trouble.name(),
            Self::Unavailable503 => "answers 503",
            Self::TooMany429 => "answers 429",
            Self::AnswersLost => "answers lost",
            Self::CreateAnswerLost => "answer to 'create job' lost",
            Self::CloseAnswerLost => "answer to 'close job' lost",
            Self::UploadCut => "upload cut",
            Self::JobFails => "a job fails after a partial commit",
            Self::RowLocks => "rows locked",
            Self::JobStuck => "a job does not move",
            Self::JobVanishes => "a query job is gone",
            Self::TokensRevoked => "tokens revoked",
            Self::ResultsExpired => "query results expired",
        }
    }
}

/// Any of the objects of the demo.
pub fn any_object(rng: &mut StdRng) -> &'static str {
    const OBJECTS: [&str; 6] = ["Account", "Contact", "Opportunity", "Case", "Lead", "Task"];
    OBJECTS.choose(rng).copied().unwrap_or("Account")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_point_is_on_the_list_and_no_two_faults_share_a_cell() {
        let all: Vec<Fault> = [Fault::points(), Fault::hangs(), Fault::others()].concat();
        let cells: BTreeSet<(String, String)> = all.iter().map(|fault| (fault.name(), fault.point())).collect();
        assert_eq!(cells.len(), all.len());
        for point in POINTS {
            assert!(
                all.iter().any(|fault| matches!(fault, Fault::KilledAt(at, _) if at == point)),
                "{}",
                point.name
            );
        }
        assert_eq!(Fault::hangs().len(), 9, "every point that is named there exists");
    }
}
