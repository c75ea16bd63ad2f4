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

#[cfg(test)]
mod tests {
    use syncline_domain::FieldName;

    use super::*;

    fn field(field_type: FieldType) -> FieldDescribe {
        FieldDescribe {
            name: FieldName::new("F__c").expect("valid"),
            label: String::new(),
            field_type,
            length: 0,
            precision: 18,
            scale: 0,
            nillable: true,
            createable: true,
            updateable: true,
            defaulted_on_create: false,
            calculated: false,
            auto_number: false,
            unique: false,
            external_id: false,
            case_sensitive: false,
            filterable: true,
            restricted_picklist: false,
            picklist_values: Vec::new(),
            reference_to: Vec::new(),
            relationship_name: None,
            cascade_delete: false,
            compound: None,
        }
    }

    fn sized(field_type: FieldType, length: u32) -> FieldDescribe {
        FieldDescribe {
            length,
            ..field(field_type)
        }
    }

    fn number(precision: u32, scale: u32) -> FieldDescribe {
        FieldDescribe {
            precision,
            scale,
            ..field(FieldType::Number)
        }
    }

    #[test]
    fn what_fits_what_may_not_and_what_never_does() {
        use FieldType::{
            Boolean, Date, DateTime, Email, Int, Long, MultiPicklist, Other, Picklist, Reference, String, TextArea, Time, Url,
        };
        let restricted = FieldDescribe {
            restricted_picklist: true,
            ..field(Picklist)
        };
        for (source, target, wanted) in [
            (sized(String, 80), sized(String, 80), "fits"),
            (sized(String, 80), sized(TextArea, 255), "fits"),
            (
                sized(String, 80),
                sized(String, 40),
                "80 characters at the source, 40 in the target",
            ),
            (sized(Email, 80), sized(Email, 80), "fits"),
            (sized(String, 80), sized(Email, 80), "in the target"),
            (sized(String, 80), sized(Url, 255), "in the target"),
            (field(MultiPicklist), field(Picklist), "never: several values"),
            (sized(String, 10), restricted.clone(), "listed values only"),
            (field(Picklist), restricted, "fits"),
            (field(Int), field(Long), "fits"),
            (field(Long), field(Int), "large numbers"),
            (number(18, 2), field(Int), "never: numbers with 2 decimal places"),
            (number(18, 0), field(Int), "large numbers"),
            (number(18, 2), number(18, 2), "fits"),
            (number(18, 4), number(18, 2), "4 decimal places at the source, 2 in the target"),
            (
                number(18, 2),
                number(10, 2),
                "16 digits before the point at the source, 8 in the target",
            ),
            (field(Date), field(Date), "fits"),
            (field(Date), field(DateTime), "never: date at the source"),
            (field(Time), field(Date), "never:"),
            (field(Boolean), field(String), "never:"),
            (field(Reference), field(Reference), "fits"),
            (field(Other), field(Other), "never:"),
        ] {
            let found = match fit(&source, &target) {
                Fit::Fits => "fits".to_owned(),
                Fit::Narrower(why) => why,
                Fit::Never(why) => format!("never: {why}"),
            };
            assert!(
                found.contains(wanted),
                "{:?} to {:?}: {found}, not {wanted}",
                source.field_type,
                target.field_type
            );
        }
    }

    #[test]
    fn only_a_restricted_list_misses_values() {
        let list = |values: &[&str], restricted_picklist| FieldDescribe {
            picklist_values: values.iter().map(|v| (*v).to_owned()).collect(),
            restricted_picklist,
            ..field(FieldType::Picklist)
        };
        let source = list(&["Hot", "Cold"], false);
        assert_eq!(missing_values(&source, &list(&["Hot"], true)), ["Cold"]);
        assert!(missing_values(&source, &list(&["Hot"], false)).is_empty());
        assert!(missing_values(&source, &field(FieldType::String)).is_empty());
    }
}
