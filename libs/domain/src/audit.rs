//! The audit log's chain: every entry holds the hash of the one before it, so a row that is changed, removed, put in or
//! moved is found by anybody who has the entries and the newest hash.
//!
//! Guarantees: an entry's hash covers all of its fields and its place; two different entries never have the same encoding
//! (each text is preceded by its length). It cannot find that the whole log was replaced by another one: for that, the
//! newest hash (the *head*) is kept elsewhere, such as in exported files.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A hash of the chain. The first entry stands on [`Hash::FIRST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first entry stands on.
    pub const FIRST: Self = Self([0; 32]);
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hex::encode(hash.0)
    }
}

impl TryFrom<String> for Hash {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// One operation, or one step of it: a change is recorded when it begins and when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1, 2, 3 ... without a gap.
    pub seq: u64,
    /// Microseconds since 1970, UTC.
    pub at_us: i64,
    /// The same for all entries of one request.
    pub request: String,
    /// Who: a token's or a person's name; empty for somebody unknown.
    pub subject: String,
    /// With which role; empty for somebody unknown.
    pub role: String,
    /// From where: the network address.
    pub address: String,
    /// What: the method's path.
    pub method: String,
    /// On what: `connection/NAME`, `sync/NAME`, `run/ID`, `token/ID`; empty where a method names nothing.
    pub resource: String,
    /// Connections that are touched, in order, separated by commas.
    pub connections: String,
    /// `begun`, or the gRPC code's name.
    pub result: String,
    /// The catalogue's code, if it failed with one.
    pub code: String,
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    #[serde(flatten)]
    pub entry: Entry,
    pub previous: Hash,
    pub hash: Hash,
}

impl Entry {
    /// Puts the entry behind `previous`.
    #[must_use]
    pub fn link(self, previous: Hash) -> Link {
        Link {
            hash: self.hash(previous),
            previous,
            entry: self,
        }
    }

    fn hash(&self, previous: Hash) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("syncline audit entry v1");
        hasher.update(&previous.0);
        hasher.update(&self.seq.to_le_bytes());
        hasher.update(&self.at_us.to_le_bytes());
        let Self {
            seq: _,
            at_us: _,
            request,
            subject,
            role,
            address,
            method,
            resource,
            connections,
            result,
            code,
        } = self;
        for text in [request, subject, role, address, method, resource, connections, result, code] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

/// Where the chain does not hold. Everything before it does.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Broken {
    #[error("entry {seq} is not what was recorded: its content does not have its hash")]
    Content { seq: u64 },
    #[error("entry {seq} does not stand on the entry before it: something was removed, put in or changed there")]
    Place { seq: u64 },
    #[error("entry {expected} is missing: entry {found} stands in its place")]
    Gap { expected: u64, found: u64 },
    #[error("the log ends with entry {found}, but entries up to {expected} were recorded: the newest are missing")]
    Cut { expected: u64, found: u64 },
    #[error("the log ends with another entry {seq} than was recorded")]
    Head { seq: u64 },
}

/// The end of a chain: how many entries, and the newest hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub hash: Hash,
}

impl Head {
    /// Before the first entry.
    pub const EMPTY: Self = Self { seq: 0, hash: Hash::FIRST };
}

/// Follows a chain, link by link.
#[derive(Debug)]
pub struct Verifier {
    head: Head,
}

impl Verifier {
    /// From a place that is trusted; [`Head::EMPTY`] for the whole log.
    #[must_use]
    pub fn from(head: Head) -> Self {
        Self { head }
    }

    /// # Errors
    /// [`Broken`] at the first link that does not hold.
    pub fn follow(&mut self, link: &Link) -> Result<(), Broken> {
        let seq = link.entry.seq;
        let expected = self.head.seq + 1;
        if seq != expected {
            return Err(Broken::Gap { expected, found: seq });
        }
        if link.previous != self.head.hash {
            return Err(Broken::Place { seq });
        }
        if link.entry.hash(link.previous) != link.hash {
            return Err(Broken::Content { seq });
        }
        self.head = Head { seq, hash: link.hash };
        Ok(())
    }

    /// # Errors
    /// [`Broken`] when the log does not end where it was recorded to end.
    pub fn end(self, recorded: Head) -> Result<Head, Broken> {
        match self.head.seq.cmp(&recorded.seq) {
            std::cmp::Ordering::Less => Err(Broken::Cut {
                expected: recorded.seq,
                found: self.head.seq,
            }),
            std::cmp::Ordering::Equal if self.head.hash == recorded.hash => Ok(self.head),
            _ => Err(Broken::Head { seq: self.head.seq }),
        }
    }

    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> Entry {
        Entry {
            seq,
            at_us: 1_795_000_000_000_000 + i64::try_from(seq).expect("small"),
            request: format!("q-{seq}"),
            subject: "ci".into(),
            role: "operator".into(),
            address: "127.0.0.1:4".into(),
            method: "/syncline.run.v1.RunService/SubmitRun".into(),
            resource: "sync/nightly".into(),
            connections: "production,uat".into(),
            result: "OK".into(),
            code: String::new(),
        }
    }

    fn chain(count: u64) -> (Vec<Link>, Head) {
        let mut head = Head::EMPTY;
        let links = (1..=count)
            .map(|seq| {
                let link = entry(seq).link(head.hash);
                head = Head { seq, hash: link.hash };
                link
            })
            .collect();
        (links, head)
    }

    fn verify(links: &[Link], recorded: Head) -> Result<Head, Broken> {
        let mut verifier = Verifier::from(Head::EMPTY);
        links.iter().try_for_each(|link| verifier.follow(link))?;
        verifier.end(recorded)
    }

    #[test]
    fn an_untouched_chain_holds() {
        let (links, head) = chain(5);
        assert_eq!(verify(&links, head), Ok(head));
        assert_eq!(verify(&[], Head::EMPTY), Ok(Head::EMPTY));
        let text = serde_json::to_string(&links).expect("becomes JSON");
        assert_eq!(serde_json::from_str::<Vec<Link>>(&text).expect("reads back"), links);
    }

    #[test]
    fn a_change_of_any_field_of_any_row_is_found() {
        let (links, head) = chain(4);
        let changes: [fn(&mut Link); 12] = [
            |l| l.entry.at_us += 1,
            |l| l.entry.request.push('x'),
            |l| l.entry.subject = "admin".into(),
            |l| l.entry.role = "admin".into(),
            |l| l.entry.address = "127.0.0.1:5".into(),
            |l| l.entry.method = "/syncline.run.v1.RunService/GetRun".into(),
            |l| l.entry.resource = "sync/other".into(),
            |l| l.entry.connections = String::new(),
            |l| l.entry.result = "begun".into(),
            |l| l.entry.code = "AUTH_ROLE_001".into(),
            |l| l.hash.0[0] ^= 1,
            |l| l.previous.0[31] ^= 1,
        ];
        for place in 0..links.len() {
            for (number, change) in changes.iter().enumerate() {
                let mut touched = links.clone();
                change(&mut touched[place]);
                assert!(verify(&touched, head).is_err(), "change {number} of row {place} was not found");
            }
        }
    }

    #[test]
    fn text_that_moves_from_one_field_to_the_next_is_found() {
        let mut one = entry(1);
        one.subject = "ab".into();
        one.role = "c".into();
        let mut other = one.clone();
        other.subject = "a".into();
        other.role = "bc".into();
        assert_ne!(one.link(Hash::FIRST).hash, other.link(Hash::FIRST).hash);
    }

    #[test]
    fn rows_that_are_removed_swapped_put_in_or_appended_are_found() {
        let (links, head) = chain(4);
        for place in 0..links.len() {
            let mut fewer = links.clone();
            fewer.remove(place);
            assert!(verify(&fewer, head).is_err(), "row {place} is missing");
        }
        let mut swapped = links.clone();
        swapped.swap(1, 2);
        assert_eq!(verify(&swapped, head), Err(Broken::Gap { expected: 2, found: 3 }));
        let mut renumbered = links.clone();
        renumbered.remove(1);
        renumbered.iter_mut().zip(1..).for_each(|(link, seq)| link.entry.seq = seq);
        assert_eq!(verify(&renumbered, head), Err(Broken::Place { seq: 2 }));
        let mut more = links.clone();
        more.push(entry(5).link(head.hash));
        assert_eq!(verify(&more, head), Err(Broken::Head { seq: 5 }));
        // A forger who knows how hashes are made must change every later one, and the head gives them away.
        let (mut forged, _) = chain(4);
        let mut last = Head::EMPTY.hash;
        for link in &mut forged {
            link.entry.subject = "somebody else".into();
            *link = link.entry.clone().link(last);
            last = link.hash;
        }
        assert_eq!(verify(&forged, head), Err(Broken::Head { seq: 4 }));
    }
}
