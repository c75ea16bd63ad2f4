//! The connector alone on one core: pages of a query job over loopback to Arrow batches that are thrown away.
//!
//! The pages are ready-made, so the server costs next to nothing; it runs in a process of its own, on the other core:
//!
//! ```text
//! cargo build --release -p syncline-salesforce --example page_rates
//! taskset -c 1 target/release/examples/page_rates serve 127.0.0.1:8099 &
//! taskset -c 0 target/release/examples/page_rates read http://127.0.0.1:8099
//! ```
//!
//! Printed per page size: megabytes of CSV per second of wall clock and per second of this process's CPU time (the
//! figure that a busy machine does not change), and the peak of memory so far. Sizes grow, so a peak that follows the
//! page would show.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Query as Parameters, State};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use syncline_connect::retry::RetryPolicy;
use syncline_connect::{Access, AccessToken, ConnectError, Generation, Query, Source, Usage};
use syncline_domain::describe::FieldType;
use syncline_domain::plan::{FieldPlan, FieldRole};
use syncline_domain::{FieldName, ObjectName};
use syncline_salesforce::Salesforce;

/// Rows of the block that pages are made of.
const BLOCK_ROWS: u64 = 1_000;
/// Rows that are read per page size.
const ROWS: u64 = 2_000_000;
/// As many as an object of that many rows would have at most; more would only repeat.
const PAGES_MAX: u64 = 500;
const PAGE_ROWS: [u64; 3] = [1_000, 100_000, 1_000_000];

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

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", address] => runtime.block_on(serve(address)),
        ["read", url] => runtime.block_on(read(url)),
        _ => anyhow::bail!("usage: page_rates serve ADDRESS | page_rates read URL"),
    }
}

#[derive(Clone)]
struct Pages {
    header: Bytes,
    block: Bytes,
}

async fn serve(address: &str) -> anyhow::Result<()> {
    let pages = Pages {
        header: Bytes::from(FIELDS.iter().map(|(name, ..)| format!("\"{name}\"")).collect::<Vec<_>>().join(",") + "\n"),
        block: Bytes::from((0..BLOCK_ROWS).map(row).collect::<String>()),
    };
    let app = axum::Router::new().fallback(page).with_state(pages);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await.context("the server of pages")
}

#[derive(serde::Deserialize)]
struct Asked {
    #[serde(rename = "maxRecords")]
    rows: u64,
    #[serde(default)]
    locator: u64,
}

async fn page(State(pages): State<Pages>, Parameters(asked): Parameters<Asked>) -> Response {
    let last = asked.locator + 1 >= page_count(asked.rows);
    let blocks = usize::try_from(asked.rows / BLOCK_ROWS).unwrap_or(0);
    let chunks = stream::iter(std::iter::once(pages.header).chain(std::iter::repeat_n(pages.block, blocks)));
    Response::builder()
        .header("content-type", "text/csv; charset=UTF-8")
        .header("sforce-numberofrecords", asked.rows)
        .header(
            "sforce-locator",
            if last { "null".to_owned() } else { (asked.locator + 1).to_string() },
        )
        .body(Body::from_stream(chunks.map(Ok::<_, std::convert::Infallible>)))
        .unwrap_or_default()
}

fn page_count(rows: u64) -> u64 {
    (ROWS / rows).min(PAGES_MAX)
}

async fn read(url: &str) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let org = Salesforce::new(Arc::new(Free(url.to_owned())), RetryPolicy::default())?;
    let bytes_per_row = (0..BLOCK_ROWS).map(|i| row(i).len() as u64).sum::<u64>() as f64 / BLOCK_ROWS as f64;
    let mut report = std::io::stdout().lock();
    for page_rows in PAGE_ROWS {
        let query = query(page_rows)?;
        let (begun, cpu) = (Instant::now(), cpu_time()?);
        let (mut rows, mut cursor) = (0, None);
        loop {
            let mut page = org.read(&Generation("750A".into()), &query, cursor.as_deref()).await?;
            while let Some(batch) = page.batches.next().await {
                rows += batch?.num_rows() as u64;
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let megabytes = rows as f64 * bytes_per_row / 1e6;
        let (wall, cpu) = (begun.elapsed(), cpu_time()? - cpu);
        writeln!(
            report,
            "pages of {page_rows:>7} rows: {megabytes:.0} MB in {:.1} s: {:.0} MB/s, {:.0} MB per CPU second, peak {} MiB",
            wall.as_secs_f64(),
            megabytes / wall.as_secs_f64(),
            megabytes / cpu.as_secs_f64(),
            peak_kib()? / 1024
        )?;
    }
    Ok(())
}

/// User and system time of this process (proc(5), `stat`, fields 14 and 15, in hundredths).
fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("the form of /proc/self/stat")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<u64> { Ok(fields.get(at).context("the form of /proc/self/stat")?.parse()?) };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

fn peak_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_ascii_whitespace().next().context("no VmHWM")?.parse()?)
}

/// Access without tokens or quota.
#[derive(Debug)]
struct Free(String);

#[async_trait]
impl Access for Free {
    async fn token(&self) -> Result<AccessToken, ConnectError> {
        Ok(AccessToken::new(self.0.clone(), "65.0".into(), "t".into()))
    }

    async fn refresh(&self, stale: &AccessToken) -> Result<AccessToken, ConnectError> {
        Ok(stale.clone())
    }

    async fn permit(&self, _: u32) -> Result<(), ConnectError> {
        Ok(())
    }

    fn observe(&self, _: Usage) {}
}

fn query(page_rows: u64) -> anyhow::Result<Query> {
    let fields = FIELDS.iter().map(|(name, field_type, scale)| {
        Ok(FieldPlan {
            name: FieldName::new(*name)?,
            target: FieldName::new(*name)?,
            field_type: *field_type,
            length: 0,
            precision: 0,
            scale: *scale,
            nillable: true,
            unique: false,
            updateable: true,
            role: FieldRole::Value,
            mask: None,
        })
    });
    Ok(Query {
        object: ObjectName::new("Contact")?,
        fields: fields.collect::<anyhow::Result<_>>()?,
        filter: None,
        created_before: None,
        order_by: None,
        batch_bytes_max: 2 << 20,
        batch_rows_max: 5_000,
        page_records: u32::try_from(page_rows)?,
    })
}

fn row(i: u64) -> String {
    let street = if i.is_multiple_of(4) {
        "Main \"\"Court\"\" 5\nRear building"
    } else {
        "Long Road 17"
    };
    let description = if i.is_multiple_of(3) {
        "Met at the fair; wants to be called back, not written to."
    } else {
        ""
    };
    format!(
        "\"003Wy{i:013}\",\"Person {i}\",\"001Wy{:013}\",\"p{i}@example.com\",\"+49 30 {i:07}\",\"{street}\",\"Berlin\",\"{}.{:02}\",\"{}\",\"{}\",\"19{:02}-0{}-1{}\",\"2024-05-{:02}T10:{:02}:31.000Z\",\"Gold\",\"\",\"{description}\"\n",
        i / 7,
        i * 13 % 100_000,
        i % 100,
        i % 500,
        i.is_multiple_of(2),
        i % 90 + 10,
        i % 9 + 1,
        i % 10,
        i % 28 + 1,
        i % 60,
    )
}
