//! Who is signed in: user info and the identity URL, both about the session's own user.

use axum::response::Response;
use serde_json::{Value, json};

use crate::auth::users::User;
use crate::store::db::Db;
use crate::store::id::Id;
use crate::web::http::Call;
use crate::web::reply::{json_reply, raw_reply};

/// A refusal, which is text here and no JSON.
pub fn refused(status: u16, word: &'static str) -> Response {
    raw_reply(status, "text/html;charset=UTF-8", word)
}

/// `/services/oauth2/userinfo`
pub fn user_info(call: &Call) -> Response {
    let db = call.org.db();
    match caller(call, &db) {
        Some(user) => json_reply(200, &claims(call, &user)),
        None => refused(403, "Bad_OAuth_Token"),
    }
}

/// `GET /id/{org}/{user}`
pub fn identity(call: &Call) -> Response {
    let db = call.org.db();
    let Some(user) = caller(call, &db) else {
        return refused(403, "Bad_OAuth_Token");
    };
    let named = |at: usize| call.segments.get(at).and_then(|text| Id::parse(text.as_bytes()).ok());
    match (named(1), named(2)) {
        (Some(org), Some(_)) if org != call.org.org_id => refused(403, "Wrong_Org"),
        (Some(_), Some(id)) if id == user.id() => json_reply(200, &person(call, &user)),
        (Some(_), Some(id)) if User::by_id(&db, &id).is_some() => refused(403, "No_Access"),
        _ => refused(404, "Bad_Id"),
    }
}

fn caller<'a>(call: &Call, db: &'a Db) -> Option<User<'a>> {
    User::by_id(db, &call.user()?)
}

fn urls(host: &str) -> Value {
    let at = |tail: &str| format!("{host}/services/data/v{{version}}/{tail}");
    json!({"rest": at(""), "sobjects": at("sobjects/"), "query": at("query/"), "search": at("search/"),
        "recent": at("recent/"), "tooling_rest": at("tooling/"), "metadata": format!("{host}/services/Soap/m/{{version}}"),
        "enterprise": format!("{host}/services/Soap/c/{{version}}"), "partner": format!("{host}/services/Soap/u/{{version}}"),
        "custom_domain": host})
}

fn or(user: &User<'_>, field: &str, fallback: &str) -> String {
    Some(user.text(field))
        .filter(|t| !t.is_empty())
        .unwrap_or_else(|| fallback.to_owned())
}

/// What user info says, as OpenID names it.
fn claims(call: &Call, user: &User<'_>) -> Value {
    let (org, host, id) = (&call.org, call.caller.base.as_str(), user.id());
    json!({"sub": format!("{host}/id/{}/{id}", org.org_id), "user_id": id.text(),
        "organization_id": org.org_id.text(), "preferred_username": user.text("Username"),
        "nickname": user.text("CommunityNickname"), "name": user.text("Name"),
        "email": user.text("Email"), "email_verified": true, "given_name": user.text("FirstName"),
        "family_name": user.text("LastName"), "zoneinfo": user.text("TimeZoneSidKey"),
        "urls": urls(host), "active": user.is_active(), "user_type": "STANDARD", "language": or(user, "LanguageLocaleKey", "en_US"),
        "locale": or(user, "LocaleSidKey", "en_US"), "utcOffset": 0, "updated_at": org.started.to_rfc3339()})
}

/// What the identity URL says.
fn person(call: &Call, user: &User<'_>) -> Value {
    let (org, host, id) = (&call.org, call.caller.base.as_str(), user.id());
    json!({"id": format!("{host}/id/{}/{id}", org.org_id), "asserted_user": true,
        "user_id": id.text(), "organization_id": org.org_id.text(), "username": user.text("Username"),
        "nick_name": user.text("CommunityNickname"), "display_name": user.text("Name"),
        "email": user.text("Email"), "email_verified": true, "first_name": user.text("FirstName"),
        "last_name": user.text("LastName"), "timezone": user.text("TimeZoneSidKey"), "urls": urls(host),
        "active": user.is_active(), "user_type": "STANDARD", "language": or(user, "LanguageLocaleKey", "en_US"),
        "locale": or(user, "LocaleSidKey", "en_US"), "utcOffset": 0,
        "last_modified_date": org.started.to_rfc3339(), "is_app_installed": true})
}
