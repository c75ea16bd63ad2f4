//! A service of one's own: random schema, stage, tenant and run on the shared servers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use futures::StreamExt;
use prost::Message;
use syncline_domain::{ObjectName, RunId};
use syncline_runtime::lease::{self, Take};
use syncline_runtime::{Config, Lease, Platform, TaskId};
use syncline_testkit::{TestDatabase, eventually, prefix, servers};
use syncline_wire::event::RunEvent;
use syncline_wire::event::run_event::Fact;
use syncline_wire::stage::Invitation;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub const SOON: Duration = Duration::from_secs(15);

pub struct Bench {
    pub platform: Platform,
    pub run: RunId,
    pub database: TestDatabase,
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl Fn(&mut Config)) -> Self {
        Self::beside("http://127.0.0.1:1", change).await
    }

    /// With every peer at one address.
    pub async fn beside(peers: &str, change: impl Fn(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let mut config = config(service(), peers, &servers().nats_url, database.url());
        change(&mut config);
        let platform = Platform::start(config, None, CancellationToken::new()).await.unwrap();
        Self {
            platform,
            run: RunId::new(prefix()).unwrap(),
            database,
        }
    }

    /// Another replica of the same service.
    pub async fn replica(&self) -> Platform {
        let config = self.platform.config.clone();
        Platform::start(config, None, CancellationToken::new()).await.unwrap()
    }

    pub fn task(&self, step: &str) -> TaskId {
        TaskId {
            run: self.run.clone(),
            object: Some(ObjectName::new("Account").unwrap()),
            step: step.to_owned(),
        }
    }

    pub async fn take(&self, step: &str) -> Take {
        Lease::take(&self.platform.db, self.task(step), "test").await.unwrap()
    }

    pub async fn taken(&self, step: &str) -> Lease {
        match self.take(step).await {
            Take::Taken(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    /// As if the lease's holder had been silent for too long.
    pub async fn expire(&self) {
        self.sql("update task set expires_at = clock_timestamp() - interval '1 ms' where expires_at is not null")
            .await;
    }

    pub async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.platform.db).await.unwrap();
    }

    pub async fn live(&self) -> u32 {
        lease::live(&self.platform.db, &self.run).await.unwrap()
    }

    pub async fn failures(&self) -> i32 {
        sqlx::query_scalar("select failures from task")
            .fetch_one(&self.platform.db)
            .await
            .unwrap()
    }

    pub async fn invite(&self, step: &str) {
        let invitation = Invitation {
            tenant: self.platform.config.tenant.to_string(),
            run: self.run.to_string(),
            object: "Account".to_owned(),
            step: step.to_owned(),
            ..Invitation::default()
        };
        self.invite_as(&invitation).await;
    }

    pub async fn invite_as(&self, invitation: &Invitation) {
        let config = &self.platform.config;
        let invited = self.platform.bus.invite(config.service, &config.tenant, &self.run, invitation);
        invited.await.unwrap();
    }

    pub fn event(&self, run: u32) -> RunEvent {
        RunEvent {
            tenant: self.platform.config.tenant.to_string(),
            run: format!("r-{run}"),
            ..RunEvent::default()
        }
    }

    /// Every event of this tenant that is stored.
    pub async fn events(&self) -> Vec<RunEvent> {
        let server = async_nats::jetstream::new(servers().nats().await);
        let stream = server.get_stream("EVENTS").await.unwrap();
        let config = pull::Config {
            filter_subject: format!("event.{}.>", self.platform.config.tenant),
            inactive_threshold: Duration::from_secs(5),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        let mut messages = consumer.fetch().max_messages(1000).messages().await.unwrap();
        let mut out = Vec::new();
        while let Some(message) = messages.next().await {
            out.push(RunEvent::decode(message.unwrap().payload.clone()).unwrap());
        }
        out
    }

    /// What happened, once so much has.
    pub async fn facts(&self, count: usize) -> Vec<Fact> {
        eventually(SOON, || async {
            let facts: Vec<Fact> = self.events().await.into_iter().filter_map(|e| e.fact).collect();
            if facts.len() < count { Err(facts) } else { Ok(facts) }
        })
        .await
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.platform.shutdown.cancel();
    }
}

/// A name that is schema and stage at once.
pub fn service() -> &'static str {
    Box::leak(prefix().into_boxed_str())
}

pub fn config(service: &'static str, peers: &str, nats_url: &str, database_url: &str) -> Config {
    let tenant = prefix();
    Config::from_lookup(service, &|name| match name {
        "SYNCLINE_NATS_URL" => Some(nats_url.to_owned()),
        "SYNCLINE_DATABASE_URL" => Some(database_url.to_owned()),
        "SYNCLINE_TENANT" => Some(tenant.clone()),
        _ if name.ends_with("_URL") => Some(peers.to_owned()),
        _ => None,
    })
    .unwrap()
}

/// Serves until the test ends.
pub async fn serve(routes: Routes) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{address}")
}
