//! Keys that this process wrote in the run at hand, in fixed bytes: children come soon after their parents, so most
//! references need no look-up in the ledger. Only a cache: what is not here is asked for there.

use std::sync::Mutex;

use ahash::AHashMap;
use syncline_domain::RunId;

/// Salesforce ids have 18 characters; other keys are not kept.
const KEY_BYTES: usize = 18;
/// Keys kept at most: with the table's own room some 20 MB. Parents are written first, so they are the ones that are kept.
const KEYS_MAX: usize = 450_000;

type Key = [u8; KEY_BYTES];

/// The keys of one run; another run takes their place.
#[derive(Debug, Default)]
pub struct RecentKeys {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    run: Option<RunId>,
    keys: AHashMap<Key, Key>,
}

impl RecentKeys {
    /// Keeps pairs that were committed to the ledger, as long as there is room.
    pub fn add(&self, run: &RunId, source_keys: &[String], target_keys: &[String]) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        if inner.run.as_ref() != Some(run) {
            inner.run = Some(run.clone());
            inner.keys.clear();
        }
        for (source, target) in source_keys.iter().zip(target_keys) {
            if inner.keys.len() >= KEYS_MAX {
                return;
            }
            if let (Ok(source), Ok(target)) = (Key::try_from(source.as_bytes()), Key::try_from(target.as_bytes())) {
                inner.keys.insert(source, target);
            }
        }
    }

    /// Takes what is known out of `wanted`; answers it as pairs.
    pub fn take(&self, run: &RunId, wanted: &mut Vec<String>) -> Vec<(String, String)> {
        let inner = self.inner.lock().expect("no holder of this lock panics");
        let mut found = Vec::new();
        if inner.run.as_ref() == Some(run) {
            wanted.retain(|key| {
                let target = Key::try_from(key.as_bytes()).ok().and_then(|k| inner.keys.get(&k));
                match target.and_then(|t| std::str::from_utf8(t).ok()) {
                    Some(target) => {
                        found.push((key.clone(), target.to_owned()));
                        false
                    }
                    None => true,
                }
            });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> RunId {
        RunId::new(name).expect("valid")
    }

    fn key(n: usize) -> String {
        format!("001{n:015}")
    }

    #[test]
    fn keys_of_the_run_are_found_and_the_rest_is_left_to_be_asked_for() {
        let recent = RecentKeys::default();
        recent.add(&run("r-1"), &[key(1), key(2), "short".into()], &[key(11), key(12), key(13)]);
        let mut wanted = vec![key(2), key(3), "short".into()];
        assert_eq!(recent.take(&run("r-1"), &mut wanted), [(key(2), key(12))]);
        assert_eq!(wanted, [key(3), "short".to_owned()]);
        let mut wanted = vec![key(2)];
        assert!(recent.take(&run("r-2"), &mut wanted).is_empty(), "another run knows nothing of it");
        recent.add(&run("r-2"), &[key(5)], &[key(6)]);
        assert!(recent.take(&run("r-1"), &mut wanted).is_empty(), "the newer run took its place");
    }

    #[test]
    fn a_full_cache_keeps_what_it_has() {
        let recent = RecentKeys::default();
        let keys: Vec<String> = (0..KEYS_MAX + 10).map(key).collect();
        recent.add(&run("r-1"), &keys, &keys);
        let mut wanted = vec![key(0), key(KEYS_MAX + 5)];
        assert_eq!(recent.take(&run("r-1"), &mut wanted).len(), 1);
        assert_eq!(wanted, [key(KEYS_MAX + 5)]);
    }
}
