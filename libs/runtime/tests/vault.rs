//! Key-encryption keys in a Vault, played by a stand-in that follows the transit engine's API.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use syncline_batch::SealingKey;
use syncline_domain::ErrorCode;
use syncline_runtime::keys::provider::{Kek, KeyProvider, LocalKeys, ProviderError};
use syncline_runtime::keys::vault::{Vault, VaultConfig};

const TOKEN: &str = "hvs.a-good-token";

/// Versions of one key per name, made on first use, and whether it is sealed.
#[derive(Default)]
struct Transit {
    versions: Vec<SealingKey>,
    sealed: bool,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Transit>>;

async fn call(
    State(transit): State<Shared>,
    Path((call, key)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let mut transit = transit.lock().unwrap();
    transit.asked.push(format!("{call}/{key}"));
    let refused = |status: StatusCode, why: &str| (status, Json(json!({ "errors": [why] })));
    if transit.sealed {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed");
    }
    if headers.get("x-vault-token").and_then(|v| v.to_str().ok()) != Some(TOKEN) {
        return refused(StatusCode::FORBIDDEN, "permission denied");
    }
    if !key.starts_with("syncline-") {
        return refused(StatusCode::BAD_REQUEST, "encryption key not found");
    }
    let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let place = STANDARD.decode(field("associated_data")).unwrap();
    match call.as_str() {
        "encrypt" => {
            let plain = STANDARD.decode(field("plaintext")).unwrap();
            let sealed = transit.versions.last().unwrap().seal(&place, &plain);
            let text = format!("vault:v{}:{}", transit.versions.len(), STANDARD.encode(sealed));
            (StatusCode::OK, Json(json!({ "data": { "ciphertext": text } })))
        }
        "decrypt" => {
            let text = field("ciphertext");
            let mut parts = text.splitn(3, ':').skip(1);
            let version: usize = parts.next().unwrap().trim_start_matches('v').parse().unwrap();
            let sealed = STANDARD.decode(parts.next().unwrap()).unwrap();
            match transit.versions[version - 1].open(&place, &sealed) {
                Ok(plain) => (StatusCode::OK, Json(json!({ "data": { "plaintext": STANDARD.encode(plain) } }))),
                Err(_) => refused(StatusCode::BAD_REQUEST, "cipher: message authentication failed"),
            }
        }
        _ => refused(StatusCode::NOT_FOUND, "no such call"),
    }
}

async fn stand_in() -> (Shared, String) {
    syncline_runtime::entry::install_crypto();
    let transit = Shared::default();
    transit.lock().unwrap().versions.push(SealingKey::generate());
    let app = Router::new()
        .route("/v1/transit/{call}/{key}", post(call))
        .with_state(Arc::clone(&transit));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (transit, address)
}

fn config(pairs: &[(&str, &str)]) -> Result<Option<VaultConfig>, syncline_runtime::config::ConfigError> {
    VaultConfig::from_lookup(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
}

fn vault(address: &str, token: &str, local: LocalKeys) -> Vault {
    let config = config(&[("SYNCLINE_VAULT_ADDR", address), ("SYNCLINE_VAULT_TOKEN", token)]);
    Vault::new(config.unwrap().unwrap(), local)
}

#[tokio::test]
async fn data_keys_are_wrapped_unwrapped_and_rewrapped_and_bound_to_their_place() {
    let (transit, address) = stand_in().await;
    // As an editor leaves a file: with a line break.
    let vault = vault(&address, &format!("{TOKEN}\n"), LocalKeys::default());
    let data_key = SealingKey::generate();
    for kek in Kek::ALL {
        vault.check(kek).await.unwrap();
    }
    let wrapped = vault.wrap(Kek::Raw, &data_key, "r-1/raw").await.unwrap();
    assert_eq!(
        vault.unwrap(Kek::Raw, &wrapped, "r-1/raw").await.unwrap().expose(),
        data_key.expose()
    );
    let elsewhere = vault.unwrap(Kek::Raw, &wrapped, "r-2/raw").await.unwrap_err();
    assert!(matches!(elsewhere, ProviderError::Refused { kek: Kek::Raw, .. }), "{elsewhere}");
    assert_eq!(
        vault.rewrap(Kek::Raw, &wrapped, "r-1/raw").await.unwrap(),
        None,
        "the newest version already"
    );

    transit.lock().unwrap().versions.push(SealingKey::generate());
    assert!(
        vault.unwrap(Kek::Raw, &wrapped, "r-1/raw").await.is_ok(),
        "older versions still open"
    );
    let rewrapped = vault.rewrap(Kek::Raw, &wrapped, "r-1/raw").await.unwrap().unwrap();
    assert!(rewrapped.starts_with(b"vault:v2:"));
    assert_eq!(
        vault.unwrap(Kek::Raw, &rewrapped, "r-1/raw").await.unwrap().expose(),
        data_key.expose()
    );
    assert!(transit.lock().unwrap().asked.contains(&"encrypt/syncline-kek-raw".to_owned()));
}

#[tokio::test]
async fn an_installation_moves_from_files_into_vault() {
    let (_transit, address) = stand_in().await;
    let local = LocalKeys::default().with(Kek::Credentials, SealingKey::generate(), None);
    let data_key = SealingKey::generate();
    let wrapped = local.wrap(Kek::Credentials, &data_key, "default/production").await.unwrap();
    let vault_with_files = vault(&address, TOKEN, local);
    let place = "default/production";
    assert_eq!(
        vault_with_files.unwrap(Kek::Credentials, &wrapped, place).await.unwrap().expose(),
        data_key.expose()
    );
    let moved = vault_with_files.rewrap(Kek::Credentials, &wrapped, place).await.unwrap().unwrap();
    let alone = vault(&address, TOKEN, LocalKeys::default());
    assert_eq!(
        alone.unwrap(Kek::Credentials, &moved, place).await.unwrap().expose(),
        data_key.expose()
    );
}

#[tokio::test]
async fn a_vault_that_is_away_passes_and_one_that_refuses_does_not() {
    let (transit, address) = stand_in().await;
    let refused = vault(&address, "hvs.revoked", LocalKeys::default())
        .check(Kek::Raw)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    assert!(!refused.to_string().contains("hvs."), "{refused}");
    assert_eq!(refused.code(), ErrorCode::MaskKey);
    transit.lock().unwrap().sealed = true;
    let sealed = vault(&address, TOKEN, LocalKeys::default()).check(Kek::Raw).await.unwrap_err();
    assert!(
        matches!(sealed, ProviderError::Away(_)) && sealed.code().entry().can_retry,
        "{sealed}"
    );
    let gone = vault("http://127.0.0.1:1", TOKEN, LocalKeys::default())
        .check(Kek::Raw)
        .await
        .unwrap_err();
    assert!(matches!(gone, ProviderError::Away(_)), "{gone}");
}

#[test]
fn half_a_setting_and_a_token_in_clear_are_refused() {
    assert!(config(&[]).unwrap().is_none());
    for (pairs, named) in [
        (&[("SYNCLINE_VAULT_ADDR", "https://vault.example")][..], "SYNCLINE_VAULT_TOKEN_FILE"),
        (
            &[("SYNCLINE_VAULT_ADDR", "http://vault.example"), ("SYNCLINE_VAULT_TOKEN", "t")],
            "https://",
        ),
    ] {
        let error = config(pairs).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
