//! `syncline completions` and `syncline man`: both made from the arguments themselves.

use std::path::Path;

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// # Errors
/// When stdout cannot be written.
pub fn completions(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "syncline", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(Exit::Ok)
}

/// One page per command, `syncline.1`, `syncline-runs.1`, ...
///
/// # Errors
/// When the directory cannot be made or a page cannot be written.
pub fn pages(dir: &Path, output: Output) -> Result<Exit, CliError> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    output.message(&format!(
        "the manual is in {}: man -l {}",
        dir.display(),
        dir.join("syncline.1").display()
    ));
    Ok(Exit::Ok)
}
