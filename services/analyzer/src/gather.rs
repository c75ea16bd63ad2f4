//! Gathering facts: every question that does not depend on another is asked at once, a few at a time.
//!
//! Describes and identities first, because T0 and the questions that follow come from them; then counts and look-up
//! tables; then, only for what could not be matched, how many records it concerns.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use syncline_connect::{ConnectError, Query};
use syncline_domain::describe::{FieldType, ObjectDescribe};
use syncline_domain::plan::{FieldRole, ObjectPlan, Plan};
use syncline_domain::spec::{Existing, ObjectSpec, SyncSpec};
use syncline_domain::{ErrorCode, ObjectName};
use syncline_salesforce::names;

use crate::build::{Matches, Request, build, deletable, filter, has_created_date};
use crate::error::Error;
use crate::facts::{Count, Directory, Facts, Kind, SystemFacts, Usage};
use crate::org::Org;

/// Questions under way at once, both ends together.
const QUESTIONS_AT_ONCE: usize = 8;
/// Ids in one condition: 200 of 18 characters stay far below the 100,000 characters of a query.
const IDS_PER_QUESTION: usize = 200;
/// Ids beyond this are not asked for; the issue then has no count.
const IDS_MAX: usize = 1_000;

/// Which end, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Source,
    Target,
}

/// Learns everything that a plan depends on.
///
/// # Errors
/// [`Error::System`] naming the connection when an end cannot be asked.
pub async fn gather(request: &Request, source: &dyn Org, target: &dyn Org) -> Result<Facts, Error> {
    let spec = &request.spec;
    let at = |end: End| {
        let connection = match end {
            End::Source => spec.source.clone(),
            End::Target => spec.target.clone(),
        };
        move |cause: ConnectError| Error::System { connection, cause }
    };
    let source_names: Vec<ObjectName> = spec.objects.iter().map(|o| o.name.clone()).collect();
    let target_names: Vec<ObjectName> = spec.objects.iter().map(|o| target_name(o).clone()).collect();
    let (source_facts, target_facts) = futures::try_join!(async { system(source, &source_names).await.map_err(at(End::Source)) }, async {
        system(target, &target_names).await.map_err(at(End::Target))
    },)?;
    let mut facts = Facts {
        source: source_facts,
        target: target_facts,
        source_counts: BTreeMap::new(),
        target_counts: BTreeMap::new(),
        usage: Vec::new(),
    };

    let kinds = kinds(&facts.source.describes);
    let t0 = facts.source.org.now;
    let (counts, target_counts, source_directory, target_directory) = futures::try_join!(
        async {
            source_counts(source, spec, &facts.source.describes, &facts.target.describes, t0)
                .await
                .map_err(at(End::Source))
        },
        async { target_counts(target, spec, &facts.target.describes).await.map_err(at(End::Target)) },
        async { directory(source, End::Source, &kinds, &source_names).await.map_err(at(End::Source)) },
        async { directory(target, End::Target, &kinds, &target_names).await.map_err(at(End::Target)) },
    )?;
    facts.source_counts = counts;
    facts.target_counts = target_counts;
    facts.source.directory = source_directory;
    facts.target.directory = target_directory;

    // A first plan tells which references travel, hence what has to be asked about them.
    let draft = build(request, &facts);
    let matches = Matches::new(spec, &facts.source.directory, &facts.target.directory);
    facts.usage = usage(source, &draft, &facts, &matches).await.map_err(at(End::Source))?;
    Ok(facts)
}

fn target_name(object: &ObjectSpec) -> &ObjectName {
    object.target.as_ref().unwrap_or(&object.name)
}

/// Runs questions a few at a time; answers in their order.
async fn ask<T>(questions: Vec<BoxFuture<'_, Result<T, ConnectError>>>) -> Result<Vec<T>, ConnectError> {
    futures::stream::iter(questions).buffered(QUESTIONS_AT_ONCE / 2).try_collect().await
}

async fn system(org: &dyn Org, names: &[ObjectName]) -> Result<SystemFacts, ConnectError> {
    let (info, describes, user, calls_left) =
        futures::try_join!(org.info(), org.describe(names), org.user(), async { Ok(org.calls_left().await) })?;
    Ok(SystemFacts {
        org: info,
        describes: names
            .iter()
            .cloned()
            .zip(describes)
            .filter_map(|(name, describe)| Some((name, describe?)))
            .collect(),
        directory: Directory::default(),
        calls_left,
        user: Some(user),
    })
}

fn query(object: ObjectName, filter: Option<String>, created_before: Option<DateTime<Utc>>) -> Query {
    Query {
        object,
        fields: Vec::new(),
        filter,
        created_before,
        order_by: None,
        batch_bytes_max: 0,
        batch_rows_max: 0,
        page_records: 0,
    }
}

async fn source_counts(
    org: &dyn Org,
    spec: &SyncSpec,
    describes: &BTreeMap<ObjectName, ObjectDescribe>,
    target: &BTreeMap<ObjectName, ObjectDescribe>,
    t0: DateTime<Utc>,
) -> Result<BTreeMap<ObjectName, Count>, ConnectError> {
    let mut questions: Vec<BoxFuture<'_, _>> = Vec::new();
    for object in &spec.objects {
        let Some(describe) = describes.get(&object.name).filter(|d| d.queryable) else {
            continue;
        };
        let condition = filter(object, describe, target.get(target_name(object)));
        let query = query(object.name.clone(), condition, has_created_date(describe).then_some(t0));
        let filtered = object.filter.is_some();
        questions.push(Box::pin(async move {
            match org.count(&query).await {
                Ok(records) => Ok((query.object, Count::Records(records))),
                // The names in the rest of the query were described, so only the filter can be at fault.
                Err(error) if filtered && is_about_the_query(error.code) => Ok((query.object, Count::Refused(error.message))),
                Err(error) => Err(error),
            }
        }));
    }
    Ok(ask(questions).await?.into_iter().collect())
}

fn is_about_the_query(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Query | ErrorCode::FieldMissing | ErrorCode::ObjectMissing | ErrorCode::DataFormat | ErrorCode::TargetRefused
    )
}

/// Only `existing: refuse` depends on what the target holds.
async fn target_counts(
    org: &dyn Org,
    spec: &SyncSpec,
    describes: &BTreeMap<ObjectName, ObjectDescribe>,
) -> Result<BTreeMap<ObjectName, u64>, ConnectError> {
    if spec.existing != Existing::Refuse {
        return Ok(BTreeMap::new());
    }
    let mut questions: Vec<BoxFuture<'_, _>> = Vec::new();
    for describe in describes.values().filter(|d| d.queryable) {
        questions.push(Box::pin(async move {
            let own = deletable(describe).map(str::to_owned);
            let count = org.count(&query(describe.name.clone(), own, None)).await?;
            Ok((describe.name.clone(), count))
        }));
    }
    Ok(ask(questions).await?.into_iter().collect())
}

/// Kinds of look-up tables that any reference of the objects needs.
fn kinds(describes: &BTreeMap<ObjectName, ObjectDescribe>) -> BTreeSet<Kind> {
    describes
        .values()
        .flat_map(|d| &d.fields)
        .filter(|f| f.field_type == FieldType::Reference)
        .flat_map(|f| &f.reference_to)
        .filter_map(|o| Kind::of(o.as_str()))
        .collect()
}

async fn directory(org: &dyn Org, end: End, kinds: &BTreeSet<Kind>, objects: &[ObjectName]) -> Result<Directory, ConnectError> {
    let wants = |kind: Kind| kinds.contains(&kind);
    let types: Vec<String> = objects.iter().map(|o| format!("'{o}'")).collect();
    let types = format!("SobjectType IN ({})", types.join(", "));
    let (users, queues, record_types, price_books) = futures::try_join!(
        rows(org, wants(Kind::Owner), "User", names::USER_FIELDS, None),
        rows(org, wants(Kind::Owner), "Group", names::QUEUE_FIELDS, Some(names::QUEUE_FILTER)),
        rows(org, wants(Kind::RecordType), "RecordType", names::RECORD_TYPE_FIELDS, Some(&types)),
        rows(org, wants(Kind::PriceBook), "Pricebook2", names::PRICE_BOOK_FIELDS, None),
    )?;
    Ok(Directory {
        users: match end {
            End::Source => names::users(&users),
            End::Target => names::successors(&users),
        },
        queues: names::queues(&queues),
        record_types: names::record_types(&record_types),
        price_books: names::price_books(&price_books),
    })
}

type Rows = Vec<Vec<Option<String>>>;

/// A table that the org does not have is empty.
async fn rows(org: &dyn Org, wanted: bool, object: &str, fields: &[&str], filter: Option<&str>) -> Result<Rows, ConnectError> {
    if !wanted {
        return Ok(Vec::new());
    }
    let object = ObjectName::new(object).expect("a literal that is a valid name");
    match org.lookup(&object, fields, filter).await {
        Err(error) if error.code == ErrorCode::ObjectMissing => Ok(Vec::new()),
        answer => answer,
    }
}

/// How many records of the plan point to what is not matched.
async fn usage(org: &dyn Org, draft: &Plan, facts: &Facts, matches: &Matches) -> Result<Vec<Usage>, ConnectError> {
    let mut questions: Vec<BoxFuture<'_, _>> = Vec::new();
    for object in &draft.objects {
        let Some(describe) = facts.source.describes.get(&object.name) else {
            continue;
        };
        if matches!(facts.source_counts.get(&object.name), Some(Count::Refused(_)) | None) {
            continue;
        }
        for field in object.reference_fields() {
            let Some(described) = describe.field(field.name.as_str()) else {
                continue;
            };
            let FieldRole::Reference(reference) = &field.role else { continue };
            for kind in Kind::ALL {
                let points_there = described
                    .reference_to
                    .iter()
                    .any(|o| Kind::of(o.as_str()) == Some(kind) && !reference.to.contains(o));
                let unmatched = matches.unmatched(kind, &object.name);
                if !points_there || unmatched.is_empty() || !described.filterable {
                    continue;
                }
                let used = Usage {
                    object: object.name.clone(),
                    field: field.name.clone(),
                    kind,
                    unmatched: unmatched.to_vec(),
                    records: None,
                };
                questions.push(Box::pin(counted(org, object, draft.t0, used)));
            }
        }
    }
    ask(questions).await
}

async fn counted(org: &dyn Org, object: &ObjectPlan, t0: DateTime<Utc>, mut used: Usage) -> Result<Usage, ConnectError> {
    if used.unmatched.len() > IDS_MAX {
        return Ok(used);
    }
    let mut records = 0;
    for unmatched in used.unmatched.chunks(IDS_PER_QUESTION) {
        // Ids come from the org itself; whatever is not one could only break the quotes.
        let ids: Vec<String> = unmatched
            .iter()
            .map(|n| &n.id)
            .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric()))
            .map(|id| format!("'{id}'"))
            .collect();
        let points = format!("{} IN ({})", used.field, ids.join(", "));
        let filter = match &object.filter {
            Some(own) => format!("({own}) AND {points}"),
            None => points,
        };
        records += org
            .count(&query(object.name.clone(), Some(filter), object.has_created_date.then_some(t0)))
            .await?;
    }
    used.records = Some(records);
    Ok(used)
}
