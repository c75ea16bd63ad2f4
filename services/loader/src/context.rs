//! What every step of an object needs: plan, links, keys and a handle on the target.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use syncline_batch::SealingKey;
use syncline_connect::{Column, RowDigester};
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, FieldRole, ObjectPlan, Plan};
use syncline_domain::{ErrorCode, FieldName, ObjectName};
use syncline_runtime::access::ServiceAccess;
use syncline_runtime::plans::{PinnedPlan, Plans};
use syncline_runtime::worker::Work;
use syncline_runtime::{Platform, StageError};
use syncline_salesforce::Salesforce;

use crate::hashing::HashKeys;
use crate::recent::RecentKeys;
use crate::store::{self, LinkKey};

/// First and longest pause between looks at a job. The first is short, because small jobs are done at once.
pub const POLL_MIN: Duration = Duration::from_millis(25);
pub const POLL_MAX: Duration = Duration::from_secs(10);

/// One task's context.
pub struct Context {
    pub platform: Platform,
    pub work: Work,
    pub pinned: Arc<PinnedPlan>,
    pub object: ObjectPlan,
    pub run_number: i64,
    /// The object's link.
    pub link: i64,
    /// Links of every object of the plan.
    pub links: HashMap<ObjectName, i64>,
    pub target: Salesforce,
    pub digester: RowDigester,
    pub hash_keys: HashKeys,
    pub clean: SealingKey,
    /// Keys that this process wrote in this run.
    pub recent: Arc<RecentKeys>,
}

impl Context {
    pub async fn new(platform: &Platform, plans: &Plans, recent: &Arc<RecentKeys>, work: &Work) -> Result<Self, StageError> {
        let pinned = plans.get(work.run()).await?;
        let name = work.object()?;
        let object = pinned.plan.object(name.as_str()).cloned();
        let object = object.ok_or_else(|| StageError::new(ErrorCode::Internal, format!("{name} is not in the plan")))?;
        let mut links = HashMap::new();
        for other in &pinned.plan.objects {
            links.insert(
                other.name.clone(),
                store::link_id(&platform.db, &link_key(work, &pinned.plan, other)).await?,
            );
        }
        let link = links
            .get(name)
            .copied()
            .ok_or_else(|| StageError::new(ErrorCode::Internal, "the object has no link"))?;
        let digest_key = platform
            .keys
            .digest()
            .map_err(|e| StageError::new(ErrorCode::MaskKey, e.to_string()))?;
        let access = ServiceAccess::new(pinned.plan.target.connection.clone(), platform.peers.connector.clone());
        let policy = access.retry_policy().await?;
        Ok(Self {
            run_number: store::run_number(&platform.db, work.run()).await?,
            link,
            links,
            target: Salesforce::new(Arc::new(access), policy)?,
            digester: RowDigester::new(blake3::derive_key("syncline 2026 row digest", &digest_key)),
            hash_keys: HashKeys::new(&digest_key),
            clean: plans.clean_key(work.run()).await?,
            recent: Arc::clone(recent),
            platform: platform.clone(),
            work: work.clone(),
            object,
            pinned,
        })
    }

    pub fn plan(&self) -> &Plan {
        &self.pinned.plan
    }

    pub fn sync(&self) -> &str {
        self.pinned.plan.sync.as_str()
    }

    pub fn name(&self) -> &ObjectName {
        &self.object.name
    }

    /// The plan's mistakes are ours: an object that the target cannot name never gets here.
    pub fn target_object(&self) -> &ObjectName {
        &self.object.target
    }

    /// Columns of an insert: everything that pass 1 writes.
    pub fn insert_columns(&self) -> Vec<Column> {
        self.object.pass1_fields().map(column).collect()
    }

    /// Columns of an update: `Id`, and what an update may carry.
    pub fn update_columns(&self) -> Vec<Column> {
        let updateable = self.object.pass1_fields().filter(|f| f.updateable).map(column);
        std::iter::once(id_column()).chain(updateable).collect()
    }

    /// Columns of pass 2.
    pub fn deferred_columns(&self) -> Vec<Column> {
        std::iter::once(id_column())
            .chain(self.object.deferred_fields().map(column))
            .collect()
    }

    /// References that pass 1 writes.
    pub fn direct_references(&self) -> Vec<&FieldPlan> {
        self.object
            .pass1_fields()
            .filter(|f| matches!(f.role, FieldRole::Reference(_)))
            .collect()
    }

    /// Links of the objects that a field may point to.
    pub fn links_of(&self, field: &FieldPlan) -> Vec<i64> {
        match &field.role {
            FieldRole::Reference(reference) => reference.to.iter().filter_map(|o| self.links.get(o).copied()).collect(),
            FieldRole::SourceKey | FieldRole::Value => Vec::new(),
        }
    }
}

fn link_key<'a>(work: &'a Work, plan: &'a Plan, object: &'a ObjectPlan) -> LinkKey<'a> {
    LinkKey {
        tenant: work.tenant.as_str(),
        source_identity: &plan.source.identity,
        source_object: object.name.as_str(),
        target_identity: &plan.target.identity,
        target_object: object.target.as_str(),
    }
}

pub fn column(field: &FieldPlan) -> Column {
    Column {
        name: field.target.clone(),
        field_type: field.field_type,
        scale: field.scale,
    }
}

pub fn id_column() -> Column {
    Column {
        name: FieldName::new("Id").expect("a literal that is a valid name"),
        field_type: FieldType::Id,
        scale: 0,
    }
}
