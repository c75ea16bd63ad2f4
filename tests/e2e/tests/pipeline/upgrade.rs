//! From the release before this one: its database, with a run in flight, under today's services.
//!
//! When a release is made, [`RELEASED`] moves to it and [`UNDO`] becomes empty again; a migration that is in neither fails
//! the test that walks them.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::{Connection as _, PgConnection};
use syncline_e2e::{RUN_WAIT, SimulatedOrg, World, assert_balanced, sync};
use syncline_salesforce_simulator::OrgConfig;

/// The newest migration of each schema in the last release.
const RELEASED: [(&str, i64); 8] = [
    ("analyzer", 1),
    ("connector", 2),
    ("coordinator", 1),
    ("extractor", 1),
    ("gateway", 1),
    ("loader", 2),
    ("masker", 1),
    ("monitor", 1),
];
/// What newer migrations have made, taken back.
const UNDO: [(&str, i64, &str); 11] = [
    ("coordinator", 2, "alter table coordinator.run drop column trace"),
    ("monitor", 2, "alter table monitor.run drop column trace"),
    ("loader", 3, "alter table loader.run_number drop column made_at"),
    ("masker", 2, "alter table masker.field_count drop column generation"),
    (
        "loader",
        4,
        "alter table loader.refusal drop column state, drop column missing; \
         alter table loader.deferred drop column refused; alter table loader.claim drop column round",
    ),
    ("masker", 3, "alter table masker.batch drop column round"),
    (
        "monitor",
        3,
        "alter table monitor.dead_letter drop column records, drop column state, drop column last_at, drop column round, \
         drop column replays, drop column decided_by, drop column decided_at, drop column reason; \
         alter table monitor.load_totals drop column round; alter table monitor.verify_totals drop column round; \
         alter table monitor.refused drop column round, drop column resolved, drop column reason",
    ),
    (
        "extractor",
        2,
        "alter table extractor.generation drop constraint generation_state_check, \
         add constraint generation_state_check check (state in ('open', 'lost', 'done'))",
    ),
    ("connector", 3, "alter table connector.quota drop column breaker"),
    (
        "loader",
        5,
        "alter table loader.journal drop column job_created, drop column job_creator",
    ),
    (
        "loader",
        6,
        "drop table loader.presence, loader.gap; alter table loader.link drop column reconciled_at",
    ),
];
/// What states of runs did not hold then.
const NEW_IN_STATES: [&str; 7] = ["settle_ms", "since_ms", "reason", "round", "errors", "errors_by_step", "wait_ms"];

fn migrations() -> BTreeMap<&'static str, &'static sqlx::migrate::Migrator> {
    BTreeMap::from([
        ("analyzer", &syncline_analyzer::MIGRATIONS),
        ("connector", &syncline_connector::MIGRATIONS),
        ("coordinator", &syncline_coordinator::MIGRATIONS),
        ("extractor", &syncline_extractor::MIGRATIONS),
        ("gateway", &syncline_gateway::MIGRATIONS),
        ("loader", &syncline_loader::MIGRATIONS),
        ("masker", &syncline_masker::MIGRATIONS),
        ("monitor", &syncline_monitor::MIGRATIONS),
    ])
}

fn released(schema: &str) -> i64 {
    RELEASED.iter().find(|(name, _)| *name == schema).unwrap().1
}

fn without(value: &mut serde_json::Value, keys: &[&str]) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|key, _| !keys.contains(&key.as_str()));
            map.values_mut().for_each(|v| without(v, keys));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|v| without(v, keys)),
        _ => {}
    }
}

/// The database as the last release would have left it.
async fn downgrade(db: &mut PgConnection) {
    for (schema, version, undo) in UNDO {
        sqlx::raw_sql(undo).execute(&mut *db).await.unwrap();
        let forget = format!("delete from {schema}._sqlx_migrations where version = {version}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(forget)).execute(&mut *db).await.unwrap();
    }
    for (schema, _) in RELEASED {
        let older = format!("alter table {schema}.outbox drop column trace; alter table {schema}.task drop column round");
        sqlx::raw_sql(sqlx::AssertSqlSafe(older)).execute(&mut *db).await.unwrap();
    }
    let states: Vec<(String, serde_json::Value)> = sqlx::query_as("select id, state from coordinator.run")
        .fetch_all(&mut *db)
        .await
        .unwrap();
    for (id, mut state) in states {
        without(&mut state, &NEW_IN_STATES);
        sqlx::query("update coordinator.run set state = $2 where id = $1")
            .bind(id)
            .bind(state)
            .execute(&mut *db)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_in_flight_survives_the_upgrade_of_its_database() {
    let target = OrgConfig {
        job_latency_ms: 700,
        ..SimulatedOrg::sandbox()
    };
    let mut world = World::between(SimulatedOrg::production(1_000), target).await;
    let run = world.submit(&sync::refresh()).await;
    world.first_writes(&run.id).await;
    world.stack.door.pause(&run.id).await.unwrap();
    world.stack.door.reach(&run.id, &["paused"], RUN_WAIT).await;
    let written = world.target.writes().await;
    for (service, _) in RELEASED {
        world.stack.kill(service).await;
    }
    let mut db = PgConnection::connect(world.stack.database_url()).await.unwrap();
    downgrade(&mut db).await;

    for (service, _) in RELEASED {
        world.stack.restart(service).await;
    }
    for (schema, made) in migrations() {
        let newest: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select max(version) from {schema}._sqlx_migrations")))
            .fetch_one(&mut db)
            .await
            .unwrap();
        assert_eq!(Some(newest), made.iter().map(|m| m.version).max(), "{schema}");
    }
    let door = &world.stack.door;
    assert_eq!(door.run(&run.id).await.unwrap().status, "paused", "it waited through the upgrade");
    door.resume(&run.id).await.unwrap();
    let report = world.end(&run.id, "completed").await;
    assert_balanced(&report);
    assert!(world.target.writes().await > written, "it went on where it was");
    world.assert_same().await;
}

#[test]
fn every_migration_is_released_or_taken_back_by_the_test_above() {
    for (schema, made) in migrations() {
        for migration in made.iter() {
            let undone = UNDO
                .iter()
                .any(|(name, version, _)| *name == schema && *version == migration.version);
            assert_eq!(migration.version > released(schema), undone, "{schema} {}", migration.version);
        }
    }
}

/// What the release before could not live with, had it to run beside the new schema.
fn breaks_the_release_before(sql: &str) -> Option<&'static str> {
    let code: String = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" ");
    let code = code.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    for statement in code.split(';') {
        for (part, why) in [
            ("drop table", "drops a table"),
            ("drop column", "drops a column"),
            ("rename", "renames"),
            (" type ", "changes a type"),
            ("set not null", "demands what older rows or statements may lack"),
            ("drop default", "takes a default that older statements rely on"),
            ("truncate", "empties a table"),
        ] {
            if statement.contains(part) {
                return Some(why);
            }
        }
        if statement.contains("add column") && statement.contains("not null") && !statement.contains("default") {
            return Some("adds a column that older statements do not fill");
        }
    }
    None
}

#[test]
fn newer_migrations_leave_what_the_release_before_needs() {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services");
    let mut looked_at = 0;
    for (schema, _) in RELEASED {
        for entry in std::fs::read_dir(services.join(schema).join("migrations")).unwrap() {
            let path = entry.unwrap().path();
            let version: i64 = path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .split('_')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            if version > released(schema) {
                looked_at += 1;
                let sql = std::fs::read_to_string(&path).unwrap();
                assert_eq!(breaks_the_release_before(&sql), None, "{}", path.display());
            }
        }
    }
    assert_eq!(looked_at, UNDO.len());
    for (sql, breaks) in [
        ("alter table a add column b text;", false),
        ("alter table a add column b int not null default 0;", false),
        ("create table c (d text not null); create index e on c (d);", false),
        ("-- rename nothing\ncreate table c (d int);", false),
        ("alter table a add column b int not null;", true),
        ("alter table a\n  drop column b;", true),
        ("alter table a rename to b;", true),
        ("alter table a alter column b type bigint;", true),
        ("alter table a alter column b set not null;", true),
        ("drop table a;", true),
    ] {
        assert_eq!(breaks_the_release_before(sql).is_some(), breaks, "{sql}");
    }
}
