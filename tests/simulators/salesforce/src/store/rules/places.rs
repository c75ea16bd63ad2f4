//! State and country picklists: text and code of a place say the same, whichever was written.

use crate::schema::places::{self, Place, PlaceFields};
use crate::schema::{Object, Schema};
use crate::store::db::Db;
use crate::store::row::Draft;
use crate::store::value::RowError;

/// Completes and checks the addresses of a row that had a part of them written.
pub(super) fn before_write(meta: &Object, draft: &mut Draft, given: &mut [bool]) -> Result<(), RowError> {
    for place in &meta.places {
        let parts = [place.state, place.country, place.state_code, place.country_code];
        if parts.iter().any(|field| given[*field]) {
            settle(meta, place, draft, given)?;
        }
    }
    Ok(())
}

fn refused(meta: &Object, field: usize, message: String) -> RowError {
    RowError::new("FIELD_INTEGRITY_EXCEPTION", message, &[&meta.fields[field].name])
}

/// Text and code of a place, and how to find the other of each.
struct Pair {
    text: usize,
    code: usize,
}

impl Pair {
    /// What the row now says, by what was written: the code, the text, or both if they agree.
    fn written(
        &self,
        draft: &Draft,
        given: &[bool],
        by_text: impl Fn(&[u8]) -> Option<Place>,
        by_code: impl Fn(&[u8]) -> Option<Place>,
    ) -> Result<Option<Place>, usize> {
        let of_text = || draft.get(self.text).map(|text| by_text(text).ok_or(self.text)).transpose();
        let of_code = || draft.get(self.code).map(|code| by_code(code).ok_or(self.code)).transpose();
        match (given[self.text], given[self.code]) {
            (true, true) => match (of_text()?, of_code()?) {
                (Some(text), Some(code)) if text != code => Err(self.text),
                (text, code) => Ok(text.or(code)),
            },
            (true, false) => of_text(),
            (false, _) => of_code(),
        }
    }

    fn put(&self, place: Option<Place>, draft: &mut Draft, given: &mut [bool]) {
        for (field, value) in [(self.text, place.map(|p| p.name)), (self.code, place.map(|p| p.code))] {
            match value {
                Some(value) => draft.set(field, value.as_bytes()),
                None => draft.clear(field),
            }
            given[field] = true;
        }
    }
}

fn settle(meta: &Object, place: &PlaceFields, draft: &mut Draft, given: &mut [bool]) -> Result<(), RowError> {
    let country = Pair {
        text: place.country,
        code: place.country_code,
    };
    let state = Pair {
        text: place.state,
        code: place.state_code,
    };
    let lists = |field: usize, what: &str| {
        let text = format!(
            "There's a problem with this {what}, even though it may appear correct. Please select a {what} from the list of valid {}.",
            if what == "state" { "states" } else { "countries" }
        );
        refused(meta, field, text)
    };
    let is_moved = given[country.text] || given[country.code];
    let at = country
        .written(draft, given, |text| places::country(text, false), places::country_of_code)
        .map_err(|field| lists(field, "country"))?;
    if is_moved {
        country.put(at, draft, given);
    }
    let code = at.map_or("", |p| p.code).as_bytes();
    let is_stated = given[state.text] || given[state.code];
    let within = state.written(
        draft,
        given,
        |text| places::state(code, text, false),
        |own| places::state_of_code(code, own),
    );
    let has_state = draft.get(state.text).or_else(|| draft.get(state.code)).is_some();
    let label = &meta.fields[state.text].label;
    match within {
        _ if has_state && at.is_none() && (is_stated || is_moved) => Err(refused(
            meta,
            state.text,
            format!("A country/territory must be specified before specifying a state value for field: {label}"),
        )),
        Ok(found) => {
            if is_stated || is_moved {
                state.put(found, draft, given);
            }
            Ok(())
        }
        Err(field) if is_stated => Err(lists(field, "state")),
        Err(field) => Err(refused(
            meta,
            field,
            format!("The existing country/territory doesn't recognize the state value for field: {label}"),
        )),
    }
}

/// Gives the records that are there the codes of the places they name, by name or by code; what is no place stays a text.
pub fn convert(db: &mut Db, schema: &Schema) {
    for (object, meta) in schema.objects.iter().enumerate().filter(|(_, meta)| !meta.places.is_empty()) {
        let table = &db.tables[object];
        let all: Vec<u32> = table.scan(true).collect();
        for index in all {
            let mut draft = Draft::default();
            draft.load(db.tables[object].row(index), meta.fields.len());
            let mut is_changed = false;
            for place in &meta.places {
                let Some(country) = draft.get(place.country).and_then(named_country) else {
                    continue;
                };
                is_changed = true;
                let state = draft
                    .get(place.state)
                    .and_then(|text| places::state(country.code.as_bytes(), text, true));
                draft.set(place.country, country.name.as_bytes());
                draft.set(place.country_code, country.code.as_bytes());
                if let Some(state) = state {
                    draft.set(place.state, state.name.as_bytes());
                    draft.set(place.state_code, state.code.as_bytes());
                }
            }
            if is_changed {
                db.tables[object].replace(index, draft.finish());
            }
        }
    }
}

/// The country a text means, in the spellings people use.
fn named_country(text: &[u8]) -> Option<Place> {
    match text {
        b"USA" => places::country_of_code(b"US"),
        b"UK" => places::country_of_code(b"GB"),
        other => places::country(other, true),
    }
}
