//! `syncline dead-letters`

use serde_json::json;
use syncline_wire::monitor::{DiscardDeadLettersRequest, GetDeadLetterRequest, ListDeadLettersRequest, ReplayDeadLettersRequest};

use super::{Context, missing};
use crate::cli::{DeadLetters, DeadLettersCommand, DecideLetters, ListLetters};
use crate::client::ask;
use crate::confirm::confirm;
use crate::error::CliError;
use crate::exit::Exit;
use crate::figures::grouped;
use crate::view::dead_letter;

/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, arguments: DeadLetters) -> Result<Exit, CliError> {
    match arguments.command {
        None => list(context, arguments.list).await,
        Some(DeadLettersCommand::List(arguments)) => list(context, arguments).await,
        Some(DeadLettersCommand::Show { id }) => show(context, id).await,
        Some(DeadLettersCommand::Replay(which)) => decide(context, which, None).await,
        Some(DeadLettersCommand::Discard { which, reason }) => decide(context, which, Some(reason)).await,
    }
}

async fn list(context: &Context, arguments: ListLetters) -> Result<Exit, CliError> {
    let filter = arguments.filter;
    let request = ListDeadLettersRequest {
        run: filter.run.unwrap_or_default(),
        object: filter.object.unwrap_or_default(),
        stage: filter.stage.unwrap_or_default(),
        code: filter.code.unwrap_or_default(),
        state: arguments.state.unwrap_or_default(),
        page_size: arguments.limit,
        page_token: String::new(),
    };
    let answer = context
        .gateway
        .monitor()
        .list_dead_letters(ask(request))
        .await
        .map_err(|s| context.gateway.error(s))?
        .into_inner();
    context.output.result(
        &dead_letter::table(answer.total, &answer.dead_letters),
        &dead_letter::to_json(answer.total, &answer.dead_letters),
    )?;
    Ok(Exit::Ok)
}

async fn show(context: &Context, id: u64) -> Result<Exit, CliError> {
    let answer = context.gateway.monitor().get_dead_letter(ask(GetDeadLetterRequest { id })).await;
    let answer = answer.map_err(|s| context.gateway.error(s))?.into_inner();
    let letter = answer.dead_letter.ok_or_else(|| missing("dead letter"))?;
    context
        .output
        .result(&dead_letter::details(&letter), &dead_letter::letter_json(&letter))?;
    Ok(Exit::Ok)
}

/// Replays, or discards for a reason: first says how many these are, then asks, then does it.
async fn decide(context: &Context, which: DecideLetters, reason: Option<String>) -> Result<Exit, CliError> {
    let looked = send(context, &which, reason.as_deref(), true).await?;
    let verb = if reason.is_some() { "discard" } else { "replay" };
    let what = format!(
        "{} dead letters with {} records of run {}",
        grouped(looked.0),
        grouped(looked.1),
        looked.2
    );
    let done = match (looked.0, which.dry_run) {
        (0, _) | (_, true) => false,
        // One that was named is what was meant.
        (1, _) if which.id.is_some() => true,
        _ => confirm(context.output, &format!("{verb} {what}?"), which.yes)?,
    };
    let (count, records, run) = if done {
        send(context, &which, reason.as_deref(), false).await?
    } else {
        looked
    };
    let text = match (count, done) {
        (0, _) => "no dead letters to decide about\n".to_owned(),
        (_, false) => format!("would {verb} {what}; nothing was done\n"),
        (_, true) if reason.is_some() => format!("discarded {} dead letters of run {run}\n", grouped(count)),
        (_, true) => format!(
            "replaying {} dead letters; follow it with `syncline runs watch {run}`\n",
            grouped(count)
        ),
    };
    let json = json!({"run": run, "count": count, "records": records, "done": done});
    context.output.result(&text, &json)?;
    Ok(Exit::Ok)
}

/// Letters, records and run.
async fn send(context: &Context, which: &DecideLetters, reason: Option<&str>, dry_run: bool) -> Result<(u64, u64, String), CliError> {
    let mut monitor = context.gateway.monitor();
    let id = which.id.unwrap_or_default();
    let text = |option: &Option<String>| option.clone().unwrap_or_default();
    let (run, object) = (text(&which.filter.run), text(&which.filter.object));
    let (stage, code) = (text(&which.filter.stage), text(&which.filter.code));
    let answer = match reason {
        None => {
            let request = ReplayDeadLettersRequest {
                id,
                run,
                object,
                stage,
                code,
                dry_run,
            };
            let answer = monitor.replay_dead_letters(ask(request)).await;
            answer.map(|a| a.into_inner()).map(|a| (a.count, a.records, a.run))
        }
        Some(reason) => {
            let request = DiscardDeadLettersRequest {
                id,
                run,
                object,
                stage,
                code,
                dry_run,
                reason: reason.to_owned(),
            };
            let answer = monitor.discard_dead_letters(ask(request)).await;
            answer.map(|a| a.into_inner()).map(|a| (a.count, a.records, a.run))
        }
    };
    answer.map_err(|s| context.gateway.error(s))
}
