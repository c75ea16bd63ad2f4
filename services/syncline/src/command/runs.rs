//! `syncline runs ...`

use serde_json::{Value, json};
use syncline_wire::run::{
    ApproveRunRequest, CancelRunRequest, ExplainRunRequest, GetRunRequest, ListRunsRequest, PauseRunRequest, ResumeRunRequest, Run,
};

use super::{Context, missing};
use crate::cli::{Runs, RunsCommand};
use crate::client::ask;
use crate::error::CliError;
use crate::exit::Exit;
use crate::view;

/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, arguments: Runs) -> Result<Exit, CliError> {
    match arguments.command {
        None => list(context, arguments.sync.unwrap_or_default(), arguments.limit).await,
        Some(RunsCommand::Watch { run }) => super::run::follow(context, &run).await,
        Some(RunsCommand::Explain { run: id }) => {
            let answer = context.gateway.runs().explain_run(ask(ExplainRunRequest { id })).await;
            let answer = answer.map_err(|s| context.gateway.error(s))?.into_inner();
            let now = chrono::Utc::now().timestamp();
            context
                .output
                .result(&view::explanation::text(&answer, now), &view::explanation::to_json(&answer))?;
            Ok(Exit::Ok)
        }
        Some(RunsCommand::Show { run }) => {
            let run = get(context, run).await?;
            context.output.result(&view::run::details(&run), &view::run::to_json(&run))?;
            Ok(Exit::Ok)
        }
        Some(RunsCommand::RetryFailed(arguments)) => super::retry_failed::run(context, arguments).await,
        Some(steering) => {
            let run = steer(context, steering).await?;
            context
                .output
                .result(&format!("run {}: {}\n", run.id, run.status), &view::run::to_json(&run))?;
            Ok(Exit::Ok)
        }
    }
}

async fn list(context: &Context, sync: String, limit: u32) -> Result<Exit, CliError> {
    let request = ListRunsRequest {
        sync,
        page_size: limit,
        page_token: String::new(),
    };
    let answer = context
        .gateway
        .runs()
        .list_runs(ask(request))
        .await
        .map_err(|s| context.gateway.error(s))?
        .into_inner();
    let json: Vec<Value> = answer.runs.iter().map(view::run::to_json).collect();
    context.output.result(&view::run::table(&answer.runs), &json!({"runs": json}))?;
    Ok(Exit::Ok)
}

async fn get(context: &Context, id: String) -> Result<Run, CliError> {
    let answer = context
        .gateway
        .runs()
        .get_run(ask(GetRunRequest { id }))
        .await
        .map_err(|s| context.gateway.error(s))?;
    answer.into_inner().run.ok_or_else(|| missing("run"))
}

async fn steer(context: &Context, command: RunsCommand) -> Result<Run, CliError> {
    let mut runs = context.gateway.runs();
    let run = match command {
        RunsCommand::Cancel { run: id } => runs.cancel_run(ask(CancelRunRequest { id })).await.map(|a| a.into_inner().run),
        RunsCommand::Pause { run: id } => runs.pause_run(ask(PauseRunRequest { id })).await.map(|a| a.into_inner().run),
        RunsCommand::Resume { run: id } => runs.resume_run(ask(ResumeRunRequest { id })).await.map(|a| a.into_inner().run),
        RunsCommand::Approve { run: id } => runs.approve_run(ask(ApproveRunRequest { id })).await.map(|a| a.into_inner().run),
        RunsCommand::Show { run: id } | RunsCommand::Watch { run: id } | RunsCommand::Explain { run: id } => return get(context, id).await,
        RunsCommand::RetryFailed(arguments) => return get(context, arguments.run).await,
    };
    run.map_err(|s| context.gateway.error(s))?.ok_or_else(|| missing("run"))
}
