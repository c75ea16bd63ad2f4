//! The gateway as a process of its own.

fn main() -> std::process::ExitCode {
    syncline_runtime::main("gateway", syncline_gateway::run)
}
