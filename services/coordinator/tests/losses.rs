//! Batches that the bus lost: what is found to be gone is read again, and nothing else is.
#![allow(clippy::unwrap_used)]

mod desk;

use bytes::Bytes;
use desk::{Desk, done, quiet};
use syncline_bus::Audience;
use syncline_coordinator::reconciler::one_round;
use syncline_domain::{BatchName, ObjectName, RunId};
use syncline_wire::stage::GetProgressResponse;

const MASKER: usize = 1;
const LOADER: usize = 2;

/// A round that compares, while this stage says that it has received so much.
async fn round(desk: &Desk, stage: usize, received: &[&str]) {
    desk.stages[stage].script(|s| {
        s.progress = Some(GetProgressResponse {
            received: received.iter().map(|&o| o.to_owned()).collect(),
            ..quiet()
        })
    });
    one_round(&desk.bench.platform, true).await.unwrap();
}

fn reopened(desk: &Desk) -> [Vec<String>; 2] {
    [0, 1].map(|stage| desk.stages[stage].script(|s| std::mem::take(&mut s.reopened)))
}

async fn batch(desk: &Desk, run: &str, audience: Audience) -> BatchName {
    let name = BatchName::whole(RunId::new(run).unwrap(), ObjectName::new("Account").unwrap(), 0, 0, 0);
    let bus = &desk.bench.platform.bus;
    bus.publish_batch(audience, &desk.bench.tenant, &name, "p", 1, Bytes::from_static(b"x"))
        .await
        .unwrap();
    name
}

async fn extracts(desk: &Desk) -> usize {
    let invitations = desk.invitations().await;
    invitations
        .iter()
        .filter(|(_, object, step)| object == "Account" && step == "extract")
        .count()
}

#[tokio::test]
async fn raw_batches_that_are_gone_are_extracted_again() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    round(&desk, MASKER, &[]).await;
    assert_eq!(reopened(&desk), [[""; 0]; 2], "it is still being extracted");

    desk.tell(&id, done("Account", "extract")).await;
    let name = batch(&desk, &id, Audience::Raw).await;
    round(&desk, MASKER, &[]).await;
    assert_eq!(reopened(&desk), [[""; 0]; 2], "what is left on the bus is on its way");

    let bus = &desk.bench.platform.bus;
    bus.purge_run(&desk.bench.tenant, &name.run).await.unwrap();
    desk.stages[MASKER].script(|s| s.progress = None);
    one_round(&desk.bench.platform, true).await.unwrap();
    assert_eq!(reopened(&desk), [[""; 0]; 2], "no answer proves nothing");
    round(&desk, MASKER, &["Account"]).await;
    assert_eq!(reopened(&desk), [[""; 0]; 2], "the masker has everything");
    one_round(&desk.bench.platform, false).await.unwrap();

    let before = extracts(&desk).await;
    round(&desk, MASKER, &["Contact"]).await;
    assert_eq!(reopened(&desk), [["Account"]; 2]);
    assert_eq!(extracts(&desk).await, before + 1, "it is invited at once");
    round(&desk, MASKER, &["Contact"]).await;
    assert_eq!(reopened(&desk), [[""; 0]; 2], "once: it is being extracted now");
    desk.tell(&id, done("Account", "extract")).await;
    round(&desk, MASKER, &["Account"]).await;
    assert_eq!(reopened(&desk), [[""; 0]; 2]);
}

#[tokio::test]
async fn clean_batches_that_are_gone_are_extracted_and_transformed_again() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    for step in ["extract", "transform"] {
        desk.tell(&id, done("Account", step)).await;
    }
    let name = batch(&desk, &id, Audience::Clean).await;
    round(&desk, LOADER, &[]).await;
    assert_eq!(reopened(&desk), [[""; 0]; 2]);
    desk.bench.platform.bus.purge_run(&desk.bench.tenant, &name.run).await.unwrap();
    round(&desk, LOADER, &["Contact"]).await;
    assert_eq!(reopened(&desk), [["Account"]; 2]);
    let invited: Vec<String> = desk
        .invitations()
        .await
        .into_iter()
        .rev()
        .take(2)
        .map(|(_, _, step)| step)
        .collect();
    assert_eq!(invited, ["transform", "extract"]);
    for step in ["extract", "transform", "load_pass_1"] {
        desk.tell(&id, done("Account", step)).await;
    }
    round(&desk, LOADER, &[]).await;
    assert_eq!(reopened(&desk), [[""; 0]; 2], "what is loaded needs no batch");
}

#[tokio::test]
async fn a_stage_that_cannot_be_told_leaves_the_run_as_it_is() {
    let desk = Desk::start().await;
    let id = desk.running().await;
    desk.tell(&id, done("Account", "extract")).await;
    desk.stages[0].script(|s| s.reopen_refused = true);
    let before = extracts(&desk).await;
    round(&desk, MASKER, &[]).await;
    assert_eq!(extracts(&desk).await, before);
    desk.stages[0].script(|s| s.reopen_refused = false);
    round(&desk, MASKER, &[]).await;
    assert_eq!(extracts(&desk).await, before + 1, "the next round finds it again");
}
