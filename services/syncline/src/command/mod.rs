//! One file per command: ask, then show.

pub mod apply;
pub mod audit;
pub mod check;
pub mod connection;
pub mod dead_letters;
pub mod dev;
pub mod doctor;
pub mod health;
pub mod import;
pub mod init;
pub mod keys;
pub mod manual;
pub mod migrate;
pub mod report;
pub mod retry_failed;
pub mod run;
pub mod runs;
pub mod secrets;
pub mod serve;
pub mod token;
pub mod version;

use crate::cli::{self, Audit, Cli, Command};
use crate::client::Gateway;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// What every command is given.
pub struct Context {
    pub gateway: Gateway,
    pub output: Output,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, ready to be shown.
pub fn run(cli: Cli) -> Result<Exit, CliError> {
    let output = Output { format: cli.global.output };
    match cli.command {
        Command::Version => version::run(output),
        Command::Dev(dev) => dev::run(dev, cli.global.token, output),
        Command::Serve { service } => serve::run(&service),
        Command::Migrate => migrate::run(output),
        Command::Keys(cli::Keys::Rewrap) => keys::run(output),
        Command::Secrets(arguments) => secrets::run(&arguments, output),
        Command::Health { url, service } => health::run(&url, &service, output),
        Command::Import(command) => import::run(command, output),
        Command::Doctor { installation } => doctor::run(&cli.global, installation),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::pages(&dir, output),
        Command::Audit(Audit::Verify { file: Some(file), partial }) => audit::verify_file(&file, partial, output),
        command => {
            syncline_runtime::entry::install_crypto();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let context = Context {
                    gateway: Gateway::new(&cli.global.gateway, cli.global.ca.as_deref(), cli.global.token.as_ref())?,
                    output,
                };
                remote(&context, command).await
            })
        }
    }
}

/// Commands that ask the gateway.
async fn remote(context: &Context, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Connection(command) => connection::run(context, command).await,
        Command::Apply(arguments) => apply::run(context, &arguments.files).await,
        Command::Init(arguments) => init::run(context, arguments).await,
        Command::Check { sync } => check::run(context, sync).await,
        Command::Run(arguments) => run::run(context, arguments).await,
        Command::Runs(arguments) => runs::run(context, arguments).await,
        Command::Report { run } => report::run(context, &run).await,
        Command::DeadLetters(arguments) => dead_letters::run(context, arguments).await,
        Command::Token(command) => token::run(context, command).await,
        Command::Whoami => token::whoami(context).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Dev(_)
        | Command::Serve { .. }
        | Command::Migrate
        | Command::Keys(_)
        | Command::Secrets(_)
        | Command::Health { .. }
        | Command::Doctor { .. }
        | Command::Version
        | Command::Import(_)
        | Command::Completions { .. }
        | Command::Man { .. } => Ok(Exit::Ok),
    }
}

/// An answer without its content is a fault of the service.
fn missing(what: &str) -> CliError {
    CliError::coded(syncline_domain::ErrorCode::Internal, format!("the answer holds no {what}"))
}
