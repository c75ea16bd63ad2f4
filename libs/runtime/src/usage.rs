//! What this process has used so far, read from the kernel.

/// CPU seconds of all threads and peak resident memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUsage {
    pub cpu_seconds: f64,
    pub peak_memory_bytes: u64,
}

/// Clock ticks per second of `/proc/self/stat`: fixed at 100 in the kernel's user interface (`proc(5)`, USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessUsage {
    /// Reads `/proc/self`; zeros where there is none.
    #[must_use]
    pub fn now() -> Self {
        Self {
            cpu_seconds: cpu_seconds().unwrap_or(0.0),
            peak_memory_bytes: peak_memory_bytes().unwrap_or(0),
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may hold spaces; fields are counted behind its closing parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
