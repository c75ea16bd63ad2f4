//! Runs: submit, look at, steer.

use syncline_domain::run::{Event, Life, RunState, explain};
use syncline_domain::{ErrorCode, RunId};
use syncline_runtime::{Platform, failpoint};
use syncline_wire::caller::note_connections;
use syncline_wire::run::run_service_server::RunService;
use syncline_wire::run::{
    ApproveRunRequest, ApproveRunResponse, CancelRunRequest, CancelRunResponse, ExplainRunRequest, ExplainRunResponse, FailedRecords,
    GetRunRequest, GetRunResponse, ListRunsRequest, ListRunsResponse, ObjectPhase, PauseRunRequest, PauseRunResponse, ResumeRunRequest,
    ResumeRunResponse, RetryFailedRequest, RetryFailedResponse, Run, SubmitRunRequest, SubmitRunResponse, Wait,
};
use syncline_wire::stage::RefusalGroup;
use syncline_wire::status::{invalid_field, status};
use syncline_wire::time::to_proto;
use tonic::{Request, Response, Status};

use super::{apply_error, database, list, reopen_error};
use crate::reopening::Filter;
use crate::store::{self, RunRow};
use crate::{held_back, left, reconciler, reopening, shell};

/// Longest idempotency key that is accepted, in bytes.
const KEY_BYTES_MAX: usize = 200;

pub struct Runs {
    platform: Platform,
}

impl Runs {
    pub fn new(platform: &Platform) -> Self {
        Self {
            platform: platform.clone(),
        }
    }

    fn tenant(&self) -> &str {
        self.platform.config.tenant.as_str()
    }

    async fn find(&self, id: &str) -> Result<RunRow, Status> {
        let row = store::run_get(&self.platform.db, self.tenant(), id)
            .await
            .map_err(|e| database(&e))?;
        row.ok_or_else(|| status(ErrorCode::SyncUnknown, format!("there is no run `{id}`")))
    }

    async fn steer<T>(&self, id: &str, event: Event, answer: fn(Option<Run>) -> T) -> Result<Response<T>, Status> {
        self.find(id).await?;
        let row = shell::apply(&self.platform, id, &event).await.map_err(apply_error)?;
        tracing::info!(run = %id, event = event.name(), status = %row.state.status(), "a run was steered");
        Ok(about(row, answer))
    }

    /// The run that was submitted under this key before, if it is of the same sync.
    async fn repeated(&self, key: &str, sync: &str) -> Result<Option<RunRow>, Status> {
        let row = store::run_by_key(&self.platform.db, self.tenant(), key)
            .await
            .map_err(|e| database(&e))?;
        match row {
            Some(row) if row.sync == sync => Ok(Some(row)),
            Some(row) => Err(status(
                ErrorCode::KeyReused,
                format!("the idempotency key was used for a run of sync `{}`", row.sync),
            )),
            None => Ok(None),
        }
    }
}

/// A run's answer, with the connections that it reads and writes noted for the audit log.
fn about<T>(row: RunRow, answer: impl FnOnce(Option<Run>) -> T) -> Response<T> {
    let connections = [row.source.clone(), row.target.clone()];
    let mut response = Response::new(answer(Some(message(row))));
    note_connections(response.metadata_mut(), connections.iter().map(String::as_str));
    response
}

fn submitted(row: RunRow) -> Response<SubmitRunResponse> {
    about(row, |run| SubmitRunResponse { run })
}

fn message(row: RunRow) -> Run {
    let failure = row.state.failure();
    let objects = row.state.objects.iter();
    Run {
        id: row.id,
        sync: row.sync,
        sync_version: u32::try_from(row.sync_version).unwrap_or(0),
        status: row.state.status().to_string(),
        version: row.state.version,
        objects: objects
            .map(|o| ObjectPhase {
                object: o.name.to_string(),
                phase: o.phase().map(|p| p.to_string()).unwrap_or_default(),
            })
            .collect(),
        failure_code: failure.map(|f| f.code.to_string()).unwrap_or_default(),
        failure_message: failure.map(|f| f.message.clone()).unwrap_or_default(),
        submitted_at: Some(to_proto(row.submitted_at)),
        finished_at: row.finished_at.map(to_proto),
    }
}

fn failed_records(group: RefusalGroup) -> FailedRecords {
    let code = group.code.parse::<ErrorCode>();
    FailedRecords {
        remedy: code.map(|c| c.entry().remedy.to_owned()).unwrap_or_default(),
        object: group.object,
        kind: group.kind,
        code: group.code,
        native: group.native,
        fields: group.fields,
        count: group.count,
        kept: group.kept,
        chosen: group.chosen,
    }
}

fn wait(wait: explain::Wait) -> Wait {
    let since = wait
        .since_ms
        .and_then(|ms| chrono::DateTime::from_timestamp_millis(ms.cast_signed()));
    Wait {
        on: wait.on.as_str().to_owned(),
        object: wait.object.map(|o| o.to_string()).unwrap_or_default(),
        step: wait.step.map(|s| s.to_string()).unwrap_or_default(),
        what: wait.what,
        remedy: wait.remedy,
        since: since.map(to_proto),
    }
}

#[tonic::async_trait]
impl RunService for Runs {
    async fn submit_run(&self, request: Request<SubmitRunRequest>) -> Result<Response<SubmitRunResponse>, Status> {
        let SubmitRunRequest {
            sync,
            idempotency_key: key,
        } = request.into_inner();
        if key.len() > KEY_BYTES_MAX {
            let why = format!("it is longer than {KEY_BYTES_MAX} bytes");
            return Err(invalid_field(ErrorCode::RequestInvalid, "idempotency_key", why));
        }
        if sync.is_empty() {
            return Err(invalid_field(ErrorCode::RequestInvalid, "sync", "it names the sync to run"));
        }
        let key = (!key.is_empty()).then_some(key);
        if let Some(key) = &key
            && let Some(row) = self.repeated(key, &sync).await?
        {
            return Ok(submitted(row));
        }
        let found = store::sync_get(&self.platform.db, self.tenant(), &sync, None)
            .await
            .map_err(|e| database(&e))?;
        let found = found.ok_or_else(|| status(ErrorCode::SyncUnknown, format!("there is no sync `{sync}`")))?;
        let run = RunId::from_uuid(uuid::Uuid::now_v7());
        let state = RunState::new();
        let mut tx = self.platform.db.begin().await.map_err(|e| database(&e))?;
        let inserted = store::run_insert(&mut tx, self.tenant(), run.as_str(), &found, key.as_deref(), &state)
            .await
            .map_err(|e| database(&e))?;
        if !inserted {
            drop(tx);
            if let Some(key) = &key
                && let Some(row) = self.repeated(key, &sync).await?
            {
                return Ok(submitted(row));
            }
            let active = store::run_active_on_link(&self.platform.db, self.tenant(), &found.source, &found.target)
                .await
                .map_err(|e| database(&e))?;
            let active = active.unwrap_or_default();
            return Err(status(
                ErrorCode::RunActive,
                format!(
                    "run `{active}` from `{}` to `{}` is not finished; one run at a time may write a link",
                    found.source, found.target
                ),
            ));
        }
        shell::announce(&mut tx, &self.platform.config.tenant, &run, &found, &state)
            .await
            .map_err(|e| database(&e))?;
        tx.commit().await.map_err(|e| database(&e))?;
        failpoint::pass(&failpoint::COORDINATOR_RUN_STORED)
            .await
            .map_err(|e| database(&e))?;
        tracing::info!(%run, %sync, version = found.version, "a run was submitted");
        let tick = Event::Tick {
            now_ms: u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0),
        };
        let row = match shell::apply(&self.platform, run.as_str(), &tick).await {
            Ok(row) => row,
            // The run is stored; the reconciler will go on with it.
            Err(_) => self.find(run.as_str()).await?,
        };
        Ok(submitted(row))
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        let row = self.find(&request.into_inner().id).await?;
        Ok(Response::new(GetRunResponse { run: Some(message(row)) }))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        let request = request.into_inner();
        let list = list("runs", &request.sync);
        let page = list.page(request.page_size, &request.page_token)?;
        let mut rows = store::run_list(&self.platform.db, self.tenant(), &request.sync, &page.after, page.rows())
            .await
            .map_err(|e| database(&e))?;
        let next_page_token = list.next(&page, &mut rows, |r| r.id.clone());
        Ok(Response::new(ListRunsResponse {
            runs: rows.into_iter().map(message).collect(),
            next_page_token,
        }))
    }

    async fn explain_run(&self, request: Request<ExplainRunRequest>) -> Result<Response<ExplainRunResponse>, Status> {
        let row = self.find(&request.into_inner().id).await?;
        let (stages, breakers) = if row.state.life.is_terminal() {
            Default::default()
        } else {
            let stages = reconciler::stage_answers(&self.platform, &row.id);
            tokio::join!(stages, held_back::ask(&self.platform, &row.source, &row.target))
        };
        let failure = row.state.failure();
        let mut waits = explain::held_back(&row.state, &row.source, &row.target, &breakers);
        waits.extend(explain::explain(&row.state, &row.id, &stages));
        waits.sort_by_key(|wait| wait.on);
        if row.state.life == Life::CompletedWithErrors {
            waits.extend(explain::left_undone(&left::ask(&self.platform, &row.id).await, &row.id));
        }
        Ok(Response::new(ExplainRunResponse {
            status: row.state.status().to_string(),
            waits: waits.into_iter().map(wait).collect(),
            failure_code: failure.map(|f| f.code.to_string()).unwrap_or_default(),
            failure_message: failure.map(|f| f.message.clone()).unwrap_or_default(),
            remedy: failure.map(|f| f.code.entry().remedy.to_owned()).unwrap_or_default(),
        }))
    }

    async fn approve_run(&self, request: Request<ApproveRunRequest>) -> Result<Response<ApproveRunResponse>, Status> {
        self.steer(&request.into_inner().id, Event::Approved, |run| ApproveRunResponse { run })
            .await
    }

    async fn pause_run(&self, request: Request<PauseRunRequest>) -> Result<Response<PauseRunResponse>, Status> {
        self.steer(&request.into_inner().id, Event::PauseRequested, |run| PauseRunResponse { run })
            .await
    }

    async fn resume_run(&self, request: Request<ResumeRunRequest>) -> Result<Response<ResumeRunResponse>, Status> {
        self.steer(&request.into_inner().id, Event::ResumeRequested, |run| ResumeRunResponse { run })
            .await
    }

    async fn retry_failed(&self, request: Request<RetryFailedRequest>) -> Result<Response<RetryFailedResponse>, Status> {
        let request = request.into_inner();
        let row = self.find(&request.id).await?;
        let filter = Filter {
            object: request.object,
            code: request.code,
        };
        let (row, retried) = if request.dry_run {
            let looked = reopening::look(&self.platform, &row.id, &filter).await;
            (row, looked.map_err(reopen_error)?)
        } else {
            reopening::retry(&self.platform, &row.id, &filter).await.map_err(reopen_error)?
        };
        Ok(about(row, |run| RetryFailedResponse {
            run,
            failed: retried.groups.into_iter().map(failed_records).collect(),
            chosen: retried.chosen,
            parked: retried.parked,
        }))
    }

    async fn cancel_run(&self, request: Request<CancelRunRequest>) -> Result<Response<CancelRunResponse>, Status> {
        self.steer(&request.into_inner().id, Event::CancelRequested, |run| CancelRunResponse { run })
            .await
    }
}
