//! The compact schema language: a line per field, expanded to full describe attributes.

use serde_json::{Map, Value, json};

use crate::schema::SchemaError;

/// An object, or an extension of one (`prefix` is then `None`).
pub(crate) struct TextObject {
    pub name: String,
    pub label: String,
    pub prefix: Option<[u8; 3]>,
    pub custom: bool,
    pub setup: bool,
    pub drops: Vec<String>,
    pub fields: Vec<Map<String, Value>>,
}

/// Parses a definition file.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<TextObject>, SchemaError> {
    let mut out: Vec<TextObject> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let fail = |object: &str, field: &str, reason: &str| SchemaError {
            file: file.into(),
            object: object.into(),
            field: field.into(),
            reason: format!("line {}: {reason}", number + 1),
        };
        if let Some(rest) = line.strip_prefix("object ") {
            out.push(object_line(rest).ok_or_else(|| fail("?", "*", "malformed object line"))?);
        } else if let Some(rest) = line.strip_prefix("extend ") {
            out.push(TextObject {
                name: rest.trim().into(),
                label: rest.trim().into(),
                prefix: None,
                custom: false,
                setup: false,
                drops: Vec::new(),
                fields: Vec::new(),
            });
        } else {
            let object = out.last_mut().ok_or_else(|| fail("?", "*", "a field before any object"))?;
            let line = line.trim_start();
            if let Some(name) = line.strip_prefix("drop ") {
                object.drops.push(name.trim().into());
                continue;
            }
            let name = line.split_whitespace().next().unwrap_or_default();
            let field = field_line(&object.name, line).map_err(|reason| fail(&object.name, name, &reason))?;
            object.fields.push(field);
        }
    }
    Ok(out)
}

fn object_line(rest: &str) -> Option<TextObject> {
    let (head, tail) = rest.split_once('"')?;
    let (label, flags) = tail.split_once('"')?;
    let mut words = head.split_whitespace();
    let name = words.next()?.to_owned();
    let prefix: [u8; 3] = words.next()?.as_bytes().try_into().ok()?;
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let setup = flags.contains(&"setup");
    let mut lines = vec!["Id id(18) ro defaulted idlookup"];
    if !flags.contains(&"nodelete") {
        lines.push("IsDeleted boolean ro");
    }
    if flags.contains(&"owner") {
        lines.push("OwnerId reference(User) defaulted rel=Owner");
    }
    if flags.contains(&"queueowner") {
        lines.push("OwnerId reference(Group,User) defaulted rel=Owner");
    }
    lines.extend([
        "CreatedDate datetime ro defaulted",
        "CreatedById reference(User) ro defaulted rel=CreatedBy",
        "LastModifiedDate datetime ro defaulted",
        "LastModifiedById reference(User) ro defaulted rel=LastModifiedBy",
        "SystemModstamp datetime ro defaulted",
    ]);
    let fields = lines
        .into_iter()
        .map(|line| field_line(&name, line).expect("the system field lines are well formed"))
        .collect();
    Some(TextObject {
        label: label.into(),
        prefix: Some(prefix),
        custom: name.ends_with("__c"),
        setup,
        drops: Vec::new(),
        fields,
        name,
    })
}

/// One entry of `picklistValues`.
pub(crate) fn picklist_value(value: &str, default: bool) -> Value {
    json!({"active": true, "defaultValue": default, "label": value, "validFor": null, "value": value})
}

fn field_line(object: &str, line: &str) -> Result<Map<String, Value>, String> {
    let (line, values) = match line.split_once(" values=") {
        Some((head, list)) => (head, list.split('|').map(str::trim).collect()),
        None => (line, Vec::new()),
    };
    // A default may hold blanks, so it runs to the next known flag or the end.
    let (line, default) = match line.split_once(" default=") {
        Some((head, value)) => (head, Some(value.trim())),
        None => (line, None),
    };
    let (name, rest) = line.split_once(' ').ok_or("no type")?;
    let (spec, flags) = match rest.find([' ']) {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, ""),
    };
    let (kind, args) = match spec.split_once('(') {
        Some((kind, args)) => (kind, args.strip_suffix(')').ok_or("unclosed parenthesis")?),
        None => (spec, ""),
    };
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let has = |flag: &str| flags.contains(&flag);
    let relationship = flags.iter().find_map(|f| f.strip_prefix("rel="));
    let compound = flags.iter().find_map(|f| f.strip_prefix("in="));
    for flag in &flags {
        let known = [
            "ro",
            "createonly",
            "required",
            "defaulted",
            "unique",
            "extid",
            "idlookup",
            "nofilter",
            "namefield",
            "restricted",
            "cascade",
            "restrict",
            "casesensitive",
        ];
        if !known.contains(flag) && !flag.starts_with("rel=") && !flag.starts_with("in=") {
            return Err(format!("unknown flag {flag}"));
        }
    }
    let targets: Vec<&str> = if kind == "reference" {
        args.split(',').map(str::trim).filter(|t| !t.is_empty()).collect()
    } else {
        Vec::new()
    };
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("bad number {text}"));
    let (mut length, mut precision, mut scale, mut digits) = (0, 0, 0, 0);
    match kind {
        "reference" | "id" => length = 18,
        "int" => digits = number(args)?,
        "double" | "currency" | "percent" => {
            let (p, s) = args.split_once(',').ok_or("needs precision,scale")?;
            (precision, scale) = (number(p)?, number(s)?);
        }
        "picklist" => length = if args.is_empty() { 255 } else { number(args)? },
        "multipicklist" => length = 4099,
        _ if !args.is_empty() => length = number(args)?,
        "textarea" => length = 255,
        _ => {}
    }
    let boolean = kind == "boolean";
    let custom = name.ends_with("__c");
    let writable = !has("ro");
    let nillable = !(has("required") || has("defaulted") || boolean);
    let soap = match kind {
        "id" | "reference" => "tns:ID",
        "boolean" => "xsd:boolean",
        "int" => "xsd:int",
        "double" | "currency" | "percent" => "xsd:double",
        "date" => "xsd:date",
        "datetime" => "xsd:dateTime",
        "time" => "xsd:time",
        "address" => "urn:address",
        "base64" => "xsd:base64Binary",
        _ => "xsd:string",
    };
    let byte_length = match kind {
        "id" | "reference" => 18,
        "multipicklist" => 4099,
        _ => length * 3,
    };
    let default_value = match (boolean, default) {
        (true, value) => json!(value == Some("true")),
        (false, Some(value)) => json!(value),
        (false, None) => Value::Null,
    };
    let label = match name {
        "Id" => format!("{} ID", object.trim_end_matches("__c")),
        _ => label(name),
    };
    let filterable = !has("nofilter");
    let entry = json!({
        "aggregatable": filterable && !boolean, "aiPredictionField": false, "autoNumber": false,
        "byteLength": byte_length, "calculated": false, "calculatedFormula": null,
        "cascadeDelete": has("cascade"), "caseSensitive": has("casesensitive"), "compoundFieldName": compound,
        "controllerName": null, "createable": writable, "custom": custom,
        "defaultValue": default_value, "defaultValueFormula": null,
        "defaultedOnCreate": has("defaulted") || boolean, "dependentPicklist": false,
        "deprecatedAndHidden": false, "digits": digits, "displayLocationInDecimal": false,
        "encrypted": false, "externalId": has("extid"),
        "extraTypeInfo": if kind == "textarea" { json!("plaintextarea") } else { Value::Null },
        "filterable": filterable, "filteredLookupInfo": null, "formulaTreatNullNumberAsZero": false,
        "groupable": filterable && kind != "datetime" && soap != "xsd:double",
        "highScaleNumber": false, "htmlFormatted": false,
        "idLookup": has("idlookup") || has("extid"), "inlineHelpText": null, "label": label,
        "length": length, "mask": null, "maskType": null, "name": name,
        "nameField": has("namefield"), "namePointing": targets.len() > 1, "nillable": nillable,
        "permissionable": nillable && writable,
        "picklistValues": values.iter().map(|v| picklist_value(v, default == Some(*v))).collect::<Vec<_>>(),
        "polymorphicForeignKey": targets.len() > 1, "precision": precision,
        "queryByDistance": false, "referenceTargetField": null, "referenceTo": targets,
        "relationshipName": relationship,
        "relationshipOrder": if has("cascade") { json!(0) } else { Value::Null },
        "restrictedDelete": has("restrict"), "restrictedPicklist": has("restricted"), "scale": scale,
        "searchPrefilterable": kind == "reference", "soapType": soap,
        "sortable": filterable && kind != "multipicklist", "type": kind,
        "unique": has("unique"), "updateable": writable && !has("createonly"),
        "writeRequiresMasterRead": false,
    });
    match entry {
        Value::Object(map) => Ok(map),
        _ => Err("not an object".into()),
    }
}

fn label(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let bare = name.trim_end_matches("__c");
    let bare = match bare.strip_suffix("Id") {
        Some(stem) if !stem.is_empty() => format!("{stem}ID"),
        _ => bare.to_owned(),
    };
    let mut lower = false;
    for c in bare.chars() {
        if c == '_' {
            out.push(' ');
            lower = false;
            continue;
        }
        if c.is_ascii_uppercase() && lower {
            out.push(' ');
        }
        lower = c.is_ascii_lowercase();
        out.push(c);
    }
    out
}

/// Top-level describe attributes of an object.
pub(crate) fn object_defaults(name: &str, label: &str, custom: bool) -> Map<String, Value> {
    let setup_only = ["Organization", "RecordType", "Profile", "PermissionSet"].contains(&name);
    let entry = json!({
        "actionOverrides": [], "activateable": false, "associateEntityType": null,
        "associateParentEntity": null, "childRelationships": [], "compactLayoutable": true,
        "createable": !setup_only, "custom": custom, "customSetting": false,
        "deepCloneable": false, "defaultImplementation": null,
        "deletable": !setup_only && name != "User", "deprecatedAndHidden": false,
        "extendedBy": null, "extendsInterfaces": null, "feedEnabled": false,
        "hasSubtypes": false, "implementedBy": null, "implementsInterfaces": null,
        "isInterface": false, "isSubtype": false, "keyPrefix": null, "label": label,
        "labelPlural": format!("{label}s"), "layoutable": true, "listviewable": null,
        "lookupLayoutable": null, "mergeable": false, "mruEnabled": true, "name": name,
        "namedLayoutInfos": [], "networkScopeFieldName": null, "queryable": true,
        "recordTypeInfos": [], "replicateable": true, "retrieveable": true,
        "searchLayoutable": true, "searchable": true, "sobjectDescribeOption": "FULL",
        "supportedScopes": [{"label": "All", "name": "everything"}], "triggerable": true,
        "undeletable": !setup_only, "updateable": name != "Profile",
    });
    match entry {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
