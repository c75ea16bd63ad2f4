//! A bare HTTP/1.1 client and shortcuts, so the org is tested over the wire by code that is
//! nobody's connector.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod pubsub;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_salesforce_simulator::{Org, OrgConfig, RunningOrg};

/// Longest a job may take in these tests.
const JOB_SECS_MAX: u64 = 30;

pub struct Reply {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The `errorCode` of the first error.
    pub fn code(&self) -> String {
        self.json()[0]["errorCode"].as_str().unwrap_or_default().to_owned()
    }
}

pub fn org(config: OrgConfig) -> RunningOrg {
    Org::start(config).unwrap()
}

/// One request on its own connection; `None` when the server cut it.
pub fn try_send(org: &RunningOrg, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
    let address = org.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(JOB_SECS_MAX))).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).ok()?;
    let split = raw.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(raw[..split].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: HashMap<String, String> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(k, v)| (k.to_lowercase(), v.to_owned()))
        .collect();
    let mut body = raw[split + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|v| v == "chunked") {
        body = dechunk(&body)?;
    } else if let Some(length) = headers.get("content-length")
        && body.len() < length.parse::<usize>().ok()?
    {
        return None;
    }
    Some(Reply { status, headers, body })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

pub fn send(org: &RunningOrg, method: &str, path: &str, body: Value) -> Reply {
    let bytes = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let auth = format!("Bearer {}", org.token);
    try_send(
        org,
        method,
        path,
        &[("authorization", &auth), ("content-type", "application/json")],
        &bytes,
    )
    .unwrap()
}

pub fn get(org: &RunningOrg, path: &str) -> Reply {
    send(org, "GET", path, Value::Null)
}

pub fn v65(tail: &str) -> String {
    format!("/services/data/v65.0/{tail}")
}

pub fn soql(org: &RunningOrg, query: &str) -> Reply {
    let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    get(org, &v65(&format!("query?q={encoded}")))
}

/// Polls a job until it is final.
pub fn finished(org: &RunningOrg, path: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(JOB_SECS_MAX);
    loop {
        let job = get(org, path).json();
        if ["JobComplete", "Failed", "Aborted"].contains(&job["state"].as_str().unwrap()) {
            return job;
        }
        assert!(Instant::now() < deadline, "the job is still {}", job["state"]);
        std::thread::yield_now();
    }
}

pub fn create_ingest(org: &RunningOrg, body: Value) -> String {
    let reply = send(org, "POST", &v65("jobs/ingest"), body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

pub fn put_csv(org: &RunningOrg, id: &str, csv: &str) -> Reply {
    let auth = format!("Bearer {}", org.token);
    let path = v65(&format!("jobs/ingest/{id}/batches"));
    try_send(
        org,
        "PUT",
        &path,
        &[("authorization", &auth), ("content-type", "text/csv; charset=UTF-8")],
        csv.as_bytes(),
    )
    .unwrap()
}

/// A whole ingest: the final job, and its three result files.
pub fn ingest(org: &RunningOrg, job: Value, csv: &str) -> (Value, [String; 3]) {
    let id = create_ingest(org, job);
    assert_eq!(put_csv(org, &id, csv).status, 201);
    let path = v65(&format!("jobs/ingest/{id}"));
    assert_eq!(send(org, "PATCH", &path, json!({"state": "UploadComplete"})).status, 200);
    let job = finished(org, &path);
    let file = |name: &str| get(org, &format!("{path}/{name}")).text();
    (
        job,
        [file("successfulResults/"), file("failedResults/"), file("unprocessedrecords/")],
    )
}

/// Rows of a CSV text without its header.
pub fn rows(csv_text: &str) -> Vec<Vec<String>> {
    csv::Reader::from_reader(csv_text.as_bytes())
        .records()
        .map(|r| r.unwrap().iter().map(str::to_owned).collect())
        .collect()
}
