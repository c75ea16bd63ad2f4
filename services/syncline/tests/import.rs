//! The real binary: `syncline import sfdmu` writes to stdout or a new file, lists on stderr, and ends with the README's codes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sfdmu/export.example.json");

fn syncline(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_syncline"))
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn new_file(dir: &Path) -> String {
    dir.join("refresh.yaml").display().to_string()
}

#[test]
fn the_definition_goes_to_stdout_and_the_list_to_stderr() {
    let output = syncline(
        &[
            "import",
            "sfdmu",
            EXAMPLE,
            "--source",
            "production",
            "--target",
            "uat",
            "--name",
            "refresh",
        ],
        "",
    );
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        stdout.contains("\n  name: refresh\n") && stdout.contains("\n  source: production\n"),
        "{stdout}"
    );
    assert!(stderr.contains("export.example.json:5:13: objects[0].operation: "), "{stderr}");
    assert!(
        stderr.ends_with("1 sync, 1 object; 3 things were not carried over; they stand above and at their places in the definition\n"),
        "{stderr}"
    );
}

#[test]
fn a_written_definition_is_one_that_apply_takes_and_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let file = new_file(dir.path());
    let output = syncline(&["import", "sfdmu", EXAMPLE, "--write", &file], "");
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), ""),
        "{}",
        text(&output.stderr)
    );
    let written = std::fs::read_to_string(&file).unwrap();

    // It gets as far as the gateway, which is not there; a definition that is not valid would end with 2 before.
    let nobody = format!("http://127.0.0.1:{}", syncline_testkit::free_port());
    let applied = syncline(&["apply", "-f", &file, "--gateway", &nobody], "");
    assert_eq!(applied.status.code(), Some(8), "{}", text(&applied.stderr));

    let again = syncline(&["import", "sfdmu", EXAMPLE, "--write", &file, "--name", "other"], "");
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(2), ""));
    assert!(text(&again.stderr).contains("is not overwritten"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn bad_input_ends_with_2_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = new_file(dir.path());
    for (stdin, says) in [
        ("{\"objects\": [,]}", "<stdin>:1:14: the file: there is a `,`, expected a value"),
        ("{}", "neither `objects` nor `objectSets`"),
        (
            "{\"objects\": [{\"query\": \"SELECT Id, Name FROM A\", \"operation\": \"Update\"}]}",
            "<stdin>:1:50: objects[0].operation: A is left out",
        ),
        ("\u{0}", "U+0000"),
    ] {
        let output = syncline(&["import", "sfdmu", "-", "--write", &file], stdin);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{stdin}: {stderr}");
        assert!(
            stderr.contains(says) && stderr.contains("error[SCHEMA_SYNC_001]") && stderr.contains("remedy: "),
            "{stdin}: {stderr}"
        );
        assert!(!Path::new(&file).exists(), "{stdin}");
    }
    for arguments in [
        vec!["import", "sfdmu", "/nonexistent/export.json"],
        vec!["import", "sfdmu", EXAMPLE, "--source", "same", "--target", "same"],
        vec!["import", "sfdmu", EXAMPLE, "--name", "Not A Name"],
        vec!["import", "sfdmu", EXAMPLE, "--write", "/nonexistent/x.yaml"],
        vec!["import", "sfdmu"],
        vec!["import", "talend", EXAMPLE],
    ] {
        let output = syncline(&arguments, "");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{arguments:?}");
    }
}

#[test]
fn as_json_the_list_is_part_of_the_result() {
    let output = syncline(&["-o", "json", "import", "sfdmu", EXAMPLE], "");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["objects"], json["written"].is_null()), (&1.into(), true));
    assert_eq!(json["not_carried_over"][1]["path"], "objects[0].operation");
    assert_eq!(
        (&json["not_carried_over"][1]["line"], &json["not_carried_over"][1]["column"]),
        (&5.into(), &13.into())
    );
    assert!(json["yaml"].as_str().unwrap().contains("kind: Sync"));
}
