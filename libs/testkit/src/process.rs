//! Programs under test that are killed, stopped and continued from outside.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A child process that never outlives this value.
pub struct Process(Child);

impl Process {
    /// Starts `command` with no input and both outputs appended to `log`.
    ///
    /// # Errors
    /// If the log cannot be opened or the program cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let out = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out).spawn()?;
        Ok(Self(child))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// `kill -9`, and waits until it is gone: no handler runs, no buffer is flushed.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.0.kill()?;
        self.0.wait()
    }

    /// `SIGTERM`: asks it to leave.
    pub fn terminate(&self) -> io::Result<()> {
        send_signal(self.pid(), "TERM")
    }

    /// `SIGSTOP`: it hangs, with its connections open.
    pub fn pause(&self) -> io::Result<()> {
        send_signal(self.pid(), "STOP")
    }

    /// `SIGCONT`: it goes on as if no time had passed.
    pub fn resume(&self) -> io::Result<()> {
        send_signal(self.pid(), "CONT")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Sends the named signal ("KILL", "TERM", "STOP", "CONT", "INT") to one process.
///
/// # Errors
/// If there is no such process or it is not ours.
pub fn send_signal(pid: u32, signal: &str) -> io::Result<()> {
    // The shell's builtin: the workspace forbids unsafe code, and a slim machine may lack the program `kill`.
    let status = Command::new("bash")
        .args(["-c", "kill -s \"$1\" \"$2\"", "kill", signal])
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("signal {signal} could not be sent to process {pid}")))
    }
}
