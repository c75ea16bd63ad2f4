//! State and country picklists, as far as they change the schema: codes beside the texts of every address.
//!
//! The countries and states are a part of those an org starts with; the texts stay texts, and the codes are picklists of
//! which the state's depends on the country's.

use serde_json::Value;

use crate::schema::{DependencyOverride, FieldType, Object, SchemaError, build, dependency, text};

const SOURCE: &str = "state and country picklists";

/// ISO code and name.
const COUNTRIES: [(&str, &str); 18] = [
    ("AT", "Austria"),
    ("AU", "Australia"),
    ("BE", "Belgium"),
    ("CA", "Canada"),
    ("CH", "Switzerland"),
    ("DE", "Germany"),
    ("DK", "Denmark"),
    ("ES", "Spain"),
    ("FI", "Finland"),
    ("FR", "France"),
    ("GB", "United Kingdom"),
    ("JP", "Japan"),
    ("NL", "Netherlands"),
    ("NO", "Norway"),
    ("NZ", "New Zealand"),
    ("PL", "Poland"),
    ("SE", "Sweden"),
    ("US", "United States"),
];

/// Country, code, name. Other countries have none.
const STATES: [(&str, &str, &str); 72] = [
    ("AU", "ACT", "Australian Capital Territory"),
    ("AU", "NSW", "New South Wales"),
    ("AU", "NT", "Northern Territory"),
    ("AU", "QLD", "Queensland"),
    ("AU", "SA", "South Australia"),
    ("AU", "TAS", "Tasmania"),
    ("AU", "VIC", "Victoria"),
    ("AU", "WA", "Western Australia"),
    ("CA", "AB", "Alberta"),
    ("CA", "BC", "British Columbia"),
    ("CA", "MB", "Manitoba"),
    ("CA", "NB", "New Brunswick"),
    ("CA", "NL", "Newfoundland and Labrador"),
    ("CA", "NS", "Nova Scotia"),
    ("CA", "NT", "Northwest Territories"),
    ("CA", "NU", "Nunavut"),
    ("CA", "ON", "Ontario"),
    ("CA", "PE", "Prince Edward Island"),
    ("CA", "QC", "Quebec"),
    ("CA", "SK", "Saskatchewan"),
    ("CA", "YT", "Yukon Territories"),
    ("US", "AK", "Alaska"),
    ("US", "AL", "Alabama"),
    ("US", "AR", "Arkansas"),
    ("US", "AZ", "Arizona"),
    ("US", "CA", "California"),
    ("US", "CO", "Colorado"),
    ("US", "CT", "Connecticut"),
    ("US", "DC", "District of Columbia"),
    ("US", "DE", "Delaware"),
    ("US", "FL", "Florida"),
    ("US", "GA", "Georgia"),
    ("US", "HI", "Hawaii"),
    ("US", "IA", "Iowa"),
    ("US", "ID", "Idaho"),
    ("US", "IL", "Illinois"),
    ("US", "IN", "Indiana"),
    ("US", "KS", "Kansas"),
    ("US", "KY", "Kentucky"),
    ("US", "LA", "Louisiana"),
    ("US", "MA", "Massachusetts"),
    ("US", "MD", "Maryland"),
    ("US", "ME", "Maine"),
    ("US", "MI", "Michigan"),
    ("US", "MN", "Minnesota"),
    ("US", "MO", "Missouri"),
    ("US", "MS", "Mississippi"),
    ("US", "MT", "Montana"),
    ("US", "NC", "North Carolina"),
    ("US", "ND", "North Dakota"),
    ("US", "NE", "Nebraska"),
    ("US", "NH", "New Hampshire"),
    ("US", "NJ", "New Jersey"),
    ("US", "NM", "New Mexico"),
    ("US", "NV", "Nevada"),
    ("US", "NY", "New York"),
    ("US", "OH", "Ohio"),
    ("US", "OK", "Oklahoma"),
    ("US", "OR", "Oregon"),
    ("US", "PA", "Pennsylvania"),
    ("US", "RI", "Rhode Island"),
    ("US", "SC", "South Carolina"),
    ("US", "SD", "South Dakota"),
    ("US", "TN", "Tennessee"),
    ("US", "TX", "Texas"),
    ("US", "UT", "Utah"),
    ("US", "VA", "Virginia"),
    ("US", "VT", "Vermont"),
    ("US", "WA", "Washington"),
    ("US", "WI", "Wisconsin"),
    ("US", "WV", "West Virginia"),
    ("US", "WY", "Wyoming"),
];

/// A code with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub code: &'static str,
    pub name: &'static str,
}

/// The country with this name; with `or_code`, or with this code.
pub fn country(text: &[u8], or_code: bool) -> Option<Place> {
    let all = COUNTRIES.iter().map(|(code, name)| Place { code, name });
    find(all, text, or_code)
}

/// The country with this code.
pub fn country_of_code(code: &[u8]) -> Option<Place> {
    let all = COUNTRIES.iter().map(|(code, name)| Place { code, name });
    of_code(all, code)
}

fn states(country: &[u8]) -> impl Iterator<Item = Place> {
    let of_country = STATES.iter().filter(move |(of, ..)| of.as_bytes() == country);
    of_country.map(|(_, code, name)| Place { code, name })
}

/// The country's state with this name; with `or_code`, or with this code.
pub fn state(country: &[u8], text: &[u8], or_code: bool) -> Option<Place> {
    find(states(country), text, or_code)
}

/// The country's state with this code.
pub fn state_of_code(country: &[u8], code: &[u8]) -> Option<Place> {
    of_code(states(country), code)
}

fn find(mut all: impl Iterator<Item = Place>, text: &[u8], or_code: bool) -> Option<Place> {
    all.find(|p| p.name.as_bytes().eq_ignore_ascii_case(text) || (or_code && p.code.as_bytes().eq_ignore_ascii_case(text)))
}

fn of_code(mut all: impl Iterator<Item = Place>, code: &[u8]) -> Option<Place> {
    all.find(|p| p.code.as_bytes().eq_ignore_ascii_case(code))
}

/// Where an address of an object keeps its state and country.
#[derive(Debug, Clone, Copy)]
pub struct PlaceFields {
    pub state: usize,
    pub country: usize,
    pub state_code: usize,
    pub country_code: usize,
}

/// Gives every address that clients may write its two codes.
pub(super) fn apply(objects: &mut Vec<Object>) -> Result<(), SchemaError> {
    let mut codes: Vec<&str> = STATES.iter().map(|(_, code, _)| *code).collect();
    codes.sort_unstable();
    codes.dedup();
    let countries: Vec<&str> = COUNTRIES.iter().map(|(code, _)| *code).collect();
    let allowed: Vec<(String, Vec<String>)> = countries
        .iter()
        .map(|country| {
            let own = states(country.as_bytes()).map(|p| p.code.to_owned()).collect();
            ((*country).to_owned(), own)
        })
        .collect();
    let mut source = String::new();
    let mut dependencies = Vec::new();
    for object in objects.iter() {
        for (stem, compound) in addresses(object) {
            source.push_str(&format!(
                "\nextend {}\n  {stem}StateCode picklist(10) in={compound} values={}\n  {stem}CountryCode picklist(10) in={compound} values={}\n",
                object.name,
                codes.join("|"),
                countries.join("|")
            ));
            dependencies.push(DependencyOverride {
                object: object.name.clone(),
                field: format!("{stem}StateCode"),
                controller: format!("{stem}CountryCode"),
                values: allowed.clone(),
            });
        }
    }
    for parsed in text::parse(SOURCE, &source)? {
        build::apply_compact(objects, parsed, SOURCE)?;
    }
    dependencies
        .iter()
        .try_for_each(|change| dependency::apply_override(objects, change))
}

/// Prefix and compound field of an object's writable addresses without codes.
fn addresses(object: &Object) -> Vec<(String, String)> {
    let address = |field: &super::Field| {
        let stem = field.name.strip_suffix("Country")?;
        let compound = field.compound.clone()?;
        let is_whole = object.field(&format!("{stem}State")).is_some() && object.field(&format!("{stem}CountryCode")).is_none();
        (field.updateable && field.kind == FieldType::Text && is_whole).then(|| (stem.to_owned(), compound))
    };
    object.fields.iter().filter_map(address).collect()
}

/// Finds the addresses with codes. Their values are judged as places, not as picklist values: the refusals are others.
pub(super) fn resolve(object: &mut Object) {
    let mut found = Vec::new();
    for (country, field) in object.fields.iter().enumerate() {
        let Some(stem) = field.name.strip_suffix("Country") else { continue };
        let at = |part: &str| object.field(&format!("{stem}{part}"));
        if let (Some(state), Some(state_code), Some(country_code)) = (at("State"), at("StateCode"), at("CountryCode")) {
            found.push(PlaceFields {
                state,
                country,
                state_code,
                country_code,
            });
        }
    }
    for place in &found {
        for code in [place.state_code, place.country_code] {
            let field = &mut object.fields[code];
            field.restricted = false;
            field.describe.insert("restrictedPicklist".into(), Value::Bool(true));
        }
    }
    object.dependents.retain(|d| found.iter().all(|p| p.state_code != *d));
    object.places = found;
}
