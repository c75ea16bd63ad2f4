//! The error catalogue: every error that a person or a program may have to act on has one code here.
//!
//! The code crosses gRPC, the bus and the database; the text is for people. Whether something is tried again is read
//! from `can_retry` and nowhere else. Blame and retry are independent: a target may be at fault for something that
//! passes by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::issue::Severity;

/// Who can make it go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The person who wrote the sync or runs the installation.
    Operator,
    Source,
    Target,
    /// The parts below Syncline: network, bus, database, or Syncline itself.
    Platform,
}

/// One page of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub code: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub remedy: &'static str,
    pub severity: Severity,
    pub blame: Blame,
    /// Worth trying again unchanged.
    pub can_retry: bool,
    /// Goes away without anybody doing anything.
    pub auto_resolvable: bool,
}

macro_rules! catalogue {
    ($( $variant:ident = $code:literal, $severity:ident, $blame:ident, retry: $retry:literal, auto: $auto:literal,
        $title:literal, $description:literal, $remedy:literal; )*) => {
        /// A stable code of the catalogue.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode { $( #[doc = $title] $variant, )* }

        impl ErrorCode {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            #[must_use]
            pub fn entry(self) -> &'static Entry {
                match self {
                    $( Self::$variant => {
                        const ENTRY: Entry = Entry {
                            code: $code, title: $title, description: $description, remedy: $remedy,
                            severity: Severity::$severity, blame: Blame::$blame, can_retry: $retry, auto_resolvable: $auto,
                        };
                        &ENTRY
                    } )*
                }
            }
        }
    };
}

catalogue! {
    // The first seven are kept verbatim: others quote them.
    PicklistValue = "SCHEMA_PICKLIST_001", Error, Operator, retry: false, auto: false,
        "Picklist value missing in the target",
        "The source uses a value that the target's restricted picklist does not have.",
        "Add the value to the target's picklist, or map or exclude the field in the sync.";
    ValidationRule = "DATA_VALIDATION_RULE_001", Error, Target, retry: false, auto: false,
        "Refused by a validation rule",
        "A validation rule, lookup filter or integrity check of the target refused the record.",
        "Correct the record at the source, or let the integration user bypass the rule, then retry the refused records.";
    DailyApiLimit = "LIMITS_API_DAILY_001", Error, Target, retry: true, auto: true,
        "Daily API limit reached",
        "The org has used up its API requests of the last 24 hours.",
        "Nothing is lost: the run waits and resumes when the rolling window frees requests. Raise the allocation to go on sooner.";
    TokenExpired = "AUTH_TOKEN_EXPIRED", Warning, Platform, retry: true, auto: true,
        "Access token expired",
        "The access token was expired or revoked while the run worked.",
        "Nothing to do when a new token could be had. Otherwise run `syncline connection test NAME` and mend the credentials.";
    TriggerFailure = "AUTOMATION_TRIGGER_FAILURE", Error, Target, retry: false, auto: false,
        "A trigger or flow failed",
        "An Apex trigger, flow or process of the target raised an error while it saved the record.",
        "Mend the automation or let the integration user bypass it, then retry the refused records.";
    NetworkTimeout = "NETWORK_TIMEOUT", Warning, Platform, retry: true, auto: true,
        "No answer in time",
        "A request was not answered in time or the connection broke.",
        "Nothing to do if it passes: it is tried again with growing pauses. Otherwise check the network path to the system that is named.";
    Internal = "SYSTEM_INTERNAL_ERROR", Error, Platform, retry: true, auto: false,
        "Unexpected failure inside Syncline",
        "Something happened that Syncline does not expect.",
        "Look up the run's id in the logs and report what stands there.";

    ObjectMissing = "SCHEMA_OBJECT_001", Fatal, Operator, retry: false, auto: false,
        "Object missing",
        "An object of the sync does not exist, or the connection's user cannot see it.",
        "Correct the object's name, create it, or give the user permission to read it (source) or write it (target).";
    FieldMissing = "SCHEMA_FIELD_001", Fatal, Operator, retry: false, auto: false,
        "Field missing",
        "A field that the sync names does not exist on one side, or the connection's user cannot see it.",
        "Correct the name, create the field, grant field-level security, or list it under `exclude`.";
    FieldType = "SCHEMA_FIELD_TYPE_001", Error, Operator, retry: false, auto: false,
        "Field types do not fit",
        "Source and target describe the field with types or lengths that do not fit each other.",
        "Align the two fields, or list the field under `exclude`.";
    FieldRequired = "SCHEMA_REQUIRED_001", Error, Operator, retry: false, auto: false,
        "Required field gets no value",
        "The target requires a field that the sync does not write.",
        "Include the field, or make it optional in the target.";
    RecordTypeMissing = "SCHEMA_RECORD_TYPE_001", Error, Operator, retry: false, auto: false,
        "Record type missing in the target",
        "Source records use a record type whose developer name the target does not have.",
        "Create the record type in the target or assign it to the integration user; otherwise these records get the user's default type.";
    OwnerMissing = "DATA_OWNER_001", Warning, Operator, retry: false, auto: true,
        "Owner missing in the target",
        "Source records belong to users or queues that were not found in the target by name.",
        "Create the user or queue in the target, or accept that these records belong to the integration user.";
    DescribeChanged = "SCHEMA_CHANGED_001", Error, Operator, retry: false, auto: false,
        "Schema changed during the run",
        "A describe changed after the plan was made.",
        "Start a new run, which plans against the new schema.";
    DataFormat = "DATA_FORMAT_001", Error, Source, retry: false, auto: false,
        "Value does not fit its field",
        "The target refused a value: too long, out of range, malformed or of the wrong type.",
        "Correct the value at the source or widen the field, then retry the refused records.";
    RequiredValue = "DATA_REQUIRED_001", Error, Source, retry: false, auto: false,
        "Required value missing",
        "The target requires a value that the source record does not have.",
        "Fill the field at the source or make it optional in the target, then retry.";
    Duplicate = "DATA_DUPLICATE_001", Error, Target, retry: false, auto: false,
        "Duplicate in the target",
        "A unique field or a duplicate rule of the target found the record there already.",
        "Declare `key` for the object so that the existing record is updated, or remove the duplicate.";
    Reference = "DATA_REFERENCE_001", Error, Source, retry: false, auto: false,
        "Reference points nowhere",
        "A required reference points to a record that is not in the target and not in this sync.",
        "Include the parent's object in the sync or widen its filter.";
    TargetRefused = "DATA_REFUSED_001", Error, Target, retry: false, auto: false,
        "Refused by the target",
        "The target refused the record with a code that is not in the catalogue; the code is kept verbatim.",
        "Look up the target's own code, mend the cause, then retry the refused records.";
    RecordFrozen = "DATA_FROZEN_001", Error, Target, retry: false, auto: false,
        "Record cannot be changed",
        "The target keeps the record as it is: it is locked by an approval, archived, or a converted lead.",
        "Release the record in the target (finish or recall the approval) or leave it out with `where`, then retry the refused records.";
    ObjectsMixed = "DATA_MIXED_001", Error, Platform, retry: false, auto: false,
        "Setup and data in one transaction",
        "The target refused to change a setup object, such as a user or a group, together with data.",
        "Load setup objects by a sync of their own; automation in the target that touches both has to be mended there.";
    RowLocked = "DATA_LOCK_001", Warning, Target, retry: true, auto: true,
        "Row locked",
        "The target could not lock a row because something else was changing it.",
        "Tried again by itself. If it stays, keep other jobs off the target while the run works.";
    RecordTooLarge = "DATA_TOO_LARGE_001", Error, Source, retry: false, auto: false,
        "Record too large",
        "One record does not fit a message.",
        "Exclude its largest text field.";
    Mismatch = "DATA_VERIFY_001", Error, Target, retry: false, auto: false,
        "Verification found a difference",
        "What was read back from the target differs from what was sent: something else changed it, or automation did.",
        "Look at the records listed; run the sync again to restore the values.";
    TargetNotEmpty = "DATA_EXISTING_001", Fatal, Operator, retry: false, auto: false,
        "Target is not empty",
        "The sync says `existing: refuse` and the target holds records.",
        "Empty the target's object, or choose `existing: update` or `replace`.";
    Storage = "LIMITS_STORAGE_001", Error, Target, retry: false, auto: false,
        "Target storage full",
        "The target has no storage left for the record.",
        "Free space or choose a larger sandbox, then retry the refused records.";
    BulkLimit = "LIMITS_BULK_001", Error, Target, retry: true, auto: true,
        "Bulk allocation used up",
        "The org's Bulk API jobs, batches or bytes of the last 24 hours are used up.",
        "The run waits and resumes when the rolling window frees some.";
    PlatformLimit = "LIMITS_PLATFORM_001", Error, Target, retry: false, auto: false,
        "A fixed limit of the target reached",
        "The target holds as many of something (licences, picklist values, long text, related records) as it may.",
        "Make room, raise the limit where the edition allows it, or leave the field or records out; then retry the refused records.";
    TooMuch = "LIMITS_SIZE_001", Warning, Target, retry: false, auto: true,
        "Too much for one request",
        "The org gave up on a request because it asked for too much at once: a query ran too long, or a list was too long.",
        "Asked again in smaller parts by itself. If it stays, narrow the object with `where` on an indexed field.";
    RateLimited = "LIMITS_RATE_001", Warning, Target, retry: true, auto: true,
        "Too many requests at once",
        "The org refused a request because too many were under way.",
        "Nothing to do: it is tried again with growing pauses.";
    Credentials = "AUTH_CREDENTIALS_001", Fatal, Operator, retry: false, auto: false,
        "Credentials refused",
        "The system refused the connection's credentials.",
        "Correct the secret that the connection refers to, then run `syncline connection test NAME`.";
    Permission = "AUTH_PERMISSION_001", Error, Operator, retry: false, auto: false,
        "Permission missing",
        "The connection's user lacks a permission.",
        "Give the user the permission that is named, or use another user.";
    ProductionTarget = "AUTH_PRODUCTION_TARGET_001", Fatal, Operator, retry: false, auto: false,
        "Target reports itself as production",
        "The target org is a production org and the sync does not name it as such.",
        "If this is meant, set `spec.allow_production_target` to the org's id. Otherwise correct the target.";
    UnknownConnection = "AUTH_CONNECTION_001", Fatal, Operator, retry: false, auto: false,
        "Unknown connection",
        "The sync names a connection that does not exist.",
        "Add it with `syncline connection add`, or correct the name.";
    Unreachable = "NETWORK_UNREACHABLE_001", Error, Platform, retry: true, auto: true,
        "System unreachable",
        "A system could not be reached.",
        "Check its address and whether it runs; the run resumes by itself once it is back.";
    HeldBack = "NETWORK_BREAKER_001", Warning, Platform, retry: true, auto: true,
        "Connection held back",
        "Nothing is sent over the connection for now: its circuit breaker is open because requests failed in a row, or its system asked to be left alone.",
        "Nothing is lost: the run goes on by itself when a probe is answered. `syncline connection test NAME` asks at once; see whether the system runs.";
    BadAnswer = "NETWORK_ANSWER_001", Warning, Platform, retry: true, auto: true,
        "Answer not understood",
        "A system answered with something that is not the API's form, such as a maintenance page.",
        "Nothing to do if it passes. Otherwise see whether a proxy answers in the system's place.";
    Query = "SCHEMA_QUERY_001", Fatal, Operator, retry: false, auto: false,
        "Filter not understood",
        "The source could not parse the query that was made from the sync's `where`.",
        "Correct `where`; the source's message names row and column.";
    JobFailed = "SYSTEM_JOB_001", Error, Target, retry: true, auto: false,
        "Bulk job failed",
        "A bulk job ended as Failed or was aborted by the org.",
        "The rows that were not processed are loaded again; see the job's message in the org.";
    ResultsGone = "SYSTEM_RESULTS_001", Error, Target, retry: false, auto: false,
        "Job results gone",
        "The results of a job that had begun are no longer there, and what it wrote cannot be told for certain from the records of its time.",
        "The message names the time: of the records that the connection's user created since, remove those that belong to nobody, from the recycle bin too, and run the sync again; or run it with `existing: replace`.";
    UnknownWrites = "SYSTEM_UNKNOWN_001", Error, Operator, retry: false, auto: false,
        "The target holds what the database does not know",
        "The connection's user made records or jobs in the target while no loader was at work, as far as the database knows: it was restored to an older backup, or another tool works as that user.",
        "See to them as docs/backup.md says: run with `existing: replace`, or, when they may stay as they are, set `spec.reviewed_until` to the time that the message ends with.";
    DeadLetter = "SYSTEM_DEAD_LETTER_001", Error, Platform, retry: false, auto: false,
        "Message given up",
        "A message failed every attempt and was set aside.",
        "Run `syncline dead-letters` to see the cause; mend it and run the sync again.";
    BusUnavailable = "SYSTEM_BUS_001", Error, Platform, retry: true, auto: true,
        "NATS unreachable",
        "The bus cannot be reached or is too old.",
        "Start NATS 2.10 or newer with JetStream and check SYNCLINE_NATS_URL; services reconnect by themselves.";
    DatabaseUnavailable = "SYSTEM_DATABASE_001", Error, Platform, retry: true, auto: true,
        "PostgreSQL unreachable",
        "The database cannot be reached.",
        "Start PostgreSQL and check SYNCLINE_DATABASE_URL; services reconnect by themselves.";
    SyncInvalid = "SCHEMA_SYNC_001", Fatal, Operator, retry: false, auto: false,
        "Definition not valid",
        "A definition could not be read or contradicts itself.",
        "Correct the place that is named by line and column.";
    ApiVersion = "SCHEMA_API_VERSION_001", Fatal, Operator, retry: false, auto: false,
        "API version not served",
        "The org does not serve the API version that the connection names.",
        "Correct `api_version` of the connection; the org lists its versions under /services/data.";
    RequestForm = "SYSTEM_REQUEST_001", Error, Platform, retry: false, auto: false,
        "The system did not accept the form of a request",
        "A request was not in the form that the system's API expects.",
        "Report it with the code that is kept verbatim; see whether a proxy changes requests on the way.";
    SyncUnknown = "SCHEMA_SYNC_002", Fatal, Operator, retry: false, auto: false,
        "Unknown sync or run",
        "The named sync or run does not exist.",
        "List them with `syncline runs` or apply the definition with `syncline apply -f FILE`.";
    RunActive = "SYSTEM_RUN_ACTIVE_001", Error, Operator, retry: true, auto: true,
        "A run is active on this link",
        "One run at a time may write a link, and another one is not finished.",
        "Wait for it, or cancel it with `syncline runs cancel RUN`.";
    ApiToken = "AUTH_TOKEN_001", Error, Operator, retry: false, auto: false,
        "API token not accepted",
        "The caller showed no token, or one that is unknown, expired or revoked.",
        "Send `authorization: Bearer TOKEN` with a token that is valid; an administrator makes one with `syncline token create`.";
    Role = "AUTH_ROLE_001", Error, Operator, retry: false, auto: false,
        "Role too low",
        "The caller's role does not include this operation.",
        "Ask somebody who has the role that is named, or an administrator for a token of that role.";
    Throttled = "LIMITS_GATEWAY_001", Warning, Operator, retry: true, auto: true,
        "Too many requests",
        "The caller sends more requests than the gateway allows one caller.",
        "Wait as long as the answer says and send fewer, or raise SYNCLINE_GATEWAY_REQUESTS_PER_SECOND.";
    AuditUnavailable = "SYSTEM_AUDIT_001", Error, Platform, retry: true, auto: true,
        "Audit log cannot be written",
        "An operation is refused because what cannot be recorded must not be done.",
        "See whether the gateway reaches PostgreSQL; operations are accepted again by themselves.";
    RequestInvalid = "REQUEST_INVALID_001", Error, Operator, retry: false, auto: false,
        "Request not valid",
        "A field of the request has a value that is not allowed.",
        "Correct the field that is named.";
    RequestTooLarge = "REQUEST_TOO_LARGE_001", Error, Operator, retry: false, auto: false,
        "Request too large",
        "The request is larger than the gateway passes on.",
        "Send less at once.";
    MethodUnknown = "REQUEST_METHOD_001", Error, Operator, retry: false, auto: false,
        "Unknown method",
        "The gateway has no such service or method.",
        "See the services by reflection, or in the folder proto/ of the release.";
    KeyReused = "REQUEST_IDEMPOTENCY_001", Error, Operator, retry: false, auto: false,
        "Idempotency key used for another request",
        "A run was submitted under the same idempotency key by a request with another body.",
        "Use a new key for a new request, or send the same request again.";
    RunState = "SYSTEM_RUN_STATE_001", Error, Operator, retry: false, auto: false,
        "Not possible in the run's state",
        "The run is in a state in which this cannot be asked of it.",
        "See where it stands with `syncline runs show RUN`.";
    RequiredCycle = "SCHEMA_CYCLE_001", Fatal, Operator, retry: false, auto: false,
        "Required references form a cycle",
        "Objects require each other, so that none can be created first.",
        "Make one of the references optional in the target.";
    MaskUndecided = "MASK_UNDECIDED_001", Fatal, Operator, retry: false, auto: false,
        "Classified field without a decision",
        "A field holds personal data by its name, type or standard meaning, and the sync does not say what becomes of it.",
        "Add a rule for the field under `masking.rules` (`preserve` is one), choose a preset, or exclude the field.";
    MaskUnknown = "MASK_UNKNOWN_001", Fatal, Operator, retry: false, auto: false,
        "Masking rule names something unknown",
        "A masking rule or preset names an object, field, strategy or preset that does not exist.",
        "Correct the spelling; nothing is moved until every rule has found its field.";
    MaskStrategy = "MASK_STRATEGY_001", Fatal, Operator, retry: false, auto: false,
        "Strategy does not fit the field",
        "The strategy cannot produce a value that the target's field admits.",
        "Choose another strategy for this field.";
    MaskKey = "MASK_KEY_001", Fatal, Operator, retry: false, auto: false,
        "Masking key missing",
        "There is no masking key, or it is not the one that the target was masked with.",
        "Provide the project's masking key; see the section on keys in the README.";
}

impl ErrorCode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.entry().code
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A code that the catalogue does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a code of the catalogue")]
pub struct UnknownCode(pub String);

impl FromStr for ErrorCode {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL
            .iter()
            .copied()
            .find(|c| c.as_str() == text)
            .ok_or_else(|| UnknownCode(text.chars().take(80).collect()))
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        let mut seen = HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }

    #[test]
    fn every_entry_says_what_to_do() {
        for code in ErrorCode::ALL {
            let entry = code.entry();
            assert!(
                !entry.title.is_empty() && entry.description.ends_with('.') && entry.remedy.ends_with('.'),
                "{code}"
            );
        }
    }

    #[test]
    fn the_seven_quoted_codes_are_there() {
        for code in [
            "SCHEMA_PICKLIST_001",
            "DATA_VALIDATION_RULE_001",
            "LIMITS_API_DAILY_001",
            "AUTH_TOKEN_EXPIRED",
            "AUTOMATION_TRIGGER_FAILURE",
            "NETWORK_TIMEOUT",
            "SYSTEM_INTERNAL_ERROR",
        ] {
            assert!(code.parse::<ErrorCode>().is_ok(), "{code}");
        }
    }
}
