//! Children of one parent are written together, so that few of the target's transactions meet at it.
#![allow(clippy::unwrap_used)]

mod bench;

use std::sync::Arc;

use bench::*;
use bytes::Bytes;
use reqwest::Method;
use serde_json::json;
use syncline_connect::{Operation, Target};
use syncline_salesforce_simulator::OrgConfig;
use syncline_salesforce_simulator::org::OrgState;
use syncline_salesforce_simulator::store::locks::LockConfig;
use syncline_testkit::eventually;

/// The simulated org works through a job in transactions of 200 rows.
const TRANSACTIONS: u64 = 10;
const PARENTS: usize = 100;
const CHILDREN: usize = 2_000;

/// An org in which a transaction does not wait for what somebody else holds.
fn impatient() -> OrgConfig {
    OrgConfig {
        locks: Some(LockConfig {
            wait_ms: 1,
            hold_ms: 0,
            retries: 0,
        }),
        ..OrgConfig::default()
    }
}

/// Transactions that met a held record so far.
fn waits(org: &OrgState) -> u64 {
    org.locks.as_ref().unwrap().report().0
}

/// Lets go of what is held as soon as everything else is written.
fn let_go_when(bench: &Bench, written: fn(&OrgState) -> usize, rest: usize) -> tokio::task::JoinHandle<()> {
    let org = Arc::clone(&bench.org.state);
    tokio::spawn(async move {
        eventually(DEADLINE, || async {
            match written(&org) {
                n if n >= rest => Ok(()),
                n => Err(format!("{n} of {rest} rows are written")),
            }
        })
        .await;
        org.locks.as_ref().unwrap().let_go();
    })
}

fn held_rows() -> usize {
    CHILDREN / PARENTS
}

#[tokio::test]
async fn the_children_of_a_locked_parent_are_met_by_one_transaction() {
    let bench = Bench::with_org(vec![accounts(), contacts()], impatient()).await;
    bench.publish_all("Account", &some_accounts(0, PARENTS)).await;
    bench.done("Account", "load_pass_1").await;
    let held = bench.target_key("Account", &key("Account", 7)).await.unwrap();
    bench.corrupt(Method::POST, "locks", json!([held])).await;

    // As they come: neighbours belong to different accounts, so every transaction has children of the held one.
    let accounts: Vec<String> = bench.records("Account", &[]).into_keys().collect();
    let mut csv = "LastName,AccountId\n".to_owned();
    for i in 0..CHILDREN {
        csv.push_str(&format!("As they come {i},{}\n", accounts[i % PARENTS]));
    }
    let target = bench.target();
    let job = target.create_job(&name("Contact"), &Operation::Insert).await.unwrap().id;
    target.upload(&job, vec![Bytes::from(csv)]).await.unwrap();
    target.close_job(&job).await.unwrap();
    let status = eventually(DEADLINE, || async {
        match target.job_status(&job).await.unwrap() {
            status if status.state.is_terminal() => Ok(status),
            status => Err(format!("{status:?}")),
        }
    })
    .await;
    assert_eq!(status.failed, held_rows() as u64);
    let scattered = waits(&bench.org.state);
    assert_eq!(scattered, TRANSACTIONS);

    let rows: Vec<_> = (0..CHILDREN)
        .map(|i| row(&[&key("Contact", i), &format!("Loaded {i}"), "", &key("Account", i % PARENTS)]))
        .collect();
    for (seq, rows) in rows.chunks(CHILDREN / 2).enumerate() {
        bench.publish("Contact", u32::try_from(seq).unwrap(), rows).await;
    }
    bench.end("Contact", 2, CHILDREN as u64).await;
    bench.forget_requests();
    let contacts = |org: &OrgState| org.db().tables[org.schema.object("Contact").unwrap()].scan(false).count();
    let freed = let_go_when(&bench, contacts, 2 * (CHILDREN - held_rows()));
    assert!(
        !bench.done("Contact", "load_pass_1").await,
        "what was locked is loaded when the lock is gone"
    );
    freed.await.unwrap();
    let (_, jobs) = bench.writes();
    let grouped = waits(&bench.org.state) - scattered;
    assert!(
        grouped <= jobs && grouped < scattered,
        "{grouped} transactions of {jobs} jobs met the lock"
    );

    // Ids are given in the order of writing: each account's contacts stand together, in the order of the reading.
    let loaded: Vec<(String, usize)> = bench
        .records("Contact", &["AccountId", "LastName"])
        .into_values()
        .filter_map(|r| Some((r[0].clone(), r[1].strip_prefix("Loaded ")?.parse().unwrap())))
        .collect();
    assert_eq!(loaded.len(), CHILDREN);
    let families: Vec<_> = loaded.chunk_by(|a, b| a.0 == b.0).collect();
    assert_eq!(families.len(), PARENTS);
    assert!(families.iter().all(|f| f.is_sorted_by_key(|c| c.1)));
}

#[tokio::test]
async fn pass_2_writes_the_children_of_one_parent_together() {
    let bench = Bench::with_org(vec![accounts()], impatient()).await;
    let rows: Vec<_> = (0..CHILDREN)
        .map(|i| {
            let parent = if i < PARENTS { String::new() } else { key("Account", i % PARENTS) };
            row(&[&key("Account", i), &format!("Account {i}"), "Berlin", &parent])
        })
        .collect();
    bench.publish_all("Account", &rows).await;
    bench.done("Account", "load_pass_1").await;
    let held = bench.target_key("Account", &key("Account", 7)).await.unwrap();
    bench.corrupt(Method::POST, "locks", json!([held])).await;
    bench.forget_requests();
    let written = |org: &OrgState| usize::try_from(org.faults.report()["writes"].as_u64().unwrap()).unwrap();
    let freed = let_go_when(&bench, written, CHILDREN - PARENTS - (held_rows() - 1));
    assert!(!bench.done("Account", "load_pass_2").await);
    freed.await.unwrap();
    let (_, jobs) = bench.writes();
    let met = waits(&bench.org.state);
    assert!(met <= jobs, "{met} transactions of {jobs} jobs met the lock");
    assert_eq!(parents_written(&bench), CHILDREN - PARENTS);
}

fn parents_written(bench: &Bench) -> usize {
    bench.values("Account", "ParentId").iter().filter(|p| !p.is_empty()).count()
}
