//! Features an org may have switched on, as far as they change the schema.

use crate::schema::{Object, SchemaError, SchemaOptions};

/// What a record counts for in data storage (Salesforce Help, "Data and File Storage Allocations").
pub(super) fn storage_bytes(object: &Object) -> u64 {
    match object.name.as_str() {
        _ if object.setup => 0,
        "Campaign" => 8192,
        "CampaignMember" => 1024,
        "Asset" | "Product2" | "Pricebook2" | "PricebookEntry" => 0,
        // A person account takes the 4 KB of its two records.
        _ => 2048,
    }
}

/// Adds the fields and objects of the features that are on.
pub(super) fn apply(_objects: &mut [Object], _options: &SchemaOptions) -> Result<(), SchemaError> {
    Ok(())
}
