//! Waiting for a state without sleeping and hoping.

use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

const POLL_FIRST: Duration = Duration::from_millis(2);
const POLL_MAX: Duration = Duration::from_millis(100);

/// Polls `probe` until it returns `Ok`, and returns what was in it.
///
/// ```no_run
/// # async fn demo(count: impl AsyncFn() -> u64) {
/// use std::time::Duration;
/// syncline_testkit::eventually(Duration::from_secs(5), || async {
///     match count().await {
///         3 => Ok(()),
///         other => Err(format!("{other} of 3 stored")),
///     }
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
/// When `deadline` has passed: with the caller's place and the last state that `probe` reported as `Err`.
#[track_caller]
pub fn eventually<T, E, F, Fut>(deadline: Duration, mut probe: F) -> impl Future<Output = T>
where
    E: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let mut pause = POLL_FIRST;
        let mut last = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left.max(POLL_FIRST), probe()).await {
                Ok(Ok(reached)) => return reached,
                Ok(Err(state)) => last = Some(format!("{state:?}")),
                Err(_) => {
                    let before = last.as_deref().unwrap_or("nothing");
                    panic!("{caller}: not within {deadline:?}: the last probe did not answer; before it: {before}");
                }
            }
            if Instant::now() >= end {
                let last = last.as_deref().unwrap_or("nothing");
                panic!("{caller}: not within {deadline:?}; the last state was {last}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }
}
