//! `syncline dead-letters`

use syncline_wire::monitor::ListDeadLettersRequest;

use super::Context;
use crate::cli::DeadLetters;
use crate::client::ask;
use crate::error::CliError;
use crate::exit::Exit;
use crate::view::dead_letter;

/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, arguments: DeadLetters) -> Result<Exit, CliError> {
    let request = ListDeadLettersRequest {
        run: arguments.run.unwrap_or_default(),
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
