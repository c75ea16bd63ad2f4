//! Measures masked values per second on one core: `cargo run --release -p syncline-mask --example rate`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use arrow_array::StringArray;
use syncline_mask::{ColumnMask, FieldFacts, FieldType, MaskKey, Strategy};

const ROWS: usize = 100_000;
const MEASURED: Duration = Duration::from_millis(600);

fn main() {
    let key = MaskKey::from_bytes(b"rate measures with this 32b key!").unwrap();
    let numbered = |make: fn(usize) -> String| -> StringArray { (0..ROWS).map(|i| Some(make(i))).collect::<Vec<_>>().into() };
    let names = numbered(|i| format!("Name{i}"));
    let full_names = numbered(|i| format!("Given{} Family{i}", i % 997));
    let emails = numbered(|i| format!("person{i}@example.com"));
    let phones = numbered(|i| format!("(415) {:03}-{:04}", 200 + i % 800, i % 10_000));
    let codes = numbered(|i| format!("{:05}", i));
    let texts = numbered(|i| format!("Customer {i} called about the delivery and asked for a call back."));
    let cases = [
        ("hash", FieldType::String, &emails),
        ("hash(base32)", FieldType::String, &emails),
        ("redact(gone)", FieldType::String, &emails),
        ("fake(given_name)", FieldType::String, &names),
        ("fake(family_name)", FieldType::String, &names),
        ("fake(full_name)", FieldType::String, &full_names),
        ("fake(company)", FieldType::String, &names),
        ("fake(email)", FieldType::Email, &emails),
        ("fake(phone)", FieldType::Phone, &phones),
        ("fake(street)", FieldType::Textarea, &names),
        ("fake(city)", FieldType::String, &names),
        ("fake(state)", FieldType::String, &names),
        ("fake(postal_code)", FieldType::String, &codes),
        ("fake(url)", FieldType::Url, &emails),
        ("fake(text)", FieldType::Textarea, &texts),
    ];
    for (rule, sf_type, values) in cases {
        let strategy: Strategy = rule.parse().unwrap();
        let facts = FieldFacts::new("Field", sf_type, Some(255));
        let mask = ColumnMask::compile(&key, &facts, &strategy).unwrap();
        black_box(mask.mask_column(values));
        let started = Instant::now();
        let mut rounds = 0u32;
        while started.elapsed() < MEASURED {
            black_box(mask.mask_column(black_box(values)));
            rounds += 1;
        }
        let rate = f64::from(rounds) * ROWS as f64 / started.elapsed().as_secs_f64();
        println!("{rule:20} {:6.2} M values/s", rate / 1e6);
    }
}
