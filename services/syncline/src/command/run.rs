//! `syncline run`

use serde_json::json;
use syncline_wire::run::SubmitRunRequest;

use super::{Context, missing, report};
use crate::cli::Run;
use crate::client::ask;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Format;
use crate::view;
use crate::watch::{self, Ended};

/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, arguments: Run) -> Result<Exit, CliError> {
    let request = SubmitRunRequest {
        sync: arguments.sync,
        idempotency_key: arguments.idempotency_key.unwrap_or_default(),
    };
    let answer = context
        .gateway
        .runs()
        .submit_run(ask(request))
        .await
        .map_err(|s| context.gateway.error(s))?;
    let run = answer.into_inner().run.ok_or_else(|| missing("run"))?;
    if arguments.watch {
        context
            .output
            .message(&format!("run {} of {} version {}", run.id, run.sync, run.sync_version));
        return follow(context, &run.id).await;
    }
    context.output.result(&format!("{}\n", run.id), &view::run::to_json(&run))?;
    context.output.message(&format!("follow it with: syncline runs watch {}", run.id));
    Ok(Exit::Ok)
}

/// Follows a run and shows its report; the exit code is the run's.
///
/// # Errors
/// When the run is not known or the gateway stays away.
pub async fn follow(context: &Context, run: &str) -> Result<Exit, CliError> {
    let snapshot = match watch::follow(&context.gateway, run, context.output).await? {
        Ended::Run(snapshot) => snapshot,
        Ended::Detached => {
            context.output.message(&format!(
                "not watching any more; the run goes on\n  watch it:  syncline runs watch {run}\n  cancel it: syncline runs cancel {run}"
            ));
            return Ok(Exit::Interrupted);
        }
    };
    let report = report::fetch(context, run.to_owned()).await?;
    match context.output.format {
        Format::Json => context.output.json_line(&json!({"report": view::report::to_json(&report)}))?,
        Format::Table => context
            .output
            .result(&format!("\n{}", view::report::text(&report)), &serde_json::Value::Null)?,
    }
    Ok(Exit::of_run(&snapshot.status))
}
