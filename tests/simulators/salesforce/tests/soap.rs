//! SOAP login and its companions.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Reply, org, try_send};
use syncline_salesforce_simulator::auth::config::LoginConfig;
use syncline_salesforce_simulator::web::markup::{self, Element};
use syncline_salesforce_simulator::{OrgConfig, RunningOrg};

fn call(org: &RunningOrg, kind: &str, version: &str, session: &str, body: &str) -> Reply {
    let envelope = format!(
        r#"<?xml version="1.0" encoding="utf-8"?><env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/" xmlns:urn="urn:partner.soap.sforce.com"><env:Header><urn:CallOptions><urn:client>test</urn:client></urn:CallOptions><urn:SessionHeader><urn:sessionId>{session}</urn:sessionId></urn:SessionHeader></env:Header><env:Body>{body}</env:Body></env:Envelope>"#
    );
    let headers = [("content-type", "text/xml; charset=UTF-8"), ("soapaction", "login")];
    try_send(
        org,
        "POST",
        &format!("/services/Soap/{kind}/{version}"),
        &headers,
        envelope.as_bytes(),
    )
    .unwrap()
}

fn login(org: &RunningOrg, version: &str, username: &str, password: &str) -> Reply {
    let body = format!(
        "<n1:login xmlns:n1=\"urn:partner.soap.sforce.com\"><n1:username>{username}</n1:username><n1:password>{password}</n1:password></n1:login>"
    );
    call(org, "u", version, "", &body)
}

fn inner(reply: &Reply) -> Element {
    let envelope = markup::parse(&reply.body).unwrap();
    envelope.children.into_iter().next().unwrap().children.into_iter().next().unwrap()
}

fn fault(reply: &Reply) -> (String, String) {
    assert_eq!(reply.status, 500, "{}", reply.text());
    let fault = inner(reply);
    assert_eq!(fault.name, "Fault");
    let detail = &fault.child("detail").unwrap().children[0];
    let (code, message) = (detail.value("exceptionCode").unwrap(), detail.value("exceptionMessage").unwrap());
    assert_eq!(fault.value("faultstring").unwrap(), format!("{code}: {message}"));
    (code.into(), message.into())
}

#[test]
fn a_login_opens_a_session_that_rest_accepts_and_logout_ends() {
    let org = org(OrgConfig::default());
    for version in ["50.0", "60.0", "64.0"] {
        let reply = login(&org, version, &org.username.to_uppercase(), "simulator-passwordsimulatorToken");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = inner(&reply);
        let result = answer.child("result").unwrap();
        let token = result.value("sessionId").unwrap();
        assert_eq!(result.value("userId"), Some(org.user_id.as_str()));
        assert_eq!(
            result.value("serverUrl").unwrap(),
            format!("{}/services/Soap/u/{version}/{}", org.url, &org.org_id[..15])
        );
        let info = result.child("userInfo").unwrap();
        assert_eq!(info.value("organizationId"), Some(org.org_id.as_str()));
        assert_eq!(info.value("userName"), Some(org.username.as_str()));
        let bearer = format!("Bearer {token}");
        let rest = |status: u16| {
            let reply = try_send(&org, "GET", "/services/data/v60.0/limits", &[("authorization", &bearer)], b"").unwrap();
            assert_eq!(reply.status, status);
        };
        rest(200);
        let who = call(&org, "u", version, token, "<getUserInfo xmlns=\"urn:partner.soap.sforce.com\"/>");
        assert_eq!(inner(&who).child("result").unwrap().value("userId"), Some(org.user_id.as_str()));
        let time = call(&org, "c", version, token, "<getServerTimestamp/>");
        let time = inner(&time).child("result").unwrap().value("timestamp").unwrap().to_owned();
        assert!(chrono::DateTime::parse_from_rfc3339(&time).is_ok(), "{time}");
        assert_eq!(call(&org, "u", version, token, "<logout/>").status, 200);
        rest(401);
        assert_eq!(fault(&call(&org, "u", version, token, "<logout/>")).0, "INVALID_SESSION_ID");
    }
}

#[test]
fn refused_logins_are_faults_with_the_documented_codes() {
    let org = org(OrgConfig::default());
    for (version, password, code) in [
        ("60.0", "wrong", "INVALID_LOGIN"),
        ("60.0", "simulator-password", "INVALID_LOGIN"),
        ("65.0", "simulator-passwordsimulatorToken", "INVALID_OPERATION"),
        ("30.0", "simulator-passwordsimulatorToken", "UNSUPPORTED_API_VERSION"),
        ("60", "simulator-passwordsimulatorToken", "UNSUPPORTED_API_VERSION"),
    ] {
        assert_eq!(
            fault(&login(&org, version, &org.username, password)).0,
            code,
            "{version} {password}"
        );
    }
    assert!(fault(&login(&org, "66.0", &org.username, "x")).1.contains("(66.0)"));
    let closed = support::org(OrgConfig {
        login: LoginConfig {
            soap_login: false,
            ..LoginConfig::default()
        },
        ..OrgConfig::default()
    });
    let (code, message) = fault(&login(&closed, "60.0", &closed.username, "simulator-passwordsimulatorToken"));
    assert_eq!(code, "INVALID_OPERATION");
    assert!(message.contains("disabled by default"), "{message}");
}

#[test]
fn requests_that_are_none_are_client_faults() {
    let org = org(OrgConfig::default());
    for body in ["", "<unheardOf/>", "<login><username>a</login>"] {
        let reply = call(&org, "u", "60.0", "", body);
        assert_eq!(reply.status, 500);
        let fault = inner(&reply);
        assert_eq!(fault.value("faultcode"), Some("soapenv:Client"), "{}", reply.text());
    }
    assert_eq!(try_send(&org, "GET", "/services/Soap/u/60.0", &[], b"").unwrap().status, 405);
}
