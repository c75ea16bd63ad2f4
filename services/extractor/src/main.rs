//! The extractor's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    syncline_runtime::main("extractor", syncline_extractor::run)
}
