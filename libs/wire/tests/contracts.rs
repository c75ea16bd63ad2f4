//! The contracts keep the rules that other people's tools rely on, and nothing in them breaks who was built on the last
//! release.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Everything that a client of the last release may hold on to, a line each; written by
/// `SYNCLINE_RELEASE_CONTRACTS=1 cargo test -p syncline-wire` when a release is made, and never to silence this test.
const RELEASED: &str = include_str!("released.txt");

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(syncline_wire::DESCRIPTORS).unwrap();
    set.file.into_iter().filter(|f| f.package().starts_with("syncline.")).collect()
}

fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let locations = file.source_code_info.iter().flat_map(|i| &i.location);
    locations
        .filter(|l| l.path == path)
        .map(|l| l.leading_comments().to_owned())
        .collect()
}

fn is_snake(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') && !name.starts_with('_')
}

fn message_problems(message: &DescriptorProto, problems: &mut Vec<String>) {
    for field in message.field.iter().filter(|f| !is_snake(f.name())) {
        problems.push(format!("{}.{}: not in lower_snake_case", message.name(), field.name()));
    }
    for nested in &message.nested_type {
        message_problems(nested, problems);
    }
    for values in &message.enum_type {
        enum_problems(values, problems);
    }
}

/// `STATE_UNSPECIFIED = 0`, and every value begins with the enum's name.
fn enum_problems(values: &EnumDescriptorProto, problems: &mut Vec<String>) {
    let mut prefix = String::new();
    for (at, c) in values.name().char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            prefix.push('_');
        }
        prefix.push(c.to_ascii_uppercase());
    }
    let first = values.value.first().unwrap();
    if first.number() != 0 || first.name() != format!("{prefix}_UNSPECIFIED") {
        problems.push(format!("{}: 0 is not {prefix}_UNSPECIFIED", values.name()));
    }
    for value in values.value.iter().filter(|v| !v.name().starts_with(&prefix)) {
        problems.push(format!("{}.{}: does not begin with {prefix}", values.name(), value.name()));
    }
}

#[test]
fn the_rules_reach_what_is_nested() {
    let nested = DescriptorProto {
        name: Some("Inner".into()),
        field: vec![prost_types::FieldDescriptorProto {
            name: Some("camelCase".into()),
            ..Default::default()
        }],
        enum_type: vec![EnumDescriptorProto {
            name: Some("LoadState".into()),
            value: vec![prost_types::EnumValueDescriptorProto {
                name: Some("DONE".into()),
                number: Some(1),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let outer = DescriptorProto {
        nested_type: vec![nested],
        ..Default::default()
    };
    let mut problems = Vec::new();
    message_problems(&outer, &mut problems);
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn the_contracts_keep_the_rules() {
    let mut problems = Vec::new();
    for file in files() {
        let directory = file.name().rsplit_once('/').unwrap().0.replace('/', ".");
        if directory != file.package() {
            problems.push(format!("{}: package {} is not its directory", file.name(), file.package()));
        }
        if !file.package().ends_with(".v1") {
            problems.push(format!("{}: package without a version", file.name()));
        }
        for (at, service) in (0..).zip(&file.service) {
            if !service.name().ends_with("Service") {
                problems.push(format!("{}: a service is called a Service", service.name()));
            }
            if comment(&file, &[6, at]).is_empty() {
                problems.push(format!("{}: nobody says what it is", service.name()));
            }
            for (nth, method) in (0..).zip(&service.method) {
                if comment(&file, &[6, at, 2, nth]).trim().is_empty() {
                    problems.push(format!("{}/{}: nobody says what it does", service.name(), method.name()));
                }
                for (message, suffix) in [(method.input_type(), "Request"), (method.output_type(), "Response")] {
                    let wanted = format!(".{}.{}{suffix}", file.package(), method.name());
                    if message != wanted {
                        problems.push(format!("{}: {message} is not {wanted}", method.name()));
                    }
                }
            }
        }
        for message in &file.message_type {
            message_problems(message, &mut problems);
        }
        for values in &file.enum_type {
            enum_problems(values, &mut problems);
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

fn message_promises(prefix: &str, m: &DescriptorProto, out: &mut BTreeMap<String, String>) {
    let name = format!("{prefix}.{}", m.name());
    for field in &m.field {
        let oneof = field.oneof_index.map(|_| " in a oneof").unwrap_or_default();
        let promise = format!(
            "{} {:?} {:?} {}{oneof}",
            field.name(),
            field.label(),
            field.r#type(),
            field.type_name()
        );
        out.insert(format!("field {name} {}", field.number()), promise);
    }
    for nested in &m.nested_type {
        message_promises(&name, nested, out);
    }
    for values in &m.enum_type {
        enum_promises(&name, values, out);
    }
}

fn enum_promises(prefix: &str, values: &EnumDescriptorProto, out: &mut BTreeMap<String, String>) {
    for value in &values.value {
        let name = format!("value {prefix}.{} {}", values.name(), value.number());
        out.insert(name, value.name().to_owned());
    }
}

/// What can be held on to: every field by number, every value, every method.
fn promises(files: &[FileDescriptorProto]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for file in files {
        for m in &file.message_type {
            message_promises(file.package(), m, &mut out);
        }
        for e in &file.enum_type {
            enum_promises(file.package(), e, &mut out);
        }
        for service in &file.service {
            for method in &service.method {
                let (sends, answers) = (method.client_streaming(), method.server_streaming());
                let promise = format!("{} {sends} {} {answers}", method.input_type(), method.output_type());
                out.insert(format!("method {}.{}/{}", file.package(), service.name(), method.name()), promise);
            }
        }
    }
    out
}

fn broken(released: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let kept = |(promise, what): (&String, &String)| match now.get(promise) {
        None => Some(format!("{promise} ({what}) is gone")),
        Some(other) if other != what => Some(format!("{promise} was {what} and is {other}")),
        Some(_) => None,
    };
    released.iter().filter_map(kept).collect()
}

#[test]
fn nothing_breaks_a_client_of_the_last_release() {
    let now = promises(&files());
    if std::env::var_os("SYNCLINE_RELEASE_CONTRACTS").is_some() {
        let text: String = now.iter().map(|(promise, what)| format!("{promise}: {what}\n")).collect();
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/released.txt"), text).unwrap();
    }
    let released: BTreeMap<String, String> = RELEASED
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(promise, what)| (promise.to_owned(), what.to_owned()))
        .collect();
    assert!(released.len() > 100, "the last release is described");
    assert_eq!(broken(&released, &now), Vec::<String>::new());
}

#[test]
fn every_way_to_break_a_client_is_found_and_additions_are_none() {
    type Change = fn(&mut Vec<FileDescriptorProto>);
    fn run(files: &mut [FileDescriptorProto]) -> &mut FileDescriptorProto {
        files.iter_mut().find(|f| f.package() == "syncline.run.v1").unwrap()
    }
    fn message(files: &mut [FileDescriptorProto]) -> &mut DescriptorProto {
        run(files).message_type.iter_mut().find(|m| m.name() == "Run").unwrap()
    }
    let before = promises(&files());
    let breaking: [(&str, Change); 11] = [
        ("a field is removed", |f| drop(message(f).field.remove(0))),
        ("a field gets another number", |f| message(f).field[0].number = Some(99)),
        ("a field gets another name", |f| message(f).field[0].name = Some("other".into())),
        ("a field gets another type", |f| message(f).field[0].r#type = Some(4)),
        ("a field becomes repeated", |f| message(f).field[0].label = Some(3)),
        ("a method is removed", |f| drop(run(f).service[0].method.remove(0))),
        ("a method becomes a stream", |f| {
            run(f).service[0].method[0].server_streaming = Some(true)
        }),
        ("a message is removed", |f| run(f).message_type.retain(|m| m.name() != "Run")),
        ("a service is removed", |f| drop(run(f).service.remove(0))),
        ("a value gets another number", |f| run(f).enum_type[0].value[1].number = Some(9)),
        ("a value is removed", |f| drop(run(f).enum_type[0].value.pop())),
    ];
    for (what, change) in breaking {
        let mut changed = files();
        change(&mut changed);
        assert!(!broken(&before, &promises(&changed)).is_empty(), "{what} is not found");
    }
    let mut more = files();
    let mut field = message(&mut more).field[0].clone();
    (field.name, field.number) = (Some("new".into()), Some(99));
    message(&mut more).field.push(field);
    assert_eq!(broken(&before, &promises(&more)), Vec::<String>::new());
}
