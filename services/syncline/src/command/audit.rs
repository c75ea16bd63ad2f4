//! `syncline audit ...`: read the log, export it, prove that it is whole.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncline_domain::audit::{Hash, Head, Link, Verifier};
use syncline_wire::audit;
use syncline_wire::identity::{GetAuditHeadRequest, ListAuditEntriesRequest};

use super::Context;
use crate::cli;
use crate::client::ask;
use crate::error::CliError;
use crate::exit::Exit;
use crate::figures::grouped;
use crate::output::Output;
use crate::view::audit as entries;

const PAGE_SIZE: u32 = 1_000;
/// A line of an export is some 600 bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// The last line of an export.
#[derive(Serialize, Deserialize)]
struct HeadLine {
    head: HeadOf,
}

#[derive(Serialize, Deserialize)]
struct HeadOf {
    seq: u64,
    hash: Hash,
}

/// # Errors
/// What the gateway answers, or that the chain does not hold.
pub async fn run(context: &Context, command: cli::Audit) -> Result<Exit, CliError> {
    match command {
        cli::Audit::List(arguments) => list(context, arguments).await,
        cli::Audit::Export => export(context).await,
        cli::Audit::Verify { file: Some(file), partial } => verify_file(&file, partial, context.output),
        cli::Audit::Verify { file: None, .. } => verify_log(context).await,
    }
}

async fn page(context: &Context, request: ListAuditEntriesRequest) -> Result<(Vec<Link>, u64), CliError> {
    let answer = context.gateway.audit().list_audit_entries(ask(request)).await;
    let answer = answer.map_err(|s| context.gateway.error(s))?.into_inner();
    let links = answer
        .entries
        .into_iter()
        .map(|e| audit::link(e).ok_or_else(no_hash))
        .collect::<Result<_, _>>()?;
    Ok((links, answer.next_after))
}

async fn head(context: &Context) -> Result<Head, CliError> {
    let answer = context.gateway.audit().get_audit_head(ask(GetAuditHeadRequest {})).await;
    let answer = answer.map_err(|s| context.gateway.error(s))?.into_inner();
    Ok(Head {
        seq: answer.seq,
        hash: audit::hash(answer.hash).ok_or_else(no_hash)?,
    })
}

fn no_hash() -> CliError {
    super::missing("hash of 32 bytes")
}

async fn list(context: &Context, arguments: cli::AuditList) -> Result<Exit, CliError> {
    let request = ListAuditEntriesRequest {
        after: arguments.after,
        page_size: arguments.limit,
        subject: arguments.subject.unwrap_or_default(),
        connection: arguments.connection.unwrap_or_default(),
    };
    let (links, next) = page(context, request).await?;
    let mut text = if links.is_empty() {
        "no entries\n".to_owned()
    } else {
        entries::table(&links)
    };
    if next > 0 {
        text.push_str(&format!("... and more; see --after {next}\n"));
    }
    context.output.result(&text, &json!({"entries": links, "next_after": next}))?;
    Ok(Exit::Ok)
}

/// Follows the log as far as it went when it was asked for its end.
async fn walk(context: &Context, mut each: impl FnMut(&Link) -> Result<(), CliError>) -> Result<Head, CliError> {
    let head = head(context).await?;
    let mut after = 0;
    while after < head.seq {
        let request = ListAuditEntriesRequest {
            after,
            page_size: PAGE_SIZE,
            ..Default::default()
        };
        let (links, _) = page(context, request).await?;
        if links.is_empty() {
            break;
        }
        for link in links.iter().take_while(|l| l.entry.seq <= head.seq) {
            each(link)?;
        }
        after = links.last().map_or(head.seq, |l| l.entry.seq);
    }
    Ok(head)
}

async fn export(context: &Context) -> Result<Exit, CliError> {
    let output = context.output;
    let mut entries = 0;
    let head = walk(context, |link| {
        entries += 1;
        Ok(output.json_line(&serde_json::to_value(link).map_err(std::io::Error::other)?)?)
    })
    .await?;
    let last = HeadLine {
        head: HeadOf {
            seq: head.seq,
            hash: head.hash,
        },
    };
    output.json_line(&serde_json::to_value(last).map_err(std::io::Error::other)?)?;
    output.message(&format!("{} entries", grouped(entries)));
    if entries != head.seq {
        let why = format!("the log says it has {}, and gave {}", grouped(head.seq), grouped(entries));
        return Err(tampered(&why));
    }
    Ok(Exit::Ok)
}

async fn verify_log(context: &Context) -> Result<Exit, CliError> {
    let mut verifier = Verifier::from(Head::EMPTY);
    let recorded = walk(context, |link| verifier.follow(link).map_err(|e| broken(&e))).await?;
    let head = verifier.end(recorded).map_err(|e| broken(&e))?;
    holds(context.output, head, true)
}

fn broken(error: &syncline_domain::audit::Broken) -> CliError {
    tampered(&error.to_string())
}

fn tampered(why: &str) -> CliError {
    CliError::new(Exit::Unexpected, format!("the audit log was tampered with: {why}"))
        .remedy("Keep the database as it is, and compare with the last export that was verified.")
}

fn holds(output: Output, head: Head, with_end: bool) -> Result<Exit, CliError> {
    let hash = String::from(head.hash);
    let mut text = format!("{} entries hold together; the newest has the hash\n{hash}\n", grouped(head.seq));
    if !with_end {
        text.push_str("the file does not say where the log ended: entries may be missing behind its last one\n");
    }
    output.result(&text, &json!({"entries": head.seq, "hash": hash, "end_known": with_end}))?;
    Ok(Exit::Ok)
}

/// A file without its last line is a cut export, which holds only where `partial` says that this is expected.
///
/// # Errors
/// When the file cannot be read, is cut, or the chain does not hold.
pub fn verify_file(file: &Path, partial: bool, output: Output) -> Result<Exit, CliError> {
    let unreadable = |why: &str| CliError::new(Exit::Invalid, format!("{}: {why}", file.display()));
    let reader: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(|e| unreadable(&e.to_string()))?)
    };
    let mut reader = BufReader::new(reader);
    let mut verifier = Verifier::from(Head::EMPTY);
    let mut recorded = None;
    for number in 1_u64.. {
        let mut line = String::new();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
        if read.map_err(|e| unreadable(&format!("line {number}: {e}")))? == 0 {
            break;
        }
        if recorded.is_some() {
            return Err(tampered(&format!("line {number} stands behind the end of the export")));
        }
        let value: Value = serde_json::from_str(&line).map_err(|e| tampered(&format!("line {number} is not JSON: {e}")))?;
        if value.get("head").is_some() {
            let last: HeadLine = serde_json::from_value(value).map_err(|e| tampered(&format!("line {number}: {e}")))?;
            recorded = Some(Head {
                seq: last.head.seq,
                hash: last.head.hash,
            });
            continue;
        }
        let link: Link = serde_json::from_value(value).map_err(|e| tampered(&format!("line {number} is not an entry: {e}")))?;
        verifier.follow(&link).map_err(|e| broken(&e))?;
    }
    let head = match recorded {
        Some(recorded) => verifier.end(recorded).map_err(|e| broken(&e))?,
        None if partial => verifier.head(),
        None => {
            return Err(tampered("the file does not say where the log ended, so its end may be missing")
                .remedy("Export again; a part that was cut off on purpose is verified with --partial."));
        }
    };
    holds(output, head, recorded.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use syncline_domain::audit::Entry;

    use super::*;

    fn export(count: u64) -> Vec<String> {
        let mut head = Head::EMPTY;
        let mut lines = Vec::new();
        for seq in 1..=count {
            let entry = Entry {
                seq,
                at_us: 1,
                request: format!("q{seq}"),
                subject: "ci".into(),
                role: "viewer".into(),
                address: "127.0.0.1:1".into(),
                method: "/a.B/C".into(),
                resource: String::new(),
                connections: String::new(),
                result: "OK".into(),
                code: String::new(),
            };
            let link = entry.link(head.hash);
            head = Head { seq, hash: link.hash };
            lines.push(serde_json::to_string(&link).unwrap());
        }
        let last = HeadLine {
            head: HeadOf {
                seq: head.seq,
                hash: head.hash,
            },
        };
        lines.push(serde_json::to_string(&last).unwrap());
        lines
    }

    fn verify(lines: &[String]) -> Result<Exit, CliError> {
        verify_as(lines, false)
    }

    fn verify_as(lines: &[String], partial: bool) -> Result<Exit, CliError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.jsonl");
        std::fs::write(&file, lines.join("\n")).unwrap();
        verify_file(
            &file,
            partial,
            Output {
                format: crate::output::Format::Json,
            },
        )
    }

    #[test]
    fn an_export_is_proved_and_what_was_done_to_it_is_found() {
        let lines = export(4);
        assert_eq!(verify(&lines).unwrap(), Exit::Ok);
        for cut in 0..=4 {
            let kept = &lines[..cut];
            assert_eq!(verify(kept).unwrap_err().exit, Exit::Unexpected, "cut behind line {cut}");
            assert_eq!(verify_as(kept, true).unwrap(), Exit::Ok, "what is there holds");
        }
        for place in 0..4 {
            let mut changed = lines.clone();
            changed[place] = changed[place].replace("\"subject\":\"ci\"", "\"subject\":\"me\"");
            let error = verify(&changed).unwrap_err();
            assert!(error.message.contains(&format!("entry {}", place + 1)), "{error}");
            let mut fewer = lines.clone();
            fewer.remove(place);
            assert_eq!(verify(&fewer).unwrap_err().exit, Exit::Unexpected, "line {place} is missing");
        }
    }

    #[test]
    fn what_is_no_export_is_named_by_line() {
        for (lines, named) in [
            (vec!["{".to_owned()], "line 1"),
            (vec![r#"{"seq": 1}"#.to_owned()], "line 1"),
            (export(1).into_iter().chain(export(1)).collect(), "line 3"),
        ] {
            let error = verify(&lines).unwrap_err();
            assert_eq!(error.exit, Exit::Unexpected);
            assert!(error.message.contains(named), "{error}");
        }
    }
}
