//! `MonitorService`: what people and programs ask about runs.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use sqlx::PgPool;
use syncline_domain::TenantId;
use syncline_wire::caller::Caller;
use syncline_wire::monitor::monitor_service_server::MonitorService;
use syncline_wire::monitor::{
    DiscardDeadLettersRequest, DiscardDeadLettersResponse, GetDeadLetterRequest, GetDeadLetterResponse, GetReportRequest,
    GetReportResponse, ListDeadLettersRequest, ListDeadLettersResponse, ListErrorsRequest, ListErrorsResponse, ReplayDeadLettersRequest,
    ReplayDeadLettersResponse, WatchRunRequest, WatchRunResponse,
};
use syncline_wire::page::List;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::error::MonitorError;
use crate::letters::{self, Decided, Decision, Letters};
use crate::store::{self, Books, Key, Wanted};
use crate::{report, watch};

fn list<'a>(name: &'a str, run: &'a str) -> List<'a> {
    List {
        name,
        filter: run,
        size_default: 100,
        size_max: 1_000,
    }
}

/// Answers from the monitor's own tables.
pub struct Api {
    db: PgPool,
    tenant: TenantId,
    letters: Letters,
    news: Arc<Notify>,
    shutdown: CancellationToken,
}

impl Api {
    /// `news` is notified whenever this process stored something; `shutdown` ends every watch.
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId, letters: Letters, news: Arc<Notify>, shutdown: CancellationToken) -> Self {
        Self {
            db,
            tenant,
            letters,
            news,
            shutdown,
        }
    }

    async fn books(&self, run: &str) -> Result<Books, MonitorError> {
        let key = Key {
            tenant: self.tenant.as_str(),
            run,
        };
        store::books_read(&self.db, key)
            .await?
            .ok_or_else(|| MonitorError::UnknownRun(run.chars().take(80).collect()))
    }
}

#[tonic::async_trait]
impl MonitorService for Api {
    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<WatchRunResponse, Status>> + Send>>;

    async fn watch_run(&self, request: Request<WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let request = request.into_inner();
        let watch = watch::Watch {
            db: self.db.clone(),
            tenant: self.tenant.clone(),
            run: request.run,
            after: request.after,
            sent: false,
            news: Arc::clone(&self.news),
            shutdown: self.shutdown.clone(),
        };
        watch.known().await?;
        Ok(Response::new(Box::pin(watch.snapshots())))
    }

    async fn get_report(&self, request: Request<GetReportRequest>) -> Result<Response<GetReportResponse>, Status> {
        let run = request.into_inner().run;
        let books = self.books(&run).await?;
        Ok(Response::new(GetReportResponse {
            report: Some(report::report(&run, &books)),
        }))
    }

    async fn list_errors(&self, request: Request<ListErrorsRequest>) -> Result<Response<ListErrorsResponse>, Status> {
        let request = request.into_inner();
        let list = list("errors", &request.run);
        let page = list.page(request.page_size, &request.page_token)?;
        let books = self.books(&request.run).await?;
        // A key names a place: the groups of a finished run keep theirs.
        let seen = page.after.parse::<usize>().unwrap_or(0);
        let mut errors: Vec<_> = report::errors(&books)
            .into_iter()
            .enumerate()
            .skip(seen)
            .take(page.size as usize + 1)
            .collect();
        let next_page_token = list.next(&page, &mut errors, |(at, _)| (at + 1).to_string());
        Ok(Response::new(ListErrorsResponse {
            errors: errors.into_iter().map(|(_, group)| group).collect(),
            next_page_token,
        }))
    }

    async fn list_dead_letters(&self, request: Request<ListDeadLettersRequest>) -> Result<Response<ListDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let filter = [&request.run, &request.object, &request.stage, &request.code, &request.state].map(String::as_str);
        let filter = if filter.iter().skip(1).all(|f| f.is_empty()) {
            request.run.clone()
        } else {
            filter.join("/")
        };
        let list = list("dead-letters", &filter);
        let page = list.page(request.page_size, &request.page_token)?;
        let before = page.after.parse().unwrap_or(u64::MAX);
        let key = Key {
            tenant: self.tenant.as_str(),
            run: &request.run,
        };
        if !request.run.is_empty() && store::run_row(&self.db, key).await.map_err(MonitorError::Store)?.is_none() {
            return Err(MonitorError::UnknownRun(request.run.chars().take(80).collect()).into());
        }
        let wanted = Wanted {
            object: &request.object,
            stage: &request.stage,
            code: &request.code,
            state: &request.state,
        };
        let total = store::dead_letter_total(&self.db, key, &wanted)
            .await
            .map_err(MonitorError::Store)?;
        let mut rows = store::dead_letter_list(&self.db, key, &wanted, before, page.rows())
            .await
            .map_err(MonitorError::Store)?;
        Ok(Response::new(ListDeadLettersResponse {
            total,
            next_page_token: list.next(&page, &mut rows, |row| row.id.to_string()),
            dead_letters: rows.into_iter().map(letters::message).collect(),
        }))
    }

    async fn get_dead_letter(&self, request: Request<GetDeadLetterRequest>) -> Result<Response<GetDeadLetterResponse>, Status> {
        let letter = self.letters.get(request.into_inner().id).await?;
        Ok(Response::new(GetDeadLetterResponse { dead_letter: Some(letter) }))
    }

    async fn replay_dead_letters(&self, request: Request<ReplayDeadLettersRequest>) -> Result<Response<ReplayDeadLettersResponse>, Status> {
        let by = decider(&request);
        let r = request.into_inner();
        let decision = Decision {
            id: r.id,
            run: r.run,
            object: r.object,
            stage: r.stage,
            code: r.code,
            dry_run: r.dry_run,
        };
        let Decided { run, count, records } = self.letters.replay(&decision, &by).await?;
        Ok(Response::new(ReplayDeadLettersResponse { count, records, run }))
    }

    async fn discard_dead_letters(
        &self,
        request: Request<DiscardDeadLettersRequest>,
    ) -> Result<Response<DiscardDeadLettersResponse>, Status> {
        let by = decider(&request);
        let r = request.into_inner();
        let decision = Decision {
            id: r.id,
            run: r.run,
            object: r.object,
            stage: r.stage,
            code: r.code,
            dry_run: r.dry_run,
        };
        let Decided { run, count, records } = self.letters.discard(&decision, &by, &r.reason).await?;
        Ok(Response::new(DiscardDeadLettersResponse { count, records, run }))
    }
}

/// Who the gateway says decides; nobody, for a call from within.
fn decider<T>(request: &Request<T>) -> String {
    Caller::of(request.metadata()).map(|c| c.subject).unwrap_or_default()
}
