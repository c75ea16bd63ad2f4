//! PostgreSQL: reached, new enough, durable, roomy, and with the schemas of this release.

use sqlx::migrate::Migrator;
use syncline_runtime::Config;
use syncline_runtime::inspection::{self, CONNECTIONS_OF_ALL, Schema, Settings};

use super::{Examination, Finding, told};
use crate::services::SERVICES;

const MIGRATE: &str = "Run `syncline migrate`, or start the services with SYNCLINE_MIGRATE=start.";

pub async fn examine(config: &Config) -> Examination {
    let mut seen = Examination::default();
    let check = "PostgreSQL";
    let Some(address) = inspection::address(&config.database_url) else {
        seen.add(Finding::fail(
            check,
            "SYNCLINE_DATABASE_URL is not an address of PostgreSQL",
            "Set it to postgres://user:password@host:port/database.",
        ));
        return seen;
    };
    let schemas: Vec<(&'static str, &'static Migrator)> = SERVICES.iter().map(|s| (s.name, s.migrations)).collect();
    match inspection::inspect(&config.database_url, &schemas).await {
        Ok(found) => {
            seen.add(Finding::ok(check, address));
            settings(&found.settings, &mut seen);
            for (name, state) in found.schemas {
                seen.add(schema(name, state.map_err(|e| told(&e))));
            }
        }
        Err(error) => seen.add(unreachable(&address, &error)),
    }
    seen
}

fn unreachable(address: &str, error: &sqlx::Error) -> Finding {
    let remedy = match error {
        // Class 28: the server is there and does not let this user in; 3D000: it has no such database.
        sqlx::Error::Database(e) if e.code().is_some_and(|c| c.starts_with("28")) => {
            "See that user and password in SYNCLINE_DATABASE_URL are right."
        }
        sqlx::Error::Database(e) if e.code().is_some_and(|c| c == "3D000") => {
            "Create the database that SYNCLINE_DATABASE_URL names, or name another."
        }
        _ => "Start PostgreSQL 15 or newer, and see that SYNCLINE_DATABASE_URL names it.",
    };
    Finding::fail("PostgreSQL", format!("{address}: {}", told(error)), remedy)
}

fn settings(found: &Settings, seen: &mut Examination) {
    let check = "PostgreSQL version";
    seen.add(if found.new_enough() {
        Finding::ok(check, &found.version)
    } else {
        Finding::fail(check, format!("{} is too old", found.version), "Update PostgreSQL to 15 or newer.")
    });
    let lost = "what was committed may be lost when the machine stops";
    let check = "PostgreSQL fsync";
    seen.add(match found.fsync.as_str() {
        "off" => Finding::fail(
            check,
            format!("off: {lost}"),
            "Set `fsync = on` in postgresql.conf, and start PostgreSQL again.",
        ),
        on => Finding::ok(check, on),
    });
    let check = "PostgreSQL commit";
    seen.add(match found.synchronous_commit.as_str() {
        "off" => Finding::fail(
            check,
            format!("synchronous_commit is off: {lost}"),
            "Set `synchronous_commit = on` in postgresql.conf and for the role and database of the services.",
        ),
        // Every other value waits for this server's own disk.
        on => Finding::ok(check, format!("synchronous_commit is {on}")),
    });
    let check = "PostgreSQL room";
    let connections = u32::try_from(found.connections).unwrap_or(0);
    seen.add(if connections >= CONNECTIONS_OF_ALL {
        Finding::ok(
            check,
            format!("{connections} connections; all services take up to {CONNECTIONS_OF_ALL}"),
        )
    } else {
        Finding::warn(
            check,
            format!("{connections} connections; all services take up to {CONNECTIONS_OF_ALL}"),
            "Raise `max_connections` in postgresql.conf, and start PostgreSQL again.",
        )
    });
}

fn schema(name: &str, state: Result<Schema, String>) -> Finding {
    let check = format!("schema {name}");
    match state {
        Ok(Schema::Current { version }) => Finding::ok(check, format!("current, at {version}")),
        Ok(Schema::Newer { version }) => Finding::ok(check, format!("at {version}, of a later release, beside which this one works")),
        Ok(Schema::Missing) => Finding::fail(check, "missing", MIGRATE),
        Ok(Schema::Older { missing: 1 }) => Finding::fail(check, "older: 1 migration is missing", MIGRATE),
        Ok(Schema::Older { missing }) => Finding::fail(check, format!("older: {missing} migrations are missing"), MIGRATE),
        Ok(Schema::HalfApplied { version }) => Finding::fail(
            check,
            format!("migration {version} stopped half-way"),
            "Restore the backup that was taken before it (docs/backup.md), then run `syncline migrate`.",
        ),
        Ok(Schema::Foreign { version }) => Finding::fail(
            check,
            format!("migration {version} is not the one of this release"),
            "Use the release that made the database, or restore a backup (docs/backup.md).",
        ),
        Err(why) => Finding::fail(
            check,
            format!("it cannot be looked at: {why}"),
            "See that the role in SYNCLINE_DATABASE_URL owns the schema.",
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn good() -> Settings {
        Settings {
            version_number: 150_004,
            version: "15.4".to_owned(),
            fsync: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            connections: 97,
        }
    }

    #[test]
    fn a_server_that_cannot_be_relied_on_says_why() {
        let look = |found: &Settings| {
            let mut seen = Examination::default();
            settings(found, &mut seen);
            let bad = seen.findings.into_iter().filter(|f| f.verdict != Verdict::Ok);
            bad.map(|f| (f.check, f.verdict, f.remedy.unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(look(&good()), [], "PostgreSQL's own defaults are enough");
        for (broken, check, verdict, remedy) in [
            (
                Settings {
                    version_number: 140_009,
                    ..good()
                },
                "PostgreSQL version",
                Verdict::Fail,
                "15 or newer",
            ),
            (
                Settings {
                    fsync: "off".to_owned(),
                    ..good()
                },
                "PostgreSQL fsync",
                Verdict::Fail,
                "fsync = on",
            ),
            (
                Settings {
                    synchronous_commit: "off".to_owned(),
                    ..good()
                },
                "PostgreSQL commit",
                Verdict::Fail,
                "synchronous_commit = on",
            ),
            (
                Settings { connections: 95, ..good() },
                "PostgreSQL room",
                Verdict::Warn,
                "max_connections",
            ),
        ] {
            let bad = look(&broken);
            let [(found, judged, mend)] = &bad[..] else {
                panic!("{check}: {bad:?}")
            };
            assert_eq!((found.as_str(), *judged), (check, verdict));
            assert!(mend.contains(remedy), "{mend}");
        }
    }

    #[test]
    fn a_schema_says_what_it_lacks() {
        for (state, verdict, remedy) in [
            (Schema::Current { version: 3 }, Verdict::Ok, ""),
            (Schema::Newer { version: 9 }, Verdict::Ok, ""),
            (Schema::Missing, Verdict::Fail, "syncline migrate"),
            (Schema::Older { missing: 2 }, Verdict::Fail, "syncline migrate"),
            (Schema::HalfApplied { version: 2 }, Verdict::Fail, "backup"),
            (Schema::Foreign { version: 2 }, Verdict::Fail, "the release that made"),
        ] {
            let finding = schema("loader", Ok(state.clone()));
            assert_eq!((finding.check.as_str(), finding.verdict), ("schema loader", verdict), "{state:?}");
            assert!(finding.remedy.unwrap_or_default().contains(remedy), "{state:?}");
        }
    }
}
