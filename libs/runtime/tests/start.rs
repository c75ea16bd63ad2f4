//! Starting, and what is said when it does not work.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use std::time::Duration;

use bench::{Bench, SOON, config, service};
use futures::future::join_all;
use sqlx::migrate::Migrator;
use syncline_domain::ErrorCode;
use syncline_runtime::{Config, Platform, StartError};
use syncline_testkit::{FaultProxy, TestDatabase, free_port, servers};
use tokio_util::sync::CancellationToken;

async fn refusal(config: Config) -> StartError {
    let starting = Platform::start(config, None, CancellationToken::new());
    match tokio::time::timeout(SOON, starting).await.expect("a start gives up in time") {
        Ok(_) => panic!("started"),
        Err(error) => error,
    }
}

fn impatient(nats_url: &str, database_url: &str) -> Config {
    let mut config = config(service(), "http://127.0.0.1:1", nats_url, database_url);
    config.start_wait = Duration::from_millis(200);
    config
}

#[tokio::test]
async fn an_unreachable_database_is_named_with_its_remedy_and_without_its_password() {
    let closed = format!("postgres://syncline:hunter2@127.0.0.1:{}/syncline", free_port());
    let (_, host) = servers().database_url.rsplit_once('@').unwrap();
    let wrong = format!("postgres://syncline:hunter2@{host}");
    for (url, cause) in [(closed, "refused"), (wrong, "")] {
        let error = refusal(impatient(&servers().nats_url, &url)).await;
        assert_eq!(error.code(), ErrorCode::DatabaseUnavailable);
        let text = error.to_string();
        assert!(text.contains("SYNCLINE_DATABASE_URL") && text.contains(cause), "{text}");
        assert!(!text.contains("pool"), "the pool's own words say nothing of the cause: {text}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn an_unreachable_nats_is_named_with_its_remedy_and_without_its_password() {
    let database = TestDatabase::create().await;
    let closed = format!("nats://syncline:hunter2@127.0.0.1:{}", free_port());
    let error = refusal(impatient(&closed, database.url())).await;
    assert_eq!(error.code(), ErrorCode::BusUnavailable);
    let text = error.to_string();
    assert!(text.contains("SYNCLINE_NATS_URL") && text.contains("127.0.0.1"), "{text}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_once() {
    let config = config(service(), "", &servers().nats_url, "not an address, but secret");
    let error = refusal(config).await;
    assert!(matches!(error, StartError::DatabaseUrl), "{error}");
    assert!(!format!("{error} {error:?}").contains("but secret"));
}

#[tokio::test]
async fn a_start_waits_for_servers_that_come_up_late() {
    let database = TestDatabase::create().await;
    let (nats, nats_url) = FaultProxy::before(&servers().nats_url, 4222).await.unwrap();
    let (postgres, database_url) = FaultProxy::before(database.url(), 5432).await.unwrap();
    nats.refuse();
    postgres.refuse();
    let config = config(service(), "http://127.0.0.1:1", &nats_url, &database_url);
    let starting = tokio::spawn(Platform::start(config, None, CancellationToken::new()));
    tokio::task::yield_now().await;
    assert!(!starting.is_finished());
    postgres.forward();
    nats.forward();
    let platform = starting.await.unwrap().unwrap();
    platform.shutdown.cancel();
}

#[tokio::test]
async fn replicas_that_start_at_once_migrate_once_and_all_succeed() {
    let dir = std::env::temp_dir().join(syncline_testkit::prefix());
    std::fs::create_dir(&dir).unwrap();
    let steps = ["create table numbers (n int);", "insert into numbers values (1);"];
    for (number, sql) in steps.iter().enumerate() {
        std::fs::write(dir.join(format!("000{}_step.sql", number + 1)), sql).unwrap();
    }
    let migrations: &'static Migrator = Box::leak(Box::new(Migrator::new(dir.as_path()).await.unwrap()));
    std::fs::remove_dir_all(&dir).unwrap();
    let database = TestDatabase::create().await;
    let config = config(service(), "http://127.0.0.1:1", &servers().nats_url, database.url());
    let start = || Platform::start(config.clone(), Some(migrations), CancellationToken::new());
    let platforms: Vec<Platform> = join_all((0..5).map(|_| start())).await.into_iter().map(Result::unwrap).collect();
    let first = platforms.first().unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from numbers")
        .fetch_one(&first.db)
        .await
        .unwrap();
    assert_eq!(rows, 1);
    let schema: String = sqlx::query_scalar("select current_schema()::text")
        .fetch_one(&first.db)
        .await
        .unwrap();
    assert_eq!(schema, config.service, "every service writes into a schema of its own");
    let mut instances: Vec<&str> = platforms.iter().map(|p| p.instance.as_str()).collect();
    instances.sort_unstable();
    instances.dedup();
    assert_eq!(instances.len(), platforms.len(), "replicas are told apart");
    for platform in &platforms {
        platform.shutdown.cancel();
    }
}

#[tokio::test]
async fn what_runs_beside_a_service_ends_with_it() {
    let bench = Bench::start().await;
    let (alive, mut dropped) = tokio::sync::mpsc::channel::<()>(1);
    bench.platform.spawn("test", async move {
        let _alive = alive;
        std::future::pending().await
    });
    bench.platform.shutdown.cancel();
    assert_eq!(tokio::time::timeout(SOON, dropped.recv()).await.expect("it has ended"), None);
}

static FIRST: Migrator = Migrator {
    migrations: std::borrow::Cow::Borrowed(&[]),
    ..Migrator::DEFAULT
};

/// A migration of a release: version and text.
fn release(steps: &[(i64, &'static str)]) -> &'static Migrator {
    let migrations = steps.iter().map(|(version, sql)| {
        let kind = sqlx::migrate::MigrationType::Simple;
        sqlx::migrate::Migration::new(*version, "step".into(), kind, sqlx::SqlSafeStr::into_sql_str(*sql), false)
    });
    // For the length of the test program: a release's migrations are static.
    Box::leak(Box::new(Migrator::with_migrations(migrations.collect())))
}

async fn start(config: &Config, migrations: &'static Migrator) -> Result<sqlx::PgPool, StartError> {
    syncline_runtime::database(config, Some(migrations)).await
}

#[tokio::test]
async fn a_previous_release_starts_on_the_schema_of_a_newer_one() {
    let database = TestDatabase::create().await;
    let config = impatient(&servers().nats_url, database.url());
    let older = release(&[(1, "create table a (n int)")]);
    let newer = release(&[
        (1, "create table a (n int)"),
        (2, "alter table a add column m int not null default 0"),
    ]);
    start(&config, older).await.unwrap();
    start(&config, newer).await.unwrap();
    let db = start(&config, older).await.unwrap();
    sqlx::query("insert into a (n) values (1)").execute(&db).await.unwrap();
}

#[tokio::test]
async fn a_service_that_may_not_migrate_sees_whether_somebody_has() {
    let database = TestDatabase::create().await;
    let mut config = impatient(&servers().nats_url, database.url());
    let first = release(&[(1, "create table a (n int)")]);
    let second = release(&[(1, "create table a (n int)"), (2, "create table b (n int)")]);
    let never = |config: &mut Config| config.migrating = syncline_runtime::config::Migrating::Never;
    never(&mut config);
    let error = start(&config, first).await.unwrap_err();
    assert!(
        matches!(error, StartError::NotMigrated { .. }) && error.to_string().contains("syncline migrate"),
        "{error}"
    );
    config.migrating = syncline_runtime::config::Migrating::AtStart;
    start(&config, first).await.unwrap();
    never(&mut config);
    start(&config, first).await.unwrap();
    let error = start(&config, second).await.unwrap_err();
    assert!(matches!(error, StartError::NotMigrated { .. }), "{error}");
    start(&config, &FIRST).await.unwrap();
}

#[tokio::test]
async fn a_migration_that_fails_or_is_another_changes_nothing_and_says_so() {
    let database = TestDatabase::create().await;
    let config = impatient(&servers().nats_url, database.url());
    let good = release(&[(1, "create table a (n int)")]);
    let db = start(&config, good).await.unwrap();
    let broken = release(&[(1, "create table a (n int)"), (2, "create table b (n int); create table a (n int)")]);
    let error = start(&config, broken).await.unwrap_err();
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    let half: bool = sqlx::query_scalar("select to_regclass('b') is not null")
        .fetch_one(&db)
        .await
        .unwrap();
    assert!(!half, "the failed migration left a table");
    let other = release(&[(1, "create table a (n bigint)")]);
    let error = start(&config, other).await.unwrap_err();
    assert!(error.to_string().contains("restore a backup"), "{error}");
    // As an interrupted migration outside of a transaction leaves it.
    sqlx::query("update _sqlx_migrations set success = false")
        .execute(&db)
        .await
        .unwrap();
    let mut never = config.clone();
    never.migrating = syncline_runtime::config::Migrating::Never;
    for config in [&config, &never] {
        let error = start(config, good).await.unwrap_err();
        assert!(error.to_string().contains("half-way"), "{error}");
    }
}
