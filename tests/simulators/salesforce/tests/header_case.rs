//! Header names as a real org writes them: clients in the field look for them in that case.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use syncline_salesforce_simulator::OrgConfig;

#[test]
fn header_names_begin_with_capitals() {
    let org = support::org(OrgConfig::default());
    let mut stream = TcpStream::connect(org.url.trim_start_matches("http://")).unwrap();
    let token = &org.token;
    write!(
        stream,
        "GET /services/data/v65.0/limits HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    for name in ["\r\nContent-Type: application/json", "\r\nSforce-Limit-Info: api-usage="] {
        assert!(head.contains(name), "{head}");
    }
}
