//! Files: versions, documents, links, attachments, and their bytes.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::{Reply, get, org, send, soql, try_send, v65};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn created(org: &RunningOrg, object: &str, body: Value) -> String {
    let reply = send(org, "POST", &v65(&format!("sobjects/{object}")), body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn version(bytes: &[u8]) -> Value {
    json!({"PathOnClient": "notes/plan.v2.txt", "VersionData": STANDARD.encode(bytes)})
}

fn row(org: &RunningOrg, object: &str, id: &str) -> Value {
    get(org, &v65(&format!("sobjects/{object}/{id}"))).json()
}

fn multipart(org: &RunningOrg, path: &str, entity: &Value, field: &str, file: &str, bytes: &[u8]) -> Reply {
    let mut body = format!(
        "--b0undary\r\nContent-Disposition: form-data; name=\"entity_content\";\r\nContent-Type: application/json\r\n\r\n{entity}\r\n\
         --b0undary\r\nContent-Type: application/octet-stream\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file}\"\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--b0undary--\r\n");
    let auth = format!("Bearer {}", org.token);
    let headers = [
        ("authorization", auth.as_str()),
        ("content-type", "multipart/form-data; boundary=\"b0undary\""),
    ];
    try_send(org, "POST", path, &headers, &body).unwrap()
}

#[test]
fn a_first_version_brings_its_document_and_the_owners_link() {
    let org = org(OrgConfig::default());
    let account = created(&org, "Account", json!({"Name": "A"}));
    let mut body = version(b"\x00\xffplan\r\n--x");
    body["FirstPublishLocationId"] = account.as_str().into();
    let id = created(&org, "ContentVersion", body);
    let own = row(&org, "ContentVersion", &id);
    assert_eq!(
        (&own["Title"], &own["FileExtension"], &own["FileType"]),
        (&json!("plan.v2"), &json!("txt"), &json!("TEXT"))
    );
    assert_eq!(
        (&own["ContentSize"], &own["VersionNumber"], &own["IsLatest"]),
        (&json!(11), &json!("1"), &json!(true))
    );
    assert_eq!(own["VersionData"], v65(&format!("sobjects/ContentVersion/{id}/VersionData")));
    // The MD5 of the eleven bytes, by md5sum.
    assert_eq!(own["Checksum"], "cd83561f26db0515b73fd7923852e172");
    let bytes = get(&org, own["VersionData"].as_str().unwrap());
    assert_eq!(bytes.header("content-type"), "application/octet-stream");
    assert_eq!(bytes.body, b"\x00\xffplan\r\n--x");
    let document = own["ContentDocumentId"].as_str().unwrap();
    let shown = row(&org, "ContentDocument", document);
    assert_eq!(
        (&shown["Title"], &shown["LatestPublishedVersionId"]),
        (&json!("plan.v2"), &json!(id))
    );
    let links = soql(
        &org,
        &format!("SELECT LinkedEntityId, ShareType FROM ContentDocumentLink WHERE ContentDocumentId = '{document}' ORDER BY ShareType"),
    )
    .json();
    let shares: Vec<(&str, &str)> = links["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (l["LinkedEntityId"].as_str().unwrap(), l["ShareType"].as_str().unwrap()))
        .collect();
    assert_eq!(shares, [(org.user_id.as_str(), "I"), (account.as_str(), "V")]);
    let unfiltered = soql(&org, "SELECT Id FROM ContentDocumentLink");
    assert_eq!(unfiltered.code(), "MALFORMED_QUERY");
}

#[test]
fn later_versions_number_on_and_their_content_is_final() {
    let org = org(OrgConfig::default());
    let first = created(&org, "ContentVersion", version(b"one"));
    let document = row(&org, "ContentVersion", &first)["ContentDocumentId"].clone();
    let mut second = version(b"second");
    second["ContentDocumentId"] = document.clone();
    second["Title"] = "New title".into();
    let second = created(&org, "ContentVersion", second);
    assert_eq!(row(&org, "ContentVersion", &first)["IsLatest"], false);
    assert_eq!(row(&org, "ContentVersion", &second)["VersionNumber"], "2");
    let shown = row(&org, "ContentDocument", document.as_str().unwrap());
    assert_eq!(
        (&shown["Title"], &shown["ContentSize"], &shown["LatestPublishedVersionId"]),
        (&json!("New title"), &json!(6), &json!(second))
    );
    let path = v65(&format!("sobjects/ContentVersion/{second}"));
    let reply = send(&org, "PATCH", &path, json!({"VersionData": STANDARD.encode("three")}));
    assert_eq!((reply.status, reply.code()), (400, "INVALID_FIELD_FOR_INSERT_UPDATE".into()));
    assert_eq!(get(&org, &format!("{path}/VersionData")).body, b"second");
    assert_eq!(send(&org, "PATCH", &path, json!({"Title": "Renamed"})).status, 204);
    assert_eq!(row(&org, "ContentDocument", document.as_str().unwrap())["Title"], "Renamed");
    // The document goes, and with it everything of the file.
    let path = v65(&format!("sobjects/ContentDocument/{}", document.as_str().unwrap()));
    assert_eq!(send(&org, "DELETE", &path, Value::Null).status, 204);
    assert_eq!((org.count("ContentVersion"), org.count("ContentDocumentLink")), (0, 0));
    assert_eq!(
        get(&org, &v65(&format!("sobjects/ContentVersion/{second}/VersionData"))).status,
        404
    );
}

#[test]
fn refused_files_leave_nothing_behind() {
    let org = org(OrgConfig::default());
    let counts = || ["ContentVersion", "ContentDocument", "ContentDocumentLink"].map(|o| org.count(o));
    let refused = |object: &str, body: Value| {
        let reply = send(&org, "POST", &v65(&format!("sobjects/{object}")), body);
        assert_eq!(reply.status, 400);
        reply.code()
    };
    assert_eq!(
        refused("ContentVersion", json!({"PathOnClient": "x.txt"})),
        "REQUIRED_FIELD_MISSING"
    );
    assert_eq!(
        refused("ContentVersion", json!({"PathOnClient": "x.txt", "VersionData": "§"})),
        "JSON_PARSER_ERROR"
    );
    assert_eq!(refused("ContentDocument", json!({"Title": "x"})), "INVALID_TYPE_FOR_OPERATION");
    assert_eq!(
        refused("Attachment", json!({"Name": "x", "ParentId": org.user_id})),
        "REQUIRED_FIELD_MISSING"
    );
    let records: Vec<Value> = [version(b"1"), json!({"PathOnClient": "x"})]
        .into_iter()
        .map(|mut r| {
            r["attributes"] = json!({"type": "ContentVersion"});
            r
        })
        .collect();
    let answer = send(
        &org,
        "POST",
        &v65("composite/sobjects"),
        json!({"allOrNone": true, "records": records}),
    )
    .json();
    assert_eq!(answer[0]["errors"][0]["statusCode"], "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    assert_eq!(counts(), [0, 0, 0]);
    let account = created(&org, "Account", json!({"Name": "A"}));
    let id = created(&org, "ContentVersion", version(b"x"));
    let document = row(&org, "ContentVersion", &id)["ContentDocumentId"].clone();
    let link = json!({"ContentDocumentId": document, "LinkedEntityId": account, "ShareType": "V"});
    created(&org, "ContentDocumentLink", link.clone());
    assert_eq!(refused("ContentDocumentLink", link), "DUPLICATE_VALUE");
    assert_eq!(counts(), [1, 1, 2]);
}

#[test]
fn records_sent_in_two_parts_keep_every_byte() {
    let org = org(OrgConfig::default());
    let bytes: Vec<u8> = (0..=255u8).cycle().take(100_000).chain(*b"\r\n--b0undar").collect();
    let reply = multipart(
        &org,
        &v65("sobjects/ContentVersion"),
        &json!({"Title": "T"}),
        "VersionData",
        "a.bin",
        &bytes,
    );
    assert_eq!(reply.status, 201, "{}", reply.text());
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(get(&org, &v65(&format!("sobjects/ContentVersion/{id}/VersionData"))).body, bytes);
    assert_eq!(row(&org, "ContentVersion", &id)["PathOnClient"], "a.bin");
    let path = v65("sobjects/ContentVersion");
    for reply in [
        multipart(&org, &path, &json!({"Title": "T"}), "Body", "a.bin", b"x"),
        multipart(&org, &path, &json!([1]), "VersionData", "a.bin", b"x"),
        multipart(&org, &v65("sobjects/Account"), &json!({"Name": "A"}), "Body", "a.bin", b"x"),
    ] {
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
    let auth = format!("Bearer {}", org.token);
    let headers = [
        ("authorization", auth.as_str()),
        ("content-type", "multipart/form-data; boundary=b"),
    ];
    for broken in [
        "",
        "--b",
        "--b\r\n\r\n--b--",
        "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=\"entity_content\"\r\n\r\n{}",
    ] {
        let reply = try_send(&org, "POST", &path, &headers, broken.as_bytes()).unwrap();
        assert_eq!(reply.status, 400, "{broken}");
    }
}

#[test]
fn attachments_and_documents_keep_their_bodies_and_types() {
    let org = org(OrgConfig::default());
    let account = created(&org, "Account", json!({"Name": "A"}));
    let body = json!({"Name": "a.png", "ParentId": account, "ContentType": "image/png", "Body": STANDARD.encode("png!")});
    let id = created(&org, "Attachment", body);
    let own = row(&org, "Attachment", &id);
    assert_eq!(
        (&own["BodyLength"], &own["Body"]),
        (&json!(4), &json!(v65(&format!("sobjects/Attachment/{id}/Body"))))
    );
    let path = v65(&format!("sobjects/Attachment/{id}"));
    let reply = get(&org, &format!("{path}/Body"));
    assert_eq!((reply.header("content-type"), reply.body.as_slice()), ("image/png", &b"png!"[..]));
    assert_eq!(send(&org, "PATCH", &path, json!({"Body": STANDARD.encode("another")})).status, 204);
    assert_eq!(get(&org, &format!("{path}/Body")).body, b"another");
    let in_query = soql(&org, "SELECT Body, BodyLength FROM Attachment").json()["records"][0].clone();
    assert_eq!((&in_query["BodyLength"], &in_query["Body"]), (&json!(7), &own["Body"]));
    let body = json!({"Name": "d", "DeveloperName": "d", "FolderId": org.user_id, "Body": STANDARD.encode("doc")});
    let document = created(&org, "Document", body);
    assert_eq!(get(&org, &v65(&format!("sobjects/Document/{document}/Body"))).body, b"doc");
    send(&org, "DELETE", &v65(&format!("sobjects/Account/{account}")), Value::Null);
    assert_eq!(org.count("Attachment"), 0);
}

#[test]
fn files_fill_the_file_storage_and_not_the_data_storage() {
    let org = org(OrgConfig {
        storage_mb: 3,
        ..OrgConfig::default()
    });
    let left = |key: &str| get(&org, &v65("limits")).json()[key]["Remaining"].as_u64().unwrap();
    let data = left("DataStorageMB");
    assert_eq!(left("FileStorageMB"), 3);
    created(&org, "ContentVersion", version(&vec![b'x'; 2 * 1024 * 1024]));
    assert_eq!((left("FileStorageMB"), left("DataStorageMB")), (1, data));
    let reply = send(&org, "POST", &v65("sobjects/ContentVersion"), version(&vec![b'x'; 2 * 1024 * 1024]));
    assert_eq!((reply.status, reply.code()), (400, "STORAGE_LIMIT_EXCEEDED".into()));
    assert_eq!(org.count("ContentDocument"), 1);
}

/// A collection request: the records, then parts of bytes by name.
fn collection(org: &RunningOrg, records: &Value, parts: &[(&str, &str, &[u8])]) -> Reply {
    let body = json!({"allOrNone": false, "records": records});
    let mut out =
        format!("--b\r\nContent-Disposition: form-data; name=\"collection\"\r\nContent-Type: application/json\r\n\r\n{body}").into_bytes();
    for (name, file, bytes) in parts {
        let head = format!(
            "\r\n--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(b"\r\n--b--\r\n");
    let auth = format!("Bearer {}", org.token);
    let headers = [
        ("authorization", auth.as_str()),
        ("content-type", "multipart/form-data; boundary=b"),
    ];
    try_send(org, "POST", &v65("composite/sobjects"), &headers, &out).unwrap()
}

#[test]
fn records_of_one_collection_find_their_bytes_by_name() {
    let org = org(OrgConfig::default());
    let account = created(&org, "Account", json!({"Name": "A"}));
    let attributes = |kind: &str, part: &str, field: &str| json!({"type": kind, "binaryPartName": part, "binaryPartNameAlias": field});
    let records = json!([
        {"attributes": attributes("ContentVersion", "one", "VersionData"), "Title": "T"},
        {"attributes": {"type": "Account"}, "Name": "B"},
        {"attributes": attributes("Attachment", "two", "Body"), "Name": "a.bin", "ParentId": account},
    ]);
    let reply = collection(&org, &records, &[("two", "y", b"\x01\r\n--c"), ("one", "x.txt", b"\x00first")]);
    let results = reply.json();
    assert_eq!(reply.status, 200);
    assert!(results.as_array().unwrap().iter().all(|r| r["success"] == true), "{results}");
    let id = |at: usize| results[at]["id"].as_str().unwrap().to_owned();
    let bytes = |tail: String| get(&org, &v65(&format!("sobjects/{tail}"))).body;
    assert_eq!(bytes(format!("ContentVersion/{}/VersionData", id(0))), b"\x00first");
    assert_eq!(row(&org, "ContentVersion", &id(0))["PathOnClient"], "x.txt");
    assert_eq!(bytes(format!("Attachment/{}/Body", id(2))), b"\x01\r\n--c");
    let missing = collection(&org, &records, &[("one", "x", b"1")]);
    assert_eq!((missing.status, missing.code().as_str()), (400, "INVALID_MULTIPART_REQUEST"));
    let nameless = json!([{"attributes": {"type": "ContentVersion", "binaryPartName": "one"}}]);
    assert_eq!(collection(&org, &nameless, &[("one", "x", b"1")]).status, 400);
}
