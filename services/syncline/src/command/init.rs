//! `syncline init SOURCE TARGET`: a first sync from two connections, on stdout or in a file that is not there yet.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};

use serde_json::json;
use syncline_wire::analysis::ProposeSyncRequest;

use super::Context;
use crate::cli::{Framework, Init};
use crate::client::ask;
use crate::error::CliError;
use crate::exit::Exit;
use crate::view::plan;

/// # Errors
/// What the gateway answers, or that the file is there already.
pub async fn run(context: &Context, arguments: Init) -> Result<Exit, CliError> {
    if let Some(file) = &arguments.write
        && file.exists()
    {
        return Err(CliError::new(Exit::Invalid, format!("{} is there already", file.display()))
            .remedy("Name another file; nothing is overwritten."));
    }
    let request = ProposeSyncRequest {
        name: arguments.name.clone(),
        source: arguments.source,
        target: arguments.target,
        objects: arguments.objects,
        preset: match arguments.framework {
            Framework::Hipaa => "hipaa".to_owned(),
            Framework::None => String::new(),
        },
    };
    let answer = context.gateway.analysis().propose_sync(ask(request)).await;
    let answer = answer.map_err(|s| context.gateway.error(s))?.into_inner();
    let grave = answer
        .issues
        .iter()
        .filter(|i| matches!(i.severity.as_str(), "fatal" | "error"))
        .count();
    match &arguments.write {
        Some(file) => {
            let open = OpenOptions::new().write(true).create_new(true).open(file);
            let written = open.and_then(|mut open| open.write_all(answer.yaml.as_bytes()));
            written.map_err(|e| {
                let exit = if e.kind() == ErrorKind::AlreadyExists {
                    Exit::Invalid
                } else {
                    Exit::Unexpected
                };
                CliError::new(exit, format!("{}: {e}", file.display()))
            })?;
            let text = format!("wrote {}; next: syncline apply --file {}\n", file.display(), file.display());
            context.output.result(
                &text,
                &json!({"file": file.display().to_string(), "issues": plan::issues_json(&answer.issues)}),
            )?;
        }
        None => context.output.result(
            &answer.yaml,
            &json!({"yaml": answer.yaml, "issues": plan::issues_json(&answer.issues)}),
        )?,
    }
    if grave > 0 {
        context.output.message(&format!(
            "{grave} things have to be decided or mended before a run; they stand at its end"
        ));
    }
    Ok(Exit::Ok)
}
