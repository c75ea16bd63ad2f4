//! The real binary against a gateway that answers from a script: exit codes, streams, interrupts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use serde_json::Value;
use syncline_domain::ErrorCode;
use syncline_testkit::send_signal;
use syncline_wire::analysis::analysis_service_server::{AnalysisService, AnalysisServiceServer};
use syncline_wire::analysis::{
    CheckSyncRequest, CheckSyncResponse, GetPlanSummaryRequest, GetPlanSummaryResponse, Issue, PlanObject, PlanSummary, ProposeSyncRequest,
    ProposeSyncResponse,
};
use syncline_wire::monitor::monitor_service_server::{MonitorService, MonitorServiceServer};
use syncline_wire::monitor::{
    DeadLetter, DiscardDeadLettersRequest, DiscardDeadLettersResponse, GetDeadLetterRequest, GetDeadLetterResponse, GetReportRequest,
    GetReportResponse, ListDeadLettersRequest, ListDeadLettersResponse, ListErrorsRequest, ListErrorsResponse, ObjectProgress,
    ObjectReport, ReplayDeadLettersRequest, ReplayDeadLettersResponse, Report, Snapshot, WatchRunRequest, WatchRunResponse,
};
use syncline_wire::run::run_service_server::{RunService, RunServiceServer};
use syncline_wire::run::{
    ApproveRunRequest, ApproveRunResponse, CancelRunRequest, CancelRunResponse, ExplainRunRequest, ExplainRunResponse, FailedRecords,
    GetRunRequest, GetRunResponse, ListRunsRequest, ListRunsResponse, PauseRunRequest, PauseRunResponse, ResumeRunRequest,
    ResumeRunResponse, RetryFailedRequest, RetryFailedResponse, Run, SubmitRunRequest, SubmitRunResponse,
};
use syncline_wire::status::status;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const TOKEN: &str = "t0ken";
const DEADLINE: Duration = Duration::from_secs(30);

/// A gateway whose runs end as their name says: `r-completed`, `r-failed` ...; `r-endless` never ends.
#[derive(Clone, Default)]
struct Script {
    watches: Arc<AtomicU32>,
    /// Decisions that were carried out, not only looked at.
    decisions: Arc<AtomicU32>,
}

fn run_named(id: &str) -> Run {
    Run {
        id: id.to_owned(),
        sync: "refresh".into(),
        sync_version: 1,
        status: id.trim_start_matches("r-").replace('-', "_"),
        ..Run::default()
    }
}

fn unknown(run: &str) -> Status {
    status(ErrorCode::SyncUnknown, format!("run `{run}` is not known"))
}

#[tonic::async_trait]
impl RunService for Script {
    async fn submit_run(&self, request: Request<SubmitRunRequest>) -> Result<Response<SubmitRunResponse>, Status> {
        let request = request.into_inner();
        match request.sync.as_str() {
            "busy" => Err(status(ErrorCode::RunActive, "run `r-1` is active")),
            "missing" => Err(status(ErrorCode::SyncUnknown, "there is no sync `missing`")),
            sync => Ok(Response::new(SubmitRunResponse {
                run: Some(run_named(&format!("r-{sync}{}", request.idempotency_key))),
            })),
        }
    }
    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        Ok(Response::new(GetRunResponse {
            run: Some(run_named(&request.into_inner().id)),
        }))
    }
    async fn explain_run(&self, _: Request<ExplainRunRequest>) -> Result<Response<ExplainRunResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        let mut runs = vec![run_named("r-completed"), run_named("r-failed")];
        runs.truncate(request.into_inner().page_size as usize);
        Ok(Response::new(ListRunsResponse {
            runs,
            next_page_token: String::new(),
        }))
    }
    async fn approve_run(&self, request: Request<ApproveRunRequest>) -> Result<Response<ApproveRunResponse>, Status> {
        Ok(Response::new(ApproveRunResponse {
            run: Some(run_named(&request.into_inner().id)),
        }))
    }
    async fn pause_run(&self, request: Request<PauseRunRequest>) -> Result<Response<PauseRunResponse>, Status> {
        Err(unknown(&request.into_inner().id))
    }
    async fn resume_run(&self, _: Request<ResumeRunRequest>) -> Result<Response<ResumeRunResponse>, Status> {
        Err(Status::failed_precondition(
            "a run that is completed does not admit resume_requested",
        ))
    }
    async fn retry_failed(&self, request: Request<RetryFailedRequest>) -> Result<Response<RetryFailedResponse>, Status> {
        let request = request.into_inner();
        if !request.dry_run {
            self.decisions.fetch_add(1, Ordering::SeqCst);
        }
        let chosen = if request.code.is_empty() { 4 } else { 0 };
        Ok(Response::new(RetryFailedResponse {
            run: Some(run_named(&request.id)),
            failed: vec![FailedRecords {
                object: "Contact".into(),
                kind: "refused".into(),
                code: "DATA_VALIDATION_RULE_001".into(),
                count: 4,
                kept: 4,
                chosen,
                ..Default::default()
            }],
            chosen,
            parked: 0,
        }))
    }
    async fn cancel_run(&self, request: Request<CancelRunRequest>) -> Result<Response<CancelRunResponse>, Status> {
        Ok(Response::new(CancelRunResponse {
            run: Some(run_named(&request.into_inner().id)),
        }))
    }
}

#[tonic::async_trait]
impl MonitorService for Script {
    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<WatchRunResponse, Status>> + Send>>;

    async fn watch_run(&self, request: Request<WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let request = request.into_inner();
        if request.run == "r-nobody" {
            return Err(unknown(&request.run));
        }
        let snapshot = |cursor: u64, status: &str| {
            Ok(WatchRunResponse {
                snapshot: Some(Snapshot {
                    cursor,
                    run: request.run.clone(),
                    status: status.into(),
                    objects: vec![ObjectProgress {
                        object: "Account".into(),
                        expected: 100,
                        extracted: 100,
                        loaded: cursor * 10,
                        ..Default::default()
                    }],
                    ..Default::default()
                }),
            })
        };
        let end = run_named(&request.run).status;
        if request.run == "r-endless" {
            return Ok(Response::new(Box::pin(
                stream::iter([snapshot(1, "loading")]).chain(stream::pending()),
            )));
        }
        // The first watch breaks off; the second must come behind what was seen.
        let answers = match self.watches.fetch_add(1, Ordering::SeqCst) {
            0 => vec![
                snapshot(1, "extracting"),
                snapshot(5, "loading"),
                Err(Status::unavailable("stopping")),
            ],
            _ if request.after == 5 => vec![snapshot(9, &end)],
            _ => vec![Err(Status::internal(format!("watched behind {}", request.after)))],
        };
        Ok(Response::new(Box::pin(stream::iter(answers))))
    }
    async fn get_report(&self, request: Request<GetReportRequest>) -> Result<Response<GetReportResponse>, Status> {
        let run = request.into_inner().run;
        if run == "r-nobody" {
            return Err(unknown(&run));
        }
        Ok(Response::new(GetReportResponse {
            report: Some(Report {
                status: run_named(&run).status,
                run,
                objects: vec![ObjectReport {
                    object: "Account".into(),
                    read: 100,
                    inserted: 100,
                    balanced: true,
                    ..Default::default()
                }],
                ..Default::default()
            }),
        }))
    }
    async fn list_errors(&self, _: Request<ListErrorsRequest>) -> Result<Response<ListErrorsResponse>, Status> {
        Ok(Response::new(ListErrorsResponse::default()))
    }
    async fn get_dead_letter(&self, request: Request<GetDeadLetterRequest>) -> Result<Response<GetDeadLetterResponse>, Status> {
        let dead_letter = Some(DeadLetter {
            id: request.into_inner().id,
            run: "r-1".into(),
            state: "kept".into(),
            ..Default::default()
        });
        Ok(Response::new(GetDeadLetterResponse { dead_letter }))
    }
    async fn replay_dead_letters(&self, request: Request<ReplayDeadLettersRequest>) -> Result<Response<ReplayDeadLettersResponse>, Status> {
        if !request.get_ref().dry_run {
            self.decisions.fetch_add(1, Ordering::SeqCst);
        }
        let count = if request.get_ref().run == "r-clean" { 0 } else { 3 };
        Ok(Response::new(ReplayDeadLettersResponse {
            count,
            records: 300,
            run: request.into_inner().run,
        }))
    }
    async fn discard_dead_letters(
        &self,
        request: Request<DiscardDeadLettersRequest>,
    ) -> Result<Response<DiscardDeadLettersResponse>, Status> {
        let request = request.into_inner();
        if !request.dry_run {
            assert_eq!(request.reason, "test data");
            self.decisions.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Response::new(DiscardDeadLettersResponse {
            count: 1,
            records: 300,
            run: request.run,
        }))
    }
    async fn list_dead_letters(&self, _: Request<ListDeadLettersRequest>) -> Result<Response<ListDeadLettersResponse>, Status> {
        Err(status(ErrorCode::DatabaseUnavailable, "the monitor's tables could not be read"))
    }
}

#[tonic::async_trait]
impl AnalysisService for Script {
    async fn propose_sync(&self, request: Request<ProposeSyncRequest>) -> Result<Response<ProposeSyncResponse>, Status> {
        let request = request.into_inner();
        let yaml = format!("# {} {:?} {}\nkind: Sync\n", request.source, request.objects, request.preset);
        Ok(Response::new(ProposeSyncResponse { yaml, issues: vec![] }))
    }

    async fn check_sync(&self, request: Request<CheckSyncRequest>) -> Result<Response<CheckSyncResponse>, Status> {
        let fatal = request.into_inner().sync == "fatal";
        Ok(Response::new(CheckSyncResponse {
            issues: vec![Issue {
                code: "MASK_UNDECIDED_001".into(),
                severity: if fatal { "fatal" } else { "warning" }.into(),
                object: "Contact".into(),
                field: "Email".into(),
                message: "no decision".into(),
                remedy: "Add a rule.".into(),
                ..Default::default()
            }],
            fatal_count: u32::from(fatal),
            warning_count: u32::from(!fatal),
            can_proceed: !fatal,
            plan: Some(plan()),
            ..Default::default()
        }))
    }
    async fn get_plan_summary(&self, _: Request<GetPlanSummaryRequest>) -> Result<Response<GetPlanSummaryResponse>, Status> {
        Ok(Response::new(GetPlanSummaryResponse {
            plan: Some(plan()),
            issues: Vec::new(),
        }))
    }
}

fn plan() -> PlanSummary {
    PlanSummary {
        source: "production".into(),
        target: "sandbox".into(),
        objects: vec![PlanObject {
            name: "Account".into(),
            records: 100,
            ..Default::default()
        }],
        records: 100,
        ..Default::default()
    }
}

#[allow(clippy::result_large_err)]
fn authorised(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get("authorization") {
        Some(bearer) if *bearer == *format!("Bearer {TOKEN}") => Ok(request),
        _ => Err(status(ErrorCode::Credentials, "no API token")),
    }
}

async fn gateway() -> SocketAddr {
    gateway_of(Script::default()).await
}

async fn gateway_of(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(RunServiceServer::with_interceptor(script.clone(), authorised))
        .add_service(MonitorServiceServer::with_interceptor(script.clone(), authorised))
        .add_service(AnalysisServiceServer::with_interceptor(script, authorised))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    address
}

fn syncline(gateway: SocketAddr, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command
        .args(arguments.split_whitespace())
        .env_clear()
        .env("SYNCLINE_GATEWAY_URL", format!("http://{gateway}"))
        .env("SYNCLINE_GATEWAY_TOKEN", TOKEN)
        // Where coverage is measured, this names the profile to write.
        .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn output(command: &mut Command) -> Output {
    tokio::time::timeout(DEADLINE, command.output())
        .await
        .expect("it ends by itself")
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_watched_run_ends_with_the_number_of_its_status() {
    for (sync, number) in [("completed", 0), ("completed-with-errors", 3), ("failed", 4), ("cancelled", 5)] {
        let gateway = gateway().await;
        let output = output(&mut syncline(gateway, &format!("run {sync} --watch"))).await;
        assert_eq!(output.status.code(), Some(number), "{sync}: {}", text(&output.stderr));
        let shown = text(&output.stdout);
        assert!(shown.starts_with("plan: production"), "the plan comes first: {shown}");
        assert!(shown.contains("records\n  object"), "the report comes last: {shown}");
        let messages = text(&output.stderr);
        assert!(messages.contains("watching again"), "{messages}");
        assert!(
            messages.contains(&format!("run r-{sync}: loading, 50 of 100 records loaded")),
            "{messages}"
        );
    }
}

#[tokio::test]
async fn watching_as_json_gives_one_object_per_line() {
    let output = output(&mut syncline(gateway().await, "-o json runs watch r-completed")).await;
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["plan"]["cost"]["records"], 100);
    assert_eq!(lines[1]["snapshot"]["status"], "extracting");
    assert_eq!(lines.last().unwrap()["report"]["objects"][0]["inserted"], 100);
}

async fn watch_and_signal(name: &str) -> (Option<i32>, String) {
    let mut child = syncline(gateway().await, "runs watch r-endless")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(first.contains("loading"), "{first}");
    send_signal(child.id().unwrap(), name).unwrap();
    let mut rest = String::new();
    while let Some(line) = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap() {
        rest.push_str(&line);
        rest.push('\n');
    }
    (child.wait().await.unwrap().code(), rest)
}

#[tokio::test]
async fn an_interrupt_stops_watching_and_says_how_to_go_on() {
    for signal in ["INT", "TERM"] {
        let (code, messages) = watch_and_signal(signal).await;
        assert_eq!(code, Some(130), "{signal}: {messages}");
        assert!(messages.contains("syncline runs watch r-endless"), "{messages}");
        assert!(messages.contains("syncline runs cancel r-endless"), "{messages}");
    }
}

#[tokio::test]
async fn every_refusal_ends_with_its_number_and_leaves_stdout_alone() {
    let gateway = gateway().await;
    for (arguments, number, says) in [
        ("report r-nobody", 6, "SCHEMA_SYNC_002"),
        ("runs watch r-nobody", 6, "SCHEMA_SYNC_002"),
        ("run missing", 6, "SCHEMA_SYNC_002"),
        ("run busy", 2, "SYSTEM_RUN_ACTIVE_001"),
        ("runs pause r-1", 6, "remedy: "),
        ("runs resume r-completed", 2, "does not admit"),
        ("dead-letters", 1, "SYSTEM_DATABASE_001"),
        ("connection list", 1, "error: "),
        ("runs --token wrong", 7, "SYNCLINE_GATEWAY_TOKEN"),
        ("runs --gateway ftp://example.com", 2, "http://"),
        ("runs --limit many", 2, "--limit"),
        ("dance", 2, "dance"),
        ("apply -f /nonexistent.yaml", 2, "/nonexistent.yaml"),
    ] {
        let output = output(&mut syncline(gateway, arguments)).await;
        assert_eq!(output.status.code(), Some(number), "{arguments}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(says), "{arguments}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{arguments}: {}", text(&output.stdout));
    }
}

#[tokio::test]
async fn a_refusal_as_json_is_for_programs() {
    let output = output(&mut syncline(gateway().await, "report r-nobody -o json")).await;
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["exit"]),
        (&"SCHEMA_SYNC_002".into(), &6.into())
    );
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_unreachable() {
    let nobody: SocketAddr = ([127, 0, 0, 1], syncline_testkit::free_port()).into();
    for arguments in ["runs", "runs show r-1", "report", "check refresh"] {
        let output = output(&mut syncline(nobody, arguments)).await;
        assert_eq!(output.status.code(), Some(8), "{arguments}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("syncline dev"), "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn a_check_says_whether_the_sync_can_run() {
    let gateway = gateway().await;
    let good = output(&mut syncline(gateway, "check good")).await;
    assert_eq!(good.status.code(), Some(0));
    assert!(text(&good.stdout).contains("the sync can run"), "{}", text(&good.stdout));
    let fatal = output(&mut syncline(gateway, "check fatal -o json")).await;
    assert_eq!(fatal.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&fatal.stdout).unwrap();
    assert_eq!(
        (&json["can_proceed"], &json["issues"][0]["severity"]),
        (&false.into(), &"fatal".into())
    );
}

#[tokio::test]
async fn a_run_is_submitted_under_its_key_and_reports_default_to_the_latest() {
    let gateway = gateway().await;
    let submitted = output(&mut syncline(gateway, "run completed --idempotency-key=-k7")).await;
    assert_eq!(text(&submitted.stdout), "r-completed-k7\n", "stdout is the id and nothing else");
    let latest = output(&mut syncline(gateway, "report -o json")).await;
    let json: Value = serde_json::from_slice(&latest.stdout).unwrap();
    assert_eq!(json["run"], "r-completed");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = output(syncline(gateway().await, "report").stdout(writer)).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[tokio::test]
async fn dev_without_servers_names_the_variable_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    let output = output(command.arg("dev").env_clear().current_dir(dir.path())).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("SYNCLINE_NATS_URL"), "{}", text(&output.stderr));
    let made = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    // A program that is built to measure coverage leaves its profile where it is run.
    let made: Vec<_> = made.filter(|name| !name.to_string_lossy().ends_with(".profraw")).collect();
    assert!(made.is_empty(), "{made:?} was made");
}

#[tokio::test]
async fn runs_are_shown_listed_and_steered() {
    let gateway = gateway().await;
    let shown = output(&mut syncline(gateway, "runs show r-completed")).await;
    assert!(text(&shown.stdout).contains("refresh version 1"), "{}", text(&shown.stdout));
    let listed = output(&mut syncline(gateway, "runs --limit 1 -o json")).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1);
    for (arguments, number, said) in [
        ("runs cancel r-cancelled", 0, "run r-cancelled: cancelled"),
        ("runs approve r-extracting", 0, "run r-extracting: extracting"),
        ("runs pause r-nobody", 6, "SCHEMA_SYNC_002"),
        ("runs resume r-completed", 2, "does not admit"),
    ] {
        let steered = output(&mut syncline(gateway, arguments)).await;
        let all = format!("{}{}", text(&steered.stdout), text(&steered.stderr));
        assert!(all.contains(said), "{arguments}: {all}");
        assert_eq!(steered.status.code(), Some(number), "{arguments}: {all}");
    }
}

#[tokio::test]
async fn nothing_is_replayed_discarded_or_retried_before_somebody_said_yes() {
    for (arguments, number, says) in [
        ("dead-letters replay --run r-1", 2, "Nobody can be asked"),
        ("dead-letters discard --run r-1 --reason x", 2, "Nobody can be asked"),
        ("runs retry-failed r-1", 2, "Nobody can be asked"),
        (
            "dead-letters replay --run r-1 --dry-run",
            0,
            "would replay 3 dead letters with 300 records",
        ),
        ("dead-letters replay --run r-clean --yes", 0, "no dead letters"),
        ("runs retry-failed r-1 --dry-run", 0, "nothing was done"),
        ("runs retry-failed r-1 --code X --yes", 0, "none of these fit"),
        ("dead-letters replay", 2, "required"),
        ("dead-letters discard 7", 2, "--reason"),
    ] {
        let script = Script::default();
        let output = output(&mut syncline(gateway_of(script.clone()).await, arguments)).await;
        assert_eq!(output.status.code(), Some(number), "{arguments}: {}", text(&output.stderr));
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(said.contains(says), "{arguments}: {said}");
        assert_eq!(script.decisions.load(Ordering::SeqCst), 0, "{arguments}");
    }
}

#[tokio::test]
async fn decisions_are_carried_out_once_and_told_to_programs() {
    for (arguments, count) in [
        ("-o json dead-letters replay --run r-1 --yes", 3),
        ("-o json dead-letters replay 7 --run r-1 -y", 3),
    ] {
        let script = Script::default();
        let output = output(&mut syncline(gateway_of(script.clone()).await, arguments)).await;
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (json["count"].as_u64(), json["done"].as_bool()),
            (Some(count), Some(true)),
            "{arguments}"
        );
        assert_eq!(script.decisions.load(Ordering::SeqCst), 1, "{arguments}");
    }
    let script = Script::default();
    let mut discard = syncline(gateway_of(script.clone()).await, "dead-letters discard 7");
    // One that is named needs no confirmation.
    let output = self::output(discard.args(["--reason", "test data"])).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(script.decisions.load(Ordering::SeqCst), 1);
    let script = Script::default();
    let output = self::output(&mut syncline(
        gateway_of(script.clone()).await,
        "-o json runs retry-failed r-1 --yes",
    ))
    .await;
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["chosen"].as_u64(), json["done"].as_bool()), (Some(4), Some(true)));
    assert_eq!(script.decisions.load(Ordering::SeqCst), 1);
}
