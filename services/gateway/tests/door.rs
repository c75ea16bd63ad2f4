//! The gateway in front of tiny peers: what passes, what does not, how it ends.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test file uses a part of it")]
mod bench;

use bench::{Bench, GOOD, Monitor, SOON, TOKEN, database, listen, start_peer};
use futures::StreamExt;
use http::HeaderMap;
use secrecy::SecretString;
use syncline_domain::ErrorCode;
use syncline_gateway::config::GatewayConfig;
use syncline_gateway::{Error, Gateway};
use syncline_testkit::TestDatabase;
use syncline_wire::status::code_of;
use syncline_wire::{access, connection, monitor, run, sync};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

#[tokio::test]
async fn a_call_reaches_its_peer_with_its_metadata_but_without_the_token() {
    let bench = Bench::start().await;
    let mut client = sync::sync_service_client::SyncServiceClient::new(bench.shown(GOOD));
    let mut request = Request::new(sync::GetSyncRequest {
        name: "nightly".to_owned(),
        version: 0,
    });
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    let response = client.get_sync(request).await.unwrap();
    assert_eq!(response.metadata().get("x-from").unwrap(), "coordinator");
    assert_eq!(response.into_inner().sync.unwrap().name, "nightly");
    let seen = bench.coordinator.seen.lock().unwrap().take().unwrap();
    assert_eq!(seen.get("traceparent").unwrap(), trace);
    assert!(seen.get("authorization").is_none());
}

#[tokio::test]
async fn a_peers_status_arrives_with_its_code() {
    let bench = Bench::start().await;
    let mut client = sync::sync_service_client::SyncServiceClient::new(bench.shown(GOOD));
    let status = client.get_sync(sync::GetSyncRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no such sync"));
    assert_eq!(code_of(&status), Some(ErrorCode::SyncUnknown));
}

#[tokio::test]
async fn without_the_token_nothing_but_health_is_answered() {
    let bench = Bench::start().await;
    for token in ["Bearer wrong", "Basic a-token-for-tests", "Bearer a-token-for-test"] {
        let mut client = sync::sync_service_client::SyncServiceClient::new(bench.shown(token));
        let status = client.get_sync(sync::GetSyncRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{token}");
        assert_eq!(code_of(&status), Some(ErrorCode::ApiToken), "{token}");
    }
    let mut client = sync::sync_service_client::SyncServiceClient::new(bench.channel());
    let status = client.get_sync(sync::GetSyncRequest::default()).await.unwrap_err();
    assert_eq!(code_of(&status), Some(ErrorCode::ApiToken));
    assert!(bench.coordinator.seen.lock().unwrap().is_none(), "no such call reached the peer");

    // Neither does a stranger learn which services exist.
    let mut internal = access::access_service_client::AccessServiceClient::new(bench.channel());
    let status = internal.get_access(access::GetAccessRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);

    let mut health = tonic_health::pb::health_client::HealthClient::new(bench.channel());
    let answer = health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    assert_eq!(
        answer.into_inner().status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
}

#[tokio::test]
async fn internal_services_and_unknown_methods_are_unimplemented() {
    let bench = Bench::start().await;
    let mut internal = access::access_service_client::AccessServiceClient::new(bench.shown(GOOD));
    let status = internal.get_access(access::GetAccessRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let mut control = run::run_control_service_client::RunControlServiceClient::new(bench.shown(GOOD));
    let status = control.get_intent(run::GetIntentRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    // In the table, refused by the peer, which does not have it.
    let mut runs = run::run_service_client::RunServiceClient::new(bench.shown(GOOD));
    let status = runs.get_run(run::GetRunRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_stream_passes_as_it_comes_and_keeps_its_status() {
    let bench = Bench::start().await;
    let mut client = monitor::monitor_service_client::MonitorServiceClient::new(bench.shown(GOOD));
    let request = monitor::WatchRunRequest {
        run: "r-1".to_owned(),
        after: 3,
    };
    let mut stream = client.watch_run(request).await.unwrap().into_inner();
    for cursor in 1..=3 {
        // The peer sends nothing more until this one has arrived: a gateway that gathers would never deliver it.
        let next = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(next.snapshot.unwrap().cursor, cursor);
        bench.monitor.go_on.notify_one();
    }
    let end = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::DataLoss, "the end, with a status"));
}

#[tokio::test]
async fn a_peer_that_is_down_is_named() {
    let bench = Bench::start().await;
    let mut client = connection::connection_service_client::ConnectionServiceClient::new(bench.shown(GOOD));
    let status = client
        .list_connections(connection::ListConnectionsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(code_of(&status), Some(ErrorCode::Unreachable));
    assert!(status.message().contains("connector"), "{status}");
}

#[tokio::test]
async fn a_peer_that_comes_back_is_used_again_and_one_that_dies_in_a_stream_is_named() {
    let monitor = Monitor::default();
    let service = monitor::monitor_service_server::MonitorServiceServer::new(monitor.clone());
    let (address, _) = start_peer(Routes::new(service)).await;
    let proxy = syncline_testkit::FaultProxy::start(address).await.unwrap();
    let behind = proxy.address();
    let database = TestDatabase::create().await;
    let db = self::database(database.url()).await;
    let gateway = Gateway::new(&GatewayConfig::default(), Some(&SecretString::from(TOKEN)), db, |_| {
        Endpoint::from_shared(format!("http://{behind}")).unwrap().connect_lazy()
    })
    .unwrap();
    let (listener, address) = listen().await;
    let shutdown = CancellationToken::new();
    tokio::spawn(gateway.serve(listener, shutdown.clone()));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut client = monitor::monitor_service_client::MonitorServiceClient::with_interceptor(channel, |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", GOOD.parse().unwrap());
        Ok(request)
    });
    let request = monitor::WatchRunRequest {
        run: "r-1".to_owned(),
        after: 2,
    };
    let mut stream = client.watch_run(request.clone()).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    proxy.cut();
    let end = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert!(end.message().contains("monitor"), "{end}");
    let again = syncline_testkit::eventually(SOON, || {
        let mut client = client.clone();
        let request = request.clone();
        async move { client.watch_run(request).await }
    })
    .await;
    again.into_inner().next().await.unwrap().unwrap();
    shutdown.cancel();
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_before_the_peer_has_it() {
    let bench = Bench::start().await;
    let mut client = sync::sync_service_client::SyncServiceClient::new(bench.shown(GOOD));
    let small = "x".repeat(syncline_gateway::door::REQUEST_BYTES_MAX - 1024);
    let answer = client.apply_sync(sync::ApplySyncRequest { yaml: small.clone() }).await.unwrap();
    assert_eq!(answer.into_inner().sync.unwrap().yaml.len(), small.len());
    let large = "x".repeat(syncline_gateway::door::REQUEST_BYTES_MAX + 1);
    let status = client.apply_sync(sync::ApplySyncRequest { yaml: large }).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

#[tokio::test]
async fn reflection_needs_the_token_and_lists_public_services_only() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let bench = Bench::start().await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut stranger = ServerReflectionClient::new(bench.channel());
    let status = stranger
        .server_reflection_info(futures::stream::iter([ask.clone()]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);

    let mut client = ServerReflectionClient::new(bench.shown(GOOD));
    let mut answers = client
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("not a list")
    };
    let names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    for service in syncline_gateway::route::SERVICES {
        assert!(
            names.iter().any(|n| n == service.name),
            "{} is missing from {names:?}",
            service.name
        );
    }
    assert!(
        !names.iter().any(|n| n.contains("AccessService") || n.contains("StageService")),
        "{names:?}"
    );
}

#[tokio::test]
async fn what_is_not_grpc_is_refused_as_such() {
    let bench = Bench::start().await;
    let mut channel = bench.channel();
    for (path, content_type, status) in [
        (
            "/syncline.run.v1.RunService/GetRun",
            "application/json",
            http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        ("/", "text/plain", http::StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let mut request = http::Request::new(tonic::body::Body::empty());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = path.parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", content_type.parse().unwrap());
        headers.insert("authorization", GOOD.parse().unwrap());
        *request.headers_mut() = headers;
        let response = tower::ServiceExt::ready(&mut channel).await.unwrap();
        let response = tower::Service::call(response, request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn stopping_ends_open_streams_with_a_status() {
    let bench = Bench::start().await;
    let mut client = monitor::monitor_service_client::MonitorServiceClient::new(bench.shown(GOOD));
    let request = monitor::WatchRunRequest {
        run: "r-1".to_owned(),
        after: 2,
    };
    let mut stream = client.watch_run(request).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    bench.shutdown.cancel();
    let end = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    assert!(end.message().contains("stopping"), "{end}");
    drop((stream, client));
    tokio::time::timeout(SOON, bench.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_gateway_without_a_token_does_not_start() {
    let nowhere = sqlx::PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
    for token in [None, Some(SecretString::from("")), Some(SecretString::from("  "))] {
        let error = Gateway::new(&GatewayConfig::default(), token.as_ref(), nowhere.clone(), |_| {
            unreachable!("the token is looked at first")
        })
        .unwrap_err();
        assert!(matches!(error, Error::NoToken));
        assert!(error.to_string().contains("SYNCLINE_GATEWAY_TOKEN"));
    }
}
