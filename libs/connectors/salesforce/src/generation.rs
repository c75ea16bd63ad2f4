//! What the name of a generation says: which API holds it, and in how many parts.
//!
//! A generation is one query job, several jobs that share the object's ids between them, or, for few records, nothing
//! that the org holds: a REST query that is asked again when it is read again. The last may answer differently the
//! second time; whoever reads it compares with what was recorded, as for every generation.

use syncline_connect::{ConnectError, Generation};
use syncline_domain::ErrorCode;

use crate::job::checked_id;

const QUERY: &str = "query:";
/// Between the ids of jobs.
const AND: char = '+';
/// Between the number of a part and the place in it.
const IN: char = ':';

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handle {
    /// A REST query that had this many records when it was opened.
    Query { records: u64 },
    /// Query jobs, in the order of their ranges.
    Jobs(Vec<String>),
}

impl Handle {
    pub(crate) fn read(generation: &Generation) -> Result<Self, ConnectError> {
        let text = generation.0.as_str();
        if let Some(records) = text.strip_prefix(QUERY) {
            let records = records.parse().map_err(|_| not_one())?;
            return Ok(Self::Query { records });
        }
        let jobs = text.split(AND).map(|id| Ok(checked_id(id)?.to_owned()));
        Ok(Self::Jobs(jobs.collect::<Result<_, ConnectError>>()?))
    }

    pub(crate) fn write(&self) -> Generation {
        Generation(match self {
            Self::Query { records } => format!("{QUERY}{records}"),
            Self::Jobs(jobs) => jobs.join(&AND.to_string()),
        })
    }
}

/// A place in the parts: the part, and the locator in it.
pub(crate) fn place<'a>(jobs: &[String], cursor: Option<&'a str>) -> Result<(usize, Option<&'a str>), ConnectError> {
    if jobs.len() == 1 {
        return Ok((0, cursor));
    }
    let Some(cursor) = cursor else { return Ok((0, None)) };
    let (part, locator) = cursor.split_once(IN).ok_or_else(not_one)?;
    let part: usize = part.parse().map_err(|_| not_one())?;
    Ok((part, Some(locator).filter(|l| !l.is_empty())))
}

/// The cursor of what follows a page of `part`.
pub(crate) fn next(jobs: &[String], part: usize, locator: Option<String>) -> Option<String> {
    match locator {
        Some(locator) if jobs.len() == 1 => Some(locator),
        Some(locator) => Some(format!("{part}{IN}{locator}")),
        None if part + 1 < jobs.len() => Some(format!("{}{IN}", part + 1)),
        None => None,
    }
}

fn not_one() -> ConnectError {
    ConnectError::new(ErrorCode::Internal, "what should be a generation or a place in it is not one")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_and_places_read_back() {
        for handle in [
            Handle::Query { records: 17 },
            Handle::Jobs(vec!["750A".into()]),
            Handle::Jobs(vec!["750A".into(), "750B".into()]),
        ] {
            assert_eq!(Handle::read(&handle.write()).unwrap(), handle);
        }
        for bad in ["", "750A+", "query:x", "750A/../x"] {
            assert!(Handle::read(&Generation(bad.into())).is_err(), "{bad}");
        }
        let one = ["750A".to_owned()];
        let two = ["750A".to_owned(), "750B".to_owned()];
        assert_eq!(place(&one, Some("MTAw:x")).unwrap(), (0, Some("MTAw:x")));
        assert_eq!(next(&one, 0, None), None);
        assert_eq!(next(&one, 0, Some("MTAw".into())).as_deref(), Some("MTAw"));
        // From the end of one part to the beginning of the next.
        let cursor = next(&two, 0, None).unwrap();
        assert_eq!(place(&two, Some(&cursor)).unwrap(), (1, None));
        let cursor = next(&two, 1, Some("MTAw".into())).unwrap();
        assert_eq!(place(&two, Some(&cursor)).unwrap(), (1, Some("MTAw")));
        assert_eq!(next(&two, 1, None), None);
        assert!(place(&two, Some("x")).is_err());
    }
}
