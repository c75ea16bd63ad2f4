//! A process that panics over a record's value does not print it.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use syncline_runtime::{panics, telemetry};

const VALUE: &str = "Ottilie Grünspan, Ahornweg";

/// Not a test by itself: what [`a_panic_says_where_and_nothing_of_what_it_held`] runs in a process of its own.
#[tokio::test]
#[ignore = "another test runs it"]
async fn panics_over_a_value() {
    let _telemetry = telemetry::init("tested", None).unwrap();
    panics::hide_values();
    let middle_of_a_character = VALUE.find('ü').unwrap() + 1;
    let cut = tokio::spawn(async move { VALUE[..middle_of_a_character].len() });
    cut.await.unwrap_err();
    let no_number = tokio::spawn(async move { VALUE.parse::<u8>().map_err(|_| VALUE).unwrap() });
    no_number.await.unwrap_err();
}

#[test]
fn a_panic_says_where_and_nothing_of_what_it_held() {
    let mut program = Command::new(std::env::current_exe().unwrap());
    let program = program.args(["--ignored", "--exact", "panics_over_a_value", "--nocapture"]);
    let output = program.env_remove("RUST_LOG").output().unwrap();
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .concat();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("the program panicked").count(), 2, "{said}");
    assert!(said.contains("panics.rs:"), "{said}");
    for word in VALUE.split([' ', ',']).filter(|word| !word.is_empty()) {
        assert!(!said.contains(word), "{word}: {said}");
    }
}
