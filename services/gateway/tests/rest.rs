//! REST, over HTTP/1.1, through the same door.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test file uses a part of it")]
mod bench;

use bench::{Bench, TOKEN};
use futures::StreamExt;
use serde_json::{Value, json};

fn client() -> reqwest::Client {
    syncline_runtime::entry::install_crypto();
    reqwest::Client::builder().http1_only().build().unwrap()
}

struct Rest<'a> {
    bench: &'a Bench,
    client: reqwest::Client,
    token: String,
}

impl<'a> Rest<'a> {
    fn new(bench: &'a Bench, token: &str) -> Self {
        Self {
            bench,
            client: client(),
            token: token.to_owned(),
        }
    }

    fn ask(&self, verb: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.bench.address);
        self.client.request(verb.parse().unwrap(), url).bearer_auth(&self.token)
    }
}

async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let code = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (code, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
}

fn reason(error: &Value) -> &str {
    error["error"]["details"][0]["reason"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_call_goes_there_and_back_as_json() {
    let bench = Bench::start().await;
    let rest = Rest::new(&bench, TOKEN);
    let (code, answer) = read(rest.ask("GET", "/v1/syncs/nightly?version=3")).await;
    assert_eq!((code, answer["sync"]["name"].as_str()), (200, Some("nightly")), "{answer}");
    assert!(answer["sync"]["appliedAt"].is_null(), "every field is there: {answer}");
    let (code, answer) = read(
        rest.ask("POST", "/v1/runs")
            .json(&json!({"sync": "nightly", "idempotencyKey": "k"})),
    )
    .await;
    assert_eq!((code, answer["run"]["id"].as_str()), (200, Some("r-1")), "{answer}");
    let document = "kind: Sync\n";
    let yaml = rest
        .ask("PUT", "/v1/syncs")
        .header("content-type", "application/yaml")
        .body(document);
    let (code, answer) = read(yaml).await;
    assert_eq!((code, answer["sync"]["yaml"].as_str()), (200, Some(document)), "{answer}");
    let (code, me) = read(rest.ask("GET", "/v1/whoami")).await;
    assert_eq!((code, me), (200, json!({"subject": "bootstrap", "role": "admin"})));
}

#[tokio::test]
async fn errors_are_typed_and_the_door_is_the_same() {
    let bench = Bench::start().await;
    let viewer = bench.token("ann", "viewer").await.secret;
    let admin = Rest::new(&bench, TOKEN);
    let viewer = Rest::new(&bench, &viewer);
    let stranger = Rest::new(&bench, "nonsense");
    for (request, code, status, why) in [
        (stranger.ask("GET", "/v1/runs"), 401, "UNAUTHENTICATED", "AUTH_TOKEN_001"),
        (
            viewer.ask("POST", "/v1/runs").json(&json!({"sync": "a"})),
            403,
            "PERMISSION_DENIED",
            "AUTH_ROLE_001",
        ),
        (
            admin.ask("GET", "/v1/runs?page_size=many"),
            400,
            "INVALID_ARGUMENT",
            "REQUEST_INVALID_001",
        ),
        (
            admin.ask("POST", "/v1/runs").json(&json!({"sink": "a"})),
            400,
            "INVALID_ARGUMENT",
            "REQUEST_INVALID_001",
        ),
        (admin.ask("GET", "/v1/nothing"), 404, "UNIMPLEMENTED", "REQUEST_METHOD_001"),
        (admin.ask("DELETE", "/v1/runs"), 405, "UNIMPLEMENTED", "REQUEST_METHOD_001"),
        (
            admin.ask("PUT", "/v1/syncs").body("x"),
            415,
            "INVALID_ARGUMENT",
            "REQUEST_INVALID_001",
        ),
        (admin.ask("GET", "/v1/connections"), 503, "UNAVAILABLE", "NETWORK_UNREACHABLE_001"),
    ] {
        let (found, error) = read(request).await;
        assert_eq!(
            (found, error["error"]["status"].as_str(), reason(&error)),
            (code, Some(status), why),
            "{error}"
        );
        assert_eq!(error["error"]["code"], json!(code));
    }
    let (_, error) = read(admin.ask("GET", "/v1/runs?page_size=many")).await;
    assert_eq!(
        error["error"]["details"][1]["fieldViolations"][0]["field"],
        json!("page_size"),
        "{error}"
    );
    // Without a token one learns no more than that one is needed.
    let (code, _) = read(stranger.ask("GET", "/v1/runs/r-1/report")).await;
    assert_eq!(code, 401);
}

#[tokio::test]
async fn a_large_body_is_refused_and_nothing_of_it_is_kept() {
    let bench = Bench::start().await;
    let rest = Rest::new(&bench, TOKEN);
    let body = vec![b'x'; 100 * 1024 * 1024];
    let sent = rest
        .ask("PUT", "/v1/syncs")
        .header("content-type", "application/yaml")
        .body(body)
        .send()
        .await;
    // The gateway answers and closes before all is sent; a client may see either.
    if let Ok(answer) = sent {
        assert_eq!(answer.status().as_u16(), 413);
    }
    let (code, _) = read(rest.ask("GET", "/v1/whoami")).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn a_caller_that_sends_too_much_is_told_when_to_come_again() {
    let bench = Bench::start().await;
    let rest = Rest::new(&bench, TOKEN);
    for _ in 0..400 {
        let answer = rest.ask("GET", "/v1/whoami").send().await.unwrap();
        if answer.status().as_u16() == 429 {
            assert_eq!(answer.headers().get("retry-after").unwrap(), "1");
            let error: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            assert_eq!(reason(&error), "LIMITS_GATEWAY_001");
            assert!(error["error"]["details"][1]["retryDelay"].as_str().unwrap().ends_with('s'));
            return;
        }
    }
    panic!("400 requests were answered at once");
}

#[tokio::test]
async fn a_run_is_watched_as_events_and_goes_on_behind_the_last_one_seen() {
    let bench = Bench::start().await;
    let rest = Rest::new(&bench, TOKEN);
    // The stand-in sends as many snapshots as it is asked to go on behind.
    let answer = rest
        .ask("GET", "/v1/runs/r-1:watch")
        .header("last-event-id", "2")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers().get("content-type").unwrap(), "text/event-stream");
    let mut stream = answer.bytes_stream();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        bench.monitor.go_on.notify_one();
    }
    let events: Vec<&str> = text.trim_end().split("\n\n").collect();
    assert!(events[0].starts_with("id: 1\ndata: {"), "{text}");
    assert!(events[1].starts_with("id: 2\ndata: {"), "{text}");
    assert!(events[2].starts_with("event: error\ndata: {"), "{text}");
    assert!(events[2].contains("the end, with a status"), "{text}");
}

#[tokio::test]
async fn the_description_is_there_for_anybody() {
    let bench = Bench::start().await;
    let answer = client().get(format!("http://{}/openapi.json", bench.address)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let document: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let submit = &document["paths"]["/v1/runs"]["post"];
    assert_eq!(
        (submit["operationId"].as_str(), submit["x-syncline-role"].as_str()),
        (Some("SubmitRun"), Some("operator"))
    );
    assert!(
        submit["description"].as_str().unwrap().contains("idempotency key"),
        "comments of the contracts are in it"
    );
}
