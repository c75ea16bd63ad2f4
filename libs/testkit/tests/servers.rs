//! The test bench against its own real servers.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use sqlx::{Connection, PgConnection};
use syncline_testkit::{FaultProxy, TestDatabase, TestPrefix, eventually, servers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn database_exists(name: &str) -> bool {
    let mut admin = PgConnection::connect(&servers().database_url).await.unwrap();
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn postgres_is_durable_and_new_enough() {
    let mut connection = PgConnection::connect(&servers().database_url).await.unwrap();
    for (setting, wanted) in [("fsync", "on"), ("synchronous_commit", "on")] {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, wanted, "{setting}");
    }
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(version >= 150_000, "PostgreSQL {version} is too old");
}

#[tokio::test]
async fn a_test_database_is_empty_usable_and_gone_afterwards() {
    let database = TestDatabase::create().await;
    let name = database.name().to_owned();
    assert!(database_exists(&name).await);
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let current: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(current, name);
    sqlx::query("create table empty_before ()").execute(&mut connection).await.unwrap();
    drop(database); // while a session is still open
    // A busy server may take longer than the drop waits for it.
    eventually(Duration::from_secs(60), || async {
        match database_exists(&name).await {
            true => Err("the database is still there"),
            false => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn nats_has_jetstream_takes_a_mebibyte_and_is_new_enough() {
    let client = servers().nats().await;
    let info = client.server_info();
    assert!(info.max_payload > 1024 * 1024, "headers need room too");
    let mut parts = info.version.split('.').map(|part| part.parse::<u32>());
    let (major, minor) = (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap());
    assert!((major, minor) >= (2, 10), "NATS {}", info.version);

    let prefix = TestPrefix::new();
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: format!("{prefix}_RAW"),
            subjects: vec![format!("{prefix}.>")],
            ..Default::default()
        })
        .await
        .unwrap();
    jetstream
        .publish(format!("{prefix}.a"), vec![7; 1024 * 1024].into())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(stream.get_info().await.unwrap().state.messages, 1);

    let word = prefix.to_string();
    drop(prefix);
    let names: Vec<String> = jetstream.stream_names().try_collect().await.unwrap();
    assert!(names.iter().all(|name| !name.starts_with(&word)));
}

#[tokio::test]
async fn a_database_behind_the_proxy_is_lost_and_comes_back() {
    let (proxy, url) = FaultProxy::before(&servers().database_url, 5432).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("select 1").execute(&mut connection).await.unwrap();
    proxy.refuse();
    sqlx::query("select 1")
        .execute(&mut connection)
        .await
        .expect_err("the connection is cut");
    PgConnection::connect(&url).await.expect_err("the port is closed");
    proxy.forward();
    eventually(Duration::from_secs(10), || PgConnection::connect(&url)).await;
}

#[test]
fn a_missing_server_fails_the_test_that_needs_it() {
    let nobody = syncline_testkit::free_port();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres_is_durable_and_new_enough"])
        .env("SYNCLINE_NATS_URL", format!("nats://127.0.0.1:{nobody}"))
        .env("SYNCLINE_DATABASE_URL", format!("postgres://nobody@127.0.0.1:{nobody}/nothing"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 failed"));
}

#[tokio::test]
async fn a_session_that_hangs_in_its_login_does_not_hold_up_the_end_of_a_test() {
    let database = TestDatabase::create().await;
    let name = database.name().to_owned();
    let (_, host) = servers().database_url.rsplit_once('@').unwrap();
    let mut stream = TcpStream::connect(host.split('/').next().unwrap()).await.unwrap();
    // StartupMessage: length, protocol 3.0, parameters (PostgreSQL documentation, 54.7).
    let mut startup = vec![0, 0, 0, 0, 0, 3, 0, 0];
    startup.extend_from_slice(format!("user\0syncline\0database\0{name}\0\0").as_bytes());
    startup[3] = u8::try_from(startup.len()).unwrap();
    stream.write_all(&startup).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'R', "asked for a password, which never comes");
    let begin = Instant::now();
    drop(database);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    drop(stream);
    eventually(Duration::from_secs(10), || async {
        if database_exists(&name).await {
            Err("it is still there")
        } else {
            Ok(())
        }
    })
    .await;
}
