//! Names of one's own on the shared NATS server.

use std::fmt;
use std::ops::Deref;

use futures::TryStreamExt;
use uuid::Uuid;

use crate::database::blocking;
use crate::servers;

/// A random word, fit for stream names, subject tokens, tenants and SQL names: a letter and twelve hexadecimal digits.
pub fn prefix() -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("t{}", &random[..12])
}

/// A random [`prefix`] that deletes every JetStream stream named after it when dropped (best effort).
pub struct TestPrefix(String);

impl TestPrefix {
    /// A prefix nobody else has.
    pub fn new() -> Self {
        Self(prefix())
    }
}

impl Default for TestPrefix {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for TestPrefix {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TestPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Drop for TestPrefix {
    fn drop(&mut self) {
        let prefix = self.0.to_lowercase();
        blocking(async move {
            let jetstream = async_nats::jetstream::new(servers().nats().await);
            let mut names = jetstream.stream_names();
            while let Some(name) = names.try_next().await? {
                if name.to_lowercase().starts_with(&prefix) {
                    jetstream.delete_stream(&name).await.ok();
                }
            }
            Ok::<_, async_nats::Error>(())
        });
    }
}
