//! The loader's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    syncline_runtime::main("loader", syncline_loader::run)
}
