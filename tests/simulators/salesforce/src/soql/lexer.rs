//! SOQL tokens with their offsets.

use super::SoqlError;

/// A lexical unit.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A name, dotted path or keyword.
    Word(String),
    /// An unescaped string; `pattern` keeps `\%` and `\_` for LIKE.
    Text {
        value: String,
        pattern: String,
    },
    /// A number, date or datetime literal.
    Literal(String),
    /// `= != < <= > >= ( ) , :`
    Symbol(&'static str),
    End,
}

/// A token and where it starts.
#[derive(Debug, Clone)]
pub struct Spanned {
    pub token: Token,
    pub at: usize,
}

/// Cuts a statement into tokens, ending with [`Token::End`].
pub fn tokens(query: &str) -> Result<Vec<Spanned>, SoqlError> {
    let bytes = query.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while let Some(&c) = bytes.get(i) {
        let at = i;
        let token = match c {
            b' ' | b'\t' | b'\r' | b'\n' => {
                i += 1;
                continue;
            }
            b'\'' => {
                let (token, next) = text(query, i)?;
                i = next;
                token
            }
            b'0'..=b'9' | b'-' | b'+' | b'.' => {
                while bytes.get(i).is_some_and(|c| c.is_ascii_alphanumeric() || b"-+.:".contains(c)) {
                    i += 1;
                }
                Token::Literal(query[at..i].to_owned())
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                while bytes.get(i).is_some_and(|c| c.is_ascii_alphanumeric() || b"_.".contains(c)) {
                    i += 1;
                }
                Token::Word(query[at..i].to_owned())
            }
            _ => {
                let two = bytes.get(i..i + 2).unwrap_or_default();
                let symbol = match (c, two) {
                    (_, b"!=") | (_, b"<>") => "!=",
                    (_, b"<=") => "<=",
                    (_, b">=") => ">=",
                    (b'=', _) => "=",
                    (b'<', _) => "<",
                    (b'>', _) => ">",
                    (b'(', _) => "(",
                    (b')', _) => ")",
                    (b',', _) => ",",
                    (b':', _) => ":",
                    _ => {
                        let shown = query[at..].chars().next().unwrap_or(' ');
                        return Err(SoqlError::at("MALFORMED_QUERY", query, at, &format!("unexpected token: '{shown}'")));
                    }
                };
                // `<>` is spelled with two characters but is the same operator.
                i += if two == b"<>" { 2 } else { symbol.len() };
                Token::Symbol(symbol)
            }
        };
        out.push(Spanned { token, at });
    }
    out.push(Spanned {
        token: Token::End,
        at: query.len(),
    });
    Ok(out)
}

fn text(query: &str, start: usize) -> Result<(Token, usize), SoqlError> {
    let (mut value, mut pattern) = (String::new(), String::new());
    let mut chars = query[start + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '\'' => return Ok((Token::Text { value, pattern }, start + 1 + offset + 1)),
            '\\' => {
                let escaped = match chars.next().map(|(_, c)| c) {
                    Some('n' | 'N') => '\n',
                    Some('r' | 'R') => '\r',
                    Some('t' | 'T') => '\t',
                    Some('b' | 'B') => '\u{8}',
                    Some('f' | 'F') => '\u{c}',
                    Some(c @ ('\'' | '"' | '\\')) => c,
                    Some(c @ ('%' | '_')) => {
                        pattern.push('\\');
                        c
                    }
                    _ => {
                        return Err(SoqlError::at(
                            "MALFORMED_QUERY",
                            query,
                            start + 1 + offset,
                            "Invalid string literal. Illegal character sequence in the string",
                        ));
                    }
                };
                if escaped == '\\' {
                    pattern.push('\\');
                }
                value.push(escaped);
                pattern.push(escaped);
            }
            c => {
                value.push(c);
                pattern.push(c);
            }
        }
    }
    Err(SoqlError::at("MALFORMED_QUERY", query, start, "unexpected token: '''"))
}
