//! Where results go: stdout, as tables for people or JSON for programs. Messages go to stderr.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde_json::Value;

/// The form of results on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// The two streams of the process.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
}

impl Output {
    /// One result: its text or its JSON.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn result(self, text: &str, json: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.format {
            Format::Table => out.write_all(text.as_bytes())?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, json)?;
                out.write_all(b"\n")?;
            }
        }
        out.flush()
    }

    /// One line of a stream of results.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn json_line(self, json: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{json}")?;
        out.flush()
    }

    /// A message for whoever sits before the screen.
    pub fn message(self, text: &str) {
        // Nobody is left to be told when stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Can progress be drawn in place?
    #[must_use]
    pub fn is_interactive(self) -> bool {
        self.format == Format::Table && io::stderr().is_terminal()
    }
}
