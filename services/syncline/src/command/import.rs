//! `syncline import`: another tool's configuration as a sync definition, and the list of what could not be carried over.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use syncline_domain::ErrorCode;

use crate::cli::{Import, ImportSfdmu};
use crate::definition;
use crate::error::CliError;
use crate::exit::Exit;
use crate::import::{self, Imported, Names, Note, Refused};
use crate::output::{Format, Output};

/// # Errors
/// A file that cannot be read, or of which nothing is usable; a file to write that is there already.
pub fn run(command: Import, output: Output) -> Result<Exit, CliError> {
    let Import::Sfdmu(arguments) = command;
    sfdmu(arguments, output)
}

fn sfdmu(arguments: ImportSfdmu, output: Output) -> Result<Exit, CliError> {
    if arguments.source == arguments.target {
        return Err(
            CliError::new(Exit::Invalid, format!("source and target are both `{}`", arguments.source))
                .remedy("Name two connections with --source and --target."),
        );
    }
    let (file, text) = definition::read_named(&arguments.file)?;
    let names = Names {
        sync: arguments.name,
        source: arguments.source,
        target: arguments.target,
    };
    let imported = import::sfdmu::import(&file, &text, &names).map_err(|refused| refusal(&file, &refused, output))?;
    if let Some(path) = &arguments.write {
        write_new(path, &imported.yaml)?;
    }
    // The list is read after the definition, which may be long.
    show(&imported, arguments.write.as_deref(), output)?;
    tell(&file, &imported, arguments.write.as_deref(), output);
    Ok(Exit::Ok)
}

fn show(imported: &Imported, written: Option<&Path>, output: Output) -> Result<(), CliError> {
    let json = json!({
        "yaml": imported.yaml,
        "written": written.map(|path| path.display().to_string()),
        "syncs": imported.syncs,
        "objects": imported.objects,
        "not_carried_over": imported.notes.iter().map(note_json).collect::<Vec<_>>(),
    });
    let text = if written.is_some() { "" } else { &imported.yaml };
    output.result(text, &json)?;
    Ok(())
}

fn tell(file: &str, imported: &Imported, written: Option<&Path>, output: Output) {
    if output.format == Format::Json {
        return;
    }
    for line in list(file, &imported.notes) {
        output.message(&line);
    }
    let (syncs, objects) = (counted(imported.syncs, "sync"), counted(imported.objects, "object"));
    let rest = match imported.notes.len() {
        0 => "everything was carried over".to_owned(),
        1 => "1 thing was not carried over; it stands above and at its place in the definition".to_owned(),
        n => format!("{n} things were not carried over; they stand above and at their places in the definition"),
    };
    output.message(&format!("{syncs}, {objects}; {rest}"));
    if let Some(path) = written {
        let shown = path.display();
        output.message(&format!(
            "written to {shown}; next: syncline apply -f {shown}, then syncline check NAME"
        ));
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn list(file: &str, notes: &[Note]) -> Vec<String> {
    notes.iter().map(|note| format!("{file}:{note}")).collect()
}

fn note_json(note: &Note) -> Value {
    json!({
        "line": note.line,
        "column": note.column,
        "path": note.path,
        "why": note.why,
        "instead": note.instead,
    })
}

fn refusal(file: &str, refused: &Refused, output: Output) -> CliError {
    if output.format == Format::Table {
        for line in list(file, &refused.notes) {
            output.message(&line);
        }
    }
    let mut lines = list(file, &refused.errors);
    if output.format == Format::Json {
        lines.extend(list(file, &refused.notes));
    }
    CliError::coded(ErrorCode::SyncInvalid, lines.join("\n")).remedy("Correct what is named by line and column. Nothing was written.")
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => CliError::new(
            Exit::Invalid,
            format!("{} is there already, and is not overwritten", path.display()),
        )
        .remedy("Name another file, or move this one away."),
        _ => CliError::new(Exit::Invalid, format!("{} cannot be written: {e}", path.display()))
            .remedy("Name a file in a directory that can be written."),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        // Half a definition would read as a whole one.
        let _ = std::fs::remove_file(path);
        failed(e)
    })
}
