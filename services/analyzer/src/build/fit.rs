//! Whether a source field's values fit the target's field.

use syncline_domain::describe::{FieldDescribe, FieldType};

/// How two fields fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    Fits,
    /// Some values may be refused or changed.
    Narrower(String),
    /// They can't.
    Never(String),
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Family {
    Text,
    Number,
    Boolean,
    Date,
    DateTime,
    Time,
    Reference,
    None,
}

fn family(field_type: FieldType) -> Family {
    match field_type {
        FieldType::String
        | FieldType::TextArea
        | FieldType::Email
        | FieldType::Phone
        | FieldType::Url
        | FieldType::EncryptedString
        | FieldType::Picklist
        | FieldType::MultiPicklist
        | FieldType::ComboBox => Family::Text,
        FieldType::Int | FieldType::Long | FieldType::Number => Family::Number,
        FieldType::Boolean => Family::Boolean,
        FieldType::Date => Family::Date,
        FieldType::DateTime => Family::DateTime,
        FieldType::Time => Family::Time,
        FieldType::Reference => Family::Reference,
        FieldType::Id | FieldType::Base64 | FieldType::Other => Family::None,
    }
}

/// A type's name in messages, as in its serialised form.
pub(super) fn word(field_type: FieldType) -> String {
    serde_json::to_value(field_type)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

pub(super) fn fit(source: &FieldDescribe, target: &FieldDescribe) -> Fit {
    let (from, to) = (family(source.field_type), family(target.field_type));
    let types = || {
        format!(
            "{} at the source, {} in the target",
            word(source.field_type),
            word(target.field_type)
        )
    };
    if from != to || from == Family::None {
        return Fit::Never(types());
    }
    match to {
        Family::Number => fit_number(source, target),
        Family::Text => fit_text(source, target),
        _ => Fit::Fits,
    }
}

fn fit_number(source: &FieldDescribe, target: &FieldDescribe) -> Fit {
    let whole = |f: &FieldDescribe| f.precision.saturating_sub(f.scale);
    match (source.field_type, target.field_type) {
        (FieldType::Number, FieldType::Int | FieldType::Long) if source.scale > 0 => Fit::Never(format!(
            "numbers with {} decimal places at the source, whole numbers in the target",
            source.scale
        )),
        (FieldType::Long | FieldType::Number, FieldType::Int) => Fit::Narrower("large numbers do not fit the target's field".to_owned()),
        (FieldType::Number, FieldType::Number) if target.scale < source.scale => Fit::Narrower(format!(
            "{} decimal places at the source, {} in the target",
            source.scale, target.scale
        )),
        (FieldType::Number, FieldType::Number) if whole(target) < whole(source) => Fit::Narrower(format!(
            "{} digits before the point at the source, {} in the target",
            whole(source),
            whole(target)
        )),
        _ => Fit::Fits,
    }
}

fn fit_text(source: &FieldDescribe, target: &FieldDescribe) -> Fit {
    let is_list = |t: FieldType| matches!(t, FieldType::Picklist | FieldType::MultiPicklist);
    if source.field_type == FieldType::MultiPicklist && target.field_type == FieldType::Picklist {
        return Fit::Never("several values at the source, one in the target".to_owned());
    }
    if !is_list(target.field_type) && target.length > 0 && target.length < source.length {
        return Fit::Narrower(format!(
            "{} characters at the source, {} in the target",
            source.length, target.length
        ));
    }
    let strict = matches!(target.field_type, FieldType::Email | FieldType::Url);
    if strict && source.field_type != target.field_type {
        return Fit::Narrower(format!(
            "{} at the source, {} in the target",
            word(source.field_type),
            word(target.field_type)
        ));
    }
    if target.restricted_picklist && is_list(target.field_type) && !is_list(source.field_type) {
        return Fit::Narrower("any text at the source, listed values only in the target".to_owned());
    }
    Fit::Fits
}

/// Values that the source offers and the target's restricted picklist does not.
pub(super) fn missing_values<'f>(source: &'f FieldDescribe, target: &FieldDescribe) -> Vec<&'f str> {
    let is_list = matches!(target.field_type, FieldType::Picklist | FieldType::MultiPicklist);
    if !target.restricted_picklist || !is_list {
        return Vec::new();
    }
    source
        .picklist_values
        .iter()
        .filter(|v| !target.picklist_values.contains(v))
        .map(String::as_str)
        .collect()
}
