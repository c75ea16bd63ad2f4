//! Tokens of an OpenID Connect issuer, signed by keys made here, published by a stand-in on loopback.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test file uses a part of it")]
mod bench;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bench::{Bench, SOON, listen};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use syncline_domain::ErrorCode;
use syncline_gateway::config::{GatewayConfig, OidcConfig};
use syncline_testkit::eventually;
use syncline_wire::identity;
use syncline_wire::status::code_of;
use tonic::{Code, Status};

const AUDIENCE: &str = "syncline";

/// An issuer with one key of each kind that can be made here.
struct Issuer {
    url: String,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    fetches: Arc<AtomicUsize>,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    async fn start() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let ed25519 = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
        let (listener, address) = listen().await;
        let url = format!("http://{address}");
        let point = p256.public_key().as_ref().to_vec();
        let keys = json!({"keys": [
            {"kid": "ec", "kty": "EC", "crv": "P-256", "use": "sig", "x": encode(&point[1..33]), "y": encode(&point[33..65])},
            {"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": encode(ed25519.public_key().as_ref())},
            {"kid": "twice", "kty": "OKP", "crv": "Ed25519", "x": encode(ed25519.public_key().as_ref())},
            {"kid": "twice", "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65])},
            {"kid": "odd", "kty": "oct", "k": "c2VjcmV0"},
            7
        ]});
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fetches);
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || async move { axum::Json(discovery) }),
            )
            .route(
                "/keys",
                get(move || async move {
                    counted.fetch_add(1, Ordering::Relaxed);
                    axum::Json(keys)
                }),
            );
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            p256,
            ed25519,
            fetches,
        }
    }

    fn claims(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({"iss": self.url, "sub": "ann@example.com", "aud": AUDIENCE, "exp": now + 300, "iat": now, "roles": ["operator"]})
    }

    fn sign(&self, header: &Value, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims));
        let signature = match header["kid"].as_str() {
            Some("ec") => self.p256.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            _ => self.ed25519.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", encode(signature))
    }

    fn token(&self, change: impl Fn(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &claims.to_string())
    }
}

async fn bench(issuer: &Issuer) -> Bench {
    syncline_runtime::entry::install_crypto();
    Bench::with(GatewayConfig {
        oidc: Some(OidcConfig {
            issuer: issuer.url.clone(),
            audience: AUDIENCE.to_owned(),
            roles_claim: "roles".to_owned(),
        }),
        ..GatewayConfig::default()
    })
    .await
}

async fn who(bench: &Bench, token: &str) -> Result<(String, String), Status> {
    let mut tokens = identity::token_service_client::TokenServiceClient::new(bench.shown(&format!("Bearer {token}")));
    let me = tokens.who_am_i(identity::WhoAmIRequest {}).await?.into_inner();
    Ok((me.subject, me.role))
}

#[tokio::test]
async fn a_person_of_the_issuer_is_recognised_by_each_kind_of_key() {
    let issuer = Issuer::start().await;
    let bench = bench(&issuer).await;
    let claims = issuer.claims().to_string();
    for header in [
        json!({"alg": "ES256", "kid": "ec", "typ": "JWT"}),
        json!({"alg": "EdDSA", "kid": "ed"}),
    ] {
        let me = who(&bench, &issuer.sign(&header, &claims)).await.unwrap();
        assert_eq!(me, ("ann@example.com".to_owned(), "operator".to_owned()), "{header}");
    }
    let many = issuer.token(|c| c["aud"] = json!(["other", AUDIENCE]));
    assert!(who(&bench, &many).await.is_ok());
    assert_eq!(issuer.fetches.load(Ordering::Relaxed), 1, "keys are fetched once");
    // An API token still serves beside it.
    let mut tokens = identity::token_service_client::TokenServiceClient::new(bench.caller("ci", "viewer").await);
    tokens.who_am_i(identity::WhoAmIRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_is_refused_with_its_reason() {
    let issuer = Issuer::start().await;
    let bench = bench(&issuer).await;
    let other = Issuer::start().await;
    let good = issuer.token(|_| {});
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let mut forged = issuer.claims();
    forged["roles"] = json!(["admin"]);
    let twice = issuer.claims().to_string().replace("{", "{\"sub\":\"root\",");
    let cases = [
        (format!("{header}.{}.{signature}", encode(forged.to_string())), "signature"),
        (format!("{head}.{}", encode([7; 64])), "signature"),
        (format!("{head}."), "signature"),
        (
            issuer.sign(&json!({"alg": "none", "kid": "ed"}), &issuer.claims().to_string()),
            "algorithm",
        ),
        (
            issuer.sign(&json!({"alg": "HS256", "kid": "odd"}), &issuer.claims().to_string()),
            "algorithm",
        ),
        (
            issuer.sign(&json!({"alg": "ES256", "kid": "ed"}), &issuer.claims().to_string()),
            "algorithm",
        ),
        (
            issuer.sign(&json!({"alg": "RS256", "kid": "ec"}), &issuer.claims().to_string()),
            "algorithm",
        ),
        (
            issuer.sign(
                &json!({"alg": "EdDSA", "kid": "ed", "crit": ["x"], "x": 1}),
                &issuer.claims().to_string(),
            ),
            "algorithm",
        ),
        (issuer.sign(&json!({"alg": "EdDSA"}), &issuer.claims().to_string()), "key"),
        (
            issuer.sign(&json!({"alg": "EdDSA", "kid": "gone"}), &issuer.claims().to_string()),
            "key",
        ),
        (
            issuer.sign(&json!({"alg": "EdDSA", "kid": "twice"}), &issuer.claims().to_string()),
            "key",
        ),
        (other.token(|c| c["iss"] = json!(issuer.url)), "signature"),
        (issuer.token(|c| c["iss"] = json!(other.url)), "issuer"),
        (issuer.token(|c| c["aud"] = json!("somebody else")), "audience"),
        (issuer.token(|c| c["aud"] = json!([])), "audience"),
        (issuer.token(|c| c["exp"] = json!(1_700_000_000)), "expired"),
        (issuer.token(|c| c["nbf"] = json!(c["exp"].as_u64().unwrap())), "not valid yet"),
        (issuer.token(|c| c["roles"] = json!(["staff"])), "role"),
        (
            issuer.token(|c| {
                c.as_object_mut().unwrap().remove("exp");
            }),
            "read",
        ),
        (issuer.token(|c| c["sub"] = json!("a\r\nsyncline-role: admin")), "read"),
        (issuer.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &twice), "read"),
        ("a.b.c".to_owned(), "read"),
        ("..".to_owned(), "read"),
    ];
    for (token, why) in cases {
        // Guessing is slowed down: whoever failed twenty times waits a moment.
        let status = eventually(SOON, || async {
            match who(&bench, &token).await {
                Err(status) if status.code() != Code::ResourceExhausted => Ok(status),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(
            (status.code(), code_of(&status)),
            (Code::Unauthenticated, Some(ErrorCode::ApiToken)),
            "{why}: {status}"
        );
        assert!(status.message().contains(why), "{why}: {status}");
    }
    assert!(who(&bench, &good).await.is_ok(), "the good one is still good");
    // Unknown keys were asked for at most once more within the pause.
    assert!(issuer.fetches.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_not_the_callers_fault() {
    let issuer = Issuer::start().await;
    let token = issuer.token(|_| {});
    let away = Issuer {
        url: format!("http://127.0.0.1:{}", syncline_testkit::free_port()),
        ..issuer
    };
    let bench = bench(&away).await;
    let status = who(&bench, &token).await.unwrap_err();
    assert_eq!(
        (status.code(), code_of(&status)),
        (Code::Unavailable, Some(ErrorCode::Unreachable)),
        "{status}"
    );
}
