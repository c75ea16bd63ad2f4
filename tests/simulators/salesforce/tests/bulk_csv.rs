//! The CSV of Bulk API 2.0: dialects in both directions, cells that need quotes, and sizes.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;

use serde_json::{Value, json};
use support::{create_ingest, get, ingest, org, put_csv, rows, send, try_send, v65};
use syncline_salesforce_simulator::OrgConfig;

const DELIMITERS: [(&str, char); 6] = [
    ("COMMA", ','),
    ("TAB", '\t'),
    ("SEMICOLON", ';'),
    ("PIPE", '|'),
    ("CARET", '^'),
    ("BACKQUOTE", '`'),
];

fn insert() -> Value {
    json!({"object": "Account", "operation": "insert"})
}

fn parsed(text: &str, delimiter: char) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter as u8)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let row = |record: csv::StringRecord| record.iter().map(str::to_owned).collect();
    reader.records().map(|record| row(record.unwrap())).collect()
}

#[test]
fn every_delimiter_and_line_ending_goes_both_ways() {
    let org = org(OrgConfig::default());
    for (name, delimiter) in DELIMITERS {
        for (ending, line) in [("LF", "\n"), ("CRLF", "\r\n")] {
            let dialect = |mut body: Value| {
                body["columnDelimiter"] = name.into();
                body["lineEnding"] = ending.into();
                body
            };
            // The cell holds the delimiter, quotes and both line ends; they come back as they went.
            let cell = format!("a{delimiter}b \"q\"\n,;\r\nend");
            let key = format!("{name}-{ending}");
            let quoted = cell.replace('"', "\"\"");
            let csv = format!(
                "Ext_Id__c{delimiter}Name{delimiter}Description{line}{key}{delimiter}N{delimiter}\"{quoted}\"{line}\"{key}\"{delimiter}{delimiter}x{line}"
            );
            let (job, [good, bad, rest]) = ingest(&org, dialect(insert()), &csv);
            assert_eq!((&job["columnDelimiter"], &job["lineEnding"]), (&json!(name), &json!(ending)));
            assert_eq!(
                (&job["state"], &job["numberRecordsFailed"]),
                (&json!("JobComplete"), &json!(1)),
                "{job}"
            );
            assert!(good.starts_with(&format!(
                "\"sf__Id\"{delimiter}\"sf__Created\"{delimiter}Ext_Id__c{delimiter}Name{delimiter}Description{line}"
            )));
            assert!(good.ends_with(&format!("{delimiter}N{delimiter}\"{quoted}\"{line}")), "{good:?}");
            assert_eq!(parsed(&good, delimiter)[1][4], cell);
            assert!(parsed(&bad, delimiter)[1][1].starts_with("REQUIRED_FIELD_MISSING:"));
            assert_eq!(rest, format!("Ext_Id__c{delimiter}Name{delimiter}Description{line}"));
            let query = format!("SELECT Ext_Id__c, Description, Name FROM Account WHERE Ext_Id__c = '{key}'");
            let reply = send(
                &org,
                "POST",
                &v65("jobs/query"),
                dialect(json!({"operation": "query", "query": query})),
            );
            let id = reply.json()["id"].as_str().unwrap().to_owned();
            let text = get(&org, &v65(&format!("jobs/query/{id}/results"))).text();
            assert_eq!(
                text,
                format!(
                    "\"Ext_Id__c\"{delimiter}\"Description\"{delimiter}\"Name\"{line}\"{key}\"{delimiter}\"{quoted}\"{delimiter}\"N\"{line}"
                )
            );
        }
    }
    for (key, value) in [("columnDelimiter", "SPACE"), ("lineEnding", "CR"), ("contentType", "JSON")] {
        let mut body = insert();
        body[key] = value.into();
        assert_eq!(send(&org, "POST", &v65("jobs/ingest"), body).status, 400, "{key}");
        let mut body = json!({"operation": "query", "query": "SELECT Id FROM Account"});
        body[key] = value.into();
        assert_eq!(send(&org, "POST", &v65("jobs/query"), body).status, 400, "{key}");
    }
}

#[test]
fn cells_mean_what_their_quotes_say() {
    let org = org(OrgConfig::default());
    let csv = "\u{feff}Name,Site,Fax\n\"\",a,\n\"Q\"\"\",\"\"\"\",\"\"\n Padded ,\" in \",\" \"\n\"#N/A\",n,#N/A\nΩ,\"ö,\n\u{1f600}\",1\n";
    let (job, [good, bad, _]) = ingest(&org, insert(), csv);
    assert_eq!(job["state"], "JobComplete");
    // An empty name is none, quoted or not; so is the word for null.
    let refused: Vec<String> = rows(&bad).iter().map(|r| r[3].clone()).collect();
    assert_eq!(
        (refused.len(), refused.contains(&"a".into()), refused.contains(&"n".into())),
        (2, true, true)
    );
    let sites: Vec<String> = rows(&good).iter().map(|r| r[3].clone()).collect();
    for site in ["\"", " in ", "ö,\n\u{1f600}"] {
        assert!(sites.contains(&site.to_owned()), "{sites:?}");
    }
}

#[test]
fn a_blank_beside_a_quoted_cell_refuses_the_row_and_no_other() {
    let org = org(OrgConfig::default());
    let csv = "Name,Site\nA, \"b\"\n\"C\" ,d\nE,f g\n";
    let (job, [good, bad, rest]) = ingest(&org, insert(), csv);
    assert_eq!((&job["state"], &job["numberRecordsFailed"]), (&json!("JobComplete"), &json!(2)));
    assert_eq!(rows(&good).len(), 1);
    assert!(bad.contains("A, \"b\"\n") && bad.contains("\"C\" ,d\n"), "{bad}");
    assert_eq!(rest, "Name,Site\n");
}

#[test]
fn sizes_beyond_the_limits_fail_the_job() {
    let org = org(OrgConfig::default());
    let long = "x".repeat(131_073);
    let many: Vec<String> = (0..5_001).map(|i| format!("F{i}")).collect();
    for (csv, says) in [
        (
            format!("Name,Description\nA,b\nB,{long}\n"),
            "Row 2 has a field of more than 131072 characters",
        ),
        (
            format!("Name,Description\nA,\"{}\"\n", "y,".repeat(200_001)),
            "Row 1 exceeds 400000 characters",
        ),
        (format!("{}\nA\n", "H".repeat(32_001)), "The header exceeds 32000 characters"),
        (format!("{}\n", many.join(",")), "The header has more than 5000 fields"),
    ] {
        let (job, _) = ingest(&org, insert(), &csv);
        assert_eq!(job["state"], "Failed");
        assert_eq!(job["errorMessage"], format!("InvalidBatch : {says}"));
    }
    assert_eq!(org.count("Account"), 1, "the row before a long one is kept");
}

#[test]
fn an_upload_beyond_the_limit_is_refused_packed_or_not() {
    let org = org(OrgConfig {
        upload_bytes_max: 1000,
        ..OrgConfig::default()
    });
    let id = create_ingest(&org, insert());
    let large = format!("Name\n{}", "n\n".repeat(500));
    assert_eq!(put_csv(&org, &id, &large).status, 413);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(large.as_bytes()).unwrap();
    let auth = format!("Bearer {}", org.token);
    let headers = [
        ("authorization", auth.as_str()),
        ("content-type", "text/csv"),
        ("content-encoding", "gzip"),
    ];
    let path = v65(&format!("jobs/ingest/{id}/batches"));
    let reply = try_send(&org, "PUT", &path, &headers, &packed.finish().unwrap()).unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (413, "EXCEEDED_MAX_SIZE_REQUEST"));
    // The job still waits for its upload.
    assert_eq!(put_csv(&org, &id, &large[..999]).status, 201);
    let multipart = |content: &str| {
        let body = format!(
            "--b\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{}\r\n\
             --b\r\nContent-Type: text/csv\r\nContent-Disposition: form-data; name=\"content\"; filename=\"content\"\r\n\r\n{content}\r\n--b--\r\n",
            insert()
        );
        let headers = [
            ("authorization", auth.as_str()),
            ("content-type", "multipart/form-data; boundary=b"),
        ];
        try_send(&org, "POST", &v65("jobs/ingest"), &headers, body.as_bytes()).unwrap()
    };
    assert_eq!(multipart("Name\nA\n").json()["state"], "UploadComplete");
    assert_eq!(multipart(&"n".repeat(100_001)).code(), "INVALIDMULTIPART");
}
