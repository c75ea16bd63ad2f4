//! EntityDefinition: the org's objects as rows, for clients that list objects by query.

use serde_json::Value;

use crate::seed::Loader;

/// A row per object.
pub fn fill(loader: &mut Loader<'_>) {
    let schema = std::sync::Arc::clone(&loader.db.schema);
    for object in schema.objects.iter().filter(|o| o.name != "EntityDefinition") {
        let flag = |key: &str| {
            if object.describe.get(key) == Some(&Value::Bool(true)) {
                "true"
            } else {
                ""
            }
        };
        let text = |key: &str| object.describe.get(key).and_then(Value::as_str).unwrap_or_default();
        let prefix: String = object.prefix.iter().map(|c| char::from(*c)).collect();
        loader.insert(
            "EntityDefinition",
            &[
                ("DurableId", &object.name),
                ("QualifiedApiName", &object.name),
                ("DeveloperName", object.name.trim_end_matches("__c")),
                ("Label", &object.label),
                ("MasterLabel", &object.label),
                ("PluralLabel", text("labelPlural")),
                ("KeyPrefix", &prefix),
                ("InternalSharingModel", "ReadWrite"),
                ("IsApexTriggerable", flag("triggerable")),
                ("IsCustomizable", flag("layoutable")),
                ("IsCustomSetting", flag("customSetting")),
                ("IsDeprecatedAndHidden", flag("deprecatedAndHidden")),
                ("IsEverCreatable", flag("createable")),
                ("IsEverDeletable", flag("deletable")),
                ("IsEverUpdatable", flag("updateable")),
                ("IsIdEnabled", "true"),
                ("IsQueryable", flag("queryable")),
                ("IsReplicateable", flag("replicateable")),
                ("IsRetrieveable", flag("retrieveable")),
                ("IsSearchable", flag("searchable")),
                ("IsTriggerable", flag("triggerable")),
            ],
        );
    }
}
