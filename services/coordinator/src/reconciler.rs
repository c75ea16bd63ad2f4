//! Makes time pass, asks stages what their tables show, and cleans up after finished runs.
//!
//! It takes no input: every round looks at all unfinished runs, so a lost message, a crash or a restart is made up for by
//! the next round. A stage that does not answer is unknown, and nothing is concluded from it.

use std::time::Duration;

use chrono::Utc;
use syncline_domain::run::explain::StageAnswer;
use syncline_domain::run::{Event, Life, Status};
use syncline_domain::{ObjectName, RunId, TenantId};
use syncline_runtime::rpc::with_trace;
use syncline_runtime::{Platform, failpoint, metrics};
use syncline_wire::stage::stage_service_client::StageServiceClient;
use syncline_wire::stage::{GetProgressRequest, GetProgressResponse};
use tonic::transport::Channel;

use crate::losses;
use crate::shell::{self, ApplyError};
use crate::store;

const ROUND: Duration = Duration::from_millis(500);
/// Every so many rounds, what stages have finished is compared with what the run knows.
const ROUNDS_PER_COMPARISON: u64 = 20;
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Runs until shutdown.
pub async fn run(platform: Platform) {
    for round in 0_u64.. {
        tokio::time::sleep(ROUND).await;
        if round.is_multiple_of(ROUNDS_PER_COMPARISON) {
            measure(&platform).await;
        }
        if let Err(error) = one_round(&platform, round.is_multiple_of(ROUNDS_PER_COMPARISON)).await {
            tracing::warn!(%error, "a round of the reconciler failed; trying again");
        }
    }
}

/// What everybody waits on: the streams, and the runs by status.
async fn measure(platform: &Platform) {
    for (stream, messages, age) in platform.bus.stream_states().await {
        let label = [("stream", stream.as_str())];
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::set(metrics::BUS_MESSAGES, messages as f64, &label);
        metrics::set(metrics::BUS_OLDEST, age, &label);
    }
    for (stage, messages, age) in platform.bus.queues().await {
        let label = [("stage", stage)];
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::set(metrics::BUS_LAG, messages as f64, &label);
        metrics::set(metrics::BUS_QUEUE_AGE, age, &label);
    }
    if let Ok(counts) = store::run_counts(&platform.db).await {
        for status in Status::ALL.into_iter().filter(|s| !s.is_terminal()) {
            let name = status.to_string();
            let count = counts.iter().find(|(found, _)| *found == name).map_or(0, |(_, n)| *n);
            #[allow(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::set(metrics::RUNS_ACTIVE, count as f64, &[("status", &name)]);
        }
    }
}

/// One round; `compare`: also ask stages what they have finished.
///
/// # Errors
/// [`sqlx::Error`] when the runs cannot be listed; the next round makes up for it.
pub async fn one_round(platform: &Platform, compare: bool) -> Result<(), sqlx::Error> {
    for run in store::run_active(&platform.db).await? {
        let tick = Event::Tick {
            now_ms: u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0),
        };
        let row = match shell::apply(platform, &run, &tick).await {
            Ok(row) => row,
            Err(error) => {
                report(&run, &error);
                continue;
            }
        };
        match row.state.life {
            Life::Pausing | Life::Cancelling | Life::Failing { .. } => settle_down(platform, &run).await,
            Life::Running if compare => {
                catch_up(platform, &run).await;
                losses::mend(platform, &run).await;
            }
            _ => {}
        }
    }
    purge_finished(platform).await
}

/// A stopping run is quiet when every stage says that no lease is live and no claim is open.
async fn settle_down(platform: &Platform, run: &str) {
    let Some(answers) = ask_all(platform, run).await else { return };
    if answers.iter().all(|a| a.live_leases == 0 && a.unsettled_claims == 0)
        && let Err(error) = shell::apply(platform, run, &Event::Quiesced).await
    {
        report(run, &error);
    }
}

/// Applies what stages have finished and the run has not heard of.
async fn catch_up(platform: &Platform, run: &str) {
    for stage in stages(platform) {
        let Some(answer) = ask(stage, run).await else { continue };
        for event in finished(answer) {
            if let Err(error) = shell::apply(platform, run, &event).await {
                report(run, &error);
            }
        }
    }
}

/// What a stage has finished, as events. One of the release before knows of no rounds.
fn finished(answer: GetProgressResponse) -> Vec<Event> {
    let event = |object: &str, step: &str, with_errors, round| {
        Some(Event::StepDone {
            object: ObjectName::new(object).ok()?,
            step: step.parse().ok()?,
            with_errors,
            round,
        })
    };
    if answer.finished.is_empty() {
        let read = |done: &String| {
            let mut parts = done.split('/');
            let (object, step) = (parts.next()?, parts.next()?);
            event(object, step, parts.next() == Some("errors"), 0)
        };
        return answer.done.iter().filter_map(read).collect();
    }
    let finished = answer.finished.iter();
    finished.filter_map(|f| event(&f.object, &f.step, f.with_errors, f.round)).collect()
}

fn stages(platform: &Platform) -> [Channel; 3] {
    [
        platform.peers.extractor.clone(),
        platform.peers.masker.clone(),
        platform.peers.loader.clone(),
    ]
}

/// What the stages say of a run, for people: whoever does not answer is named.
pub async fn stage_answers(platform: &Platform, run: &str) -> Vec<StageAnswer> {
    let named = ["extractor", "masker", "loader"].into_iter().zip(stages(platform));
    let asked = named.map(|(stage, channel)| async move {
        let counts = ask(channel, run).await.map(|a| (a.live_leases, a.unsettled_claims));
        StageAnswer { stage, counts }
    });
    futures::future::join_all(asked).await
}

/// Every stage's answer, or none if one is missing.
async fn ask_all(platform: &Platform, run: &str) -> Option<Vec<GetProgressResponse>> {
    let mut answers = Vec::new();
    for stage in stages(platform) {
        answers.push(ask(stage, run).await?);
    }
    Some(answers)
}

pub(crate) async fn ask(stage: Channel, run: &str) -> Option<GetProgressResponse> {
    let mut client = StageServiceClient::new(with_trace(stage));
    let answer = tokio::time::timeout(ANSWER_WAIT, client.get_progress(GetProgressRequest { run: run.to_owned() })).await;
    answer.ok()?.ok().map(tonic::Response::into_inner)
}

async fn purge_finished(platform: &Platform) -> Result<(), sqlx::Error> {
    for (tenant, run) in store::run_unpurged(&platform.db).await? {
        let (Ok(tenant), Ok(id)) = (TenantId::new(tenant), RunId::new(run.as_str())) else {
            continue;
        };
        match platform.bus.purge_run(&tenant, &id).await {
            Ok(()) => {
                failpoint::pass(&failpoint::COORDINATOR_RUN_PURGED).await?;
                store::run_purged(&platform.db, &run).await?;
                if let Some(row) = store::run_get(&platform.db, tenant.as_str(), &run).await?
                    && let Some(finished) = row.finished_at
                {
                    let seconds = (finished - row.submitted_at).as_seconds_f64();
                    metrics::record(metrics::RUN_DURATION, seconds, &[("status", &row.state.status().to_string())]);
                }
            }
            Err(error) => tracing::warn!(%run, %error, "what a run left on the bus could not be removed; trying again"),
        }
    }
    Ok(())
}

pub(crate) fn report(run: &str, error: &ApplyError) {
    tracing::warn!(%run, %error, "an event of the reconciler was not applied");
}
