//! The coordinator's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    syncline_runtime::main("coordinator", syncline_coordinator::run)
}
