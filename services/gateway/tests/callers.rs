//! Who may do what: roles, tokens, throttling, and what the audit log says of it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test file uses a part of it")]
mod bench;

use std::num::NonZeroU32;
use std::time::Duration;

use bench::{Bench, GOOD, SOON, database};
use prost::Message as _;
use syncline_domain::audit::{Broken, Hash, Head, Link, Verifier};
use syncline_domain::{ErrorCode, Role};
use syncline_gateway::config::GatewayConfig;
use syncline_gateway::route::{Home, SERVICES};
use syncline_testkit::{FaultProxy, TestDatabase, eventually};
use syncline_wire::status::code_of;
use syncline_wire::{identity, run, sync};
use tonic::codegen::http;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

/// Calls any method with an empty message.
async fn call(channel: bench::Shown, path: String) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::try_from(path).unwrap();
    let codec = ProstCodec::<run::GetRunRequest, run::GetRunRequest>::default();
    grpc.unary(Request::new(run::GetRunRequest::default()), path, codec).await.map(drop)
}

#[tokio::test]
async fn every_public_method_is_open_to_its_role_and_those_above_and_to_nobody_else() {
    let bench = Bench::start().await;
    for role in Role::ALL {
        let shown = format!("Bearer {}", bench.token(&format!("somebody-{role}"), role.as_str()).await.secret);
        for service in SERVICES {
            for method in service.methods {
                let path = format!("/{}/{}", service.name, method.name);
                let answer = tokio::time::timeout(SOON, call(bench.shown(&shown), path.clone())).await.unwrap();
                let refused = answer.as_ref().err().and_then(code_of) == Some(ErrorCode::Role);
                assert_eq!(refused, role < method.role, "{role} {path}: {answer:?}");
                if refused {
                    let status = answer.unwrap_err();
                    assert_eq!(status.code(), Code::PermissionDenied);
                    assert!(status.message().contains(method.role.as_str()), "{status}");
                }
            }
        }
    }
}

#[test]
fn the_table_and_the_contracts_name_the_same_methods() {
    let contracts = prost_types::FileDescriptorSet::decode(syncline_wire::DESCRIPTORS).unwrap();
    let mut described = Vec::new();
    for file in &contracts.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            // Every service that is not public is named here, so that a new one is thought about.
            if [
                "syncline.access.v1.AccessService",
                "syncline.connection.v1.BreakerService",
                "syncline.run.v1.RunControlService",
                "syncline.analysis.v1.PlanService",
                "syncline.stage.v1.StageService",
                "syncline.stage.v1.RefusalService",
                "syncline.run.v1.ReopenService",
                "syncline.monitor.v1.LetterService",
            ]
            .contains(&name.as_str())
            {
                assert!(SERVICES.iter().all(|s| s.name != name), "{name} is internal");
                continue;
            }
            described.extend(service.method.iter().map(|m| format!("{name}/{}", m.name())));
        }
    }
    let mut table: Vec<String> = SERVICES
        .iter()
        .flat_map(|s| s.methods.iter().map(|m| format!("{}/{}", s.name, m.name)))
        .collect();
    described.sort();
    table.sort();
    assert_eq!(table, described);
    assert!(SERVICES.iter().any(|s| s.home == Home::Here));
}

#[tokio::test]
async fn a_token_is_shown_once_kept_as_a_hash_and_ends_when_it_is_revoked_or_expires() {
    let bench = Bench::start().await;
    let made = bench.token("ci", "operator").await;
    let token = made.token.unwrap();
    let kept: Vec<u8> = sqlx::query_scalar("select hash from token where id = $1")
        .bind(&token.id)
        .fetch_one(&bench.db)
        .await
        .unwrap();
    assert_eq!(kept.len(), 32);
    let held: String = sqlx::query_scalar("select string_agg(t::text, '') from token t")
        .fetch_one(&bench.db)
        .await
        .unwrap();
    assert!(!held.contains(&made.secret), "the secret is in the database");

    let shown = format!("Bearer {}", made.secret);
    let mut tokens = identity::token_service_client::TokenServiceClient::new(bench.shown(&shown));
    let me = tokens.who_am_i(identity::WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!((me.subject.as_str(), me.role.as_str()), ("ci", "operator"));

    let mut admin = identity::token_service_client::TokenServiceClient::new(bench.shown(GOOD));
    for _ in 0..2 {
        let revoked = admin
            .revoke_token(identity::RevokeTokenRequest { id: token.id.clone() })
            .await
            .unwrap();
        assert!(revoked.into_inner().token.unwrap().revoked_at.is_some());
    }
    // A replay of what was good a moment ago.
    let status = tokens.who_am_i(identity::WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(
        (status.code(), code_of(&status)),
        (Code::Unauthenticated, Some(ErrorCode::ApiToken))
    );
    assert!(status.message().contains("revoked"), "{status}");

    let old = bench.token("old", "viewer").await;
    sqlx::query("update token set expires_at = clock_timestamp() - interval '1 second' where id = $1")
        .bind(old.token.unwrap().id)
        .execute(&bench.db)
        .await
        .unwrap();
    let mut tokens = identity::token_service_client::TokenServiceClient::new(bench.shown(&format!("Bearer {}", old.secret)));
    let status = tokens.who_am_i(identity::WhoAmIRequest {}).await.unwrap_err();
    assert!(status.message().contains("expired"), "{status}");
    assert!(!format!("{status:?}").contains(&old.secret), "the answer repeats the token");

    let list = admin
        .list_tokens(identity::ListTokensRequest {
            page_size: 1,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.tokens.len(), 1);
    let request = identity::ListTokensRequest {
        page_size: 5,
        page_token: list.next_page_token,
    };
    let rest = admin.list_tokens(request).await.unwrap().into_inner();
    assert_eq!((rest.tokens.len(), rest.next_page_token.as_str()), (1, ""));
}

#[tokio::test]
async fn a_token_that_makes_no_sense_is_refused_by_field() {
    let bench = Bench::start().await;
    let mut admin = identity::token_service_client::TokenServiceClient::new(bench.shown(GOOD));
    for (subject, role, days, field) in [
        ("", "viewer", 1, "subject"),
        ("a b", "viewer", 1, "subject"),
        ("a\nb", "viewer", 1, "subject"),
        ("bootstrap", "viewer", 1, "subject"),
        ("ci", "root", 1, "role"),
        ("ci", "viewer", 367, "days"),
        ("ci", "viewer", u32::MAX, "days"),
    ] {
        let request = identity::CreateTokenRequest {
            subject: subject.to_owned(),
            role: role.to_owned(),
            days,
        };
        let status = admin.create_token(request).await.unwrap_err();
        let details = status.get_error_details();
        let named = details
            .bad_request()
            .and_then(|b| b.field_violations.first())
            .map(|v| v.field.clone());
        assert_eq!(named.as_deref(), Some(field), "{status}");
    }
}

#[tokio::test]
async fn peers_are_told_who_calls_and_callers_cannot_say_it_themselves() {
    let bench = Bench::start().await;
    let mut runs = run::run_service_client::RunServiceClient::new(bench.caller("ci", "operator").await);
    let mut request = Request::new(run::SubmitRunRequest {
        sync: "nightly".into(),
        ..Default::default()
    });
    request.metadata_mut().insert("syncline-subject", "root".parse().unwrap());
    request.metadata_mut().insert("syncline-role", "admin".parse().unwrap());
    runs.submit_run(request).await.unwrap();
    let seen = bench.coordinator.seen.lock().unwrap().take().unwrap();
    let caller = syncline_wire::caller::Caller::of(&seen).unwrap();
    assert_eq!((caller.subject.as_str(), caller.role), ("ci", Role::Operator));
    assert_eq!(seen.get_all("syncline-subject").iter().count(), 1);
}

async fn links(bench: &Bench) -> (Vec<Link>, Head) {
    let mut audit = identity::audit_service_client::AuditServiceClient::new(bench.shown(GOOD));
    let mut links = Vec::new();
    let mut after = 0;
    loop {
        let request = identity::ListAuditEntriesRequest {
            after,
            page_size: 3,
            ..Default::default()
        };
        let page = audit.list_audit_entries(request).await.unwrap().into_inner();
        links.extend(page.entries.into_iter().map(|e| syncline_wire::audit::link(e).unwrap()));
        after = page.next_after;
        if after == 0 {
            break;
        }
    }
    let head: (i64, Vec<u8>) = sqlx::query_as("select seq, hash from audit_head")
        .fetch_one(&bench.db)
        .await
        .unwrap();
    let head = Head {
        seq: head.0.unsigned_abs(),
        hash: Hash(head.1.try_into().unwrap()),
    };
    // Reading the log is recorded as well.
    links.truncate(usize::try_from(head.seq).unwrap());
    (links, head)
}

fn verify(links: &[Link]) -> Result<Head, Broken> {
    let mut verifier = Verifier::from(Head::EMPTY);
    links.iter().try_for_each(|link| verifier.follow(link))?;
    Ok(verifier.head())
}

#[tokio::test]
async fn everything_is_recorded_who_what_on_what_and_how_it_ended() {
    let bench = Bench::start().await;
    let operator = bench.caller("ci", "operator").await;
    let mut runs = run::run_service_client::RunServiceClient::new(operator);
    let submit = run::SubmitRunRequest {
        sync: "nightly".into(),
        ..Default::default()
    };
    runs.submit_run(submit).await.unwrap();
    let viewer = bench.caller("ann", "viewer").await;
    let mut runs = run::run_service_client::RunServiceClient::new(viewer);
    runs.cancel_run(run::CancelRunRequest { id: "r-1".into() }).await.unwrap_err();
    let mut syncs = sync::sync_service_client::SyncServiceClient::new(bench.shown("Bearer nonsense"));
    syncs.get_sync(sync::GetSyncRequest::default()).await.unwrap_err();
    let mut syncs = sync::sync_service_client::SyncServiceClient::new(bench.shown(GOOD));
    syncs
        .get_sync(sync::GetSyncRequest {
            name: "nightly".into(),
            version: 0,
        })
        .await
        .unwrap();
    syncs.get_sync(sync::GetSyncRequest::default()).await.unwrap_err();

    let wanted = [
        ("ci", "RunService/SubmitRun", "sync/nightly", "", "begun", ""),
        ("ci", "RunService/SubmitRun", "sync/nightly", "production,uat", "OK", ""),
        ("ann", "RunService/CancelRun", "", "", "PERMISSION_DENIED", "AUTH_ROLE_001"),
        ("", "SyncService/GetSync", "", "", "UNAUTHENTICATED", "AUTH_TOKEN_001"),
        ("bootstrap", "SyncService/GetSync", "sync/nightly", "", "OK", ""),
        ("bootstrap", "SyncService/GetSync", "", "", "NOT_FOUND", "SCHEMA_SYNC_002"),
        ("bootstrap", "TokenService/CreateToken", "token/ci", "", "OK", ""),
    ];
    let found = eventually(SOON, || async {
        let (links, _) = links(&bench).await;
        let has = |w: &(&str, &str, &str, &str, &str, &str)| {
            links.iter().any(|l| {
                let e = &l.entry;
                (
                    e.subject.as_str(),
                    e.resource.as_str(),
                    e.connections.as_str(),
                    e.result.as_str(),
                    e.code.as_str(),
                ) == (w.0, w.2, w.3, w.4, w.5)
                    && e.method.ends_with(w.1)
            })
        };
        match wanted.iter().find(|w| !has(w)) {
            None => Ok(links),
            Some(missing) => Err(format!("{missing:?} is not among {links:#?}")),
        }
    })
    .await;
    assert!(found.iter().all(|l| l.entry.address.starts_with("127.0.0.1:")), "{found:#?}");
    assert!(verify(&found).is_ok());
    // The two entries of one change belong together.
    let pair: Vec<&Link> = found.iter().filter(|l| l.entry.method.ends_with("SubmitRun")).collect();
    assert_eq!(pair[0].entry.request, pair[1].entry.request);
}

#[tokio::test]
async fn rows_of_the_log_cannot_be_changed_and_who_does_it_all_the_same_is_found() {
    let bench = Bench::start().await;
    for subject in ["a", "b", "c"] {
        bench.token(subject, "viewer").await;
    }
    let (before, head) = links(&bench).await;
    assert_eq!(verify(&before).map(|h| h.seq).ok(), Some(before.len() as u64));
    assert!(head.seq >= 6);
    for sql in [
        "update audit set subject = 'x' where seq = 2",
        "delete from audit where seq = 2",
        "truncate audit",
    ] {
        let error = sqlx::query(sql).execute(&bench.db).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    // Somebody who owns the database takes the guard away.
    sqlx::query("alter table audit disable trigger audit_append_only")
        .execute(&bench.db)
        .await
        .unwrap();
    for column in [
        "at_us = at_us + 1",
        "request = 'x'",
        "subject = 'x'",
        "role = 'x'",
        "address = 'x'",
        "method = 'x'",
        "resource = 'x'",
        "connections = 'x'",
        "result = 'x'",
        "code = 'x'",
        "previous = '\\x00'",
        "hash = decode(repeat('07', 32), 'hex')",
    ] {
        let mut tx = bench.db.begin().await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!("update audit set {column} where seq = 2")))
            .execute(&mut *tx)
            .await
            .unwrap();
        let touched = syncline_gateway::store::audit_list(&mut *tx, 0, "", "", 1_000).await;
        tx.rollback().await.unwrap();
        assert!(
            touched.is_err() || touched.is_ok_and(|links| verify(&links).is_err()),
            "{column} was not found"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    let test_database = TestDatabase::create().await;
    database(test_database.url()).await.close().await;
    let (proxy, url) = FaultProxy::before(test_database.url(), 5432).await.unwrap();
    let db = database(&url).await;
    let bench = Bench::over(GatewayConfig::default(), db, test_database).await;
    let mut runs = run::run_service_client::RunServiceClient::new(bench.shown(GOOD));
    let submit = run::SubmitRunRequest {
        sync: "nightly".into(),
        ..Default::default()
    };
    runs.submit_run(submit.clone()).await.unwrap();
    bench.coordinator.seen.lock().unwrap().take();
    proxy.refuse();
    proxy.cut();
    let status = runs.submit_run(submit.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), code_of(&status)),
        (Code::Unavailable, Some(ErrorCode::AuditUnavailable)),
        "{status}"
    );
    assert!(bench.coordinator.seen.lock().unwrap().is_none(), "it was done without a record");
    proxy.forward();
    eventually(SOON, || {
        let mut runs = run::run_service_client::RunServiceClient::new(bench.shown(GOOD));
        let submit = submit.clone();
        async move { runs.submit_run(submit).await }
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_requests_in_a_burst_are_answered_or_refused_and_others_do_not_feel_it() {
    let config = GatewayConfig {
        requests_per_second: NonZeroU32::new(100).unwrap(),
        ..GatewayConfig::default()
    };
    let bench = Bench::with(config).await;
    let secret = bench.token("flood", "viewer").await.secret;
    let other = bench.caller("other", "viewer").await;
    let channel = bench.channel();
    let (mut answered, mut refused) = (0, 0);
    let mut calls = tokio::task::JoinSet::new();
    for lane in 0..50 {
        let channel = channel.clone();
        let secret = secret.clone();
        calls.spawn(async move {
            let mut tokens = identity::token_service_client::TokenServiceClient::with_interceptor(channel, move |mut r: Request<()>| {
                r.metadata_mut()
                    .insert("authorization", format!("Bearer {secret}").parse().unwrap());
                Ok(r)
            });
            let mut answers = Vec::new();
            for _ in 0..200 {
                answers.push(tokens.who_am_i(identity::WhoAmIRequest {}).await.map(drop));
            }
            (lane, answers)
        });
    }
    let mut tokens = identity::token_service_client::TokenServiceClient::new(other);
    let meanwhile = tokens.who_am_i(identity::WhoAmIRequest {}).await;
    assert!(meanwhile.is_ok(), "{meanwhile:?}");
    while let Some(lane) = calls.join_next().await {
        for answer in lane.unwrap().1 {
            match answer {
                Ok(()) => answered += 1,
                Err(status) => {
                    assert_eq!(
                        (status.code(), code_of(&status)),
                        (Code::ResourceExhausted, Some(ErrorCode::Throttled)),
                        "{status}"
                    );
                    let wait = status.get_details_retry_info().and_then(|r| r.retry_delay).unwrap();
                    assert!(wait <= Duration::from_secs(1), "{wait:?}");
                    assert!(status.metadata().get("retry-after").is_some());
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(answered + refused, 10_000);
    assert!(answered >= 200 && refused > 1_000, "{answered} answered, {refused} refused");
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down_by_address() {
    let bench = Bench::start().await;
    let mut tokens = identity::token_service_client::TokenServiceClient::new(bench.shown("Bearer guess"));
    let mut codes = Vec::new();
    for _ in 0..60 {
        codes.push(tokens.who_am_i(identity::WhoAmIRequest {}).await.unwrap_err().code());
    }
    let unheard = codes.iter().filter(|c| **c == Code::ResourceExhausted).count();
    assert!(unheard > 10, "{codes:?}");
    assert!(
        codes.iter().all(|c| matches!(c, Code::ResourceExhausted | Code::Unauthenticated)),
        "{codes:?}"
    );
    // Who shows a good token is heard all the same.
    let mut tokens = identity::token_service_client::TokenServiceClient::new(bench.shown(GOOD));
    tokens.who_am_i(identity::WhoAmIRequest {}).await.unwrap();
}

#[tokio::test]
async fn odd_paths_and_messages_are_refused_clearly() {
    let bench = Bench::start().await;
    for path in [
        "/syncline.run.v1.RunService/../run.v1.RunControlService/GetIntent",
        "/syncline.run.v1.RunService/%2e%2e/GetIntent",
        "//syncline.run.v1.RunService/GetRun",
        "/syncline.run.v1.RunService/GetRun/",
        "/syncline.run.v1.RunService/GetRun%00",
        "/syncline.access.v1.AccessService/GetAccess",
        "/nothing",
    ] {
        let status = call(bench.shown(GOOD), path.to_owned()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status}");
    }
    let mut grpc = tonic::client::Grpc::new(bench.shown(GOOD));
    grpc.ready().await.unwrap();
    // A string that is not UTF-8, under the number of a string.
    let path = http::uri::PathAndQuery::from_static("/syncline.run.v1.RunService/GetRun");
    let codec = ProstCodec::<Garbage, run::GetRunResponse>::default();
    let status = grpc
        .unary(Request::new(Garbage { id: vec![0xff, 0xfe] }), path, codec)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), code_of(&status)),
        (Code::InvalidArgument, Some(ErrorCode::RequestInvalid)),
        "{status}"
    );
}

#[derive(Clone, PartialEq, prost::Message)]
struct Garbage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
}
