//! Measures the two hot loops on one core: a page of results to Arrow, and Arrow to an upload with digests.
//!
//! `cargo run --release -p syncline-salesforce --example csv_rates`

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use syncline_connect::{Column, Nulls, Query, RowDigester};
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_domain::{FieldName, ObjectName};
use syncline_salesforce::csv_read::PageDecoder;
use syncline_salesforce::csv_write;

const ROWS: u64 = 200_000;
const ROUNDS: u32 = 5;
/// What a body stream hands out at a time.
const CHUNK_BYTES: usize = 64 << 10;

const FIELDS: &[(&str, FieldType, u32)] = &[
    ("Id", FieldType::Id, 0),
    ("Name", FieldType::String, 0),
    ("AccountId", FieldType::Reference, 0),
    ("Email", FieldType::Email, 0),
    ("Phone", FieldType::Phone, 0),
    ("MailingStreet", FieldType::TextArea, 0),
    ("MailingCity", FieldType::String, 0),
    ("Amount__c", FieldType::Number, 2),
    ("Visits__c", FieldType::Int, 0),
    ("Active__c", FieldType::Boolean, 0),
    ("Birthdate", FieldType::Date, 0),
    ("CreatedDate", FieldType::DateTime, 0),
    ("Level__c", FieldType::Picklist, 0),
    ("Fax", FieldType::Phone, 0),
    ("Description", FieldType::TextArea, 0),
];

fn main() {
    let query = Query {
        object: ObjectName::new("Contact").expect("a valid name"),
        fields: FIELDS.iter().map(|(name, t, scale)| field(name, *t, *scale)).collect(),
        filter: None,
        created_before: None,
        order_by: None,
        batch_bytes_max: 512 << 10,
        batch_rows_max: 5_000,
        page_records: 250_000,
    };
    let columns: Vec<Column> = query
        .fields
        .iter()
        .map(|f| Column {
            name: f.name.clone(),
            field_type: f.field_type,
            scale: f.scale,
        })
        .collect();
    let page = page();
    let digester = RowDigester::new([7; 32]);
    let mut report = std::io::stdout().lock();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut batches = VecDeque::new();
        let mut decoder = PageDecoder::new(&query, true, ROWS);
        for chunk in page.as_bytes().chunks(CHUNK_BYTES) {
            decoder.push(chunk, &mut batches).expect("a valid page");
        }
        decoder.finish(&mut batches).expect("a whole page");
        let read = page.len() as f64 / 1e6 / begun.elapsed().as_secs_f64();

        let begun = Instant::now();
        let (mut out, mut digests, mut written) = (Vec::new(), Vec::new(), 0);
        for batch in &batches {
            out.clear();
            digests.clear();
            csv_write::write_rows(&query.object, &columns, batch, Nulls::Omit, &digester, &mut out, &mut digests);
            written += out.len();
        }
        let write = written as f64 / 1e6 / begun.elapsed().as_secs_f64();
        writeln!(report, "csv to arrow {read:.0} MB/s, arrow to csv with digests {write:.0} MB/s").expect("stdout is open");
    }
}

fn field(name: &str, field_type: FieldType, scale: u32) -> FieldPlan {
    FieldPlan {
        name: FieldName::new(name).expect("a valid name"),
        target: FieldName::new(name).expect("a valid name"),
        field_type,
        length: 0,
        precision: 0,
        scale,
        nillable: true,
        unique: false,
        updateable: true,
        role: FieldRole::Value,
        mask: None,
    }
}

fn page() -> String {
    let header: Vec<String> = FIELDS.iter().map(|(name, ..)| format!("\"{name}\"")).collect();
    let mut page = header.join(",") + "\n";
    for i in 0..ROWS {
        let street = if i % 4 == 0 {
            "Main \"\"Court\"\" 5\nRear building"
        } else {
            "Long Road 17"
        };
        let description = if i % 3 == 0 {
            "Met at the fair; wants to be called back, not written to."
        } else {
            ""
        };
        writeln!(
            page,
            "\"003Wy{i:013}\",\"Person {i}\",\"001Wy{:013}\",\"p{i}@example.com\",\"+49 30 {i:07}\",\"{street}\",\"Berlin\",\"{}.{:02}\",\"{}\",\"{}\",\"19{:02}-0{}-1{}\",\"2024-05-{:02}T10:{:02}:31.000Z\",\"Gold\",\"\",\"{description}\"",
            i / 7,
            i * 13 % 100_000,
            i % 100,
            i % 500,
            i % 2 == 0,
            i % 90 + 10,
            i % 9 + 1,
            i % 10,
            i % 28 + 1,
            i % 60,
        )
        .expect("a String takes everything");
    }
    page
}
