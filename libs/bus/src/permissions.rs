//! Who may do what on the bus: one table, from which the users of a NATS server are written (`syncline secrets nats`).
//!
//! Guarantees: what is not listed is refused by the server. Only the extractor publishes `raw.>` and only the masker reads
//! it; the loader can neither subscribe to it, nor make a consumer of it, nor fetch a message by its number, nor listen to
//! the replies that the masker gets, because every service's replies come to an inbox of its own. No service makes or
//! changes a stream: [`ADMINISTRATOR`] does (`syncline migrate`).
//!
//! The subjects of JetStream's API are those of nats-server 2.10 and newer (NATS documentation, "JetStream wire API").

use std::fmt::Write as _;

use crate::subjects::{Audience, stage_tasks};

/// The user of `syncline migrate`.
pub const ADMINISTRATOR: &str = "migrate";

/// A user of the bus.
struct User {
    name: &'static str,
    /// Subjects beside JetStream's own.
    publishes: &'static [&'static str],
    /// The streams that it reads, each with the consumers that it may make there and what these may filter.
    reads: &'static [Read],
}

struct Read {
    stream: Stream,
    consumer: Consumer,
}

#[derive(Clone, Copy)]
enum Stream {
    Tasks,
    Batches(Audience),
    Events,
    Dead,
}

#[derive(Clone, Copy)]
enum Consumer {
    /// The stage's invitations.
    Tasks,
    /// One per run and object.
    PerObject,
    /// One durable, of everything in the stream.
    Durable(&'static str),
}

const fn tasks() -> Read {
    Read {
        stream: Stream::Tasks,
        consumer: Consumer::Tasks,
    }
}

const fn batches(audience: Audience) -> Read {
    Read {
        stream: Stream::Batches(audience),
        consumer: Consumer::PerObject,
    }
}

const USERS: &[User] = &[
    User {
        name: "coordinator",
        publishes: &["task.>", "event.>"],
        reads: &[Read {
            stream: Stream::Events,
            consumer: Consumer::Durable("events-coordinator"),
        }],
    },
    // It is connected, so that it is ready when the others are, and says nothing.
    User {
        name: "connector",
        publishes: &[],
        reads: &[],
    },
    User {
        name: "analyzer",
        publishes: &["event.>"],
        reads: &[tasks()],
    },
    User {
        name: "extractor",
        publishes: &["raw.>", "event.>"],
        reads: &[tasks()],
    },
    User {
        name: "masker",
        publishes: &["clean.>", "event.>", "dead.masker.>"],
        reads: &[tasks(), batches(Audience::Raw)],
    },
    User {
        name: "loader",
        publishes: &["event.>", "dead.loader.>"],
        reads: &[tasks(), batches(Audience::Clean)],
    },
    User {
        name: "monitor",
        publishes: &["event.>"],
        reads: &[
            Read {
                stream: Stream::Events,
                consumer: Consumer::Durable("events-monitor"),
            },
            Read {
                stream: Stream::Dead,
                consumer: Consumer::Durable("dead-monitor"),
            },
        ],
    },
];

impl Stream {
    fn name(self) -> String {
        match self {
            Self::Tasks => "TASKS".to_owned(),
            Self::Batches(audience) => audience.stream(),
            Self::Events => "EVENTS".to_owned(),
            Self::Dead => "DEAD".to_owned(),
        }
    }

    fn subjects(self) -> String {
        match self {
            Self::Tasks => "task.>".to_owned(),
            Self::Batches(audience) => format!("{audience}.>"),
            Self::Events => "event.>".to_owned(),
            Self::Dead => "dead.>".to_owned(),
        }
    }
}

/// Every user, [`ADMINISTRATOR`] among them.
pub fn users() -> impl Iterator<Item = &'static str> {
    USERS.iter().map(|user| user.name).chain([ADMINISTRATOR])
}

/// Where a user's replies come; nobody else may listen there.
#[must_use]
pub fn inbox(user: &str) -> String {
    format!("_INBOX.{user}")
}

/// The streams that a service has to do with; all of them, for whoever is not in the table.
#[must_use]
pub(crate) fn streams_of(service: Option<&str>) -> Vec<String> {
    match service.and_then(|name| USERS.iter().find(|user| user.name == name)) {
        // It measures and purges what others read.
        Some(user) if user.name != "coordinator" => user.reads.iter().map(|read| read.stream.name()).collect(),
        _ => crate::streams::names().to_vec(),
    }
}

/// The subjects that a user may publish to and subscribe to.
#[must_use]
pub fn allowed(name: &str) -> Option<(Vec<String>, Vec<String>)> {
    let subscribe = vec![format!("{}.>", inbox(name))];
    if name == ADMINISTRATOR {
        let calls = ["CREATE", "UPDATE", "INFO"];
        return Some((calls.map(|call| format!("$JS.API.STREAM.{call}.*")).to_vec(), subscribe));
    }
    let user = USERS.iter().find(|user| user.name == name)?;
    let mut publish: Vec<String> = user.publishes.iter().map(|s| (*s).to_owned()).collect();
    for stream in streams_of(Some(name)) {
        publish.push(format!("$JS.API.STREAM.INFO.{stream}"));
    }
    for Read { stream, consumer } in user.reads {
        let (filter, consumer) = match consumer {
            Consumer::Tasks => (stage_tasks(name), format!("tasks-{name}")),
            Consumer::PerObject => (stream.subjects(), "*".to_owned()),
            Consumer::Durable(durable) => (stream.subjects(), (*durable).to_owned()),
        };
        let stream = stream.name();
        publish.push(format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{filter}"));
        for call in ["INFO", "MSG.NEXT"] {
            publish.push(format!("$JS.API.CONSUMER.{call}.{stream}.{consumer}"));
        }
        publish.push(format!("$JS.ACK.{stream}.{consumer}.>"));
        if consumer == "*" {
            publish.push(format!("$JS.API.CONSUMER.DELETE.{stream}.*"));
        }
    }
    if name == "coordinator" {
        for stream in [Audience::Raw, Audience::Clean].map(Audience::stream) {
            for call in ["STREAM.PURGE", "CONSUMER.NAMES"] {
                publish.push(format!("$JS.API.{call}.{stream}"));
            }
            publish.push(format!("$JS.API.CONSUMER.DELETE.{stream}.*"));
        }
        // For how long the oldest invitation has been there.
        publish.push("$JS.API.STREAM.MSG.GET.TASKS".to_owned());
    }
    Some((publish, subscribe))
}

/// The block `authorization` of a server's configuration. `password` is asked once for each user.
pub fn authorization(password: &mut dyn FnMut(&str) -> String) -> String {
    let mut text = String::from("authorization {\n  users: [\n");
    let quoted = |subjects: Vec<String>| subjects.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
    for name in users() {
        let Some((publish, subscribe)) = allowed(name) else { continue };
        let password = password(name);
        let _ = write!(
            text,
            "    {{\n      user: \"{name}\", password: \"{password}\"\n      permissions: {{\n        publish: {{ allow: [{}] }}\n        subscribe: {{ allow: [{}] }}\n      }}\n    }}\n",
            quoted(publish),
            quoted(subscribe)
        );
    }
    text.push_str("  ]\n}\n");
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// NATS' own rule: tokens, `*` for one, `>` for the rest.
    fn matches(pattern: &str, subject: &str) -> bool {
        let mut wanted = pattern.split('.');
        let mut given = subject.split('.');
        loop {
            match (wanted.next(), given.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some(w), Some(g)) if w == "*" || w == g => {}
                _ => return false,
            }
        }
    }

    #[test]
    fn raw_data_is_written_by_the_extractor_and_read_by_the_masker_alone() {
        let may = |name: &str, subject: &str| allowed(name).unwrap().0.iter().any(|pattern| matches(pattern, subject));
        let who = |subject: &str| users().filter(|name| may(name, subject)).collect::<Vec<_>>();
        assert_eq!(who("raw.0.default.r-1.Account.0"), ["extractor"]);
        assert_eq!(who("clean.0.default.r-1.Account.0"), ["masker"]);
        assert_eq!(who("task.loader.normal.default.r-1"), ["coordinator"]);
        assert_eq!(who("$JS.API.CONSUMER.CREATE.RAW_0.x.raw.0.>"), ["masker"]);
        assert_eq!(who("$JS.API.CONSUMER.MSG.NEXT.RAW_0.x"), ["masker"]);
        assert_eq!(who("$JS.API.CONSUMER.MSG.NEXT.CLEAN_0.x"), ["loader"]);
        for nobody in [
            "$JS.API.CONSUMER.CREATE.RAW_0",
            "$JS.API.CONSUMER.CREATE.RAW_0.x",
            "$JS.API.CONSUMER.DURABLE.CREATE.RAW_0.x",
            "$JS.API.STREAM.MSG.GET.RAW_0",
            "$JS.API.DIRECT.GET.RAW_0",
            "$JS.API.STREAM.DELETE.RAW_0",
            "$JS.API.STREAM.SNAPSHOT.RAW_0",
            "$JS.API.CONSUMER.CREATE.TASKS.tasks-loader.task.masker.>",
            "$SYS.REQ.SERVER.PING",
        ] {
            assert_eq!(who(nobody), Vec::<&str>::new(), "{nobody}");
        }
        assert_eq!(who("$JS.API.STREAM.CREATE.RAW_0"), [ADMINISTRATOR]);
    }

    #[test]
    fn nobody_hears_anothers_replies() {
        for name in users() {
            let (_, subscribe) = allowed(name).unwrap();
            for other in users() {
                let reply = format!("{}.abc.1", inbox(other));
                assert_eq!(subscribe.iter().any(|s| matches(s, &reply)), name == other, "{name} and {other}");
            }
            assert!(!subscribe.iter().any(|s| matches(s, "raw.0.default.r-1.Account.0")));
        }
    }

    #[test]
    fn every_user_is_in_the_servers_configuration_with_a_password_of_its_own() {
        let mut n = 0;
        let text = authorization(&mut |_| {
            n += 1;
            format!("p{n}")
        });
        assert_eq!(n, users().count());
        for name in users() {
            assert!(text.contains(&format!("user: \"{name}\"")), "{name}");
        }
    }
}
