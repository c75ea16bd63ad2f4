//! What a run that ended with errors left undone, as the loader and the monitor know it.

use std::time::Duration;

use syncline_domain::run::explain::{Left, LeftRecords};
use syncline_runtime::Platform;
use syncline_runtime::rpc::with_trace;
use syncline_wire::monitor::CountLettersRequest;
use syncline_wire::monitor::letter_service_client::LetterServiceClient;

use crate::reopening;

const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Asks both; whoever does not answer is said not to.
pub async fn ask(platform: &Platform, run: &str) -> Left {
    let letters = async {
        let mut client = LetterServiceClient::new(with_trace(platform.peers.monitor.clone()));
        let asked = client.count_letters(CountLettersRequest { run: run.to_owned() });
        let answer = tokio::time::timeout(ANSWER_WAIT, asked).await.ok()?.ok()?.into_inner();
        Some((answer.kept, answer.records))
    };
    let refusals = async {
        let groups = tokio::time::timeout(ANSWER_WAIT, reopening::standing(platform, run))
            .await
            .ok()?
            .ok()?;
        let records = groups.into_iter().map(|g| LeftRecords {
            is_parked: g.kind == reopening::PARKED,
            object: g.object,
            code: g.code,
            fields: g.fields,
            count: g.count,
        });
        Some(records.collect())
    };
    let (letters, records) = tokio::join!(letters, refusals);
    Left { letters, records }
}
