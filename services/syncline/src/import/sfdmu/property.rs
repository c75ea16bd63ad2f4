//! Every property of an export.json, and what becomes of it: one table, walked by a test against SFDMU's own schema.

use super::super::json::{Content, Value};

pub struct Property {
    pub name: &'static str,
    pub fate: Fate,
}

pub enum Fate {
    /// The reader of its object looks at it, and says what it can't carry over.
    Read,
    /// Nothing in a sync corresponds to it.
    Listed {
        /// A value that asks for what Syncline does anyway; it needs no note.
        unless: Same,
        why: &'static str,
        instead: &'static str,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Same {
    Never,
    IfFalse,
    IfTrue,
    /// No text, no items.
    IfEmpty,
}

impl Same {
    pub fn holds(self, value: &Value) -> bool {
        match (self, &value.content) {
            // SFDMU takes it as not given.
            (_, Content::Null) | (Self::IfFalse, Content::Bool(false)) | (Self::IfTrue, Content::Bool(true)) => true,
            (Self::IfEmpty, Content::Text(text)) => text.is_empty(),
            (Self::IfEmpty, Content::Array(items)) => items.is_empty(),
            _ => false,
        }
    }
}

const fn read(name: &'static str) -> Property {
    Property { name, fate: Fate::Read }
}

const fn listed(name: &'static str, unless: Same, why: &'static str, instead: &'static str) -> Property {
    Property {
        name,
        fate: Fate::Listed { unless, why, instead },
    }
}

const SIZES: &str = "Syncline sizes its jobs and calls by what the org allows.";
const FILES: &str = "it is about CSV files, and Syncline moves records between orgs.";
const CODE: &str = "add-ons are programs of SFDMU, and Syncline runs nobody else's code.";
const DO_CODE: &str = "Do before or after the run what they do; `syncline run --watch` ends with a number that a script can test.";
const QUERIES: &str = "it steers how SFDMU asks for parents; Syncline reads every object by itself.";
const DELETES: &str = "Syncline deletes only by `existing: replace` and `orphans: delete`.";
const NOTHING: &str = "Nothing has to be done.";

/// Of the whole file.
pub const ROOT: &[Property] = &[
    read("objects"),
    read("objectSets"),
    listed(
        "orgs",
        Same::IfEmpty,
        "a sync names connections, which hold no secret; nothing of this is repeated here.",
        "Make them with `syncline connection add` and name them with --source and --target.",
    ),
    listed(
        "pollingIntervalMs",
        Same::Never,
        "Syncline chooses when it asks for a job.",
        NOTHING,
    ),
    listed(
        "pollingQueryTimeoutMs",
        Same::Never,
        "Syncline decides how long it waits for a job.",
        NOTHING,
    ),
    listed(
        "concurrencyMode",
        Same::Never,
        "Syncline decides how many jobs run beside each other.",
        NOTHING,
    ),
    listed("bulkThreshold", Same::Never, SIZES, NOTHING),
    listed("queryBulkApiThreshold", Same::Never, SIZES, NOTHING),
    listed("bulkApiVersion", Same::Never, "Syncline moves records by Bulk API 2.0.", NOTHING),
    listed("bulkApiV1BatchSize", Same::Never, SIZES, NOTHING),
    listed("restApiBatchSize", Same::Never, SIZES, NOTHING),
    listed(
        "allOrNone",
        Same::IfFalse,
        "a record that the target refuses stops no other.",
        "Look at `syncline report`: every refused record is in it, with its code.",
    ),
    listed(
        "promptOnMissingParentObjects",
        Same::IfFalse,
        "Syncline never asks in the middle of a run.",
        "Run `syncline check` first: it says which parents are missing.",
    ),
    listed("promptOnIssuesInCSVFiles", Same::IfFalse, FILES, NOTHING),
    listed(
        "validateCSVFilesOnly",
        Same::IfFalse,
        FILES,
        "To look without moving anything, run `syncline check`.",
    ),
    listed(
        "apiVersion",
        Same::Never,
        "the version belongs to a connection.",
        "Give it there, as `api_version`.",
    ),
    listed(
        "proxyUrl",
        Same::IfEmpty,
        "a sync names no proxy.",
        "Let the network route the calls of Syncline's services.",
    ),
    listed(
        "createTargetCSVFiles",
        Same::IfFalse,
        "no file is written for what was loaded.",
        "`syncline report` has every record's fate, by count and code.",
    ),
    listed("importCSVFilesAsIs", Same::IfFalse, FILES, NOTHING),
    listed("excludeIdsFromCSVFiles", Same::IfFalse, FILES, NOTHING),
    listed(
        "keepObjectOrderWhileExecute",
        Same::IfFalse,
        "Syncline loads parents first, whatever the order in the file.",
        NOTHING,
    ),
    listed(
        "allowFieldTruncation",
        Same::IfFalse,
        "no value is cut.",
        "`syncline check` names fields that are shorter in the target; make them longer or exclude them.",
    ),
    listed(
        "alwaysUseRestApiToUpdateRecords",
        Same::IfFalse,
        "Syncline moves records by Bulk API 2.0.",
        NOTHING,
    ),
    listed(
        "simulationMode",
        Same::IfFalse,
        "a definition does not say whether it is run.",
        "Run `syncline check` instead of `syncline run`.",
    ),
    listed("csvFileDelimiter", Same::Never, FILES, NOTHING),
    listed("csvReadFileDelimiter", Same::Never, FILES, NOTHING),
    listed("csvWriteFileDelimiter", Same::Never, FILES, NOTHING),
    listed("csvFileEncoding", Same::Never, FILES, NOTHING),
    listed("csvInsertNulls", Same::Never, FILES, NOTHING),
    listed("csvUseEuropeanDateFormat", Same::IfFalse, FILES, NOTHING),
    listed("csvWriteUpperCaseHeaders", Same::IfFalse, FILES, NOTHING),
    listed("csvUseUtf8Bom", Same::Never, FILES, NOTHING),
    listed("csvAlwaysQuoted", Same::Never, FILES, NOTHING),
    listed("useSeparatedCSVFiles", Same::IfFalse, FILES, NOTHING),
    listed(
        "binaryDataCache",
        Same::Never,
        "Syncline keeps no cache of records in files.",
        NOTHING,
    ),
    listed(
        "sourceRecordsCache",
        Same::Never,
        "Syncline keeps no cache of records in files.",
        NOTHING,
    ),
    listed(
        "parallelBinaryDownloads",
        Same::Never,
        "Syncline does not move files.",
        "Move them in another way.",
    ),
    listed("parallelBulkJobs", Same::Never, SIZES, NOTHING),
    listed("parallelRestJobs", Same::Never, SIZES, NOTHING),
    listed("groupQuery", Same::IfEmpty, "queues are matched by their developer name.", NOTHING),
    listed("beforeAddons", Same::IfEmpty, CODE, DO_CODE),
    listed("afterAddons", Same::IfEmpty, CODE, DO_CODE),
    listed("dataRetrievedAddons", Same::IfEmpty, CODE, DO_CODE),
    // Not in the schema, but SFDMU 5.8 reads it.
    listed(
        "excludedObjects",
        Same::IfEmpty,
        "Syncline adds no objects that the sync does not list.",
        NOTHING,
    ),
];

/// Of a set of objects.
pub const OBJECT_SET: &[Property] = &[read("objects")];

/// Of an object.
pub const OBJECT: &[Property] = &[
    listed(
        "name",
        Same::IfEmpty,
        "SFDMU takes an object's name from its query, and so does Syncline.",
        NOTHING,
    ),
    read("query"),
    listed(
        "deleteQuery",
        Same::IfEmpty,
        DELETES,
        "Delete in the target what has to go before the run.",
    ),
    read("operation"),
    read("externalId"),
    listed(
        "master",
        Same::IfTrue,
        "SFDMU takes only records that others refer to; Syncline takes every record of the object.",
        "Narrow it with `where`.",
    ),
    read("useFieldMapping"),
    listed(
        "useCSVValuesMapping",
        Same::IfFalse,
        "values are moved as they are; ValueMapping.csv is not read.",
        "Change them in the source or, after the run, in the target.",
    ),
    listed(
        "useValuesMapping",
        Same::IfFalse,
        "values are moved as they are; ValueMapping.csv is not read.",
        "Change them in the source or, after the run, in the target.",
    ),
    read("updateWithMockData"),
    read("deleteOldData"),
    read("deleteFromSource"),
    listed(
        "deleteByHierarchy",
        Same::IfFalse,
        DELETES,
        "Delete in the target what has to go before the run.",
    ),
    listed("hardDelete", Same::IfFalse, DELETES, "Empty the target's recycle bin by hand."),
    listed("respectOrderByOnDeleteRecords", Same::IfFalse, DELETES, NOTHING),
    listed(
        "alwaysUseBulkApiToUpdateRecords",
        Same::IfFalse,
        "Syncline moves records by Bulk API 2.0.",
        NOTHING,
    ),
    listed(
        "alwaysUseRestApi",
        Same::IfFalse,
        "Syncline moves records by Bulk API 2.0.",
        NOTHING,
    ),
    listed(
        "alwaysUseBulkApi",
        Same::IfFalse,
        "Syncline moves records by Bulk API 2.0.",
        NOTHING,
    ),
    listed(
        "sourceRecordsFilter",
        Same::IfEmpty,
        "Syncline filters by SOQL only, so every record of the query is taken.",
        "Say the same in `where`.",
    ),
    listed(
        "targetRecordsFilter",
        Same::IfEmpty,
        "every record that was read is written.",
        "Say the same of the source's records in `where`.",
    ),
    read("excluded"),
    listed(
        "useQueryAll",
        Same::IfFalse,
        "deleted and archived records are not read.",
        "Undelete in the source what has to move.",
    ),
    listed(
        "queryAllTarget",
        Same::IfFalse,
        "deleted and archived records of the target are not looked at.",
        NOTHING,
    ),
    listed("targetFullQueryRecordsThreshold", Same::Never, QUERIES, NOTHING),
    listed(
        "skipExistingRecords",
        Same::IfFalse,
        "records that the target has already are updated where they differ.",
        "Where nothing may be updated, set `existing: refuse`.",
    ),
    listed("bulkApiV1BatchSize", Same::Never, SIZES, NOTHING),
    listed("restApiBatchSize", Same::Never, SIZES, NOTHING),
    listed("parallelBulkJobs", Same::Never, SIZES, NOTHING),
    listed("parallelRestJobs", Same::Never, SIZES, NOTHING),
    read("useSourceCSVFile"),
    listed(
        "skipRecordsComparison",
        Same::IfFalse,
        "Syncline writes only what is new or has changed.",
        NOTHING,
    ),
    read("excludedFields"),
    listed(
        "excludedFromUpdateFields",
        Same::IfEmpty,
        "a field is written whenever its record is, or never.",
        "Put fields that must stay as they are in the target into `exclude`.",
    ),
    listed("includedInClauseFields", Same::IfEmpty, QUERIES, NOTHING),
    listed("excludedFromInClauseFields", Same::IfEmpty, QUERIES, NOTHING),
    read("fieldMapping"),
    read("mockFields"),
    listed("beforeAddons", Same::IfEmpty, CODE, DO_CODE),
    listed("afterAddons", Same::IfEmpty, CODE, DO_CODE),
    listed("beforeUpdateAddons", Same::IfEmpty, CODE, DO_CODE),
    listed("afterUpdateAddons", Same::IfEmpty, CODE, DO_CODE),
    listed(
        "filterRecordsAddons",
        Same::IfEmpty,
        "add-ons are programs of SFDMU, and Syncline runs nobody else's code: every record of the query is taken.",
        "Say the same in `where`.",
    ),
    listed(
        "polymorphicLookups",
        Same::IfEmpty,
        "Syncline finds out by itself which object a reference leads to.",
        NOTHING,
    ),
];

/// Of an item of `fieldMapping`.
pub const MAPPING: &[Property] = &[read("sourceField"), read("targetField"), read("targetObject")];

/// Of an item of `mockFields`.
pub const MOCK: &[Property] = &[
    read("name"),
    read("pattern"),
    listed(
        "locale",
        Same::IfEmpty,
        "Syncline's stand-ins are the same for every language.",
        NOTHING,
    ),
    listed(
        "excludedRegex",
        Same::IfEmpty,
        "a rule masks every value of its field; none is spared.",
        NOTHING,
    ),
    listed(
        "includedRegex",
        Same::IfEmpty,
        "a rule masks every value of its field; none is spared.",
        NOTHING,
    ),
    listed(
        "excludeNames",
        Same::IfEmpty,
        "a rule is for one field.",
        "Give the fields that are named here the rule `preserve`, if that is right.",
    ),
];
