//! Features an org may have switched on, as far as they change the schema.

use serde_json::json;

use crate::schema::{Object, SchemaError, SchemaOptions, build, text};

/// What a record counts for in data storage (Salesforce Help, "Data and File Storage Allocations").
pub(super) fn storage_bytes(object: &Object) -> u64 {
    match object.name.as_str() {
        _ if object.setup => 0,
        "Campaign" => 8192,
        "CampaignMember" => 1024,
        // Files count in bytes, in a storage of their own.
        "ContentVersion" | "ContentDocument" | "ContentDocumentLink" | "Attachment" | "Document" => 0,
        "Asset" | "Product2" | "Pricebook2" | "PricebookEntry" => 0,
        _ => 2048,
    }
}

const CURRENCY_OBJECTS: &str = r#"object CurrencyType 01L "Currency Type" nodelete setup
  IsoCode string(3) required
  ConversionRate double(18,9) required
  DecimalPlaces int(1)
  IsActive boolean
  IsCorporate boolean ro

object DatedConversionRate 04w "Dated Conversion Rate" nodelete setup
  IsoCode string(3) required
  StartDate date required
  NextStartDate date ro
  ConversionRate double(18,9) required
"#;
const CURRENCY_FIELD: &str = "picklist(3) defaulted restricted default=USD values=USD|EUR|GBP|JPY";

/// Adds the fields and objects of the features that are on.
pub(super) fn apply(objects: &mut Vec<Object>, options: &SchemaOptions) -> Result<(), SchemaError> {
    if !options.multi_currency {
        return Ok(());
    }
    let mut source = CURRENCY_OBJECTS.to_owned();
    for object in objects.iter() {
        let has_amounts = object.fields.iter().any(|f| f.describe.get("type") == Some(&json!("currency")));
        if has_amounts && object.field("CurrencyIsoCode").is_none() {
            source.push_str(&format!("\nextend {}\n  CurrencyIsoCode {CURRENCY_FIELD}\n", object.name));
        }
        if object.name == "User" {
            source.push_str(&format!("\nextend User\n  DefaultCurrencyIsoCode {CURRENCY_FIELD}\n"));
        }
    }
    for parsed in text::parse("multi-currency", &source)? {
        build::apply_compact(objects, parsed, "multi-currency")?;
    }
    Ok(())
}
