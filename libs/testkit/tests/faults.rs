//! What the test bench does to connections and processes, without any server.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::FutureExt;
use syncline_testkit::{FaultProxy, Process, eventually, free_port, prefix, send_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(10);

/// A server that says back what it hears.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.shutdown().await.ok();
            });
        }
    });
    address
}

async fn say(stream: &mut TcpStream, word: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(word).await?;
    let mut heard = vec![0; word.len()];
    stream.read_exact(&mut heard).await?;
    Ok(heard)
}

#[tokio::test]
async fn the_proxy_forwards_bytes_and_the_end_of_input() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let sent = vec![5; 300_000];
    let (mut read, mut write) = stream.split();
    let mut heard = Vec::new();
    let (written, got) = tokio::join!(
        async {
            write.write_all(&sent).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut heard)
    );
    written.unwrap();
    got.unwrap();
    assert!(heard == sent);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_cut_closes_open_connections_and_serves_new_ones() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut stream, b"before").await.unwrap(), b"before");
    proxy.cut();
    say(&mut stream, b"after").await.expect_err("it is cut");
    let mut again = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut again, b"again").await.unwrap(), b"again");
}

#[tokio::test]
async fn held_bytes_arrive_once_forwarding_resumes() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut stream, b"warm").await.unwrap(), b"warm");
    proxy.hold();
    let held = tokio::time::timeout(Duration::from_millis(100), say(&mut stream, b"late")).await;
    assert!(held.is_err(), "no byte may pass");
    proxy.forward();
    let mut heard = [0; 4];
    tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(&heard, b"late");
}

#[tokio::test]
async fn a_delay_is_paid_in_both_directions() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.delay(Duration::from_millis(60));
    let asked = Instant::now();
    assert_eq!(say(&mut stream, b"slow").await.unwrap(), b"slow");
    assert!(asked.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn a_refusing_proxy_closes_its_port_until_it_forwards_again() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    proxy.refuse();
    eventually(SOON, || async {
        match TcpStream::connect(proxy.address()).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    proxy.forward();
    let mut stream = eventually(SOON, || TcpStream::connect(proxy.address())).await;
    assert_eq!(say(&mut stream, b"back").await.unwrap(), b"back");
}

#[tokio::test]
async fn a_server_that_is_down_closes_the_proxied_connection() {
    let nobody = (Ipv4Addr::LOCALHOST, free_port()).into();
    let proxy = FaultProxy::start(nobody).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let end = tokio::time::timeout(SOON, stream.read(&mut [0])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
}

#[tokio::test]
async fn eventually_returns_what_the_probe_found() {
    let mut asked = 0;
    let found = eventually(SOON, || {
        asked += 1;
        let answer = if asked == 3 { Ok(asked) } else { Err(asked) };
        async move { answer }
    })
    .await;
    assert_eq!(found, 3);
}

async fn message_of(work: impl Future<Output = ()>) -> String {
    let panic = std::panic::AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .expect_err("it must give up");
    panic.downcast_ref::<String>().unwrap().clone()
}

#[tokio::test]
async fn eventually_gives_up_with_the_last_state_and_the_callers_place() {
    let mut asked = 0;
    let text = message_of(eventually(Duration::from_millis(30), || {
        asked += 1;
        let state = format!("state {}", asked.min(2));
        async move { Err::<(), _>(state) }
    }))
    .await;
    assert!(text.contains("\"state 2\""), "{text}");
    assert!(text.contains("faults.rs"), "{text}");
}

#[tokio::test]
async fn eventually_gives_up_on_a_probe_that_hangs() {
    let text = message_of(eventually(Duration::from_millis(30), std::future::pending::<Result<(), ()>>)).await;
    assert!(text.contains("did not answer"), "{text}");
}

#[tokio::test]
async fn a_killed_process_runs_no_handler_and_a_terminated_one_does() {
    for (signal, handled) in [("KILL", false), ("TERM", true)] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut command = Command::new("bash");
        let script = "trap 'echo handled; exit' TERM; echo ready; while :; do sleep 0.02; done";
        let mut process = Process::start(command.args(["-c", script]), &log).unwrap();
        eventually(SOON, || async {
            let text = std::fs::read_to_string(&log).unwrap();
            if text == "ready\n" { Ok(()) } else { Err(text) }
        })
        .await;
        assert!(process.ended().unwrap().is_none());
        if signal == "KILL" {
            process.kill().unwrap();
        } else {
            process.terminate().unwrap();
        }
        let process = std::cell::RefCell::new(process);
        eventually(SOON, || async {
            let ended = process.borrow_mut().ended().unwrap();
            ended.ok_or("still running")
        })
        .await;
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text.contains("handled"), handled, "after SIG{signal}");
    }
}

#[test]
fn a_process_ends_with_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sleep");
    let process = Process::start(command.arg("600"), &dir.path().join("log")).unwrap();
    let pid = process.pid();
    process.pause().unwrap();
    process.resume().unwrap();
    drop(process);
    send_signal(pid, "CONT").expect_err("it is gone");
}

#[test]
fn prefixes_are_fit_for_every_name_and_never_repeat() {
    let one = prefix();
    assert!(one.starts_with('t') && one.len() == 13);
    assert!(one.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
    assert_ne!(one, prefix());
}
