//! The contracts keep the rules that other people's tools rely on, and nothing in them breaks who was built on the last
//! release.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Everything that a client of the last release may hold on to, a line each; written by
/// `SYNCLINE_WRITE_DOCS=1 cargo test -p syncline-wire` when a release is made, and never to silence this test.
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
            for method in &service.method {
                for (message, suffix) in [(method.input_type(), "Request"), (method.output_type(), "Response")] {
                    let wanted = format!(".{}.{}{suffix}", file.package(), method.name());
                    if message != wanted {
                        problems.push(format!("{}: {message} is not {wanted}", method.name()));
                    }
                }
            }
        }
        for message in &file.message_type {
            for field in message.field.iter().filter(|f| !is_snake(f.name())) {
                problems.push(format!("{}.{}: not in lower_snake_case", message.name(), field.name()));
            }
        }
        for values in &file.enum_type {
            let first = values.value.first().unwrap();
            if first.number() != 0 || !first.name().ends_with("_UNSPECIFIED") {
                problems.push(format!("{}: 0 is not _UNSPECIFIED", values.name()));
            }
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
}

/// What can be held on to: every field by number, every value, every method.
fn promises(files: &[FileDescriptorProto]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for file in files {
        for m in &file.message_type {
            message_promises(file.package(), m, &mut out);
        }
        for e in &file.enum_type {
            for value in &e.value {
                out.insert(
                    format!("value {}.{} {}", file.package(), e.name(), value.number()),
                    value.name().to_owned(),
                );
            }
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
    if std::env::var_os("SYNCLINE_WRITE_DOCS").is_some() {
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
    let breaking: [(&str, Change); 8] = [
        ("a field is removed", |f| drop(message(f).field.remove(0))),
        ("a field gets another number", |f| message(f).field[0].number = Some(99)),
        ("a field gets another name", |f| message(f).field[0].name = Some("other".into())),
        ("a field gets another type", |f| message(f).field[0].r#type = Some(4)),
        ("a field becomes repeated", |f| message(f).field[0].label = Some(3)),
        ("a method is removed", |f| drop(run(f).service[0].method.remove(0))),
        ("a method becomes a stream", |f| {
            run(f).service[0].method[0].server_streaming = Some(true)
        }),
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
