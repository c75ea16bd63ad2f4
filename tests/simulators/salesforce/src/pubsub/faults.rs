//! Scripted failures of calls, and cuts of open streams.

use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::pubsub::refusal;
use crate::web::listener::Cutter;

/// The next calls fail with this.
#[derive(Debug, Clone, Deserialize)]
pub struct RpcFault {
    /// `Subscribe`, `GetSchema`, …; any when absent.
    pub rpc: Option<String>,
    /// A gRPC status name such as `INTERNAL`.
    pub status: String,
    /// The `error-code` trailer; a name without dots is put behind the service's prefix.
    #[serde(default)]
    pub error_code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default = "once")]
    pub times: u64,
}

/// Damage to the next events delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// The payload lacks its second half.
    Truncated,
    /// The payload is followed by bytes that belong to nothing.
    Trailing,
    /// The schema id is one that nobody knows.
    UnknownSchema,
}

fn once() -> u64 {
    1
}

/// Pending failures of one org's bus.
pub struct RpcFaults {
    next: Mutex<Vec<RpcFault>>,
    damage: Mutex<Vec<(Damage, u64)>>,
    cuts: watch::Sender<u64>,
    cut: Mutex<Option<RpcFault>>,
    connections: Mutex<Vec<Cutter>>,
}

impl Default for RpcFaults {
    fn default() -> Self {
        Self {
            next: Mutex::default(),
            damage: Mutex::default(),
            cuts: watch::Sender::new(0),
            cut: Mutex::default(),
            connections: Mutex::default(),
        }
    }
}

impl RpcFault {
    fn code(&self) -> Option<Code> {
        const NAMES: [(&str, Code); 10] = [
            ("INVALID_ARGUMENT", Code::InvalidArgument),
            ("NOT_FOUND", Code::NotFound),
            ("PERMISSION_DENIED", Code::PermissionDenied),
            ("UNAUTHENTICATED", Code::Unauthenticated),
            ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
            ("UNAVAILABLE", Code::Unavailable),
            ("INTERNAL", Code::Internal),
            ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
            ("ABORTED", Code::Aborted),
            ("UNKNOWN", Code::Unknown),
        ];
        NAMES.iter().find(|(name, _)| *name == self.status).map(|(_, code)| *code)
    }

    /// Whether its status is one.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.code().is_some()
    }

    fn status(&self) -> Status {
        refusal::status(self.code().unwrap_or(Code::Unknown), &self.error_code, &self.message)
    }
}

impl RpcFaults {
    /// Lets the next calls fail.
    pub fn add(&self, fault: RpcFault) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Damages the next `times` events delivered.
    pub fn add_damage(&self, damage: Damage, times: u64) {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).push((damage, times));
    }

    /// Forgets all that is pending.
    pub fn clear(&self) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether this call of `rpc` fails.
    ///
    /// # Errors
    /// The scripted failure.
    pub fn check(&self, rpc: &str) -> Result<(), Status> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = next.iter_mut().find(|f| f.times > 0 && f.rpc.as_deref().is_none_or(|r| r == rpc));
        let Some(fault) = hit else { return Ok(()) };
        fault.times -= 1;
        let status = fault.status();
        next.retain(|f| f.times > 0);
        Err(status)
    }

    /// Damage to the event delivered now.
    pub fn take_damage(&self) -> Option<Damage> {
        let mut pending = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        let (damage, times) = pending.iter_mut().find(|(_, times)| *times > 0)?;
        *times -= 1;
        Some(*damage)
    }

    /// Remembers a connection, to break it when asked.
    pub fn connected(&self, cutter: Cutter) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|c| !c.is_alone());
        connections.push(cutter);
    }

    /// Breaks all connections; what is open on them ends without a status.
    pub fn reset(&self) {
        let connections = std::mem::take(&mut *self.connections.lock().unwrap_or_else(PoisonError::into_inner));
        connections.iter().for_each(Cutter::cut);
        // Streams that have nothing to say would not notice.
        self.cuts.send_modify(|n| *n += 1);
    }

    /// Ends all open streams with this.
    pub fn cut(&self, fault: RpcFault) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        self.cuts.send_modify(|n| *n += 1);
    }

    /// Rings when streams are to end.
    #[must_use]
    pub fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    /// What a cut stream ends with.
    #[must_use]
    pub fn cut_status(&self) -> Status {
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.as_ref().map_or_else(|| Status::unavailable("cut"), RpcFault::status)
    }
}
