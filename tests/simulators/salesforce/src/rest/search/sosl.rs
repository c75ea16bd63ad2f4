//! SOSL: `FIND {words} IN NAME FIELDS RETURNING Account(Id, Name WHERE … LIMIT 5), Contact LIMIT 50`.

use serde_json::Value;

use super::words::{self, Words};
use crate::web::reply::ApiError;

/// Characters of a statement, and of its words ("SOSL Limits on Search Queries").
const STATEMENT_CHARS_MAX: usize = 100_000;
const WORDS_CHARS_MAX: usize = 10_000;

/// Which fields are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    All,
    Name,
    Email,
    Phone,
}

/// What to answer of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returning {
    pub object: String,
    fields: String,
    condition: Option<String>,
    /// ORDER BY, LIMIT and OFFSET as written.
    tail: String,
}

/// A parsed search.
#[derive(Debug, PartialEq, Eq)]
pub struct Search {
    pub words: Words,
    pub group: Group,
    pub returning: Vec<Returning>,
    pub limit: Option<usize>,
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::bad("MALFORMED_SEARCH", message)
}

impl Returning {
    /// An object's ids.
    pub fn plain(object: &str) -> Self {
        Self {
            object: object.into(),
            fields: "Id".into(),
            condition: None,
            tail: String::new(),
        }
    }

    /// The query for these ids.
    pub fn soql(&self, ids: &[String]) -> String {
        let quoted: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        let condition = self.condition.as_ref().map_or(String::new(), |c| format!(" AND ({c})"));
        format!(
            "SELECT {} FROM {} WHERE Id IN ({}){condition} {}",
            self.fields,
            self.object,
            quoted.join(","),
            self.tail
        )
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let Some((name, inner)) = text.split_once('(') else {
            return Ok(Self::plain(name(text)?));
        };
        let inner = inner
            .trim_end()
            .strip_suffix(')')
            .ok_or_else(|| malformed("A parenthesis of RETURNING is not closed"))?;
        let mut out = Self::plain(self::name(name)?);
        let after_where = keyword(inner, &["WHERE"]);
        let tail = keyword(inner, &["ORDER", "LIMIT", "OFFSET", "USING"]);
        let fields = inner[..after_where.or(tail).unwrap_or(inner.len())].trim();
        if !fields.is_empty() {
            out.fields = fields.to_owned();
        }
        if let Some(at) = after_where {
            let end = tail.filter(|t| *t > at).unwrap_or(inner.len());
            out.condition = Some(inner[at + "WHERE".len()..end].trim().to_owned());
        }
        out.tail = tail.map_or(String::new(), |at| inner[at..].to_owned());
        Ok(out)
    }
}

fn name(text: &str) -> Result<&str, ApiError> {
    let text = text.trim();
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain
        .then_some(text)
        .ok_or_else(|| malformed(format!("unexpected token: '{text}'")))
}

/// Where one of the keywords stands as a word, outside quotes and parentheses.
fn keyword(text: &str, words: &[&str]) -> Option<usize> {
    let mut depth = 0i32;
    let mut quoted = false;
    let mut escaped = false;
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if quoted {
            quoted = escaped || c != '\'';
            escaped = !escaped && c == '\\';
            continue;
        }
        let part_of_word = c.is_alphanumeric() || c == '_' || c == '.';
        match (start, part_of_word) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                if depth == 0 && words.iter().any(|w| text[from..at].eq_ignore_ascii_case(w)) {
                    return Some(from);
                }
                start = None;
            }
            _ => {}
        }
        match c {
            '\'' => quoted = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Splits at commas outside quotes and parentheses.
fn entries(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut from) = (0i32, false, false, 0);
    let mut out = Vec::new();
    for (at, c) in text.char_indices() {
        if quoted {
            quoted = escaped || c != '\'';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '\'' => quoted = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[from..]);
    out
}

/// The text in braces and what follows them.
fn braces(text: &str) -> Option<(String, &str)> {
    let inner = text.trim_start().strip_prefix('{')?;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        if c == '}' && !escaped {
            return Some((inner[..at].to_owned(), &inner[at + 1..]));
        }
        escaped = !escaped && c == '\\';
    }
    None
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let head = text.get(..word.len())?;
    let rest = &text[word.len()..];
    let ends = rest.chars().next().is_none_or(|c| !c.is_alphanumeric());
    (head.eq_ignore_ascii_case(word) && ends).then_some(rest)
}

fn group(name: &str) -> Result<Group, ApiError> {
    match name.to_ascii_uppercase().as_str() {
        "ALL" | "SIDEBAR" => Ok(Group::All),
        "NAME" => Ok(Group::Name),
        "EMAIL" => Ok(Group::Email),
        "PHONE" => Ok(Group::Phone),
        other => Err(malformed(format!("unknown search group: {other}"))),
    }
}

fn checked_words(text: &str) -> Result<Words, ApiError> {
    if text.chars().count() > WORDS_CHARS_MAX {
        return Err(malformed(format!("The search term exceeds {WORDS_CHARS_MAX} characters")));
    }
    words::parse(text)
}

/// Parses a statement.
pub fn parse(text: &str) -> Result<Search, ApiError> {
    if text.chars().count() > STATEMENT_CHARS_MAX {
        return Err(malformed(format!("The statement exceeds {STATEMENT_CHARS_MAX} characters")));
    }
    let no_term = || malformed("No search term found. The search term must be enclosed in braces.");
    let rest = strip_word(text, "FIND").ok_or_else(no_term)?;
    let (term, mut rest) = braces(rest).ok_or_else(no_term)?;
    let mut out = Search {
        words: checked_words(&term)?,
        group: Group::All,
        returning: Vec::new(),
        limit: None,
    };
    if let Some(after) = strip_word(rest, "IN") {
        let after = after.trim_start();
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        out.group = group(&after[..end])?;
        rest = strip_word(&after[end..], "FIELDS").ok_or_else(|| malformed("FIELDS is missing after IN"))?;
    }
    if let Some(after) = strip_word(rest, "RETURNING") {
        let end = keyword(after, &["LIMIT", "WITH", "UPDATE"]).unwrap_or(after.len());
        out.returning = entries(&after[..end]).into_iter().map(Returning::parse).collect::<Result<_, _>>()?;
        rest = &after[end..];
    }
    if let Some(after) = strip_word(rest, "LIMIT") {
        let number = after
            .trim()
            .parse()
            .map_err(|_| malformed(format!("unexpected token: '{}'", after.trim())))?;
        out.limit = Some(number);
        rest = "";
    }
    match rest.trim() {
        "" => Ok(out),
        other => Err(malformed(format!("unexpected token: '{other}'"))),
    }
}

/// Reads the body of a parameterized search.
pub fn from_parameters(body: &Value) -> Result<Search, ApiError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let names = |value: &Value| -> Option<String> {
        let list: Vec<&str> = value.as_array()?.iter().filter_map(Value::as_str).collect();
        (!list.is_empty()).then(|| list.join(", "))
    };
    let q = text(&body["q"]).ok_or_else(|| ApiError::bad("MISSING_ARGUMENT", "q is required"))?;
    // All words count here, none of them is an operator.
    let literal: String = q.chars().map(|c| if "(){}[]\"'&|!^~:\\+-".contains(c) { ' ' } else { c }).collect();
    let mut returning = Vec::new();
    for entry in body["sobjects"].as_array().into_iter().flatten() {
        let object = entry["name"].as_str().or_else(|| entry.as_str()).unwrap_or_default();
        let mut one = Returning::plain(name(object)?);
        if let Some(fields) = names(&entry["fields"]).or_else(|| names(&body["fields"])) {
            one.fields = fields;
        }
        one.condition = text(&entry["where"]);
        if let Some(order) = text(&entry["orderBy"]) {
            one.tail = format!("ORDER BY {order}");
        }
        let limit = entry["limit"].as_u64().or_else(|| body["defaultLimit"].as_u64());
        if let Some(limit) = limit {
            one.tail = format!("{} LIMIT {limit}", one.tail);
        }
        returning.push(one);
    }
    Ok(Search {
        words: checked_words(&literal)?,
        group: body["in"].as_str().map_or(Ok(Group::All), group)?,
        returning,
        limit: body["overallLimit"].as_u64().map(|n| n as usize),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_taken_apart() {
        let text = "find {ac\\}me} in Name fields returning Account(Id, Name where Name != 'a, (where)' AND (Site = null) order by Name limit 5), Contact limit 50";
        let search = parse(text).unwrap();
        assert_eq!((search.group, search.limit), (Group::Name, Some(50)));
        assert_eq!(
            search.returning[0].soql(&["001".into(), "002".into()]),
            "SELECT Id, Name FROM Account WHERE Id IN ('001','002') AND (Name != 'a, (where)' AND (Site = null)) order by Name limit 5"
        );
        assert_eq!(search.returning[1], Returning::plain("Contact"));
    }

    #[test]
    fn broken_statements_are_refused() {
        for text in [
            "",
            "FIND acme",
            "FIND {acme",
            "FIND {acme} IN STREET FIELDS",
            "FIND {acme} IN NAME",
            "FIND {acme} RETURNING Account(Id",
            "FIND {acme} RETURNING Account;",
            "FIND {acme} LIMIT x",
            "FIND {acme} and more",
            "FINDER {acme}",
        ] {
            assert_eq!(parse(text).unwrap_err().code, "MALFORMED_SEARCH", "{text}");
        }
    }
}
