//! What was learnt from both ends: everything that a plan is a function of.
//!
//! Holds names, ids and counts. User names of the directory stay in memory: only ids get into a plan.

use std::collections::BTreeMap;

use syncline_connect::OrgInfo;
use syncline_domain::describe::ObjectDescribe;
use syncline_domain::{FieldName, ObjectName};
use syncline_salesforce::names::{Entry, PriceBookName, RecordTypeName, Unmatched, UserName};

/// Both ends.
#[derive(Clone)]
pub struct Facts {
    pub source: SystemFacts,
    pub target: SystemFacts,
    /// Source records of each object, filter and T0 applied.
    pub source_counts: BTreeMap<ObjectName, Count>,
    /// Target records of each target object; only asked for where the plan depends on it.
    pub target_counts: BTreeMap<ObjectName, u64>,
    /// How many records point to what could not be matched.
    pub usage: Vec<Usage>,
}

/// One end.
#[derive(Clone)]
pub struct SystemFacts {
    pub org: OrgInfo,
    /// By this end's own object names; what does not exist is not there.
    pub describes: BTreeMap<ObjectName, ObjectDescribe>,
    pub directory: Directory,
    /// API requests left today, if the system says so.
    pub calls_left: Option<u64>,
    /// Id of the user under whom Syncline works.
    pub user: Option<String>,
}

/// What came of counting an object's source records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Count {
    Records(u64),
    /// The source did not understand the filter; its words, without values.
    Refused(String),
}

/// What is matched by name and never created.
#[derive(Clone, Default)]
pub struct Directory {
    pub users: Vec<Entry<UserName>>,
    pub queues: Vec<Entry<String>>,
    pub record_types: Vec<Entry<RecordTypeName>>,
    pub price_books: Vec<Entry<PriceBookName>>,
}

/// What is matched rather than loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Users and queues.
    Owner,
    RecordType,
    PriceBook,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Owner, Self::RecordType, Self::PriceBook];

    /// The kind of an object that a reference may point to.
    #[must_use]
    pub fn of(object: &str) -> Option<Self> {
        match object {
            "User" | "Group" => Some(Self::Owner),
            "RecordType" => Some(Self::RecordType),
            "Pricebook2" => Some(Self::PriceBook),
            _ => None,
        }
    }
}

/// Records of one object that point to something unmatched through one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub object: ObjectName,
    pub field: FieldName,
    pub kind: Kind,
    /// Unmatched users, queues, record types or price books that the field may point to.
    pub unmatched: Vec<NoMatch>,
    /// Records that do; `None` when there are too many ids to ask for.
    pub records: Option<u64>,
}

/// Something of the source without a counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoMatch {
    pub id: String,
    /// Of metadata; empty for people.
    pub label: String,
    pub why: Unmatched,
}
