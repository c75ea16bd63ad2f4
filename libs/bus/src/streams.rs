//! The streams: bounded, file-backed, made or brought up to date at start.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::error::{BusError, is_missing};
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

/// Every stream.
pub(crate) fn names() -> [String; 5] {
    [
        "TASKS".to_owned(),
        Audience::Raw.stream(),
        Audience::Clean.stream(),
        "EVENTS".to_owned(),
        "DEAD".to_owned(),
    ]
}

/// What a stream shall be.
pub(crate) fn settings(name: &str, replicas: usize) -> Config {
    let base = |subject: &str| Config {
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
        ..base(&format!("{audience}.{SHARD}.>"))
    };
    match name {
        "TASKS" => Config {
            retention: RetentionPolicy::WorkQueue,
            max_age: TASKS_AGE_MAX,
            ..base("task.>")
        },
        "EVENTS" => Config {
            retention: RetentionPolicy::Limits,
            max_age: EVENTS_AGE_MAX,
            max_bytes: SHARD_BYTES_MAX / 8,
            ..base("event.>")
        },
        "DEAD" => Config {
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_bytes: SHARD_BYTES_MAX / 8,
            ..base("dead.>")
        },
        raw if raw == Audience::Raw.stream() => batches(Audience::Raw),
        _ => batches(Audience::Clean),
    }
}

/// Makes the stream, or gives an existing one today's settings: an older release may have made it.
pub(crate) async fn ensure(context: &Context, wanted: Config) -> Result<(), BusError> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| BusError::setup(format!("stream {}", wanted.name), e);
    // Several processes start at once and may ask for the same: that is no conflict for the server.
    let stream = context.get_or_create_stream(wanted.clone()).await.map_err(|e| failed(e.into()))?;
    let found = &stream.cached_info().config;
    let updated = updated(found, &wanted);
    if *found != updated {
        tracing::info!(stream = %wanted.name, "its settings are brought up to date");
        context.update_stream(updated).await.map_err(|e| failed(e.into()))?;
    }
    Ok(())
}

/// Sees that the stream is there as this release needs it, without changing anything.
///
/// # Errors
/// [`BusError::NotMigrated`] only for what the server says for certain; when it does not answer, [`BusError::Setup`].
pub(crate) async fn verify(context: &Context, wanted: &Config) -> Result<(), BusError> {
    let not_migrated = |reason: String| BusError::NotMigrated {
        stream: wanted.name.clone(),
        reason,
    };
    let stream = match context.get_stream(&wanted.name).await {
        Ok(stream) => stream,
        Err(error) if is_missing(&error) => return Err(not_migrated("it is missing".to_owned())),
        Err(error) => return Err(BusError::setup(format!("stream {}", wanted.name), error)),
    };
    match differences(&stream.cached_info().config, wanted).as_slice() {
        [] => Ok(()),
        names => Err(not_migrated(format!("other settings of {}", names.join(", ")))),
    }
}

/// The settings of a stream that are not those of this release, by their names in NATS.
pub(crate) fn differences(found: &Config, wanted: &Config) -> Vec<&'static str> {
    let updated = updated(found, wanted);
    let settings = [
        ("retention", found.retention != updated.retention),
        ("discard", found.discard != updated.discard),
        (
            "discard_new_per_subject",
            found.discard_new_per_subject != updated.discard_new_per_subject,
        ),
        ("subjects", found.subjects != updated.subjects),
        (
            "max_msgs_per_subject",
            found.max_messages_per_subject != updated.max_messages_per_subject,
        ),
        ("max_bytes", found.max_bytes != updated.max_bytes),
        ("max_age", found.max_age != updated.max_age),
        ("max_msg_size", found.max_message_size != updated.max_message_size),
        ("duplicate_window", found.duplicate_window != updated.duplicate_window),
        ("num_replicas", found.num_replicas != updated.num_replicas),
    ];
    settings.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

/// A stream's settings with ours; whatever else an operator has set stays.
fn updated(found: &Config, wanted: &Config) -> Config {
    Config {
        retention: wanted.retention,
        discard: wanted.discard,
        discard_new_per_subject: wanted.discard_new_per_subject,
        subjects: wanted.subjects.clone(),
        max_messages_per_subject: bound(found.max_messages_per_subject, wanted.max_messages_per_subject),
        max_bytes: bound(found.max_bytes, wanted.max_bytes),
        max_age: wanted.max_age,
        max_message_size: wanted.max_message_size,
        duplicate_window: wanted.duplicate_window,
        num_replicas: wanted.num_replicas,
        ..found.clone()
    }
}

/// No bound is 0 when it is asked for and -1 when the server tells it.
fn bound(found: i64, wanted: i64) -> i64 {
    if found <= 0 && wanted <= 0 { found } else { wanted }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use syncline_testkit::{TestPrefix, servers};

    #[tokio::test]
    async fn a_stream_of_an_older_release_gets_todays_settings_and_keeps_its_messages() {
        let prefix = TestPrefix::new();
        let context = async_nats::jetstream::new(servers().nats().await);
        let older = Config {
            name: format!("{prefix}_RAW"),
            subjects: vec![format!("{prefix}.>")],
            retention: RetentionPolicy::WorkQueue,
            max_messages_per_subject: 4,
            max_age: Duration::from_secs(60),
            description: Some("the operator's".to_owned()),
            ..Config::default()
        };
        ensure(&context, older.clone()).await.unwrap();
        context.publish(format!("{prefix}.a"), "x".into()).await.unwrap().await.unwrap();
        let newer = Config {
            max_messages_per_subject: 48,
            max_age: Duration::ZERO,
            max_bytes: 1024 * 1024,
            description: None,
            ..older.clone()
        };
        for _ in 0..2 {
            ensure(&context, newer.clone()).await.unwrap();
        }
        let stream = context.get_stream(&older.name).await.unwrap();
        let info = stream.cached_info();
        assert_eq!((info.config.max_messages_per_subject, info.config.max_bytes), (48, 1024 * 1024));
        assert_eq!(info.config.max_age, Duration::ZERO);
        assert_eq!(info.config.description.as_deref(), Some("the operator's"));
        assert_eq!(info.state.messages, 1);
    }

    #[tokio::test]
    async fn whoever_may_not_make_streams_sees_whether_somebody_has() {
        let prefix = TestPrefix::new();
        let context = async_nats::jetstream::new(servers().nats().await);
        for name in names() {
            let wanted = Config {
                name: format!("{prefix}_{name}"),
                subjects: vec![format!("{prefix}.{name}.>")],
                // The servers of all tests have room for one set of streams of full size.
                max_bytes: settings(&name, 1).max_bytes.min(1024 * 1024),
                ..settings(&name, 1)
            };
            let missing = verify(&context, &wanted).await.unwrap_err();
            assert!(missing.to_string().contains("syncline migrate"), "{missing}");
            ensure(&context, wanted.clone()).await.unwrap();
            verify(&context, &wanted).await.unwrap();
            let newer = Config {
                max_message_size: 1024,
                ..wanted
            };
            let differs = verify(&context, &newer).await.unwrap_err();
            assert!(differs.to_string().contains("max_msg_size"), "{differs}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_cannot_be_looked_at_is_not_said_to_be_missing() {
        let client = servers().nats().await;
        let prefix = TestPrefix::new();
        // An API that nobody answers, as for a user who may not ask or a server that has just lost its leader.
        let mut context = async_nats::jetstream::with_prefix(client, &format!("{prefix}.API"));
        context.set_timeout(Duration::from_millis(200));
        let error = verify(&context, &settings("EVENTS", 1)).await.unwrap_err();
        assert!(matches!(error, BusError::Setup { .. }), "{error}");
        assert!(error.to_string().contains("EVENTS"), "{error}");
    }

    #[tokio::test]
    async fn a_setting_that_cannot_be_changed_is_an_error_that_names_the_stream() {
        let prefix = TestPrefix::new();
        let context = async_nats::jetstream::new(servers().nats().await);
        let first = Config {
            name: format!("{prefix}_DEAD"),
            subjects: vec![format!("{prefix}.>")],
            retention: RetentionPolicy::Limits,
            ..Config::default()
        };
        ensure(&context, first.clone()).await.unwrap();
        let changed = Config {
            retention: RetentionPolicy::WorkQueue,
            ..first.clone()
        };
        let error = ensure(&context, changed).await.unwrap_err();
        assert!(error.to_string().contains(&first.name), "{error}");
    }
}
