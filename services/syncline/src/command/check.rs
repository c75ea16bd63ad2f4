//! `syncline check`

use serde_json::{Value, json};
use syncline_wire::analysis::CheckSyncRequest;

use super::Context;
use crate::client::{ANALYSIS_WAIT, ask_within};
use crate::error::CliError;
use crate::exit::Exit;
use crate::view::plan;

/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, sync: String) -> Result<Exit, CliError> {
    let answer = context
        .gateway
        .analysis()
        .check_sync(ask_within(CheckSyncRequest { sync: sync.clone() }, ANALYSIS_WAIT))
        .await
        .map_err(|s| context.gateway.error(s))?
        .into_inner();
    let can_proceed = answer.can_proceed && answer.fatal_count == 0;
    let mut text = String::new();
    if let Some(summary) = &answer.plan {
        text.push_str(&plan::plan(summary));
        text.push('\n');
    }
    text.push_str(&plan::issues(&answer.issues));
    text.push_str(&format!(
        "\n{} fatal, {} errors, {} warnings: {}\n",
        answer.fatal_count,
        answer.error_count,
        answer.warning_count,
        if can_proceed { "the sync can run" } else { "the sync cannot run" }
    ));
    let json = json!({
        "sync": sync,
        "can_proceed": can_proceed,
        "fatal": answer.fatal_count,
        "errors": answer.error_count,
        "warnings": answer.warning_count,
        "issues": plan::issues_json(&answer.issues),
        "plan": answer.plan.as_ref().map_or(Value::Null, plan::plan_json),
    });
    context.output.result(&text, &json)?;
    Ok(if can_proceed { Exit::Ok } else { Exit::Invalid })
}
