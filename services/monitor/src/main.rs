//! The monitor as a process of its own.

fn main() -> std::process::ExitCode {
    syncline_runtime::main("monitor", syncline_monitor::run)
}
