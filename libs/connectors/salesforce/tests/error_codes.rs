//! Every error code that Salesforce documents for a mover, walked from a list that is not the connector's own: each has
//! one entry of the catalogue, the retry class of the list, and none ends in the bucket for codes that nobody knows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use syncline_domain::ErrorCode;
use syncline_domain::catalogue::Blame;
use syncline_salesforce::error::{Retry, catalogue_code, retry, retry_class};

/// Codes that stay in the generic bucket, by decision. There is none.
const GENERIC: &[&str] = &[];

use Blame::{Operator, Platform, Source, Target};
use syncline_domain::ErrorCode as E;

/// Code, a message that it comes with, and what it must become.
#[rustfmt::skip]
const EXPECTED: &[(&str, &str, ErrorCode, Retry, Blame)] = &[
    ("INVALID_SESSION_ID", "Session expired or invalid", E::TokenExpired, Retry::SignIn, Platform),
    ("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", E::RequestForm, Retry::Never, Platform),
    ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", E::DailyApiLimit, Retry::Wait, Target),
    ("REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded.", E::RateLimited, Retry::BackOff, Target),
    ("API_DISABLED_FOR_ORG", "", E::Permission, Retry::Never, Operator),
    ("API_CURRENTLY_DISABLED", "", E::Permission, Retry::Never, Operator),
    ("FUNCTIONALITY_NOT_ENABLED", "", E::Permission, Retry::Never, Operator),
    ("INSUFFICIENT_ACCESS", "", E::Permission, Retry::Never, Operator),
    ("INSUFFICIENT_ACCESS_OR_READONLY", "", E::Permission, Retry::Never, Operator),
    ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "insufficient access rights on cross-reference id: 00X", E::Reference, Retry::Never, Source),
    ("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", E::Reference, Retry::Never, Source),
    ("INVALID_CROSS_REFERENCE_TYPE_FOR_FIELD", "", E::Reference, Retry::Never, Source),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: execution of BeforeInsert caused by: System.NullPointerException", E::TriggerFailure, Retry::Never, Target),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: execution of BeforeInsert caused by: UNABLE_TO_LOCK_ROW", E::RowLocked, Retry::BackOff, Target),
    ("CANNOT_EXECUTE_FLOW_TRIGGER", "", E::TriggerFailure, Retry::Never, Target),
    ("FLOW_EXCEPTION", "", E::TriggerFailure, Retry::Never, Target),
    ("SELF_REFERENCE_FROM_TRIGGER", "", E::TriggerFailure, Retry::Never, Target),
    ("MAX_DEPTH_IN_FLOW_EXECUTION", "", E::TriggerFailure, Retry::Never, Target),
    ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "", E::ValidationRule, Retry::Never, Target),
    ("FIELD_FILTER_VALIDATION_EXCEPTION", "", E::ValidationRule, Retry::Never, Target),
    ("FIELD_INTEGRITY_EXCEPTION", "", E::ValidationRule, Retry::Never, Target),
    ("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", E::RequiredValue, Retry::Never, Source),
    ("INVALID_FIELD", "No such column 'x' on sobject of type Y", E::FieldMissing, Retry::Never, Operator),
    ("INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: CreatedDate.", E::Permission, Retry::Never, Operator),
    ("INVALID_TYPE", "", E::ObjectMissing, Retry::Never, Operator),
    ("INVALID_TYPE_FOR_OPERATION", "", E::ObjectMissing, Retry::Never, Operator),
    ("INVALID_TYPE_ON_FIELD_IN_RECORD", "", E::DataFormat, Retry::Never, Source),
    ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "bad value for restricted picklist field: X", E::PicklistValue, Retry::Never, Operator),
    ("STRING_TOO_LONG", "data value too large", E::DataFormat, Retry::Never, Source),
    ("NUMBER_OUTSIDE_VALID_RANGE", "", E::DataFormat, Retry::Never, Source),
    ("MALFORMED_ID", "id value of incorrect type", E::DataFormat, Retry::Never, Source),
    ("INVALID_EMAIL_ADDRESS", "", E::DataFormat, Retry::Never, Source),
    ("DUPLICATE_VALUE", "duplicate value found", E::Duplicate, Retry::Never, Target),
    ("DUPLICATE_EXTERNAL_ID", "", E::Duplicate, Retry::Never, Target),
    ("DUPLICATES_DETECTED", "", E::Duplicate, Retry::Never, Target),
    ("DUPLICATE_USERNAME", "", E::Duplicate, Retry::Never, Target),
    ("DUPLICATE_COMM_NICKNAME", "", E::Duplicate, Retry::Never, Target),
    ("LICENSE_LIMIT_EXCEEDED", "", E::PlatformLimit, Retry::Never, Target),
    ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", E::RowLocked, Retry::BackOff, Target),
    ("ENTITY_IS_DELETED", "entity is deleted", E::Reference, Retry::Never, Source),
    ("ENTITY_IS_LOCKED", "", E::RecordFrozen, Retry::Never, Target),
    ("ENTITY_IS_ARCHIVED", "", E::RecordFrozen, Retry::Never, Target),
    ("NOT_FOUND", "The requested resource does not exist", E::ObjectMissing, Retry::Never, Operator),
    ("METHOD_NOT_ALLOWED", "", E::RequestForm, Retry::Never, Platform),
    ("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded", E::Storage, Retry::Wait, Target),
    ("EXCEEDED_QUOTA", "", E::Storage, Retry::Wait, Target),
    ("LIMIT_EXCEEDED", "", E::PlatformLimit, Retry::Never, Target),
    ("TOO_MANY_ENUM_VALUE", "", E::PlatformLimit, Retry::Never, Target),
    ("CUSTOM_CLOB_FIELD_LIMIT_EXCEEDED", "", E::PlatformLimit, Retry::Never, Target),
    ("INACTIVE_OWNER_OR_USER", "", E::OwnerMissing, Retry::Never, Operator),
    ("TRANSFER_REQUIRES_READ", "", E::OwnerMissing, Retry::Never, Operator),
    ("OP_WITH_INVALID_USER_TYPE_EXCEPTION", "", E::OwnerMissing, Retry::Never, Operator),
    ("CANNOT_REPARENT_RECORD", "", E::ValidationRule, Retry::Never, Target),
    ("CANNOT_UPDATE_CONVERTED_LEAD", "", E::RecordFrozen, Retry::Never, Target),
    ("CIRCULAR_DEPENDENCY", "", E::ValidationRule, Retry::Never, Target),
    ("CIRCULAR_OBJECT_GRAPH", "", E::ValidationRule, Retry::Never, Target),
    ("STANDARD_PRICE_NOT_DEFINED", "", E::Reference, Retry::Never, Source),
    ("INVALID_PERSON_ACCOUNT_OPERATION", "", E::ValidationRule, Retry::Never, Target),
    ("PRIVATE_CONTACT_ON_ASSET", "", E::ValidationRule, Retry::Never, Target),
    ("INVALID_CURRENCY_ISO", "", E::PicklistValue, Retry::Never, Operator),
    ("DELETE_FAILED", "", E::ValidationRule, Retry::Never, Target),
    ("DEPENDENCY_EXISTS", "", E::ValidationRule, Retry::Never, Target),
    ("DELETE_REQUIRED_ON_CASCADE", "", E::Permission, Retry::Never, Operator),
    ("ALL_OR_NONE_OPERATION_ROLLED_BACK", "Record rolled back", E::JobFailed, Retry::BackOff, Target),
    ("PROCESSING_HALTED", "The transaction was rolled back", E::JobFailed, Retry::BackOff, Target),
    ("MIXED_DML_OPERATION", "", E::ObjectsMixed, Retry::Never, Platform),
    ("UNSUPPORTED_DML", "", E::ObjectsMixed, Retry::Never, Platform),
    ("TXN_SECURITY_NO_ACCESS", "", E::Permission, Retry::Never, Operator),
    ("TXN_SECURITY_METERING_ERROR", "", E::RateLimited, Retry::BackOff, Target),
    ("TXN_SECURITY_RUNTIME_ERROR", "", E::RateLimited, Retry::BackOff, Target),
    ("TXN_SECURITY_APEX_ERROR", "", E::TriggerFailure, Retry::Never, Target),
    ("MALFORMED_QUERY", "unexpected token", E::Query, Retry::Never, Operator),
    ("INVALID_QUERY_FILTER_OPERATOR", "", E::Query, Retry::Never, Operator),
    ("QUERY_TOO_COMPLICATED", "", E::Query, Retry::Never, Operator),
    ("INVALID_QUERY_LOCATOR", "invalid query locator", E::JobFailed, Retry::BackOff, Target),
    ("QUERY_TIMEOUT", "", E::TooMuch, Retry::Smaller, Target),
    ("REQUEST_RUNNING_TOO_LONG", "", E::TooMuch, Retry::Smaller, Target),
    ("OPERATION_TOO_LARGE", "", E::TooMuch, Retry::Smaller, Target),
    ("EXCEEDED_ID_LIMIT", "", E::TooMuch, Retry::Smaller, Target),
    ("EXCEEDED_MAX_SIZE_REQUEST", "", E::TooMuch, Retry::Smaller, Target),
    ("JSON_PARSER_ERROR", "", E::RequestForm, Retry::Never, Platform),
    ("XML_PARSER_ERROR", "", E::RequestForm, Retry::Never, Platform),
    ("UNSUPPORTED_API_VERSION", "", E::ApiVersion, Retry::Never, Operator),
    ("INVALID_VERSION", "", E::ApiVersion, Retry::Never, Operator),
    ("GONE", "", E::ApiVersion, Retry::Never, Operator),
    ("SERVER_UNAVAILABLE", "", E::Unreachable, Retry::BackOff, Platform),
    ("UNKNOWN_EXCEPTION", "ErrorId: 1", E::BadAnswer, Retry::BackOff, Platform),
    ("INTERNAL_ERROR", "ErrorId: 1", E::BadAnswer, Retry::BackOff, Platform),
    ("TOO_MANY_APEX_REQUESTS", "", E::RateLimited, Retry::BackOff, Target),
    ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", "", E::Unreachable, Retry::BackOff, Platform),
    ("ORG_LOCKED", "", E::Credentials, Retry::Never, Operator),
    ("TRIAL_EXPIRED", "", E::Credentials, Retry::Never, Operator),
    ("PASSWORD_LOCKOUT", "", E::Credentials, Retry::Never, Operator),
    ("LOGIN_DURING_RESTRICTED_DOMAIN", "", E::Credentials, Retry::Never, Operator),
    ("LOGIN_DURING_RESTRICTED_TIME", "", E::Credentials, Retry::Never, Operator),
    ("CLIENT_NOT_ACCESSIBLE_FOR_USER", "", E::Permission, Retry::Never, Operator),
    ("UNSUPPORTED_CLIENT", "", E::Permission, Retry::Never, Operator),
    ("INVALID_IDEMPOTENCY_KEY", "", E::RequestForm, Retry::Never, Platform),
    ("IDEMPOTENCY_FEATURE_NOT_ENABLED", "", E::RequestForm, Retry::Never, Platform),
    ("IDEMPOTENCY_NOT_SUPPORTED", "", E::RequestForm, Retry::Never, Platform),
];

/// Codes and their classes as the list writes them: several to a line, `A / _B` and `A/B` for a shared beginning.
fn listed() -> BTreeMap<String, Vec<Retry>> {
    let mut reader = csv::Reader::from_reader(include_bytes!("data/error-codes.csv").as_slice());
    let mut codes = BTreeMap::new();
    for row in reader.records() {
        let row = row.unwrap();
        for group in row[0].split(',') {
            let mut words = group.split('/').map(|w| w.split('(').next().unwrap().trim());
            let whole = words.next().unwrap();
            codes.insert(whole.to_owned(), classes(&row[3]));
            for tail in words {
                // `TXN_SECURITY_NO_ACCESS / _METERING_ERROR` shares two words, `..._RESTRICTED_DOMAIN/TIME` all but the last.
                let code = match tail.strip_prefix('_') {
                    Some(tail) => format!("{}_{tail}", whole.split('_').take(2).collect::<Vec<_>>().join("_")),
                    None => format!("{}_{tail}", whole.rsplit_once('_').unwrap().0),
                };
                codes.insert(code, classes(&row[3]));
            }
        }
    }
    codes
}

fn classes(text: &str) -> Vec<Retry> {
    match text {
        "restart query" | "retry after fixing culprit" => return vec![Retry::BackOff],
        "" => panic!("a code without a class"),
        _ => {}
    }
    let class = |c: char| match c {
        'A' => Some(Retry::SignIn),
        'F' => Some(Retry::Never),
        'R' => Some(Retry::BackOff),
        'S' => Some(Retry::Smaller),
        'W' => Some(Retry::Wait),
        _ => None,
    };
    text.chars().filter(char::is_ascii_uppercase).filter_map(class).collect()
}

#[test]
fn every_documented_code_has_its_entry_and_its_retry_class() {
    let listed = listed();
    for (native, message, code, class, blame) in EXPECTED {
        let found = catalogue_code(native, message).unwrap_or_else(|| panic!("{native} is not in the connector's table"));
        assert_eq!(found, *code, "{native} {message}");
        assert_eq!(found.entry().blame, *blame, "{native}");
        assert_eq!(retry(native, message), *class, "{native} {message}");
        let allowed = listed.get(*native).unwrap_or_else(|| panic!("{native} is not in the list"));
        assert!(allowed.contains(class), "{native}: {class:?} is not among {allowed:?}");
    }
}

#[test]
fn no_documented_code_is_forgotten_or_generic() {
    let listed = listed();
    assert_eq!(listed.len(), 98, "{:?}", listed.keys());
    for native in listed.keys() {
        assert!(EXPECTED.iter().any(|(n, ..)| n == native), "{native} is listed and not expected");
        let generic = catalogue_code(native, "") == Some(ErrorCode::TargetRefused);
        assert_eq!(generic, GENERIC.contains(&native.as_str()), "{native}");
    }
}

#[test]
fn only_what_is_worth_the_same_request_again_says_so() {
    for code in ErrorCode::ALL {
        let again = matches!(retry_class(*code), Retry::BackOff | Retry::SignIn);
        let waits = retry_class(*code) == Retry::Wait;
        assert!(waits || again == code.entry().can_retry, "{code}");
    }
}
