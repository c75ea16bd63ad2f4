//! NATS: reached, new enough, with JetStream, and with the streams of this release.

use syncline_bus::inspection::{self, Inspection, PAYLOAD_MIN, StreamState};
use syncline_runtime::Config;
use syncline_runtime::tls::{Tls, TlsFiles};

use super::{CHECK_MAX, Examination, Finding, told};

const MIGRATE: &str = "Run `syncline migrate`; it makes what is missing and brings what is older up to date.";

pub async fn examine(config: &Config) -> Examination {
    let mut seen = Examination::default();
    // What is wrong with the files is said elsewhere.
    if config.tls.as_ref().is_some_and(|files| Tls::load(files).is_err()) {
        seen.unseen.push("NATS: the certificate to ask with cannot be used".to_owned());
        return seen;
    }
    let addresses = inspection::addresses(&config.nats_url);
    let tls = config.tls.as_ref().map(TlsFiles::bus);
    // One wait for the connection, one for the streams.
    let looking = inspection::inspect(&config.nats_url, config.nats_replicas, tls);
    match tokio::time::timeout(CHECK_MAX * 2, looking).await {
        Ok(Ok(found)) => {
            seen.add(Finding::ok("NATS", addresses));
            judge(&found, config.nats_replicas, &mut seen);
        }
        Ok(Err(error)) => seen.add(unreachable(&told(&error))),
        Err(_) => seen.add(unreachable(&format!(
            "no answer of {addresses} within {} s",
            CHECK_MAX.as_secs() * 2
        ))),
    }
    seen
}

fn unreachable(why: &str) -> Finding {
    let remedy = if why.contains("authorization") {
        "See that user and password in SYNCLINE_NATS_URL are those of the server's configuration."
    } else if why.contains("certificate") || why.contains("TLS") || why.contains("tls") {
        "See that the server's certificate is of the authority in SYNCLINE_TLS_CA, and names the host."
    } else {
        "Start NATS 2.10 or newer with JetStream, and see that SYNCLINE_NATS_URL names it."
    };
    Finding::fail("NATS", why, remedy)
}

fn judge(found: &Inspection, replicas: usize, seen: &mut Examination) {
    let check = "NATS version";
    seen.add(if found.new_enough {
        Finding::ok(check, &found.version)
    } else {
        Finding::fail(
            check,
            format!("{} is too old", found.version),
            "Update NATS to 2.10 or newer: older ones ignore settings that keep streams bounded.",
        )
    });
    let check = "NATS payload";
    seen.add(if found.payload_max >= PAYLOAD_MIN {
        Finding::ok(check, format!("messages of up to {} KiB", found.payload_max / 1024))
    } else {
        Finding::fail(
            check,
            format!(
                "messages of up to {} KiB; batches take {}",
                found.payload_max / 1024,
                PAYLOAD_MIN / 1024
            ),
            format!("Set `max_payload: {PAYLOAD_MIN}` or more in the server's configuration."),
        )
    });
    let check = "NATS JetStream";
    if !found.jetstream {
        seen.add(Finding::fail(
            check,
            "off",
            "Put a block `jetstream` with a `store_dir` into the server's configuration, and start it again.",
        ));
        return;
    }
    seen.add(Finding::ok(check, "on"));
    for (name, state) in &found.streams {
        seen.add(stream(name, state, replicas));
    }
    for name in &found.unseen {
        seen.unseen.push(format!("stream {name}: this user of NATS may not look at it"));
    }
    seen.unseen.push(
        "whether NATS writes to disk before it acknowledges: no client sees that; its configuration must have `sync_interval: always`"
            .to_owned(),
    );
}

fn stream(name: &str, state: &StreamState, replicas: usize) -> Finding {
    let check = format!("stream {name}");
    match state {
        StreamState::Current => Finding::ok(
            check,
            match replicas {
                1 => "as this release needs it, 1 replica".to_owned(),
                n => format!("as this release needs it, {n} replicas"),
            },
        ),
        StreamState::Missing => Finding::fail(check, "missing", MIGRATE),
        StreamState::Differs(settings) if settings[..] == ["num_replicas"] => Finding::fail(
            check,
            format!("it has not the {replicas} replicas that it should have"),
            "Run `syncline migrate`, or set SYNCLINE_NATS_REPLICAS to as many as the servers of NATS can hold.",
        ),
        StreamState::Differs(settings) => Finding::fail(check, format!("not as this release needs it: {}", settings.join(", ")), MIGRATE),
        StreamState::Unknown(why) => Finding::fail(
            check,
            format!("it cannot be looked at: {why}"),
            "See that the user in SYNCLINE_NATS_URL may: `syncline secrets` writes users with their permissions.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn found() -> Inspection {
        Inspection {
            version: "2.10.0".to_owned(),
            new_enough: true,
            jetstream: true,
            payload_max: PAYLOAD_MIN,
            streams: vec![("TASKS".to_owned(), StreamState::Current)],
            unseen: Vec::new(),
        }
    }

    fn failures(found: &Inspection) -> Vec<(String, String)> {
        let mut seen = Examination::default();
        judge(found, 3, &mut seen);
        assert!(seen.unseen.iter().any(|u| u.contains("sync_interval")) || !found.jetstream);
        let failed = seen.findings.into_iter().filter(|f| f.verdict == Verdict::Fail);
        failed.map(|f| (f.check, f.remedy.unwrap_or_default())).collect()
    }

    #[test]
    fn a_server_that_cannot_do_its_part_says_which() {
        assert!(failures(&found()).is_empty());
        for (broken, check, remedy) in [
            (
                Inspection {
                    new_enough: false,
                    ..found()
                },
                "NATS version",
                "2.10",
            ),
            (
                Inspection {
                    payload_max: PAYLOAD_MIN - 1,
                    ..found()
                },
                "NATS payload",
                "max_payload: 1048576",
            ),
            (
                Inspection {
                    jetstream: false,
                    ..found()
                },
                "NATS JetStream",
                "store_dir",
            ),
            (
                Inspection {
                    streams: vec![("RAW_0".to_owned(), StreamState::Missing)],
                    ..found()
                },
                "stream RAW_0",
                "syncline migrate",
            ),
            (
                Inspection {
                    streams: vec![("RAW_0".to_owned(), StreamState::Differs(vec!["num_replicas"]))],
                    ..found()
                },
                "stream RAW_0",
                "SYNCLINE_NATS_REPLICAS",
            ),
            (
                Inspection {
                    streams: vec![("RAW_0".to_owned(), StreamState::Unknown("timed out".to_owned()))],
                    ..found()
                },
                "stream RAW_0",
                "permissions",
            ),
        ] {
            let failures = failures(&broken);
            let [(failed, mend)] = &failures[..] else {
                panic!("{check}: {failures:?}")
            };
            assert_eq!(failed, check);
            assert!(mend.contains(remedy), "{mend}");
        }
    }
}
