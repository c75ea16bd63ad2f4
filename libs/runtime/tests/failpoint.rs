//! What an armed failpoint does to its process, seen from outside.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use syncline_runtime::failpoint::{self, LOADER_JOB_CREATED, LOADER_UPLOADED};
use syncline_testkit::{Process, eventually};

/// Set in the process that is to fail: this very test again, which then passes points instead of watching.
const CHILD: &str = "SYNCLINE_TEST_FAILPOINT_CHILD";
const SOON: Duration = Duration::from_secs(20);

/// This test as a process of its own with something armed.
fn child(test: &str, armed: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, armed);
    command
}

/// In the child: arms what it was told to, and passes points; answers which it survived.
async fn passed() -> Option<u32> {
    let armed = std::env::var(CHILD).ok()?;
    failpoint::arm(&armed.parse().unwrap());
    let mut survived = 0;
    for point in [&LOADER_JOB_CREATED, &LOADER_UPLOADED, &LOADER_JOB_CREATED] {
        failpoint::pass(point).await.unwrap();
        survived += 1;
    }
    Some(survived)
}

#[tokio::test]
async fn a_process_kills_itself_at_the_passage_that_was_named() {
    if passed().await.is_some() {
        return;
    }
    for (armed, signal) in [
        ("loader.job_created=kill@2", Some(9)),
        ("loader.job_created=kill@3", None),
        ("loader.intent_stored=kill,loader.uploaded=kill", Some(9)),
    ] {
        let mut command = child("a_process_kills_itself_at_the_passage_that_was_named", armed);
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(ended.signal(), signal, "{armed}: {ended}");
    }
}

#[tokio::test]
async fn a_stopped_process_goes_on_when_it_is_told_to() {
    if passed().await.is_some() {
        return;
    }
    let log = tempfile::tempdir().unwrap();
    let mut command = child("a_stopped_process_goes_on_when_it_is_told_to", "loader.uploaded=stop");
    let mut process = Process::start(&mut command, &log.path().join("log")).unwrap();
    let stat = format!("/proc/{}/stat", process.pid());
    eventually(SOON, || async {
        let text = std::fs::read_to_string(&stat).map_err(|e| e.to_string())?;
        // Behind the name in brackets: the state, `T` of a stopped one.
        match text.rsplit(") ").next() {
            Some(rest) if rest.starts_with('T') => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    process.resume().unwrap();
    let status = eventually(SOON, || {
        let ended = process.ended();
        async move { ended.map_err(|e| e.to_string())?.ok_or("it still runs".to_owned()) }
    })
    .await;
    assert!(status.success(), "{status}");
}
