//! Dead letters of a stage that are being replayed, from the monitor.
//!
//! A run that is reopened for its letters begins a round: in it, the stage asks for them when it starts on the object, as often as
//! it starts, and works on each as on a delivery.

use std::time::Duration;

use bytes::Bytes;
use sqlx::PgConnection;
use syncline_domain::BatchName;
use syncline_wire::event::LetterReplayed;
use syncline_wire::event::run_event::Fact;
use syncline_wire::monitor::letter_service_client::LetterServiceClient;
use syncline_wire::monitor::{FetchLettersRequest, Letter};

use crate::outbox;
use crate::plans::peer_error;
use crate::platform::Platform;
use crate::rpc::{MESSAGE_BYTES_MAX, with_trace};
use crate::worker::{StageError, Work};

const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A batch that is worked on once more. The payload is sealed, and empty where only names were asked for.
pub struct Replayed {
    pub id: u64,
    pub name: BatchName,
    /// How many source records it stands for; 0 when it is not known.
    pub records: u64,
    pub sealed: Bytes,
}

/// The next letters of `stage` behind `after` for the task's object; none when there are no more. `names_only`: without
/// what they carry. A letter whose name does not read is nobody's.
///
/// # Errors
/// [`StageError`] when the monitor does not answer.
pub async fn fetch(platform: &Platform, work: &Work, stage: &str, after: u64, names_only: bool) -> Result<Vec<Replayed>, StageError> {
    let mut request = tonic::Request::new(FetchLettersRequest {
        run: work.run().to_string(),
        object: work.object()?.to_string(),
        stage: stage.to_owned(),
        after,
        without_payload: names_only,
    });
    request.set_timeout(ANSWER_WAIT);
    let mut monitor = LetterServiceClient::new(with_trace(platform.peers.monitor.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = monitor.fetch_letters(request).await.map_err(|s| peer_error("monitor", &s))?;
    Ok(answer.into_inner().letters.into_iter().filter_map(read).collect())
}

/// The names of all letters of `stage`.
///
/// # Errors
/// As [`fetch`].
pub async fn names(platform: &Platform, work: &Work, stage: &str) -> Result<Vec<BatchName>, StageError> {
    let mut names = Vec::new();
    let mut after = 0;
    loop {
        let letters = fetch(platform, work, stage, after, true).await?;
        let Some(last) = letters.last() else { return Ok(names) };
        after = last.id;
        names.extend(letters.into_iter().map(|l| l.name));
    }
}

fn read(letter: Letter) -> Option<Replayed> {
    let name = letter.batch.parse();
    if name.is_err() {
        tracing::error!(id = letter.id, "a dead letter without a batch's name cannot be replayed");
    }
    Some(Replayed {
        id: letter.id,
        name: name.ok()?,
        records: letter.records,
        sealed: letter.payload.into(),
    })
}

/// Tells that a letter was worked on after all. Told twice is told once.
///
/// # Errors
/// [`sqlx::Error`]: roll back.
pub async fn tell(tx: &mut PgConnection, work: &Work, stage: &str, name: &BatchName) -> Result<(), sqlx::Error> {
    let fact = LetterReplayed {
        stage: stage.to_owned(),
        object: name.object.to_string(),
        batch: name.to_string(),
        round: work.lease.round,
    };
    outbox::event(tx, &work.event(Fact::LetterReplayed(fact))).await
}
