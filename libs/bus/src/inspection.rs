//! What a NATS server looks like to one of its users, without changing anything there: for `syncline doctor`.

use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;

use crate::bus::{self, BusConfig, BusTls, split_url};
use crate::error::{BusError, is_missing};
use crate::{permissions, streams};

/// A question that the server has not answered by then is one that it does not answer to this user.
const ANSWER_MAX: Duration = Duration::from_secs(4);
/// What the server must take in one message, headers included.
pub const PAYLOAD_MIN: usize = streams::MESSAGE_BYTES_MAX as usize;

/// A stream beside what this release needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamState {
    Current,
    Missing,
    /// The names of the settings that are not today's.
    Differs(Vec<&'static str>),
    /// Why it could not be looked at.
    Unknown(String),
}

#[derive(Debug, Clone)]
pub struct Inspection {
    pub version: String,
    pub new_enough: bool,
    pub jetstream: bool,
    /// Bytes of one message, headers included.
    pub payload_max: usize,
    /// Those that this user may look at; none without JetStream.
    pub streams: Vec<(String, StreamState)>,
    /// Those that it may not.
    pub unseen: Vec<String>,
}

/// The servers' addresses, without user and password.
#[must_use]
pub fn addresses(url: &str) -> String {
    split_url(url).1.join(",")
}

/// The user of the table of permissions whom an address names, if it is one of those.
#[must_use]
pub fn user(url: &str) -> Option<&'static str> {
    let (user, _) = split_url(url);
    let user = user?;
    let name = user.split(':').next().unwrap_or_default();
    permissions::users().find(|known| *known == name)
}

/// Looks at the server and at every stream that the address's user may look at.
///
/// # Errors
/// [`BusError::Connect`].
pub async fn inspect(url: &str, replicas: usize, tls: Option<BusTls>) -> Result<Inspection, BusError> {
    let service = user(url);
    let config = BusConfig {
        url: url.to_owned(),
        name: "syncline-doctor".to_owned(),
        service,
        make_streams: false,
        replicas,
        tls,
    };
    let (client, _line) = bus::connect(&config, "look").await?;
    let info = client.server_info();
    let seen = permissions::streams_of(service);
    let unseen = streams::names().into_iter().filter(|name| !seen.contains(name)).collect();
    let streams = if info.jetstream {
        let context = ContextBuilder::new().timeout(ANSWER_MAX).build(client);
        let looked = seen.into_iter().map(|name| async {
            let state = state(&context, &name, replicas).await;
            (name, state)
        });
        futures::future::join_all(looked).await
    } else {
        Vec::new()
    };
    Ok(Inspection {
        new_enough: bus::new_enough(&info.version),
        version: info.version,
        jetstream: info.jetstream,
        payload_max: info.max_payload,
        streams,
        unseen,
    })
}

async fn state(context: &async_nats::jetstream::Context, name: &str, replicas: usize) -> StreamState {
    match context.get_stream(name).await {
        Ok(stream) => {
            let differences = streams::differences(&stream.cached_info().config, &streams::settings(name, replicas));
            match differences.as_slice() {
                [] => StreamState::Current,
                _ => StreamState::Differs(differences),
            }
        }
        Err(error) if is_missing(&error) => StreamState::Missing,
        Err(error) => StreamState::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password_and_known_by_its_user() {
        for (url, shown, whom) in [
            ("nats://loader:s3cret@h:4222", "nats://h:4222", Some("loader")),
            ("tls://migrate:s3c,ret@h:1,tls://i:1", "tls://h:1,tls://i:1", Some("migrate")),
            ("nats://syncline:s3cret@h:1", "nats://h:1", None),
            ("h:1", "nats://h:1", None),
        ] {
            assert_eq!((addresses(url).as_str(), user(url)), (shown, whom));
        }
    }

    #[test]
    fn a_setting_that_is_not_todays_is_named() {
        let wanted = streams::settings("EVENTS", 3);
        assert!(streams::differences(&wanted, &wanted).is_empty());
        let found = async_nats::jetstream::stream::Config {
            num_replicas: 1,
            max_age: Duration::from_secs(1),
            description: Some("the operator's".to_owned()),
            ..wanted.clone()
        };
        assert_eq!(streams::differences(&found, &wanted), ["max_age", "num_replicas"]);
    }
}
