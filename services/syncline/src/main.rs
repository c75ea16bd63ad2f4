//! `syncline`: the command line, and every service in one process.
//!
//! Guarantees: results go to stdout as tables or, with `-o json`, as JSON; messages and errors go to stderr; the exit
//! code says how it ended (see `--help`). A command that watches a run never stops the run when it is interrupted.
//! It talks to the gateway only, but for `health`, `migrate` and `doctor --installation`, which look behind it; `dev` and
//! `serve` are the commands that hold services.
//!
//! Start with [`cli`] and [`command`].

mod browser;
mod certificates;
mod cli;
mod client;
mod command;
mod confirm;
mod definition;
mod dev_keys;
mod doctor;
mod error;
mod exit;
mod figures;
mod import;
mod output;
mod services;
mod table;
mod view;
mod watch;

use clap::Parser as _;

/// Returns freed memory to the system, which the default allocator keeps: `dev` holds every service in one process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let cli = cli::Cli::parse();
    let format = cli.global.output;
    match command::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            error.show(format);
            error.exit.into()
        }
    }
}
