//! Every flow against the org simulator, which shares no code with what is tested.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // the bench serves several test programs

mod bench;

use bench::{Bench, Replica};
use secrecy::ExposeSecret;
use syncline_connect::access::fingerprint;
use syncline_domain::ErrorCode;
use syncline_domain::describe::ObjectDescribe;
use syncline_salesforce::oauth::authorize::Authorization;
use syncline_salesforce_simulator::auth::config::LoginConfig;
use syncline_salesforce_simulator::{Flavour, Org, OrgConfig, RunningOrg};
use syncline_wire::access::{DescribeRequest, GetAccessRequest};
use syncline_wire::connection::{Connection, TestConnectionRequest};
use syncline_wire::status::code_of;

const CALLBACK: &str = "http://localhost:1717/OauthRedirect";
const PRIVATE_KEY: &str = include_str!("keys/test-only.pem");
const PUBLIC_KEY: &str = include_str!("keys/test-only.pub.pem");

async fn test(replica: &Replica) -> Connection {
    let request = TestConnectionRequest {
        name: "production".to_owned(),
    };
    let answer = replica.connections.clone().test_connection(request).await.unwrap();
    answer.into_inner().connection.unwrap()
}

fn start(config: OrgConfig) -> RunningOrg {
    Org::start(config).unwrap()
}

#[tokio::test]
async fn client_credentials_reach_a_sandbox_and_describe_it() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let org = start(OrgConfig {
        flavour: Flavour::Sandbox,
        ..OrgConfig::default()
    });
    let auth = format!(
        "{{flow: client_credentials, client_id: {}, client_secret: {{env: S}}}}",
        org.client_id
    );
    let request = Bench::at(&org.url, &auth, &[("client_secret", &org.client_secret)]);
    replica.connections.clone().apply_connection(request).await.unwrap();
    let shown = test(&replica).await;
    assert_eq!(
        (shown.health.as_str(), shown.org_type.as_str()),
        ("Connected", "Sandbox"),
        "{shown:?}"
    );
    assert_eq!(shown.org_id, org.org_id);
    let request = DescribeRequest {
        connection: "production".to_owned(),
        objects: vec!["Account".to_owned(), "Nothing__c".to_owned()],
    };
    let answer = replica.access.clone().describe(request).await.unwrap().into_inner().describes_json;
    let account: ObjectDescribe = serde_json::from_str(&answer[0]).unwrap();
    assert!(account.field("ParentId").is_some());
    assert_eq!(answer[1], "");
}

#[tokio::test]
async fn an_assertion_signed_with_the_key_is_accepted_and_with_another_refused() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let org = start(OrgConfig {
        public_key_pem: Some(PUBLIC_KEY.to_owned()),
        ..OrgConfig::default()
    });
    let auth = format!(
        "{{flow: jwt_bearer, client_id: {}, username: {}, private_key: {{file: /run/key.pem}}}}",
        org.client_id, org.username
    );
    let request = Bench::at(&org.url, &auth, &[("private_key", PRIVATE_KEY)]);
    replica.connections.clone().apply_connection(request).await.unwrap();
    let shown = test(&replica).await;
    assert_eq!(
        (shown.health.as_str(), shown.org_type.as_str()),
        ("Connected", "Production"),
        "{shown:?}"
    );
    let request = Bench::at(&org.url, &auth, &[("private_key", "no key at all")]);
    replica.connections.clone().apply_connection(request).await.unwrap();
    let shown = test(&replica).await;
    assert_eq!(
        (shown.health.as_str(), shown.health_code.as_str()),
        ("Error", "AUTH_CREDENTIALS_001")
    );
    assert!(!shown.health_message.contains("no key at all"));
}

/// What the browser of a person who consents comes back with.
async fn consent(org: &RunningOrg) -> Vec<(&'static str, String)> {
    let authorization = Authorization::begin(&org.url, &org.client_id, CALLBACK).unwrap();
    let browser = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let back = browser.get(&authorization.url).send().await.unwrap();
    let back = reqwest::Url::parse(back.headers()["location"].to_str().unwrap()).unwrap();
    let code = authorization.finish(back.query().unwrap()).unwrap().unwrap();
    vec![
        ("authorization_code", code.code.expose_secret().to_owned()),
        ("code_verifier", code.verifier.expose_secret().to_owned()),
        ("redirect_uri", code.redirect_uri),
    ]
}

#[tokio::test]
async fn a_person_s_consent_is_redeemed_once_and_holds_for_the_same_app_only() {
    let bench = Bench::start().await;
    let replica = bench.replica().await;
    let org = start(OrgConfig {
        rotate_refresh: true,
        login: LoginConfig {
            callbacks: vec![CALLBACK.to_owned()],
            auto_approve: true,
            ..LoginConfig::default()
        },
        ..OrgConfig::default()
    });
    let auth = format!("{{flow: web_server, client_id: {}, client_secret: {{env: S}}}}", org.client_id);
    let request = |auth: &str, more: &[(&'static str, String)]| {
        let mut secrets = vec![("client_secret", org.client_secret.as_str())];
        secrets.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        Bench::at(&org.url, auth, &secrets)
    };
    let apply = async |request| {
        replica
            .connections
            .clone()
            .apply_connection(request)
            .await
            .map(|a| a.into_inner().changed)
    };
    let refused = |result: Result<bool, tonic::Status>| code_of(&result.unwrap_err());

    assert_eq!(
        refused(apply(request(&auth, &[])).await),
        Some(ErrorCode::Credentials),
        "nobody has consented"
    );
    let consented = consent(&org).await;
    let half = request(&auth, &consented[..2]);
    assert_eq!(
        refused(apply(half).await),
        Some(ErrorCode::SyncInvalid),
        "what belongs together comes together"
    );
    assert!(apply(request(&auth, &consented)).await.unwrap());
    assert_eq!(test(&replica).await.health, "Connected");
    // Rotated by now; neither the same document again nor a code that was used takes the consent away.
    assert_eq!(apply(request(&auth, &[])).await.ok(), Some(false));
    assert_eq!(refused(apply(request(&auth, &consented)).await), Some(ErrorCode::Credentials));
    assert_eq!(test(&replica).await.health, "Connected");
    // Another rate, the same app: the consent holds. Another app: it does not.
    let mut faster = request(&auth, &[]);
    faster.yaml.push_str("  requests_per_second: 7\n");
    assert_eq!(apply(faster).await.ok(), Some(true));
    assert_eq!(test(&replica).await.health, "Connected");
    let other = auth.replace(&org.client_id, "another-app");
    assert_eq!(refused(apply(request(&other, &[])).await), Some(ErrorCode::Credentials));
    // A code belongs to the flow with a browser.
    let plain = auth.replace("web_server", "client_credentials");
    assert_eq!(refused(apply(request(&plain, &consented)).await), Some(ErrorCode::SyncInvalid));
}

#[tokio::test]
async fn a_rotating_refresh_token_survives_many_renewals() {
    let bench = Bench::start().await;
    let org = start(OrgConfig {
        rotate_refresh: true,
        ..OrgConfig::default()
    });
    let auth = format!(
        "{{flow: refresh_token, client_id: {}, client_secret: {{env: S}}, refresh_token: {{env: R}}}}",
        org.client_id
    );
    let secrets = [
        ("client_secret", org.client_secret.as_str()),
        ("refresh_token", org.refresh_token.as_str()),
    ];
    let request = Bench::at(&org.url, &auth, &secrets);
    let (one, two) = (bench.replica().await, bench.replica().await);
    one.connections.clone().apply_connection(request.clone()).await.unwrap();
    let mut stale = String::new();
    for turn in 0..6 {
        let replica = if turn % 2 == 0 { &one } else { &two };
        let request = GetAccessRequest {
            connection: "production".to_owned(),
            stale: stale.clone(),
        };
        let token = replica.access.clone().get_access(request).await.unwrap().into_inner().access_token;
        let next = fingerprint(&token);
        assert_ne!(next, stale, "turn {turn}");
        stale = next;
    }
    // Whoever starts again from the first refresh token is refused: it is long dead.
    let mut anew = request;
    anew.yaml = anew.yaml.replace("production", "anew");
    one.connections.clone().apply_connection(anew).await.unwrap();
    let request = GetAccessRequest {
        connection: "anew".to_owned(),
        stale: String::new(),
    };
    let status = one.access.clone().get_access(request).await.unwrap_err();
    assert_eq!(code_of(&status), Some(ErrorCode::Credentials), "{status}");
}
