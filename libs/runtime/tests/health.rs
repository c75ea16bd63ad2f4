//! Ready and alive are two things.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use bench::{SOON, config, service};
use syncline_runtime::health::{LIVENESS, READINESS};
use syncline_runtime::{Platform, rpc};
use syncline_testkit::{FaultProxy, TestDatabase, eventually, free_port, servers};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

async fn status(channel: &Channel, name: &str) -> Result<ServingStatus, tonic::Status> {
    let request = HealthCheckRequest { service: name.to_owned() };
    Ok(HealthClient::new(channel.clone()).check(request).await?.into_inner().status())
}

async fn becomes(channel: &Channel, name: &str, wanted: ServingStatus) {
    eventually(SOON, || async {
        match status(channel, name).await {
            Ok(found) if found == wanted => Ok(()),
            other => Err(format!("{name:?} is {other:?}, not {wanted:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_lost_a_server_is_not_ready_and_not_dead_and_comes_back_by_itself() {
    let database = TestDatabase::create().await;
    let (nats, nats_url) = FaultProxy::before(&servers().nats_url, 4222).await.unwrap();
    let (postgres, database_url) = FaultProxy::before(database.url(), 5432).await.unwrap();
    let mut config = config(service(), "http://127.0.0.1:1", &nats_url, &database_url);
    config.listen = ([127, 0, 0, 1], free_port()).into();
    let channel = Endpoint::from_shared(format!("http://{}", config.listen)).unwrap().connect_lazy();
    let shutdown = CancellationToken::new();
    let platform = Platform::start(config, None, shutdown.clone()).await.unwrap();
    let serving = tokio::spawn(async move { rpc::serve(&platform, Routes::default()).await });
    for name in ["", READINESS, LIVENESS] {
        becomes(&channel, name, ServingStatus::Serving).await;
    }
    for outlet in [&nats, &postgres] {
        outlet.refuse();
        outlet.cut();
        for name in ["", READINESS] {
            becomes(&channel, name, ServingStatus::NotServing).await;
        }
        assert_eq!(status(&channel, LIVENESS).await.unwrap(), ServingStatus::Serving);
        outlet.forward();
        becomes(&channel, READINESS, ServingStatus::Serving).await;
    }
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_service_whose_streams_are_gone_asks_to_be_started_anew() {
    let database = TestDatabase::create().await;
    let nats = syncline_testkit::PrivateNats::start();
    let mut config = config(service(), "http://127.0.0.1:1", nats.url(), database.url());
    config.listen = ([127, 0, 0, 1], free_port()).into();
    let channel = Endpoint::from_shared(format!("http://{}", config.listen)).unwrap().connect_lazy();
    let shutdown = CancellationToken::new();
    let start = async || Platform::start(config.clone(), None, shutdown.clone()).await.unwrap();
    let platform = start().await;
    let serving = tokio::spawn(async move { rpc::serve(&platform, Routes::default()).await });
    becomes(&channel, LIVENESS, ServingStatus::Serving).await;
    let (options, address) = syncline_testkit::nats_options(nats.url());
    let context = async_nats::jetstream::new(options.connect(address).await.unwrap());
    context.delete_stream("EVENTS").await.unwrap();
    for name in ["", READINESS, LIVENESS] {
        becomes(&channel, name, ServingStatus::NotServing).await;
    }
    // A new start makes it again.
    start().await;
    context.get_stream("EVENTS").await.unwrap();
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
