//! Reading the audit log.

use sqlx::PgPool;
use syncline_wire::identity::audit_service_server::AuditService;
use syncline_wire::identity::{AuditEntry, GetAuditHeadRequest, GetAuditHeadResponse, ListAuditEntriesRequest, ListAuditEntriesResponse};
use tonic::{Request, Response, Status};

use super::database;
use crate::store;

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

pub struct Audit {
    pub db: PgPool,
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit_entries(&self, request: Request<ListAuditEntriesRequest>) -> Result<Response<ListAuditEntriesResponse>, Status> {
        let request = request.into_inner();
        let size = if request.page_size == 0 {
            PAGE_DEFAULT
        } else {
            request.page_size.min(PAGE_MAX)
        };
        let mut links = store::audit_list(&self.db, request.after, &request.subject, &request.connection, i64::from(size) + 1)
            .await
            .map_err(|e| database(&e))?;
        let more = links.len() > size as usize;
        links.truncate(size as usize);
        let next_after = links.last().filter(|_| more).map_or(0, |l| l.entry.seq);
        Ok(Response::new(ListAuditEntriesResponse {
            entries: links.into_iter().map(AuditEntry::from).collect(),
            next_after,
        }))
    }

    async fn get_audit_head(&self, _: Request<GetAuditHeadRequest>) -> Result<Response<GetAuditHeadResponse>, Status> {
        let head = store::audit_head(&self.db).await.map_err(|e| database(&e))?;
        Ok(Response::new(GetAuditHeadResponse {
            seq: head.seq,
            hash: head.hash.0.to_vec(),
        }))
    }
}
