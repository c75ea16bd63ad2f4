//! What Salesforce calls an error, and what the catalogue calls it.
//!
//! One table decides: [`RULES`]. It covers the REST codes, the record codes and the words in front of a bulk job's
//! `errorMessage`. No message of Salesforce is passed on as it stands, because record errors quote values: only the
//! code, names of fields and objects, and a position in a query survive.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use syncline_connect::ConnectError;
use syncline_connect::target::Refusal;
use syncline_domain::ErrorCode;

/// One line of the table: the first whose code is equal (letter case aside) and whose `when` stands in the message wins.
struct Rule {
    native: &'static str,
    when: Option<&'static str>,
    code: ErrorCode,
}

const fn rule(native: &'static str, code: ErrorCode) -> Rule {
    Rule { native, when: None, code }
}

const fn rule_when(native: &'static str, when: &'static str, code: ErrorCode) -> Rule {
    Rule {
        native,
        when: Some(when),
        code,
    }
}

/// Fact: "Salesforce SOAP API Developer Guide, Core Data Types, StatusCode" and "Bulk API 2.0, errors".
#[rustfmt::skip]
static RULES: &[Rule] = &[
    // Sessions, apps, org state.
    rule("INVALID_SESSION_ID", ErrorCode::TokenExpired),
    rule("INVALID_AUTH_HEADER", ErrorCode::RequestForm),
    rule("API_DISABLED_FOR_ORG", ErrorCode::Permission),
    rule("API_CURRENTLY_DISABLED", ErrorCode::Permission),
    rule("FUNCTIONALITY_NOT_ENABLED", ErrorCode::Permission),
    rule("CLIENT_NOT_ACCESSIBLE_FOR_USER", ErrorCode::Permission),
    rule("UNSUPPORTED_CLIENT", ErrorCode::Permission),
    rule("ORG_LOCKED", ErrorCode::Credentials),
    rule("TRIAL_EXPIRED", ErrorCode::Credentials),
    rule("PASSWORD_LOCKOUT", ErrorCode::Credentials),
    rule("LOGIN_DURING_RESTRICTED_DOMAIN", ErrorCode::Credentials),
    rule("LOGIN_DURING_RESTRICTED_TIME", ErrorCode::Credentials),
    rule("TXN_SECURITY_NO_ACCESS", ErrorCode::Permission),
    rule("TXN_SECURITY_METERING_ERROR", ErrorCode::RateLimited),
    rule("TXN_SECURITY_RUNTIME_ERROR", ErrorCode::RateLimited),
    rule("TXN_SECURITY_APEX_ERROR", ErrorCode::TriggerFailure),
    // Limits.
    rule_when("REQUEST_LIMIT_EXCEEDED", "Concurrent", ErrorCode::RateLimited),
    rule("REQUEST_LIMIT_EXCEEDED", ErrorCode::DailyApiLimit),
    rule("STORAGE_LIMIT_EXCEEDED", ErrorCode::Storage),
    rule("EXCEEDED_QUOTA", ErrorCode::Storage),
    rule_when("LIMIT_EXCEEDED", "job", ErrorCode::BulkLimit),
    rule_when("LIMIT_EXCEEDED", "24 hour", ErrorCode::BulkLimit),
    rule("LIMIT_EXCEEDED", ErrorCode::PlatformLimit),
    rule("TOO_MANY_ENUM_VALUE", ErrorCode::PlatformLimit),
    rule("CUSTOM_CLOB_FIELD_LIMIT_EXCEEDED", ErrorCode::PlatformLimit),
    rule("LICENSE_LIMIT_EXCEEDED", ErrorCode::PlatformLimit),
    rule("EXCEEDED_ID_LIMIT", ErrorCode::TooMuch),
    rule("EXCEEDED_MAX_SIZE_REQUEST", ErrorCode::TooMuch),
    // The service itself.
    rule("SERVER_UNAVAILABLE", ErrorCode::Unreachable),
    rule("UNKNOWN_EXCEPTION", ErrorCode::BadAnswer),
    rule("INTERNAL_ERROR", ErrorCode::BadAnswer),
    rule("TOO_MANY_APEX_REQUESTS", ErrorCode::RateLimited),
    rule("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", ErrorCode::Unreachable),
    rule("UNSUPPORTED_API_VERSION", ErrorCode::ApiVersion),
    rule("INVALID_VERSION", ErrorCode::ApiVersion),
    rule("GONE", ErrorCode::ApiVersion),
    rule("METHOD_NOT_ALLOWED", ErrorCode::RequestForm),
    rule("JSON_PARSER_ERROR", ErrorCode::RequestForm),
    rule("XML_PARSER_ERROR", ErrorCode::RequestForm),
    rule("INVALID_IDEMPOTENCY_KEY", ErrorCode::RequestForm),
    rule("IDEMPOTENCY_FEATURE_NOT_ENABLED", ErrorCode::RequestForm),
    rule("IDEMPOTENCY_NOT_SUPPORTED", ErrorCode::RequestForm),
    // Queries.
    rule("MALFORMED_QUERY", ErrorCode::Query),
    rule("INVALID_QUERY_FILTER_OPERATOR", ErrorCode::Query),
    rule("QUERY_TOO_COMPLICATED", ErrorCode::Query),
    rule("OPERATION_TOO_LARGE", ErrorCode::TooMuch),
    rule("INVALID_QUERY_LOCATOR", ErrorCode::JobFailed),
    rule("QUERY_TIMEOUT", ErrorCode::TooMuch),
    rule("REQUEST_RUNNING_TOO_LONG", ErrorCode::TooMuch),
    // Schema.
    rule("NOT_FOUND", ErrorCode::ObjectMissing),
    rule("INVALID_TYPE", ErrorCode::ObjectMissing),
    rule("INVALID_TYPE_FOR_OPERATION", ErrorCode::ObjectMissing),
    rule("INVALID_TYPE_ON_FIELD_IN_RECORD", ErrorCode::DataFormat),
    rule("INVALID_FIELD", ErrorCode::FieldMissing),
    // Permissions on records and fields.
    rule("INVALID_FIELD_FOR_INSERT_UPDATE", ErrorCode::Permission),
    rule("INSUFFICIENT_ACCESS", ErrorCode::Permission),
    rule("INSUFFICIENT_ACCESS_OR_READONLY", ErrorCode::Permission),
    rule("CANNOT_UPDATE_CONVERTED_LEAD", ErrorCode::RecordFrozen),
    rule("DELETE_REQUIRED_ON_CASCADE", ErrorCode::Permission),
    rule("ENTITY_IS_LOCKED", ErrorCode::RecordFrozen),
    rule("ENTITY_IS_ARCHIVED", ErrorCode::RecordFrozen),
    // Values.
    rule("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ErrorCode::PicklistValue),
    rule("INVALID_CURRENCY_ISO", ErrorCode::PicklistValue),
    rule("REQUIRED_FIELD_MISSING", ErrorCode::RequiredValue),
    rule("STRING_TOO_LONG", ErrorCode::DataFormat),
    rule("NUMBER_OUTSIDE_VALID_RANGE", ErrorCode::DataFormat),
    rule("MALFORMED_ID", ErrorCode::DataFormat),
    rule("INVALID_EMAIL_ADDRESS", ErrorCode::DataFormat),
    rule("DUPLICATE_VALUE", ErrorCode::Duplicate),
    rule("DUPLICATE_EXTERNAL_ID", ErrorCode::Duplicate),
    rule("DUPLICATES_DETECTED", ErrorCode::Duplicate),
    rule("DUPLICATE_USERNAME", ErrorCode::Duplicate),
    rule("DUPLICATE_COMM_NICKNAME", ErrorCode::Duplicate),
    // References and owners.
    rule("INVALID_CROSS_REFERENCE_KEY", ErrorCode::Reference),
    rule("INVALID_CROSS_REFERENCE_TYPE_FOR_FIELD", ErrorCode::Reference),
    rule("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", ErrorCode::Reference),
    rule("ENTITY_IS_DELETED", ErrorCode::Reference),
    rule("STANDARD_PRICE_NOT_DEFINED", ErrorCode::Reference),
    rule("INACTIVE_OWNER_OR_USER", ErrorCode::OwnerMissing),
    rule("TRANSFER_REQUIRES_READ", ErrorCode::OwnerMissing),
    rule("OP_WITH_INVALID_USER_TYPE_EXCEPTION", ErrorCode::OwnerMissing),
    // Rules and automation. A lock inside a trigger passes by itself, the trigger's own failure does not.
    rule("UNABLE_TO_LOCK_ROW", ErrorCode::RowLocked),
    rule_when("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "UNABLE_TO_LOCK_ROW", ErrorCode::RowLocked),
    rule("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", ErrorCode::TriggerFailure),
    rule("CANNOT_EXECUTE_FLOW_TRIGGER", ErrorCode::TriggerFailure),
    rule("FLOW_EXCEPTION", ErrorCode::TriggerFailure),
    rule("SELF_REFERENCE_FROM_TRIGGER", ErrorCode::TriggerFailure),
    rule("MAX_DEPTH_IN_FLOW_EXECUTION", ErrorCode::TriggerFailure),
    rule("FIELD_CUSTOM_VALIDATION_EXCEPTION", ErrorCode::ValidationRule),
    rule("FIELD_FILTER_VALIDATION_EXCEPTION", ErrorCode::ValidationRule),
    rule("FIELD_INTEGRITY_EXCEPTION", ErrorCode::ValidationRule),
    rule("CANNOT_REPARENT_RECORD", ErrorCode::ValidationRule),
    rule("CIRCULAR_DEPENDENCY", ErrorCode::ValidationRule),
    rule("CIRCULAR_OBJECT_GRAPH", ErrorCode::ValidationRule),
    rule("INVALID_PERSON_ACCOUNT_OPERATION", ErrorCode::ValidationRule),
    rule("PRIVATE_CONTACT_ON_ASSET", ErrorCode::ValidationRule),
    rule("DELETE_FAILED", ErrorCode::ValidationRule),
    rule("DEPENDENCY_EXISTS", ErrorCode::ValidationRule),
    // Innocent neighbours of a failed record.
    rule("ALL_OR_NONE_OPERATION_ROLLED_BACK", ErrorCode::JobFailed),
    rule("PROCESSING_HALTED", ErrorCode::JobFailed),
    rule("MIXED_DML_OPERATION", ErrorCode::ObjectsMixed),
    rule("UNSUPPORTED_DML", ErrorCode::ObjectsMixed),
    // Bulk API 2.0, in front of a job's errorMessage, and in capitals as errorCode of its resources.
    rule("ClientInputError", ErrorCode::RequestForm),
    rule("ExceededQuota", ErrorCode::BulkLimit),
    rule_when("FeatureNotEnabled", "Query", ErrorCode::Query),
    rule("FeatureNotEnabled", ErrorCode::Permission),
    rule_when("InvalidBatch", "Field name not found", ErrorCode::FieldMissing),
    rule_when("InvalidBatch", "does not match an External ID", ErrorCode::FieldMissing),
    rule_when("InvalidBatch", "Records not processed", ErrorCode::JobFailed),
    rule("InvalidBatch", ErrorCode::RequestForm),
    rule("InvalidEntity", ErrorCode::ObjectMissing),
    rule("InvalidJob", ErrorCode::JobFailed),
    rule("InvalidJobState", ErrorCode::JobFailed),
    rule("InvalidOperation", ErrorCode::RequestForm),
    rule("InvalidSessionId", ErrorCode::TokenExpired),
    rule("InvalidUrl", ErrorCode::RequestForm),
    rule("InvalidUser", ErrorCode::Permission),
    rule("InvalidXML", ErrorCode::RequestForm),
    rule("MethodNotAllowed", ErrorCode::RequestForm),
    rule("NotFound", ErrorCode::ObjectMissing),
    rule("Timeout", ErrorCode::NetworkTimeout),
    rule("TooManyLockFailure", ErrorCode::RowLocked),
    rule("Unknown", ErrorCode::JobFailed),
];

/// Codes that pass, but not for the same request within minutes: allocations free up over hours, and what became of a
/// job is not changed by asking again. The stages retry these.
#[must_use]
pub(crate) fn is_for_the_stage(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DailyApiLimit | ErrorCode::BulkLimit | ErrorCode::JobFailed)
}

/// Whether an answer of this status may be another one next time. What the org's own code says never passes, does not. A 4xx
/// with a code that passes (a locked row) is asked again; the other statuses are those that the policy lists.
#[must_use]
pub(crate) fn may_pass(error: &ConnectError, status: u16, statuses: &BTreeSet<u16>) -> bool {
    if is_for_the_stage(error.code) {
        return false;
    }
    if statuses.contains(&status) {
        // The code that only repeats the status says nothing more.
        return error.can_retry() || error.code == code_of_status(status);
    }
    error.can_retry() && (300..500).contains(&status) && !matches!(status, 408 | 429)
}

/// The catalogue's code for one of Salesforce's, `None` when the table does not know it.
#[must_use]
pub fn catalogue_code(native: &str, message: &str) -> Option<ErrorCode> {
    RULES
        .iter()
        .find(|r| r.native.eq_ignore_ascii_case(native) && r.when.is_none_or(|w| message.contains(w)))
        .map(|r| r.code)
}

/// What can be done about an error, besides mending its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: the same request fails again until a person changes data or configuration.
    Never,
    /// The same request, after growing pauses.
    BackOff,
    /// The same question in smaller parts.
    Smaller,
    /// The same request under a new token, once.
    SignIn,
    /// The same request when an allocation has freed up: hours, or somebody's work.
    Wait,
}

/// The class of one of Salesforce's codes; one that the table does not know is not tried again.
#[must_use]
pub fn retry(native: &str, message: &str) -> Retry {
    catalogue_code(native, message).map_or(Retry::Never, retry_class)
}

/// The class of an entry of the catalogue.
#[must_use]
pub fn retry_class(code: ErrorCode) -> Retry {
    match code {
        ErrorCode::TokenExpired => Retry::SignIn,
        ErrorCode::TooMuch => Retry::Smaller,
        ErrorCode::DailyApiLimit | ErrorCode::BulkLimit | ErrorCode::Storage => Retry::Wait,
        other if other.entry().can_retry => Retry::BackOff,
        _ => Retry::Never,
    }
}

/// One element of an error body. `statusCode` stands where records are answered for, `errorCode` elsewhere; some
/// answers have both. Either may be of another type where a proxy has answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiError {
    #[serde(default)]
    error_code: Value,
    #[serde(default)]
    status_code: Value,
    #[serde(default)]
    message: Value,
}

impl ApiError {
    fn code(&self) -> Option<&str> {
        [&self.error_code, &self.status_code]
            .into_iter()
            .filter_map(Value::as_str)
            .find(|c| is_code(c))
    }
}

/// The error that an unsuccessful answer stands for. `what` names the request without its query.
#[must_use]
pub(crate) fn from_answer(what: &str, status: u16, body: &[u8], retry_after: Option<Duration>) -> ConnectError {
    let first = serde_json::from_slice::<Vec<ApiError>>(body)
        .ok()
        .and_then(|errors| errors.into_iter().next())
        .or_else(|| serde_json::from_slice::<ApiError>(body).ok());
    let Some((native, message)) = first
        .as_ref()
        .and_then(|e| Some((e.code()?, e.message.as_str().unwrap_or_default())))
    else {
        return not_an_api_answer(what, status, body).retry_after(retry_after);
    };
    let code = catalogue_code(native, message).unwrap_or_else(|| code_of_status(status));
    ConnectError::new(code, format!("{what}: HTTP {status} {native}{}", detail(message)))
        .native(native)
        .retry_after(retry_after)
}

fn not_an_api_answer(what: &str, status: u16, body: &[u8]) -> ConnectError {
    if is_html(body) {
        return ConnectError::new(ErrorCode::BadAnswer, format!("{what}: HTTP {status} with a page instead of data"));
    }
    match status {
        // The body lists the records (REST API, sObject Rows by External ID).
        300 => ConnectError::new(ErrorCode::Duplicate, format!("{what}: HTTP 300, several records have this key"))
            .native("DUPLICATE_EXTERNAL_ID"),
        301 | 302 | 303 | 307 | 308 => ConnectError::new(
            ErrorCode::BadAnswer,
            format!("{what}: HTTP {status} to another address, which is not followed"),
        ),
        _ => ConnectError::new(code_of_status(status), format!("{what}: HTTP {status} without an error code")),
    }
}

/// Maintenance and proxy pages; the API itself never answers with markup unless XML is asked for.
pub(crate) fn is_html(body: &[u8]) -> bool {
    body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'<')
}

fn code_of_status(status: u16) -> ErrorCode {
    match status {
        401 => ErrorCode::Credentials,
        403 => ErrorCode::Permission,
        404 => ErrorCode::ObjectMissing,
        408 | 504 => ErrorCode::NetworkTimeout,
        429 => ErrorCode::RateLimited,
        502 | 503 => ErrorCode::Unreachable,
        400..=499 => ErrorCode::TargetRefused,
        _ => ErrorCode::BadAnswer,
    }
}

/// The error in a bulk job's `errorMessage`, which has the form `Code : text`.
#[must_use]
pub fn job_error(what: &str, text: &str) -> ConnectError {
    let (head, rest) = text.split_once(':').unwrap_or((text, ""));
    let head = head.trim();
    if !is_code(head) {
        return ConnectError::new(ErrorCode::JobFailed, format!("{what} failed without a code"));
    }
    let code = catalogue_code(head, rest).unwrap_or(ErrorCode::JobFailed);
    ConnectError::new(code, format!("{what} failed: {head}{}", detail(rest))).native(head)
}

/// The error of a query job. One that ran out of time does so again: smaller parts may not (Bulk API 2.0, query jobs, are
/// tried up to 15 times by the platform itself).
#[must_use]
pub fn query_job_error(text: &str) -> ConnectError {
    let mut error = job_error("the query job", text);
    if error.code == ErrorCode::NetworkTimeout || text.contains("QUERY_TIMEOUT") || text.contains("Retried more than") {
        error.code = ErrorCode::TooMuch;
    }
    error
}

/// What a refused row's `sf__Error` says: `CODE:message:field1,field2 --`. The message is dropped.
#[must_use]
pub fn refusal(text: &str) -> Refusal {
    let (head, rest) = text.split_once(':').unwrap_or((text, ""));
    let head = head.trim();
    let native = if is_code(head) { head } else { "UNRECOGNISED" };
    let fields = rest
        .trim_end()
        .strip_suffix("--")
        .and_then(|r| r.rsplit_once(':'))
        .map(|(_, fields)| fields.split(',').map(str::trim).filter(|f| is_name(f)).map(str::to_owned).collect())
        .unwrap_or_default();
    Refusal {
        code: catalogue_code(native, rest).unwrap_or(ErrorCode::TargetRefused),
        native: native.to_owned(),
        fields,
    }
}

/// What an element of a record's `errors` says.
#[must_use]
pub(crate) fn record_refusal(native: &str, message: &str, fields: Vec<String>) -> Refusal {
    let native = if is_code(native) { native } else { "UNRECOGNISED" };
    Refusal {
        code: catalogue_code(native, message).unwrap_or(ErrorCode::TargetRefused),
        native: native.to_owned(),
        fields: fields.into_iter().filter(|f| is_name(f)).collect(),
    }
}

/// What may be told of a message: the position in a query, and a name that was not found.
fn detail(message: &str) -> String {
    let mut out = String::new();
    for (before, after) in [
        ("No such column '", "'"),
        ("sObject type '", "'"),
        ("Field name not found : ", ""),
        ("Field name provided, ", " does not match"),
        ("Entity '", "'"),
    ] {
        let Some((_, rest)) = message.split_once(before) else { continue };
        let name = if after.is_empty() {
            rest.split_whitespace().next().unwrap_or_default()
        } else {
            rest.split_once(after).map_or("", |(name, _)| name)
        };
        if is_name(name) {
            out.push_str(" `");
            out.push_str(name);
            out.push('`');
            break;
        }
    }
    if let Some((_, rest)) = message.split_once("ERROR at Row:") {
        let (row, rest) = number(rest);
        let (column, _) = number(rest.strip_prefix(":Column:").unwrap_or_default());
        if !row.is_empty() && !column.is_empty() {
            out.push_str(" at row ");
            out.push_str(row);
            out.push_str(", column ");
            out.push_str(column);
        }
    }
    out
}

fn number(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.len() <= 80 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 250
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

#[cfg(test)]
mod tests {
    use syncline_connect::retry::RetryPolicy;

    use super::*;

    /// These pass by themselves.
    const PASSING: &[&str] = &[
        "UNABLE_TO_LOCK_ROW",
        "TXN_SECURITY_METERING_ERROR",
        "TXN_SECURITY_RUNTIME_ERROR",
        "SERVER_UNAVAILABLE",
        "UNKNOWN_EXCEPTION",
        "INTERNAL_ERROR",
        "TOO_MANY_APEX_REQUESTS",
        "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE",
        "REQUEST_LIMIT_EXCEEDED",
        "INVALID_SESSION_ID",
        "INVALID_QUERY_LOCATOR",
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "PROCESSING_HALTED",
        "ExceededQuota",
        "InvalidJob",
        "InvalidJobState",
        "InvalidSessionId",
        "Timeout",
        "TooManyLockFailure",
        "Unknown",
    ];

    #[test]
    fn only_what_passes_by_itself_is_worth_a_retry() {
        for rule in RULES.iter().filter(|r| r.when.is_none()) {
            let passing = PASSING.contains(&rule.native);
            assert_eq!(rule.code.entry().can_retry, passing, "{}", rule.native);
        }
    }

    #[test]
    fn no_rule_is_hidden_by_an_earlier_one() {
        for (at, rule) in RULES.iter().enumerate() {
            let message = rule.when.unwrap_or_default();
            let found = RULES
                .iter()
                .position(|r| r.native.eq_ignore_ascii_case(rule.native) && r.when.is_none_or(|w| message.contains(w)));
            assert_eq!(found, Some(at), "{} {:?}", rule.native, rule.when);
        }
    }

    #[test]
    fn request_errors_are_read_from_arrays_objects_and_pages() {
        let table: &[(u16, &str, ErrorCode, Option<&str>)] = &[
            (
                403,
                r#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#,
                ErrorCode::DailyApiLimit,
                Some("REQUEST_LIMIT_EXCEEDED"),
            ),
            (
                403,
                r#"[{"message":"ConcurrentPerOrgLongTxn Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#,
                ErrorCode::RateLimited,
                Some("REQUEST_LIMIT_EXCEEDED"),
            ),
            (
                400,
                r#"{"message":"m","statusCode":"STRING_TOO_LONG","fields":[]}"#,
                ErrorCode::DataFormat,
                Some("STRING_TOO_LONG"),
            ),
            (
                400,
                r#"[{"errorCode":"NEVER_HEARD_OF"}]"#,
                ErrorCode::TargetRefused,
                Some("NEVER_HEARD_OF"),
            ),
            (503, "<html><body>Maintenance</body></html>", ErrorCode::BadAnswer, None),
            (503, "", ErrorCode::Unreachable, None),
            (429, "slow down", ErrorCode::RateLimited, None),
            (504, "", ErrorCode::NetworkTimeout, None),
            (302, "", ErrorCode::BadAnswer, None),
            (400, "[]", ErrorCode::TargetRefused, None),
        ];
        for (status, body, code, native) in table {
            let error = from_answer("GET query", *status, body.as_bytes(), None);
            assert_eq!((error.code, error.native.as_deref()), (*code, *native), "{status} {body}");
        }
    }

    #[test]
    fn an_answer_may_pass_if_its_status_is_listed_or_the_org_says_so_with_a_4xx() {
        let of = |status, body: &str| from_answer("GET query", status, body.as_bytes(), None);
        let code = |native: &str| format!(r#"[{{"errorCode":"{native}","message":"m"}}]"#);
        let listed = RetryPolicy::default().statuses;
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(may_pass(&of(status, ""), status, &listed), "{status}");
            assert!(may_pass(&of(status, &code("NEVER_HEARD_OF")), status, &listed), "{status}");
            assert!(!may_pass(&of(status, ""), status, &BTreeSet::new()), "{status} is not listed");
        }
        for (status, body, passes) in [
            (501, String::new(), false),
            (520, String::new(), false),
            (409, String::new(), false),
            (503, code("SERVER_UNAVAILABLE"), true),
            (500, code("INVALID_FIELD"), false),
            (400, code("UNABLE_TO_LOCK_ROW"), true),
            (400, code("MALFORMED_QUERY"), false),
        ] {
            assert_eq!(may_pass(&of(status, &body), status, &listed), passes, "{status} {body}");
        }
        let odd = BTreeSet::from([409, 520]);
        assert!(may_pass(&of(520, "<html></html>"), 520, &odd) && may_pass(&of(409, ""), 409, &odd));
        // An allocation that is used up frees over hours, whatever is listed.
        let daily = of(
            403,
            r#"[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded."}]"#,
        );
        assert!(!may_pass(&daily, 403, &BTreeSet::from([403])));
    }

    #[test]
    fn messages_keep_names_and_positions_but_no_values() {
        let body = r#"[{"message":"\nSELECT Id FROM Account WHERE Name = 'Secret'\n  ^\nERROR at Row:1:Column:21\nNo such column 'Nmae' on entity 'Account'.","errorCode":"INVALID_FIELD"}]"#;
        let error = from_answer("GET query", 400, body.as_bytes(), None);
        assert_eq!(error.message, "GET query: HTTP 400 INVALID_FIELD `Nmae` at row 1, column 21");
        let body = r#"[{"message":"duplicate value found: SSN__c 123-45-6789 duplicates value","errorCode":"DUPLICATE_VALUE"}]"#;
        let error = from_answer("POST x", 400, body.as_bytes(), None);
        assert!(!error.to_string().contains("6789"), "{error}");
    }

    #[test]
    fn refusals_keep_code_and_fields_only() {
        let table: &[(&str, ErrorCode, &str, &[&str])] = &[
            (
                "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --",
                ErrorCode::RequiredValue,
                "REQUIRED_FIELD_MISSING",
                &["Name"],
            ),
            (
                "FIELD_CUSTOM_VALIDATION_EXCEPTION:bad: Smith, John:Phone,Fax__c --",
                ErrorCode::ValidationRule,
                "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                &["Phone", "Fax__c"],
            ),
            (
                "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record:--",
                ErrorCode::RowLocked,
                "UNABLE_TO_LOCK_ROW",
                &[],
            ),
            (
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY:T: execution of BeforeInsert caused by: UNABLE_TO_LOCK_ROW:--",
                ErrorCode::RowLocked,
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                &[],
            ),
            ("NEW_CODE:what:A --", ErrorCode::TargetRefused, "NEW_CODE", &["A"]),
            ("Some text that is no code", ErrorCode::TargetRefused, "UNRECOGNISED", &[]),
            (
                "STRING_TOO_LONG:Name: data value too large: Jane Doe",
                ErrorCode::DataFormat,
                "STRING_TOO_LONG",
                &[],
            ),
            ("", ErrorCode::TargetRefused, "UNRECOGNISED", &[]),
        ];
        for (text, code, native, fields) in table {
            let refusal = refusal(text);
            assert_eq!((refusal.code, refusal.native.as_str()), (*code, *native), "{text}");
            assert_eq!(refusal.fields, *fields, "{text}");
        }
    }

    #[test]
    fn a_query_job_that_ran_out_of_time_asks_for_smaller_parts() {
        for (text, code) in [
            ("QUERY_TIMEOUT : Your query request was running for too long.", ErrorCode::TooMuch),
            ("InternalServerError : Retried more than 15 times", ErrorCode::TooMuch),
            ("Timeout : x", ErrorCode::TooMuch),
            ("InvalidEntity : x", ErrorCode::ObjectMissing),
        ] {
            assert_eq!(query_job_error(text).code, code, "{text}");
        }
    }

    #[test]
    fn job_messages_are_read_by_their_head() {
        let table = [
            (
                "InvalidBatch : Field name not found : Nmae",
                ErrorCode::FieldMissing,
                "job failed: InvalidBatch `Nmae`",
            ),
            (
                "TooManyLockFailure : Too many lock failure",
                ErrorCode::RowLocked,
                "job failed: TooManyLockFailure",
            ),
            ("ExceededQuota : x", ErrorCode::BulkLimit, "job failed: ExceededQuota"),
            (
                "FeatureNotEnabled : OFFSET not supported in Bulk Query",
                ErrorCode::Query,
                "job failed: FeatureNotEnabled",
            ),
            ("Something else went wrong", ErrorCode::JobFailed, "job failed without a code"),
        ];
        for (text, code, message) in table {
            let error = job_error("job", text);
            assert_eq!((error.code, error.message.as_str()), (code, message), "{text}");
        }
    }
}
