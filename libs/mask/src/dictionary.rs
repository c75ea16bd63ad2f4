//! The words that fakes are made of: constant, distinct, ASCII (so a character is a byte).
//!
//! The order of a list decides which fake an input gets. Lists may grow at the cost of new fakes for old inputs,
//! so a change here is a change of `v1` in the key contexts of [`crate::key`].

pub mod companies;
pub mod family_names;
pub mod given_names;
pub mod places;
pub mod streets;
pub mod words;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_list_is_distinct_ascii_and_large_enough_to_redraw() {
        let lists: [(&str, &[&str], usize); 10] = [
            ("given names", given_names::GIVEN_NAMES, 300),
            ("family names", family_names::FAMILY_NAMES, 300),
            ("company stems", companies::COMPANY_STEMS, 100),
            ("company trades", companies::COMPANY_TRADES, 80),
            ("company forms", companies::COMPANY_FORMS, 15),
            ("street names", streets::STREET_NAMES, 150),
            ("street types", streets::STREET_TYPES, 10),
            ("words", words::WORDS, 200),
            ("countries", places::COUNTRIES, 50),
            ("country codes", places::COUNTRY_CODES, 50),
        ];
        for (name, list, least) in lists {
            let distinct: HashSet<String> = list.iter().map(|w| w.to_ascii_lowercase()).collect();
            assert_eq!(distinct.len(), list.len(), "{name} repeats itself");
            assert!(list.len() >= least, "{name} has only {}", list.len());
            assert!(list.iter().all(|w| w.is_ascii() && !w.is_empty()), "{name}");
        }
        assert_eq!(places::COUNTRIES.len(), places::COUNTRY_CODES.len());
    }

    #[test]
    fn every_place_has_its_own_five_digit_code_and_a_state() {
        let codes: HashSet<_> = places::PLACES.iter().map(|p| p.postal_code).collect();
        let cities: HashSet<_> = places::PLACES.iter().map(|p| p.city).collect();
        assert_eq!(codes.len(), places::PLACES.len());
        assert_eq!(cities.len(), places::PLACES.len());
        for p in places::PLACES {
            assert!(p.postal_code.len() == 5 && p.postal_code.bytes().all(|b| b.is_ascii_digit()));
            assert!(p.state_code.len() == 2 && p.state_code.bytes().all(|b| b.is_ascii_uppercase()));
        }
    }
}
