//! The masker's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    syncline_runtime::main("masker", syncline_masker::run)
}
