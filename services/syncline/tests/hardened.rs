//! Services that do not trust the network: who may do what on the bus, who may call whom, and what happens to others.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod apart;

use std::time::Duration;

use apart::{Apart, Ground, outcome, read};
use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use futures::StreamExt as _;
use syncline_e2e::{SimulatedOrg, sync};
use syncline_wire::access::GetRunKeysRequest;
use syncline_wire::access::access_service_client::AccessServiceClient;
use syncline_wire::connection::ListConnectionsRequest;
use syncline_wire::connection::connection_service_client::ConnectionServiceClient;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const RUN_WAIT: Duration = Duration::from_secs(180);
/// A refused request gets no answer; one that is answered is answered sooner.
const REFUSED_WAIT: Duration = Duration::from_secs(2);

async fn nats(ground: &Ground, user: &str) -> async_nats::Client {
    let password = std::fs::read_to_string(ground.secrets.path().join("nats").join(format!("{user}.password"))).unwrap();
    async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.trim().to_owned())
        .add_root_certificates(ground.tls("ca.pem"))
        .add_client_certificate(ground.tls(&format!("{user}.pem")), ground.tls(&format!("{user}.key")))
        .require_tls(true)
        .custom_inbox_prefix(syncline_bus::permissions::inbox(user))
        .request_timeout(Some(REFUSED_WAIT))
        .connect(ground.nats.address())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loaders_credentials_are_refused_on_raw_data_whatever_it_tries() {
    let ground = Ground::lay().await;
    // One batch lies in RAW, put there by whom it may be.
    let extractor = jetstream::new(nats(&ground, "extractor").await);
    let ack = extractor.publish("raw.0.default.r-1.Account.0", "sealed".into()).await.unwrap();
    ack.await.expect("the extractor publishes raw data");
    let consumer = pull::Config {
        durable_name: Some("x".to_owned()),
        filter_subject: "raw.0.>".to_owned(),
        ..pull::Config::default()
    };
    let masker = jetstream::new(nats(&ground, "masker").await);
    let stream = masker.get_stream("RAW_0").await.expect("the masker reads raw data");
    let granted = stream.get_or_create_consumer("x", consumer.clone()).await.unwrap();
    let mut batch = granted.fetch().max_messages(1).messages().await.unwrap();
    assert_eq!(batch.next().await.unwrap().unwrap().payload.as_ref(), b"sealed");

    let client = nats(&ground, "loader").await;
    let loader = jetstream::new(client.clone());
    let mut heard = client.subscribe("raw.>").await.unwrap();
    let mut overheard = client.subscribe("_INBOX.masker.>").await.unwrap();
    let mut everything = client.subscribe(">").await.unwrap();
    let published = loader.publish("raw.0.default.r-1.Account.0", "forged".into()).await;
    let refused = match published {
        Ok(ack) => tokio::time::timeout(REFUSED_WAIT, ack).await.map_or(true, |acked| acked.is_err()),
        Err(_) => true,
    };
    assert!(refused, "the loader published raw data");
    assert!(
        loader.get_stream("RAW_0").await.is_err(),
        "the loader cannot even look at the stream"
    );
    for (subject, body) in [
        ("$JS.API.STREAM.MSG.GET.RAW_0", r#"{"seq": 1}"#),
        ("$JS.API.DIRECT.GET.RAW_0", r#"{"seq": 1}"#),
        (
            "$JS.API.CONSUMER.CREATE.RAW_0.mine.raw.0.>",
            r#"{"stream_name": "RAW_0", "config": {"name": "mine", "filter_subject": "raw.0.>", "ack_policy": "explicit"}}"#,
        ),
        ("$JS.API.CONSUMER.MSG.NEXT.RAW_0.x", r#"{"batch": 1}"#),
        ("$JS.API.STREAM.DELETE.RAW_0", ""),
        (
            "$JS.API.CONSUMER.CREATE.TASKS.tasks-masker.task.masker.>",
            r#"{"stream_name": "TASKS", "config": {"name": "tasks-masker", "filter_subject": "task.masker.>", "ack_policy": "explicit"}}"#,
        ),
        ("task.loader.normal.default.r-1", "forged"),
    ] {
        assert!(client.request(subject, body.into()).await.is_err(), "{subject} was answered");
    }
    // Meanwhile the masker fetches again; nothing of it is heard elsewhere.
    let mut again = granted.fetch().max_messages(1).messages().await.unwrap();
    assert!(again.next().await.is_none(), "the batch is in the masker's hands");
    for ears in [&mut heard, &mut overheard, &mut everything] {
        assert!(
            tokio::time::timeout(Duration::from_millis(300), ears.next())
                .await
                .map_or(true, |m| m.is_none())
        );
    }
    let info = masker.get_stream("RAW_0").await.unwrap();
    assert_eq!(info.cached_info().state.messages, 1, "nothing was added and nothing removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_the_bus_or_the_calendar_refuses_says_why() {
    let ground = Ground::lay().await;
    let mut stranger = ground.command("loader", &["serve", "loader"]);
    stranger.env("SYNCLINE_NATS_URL", ground.nats.url_with("nobody", "knows"));
    let refused = outcome(stranger).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("SYNCLINE_NATS_URL") && said.contains("authorization"), "{said}");
    assert!(!said.contains("knows"), "{said}");

    // A certificate that ran out, in the place of the service's own and of the gateway's public one.
    let mut params = rcgen::CertificateParams::new(vec!["loader.syncline".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2024, 2, 29);
    let key = rcgen::KeyPair::generate().unwrap();
    let old = ground.secrets.path().join("old.pem");
    let old_key = ground.secrets.path().join("old.key");
    std::fs::write(&old, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&old_key, key.serialize_pem()).unwrap();
    let mut loader = ground.command("loader", &["serve", "loader"]);
    loader.env("SYNCLINE_TLS_CERT", &old).env("SYNCLINE_TLS_KEY", &old_key);
    let mut gateway = ground.command("gateway", &["serve", "gateway"]);
    gateway
        .env("SYNCLINE_GATEWAY_TLS_CERT", &old)
        .env("SYNCLINE_GATEWAY_TLS_KEY", &old_key);
    for (command, variable) in [(loader, "SYNCLINE_TLS_CERT"), (gateway, "SYNCLINE_GATEWAY_TLS_CERT")] {
        let refused = outcome(command).await;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(
            said.contains(variable) && said.contains("not valid now") && said.contains("2024"),
            "{said}"
        );
    }
}

async fn channel(ground: &Ground, who: Option<&str>) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&ground.tls("ca.pem"))))
        .domain_name("connector.syncline");
    if let Some(who) = who {
        let files = ["pem", "key"].map(|kind| read(&ground.tls(&format!("{who}.{kind}"))));
        tls = tls.identity(Identity::from_pem(&files[0], &files[1]));
    }
    Endpoint::from_shared(format!("https://127.0.0.1:{}", ground.port("connector")))
        .unwrap()
        .tls_config(tls)?
        .connect()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_runs_under_mtls_and_services_may_call_what_the_table_says() {
    let apart = Apart::start(&[]).await;
    let source = SimulatedOrg::start(SimulatedOrg::production(300));
    let target = SimulatedOrg::start(SimulatedOrg::sandbox());
    for (name, org) in [("production", &source), ("uat", &target)] {
        apart.connect(name, org).await;
    }
    apart.door.apply(&sync::refresh()).await.unwrap();
    let run = apart.door.submit("refresh", "").await.unwrap().id;
    apart.door.reach(&run, &["completed"], RUN_WAIT).await;
    let report = apart.door.report(&run).await;
    syncline_e2e::assert_balanced(&report);
    assert!(!apart.complaints().contains("refuses something"), "{}", apart.complaints());

    let ground = &apart.ground;
    let keys = |channel| async move {
        let request = GetRunKeysRequest { run: "r-1".to_owned() };
        AccessServiceClient::new(channel).get_run_keys(request).await.map(|_| ())
    };
    keys(channel(ground, Some("masker")).await.unwrap()).await.expect("stages get keys");
    let refused = keys(channel(ground, Some("monitor")).await.unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("monitor may not call"), "{refused}");
    let mut connections = ConnectionServiceClient::new(channel(ground, Some("masker")).await.unwrap());
    let refused = connections.list_connections(ListConnectionsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    // Without a certificate, or without TLS, nobody gets as far as a call.
    let nobody = match channel(ground, None).await {
        Ok(channel) => keys(channel).await.map_err(|s| s.code()),
        Err(_) => Err(Code::Unavailable),
    };
    assert!(
        matches!(nobody, Err(Code::Unavailable | Code::Unknown | Code::Cancelled)),
        "{nobody:?}"
    );
    let plain = Endpoint::from_shared(format!("http://127.0.0.1:{}", ground.port("connector"))).unwrap();
    let plain = match plain.connect().await {
        Ok(channel) => keys(channel).await.map_err(|s| s.code()),
        Err(_) => Err(Code::Unavailable),
    };
    assert!(
        matches!(plain, Err(Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)),
        "{plain:?}"
    );
    apart.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_that_speak_no_tls_are_answered_health_and_nothing_else() {
    let ground = Ground::lay().await;
    let port = syncline_testkit::free_port();
    let log = ground.secrets.path().join("log");
    let mut command = ground.command("masker", &["serve", "masker"]);
    command.env("SYNCLINE_HEALTH_LISTEN", format!("127.0.0.1:{port}"));
    let mut masker = syncline_testkit::Process::start(&mut command, &log).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    syncline_testkit::eventually(apart::SOON, || async {
        let asked = outcome(ground.command("masker", &["health", &url])).await;
        asked
            .status
            .success()
            .then_some(())
            .ok_or_else(|| String::from_utf8_lossy(&asked.stderr).into_owned())
    })
    .await;
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let request = syncline_wire::stage::GetProgressRequest { run: "r-1".to_owned() };
    let mut stage = syncline_wire::stage::stage_service_client::StageServiceClient::new(channel);
    assert_eq!(stage.get_progress(request).await.unwrap_err().code(), Code::Unimplemented);
    masker.terminate().unwrap();
    assert_eq!(apart::ended(&mut masker).await, Some(0));
}
