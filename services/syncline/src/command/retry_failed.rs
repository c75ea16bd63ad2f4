//! `syncline runs retry-failed`

use syncline_wire::run::{RetryFailedRequest, RetryFailedResponse};

use super::Context;
use crate::cli::RetryFailed;
use crate::client::ask;
use crate::confirm::confirm;
use crate::error::CliError;
use crate::exit::Exit;
use crate::view::retry;

/// First says which records these are, then asks, then does it.
///
/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, arguments: RetryFailed) -> Result<Exit, CliError> {
    let looked = send(context, &arguments, true).await?;
    let some = looked.chosen + looked.parked > 0;
    let done = some && !arguments.dry_run && {
        context.output.message(retry::table(&looked).trim_end());
        confirm(context.output, &retry::question(&looked, &arguments.run), arguments.yes)?
    };
    let answer = if done { send(context, &arguments, false).await? } else { looked };
    context
        .output
        .result(&retry::text(&answer, &arguments.run, done), &retry::to_json(&answer, done))?;
    Ok(Exit::Ok)
}

async fn send(context: &Context, arguments: &RetryFailed, dry_run: bool) -> Result<RetryFailedResponse, CliError> {
    let request = RetryFailedRequest {
        id: arguments.run.clone(),
        object: arguments.object.clone().unwrap_or_default(),
        code: arguments.code.clone().unwrap_or_default(),
        dry_run,
    };
    let mut request = ask(request);
    // Choosing touches every refused record.
    request.set_timeout(crate::client::ANALYSIS_WAIT);
    let answer = context.gateway.runs().retry_failed(request).await;
    Ok(answer.map_err(|s| context.gateway.error(s))?.into_inner())
}
