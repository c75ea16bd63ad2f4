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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Every visible command under its full name, and its long flags.
    fn all(command: &clap::Command, path: &str, out: &mut Vec<(String, Vec<String>)>) {
        let flags = command.get_arguments().filter(|a| !a.is_hide_set());
        let flags = flags.filter_map(|a| a.get_long()).map(|long| format!("--{long}"));
        out.push((path.to_owned(), flags.collect()));
        for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            all(sub, &format!("{path}-{}", sub.get_name()), out);
        }
    }

    fn commands() -> Vec<(String, Vec<String>)> {
        let mut out = Vec::new();
        all(&Cli::command(), "syncline", &mut out);
        assert!(out.len() > 20, "{out:?}");
        out
    }

    #[test]
    fn the_manual_has_a_page_per_command_that_names_its_flags() {
        let dir = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Cli::command(), dir.path()).unwrap();
        for (path, flags) in commands() {
            let page = std::fs::read_to_string(dir.path().join(format!("{path}.1"))).unwrap();
            let page = page.replace("\\-", "-");
            for flag in flags {
                assert!(page.contains(&flag), "{path}.1 says nothing of {flag}");
            }
        }
    }

    #[test]
    fn every_shell_completes_every_command_and_flag() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "syncline", &mut script);
            let script = String::from_utf8(script).unwrap();
            for (path, flags) in commands() {
                let name = path.rsplit('-').next().unwrap();
                assert!(script.contains(name), "{shell} does not complete {path}");
                for flag in flags {
                    // fish has them without their dashes.
                    let flag = if shell == clap_complete::Shell::Fish {
                        flag.trim_start_matches("--")
                    } else {
                        &flag
                    };
                    assert!(script.contains(flag), "{shell} does not complete {path} {flag}");
                }
            }
        }
    }

    #[test]
    fn the_reference_is_current() {
        let options = clap_markdown::MarkdownOptions::new()
            .title("The command line".to_owned())
            .show_footer(false);
        let text = clap_markdown::help_markdown_command_custom(&Cli::command(), &options);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
        if std::env::var_os("SYNCLINE_WRITE_DOCS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(
            kept == text,
            "docs/cli.md is not what the arguments say: SYNCLINE_WRITE_DOCS=1 cargo test -p syncline-cli writes it"
        );
    }
}
