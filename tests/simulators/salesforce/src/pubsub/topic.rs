//! Topic names, and which events each carries.

use crate::pubsub::bus::PubSub;
use crate::pubsub::event_schema::event_name;
use crate::pubsub::log::Subject;

/// Events a topic carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carries {
    /// Changes of whatever is selected.
    AllChanges,
    Only(Vec<Subject>),
}

/// One topic.
#[derive(Debug, Clone)]
pub struct Topic {
    pub name: String,
    pub carries: Carries,
    /// The platform event that may be published to it.
    pub publishes: Option<usize>,
}

impl PubSub {
    /// The topic of that name; `None` when there is none or its entity is not selected.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Topic> {
        let topic = |carries, publishes| Topic {
            name: name.to_owned(),
            carries,
            publishes,
        };
        if name == "/data/ChangeEvents" {
            return Some(topic(Carries::AllChanges, None));
        }
        let (folder, last) = name.strip_prefix('/')?.split_once('/')?;
        if last.ends_with("__chn") {
            return self.channel(folder, last).map(|c| topic(c, None));
        }
        match folder {
            "data" => {
                let entities = self.entities();
                let object = entities.into_iter().find(|o| event_name(&self.schema.objects[*o].name) == last)?;
                Some(topic(Carries::Only(vec![Subject::Entity(object)]), None))
            }
            "event" => {
                let at = self.config.platform_events.iter().position(|e| e.name == last)?;
                Some(topic(Carries::Only(vec![Subject::Platform(at)]), Some(at)))
            }
            _ => None,
        }
    }

    /// The events that a topic carries now.
    #[must_use]
    pub fn subjects(&self, topic: &Topic) -> Vec<Subject> {
        match &topic.carries {
            Carries::AllChanges => self.entities().into_iter().map(Subject::Entity).collect(),
            Carries::Only(list) => list.clone(),
        }
    }

    fn channel(&self, folder: &str, name: &str) -> Option<Carries> {
        let channel = self.config.channels.iter().find(|c| c.name == name)?;
        let members: Vec<Subject> = channel.entities.iter().filter_map(|m| self.member(m)).collect();
        let of_changes = members.iter().all(|m| matches!(m, Subject::Entity(_)));
        ((folder == "data") == of_changes).then_some(Carries::Only(members))
    }

    /// The id of the schema that all events of a topic have; empty where each event says its own.
    #[must_use]
    pub fn topic_schema(&self, topic: &Topic) -> String {
        let Carries::Only(subjects) = &topic.carries else {
            return String::new();
        };
        match subjects.as_slice() {
            [Subject::Entity(object)] => self.current_schema(*object).map(|s| s.id.clone()).unwrap_or_default(),
            [Subject::Platform(at)] => self.platform[*at].id.clone(),
            _ => String::new(),
        }
    }
}
