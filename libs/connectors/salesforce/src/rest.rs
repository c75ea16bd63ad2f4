//! Everything that is asked record by record or about the org itself: REST API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use syncline_connect::schema::data_type;
use syncline_connect::target::Created;
use syncline_connect::{Column, ConnectError, OrgInfo, OrgKind, Query};
use syncline_domain::describe::{FieldType, ObjectDescribe};
use syncline_domain::{ErrorCode, ObjectName};

use crate::bulk_ingest::absolute;
use crate::client::{Client, Request, Validators, parse};
use crate::column::ColumnBuilder;
use crate::csv_read::take;
use crate::describe::read_describe;
use crate::job::checked_id;
use crate::soql;

/// Ids per retrieve (REST API, sObject Collections, retrieve by POST).
const RETRIEVE_IDS_MAX: usize = 2_000;
/// Describes under way at once.
const DESCRIBE_CONCURRENCY: usize = 4;
/// A look-up table is small; beyond this it is data and wants a reading.
const LOOKUP_ROWS_MAX: usize = 1_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryAnswer {
    #[serde(default)]
    total_size: Option<u64>,
    #[serde(default)]
    done: Option<bool>,
    #[serde(default)]
    records: Vec<Value>,
    #[serde(default)]
    next_records_url: Option<String>,
}

/// One allocation of `/limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Limit {
    pub max: i64,
    pub remaining: i64,
}

fn query(soql: String) -> Request {
    Request::get("query").with("q", soql)
}

pub(crate) async fn org(client: &Client) -> Result<OrgInfo, ConnectError> {
    let soql = "SELECT Id, Name, IsSandbox, OrganizationType, TrialExpirationDate FROM Organization";
    let answer = client.fetch(&query(soql.to_owned())).await?;
    let now = answer
        .headers
        .get(http::header::DATE)
        .and_then(|v| DateTime::parse_from_rfc2822(v.to_str().ok()?).ok())
        .ok_or_else(|| ConnectError::new(ErrorCode::BadAnswer, "GET query: no Date header to take the org's time from"))?;
    let rows: QueryAnswer = parse("GET query", &answer.body)?;
    let row = rows
        .records
        .first()
        .ok_or_else(|| ConnectError::new(ErrorCode::BadAnswer, "GET query: the org does not show its own record"))?;
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    Ok(OrgInfo {
        id: text("Id")
            .ok_or_else(|| ConnectError::new(ErrorCode::BadAnswer, "GET query: the org does not show its id"))?
            .to_owned(),
        name: text("Name").unwrap_or_default().to_owned(),
        kind: org_kind(
            row.get("IsSandbox").and_then(Value::as_bool).unwrap_or(false),
            text("TrialExpirationDate").is_some(),
            text("OrganizationType").unwrap_or_default(),
        ),
        now: now.with_timezone(&Utc),
    })
}

/// What is not known to be anything else counts as production, which is the guarded kind.
fn org_kind(sandbox: bool, expires: bool, organization_type: &str) -> OrgKind {
    match (sandbox, expires, organization_type) {
        (true, true, _) => OrgKind::Scratch,
        (true, false, _) => OrgKind::Sandbox,
        (false, _, "Developer Edition") => OrgKind::Developer,
        (false, ..) => OrgKind::Production,
    }
}

pub(crate) async fn user_id(client: &Client) -> Result<String, ConnectError> {
    #[derive(Deserialize)]
    struct UserInfo {
        user_id: String,
    }
    let user: UserInfo = client.json(&Request::get("/services/oauth2/userinfo")).await?;
    Ok(user.user_id)
}

pub(crate) async fn limits(client: &Client) -> Result<BTreeMap<String, Limit>, ConnectError> {
    let all: BTreeMap<String, Value> = client.json(&Request::get("limits")).await?;
    Ok(all
        .into_iter()
        .filter_map(|(name, value)| Some((name, Limit::deserialize(value).ok()?)))
        .collect())
}

pub(crate) async fn describe(client: &Client, objects: &[ObjectName]) -> Result<Vec<Option<ObjectDescribe>>, ConnectError> {
    let describes: Vec<_> = objects.iter().map(|object| describe_one(client, object)).collect();
    futures::stream::iter(describes).buffered(DESCRIBE_CONCURRENCY).try_collect().await
}

async fn describe_one(client: &Client, object: &ObjectName) -> Result<Option<ObjectDescribe>, ConnectError> {
    let cache = client.describes();
    match describe_again(client, object, &cache.validators(object)).await? {
        Described::Changed(describe, validators) => {
            cache.put(object, &describe, validators);
            Ok(Some(*describe))
        }
        Described::Missing => {
            cache.forget(object);
            Ok(None)
        }
        Described::Unchanged => match cache.get(object) {
            Some(describe) => Ok(Some(describe)),
            // Others made room for theirs in the meantime.
            None => match describe_again(client, object, &Validators::default()).await? {
                Described::Changed(describe, _) => Ok(Some(*describe)),
                Described::Missing | Described::Unchanged => Ok(None),
            },
        },
    }
}

/// A describe that is asked for again.
#[derive(Debug, Clone)]
pub enum Described {
    /// As it was when its validators were had.
    Unchanged,
    /// Another one, and how to ask for it next time.
    Changed(Box<ObjectDescribe>, Validators),
    /// It does not exist, or this user cannot see it.
    Missing,
}

/// Describes one object, unless it is still the one that `known` came with. An unchanged answer has no body, which for
/// a describe saves hundreds of kilobytes.
pub(crate) async fn describe_again(client: &Client, object: &ObjectName, known: &Validators) -> Result<Described, ConnectError> {
    let mut request = Request::get(format!("sobjects/{object}/describe"));
    if !known.is_empty() {
        request = request.unless(known);
    }
    match client.fetch(&request).await {
        Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => Ok(Described::Unchanged),
        Ok(answer) => {
            let validators = Validators::of(&answer.headers);
            Ok(Described::Changed(Box::new(read_describe(&answer.body)?), validators))
        }
        Err(e) if e.gone || e.code == ErrorCode::ObjectMissing => Ok(Described::Missing),
        Err(e) => Err(e),
    }
}

pub(crate) async fn count(client: &Client, of: &Query) -> Result<u64, ConnectError> {
    let answer: QueryAnswer = client.json(&query(soql::count(of)?)).await?;
    answer
        .total_size
        .ok_or_else(|| ConnectError::new(ErrorCode::BadAnswer, "GET query: a count without a total"))
}

pub(crate) async fn lookup(
    client: &Client,
    object: &ObjectName,
    fields: &[&str],
    filter: Option<&str>,
) -> Result<Vec<Vec<Option<String>>>, ConnectError> {
    rows(client, query(soql::lookup(object, fields, filter)?), object, fields).await
}

/// What a user created: `queryAll` sees the recycle bin, too.
pub(crate) async fn created(
    client: &Client,
    object: &ObjectName,
    user: &str,
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<Created>, ConnectError> {
    let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut filter = format!("CreatedById = '{}' AND CreatedDate >= {}", checked_id(user)?, moment(since));
    if let Some(until) = until {
        filter = format!("{filter} AND CreatedDate <= {}", moment(until));
    }
    let fields = ["Id", "IsDeleted"];
    let request = Request::get("queryAll").with("q", soql::lookup(object, &fields, Some(&filter))?);
    let record = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter();
        let (id, deleted) = (cells.next()??, cells.next()??);
        Some(Created {
            id,
            deleted: deleted == "true",
        })
    };
    let records: Option<Vec<Created>> = rows(client, request, object, &fields).await?.into_iter().map(record).collect();
    let missing = || {
        ConnectError::new(
            ErrorCode::BadAnswer,
            format!("a record of {object} without its id, or whether it is deleted"),
        )
    };
    records.ok_or_else(missing)
}

/// All pages of a query.
async fn rows(
    client: &Client,
    mut request: Request,
    object: &ObjectName,
    fields: &[&str],
) -> Result<Vec<Vec<Option<String>>>, ConnectError> {
    let mut rows = Vec::new();
    let incomplete = |why| ConnectError::new(ErrorCode::BadAnswer, format!("a look-up in {object}: {why}"));
    loop {
        let page: QueryAnswer = client.json(&request).await?;
        if page.records.is_empty() && page.next_records_url.is_some() {
            return Err(incomplete("a page without records that has a next one"));
        }
        rows.extend(page.records.iter().map(|r| fields.iter().map(|path| cell(r, path)).collect()));
        if rows.len() > LOOKUP_ROWS_MAX {
            return Err(ConnectError::new(
                ErrorCode::Query,
                format!("a look-up in {object} has too many rows"),
            ));
        }
        match page.next_records_url {
            Some(next) => request = Request::get(absolute(next)?),
            None if page.done == Some(false) => return Err(incomplete("there is more, but it is not said where")),
            None if page.total_size.is_none_or(|total| total > rows.len() as u64) => {
                return Err(incomplete("fewer records than were announced"));
            }
            None => return Ok(rows),
        }
    }
}

/// Follows a path through nested records; a missing parent is null. Names are compared as SOQL compares them.
fn cell(record: &Value, path: &str) -> Option<String> {
    let mut at = record;
    for part in path.split('.') {
        let object = at.as_object()?;
        at = object
            .get(part)
            .or_else(|| object.iter().find(|(k, _)| k.eq_ignore_ascii_case(part)).map(|(_, v)| v))?;
    }
    match at {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(crate) fn retrieve_schema(columns: &[Column]) -> SchemaRef {
    let id = Field::new("Id", data_type(FieldType::Id, 0), true);
    let rest = columns
        .iter()
        .filter(|c| c.name.as_str() != "Id")
        .map(|c| Field::new(c.name.as_str(), data_type(c.field_type, c.scale), true));
    Arc::new(Schema::new(std::iter::once(id).chain(rest).collect::<Vec<_>>()))
}

/// Values are kept as the text that the server wrote, so no digit of a number is lost on the way to its column.
pub(crate) async fn retrieve(
    client: &Client,
    object: &ObjectName,
    ids: &[String],
    columns: &[Column],
) -> Result<RecordBatch, ConnectError> {
    let schema = retrieve_schema(columns);
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut builders: Vec<ColumnBuilder> = std::iter::once(ColumnBuilder::new(FieldType::Id, 0))
        .chain(
            columns
                .iter()
                .filter(|c| c.name.as_str() != "Id")
                .map(|c| ColumnBuilder::new(c.field_type, c.scale)),
        )
        .collect();
    let path = format!("composite/sobjects/{object}");
    for ids in ids.chunks(RETRIEVE_IDS_MAX) {
        let answer = client.fetch(&Request::ask(&path, &json!({ "ids": ids, "fields": names }))).await?;
        let records: Vec<Option<HashMap<&str, &RawValue>>> = parse("retrieve", &answer.body)?;
        if records.len() != ids.len() {
            let message = format!("retrieve from {object}: {} answers to {} ids", records.len(), ids.len());
            return Err(ConnectError::new(ErrorCode::BadAnswer, message));
        }
        for record in records.into_iter().flatten() {
            for (name, builder) in names.iter().zip(&mut builders) {
                // Null is told as null; a key that is missing is not.
                let value = record.get(name).ok_or_else(|| {
                    let message = format!("retrieve from {object}: a record without {name}");
                    ConnectError::new(ErrorCode::BadAnswer, message)
                })?;
                append_json(builder, value.get()).ok_or_else(|| {
                    let message = format!("retrieve from {object}, column {name}: the value does not fit the described type");
                    ConnectError::new(ErrorCode::DataFormat, message)
                })?;
            }
        }
    }
    take(&schema, &mut builders)
}

pub(crate) fn append_json(builder: &mut ColumnBuilder, raw: &str) -> Option<()> {
    match raw.as_bytes().first()? {
        b'n' => builder.append_null(),
        b'"' => builder.append(&serde_json::from_str::<String>(raw).ok()?).ok()?,
        b'{' | b'[' => return None,
        _ => builder.append(raw).ok()?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_so_is_not_production() {
        assert_eq!(org_kind(true, true, "Developer Edition"), OrgKind::Scratch);
        assert_eq!(org_kind(true, false, "Unlimited Edition"), OrgKind::Sandbox);
        assert_eq!(org_kind(false, false, "Developer Edition"), OrgKind::Developer);
        assert_eq!(org_kind(false, true, "Enterprise Edition"), OrgKind::Production);
        assert_eq!(org_kind(false, false, ""), OrgKind::Production);
    }

    #[test]
    fn paths_go_through_parents_and_stop_at_missing_ones() {
        let record = json!({"Id": "1", "Pricebook2": {"attributes": {}, "IsStandard": true, "Rank": 1.5}, "Owner": null});
        assert_eq!(cell(&record, "Pricebook2.IsStandard").as_deref(), Some("true"));
        assert_eq!(cell(&record, "pricebook2.rank").as_deref(), Some("1.5"));
        assert_eq!(cell(&record, "Owner.Name"), None);
        assert_eq!(cell(&record, "Nothing"), None);
        assert_eq!(cell(&record, "Pricebook2"), None);
    }
}
