//! Definitions of syncs.

use syncline_domain::ErrorCode;
use syncline_domain::spec::{Document, read_document};
use syncline_runtime::Platform;
use syncline_wire::caller::note_connections;
use syncline_wire::status::{invalid_field, status};
use syncline_wire::sync::sync_service_server::SyncService;
use syncline_wire::sync::{
    ApplySyncRequest, ApplySyncResponse, GetSyncRequest, GetSyncResponse, ListSyncsRequest, ListSyncsResponse, Sync,
};
use syncline_wire::time::to_proto;
use tonic::{Request, Response, Status};

use super::{database, list};
use crate::store::{self, SyncRow};

pub struct Syncs {
    platform: Platform,
}

impl Syncs {
    pub fn new(platform: &Platform) -> Self {
        Self {
            platform: platform.clone(),
        }
    }

    fn tenant(&self) -> &str {
        self.platform.config.tenant.as_str()
    }
}

fn message(row: SyncRow) -> Sync {
    Sync {
        name: row.name,
        version: u32::try_from(row.version).unwrap_or(0),
        source: row.source,
        target: row.target,
        yaml: row.yaml,
        applied_at: Some(to_proto(row.applied_at)),
    }
}

/// The answer to an apply, with the sync's connections noted for the audit log.
fn applied(sync: Sync, changed: bool) -> Response<ApplySyncResponse> {
    let connections = [sync.source.clone(), sync.target.clone()];
    let mut response = Response::new(ApplySyncResponse { sync: Some(sync), changed });
    note_connections(response.metadata_mut(), connections.iter().map(String::as_str));
    response
}

fn unknown(name: &str) -> Status {
    status(ErrorCode::SyncUnknown, format!("there is no sync `{name}`"))
}

#[tonic::async_trait]
impl SyncService for Syncs {
    async fn apply_sync(&self, request: Request<ApplySyncRequest>) -> Result<Response<ApplySyncResponse>, Status> {
        let yaml = request.into_inner().yaml;
        let document = read_document(&yaml).map_err(|e| invalid_field(ErrorCode::SyncInvalid, "yaml", e.to_string()))?;
        let Document::Sync(sync) = document else {
            let why = "the document is a Connection; expected `kind: Sync`";
            return Err(invalid_field(ErrorCode::SyncInvalid, "yaml", why));
        };
        let name = sync.metadata.name.as_str();
        let mut tx = self.platform.db.begin().await.map_err(|e| database(&e))?;
        store::sync_lock(&mut tx, self.tenant(), name).await.map_err(|e| database(&e))?;
        let newest = store::sync_get(&mut *tx, self.tenant(), name, None)
            .await
            .map_err(|e| database(&e))?;
        // The same meaning is the same version, whatever the comments say.
        let same = newest
            .as_ref()
            .is_some_and(|row| matches!(read_document(&row.yaml), Ok(Document::Sync(old)) if old == sync));
        if let (Some(row), true) = (newest.as_ref(), same) {
            let sync = message(SyncRow {
                yaml: row.yaml.clone(),
                name: row.name.clone(),
                source: row.source.clone(),
                target: row.target.clone(),
                ..*row
            });
            return Ok(applied(sync, false));
        }
        let row = SyncRow {
            name: name.to_owned(),
            version: newest.map_or(1, |row| row.version + 1),
            source: sync.spec.source.to_string(),
            target: sync.spec.target.to_string(),
            yaml,
            applied_at: chrono::Utc::now(),
        };
        store::sync_insert(&mut tx, self.tenant(), &row).await.map_err(|e| database(&e))?;
        tx.commit().await.map_err(|e| database(&e))?;
        tracing::info!(sync = %row.name, version = row.version, "a sync was applied");
        Ok(applied(message(row), true))
    }

    async fn get_sync(&self, request: Request<GetSyncRequest>) -> Result<Response<GetSyncResponse>, Status> {
        let request = request.into_inner();
        let version = (request.version > 0).then(|| i32::try_from(request.version).unwrap_or(i32::MAX));
        let row = store::sync_get(&self.platform.db, self.tenant(), &request.name, version)
            .await
            .map_err(|e| database(&e))?;
        let row = row.ok_or_else(|| unknown(&request.name))?;
        Ok(Response::new(GetSyncResponse { sync: Some(message(row)) }))
    }

    async fn list_syncs(&self, request: Request<ListSyncsRequest>) -> Result<Response<ListSyncsResponse>, Status> {
        let request = request.into_inner();
        let list = list("syncs", "");
        let page = list.page(request.page_size, &request.page_token)?;
        let mut rows = store::sync_list(&self.platform.db, self.tenant(), &page.after, page.rows())
            .await
            .map_err(|e| database(&e))?;
        let next_page_token = list.next(&page, &mut rows, |r| r.name.clone());
        Ok(Response::new(ListSyncsResponse {
            syncs: rows.into_iter().map(message).collect(),
            next_page_token,
        }))
    }
}
