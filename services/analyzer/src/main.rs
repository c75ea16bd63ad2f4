//! The analyzer as a process of its own.

fn main() -> std::process::ExitCode {
    syncline_runtime::main("analyzer", syncline_analyzer::run)
}
