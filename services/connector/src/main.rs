//! The connector as a process of its own.

fn main() -> std::process::ExitCode {
    syncline_runtime::main("connector", syncline_connector::run)
}
