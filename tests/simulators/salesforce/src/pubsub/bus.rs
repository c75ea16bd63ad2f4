//! The event bus of one org: what is captured, every schema there ever was, the log, and who may still be delivered to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use chrono::Utc;

use crate::allocation::{Allocation, DAY_MINUTES, HOUR_MINUTES};
use crate::pubsub::config::PubSubConfig;
use crate::pubsub::event::{self, Body, ChangeType, Header, Transaction};
use crate::pubsub::event_schema::{EventSchema, EventSchemaError, SchemaChange};
use crate::pubsub::faults::RpcFaults;
use crate::pubsub::log::{Log, NewEvent, Subject};
use crate::pubsub::origin;
use crate::schema::Schema;
use crate::store::id::Id;

/// System change numbers look like this.
const COMMIT_NUMBER_FIRST: i64 = 1_100_583_868_458;

/// Why an org's event bus cannot be as configured.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("{0} is no object of this org")]
    Object(String),
    #[error("{0} objects are selected for change data capture, {1} may be")]
    Entities(usize, usize),
    #[error("{0} is neither a channel nor an event of this org")]
    Member(String),
    #[error(transparent)]
    Schema(#[from] EventSchemaError),
}

#[derive(Default)]
struct Schemas {
    by_id: HashMap<String, Arc<EventSchema>>,
    current: HashMap<usize, Arc<EventSchema>>,
    changes: HashMap<usize, Vec<SchemaChange>>,
}

/// A subscription whose position the org keeps.
pub struct Managed {
    pub id: String,
    pub developer_name: String,
    pub topic: String,
    pub from_earliest: bool,
    pub position: u64,
}

/// See the module's description.
pub struct PubSub {
    pub config: PubSubConfig,
    pub org_id: String,
    pub user_id: String,
    pub log: Log,
    /// Deliveries of a day.
    pub allocation: Allocation,
    /// Publishes of an hour.
    pub publishes: Allocation,
    pub faults: RpcFaults,
    /// Open subscriptions.
    pub streams: AtomicUsize,
    pub(super) schema: Arc<Schema>,
    pub(super) platform: Vec<Arc<EventSchema>>,
    entities: RwLock<Vec<usize>>,
    schemas: Mutex<Schemas>,
    managed: Mutex<Vec<Managed>>,
    pod: [u8; 2],
    commit_number: AtomicI64,
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}

impl PubSub {
    /// The bus of an org.
    ///
    /// # Errors
    /// When the configuration names what the org does not have, or too many entities.
    pub fn new(config: PubSubConfig, schema: Arc<Schema>, org_id: Id, user_id: Id, pod: [u8; 2]) -> Result<Self, BusError> {
        let mut schemas = Schemas::default();
        let mut platform = Vec::new();
        for event in &config.platform_events {
            let built = Arc::new(EventSchema::of_platform_event(event, pod)?);
            schemas.by_id.insert(built.id.clone(), Arc::clone(&built));
            platform.push(built);
        }
        // Two orgs number from different places, so that ids of one mean nothing to the other.
        let first = 1_000_000 + org_id.serial() % 1_000_000;
        let log = Log::new(first, config.retention_ms, config.retained_bytes_max);
        let bus = Self {
            allocation: Allocation::new(config.delivered_max, DAY_MINUTES),
            publishes: Allocation::new(config.published_max, HOUR_MINUTES),
            org_id: org_id.text(),
            user_id: user_id.text(),
            faults: RpcFaults::default(),
            streams: AtomicUsize::new(0),
            schema,
            platform,
            entities: RwLock::default(),
            schemas: Mutex::new(schemas),
            managed: Mutex::default(),
            pod,
            commit_number: AtomicI64::new(COMMIT_NUMBER_FIRST),
            log,
            config,
        };
        bus.select(&bus.config.entities)?;
        for channel in &bus.config.channels {
            for member in &channel.entities {
                bus.member(member).ok_or_else(|| BusError::Member(member.clone()))?;
            }
        }
        let managed = bus.config.managed.iter().enumerate().map(|(at, m)| Managed {
            id: Id::new(*b"18x", pod, at as u64 + 1).text(),
            developer_name: m.developer_name.clone(),
            topic: m.topic.clone(),
            from_earliest: m.from_earliest,
            position: first,
        });
        *bus.managed() = managed.collect();
        Ok(bus)
    }

    /// Selects the objects whose changes are captured.
    ///
    /// # Errors
    /// When one is unknown, or there are too many.
    pub fn select(&self, names: &[String]) -> Result<(), BusError> {
        let find = |name: &String| self.schema.object(name).ok_or_else(|| BusError::Object(name.clone()));
        let objects: Vec<usize> = names.iter().map(find).collect::<Result<_, _>>()?;
        let others = self.channel_entities().filter(|o| !objects.contains(o));
        let count = objects.len() + others.collect::<std::collections::HashSet<_>>().len();
        if count > self.config.entities_max {
            return Err(BusError::Entities(count, self.config.entities_max));
        }
        *self.entities.write().unwrap_or_else(PoisonError::into_inner) = objects;
        Ok(())
    }

    /// The objects selected for the default channel.
    #[must_use]
    pub fn entities(&self) -> Vec<usize> {
        self.entities.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The objects whose changes are captured: selected, or members of a channel.
    #[must_use]
    pub fn captured(&self) -> Vec<usize> {
        let mut out = self.entities();
        for object in self.channel_entities() {
            if !out.contains(&object) {
                out.push(object);
            }
        }
        out
    }

    fn channel_entities(&self) -> impl Iterator<Item = usize> {
        let members = self.config.channels.iter().flat_map(|c| &c.entities);
        members.filter_map(|m| match self.member(m) {
            Some(Subject::Entity(object)) => Some(object),
            _ => None,
        })
    }

    pub(super) fn managed(&self) -> MutexGuard<'_, Vec<Managed>> {
        self.managed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn schemas(&self) -> MutexGuard<'_, Schemas> {
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel's member: an object or a platform event.
    pub(super) fn member(&self, name: &str) -> Option<Subject> {
        let event = self.config.platform_events.iter().position(|e| e.name.eq_ignore_ascii_case(name));
        event
            .map(Subject::Platform)
            .or_else(|| self.schema.object(name).map(Subject::Entity))
    }

    /// A schema by id, whether current or of earlier events.
    #[must_use]
    pub fn schema_by_id(&self, id: &str) -> Option<Arc<EventSchema>> {
        self.schemas().by_id.get(id).cloned()
    }

    /// The schema that events of an object have now.
    ///
    /// # Errors
    /// When changes asked for do not make a schema.
    pub fn current_schema(&self, object: usize) -> Result<Arc<EventSchema>, EventSchemaError> {
        let mut schemas = self.schemas();
        if let Some(schema) = schemas.current.get(&object) {
            return Ok(Arc::clone(schema));
        }
        let changes = schemas.changes.get(&object).map_or(&[][..], Vec::as_slice);
        let built = Arc::new(EventSchema::of_object(&self.schema.objects[object], self.pod, changes)?);
        schemas.by_id.insert(built.id.clone(), Arc::clone(&built));
        schemas.current.insert(object, Arc::clone(&built));
        Ok(built)
    }

    /// Changes the form of an object's events from now on.
    ///
    /// # Errors
    /// When the result is not a schema; the form then stays as it was.
    pub fn change_schema(&self, object: usize, change: SchemaChange) -> Result<Arc<EventSchema>, EventSchemaError> {
        let mut schemas = self.schemas();
        let mut changes = schemas.changes.get(&object).cloned().unwrap_or_default();
        changes.push(change);
        let built = Arc::new(EventSchema::of_object(&self.schema.objects[object], self.pod, &changes)?);
        schemas.changes.insert(object, changes);
        schemas.by_id.insert(built.id.clone(), Arc::clone(&built));
        schemas.current.insert(object, Arc::clone(&built));
        Ok(built)
    }

    /// What the events of the transaction that commits now share.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        Transaction {
            origin: origin::current(),
            key: uuid::Uuid::new_v4().to_string(),
            commit_timestamp: now_ms(),
            commit_number: self.commit_number.fetch_add(2, Ordering::Relaxed),
            user: self.user_id.clone(),
        }
    }

    /// Puts one event of nothing but a header on the bus: gaps, overflows, wildcards.
    ///
    /// # Errors
    /// When the object's schema or the header cannot be encoded.
    pub fn announce(&self, object: usize, header: &Header) -> Result<u64, EventSchemaError> {
        let schema = self.current_schema(object)?;
        let transaction = self.transaction();
        let bytes = encode_one(&schema, &transaction, header, event::empty_body(&schema))?;
        let id = Arc::from(schema.id.as_str());
        Ok(self.log.append(now_ms(), [NewEvent::new(Subject::Entity(object), id, bytes)]))
    }

    /// A header about records of an object.
    #[must_use]
    pub fn header(&self, object: usize, change: ChangeType, ids: Vec<String>) -> Header {
        Header::new(&self.schema.objects[object].name, change, ids)
    }
}

fn encode_one(schema: &EventSchema, transaction: &Transaction, header: &Header, body: Body) -> Result<Vec<u8>, EventSchemaError> {
    let fail = |e: apache_avro::Error| EventSchemaError {
        object: header.entity.clone(),
        reason: e.to_string(),
    };
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema.avro)
        .build()
        .map_err(fail)?;
    event::encode(&writer, schema, transaction, header, body).map_err(fail)
}
