//! Connecting, and what is said when it does not work.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::net::Ipv4Addr;

use bench::{SOON, bus};
use syncline_bus::{Bus, BusConfig, BusError};
use syncline_domain::ErrorCode;
use syncline_testkit::{FaultProxy, eventually, free_port, servers};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

fn config(url: String) -> BusConfig {
    BusConfig {
        url,
        name: "test".to_owned(),
        service: None,
        make_streams: true,
        replicas: 1,
        tls: None,
    }
}

async fn refusal(url: String) -> BusError {
    match Bus::connect(&config(url)).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

/// A server that greets with `version` and answers pings.
async fn server_of(version: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let info = format!(
                    "INFO {{\"server_id\":\"x\",\"server_name\":\"x\",\"version\":\"{version}\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}}\r\n"
                );
                write.write_all(info.as_bytes()).await.ok();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.starts_with("PING") {
                        write.write_all(b"PONG\r\n").await.ok();
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_by_its_version() {
    let port = server_of("2.9.10").await;
    let error = refusal(format!("nats://u:secret@127.0.0.1:{port}")).await;
    assert!(matches!(&error, BusError::TooOld { found } if found == "2.9.10"), "{error}");
    assert!(error.to_string().contains("2.10"), "{error}");
}

#[tokio::test]
async fn a_missing_server_is_named_without_its_password() {
    let port = free_port();
    let error = refusal(format!("nats://user:hunter2@127.0.0.1:{port}")).await;
    assert_eq!(error.code(), ErrorCode::BusUnavailable);
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_being_repeated() {
    let (_, host) = servers().nats_url.rsplit_once('@').unwrap();
    let error = refusal(format!("nats://syncline:hunter2@{host}")).await;
    assert!(matches!(error, BusError::Connect { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn of_several_servers_one_that_answers_is_enough() {
    let url = &servers().nats_url;
    let (user, _) = url.rsplit_once('@').unwrap();
    for list in [
        format!("{user}@127.0.0.1:{},{url}", free_port()),
        format!("{user}@127.0.0.1:{},{}", free_port(), url.rsplit_once('@').unwrap().1),
    ] {
        assert!(bus(&list).await.is_connected());
    }
}

#[tokio::test]
async fn a_lost_connection_shows_and_comes_back_by_itself() {
    let (proxy, url) = FaultProxy::before(&servers().nats_url, 4222).await.unwrap();
    let bus = bus(&url).await;
    assert!(bus.is_connected());
    proxy.refuse();
    eventually(SOON, || async { if bus.is_connected() { Err("connected") } else { Ok(()) } }).await;
    proxy.forward();
    eventually(SOON, || async { if bus.is_connected() { Ok(()) } else { Err("not connected") } }).await;
}

#[tokio::test]
async fn processes_that_start_at_once_agree_on_the_streams() {
    let buses = futures::future::join_all((0..6).map(|_| bus(&servers().nats_url))).await;
    assert!(buses.iter().all(Bus::is_connected));
}
