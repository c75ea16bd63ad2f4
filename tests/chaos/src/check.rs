//! What must hold when a run has ended, whatever happened in it. First of all what plain REST shows of both orgs, judged by
//! `tests/compare`, which shares nothing with Syncline; then the ledger, the report and what is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream;
use futures::TryStreamExt;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, Row as _};
use syncline_testkit::nats_options;
use tokio::time::Instant;

use crate::org::Org;
use crate::record::Record;
use crate::servers::Servers;

const STREAMS: [&str; 3] = ["RAW_0", "CLEAN_0", "TASKS"];
/// The reconciler removes a finished run's remains within its rounds.
const CLEAN_UP_WAIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);

/// Where, what kind, how often.
type Difference = (String, String, u64);

/// Compares the orgs; counts into the record and answers how many records each object has.
pub fn compare(source: &Org, target: &Org, scan: &[std::path::PathBuf], record: &mut Record) -> Result<BTreeMap<String, u64>> {
    let mut command = Command::new("python3");
    command
        .arg(crate::repository().join("tests/compare/compare.py"))
        .args(["--source-url", &source.url, "--target-url", &target.url, "--shown", "1"])
        .env("SOURCE_TOKEN", &source.token)
        .env("TARGET_TOKEN", &target.token);
    for place in scan {
        command.arg("--scan-dir").arg(place);
    }
    let output = command.output().context("python3 starts")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (differences, counts) = read_comparison(&text);
    for (what, kind, count) in differences {
        match kind.as_str() {
            "missing in target" => record.lost += count,
            "extra in target" => record.duplicated += count,
            "link differs" | "link to another object" | "name differs" => record.wrong_links += count,
            _ => record.different += count,
        }
        record.findings.push(format!("{what}: {kind}: {count}"));
    }
    if !output.status.success() && record.findings.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        record
            .findings
            .push(format!("the comparison failed: {}", said.lines().last().unwrap_or_default()));
    }
    Ok(counts)
}

/// Differences and the source's records by object, from what the comparison prints.
fn read_comparison(text: &str) -> (Vec<Difference>, BTreeMap<String, u64>) {
    let mut differences = Vec::new();
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split(": ").collect();
        let count = parts.last().and_then(|n| n.parse().ok());
        if let (false, [what, kind @ .., _], Some(count)) = (line.starts_with(' '), parts.as_slice(), count)
            && !kind.is_empty()
        {
            differences.push(((*what).to_owned(), kind.join(": "), count));
        }
        let cells: Vec<&str> = line.split_whitespace().collect();
        if let [object, numbers @ ..] = cells.as_slice()
            && numbers.len() == 8
            && let Some(source) = numbers.first().and_then(|n| n.parse().ok())
        {
            counts.insert((*object).to_owned(), source);
        }
    }
    (differences, counts)
}

/// The ledger names exactly the target's records.
pub async fn ledger(servers: &Servers, target: &Org, counts: &BTreeMap<String, u64>, record: &mut Record) -> Result<()> {
    let mut db = PgConnection::connect(&servers.database_url).await?;
    for object in counts.keys() {
        let rows = sqlx::query(
            "select l.target_key from loader.ledger l join loader.link k on k.id = l.link
             where left(k.target_identity, 15) = left($1, 15) and k.target_object = $2",
        )
        .bind(&target.id)
        .bind(object)
        .fetch_all(&mut db)
        .await?;
        let mut known = BTreeSet::new();
        let mut reserved = 0;
        for row in rows {
            match row.get::<Option<String>, _>(0) {
                Some(key) => {
                    known.insert(key.chars().take(15).collect::<String>());
                }
                None => reserved += 1,
            }
        }
        let there: BTreeSet<String> = target.ids(object).await?.into_iter().collect();
        let (only_ledger, only_target) = (known.difference(&there).count(), there.difference(&known).count());
        if (only_ledger, only_target, reserved) != (0, 0, 0) {
            record.findings.push(format!(
                "{object}: the ledger has {only_ledger} records that the target has not, lacks {only_target}, and {reserved} keys are reserved"
            ));
        }
    }
    Ok(())
}

/// The report tells what the orgs show.
pub fn report(report: &Value, counts: &BTreeMap<String, u64>, record: &mut Record) {
    let number = |object: &Value, field: &str| -> u64 {
        let value = &object[field];
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
    };
    let objects = report["objects"].as_array().cloned().unwrap_or_default();
    for (name, count) in counts {
        let Some(object) = objects.iter().find(|o| o["object"] == name.as_str()) else {
            record.findings.push(format!("{name} is not in the report"));
            continue;
        };
        let n = |field| number(object, field);
        let told = (n("read"), n("inserted") + n("updated") + n("unchanged"), n("targetCount"));
        if told != (*count, *count, *count) {
            record.findings.push(format!(
                "{name}: {count} records, and the report says read, written, in target = {told:?}"
            ));
        }
        let wrong = ["refused", "parked", "dead", "referencesWrong", "valuesDifferent", "leaks"].map(|field| (field, n(field)));
        if object["balanced"] != true || wrong.iter().any(|(_, count)| *count > 0) {
            record.findings.push(format!("{name}: balanced {}, {wrong:?}", object["balanced"]));
        }
    }
}

/// Nothing of the run stays on the bus, in outboxes, in the journal, or open at the target.
pub async fn leftovers(servers: &Servers, target: &Org, run: &str, record: &mut Record) -> Result<()> {
    let end = Instant::now() + CLEAN_UP_WAIT;
    loop {
        let mut left = on_the_bus(servers, run).await?;
        left.extend(in_the_database(servers, run).await?);
        // An empty job whose maker died before it stored the id is swept when it is ten minutes old, not before.
        let jobs = target.open_jobs().await?;
        left.extend(
            jobs.into_iter()
                .filter(|state| state != "Open")
                .map(|state| format!("a job of the target is {state}")),
        );
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            record.findings.extend(left);
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn context(servers: &Servers) -> Result<jetstream::Context> {
    let (options, address) = nats_options(&servers.nats_url);
    Ok(jetstream::new(options.connect(address).await?))
}

async fn on_the_bus(servers: &Servers, run: &str) -> Result<Vec<String>> {
    let context = context(servers).await?;
    let mut left = Vec::new();
    for name in STREAMS {
        let stream = context.get_stream(name).await?;
        let subjects: Vec<(String, usize)> = stream.info_with_subjects(">").await?.try_collect().await?;
        // Invitations of a finished run are acknowledged by whoever gets them, or age.
        let subjects = subjects.into_iter().filter(|(subject, _)| name != "TASKS" && subject.contains(run));
        left.extend(subjects.map(|(subject, count)| format!("{count} messages on {subject}")));
        let consumers: Vec<String> = stream.consumer_names().try_collect().await?;
        left.extend(
            consumers
                .into_iter()
                .filter(|c| c.contains(run))
                .map(|c| format!("consumer {c} of {name}")),
        );
    }
    Ok(left)
}

async fn in_the_database(servers: &Servers, run: &str) -> Result<Vec<String>> {
    let mut db = PgConnection::connect(&servers.database_url).await?;
    let rows = sqlx::query(
        "select 'open journal entries', count(*) from loader.journal where run = $1 and state <> 'settled'
         union all select 'messages in outboxes', (select count(*) from coordinator.outbox) + (select count(*) from extractor.outbox)
           + (select count(*) from masker.outbox) + (select count(*) from loader.outbox) + (select count(*) from analyzer.outbox)
         union all select 'live leases', (select count(*) from loader.task where run = $1 and expires_at is not null)
           + (select count(*) from masker.task where run = $1 and expires_at is not null)
           + (select count(*) from extractor.task where run = $1 and expires_at is not null)",
    )
    .bind(run)
    .fetch_all(&mut db)
    .await?;
    let some = rows
        .iter()
        .map(|r| (r.get::<String, _>(0), r.get::<i64, _>(1)))
        .filter(|(_, count)| *count > 0);
    Ok(some.map(|(what, count)| format!("{count} {what}")).collect())
}

/// Positions of the batch streams, to tell how much a run published.
pub async fn published(servers: &Servers) -> Result<u64> {
    let context = context(servers).await?;
    let mut last = 0;
    for name in ["RAW_0", "CLEAN_0"] {
        last += context.get_stream(name).await?.cached_info().state.last_sequence;
    }
    Ok(last)
}

/// How many batches there were on the bus by name, and how often the loader was given one again.
pub async fn batches(servers: &Servers, run: &str) -> Result<(u64, u64)> {
    let mut db = PgConnection::connect(&servers.database_url).await?;
    let row = sqlx::query(
        "select (select count(*) from extractor.batch where run = $1) + (select count(*) from loader.claim where run = $1),
           coalesce((select sum(attempts - 1) from loader.claim where run = $1), 0)::bigint",
    )
    .bind(run)
    .fetch_one(&mut db)
    .await?;
    Ok((row.get::<i64, _>(0).unsigned_abs(), row.get::<i64, _>(1).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_comparison_prints_is_read() {
        let text = "object  source  target  paired  values  masked  links  outside  differences
------  ------  ------  ------  ------  ------  -----  -------  -----------
Account    120     121     120     900     100     50        0            2

leak scan: 120 emails, 3 phones, 4 identifiers of the source (0 too short to look for)
  in 900 texts of the target: 0 found

Account: extra in target: 1
   target 001
Contact.AccountId: link differs: 3
   source 003 target 003

read in 0.1 s, compared and scanned in 0.1 s
DIFFERENT
";
        let (differences, counts) = read_comparison(text);
        assert_eq!(
            differences,
            [
                ("Account".to_owned(), "extra in target".to_owned(), 1),
                ("Contact.AccountId".to_owned(), "link differs".to_owned(), 3)
            ]
        );
        assert_eq!(counts, [("Account".to_owned(), 120)].into());
    }
}
