//! Batches as they travel: Arrow IPC, compressed, sealed under their name.
//!
//! Guarantees: whoever lacks the audience's data key reads nothing; a body that was moved to another name, cut or
//! changed does not open; `Debug` and errors never show content. See ARCHITECTURE.md, "What a reader of the disks finds".

mod body;
mod seal;

pub use body::{BATCH_BYTES_MAX, Body, BodyError, open, seal_data, seal_data_with_digest, seal_end};
pub use seal::{SealError, SealingKey};
