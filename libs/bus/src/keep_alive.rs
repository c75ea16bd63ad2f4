//! Says 'in progress' every third of the ack wait, so that what is still worked on is not delivered again.

use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::message::{AckKind, Acker};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The beat of one pull. It goes on from one piece of work to the next, so that many short ones don't starve it.
pub(crate) struct KeepAlive {
    beat: Interval,
}

impl KeepAlive {
    pub(crate) fn new(ack_wait: Duration) -> Self {
        let mut beat = interval(ack_wait / 3);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.reset();
        Self { beat }
    }

    /// Keeps messages while the work goes on.
    pub(crate) async fn during<T>(&mut self, ackers: &[Acker], work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = self.beat.tick() => {
                    for acker in ackers {
                        // A lost beat only means an early redelivery, which the handlers recognise.
                        let _ = acker.ack_with(AckKind::Progress).await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use async_nats::jetstream::consumer::{DeliverPolicy, pull};
    use syncline_domain::{BatchName, ObjectName, RunId, TenantId};
    use syncline_testkit::{prefix, servers};
    use syncline_wire::event::RunEvent;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Audience, Bus, BusConfig, GroupLimits, Handled, RunOnce};

    const ACK_WAIT: Duration = Duration::from_millis(600);

    async fn bus() -> Bus {
        let config = BusConfig {
            url: servers().nats_url.clone(),
            name: "test".to_owned(),
            service: None,
            make_streams: true,
            replicas: 1,
            tls: None,
        };
        Bus::connect(&config).await.unwrap().with_ack_wait(ACK_WAIT)
    }

    /// Work that outlasts several ack waits.
    async fn long_work() {
        tokio::time::timeout(ACK_WAIT * 3, std::future::pending::<()>()).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_batch_in_work_is_not_delivered_again_and_an_abandoned_one_is() {
        let (bus, other) = (bus().await, bus().await);
        let tenant = TenantId::new(prefix()).unwrap();
        let (run, object) = (RunId::new(prefix()).unwrap(), ObjectName::new("Account").unwrap());
        let name = BatchName::whole(run.clone(), object.clone(), 0, 1, 0);
        bus.publish_batch(Audience::Raw, &tenant, &name, "p", 1, "x".into()).await.unwrap();
        let mine = bus.batches("stage", Audience::Raw, &tenant, &run, &object).await.unwrap();
        let theirs = other.batches("stage", Audience::Raw, &tenant, &run, &object).await.unwrap();
        let limits = |wait| GroupLimits { messages_max: 8, wait };
        let abandoned = mine.run_once(limits(ACK_WAIT), async |_| {
            let ran = theirs.run_once(limits(ACK_WAIT * 3), async |_| vec![Handled::Done]).await.unwrap();
            assert_eq!(ran, RunOnce::Idle, "a batch in work was handed to a second worker");
            Vec::new() // and now nobody says anything of it
        });
        assert_eq!(abandoned.await.unwrap(), RunOnce::Handled(1));
        let ran = theirs
            .run_once(limits(ACK_WAIT * 10), async |batches| {
                assert!(batches.iter().all(|b| b.redelivered));
                vec![Handled::Done]
            })
            .await
            .unwrap();
        assert_eq!(ran, RunOnce::Handled(1));
        bus.purge_run(&tenant, &run).await.unwrap();
    }

    #[tokio::test]
    async fn events_that_wait_behind_a_slow_one_are_delivered_once() {
        let bus = bus().await;
        let (tenant, durable) = (prefix(), prefix());
        let stream = bus.pulling().get_stream("EVENTS").await.unwrap();
        let config = pull::Config {
            durable_name: Some(format!("events-{durable}")),
            filter_subject: format!("event.{tenant}.>"),
            deliver_policy: DeliverPolicy::New,
            ack_wait: ACK_WAIT,
            ..pull::Config::default()
        };
        stream.create_consumer(config).await.unwrap();
        for run in ["r-0", "r-1", "r-2"] {
            let event = RunEvent {
                tenant: tenant.clone(),
                run: run.to_owned(),
                ..RunEvent::default()
            };
            bus.publish_event(&event).await.unwrap();
        }
        let seen = Mutex::new(Vec::new());
        let stop = CancellationToken::new();
        let handle = |event: RunEvent| {
            let (seen, stop) = (&seen, &stop);
            async move {
                long_work().await;
                let mut seen = seen.lock().unwrap();
                seen.push(event.run);
                if seen.len() == 3 {
                    stop.cancel();
                }
                Handled::Done
            }
        };
        bus.run_events(&durable, stop.clone(), handle).await.unwrap();
        let stream = bus.pulling().get_stream("EVENTS").await.unwrap();
        let info = stream.consumer_info(format!("events-{durable}")).await.unwrap();
        stream.delete_consumer(&format!("events-{durable}")).await.unwrap();
        assert_eq!(seen.into_inner().unwrap(), ["r-0", "r-1", "r-2"]);
        assert_eq!(info.num_redelivered, 0);
        assert_eq!(info.delivered.consumer_sequence, 3, "some event was delivered again");
    }
}
