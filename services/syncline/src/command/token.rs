//! `syncline token ...`, `syncline whoami`

use serde_json::{Value, json};
use syncline_wire::identity::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, WhoAmIRequest};

use super::{Context, missing};
use crate::cli;
use crate::client::ask;
use crate::error::CliError;
use crate::exit::Exit;
use crate::figures::moment;
use crate::view::token::{table, to_json};

const PAGE_SIZE: u32 = 500;
/// Pages that are asked for: a server that never ends its list is not followed for ever.
const PAGES_MAX: usize = 200;

/// # Errors
/// What the gateway answers.
pub async fn run(context: &Context, command: cli::Token) -> Result<Exit, CliError> {
    match command {
        cli::Token::Create { subject, role, days } => create(context, subject, role, days).await,
        cli::Token::List => list(context).await,
        cli::Token::Revoke { id } => revoke(context, id).await,
    }
}

async fn create(context: &Context, subject: String, role: cli::Role, days: u32) -> Result<Exit, CliError> {
    let request = CreateTokenRequest {
        subject,
        role: role.name().to_owned(),
        days,
    };
    let answer = context.gateway.tokens().create_token(ask(request)).await;
    let answer = answer.map_err(|s| context.gateway.error(s))?.into_inner();
    let token = answer.token.ok_or_else(|| missing("token"))?;
    context.output.message(&format!(
        "token {} of `{}` ({}), valid until {}; this is the only time that it is shown:",
        token.id,
        token.subject,
        token.role,
        moment(token.expires_at.as_ref())
    ));
    let mut shown = to_json(&token);
    shown["secret"] = Value::String(answer.secret.clone());
    context.output.result(&format!("{}\n", answer.secret), &shown)?;
    Ok(Exit::Ok)
}

async fn list(context: &Context) -> Result<Exit, CliError> {
    let mut tokens = Vec::new();
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let request = ListTokensRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = context.gateway.tokens().list_tokens(ask(request)).await;
        let page = page.map_err(|s| context.gateway.error(s))?.into_inner();
        tokens.extend(page.tokens);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let list: Vec<Value> = tokens.iter().map(to_json).collect();
    context.output.result(&table(&tokens), &json!({ "tokens": list }))?;
    Ok(Exit::Ok)
}

async fn revoke(context: &Context, id: String) -> Result<Exit, CliError> {
    let answer = context.gateway.tokens().revoke_token(ask(RevokeTokenRequest { id })).await;
    let token = answer
        .map_err(|s| context.gateway.error(s))?
        .into_inner()
        .token
        .ok_or_else(|| missing("token"))?;
    let text = format!("token {} of `{}` is revoked\n", token.id, token.subject);
    context.output.result(&text, &to_json(&token))?;
    Ok(Exit::Ok)
}

/// # Errors
/// What the gateway answers.
pub async fn whoami(context: &Context) -> Result<Exit, CliError> {
    let answer = context.gateway.tokens().who_am_i(ask(WhoAmIRequest {})).await;
    let me = answer.map_err(|s| context.gateway.error(s))?.into_inner();
    let text = format!("{} ({})\n", me.subject, me.role);
    context.output.result(&text, &json!({"subject": me.subject, "role": me.role}))?;
    Ok(Exit::Ok)
}
