//! Describes, cached for a minute in memory and in a table, so that a run that asks for the same objects from several
//! services and replicas costs the org one request each.
//!
//! What does not exist is not cached: somebody is about to create it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use syncline_connect::{ConnectError, Source};
use syncline_domain::describe::ObjectDescribe;
use syncline_domain::{ConnectionName, ErrorCode, ObjectName, TenantId};
use syncline_salesforce::DescribeCache;

use crate::error::Error;
use crate::store;

/// How old a describe may be that is answered (contract of `AccessService.Describe`).
pub const AGE_MAX: Duration = Duration::from_secs(60);
/// Describes of one connection that are kept in memory.
const REMEMBERED_MAX: usize = 512;

struct Remembered {
    version: i64,
    body: Arc<str>,
    stale_at: Instant,
}

type Slot = Arc<tokio::sync::Mutex<HashMap<ObjectName, Remembered>>>;

/// The cache.
pub struct Describes {
    db: PgPool,
    tenant: TenantId,
    slots: Mutex<HashMap<ConnectionName, Slot>>,
    /// By what to ask for a describe that has grown old here; of the version of the connection that it was read under.
    known: Mutex<HashMap<ConnectionName, (i64, DescribeCache)>>,
}

impl std::fmt::Debug for Describes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Describes")
    }
}

impl Describes {
    #[must_use]
    pub fn new(db: PgPool, tenant: TenantId) -> Self {
        Self {
            db,
            tenant,
            slots: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// What this process knows of the connection's describes, for the handle that asks for them: one that has not changed
    /// since costs a request and no body.
    #[must_use]
    pub fn known(&self, name: &ConnectionName, version: i64) -> DescribeCache {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(name.clone()).or_insert_with(|| (version, DescribeCache::default()));
        if entry.0 != version {
            // Another user may see other fields.
            *entry = (version, DescribeCache::default());
        }
        entry.1.clone()
    }

    /// JSON of each object's describe in the order of the request, `None` for what does not exist. `version` is the
    /// connection's: describes of an older one are not used. `source` is asked for what no cache has; while it is asked,
    /// others who want describes of this connection wait, and find them cached.
    ///
    /// # Errors
    /// [`Error::System`], and those of the database.
    pub async fn get(
        &self,
        name: &ConnectionName,
        version: i64,
        objects: &[ObjectName],
        source: &dyn Source,
    ) -> Result<Vec<Option<Arc<str>>>, Error> {
        let slot = self.slot(name);
        let mut remembered = slot.lock().await;
        let now = Instant::now();
        remembered.retain(|_, r| r.version == version && r.stale_at > now);

        let mut found: HashMap<ObjectName, Arc<str>> = objects
            .iter()
            .filter_map(|object| Some((object.clone(), Arc::clone(&remembered.get(object)?.body))))
            .collect();
        let wanted = missing(&found, objects);
        if !wanted.is_empty() {
            let names: Vec<&str> = wanted.iter().map(|o| o.as_str()).collect();
            for row in store::describe_list(&self.db, &self.tenant, name, version, &names, AGE_MAX).await? {
                let left = AGE_MAX.saturating_sub(Duration::try_from_secs_f64(row.age).unwrap_or_default());
                let body: Arc<str> = row.body.into();
                if let Ok(object) = ObjectName::new(row.object) {
                    remember(&mut remembered, object.clone(), version, Arc::clone(&body), left);
                    found.insert(object, body);
                }
            }
        }
        let wanted = missing(&found, objects);
        if !wanted.is_empty() {
            for (object, body) in self.load(name, version, &wanted, source).await? {
                remember(&mut remembered, object.clone(), version, Arc::clone(&body), AGE_MAX);
                found.insert(object, body);
            }
        }
        Ok(objects.iter().map(|object| found.get(object).map(Arc::clone)).collect())
    }

    /// Drops what this process remembers of a connection.
    pub fn forget(&self, name: &ConnectionName) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn slot(&self, name: &ConnectionName) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(name.clone()).or_default())
    }

    async fn load(
        &self,
        name: &ConnectionName,
        version: i64,
        wanted: &[ObjectName],
        source: &dyn Source,
    ) -> Result<HashMap<ObjectName, Arc<str>>, Error> {
        let system = |source: ConnectError| Error::System {
            name: name.clone(),
            source,
        };
        let answers = source.describe(wanted).await.map_err(system)?;
        if answers.len() != wanted.len() {
            return Err(system(ConnectError::new(
                ErrorCode::BadAnswer,
                "the system described another number of objects than were asked for",
            )));
        }
        let mut found = HashMap::new();
        let mut gone = Vec::new();
        for (object, answer) in wanted.iter().zip(answers) {
            match answer {
                Some(describe) => {
                    found.insert(object.clone(), to_json(&describe));
                }
                None => gone.push(object),
            }
        }
        let (names, bodies): (Vec<&str>, Vec<&str>) = found.iter().map(|(o, b)| (o.as_str(), &**b)).unzip();
        store::describe_put(&self.db, &self.tenant, name, version, &names, &bodies).await?;
        if !gone.is_empty() {
            store::describe_drop(&self.db, &self.tenant, name, &gone).await?;
        }
        Ok(found)
    }
}

fn to_json(describe: &ObjectDescribe) -> Arc<str> {
    serde_json::to_string(describe)
        .expect("names, numbers and texts become JSON")
        .into()
}

/// What is not found yet, each object once.
fn missing(found: &HashMap<ObjectName, Arc<str>>, objects: &[ObjectName]) -> Vec<ObjectName> {
    let mut wanted: Vec<ObjectName> = objects.iter().filter(|o| !found.contains_key(*o)).cloned().collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

fn remember(remembered: &mut HashMap<ObjectName, Remembered>, object: ObjectName, version: i64, body: Arc<str>, left: Duration) {
    if remembered.len() >= REMEMBERED_MAX {
        // The table still has them.
        remembered.clear();
    }
    let stale_at = Instant::now() + left;
    remembered.insert(object, Remembered { version, body, stale_at });
}
