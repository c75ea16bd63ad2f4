//! The outbox: messages that belong to a transaction.
//!
//! A row is written in the transaction that it reports, with the trace that was current, and relayed afterwards: at once on NOTIFY, within a second by
//! polling when the notification was lost. Relaying twice is harmless, because every consumer recognises what it has
//! applied; relaying never is impossible while a relay runs.

use std::time::Duration;

use prost::Message as _;
use sqlx::postgres::PgListener;
use sqlx::{PgConnection, PgPool, Row};
use syncline_bus::{Bus, BusError, subjects, trace};
use syncline_wire::event::RunEvent;
use syncline_wire::stage::Invitation;
use tokio_util::sync::CancellationToken;

use crate::failpoint;

/// Longest time that a lost notification can delay a message.
const POLL: Duration = Duration::from_secs(1);
/// Rows relayed per transaction.
const ROWS_MAX: i64 = 100;

/// Stores an event for sending.
///
/// # Errors
/// [`sqlx::Error`]: roll back.
pub async fn event(tx: &mut PgConnection, event: &RunEvent) -> Result<(), sqlx::Error> {
    let subject = subjects::event(&event.tenant, &event.run, syncline_bus::event_kind(event));
    insert(tx, &subject, event.encode_to_vec()).await
}

/// Stores an invitation for sending.
///
/// # Errors
/// [`sqlx::Error`]: roll back.
pub async fn invitation(tx: &mut PgConnection, subject: &str, invitation: &Invitation) -> Result<(), sqlx::Error> {
    insert(tx, subject, invitation.encode_to_vec()).await
}

async fn insert(tx: &mut PgConnection, subject: &str, payload: Vec<u8>) -> Result<(), sqlx::Error> {
    sqlx::query("insert into outbox (subject, payload, trace) values ($1, $2, $3)")
        .bind(subject)
        .bind(payload)
        .bind(trace::current())
        .execute(&mut *tx)
        .await?;
    sqlx::query("select pg_notify('outbox_' || current_schema(), '')")
        .execute(tx)
        .await?;
    Ok(())
}

/// Relays until shutdown.
pub async fn relay(db: PgPool, bus: Bus, schema: &'static str, shutdown: CancellationToken) {
    let mut listener = None;
    while !shutdown.is_cancelled() {
        match relay_some(&db, &bus, schema).await {
            Ok(n) if n == ROWS_MAX => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the outbox could not be relayed; trying again"),
        }
        if listener.is_none() {
            listener = listen(&db, schema).await;
        }
        let notified = async {
            match &mut listener {
                Some(l) => l.recv().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            ok = notified => if !ok { listener = None; },
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

async fn listen(db: &PgPool, schema: &str) -> Option<PgListener> {
    let mut listener = PgListener::connect_with(db).await.ok()?;
    listener.listen(&format!("outbox_{schema}")).await.ok()?;
    Some(listener)
}

async fn relay_some(db: &PgPool, bus: &Bus, schema: &str) -> Result<i64, anyhow::Error> {
    let mut tx = db.begin().await?;
    let rows = sqlx::query(
        "select id, subject, payload, (extract(epoch from created_at) * 1000000)::bigint, trace from outbox
         order by id limit $1 for update skip locked",
    )
    .bind(ROWS_MAX)
    .fetch_all(&mut *tx)
    .await?;
    let mut sent = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i64 = row.get(0);
        // Ids start anew in a restored or new database, and the server would take such a message for a repetition.
        let message_id = format!("{schema}-{id}-{}", row.get::<i64, _>(3));
        match bus.publish_stored(row.get(1), &message_id, row.get(4), row.get(2)).await {
            Ok(()) => {}
            // No retry can send it, and those behind it must not wait for it.
            Err(error @ BusError::TooLarge { .. }) => {
                tracing::error!(subject = row.get::<&str, _>(1), %error, "a message of the outbox was dropped")
            }
            Err(error) => {
                tracing::warn!(%error, "a message of the outbox was not accepted; trying again");
                break;
            }
        }
        sent.push(id);
    }
    let count = sent.len();
    if count > 0 {
        failpoint::pass(&failpoint::OUTBOX_RELAYED).await?;
    }
    sqlx::query("delete from outbox where id = any($1)")
        .bind(&sent)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    if count < rows.len() {
        tokio::time::sleep(POLL).await;
    }
    Ok(i64::try_from(count).unwrap_or(0))
}
