//! API tokens.

use std::sync::Arc;

use secrecy::ExposeSecret;
use sqlx::PgPool;
use syncline_domain::{ErrorCode, Role};
use syncline_wire::identity::token_service_server::TokenService;
use syncline_wire::identity::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest, RevokeTokenResponse, Token,
    WhoAmIRequest, WhoAmIResponse,
};
use syncline_wire::page::List;
use syncline_wire::status::{invalid_field, status};
use syncline_wire::time::to_proto;
use tonic::{Request, Response, Status};

use super::{caller, database};
use crate::identify::{BOOTSTRAP, Identities};
use crate::store::{self, TokenRow};
use crate::token;

const DAYS_DEFAULT: u32 = 90;
const DAYS_MAX: u32 = 366;
const SUBJECT_CHARS_MAX: usize = 100;
const LIST: List<'_> = List {
    name: "tokens",
    filter: "",
    size_default: 50,
    size_max: 500,
};

pub struct Tokens {
    pub db: PgPool,
    pub identities: Arc<Identities>,
}

fn message(row: TokenRow) -> Token {
    Token {
        id: row.id,
        subject: row.subject,
        role: row.role,
        created_by: row.created_by,
        created_at: Some(to_proto(row.created_at)),
        expires_at: Some(to_proto(row.expires_at)),
        revoked_at: row.revoked_at.map(to_proto),
        last_used_at: row.last_used_at.map(to_proto),
    }
}

/// A name that may stand in headers, logs and the audit log.
fn valid_subject(subject: &str) -> Result<(), Status> {
    let admitted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+' | ':' | '/');
    if subject.is_empty() || subject.len() > SUBJECT_CHARS_MAX || !subject.chars().all(admitted) {
        return Err(invalid_field(
            ErrorCode::RequestInvalid,
            "subject",
            format!("it has 1 to {SUBJECT_CHARS_MAX} letters, digits and `-_.@+:/`"),
        ));
    }
    if subject == BOOTSTRAP {
        return Err(invalid_field(
            ErrorCode::RequestInvalid,
            "subject",
            format!("`{BOOTSTRAP}` stands for the token of the environment"),
        ));
    }
    Ok(())
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Result<Response<CreateTokenResponse>, Status> {
        let creator = caller(&request)?;
        let CreateTokenRequest { subject, role, days } = request.into_inner();
        valid_subject(&subject)?;
        let role: Role = role
            .parse()
            .map_err(|e: syncline_domain::role::UnknownRole| invalid_field(ErrorCode::RequestInvalid, "role", e.to_string()))?;
        let days = if days == 0 { DAYS_DEFAULT } else { days };
        let days = i32::try_from(days).ok().filter(|d| *d <= DAYS_MAX.cast_signed()).ok_or_else(|| {
            let why = format!("a token lives 1 to {DAYS_MAX} days");
            invalid_field(ErrorCode::RequestInvalid, "days", why)
        })?;
        let secret = token::make().ok_or_else(|| status(ErrorCode::Internal, "the system gives no randomness"))?;
        let id = uuid::Uuid::now_v7().simple().to_string();
        let hash = token::hash(secret.expose_secret().as_bytes());
        let row = store::token_insert(&self.db, &id, &hash, &subject, role.as_str(), &creator.subject, days)
            .await
            .map_err(|e| database(&e))?;
        tracing::info!(token = id, subject, %role, by = creator.subject, "a token was made");
        Ok(Response::new(CreateTokenResponse {
            token: Some(message(row)),
            secret: secret.expose_secret().to_owned(),
        }))
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        let ListTokensRequest { page_size, page_token } = request.into_inner();
        let page = LIST.page(page_size, &page_token)?;
        let mut rows = store::token_list(&self.db, &page.after, page.rows())
            .await
            .map_err(|e| database(&e))?;
        let next_page_token = LIST.next(&page, &mut rows, |r| r.id.clone());
        Ok(Response::new(ListTokensResponse {
            tokens: rows.into_iter().map(message).collect(),
            next_page_token,
        }))
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Result<Response<RevokeTokenResponse>, Status> {
        let by = caller(&request)?;
        let id = request.into_inner().id;
        let row = store::token_revoke(&self.db, &id).await.map_err(|e| database(&e))?;
        let row = row.ok_or_else(|| invalid_field(ErrorCode::RequestInvalid, "id", "there is no token of this id"))?;
        self.identities.forget();
        tracing::info!(token = row.id, subject = row.subject, by = by.subject, "a token was revoked");
        Ok(Response::new(RevokeTokenResponse { token: Some(message(row)) }))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(WhoAmIResponse {
            subject: caller.subject,
            role: caller.role.to_string(),
        }))
    }
}
