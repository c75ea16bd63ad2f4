//! API tokens, without their secrets.

use serde_json::{Value, json};
use syncline_wire::identity::Token;

use super::{dash, moment_json};
use crate::figures::moment;
use crate::table::Table;

fn state(token: &Token) -> String {
    match &token.revoked_at {
        Some(at) => format!("revoked {}", moment(Some(at))),
        None => format!("until {}", moment(token.expires_at.as_ref())),
    }
}

#[must_use]
pub fn table(tokens: &[Token]) -> String {
    if tokens.is_empty() {
        return "no tokens; make one with `syncline token create`\n".to_owned();
    }
    let mut table = Table::new(&["id", "subject", "role", "valid (UTC)", "last used (UTC)", "made by"]);
    for t in tokens {
        let used = t.last_used_at.as_ref().map(|at| moment(Some(at))).unwrap_or_default();
        table.row([t.id.as_str(), &t.subject, &t.role, &state(t), dash(&used), &t.created_by]);
    }
    table.render(0)
}

#[must_use]
pub fn to_json(t: &Token) -> Value {
    json!({
        "id": t.id, "subject": t.subject, "role": t.role, "created_by": t.created_by,
        "created_at": moment_json(t.created_at.as_ref()), "expires_at": moment_json(t.expires_at.as_ref()),
        "revoked_at": moment_json(t.revoked_at.as_ref()), "last_used_at": moment_json(t.last_used_at.as_ref()),
    })
}
