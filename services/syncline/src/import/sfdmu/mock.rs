//! SFDMU's mock patterns, and the masking strategy that gives the same kind of value.
//!
//! A pattern is a call of the `casual` library, or one of SFDMU's own. What has no counterpart is redacted: a value that
//! was to be masked must not travel because its mask is not known here.

use syncline_mask::{FakeKind, Redaction, Strategy};

/// Patterns of `casual` that stand for the same kind of value, without their arguments.
pub const KINDS: &[(&str, FakeKind)] = &[
    ("first_name", FakeKind::GivenName),
    ("last_name", FakeKind::FamilyName),
    ("name", FakeKind::FullName),
    ("full_name", FakeKind::FullName),
    ("company_name", FakeKind::Company),
    ("email", FakeKind::Email),
    ("phone", FakeKind::Phone),
    ("street", FakeKind::Street),
    ("address", FakeKind::Street),
    ("address1", FakeKind::Street),
    ("city", FakeKind::City),
    ("state", FakeKind::State),
    ("zip", FakeKind::PostalCode),
    ("country", FakeKind::Country),
    ("url", FakeKind::Url),
    ("title", FakeKind::Text),
    ("text", FakeKind::Text),
    ("sentence", FakeKind::Text),
    ("sentences", FakeKind::Text),
    ("description", FakeKind::Text),
    ("short_description", FakeKind::Text),
    ("string", FakeKind::Text),
    ("word", FakeKind::Text),
    ("words", FakeKind::Text),
];

/// The strategy for a pattern, if there is one.
pub fn strategy(pattern: &str) -> Option<Strategy> {
    let pattern = pattern.trim();
    let (name, arguments) = match pattern.split_once('(') {
        None => (pattern, None),
        Some((name, rest)) => (name.trim_end(), Some(rest.strip_suffix(')')?.trim())),
    };
    if name == "c_set_value" {
        return constant(arguments?);
    }
    KINDS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| Strategy::Fake(*kind))
}

/// `c_set_value('x')` writes the same into every record; `RAW_VALUE` in it stands for the original, which nothing masks.
fn constant(argument: &str) -> Option<Strategy> {
    if argument == "null" {
        return Some(Strategy::redact());
    }
    let is_number = argument.parse::<f64>().is_ok() && argument.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let value = if is_number {
        argument
    } else {
        let quote = argument.chars().next().filter(|c| matches!(c, '\'' | '"' | '`'))?;
        let text = argument.strip_prefix(quote)?.strip_suffix(quote)?;
        if text.contains(quote) || text.contains('\\') || text.contains("RAW_VALUE") || (quote == '`' && text.contains("${")) {
            return None;
        }
        text
    };
    if value.is_empty() {
        return Some(Strategy::redact());
    }
    Some(Strategy::Redact(Redaction {
        value: Some(value.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_become_strategies_of_the_same_kind_or_none() {
        for (pattern, expected) in [
            ("name", Some("fake(full_name)")),
            (" first_name ", Some("fake(given_name)")),
            ("zip(5)", Some("fake(postal_code)")),
            ("words(3)", Some("fake(text)")),
            ("c_set_value('n/a')", Some("redact(\"n/a\")")),
            ("c_set_value(\"it's\")", Some("redact(\"it's\")")),
            ("c_set_value(12)", Some("redact(\"12\")")),
            ("c_set_value('')", Some("redact")),
            ("c_set_value(null)", Some("redact")),
            ("c_set_value('RAW_VALUE.invalid')", None),
            ("c_set_value('a' + 'b')", None),
            ("c_set_value", None),
            ("c_set_value(process.env.HOME)", None),
            ("c_set_value(Infinity)", None),
            ("c_seq_number('ID_',1,1)", None),
            ("c_seq_date('2020-01-01','d')", None),
            ("ids", None),
            ("username", None),
            ("Name", None),
            ("name(", None),
            ("", None),
        ] {
            let found = strategy(pattern);
            assert_eq!(found.as_ref().map(ToString::to_string).as_deref(), expected, "{pattern}");
            if let Some(strategy) = found {
                assert_eq!(strategy.to_string().parse::<Strategy>().unwrap(), strategy, "{pattern}");
            }
        }
    }
}
