//! The words of a search: `acme AND ("north sea" OR oil*) AND NOT gas`.

use crate::web::reply::ApiError;

/// What a record's words must satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// Consecutive words of one field, with `*` and `?`.
    Phrase(Vec<String>),
    All(Vec<Words>),
    Any(Vec<Words>),
    Not(Box<Words>),
}

/// The words of a text, in lower case.
pub fn split(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// `*` stands for any letters, `?` for one.
fn fits(pattern: &[char], word: &[char]) -> bool {
    match pattern.split_first() {
        None => word.is_empty(),
        Some(('*', rest)) => (0..=word.len()).any(|skip| fits(rest, &word[skip..])),
        Some(('?', rest)) => word.split_first().is_some_and(|(_, word)| fits(rest, word)),
        Some((c, rest)) => word.split_first().is_some_and(|(w, word)| w == c && fits(rest, word)),
    }
}

impl Words {
    /// Whether a record with these fields, each split into words, satisfies the search.
    pub fn matches(&self, fields: &[Vec<String>]) -> bool {
        match self {
            Self::All(list) => list.iter().all(|w| w.matches(fields)),
            Self::Any(list) => list.iter().any(|w| w.matches(fields)),
            Self::Not(inner) => !inner.matches(fields),
            Self::Phrase(phrase) => {
                let patterns: Vec<Vec<char>> = phrase.iter().map(|w| w.chars().collect()).collect();
                let here = |window: &[String]| {
                    window.iter().zip(&patterns).all(|(word, pattern)| {
                        let word: Vec<char> = word.chars().collect();
                        fits(pattern, &word)
                    })
                };
                fields.iter().any(|words| words.windows(patterns.len()).any(here))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Phrase(Vec<String>),
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::bad("MALFORMED_SEARCH", message)
}

/// Words of a term, wildcards kept.
fn pattern(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '*' && c != '?')
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn tokens(text: &str) -> Result<Vec<Token>, ApiError> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '(' => out.push(Token::Open),
            ')' => out.push(Token::Close),
            '"' => {
                let mut phrase = String::new();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => phrase.extend(chars.next()),
                        Some(c) => phrase.push(c),
                        None => return Err(malformed("A quoted phrase does not end")),
                    }
                }
                out.push(Token::Phrase(pattern(&phrase)));
            }
            first => {
                let mut word = String::new();
                let mut next = Some(first);
                while let Some(c) = next {
                    match c {
                        // An escaped character is text, which separates words at most.
                        '\\' => word.extend(chars.next().map(|c| if c.is_alphanumeric() { c } else { ' ' })),
                        c => word.push(c),
                    }
                    next = chars.next_if(|c| !c.is_whitespace() && !['(', ')', '"'].contains(c));
                }
                out.push(match word.to_ascii_uppercase().as_str() {
                    "AND" => Token::And,
                    "OR" => Token::Or,
                    "NOT" => Token::Not,
                    _ => Token::Phrase(pattern(&word)),
                });
            }
        }
    }
    out.retain(|t| *t != Token::Phrase(Vec::new()));
    Ok(out)
}

/// Deepest nesting of parentheses.
const DEPTH_MAX: usize = 50;

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    fn any(&mut self) -> Result<Words, ApiError> {
        let mut list = vec![self.all()?];
        while self.tokens.next_if_eq(&Token::Or).is_some() {
            list.push(self.all()?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Words::Any(list) })
    }

    fn all(&mut self) -> Result<Words, ApiError> {
        let mut list = vec![self.one()?];
        loop {
            let joined = self.tokens.next_if_eq(&Token::And).is_some();
            // Words side by side must all be there.
            if !joined && matches!(self.tokens.peek(), None | Some(Token::Or | Token::Close)) {
                break;
            }
            list.push(self.one()?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Words::All(list) })
    }

    fn one(&mut self) -> Result<Words, ApiError> {
        match self.tokens.next() {
            Some(Token::Phrase(words)) => Ok(Words::Phrase(words)),
            Some(Token::Not) => Ok(Words::Not(Box::new(self.one()?))),
            Some(Token::Open) if self.depth < DEPTH_MAX => {
                self.depth += 1;
                let inner = self.any()?;
                self.depth -= 1;
                match self.tokens.next() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err(malformed("A parenthesis is not closed")),
                }
            }
            _ => Err(malformed("The search term is incomplete")),
        }
    }
}

/// Parses a search term.
pub fn parse(text: &str) -> Result<Words, ApiError> {
    if text.chars().filter(|c| c.is_alphanumeric()).count() < 2 {
        return Err(malformed(format!("search term must be longer than one character: {text}")));
    }
    let tokens = tokens(text)?;
    // A chain of NOTs nests as parentheses do.
    if tokens.windows(2).any(|pair| pair == [Token::Not, Token::Not]) {
        return Err(malformed("The search term is incomplete"));
    }
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        depth: 0,
    };
    let words = parser.any()?;
    match parser.tokens.next() {
        None => Ok(words),
        Some(_) => Err(malformed("The search term is not well formed")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn terms_match_as_written() {
        let record = [split("Acme North-Sea Oil, Inc."), split("jane.doe@acme.example")];
        for (term, hit) in [
            ("acme", true),
            ("acm", false),
            ("acm*", true),
            ("a?me", true),
            ("ACME oil", true),
            ("acme gas", false),
            ("gas OR oil", true),
            ("\"north sea\"", true),
            ("\"sea north\"", false),
            ("acme AND NOT gas", true),
            ("acme AND NOT oil", false),
            ("(gas OR oil) AND acme", true),
            ("gas OR (oil AND coal)", false),
            ("jane.doe@acme.example", true),
            ("jane\\-doe", true),
            ("doe jane", true),
        ] {
            assert_eq!(parse(term).unwrap().matches(&record), hit, "{term}");
        }
    }

    #[test]
    fn broken_terms_are_refused() {
        let deep = "(".repeat(100_000) + "acme";
        for term in [
            "",
            "a",
            "*",
            "acme AND",
            "(acme",
            "acme)",
            "\"acme",
            "OR acme",
            deep.as_str(),
            "NOT NOT acme",
        ] {
            assert_eq!(parse(term).unwrap_err().code, "MALFORMED_SEARCH", "{}", &term[..term.len().min(20)]);
        }
    }
}
