//! Definitions: versions, what makes one, and what is refused.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::{Desk, yaml};
use syncline_domain::ErrorCode;
use syncline_wire::status::code_of;
use syncline_wire::sync::sync_service_server::SyncService;
use syncline_wire::sync::{GetSyncRequest, ListSyncsRequest};
use tonic::{Code, Request};

#[tokio::test]
async fn a_new_meaning_is_a_new_version_and_comments_are_none() {
    let desk = Desk::start().await;
    let first = desk.apply(&yaml("a", "uat")).await.unwrap();
    assert_eq!((first.changed, first.sync.as_ref().unwrap().version), (true, 1));

    let commented = format!(
        "# nightly\n{}",
        yaml("a", "uat").replace("  target: uat", "  # where to\n  target:   'uat'")
    );
    let same = desk.apply(&commented).await.unwrap();
    assert_eq!((same.changed, same.sync.as_ref().unwrap().version), (false, 1));
    assert_eq!(same.sync.unwrap().yaml, yaml("a", "uat"), "the stored text stays");

    let second = desk.apply(&yaml("a", "dev")).await.unwrap();
    assert_eq!((second.changed, second.sync.as_ref().unwrap().version), (true, 2));
    // Back to the first meaning is a third version: history is not rewritten.
    assert_eq!(desk.apply(&yaml("a", "uat")).await.unwrap().sync.unwrap().version, 3);

    let get = |version| {
        let request = GetSyncRequest {
            name: "a".to_owned(),
            version,
        };
        desk.syncs.get_sync(Request::new(request))
    };
    assert_eq!(get(0).await.unwrap().into_inner().sync.unwrap().version, 3);
    assert_eq!(get(2).await.unwrap().into_inner().sync.unwrap().target, "dev");
    for version in [4, u32::MAX] {
        let error = get(version).await.unwrap_err();
        assert_eq!((error.code(), code_of(&error)), (Code::NotFound, Some(ErrorCode::SyncUnknown)));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_place() {
    let desk = Desk::start().await;
    let typo = yaml("a", "uat").replace("  target: uat", "  targett: uat");
    let connection = "apiVersion: syncline.dev/v1\nkind: Connection\nmetadata: {name: a}\nspec:\n  type: salesforce\n  url: https://x.example\n  auth: {flow: client_credentials, client_id: i, client_secret: {env: S}}\n";
    for (document, place) in [
        (typo.as_str(), Some("line 7, column 3")),
        ("kind: Sync\nspec: [", Some("line ")),
        ("", Some("line 1, column 1")),
        ("kind: Synk\n", Some("Synk")),
        (connection, Some("Connection")),
        (&yaml("A b", "uat"), Some("line 4")),
    ] {
        let error = desk.apply(document).await.unwrap_err();
        assert_eq!(
            (error.code(), code_of(&error)),
            (Code::InvalidArgument, Some(ErrorCode::SyncInvalid)),
            "{document}"
        );
        assert!(place.is_none_or(|p| error.message().contains(p)), "{document}: {}", error.message());
    }
    assert_eq!(desk.bench.number("select count(*) from sync").await, 0);
}

#[tokio::test]
async fn applied_at_once_versions_have_no_gaps_and_no_doubles() {
    let desk = Desk::start().await;
    let texts: Vec<String> = (0..8).map(|n| yaml("a", &format!("uat-{n}"))).collect();
    let versions = futures::future::join_all(texts.iter().map(|t| desk.apply(t))).await;
    let mut versions: Vec<u32> = versions.into_iter().map(|v| v.unwrap().sync.unwrap().version).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn lists_are_paged_by_name_and_show_the_newest_version() {
    let desk = Desk::start().await;
    for n in 0..5 {
        desk.apply(&yaml(&format!("sync-{n}"), "uat")).await.unwrap();
    }
    desk.apply(&yaml("sync-1", "dev")).await.unwrap();
    let mut token = String::new();
    let mut names = Vec::new();
    let mut pages = 0;
    loop {
        let request = ListSyncsRequest {
            page_size: 2,
            page_token: token,
        };
        let page = desk.syncs.list_syncs(Request::new(request)).await.unwrap().into_inner();
        pages += 1;
        assert!(page.syncs.len() <= 2 && pages < 10);
        names.extend(page.syncs.into_iter().map(|s| (s.name, s.version)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<(String, u32)> = (0..5).map(|n| (format!("sync-{n}"), if n == 1 { 2 } else { 1 })).collect();
    assert_eq!(names, expected);
}
