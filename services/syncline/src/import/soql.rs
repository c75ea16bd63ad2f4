//! A SOQL query taken apart as far as a sync needs it: fields, object, condition, and which clauses there are besides.
//!
//! The condition is text for the org and is not understood here; parentheses and texts in quotes are skipped as wholes.

use syncline_domain::FieldName;

/// A query of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    pub items: Vec<Item>,
    pub object: String,
    /// Behind WHERE.
    pub filter: Option<String>,
    /// Clauses besides SELECT, FROM and WHERE, by their first word in capitals.
    pub clauses: Vec<&'static str>,
}

/// What stands between SELECT and FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Field(FieldName),
    /// `Owner.Name`
    Path(String),
    /// `WhoId$Contact`, as SFDMU names the object that a reference leads to.
    Towards(FieldName, String),
    /// Anything else: an aggregate, a subquery, an alias. Its beginning, without values.
    Other(String),
}

/// A clause's first word, and what must follow for it to be one.
const CLAUSES: [(&str, &[&str]); 10] = [
    ("WHERE", &[]),
    ("USING", &["SCOPE"]),
    ("WITH", &[]),
    ("GROUP", &["BY"]),
    ("HAVING", &[]),
    ("ORDER", &["BY"]),
    ("LIMIT", &[]),
    ("OFFSET", &[]),
    ("FOR", &["VIEW", "REFERENCE", "UPDATE"]),
    ("ALL", &["ROWS"]),
];

/// # Errors
/// Why it is no query that could be taken apart.
pub fn parse(query: &str) -> Result<Select, String> {
    let words = words(query)?;
    if !words.first().is_some_and(|w| w.is(query, "SELECT")) {
        return Err("it does not start with SELECT".to_owned());
    }
    let from = words.iter().position(|w| w.is(query, "FROM")).ok_or("it has no FROM")?;
    let select_end = words.first().map_or(0, |w| w.end);
    let from_word = words.get(from).ok_or("it has no FROM")?;
    let items = split(query.get(select_end..from_word.start).unwrap_or(""))
        .into_iter()
        .map(item)
        .collect::<Result<Vec<_>, _>>()?;

    // Where each clause starts: (position among the words, its first word).
    let starts: Vec<(usize, &'static str)> = words
        .iter()
        .enumerate()
        .skip(from + 2)
        .filter_map(|(i, word)| {
            let (name, next) = CLAUSES.iter().find(|(name, _)| word.is(query, name))?;
            let follows = next.is_empty() || words.get(i + 1).is_some_and(|w| next.iter().any(|n| w.is(query, n)));
            follows.then_some((i, *name))
        })
        .collect();
    let object_end = starts.first().map_or(words.len(), |(i, _)| *i);
    let object = match words.get(from + 1..object_end) {
        Some([object]) => object.text(query).to_owned(),
        Some([_, ..]) => return Err("it gives its object an alias, or names several".to_owned()),
        _ => return Err("nothing stands behind FROM".to_owned()),
    };
    let mut filter = None;
    let mut clauses = Vec::new();
    for (n, (i, name)) in starts.iter().enumerate() {
        if *name != "WHERE" {
            clauses.push(*name);
            continue;
        }
        let start = words.get(*i).map_or(query.len(), |w| w.end);
        let end = starts.get(n + 1).and_then(|(j, _)| words.get(*j)).map_or(query.len(), |w| w.start);
        let condition = query.get(start..end).unwrap_or("").trim();
        if condition.is_empty() {
            return Err("nothing stands behind WHERE".to_owned());
        }
        if filter.replace(condition.to_owned()).is_some() {
            return Err("it has two WHERE".to_owned());
        }
    }
    Ok(Select {
        items,
        object,
        filter,
        clauses,
    })
}

/// A word outside of parentheses and quotes; a parenthesis or a text in quotes is a word by itself.
struct Word {
    start: usize,
    end: usize,
}

impl Word {
    fn text<'q>(&self, query: &'q str) -> &'q str {
        query.get(self.start..self.end).unwrap_or("")
    }

    fn is(&self, query: &str, keyword: &str) -> bool {
        self.text(query).eq_ignore_ascii_case(keyword)
    }
}

fn words(query: &str) -> Result<Vec<Word>, String> {
    let mut words: Vec<Word> = Vec::new();
    let mut open: Option<usize> = None;
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut escaped = false;
    let close = |open: &mut Option<usize>, end: usize, words: &mut Vec<Word>| {
        if let Some(start) = open.take() {
            words.push(Word { start, end });
        }
    };
    for (at, c) in query.char_indices() {
        if quoted {
            quoted = escaped || c != '\'';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '\'' => {
                quoted = true;
                open = open.or(Some(at));
            }
            '(' => {
                if depth == 0 {
                    close(&mut open, at, &mut words);
                    open = Some(at);
                }
                depth += 1;
            }
            ')' => {
                depth = depth.checked_sub(1).ok_or("a parenthesis is closed that was not opened")?;
                if depth == 0 {
                    close(&mut open, at + 1, &mut words);
                }
            }
            _ if depth > 0 => {}
            ',' => {
                close(&mut open, at, &mut words);
                words.push(Word { start: at, end: at + 1 });
            }
            c if c.is_whitespace() => close(&mut open, at, &mut words),
            _ => open = open.or(Some(at)),
        }
    }
    if quoted {
        return Err("a text in quotes is not closed".to_owned());
    }
    if depth > 0 {
        return Err("a parenthesis is not closed".to_owned());
    }
    close(&mut open, query.len(), &mut words);
    Ok(words)
}

/// At the commas outside of parentheses.
fn split(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, c) in list.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(list.get(start..at).unwrap_or(""));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(list.get(start..).unwrap_or(""));
    parts
}

fn item(text: &str) -> Result<Item, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a comma too many stands between SELECT and FROM, or nothing".to_owned());
    }
    // Everybody writes `Id` as they like; Syncline's other names are exact.
    let exact = if text.eq_ignore_ascii_case("id") { "Id" } else { text };
    if let Ok(field) = FieldName::new(exact) {
        return Ok(Item::Field(field));
    }
    let is_path = |text: &str| text.contains('.') && text.split('.').all(|part| FieldName::new(part).is_ok());
    if is_path(text) {
        return Ok(Item::Path(text.to_owned()));
    }
    if let Some((field, object)) = text.split_once('$')
        && let Ok(field) = FieldName::new(field)
        && FieldName::new(object).is_ok()
    {
        return Ok(Item::Towards(field, object.to_owned()));
    }
    let beginning = text.split(['(', '\'']).next().unwrap_or("").trim();
    Ok(Item::Other(if beginning.len() < text.len() {
        format!("{beginning}(…)")
    } else {
        beginning.to_owned()
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn field(name: &str) -> Item {
        Item::Field(FieldName::new(name).unwrap())
    }

    #[test]
    fn a_query_comes_apart() {
        let select = parse(
            "select id, Name,Owner.Name, WhoId$Contact, COUNT(Id) n, (SELECT Id FROM Contacts WHERE X = 'a,b') \
             FROM Account\nWHERE (Name = 'it\\'s FROM, WHERE') AND Id IN (SELECT X FROM Y LIMIT 3) ORDER BY Name LIMIT 5 ALL ROWS",
        )
        .unwrap();
        assert_eq!(select.object, "Account");
        assert_eq!(
            select.items,
            [
                field("Id"),
                field("Name"),
                Item::Path("Owner.Name".into()),
                Item::Towards(FieldName::new("WhoId").unwrap(), "Contact".into()),
                Item::Other("COUNT(…)".into()),
                Item::Other("(…)".into()),
            ]
        );
        assert_eq!(
            select.filter.as_deref(),
            Some("(Name = 'it\\'s FROM, WHERE') AND Id IN (SELECT X FROM Y LIMIT 3)")
        );
        assert_eq!(select.clauses, ["ORDER", "LIMIT", "ALL"]);
    }

    #[test]
    fn words_of_clauses_are_words_where_nothing_follows() {
        let select = parse("SELECT Order, For FROM Thing__c WHERE Group = 1 AND Using != 'x'").unwrap();
        assert_eq!(select.filter.as_deref(), Some("Group = 1 AND Using != 'x'"));
        assert!(select.clauses.is_empty());
    }

    #[test]
    fn what_is_no_query_says_why() {
        for (query, says) in [
            ("", "SELECT"),
            ("DELETE FROM Account", "SELECT"),
            ("SELECT Id", "no FROM"),
            ("SELECT Id FROM", "behind FROM"),
            ("SELECT Id FROM WHERE Name = 'x'", "alias"),
            ("SELECT Id,,Name FROM Account", "comma"),
            ("SELECT FROM Account", "nothing"),
            ("SELECT Id FROM Account a", "alias"),
            ("SELECT Id FROM Account, Contact", "several"),
            ("SELECT Id FROM Account WHERE", "behind WHERE"),
            ("SELECT Id FROM Account WHERE Name = 'x", "not closed"),
            ("SELECT Id FROM Account WHERE (Name = 'x'", "parenthesis"),
            ("SELECT Id) FROM Account", "parenthesis"),
            ("SELECT Id FROM Account WHERE A = 1 WHERE B = 2", "two WHERE"),
        ] {
            let why = parse(query).unwrap_err();
            assert!(why.contains(says), "{query:?}: {why}");
        }
    }
}
