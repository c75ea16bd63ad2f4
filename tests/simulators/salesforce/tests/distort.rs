//! Answers that are whole, but in an awkward form.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use support::{get, org, send, v65};
use syncline_salesforce_simulator::OrgConfig;

#[test]
fn a_trickled_body_comes_in_chunks_of_one_byte() {
    let org = org(OrgConfig::default());
    let whole = get(&org, "/services/data").body;
    assert!(send(&org, "POST", "/__sim/faults", json!({"kind": "trickle", "times": 2})).status < 300);
    let reply = get(&org, "/services/data");
    assert_eq!((reply.header("transfer-encoding"), reply.header("content-length")), ("chunked", ""));
    assert_eq!(reply.body, whole);

    let mut stream = TcpStream::connect(org.url.trim_start_matches("http://")).unwrap();
    stream
        .write_all(b"GET /services/data HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    let head = raw.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let mut wanted: Vec<u8> = whole.iter().flat_map(|byte| [b'1', b'\r', b'\n', *byte, b'\r', b'\n']).collect();
    wanted.extend_from_slice(b"0\r\n\r\n");
    assert!(raw[head..] == wanted, "other chunks");
}

#[test]
fn a_wrong_content_type_leaves_the_body_alone() {
    let org = org(OrgConfig::default());
    let whole = get(&org, &v65("sobjects")).body;
    let fault = json!({"kind": "content_type", "content_type": "text/html", "path": "sobjects"});
    assert!(send(&org, "POST", "/__sim/faults", fault).status < 300);
    let reply = get(&org, &v65("sobjects"));
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/html"));
    assert_eq!(reply.body, whole);
}
