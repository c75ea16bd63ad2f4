//! `syncline report`

use syncline_domain::ErrorCode;
use syncline_wire::monitor::{GetReportRequest, Report};
use syncline_wire::run::ListRunsRequest;

use super::{Context, missing};
use crate::cli::LATEST;
use crate::client::ask;
use crate::error::CliError;
use crate::exit::Exit;
use crate::view::report;

/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, run: &str) -> Result<Exit, CliError> {
    let run = resolve(context, run).await?;
    let report = fetch(context, run).await?;
    context.output.result(&report::text(&report), &report::to_json(&report))?;
    Ok(Exit::Ok)
}

/// The report of a run.
///
/// # Errors
/// What the gateway answers.
pub async fn fetch(context: &Context, run: String) -> Result<Report, CliError> {
    let answer = context
        .gateway
        .monitor()
        .get_report(ask(GetReportRequest { run }))
        .await
        .map_err(|s| context.gateway.error(s))?;
    answer.into_inner().report.ok_or_else(|| missing("report"))
}

/// The id that `latest` stands for.
async fn resolve(context: &Context, run: &str) -> Result<String, CliError> {
    if run != LATEST {
        return Ok(run.to_owned());
    }
    let request = ListRunsRequest {
        page_size: 1,
        ..ListRunsRequest::default()
    };
    let answer = context
        .gateway
        .runs()
        .list_runs(ask(request))
        .await
        .map_err(|s| context.gateway.error(s))?
        .into_inner();
    answer
        .runs
        .into_iter()
        .next()
        .map(|run| run.id)
        .ok_or_else(|| CliError::coded(ErrorCode::SyncUnknown, "there is no run yet").remedy("Start one with `syncline run SYNC`."))
}
