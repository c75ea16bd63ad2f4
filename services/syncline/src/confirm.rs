//! Asking before something is done that concerns many records.

use std::io::{self, BufRead as _, IsTerminal as _};

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// Asks on the terminal; a `yes` given before is the answer. Where nobody can be asked, nothing is done.
///
/// # Errors
/// When there is no terminal, or nothing can be read from it.
pub fn confirm(output: Output, question: &str, yes: bool) -> Result<bool, CliError> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        let error = CliError::new(Exit::Invalid, format!("{question} Nobody can be asked, and nothing was done"));
        return Err(error.remedy("Give --yes, or look first with --dry-run."));
    }
    output.message(&format!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [("y\n", true), ("Yes", true), ("", false), ("n", false), ("yesterday", false)] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
