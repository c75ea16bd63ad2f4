//! A bus of one's own on the shared server: random tenant, run and stage, so that tests never meet.

use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use syncline_bus::{Audience, Bus, BusConfig, BusError, GroupLimits};
use syncline_domain::{BatchName, ObjectName, RunId, TenantId};
use syncline_testkit::{prefix, servers};

pub const SOON: Duration = Duration::from_secs(15);
pub const PLAN: &str = "plan-hash";

pub struct Bench {
    pub bus: Bus,
    /// The server as it is, past the crate under test.
    pub server: jetstream::Context,
    pub tenant: TenantId,
    pub run: RunId,
    pub stage: String,
}

impl Bench {
    pub async fn start() -> Self {
        Self::at(&servers().nats_url).await
    }

    pub async fn at(url: &str) -> Self {
        let (options, address) = syncline_testkit::nats_options(url);
        Self {
            bus: bus(url).await,
            server: jetstream::new(options.connect(address).await.unwrap()),
            tenant: TenantId::new(prefix()).unwrap(),
            run: run(),
            stage: prefix(),
        }
    }

    pub fn name(&self, partition: u32, seq: u32) -> BatchName {
        BatchName::whole(self.run.clone(), object(), partition, 1, seq)
    }

    pub async fn publish(&self, partition: u32, seq: u32, sealed: impl Into<Bytes>) -> Result<(), BusError> {
        let name = self.name(partition, seq);
        self.bus
            .publish_batch(Audience::Raw, &self.tenant, &name, PLAN, 7, sealed.into())
            .await
    }

    pub async fn waiting(&self) -> u64 {
        self.bus.waiting(Audience::Raw, &self.tenant, &self.run, &object()).await.unwrap()
    }

    pub async fn consumer(&self) -> syncline_bus::BatchConsumer {
        self.bus
            .batches(&self.stage, Audience::Raw, &self.tenant, &self.run, &object())
            .await
            .unwrap()
    }

    /// What a passed test leaves behind is nothing.
    pub async fn clean(self) {
        self.bus.purge_run(&self.tenant, &self.run).await.unwrap();
    }
}

pub async fn bus(url: &str) -> Bus {
    let config = BusConfig {
        url: url.to_owned(),
        name: "test".to_owned(),
        service: None,
        make_streams: true,
        replicas: 1,
        tls: None,
    };
    Bus::connect(&config).await.unwrap()
}

pub fn run() -> RunId {
    RunId::new(prefix()).unwrap()
}

pub fn object() -> ObjectName {
    ObjectName::new("Account").unwrap()
}

pub fn group(messages_max: usize) -> GroupLimits {
    GroupLimits {
        messages_max,
        wait: Duration::from_secs(2),
    }
}
