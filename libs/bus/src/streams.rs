//! The streams: bounded, file-backed, made at start if they are missing.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::error::BusError;
use crate::subjects::{Audience, SHARD};

/// Batches of one partition that may be in flight per stream; at most 900 KiB each.
pub const MESSAGES_PER_PARTITION_MAX: i64 = 48;
/// Bytes that a shard of RAW or CLEAN may take on disk.
pub const SHARD_BYTES_MAX: i64 = 8 * 1024 * 1024 * 1024;
/// The bus's own bound on a message, headers included.
pub const MESSAGE_BYTES_MAX: i32 = 1024 * 1024;
/// Facts are kept this long.
pub const EVENTS_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// An invitation that nobody took is repeated by the coordinator, so old ones may go.
pub const TASKS_AGE_MAX: Duration = Duration::from_secs(600);
/// A repeated publish within this window is recognised by its message id; a convenience, never relied on.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

pub(crate) async fn ensure_all(context: &Context, replicas: usize) -> Result<(), BusError> {
    let base = |name: &str, subject: &str| Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        storage: StorageType::File,
        num_replicas: replicas,
        duplicate_window: DUPLICATE_WINDOW,
        max_message_size: MESSAGE_BYTES_MAX,
        ..Config::default()
    };
    let batches = |audience: Audience| Config {
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: MESSAGES_PER_PARTITION_MAX,
        max_bytes: SHARD_BYTES_MAX,
        ..base(&audience.stream(), &format!("{audience}.{SHARD}.>"))
    };
    let all = [
        Config {
            retention: RetentionPolicy::WorkQueue,
            max_age: TASKS_AGE_MAX,
            ..base("TASKS", "task.>")
        },
        batches(Audience::Raw),
        batches(Audience::Clean),
        Config {
            retention: RetentionPolicy::Limits,
            max_age: EVENTS_AGE_MAX,
            max_bytes: SHARD_BYTES_MAX / 8,
            ..base("EVENTS", "event.>")
        },
        Config {
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_bytes: SHARD_BYTES_MAX / 8,
            ..base("DEAD", "dead.>")
        },
    ];
    for config in all {
        let name = config.name.clone();
        context
            .get_or_create_stream(config)
            .await
            .map_err(|e| BusError::setup(format!("stream {name}"), e))?;
    }
    Ok(())
}
