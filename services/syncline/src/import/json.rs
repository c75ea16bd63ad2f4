//! JSON (RFC 8259) whose values know where they stand, which `serde_json`'s don't.
//!
//! Accepts what `serde_json` accepts (a property test compares them), and says of what it refuses where and how to mend it.

/// Deeper than any configuration; recursion stays bounded.
const DEPTH_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Bytes before it.
    pub at: usize,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Null,
    Bool(bool),
    Number,
    Text(String),
    Array(Vec<Value>),
    /// In the order of the file; a name may stand twice.
    Object(Vec<Member>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub name: String,
    /// Where the name stands.
    pub at: usize,
    pub value: Value,
}

impl Content {
    /// The kind of value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number => "a number",
            Self::Text(_) => "text",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub at: usize,
    pub why: String,
    pub remedy: &'static str,
}

/// Line and column, in characters, both from 1.
pub fn place(text: &str, at: usize) -> (u64, u64) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.get(line_start..).unwrap_or("").chars().count() as u64 + 1;
    (line, column)
}

/// # Errors
/// The first thing that is not JSON.
pub fn parse(text: &str) -> Result<Value, Malformed> {
    let mut parser = Parser { text, at: 0 };
    parser.blank();
    let value = parser.value(0)?;
    parser.blank();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.unexpected("the end of the file")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn malformed(&self, at: usize, why: impl Into<String>, remedy: &'static str) -> Malformed {
        Malformed {
            at,
            why: why.into(),
            remedy,
        }
    }

    fn unexpected(&self, wanted: &str) -> Malformed {
        let rest = self.rest();
        let (why, remedy) = if rest.starts_with("//") || rest.starts_with("/*") {
            ("there is a comment, which JSON does not have".to_owned(), "Remove it.")
        } else if rest.starts_with('\'') {
            (format!("there is a `'`, expected {wanted}"), "Put texts into double quotes.")
        } else {
            match rest.chars().next() {
                None => (
                    format!("the file ends here, expected {wanted}"),
                    "Close what is open, or copy the whole file again.",
                ),
                Some(c) if c.is_alphanumeric() || c.is_ascii_graphic() => {
                    (format!("there is a `{c}`, expected {wanted}"), "Correct this place.")
                }
                Some(c) => (
                    format!("there is the character U+{:04X}, expected {wanted}", u32::from(c)),
                    "Remove it.",
                ),
            }
        };
        self.malformed(self.at, why, remedy)
    }

    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        if depth > DEPTH_MAX {
            return Err(self.malformed(
                self.at,
                format!("values are nested deeper than {DEPTH_MAX} levels"),
                "An export.json has some five.",
            ));
        }
        let at = self.at;
        let content = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Content::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Value { at, content })
    }

    fn word(&mut self) -> Result<Content, Malformed> {
        for (word, content) in [
            ("null", Content::Null),
            ("true", Content::Bool(true)),
            ("false", Content::Bool(false)),
        ] {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(content);
            }
        }
        Err(self.unexpected("a value"))
    }

    fn number(&mut self) -> Result<Content, Malformed> {
        let at = self.at;
        while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        let number = self.text.get(at..self.at).unwrap_or("");
        match serde_json::from_str::<f64>(number) {
            Ok(_) => Ok(Content::Number),
            Err(_) => Err(self.malformed(at, "this is not a number", "Write it as 12 or 1.5, or put it into double quotes.")),
        }
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let at = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None | Some(b'\n' | b'\r') => return Err(self.malformed(at, "this text is not closed", "End it with a double quote.")),
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let quoted = self.text.get(at..self.at).unwrap_or("");
        serde_json::from_str(quoted).map_err(|_| {
            self.malformed(
                at,
                "this text holds a control character, or a `\\` before a letter that has no meaning",
                "Write `\\\\` for a backslash, `\\t` for a tab.",
            )
        })
    }

    fn array(&mut self, depth: usize) -> Result<Content, Malformed> {
        self.at += 1;
        let mut values = Vec::new();
        self.blank();
        if self.take(b']') {
            return Ok(Content::Array(values));
        }
        loop {
            self.blank();
            values.push(self.value(depth + 1)?);
            self.blank();
            if self.take(b']') {
                return Ok(Content::Array(values));
            }
            self.comma("`,` or `]`", b']')?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Content, Malformed> {
        self.at += 1;
        let mut members = Vec::new();
        self.blank();
        if self.take(b'}') {
            return Ok(Content::Object(members));
        }
        loop {
            self.blank();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a name in double quotes"));
            }
            let name = self.string()?;
            self.blank();
            if !self.take(b':') {
                return Err(self.unexpected("`:`"));
            }
            self.blank();
            let value = self.value(depth + 1)?;
            members.push(Member { name, at, value });
            self.blank();
            if self.take(b'}') {
                return Ok(Content::Object(members));
            }
            self.comma("`,` or `}`", b'}')?;
        }
    }

    fn comma(&mut self, wanted: &str, end: u8) -> Result<(), Malformed> {
        let at = self.at;
        if !self.take(b',') {
            return Err(self.unexpected(wanted));
        }
        self.blank();
        if self.peek() == Some(end) {
            return Err(self.malformed(at, "there is a comma behind the last value", "Remove it."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_know_where_they_stand() {
        let text = "{\n  \"é\": [1, {\"b\": null}]\n}";
        let Content::Object(members) = parse(text).unwrap().content else {
            panic!("an object")
        };
        assert_eq!(place(text, members[0].at), (2, 3));
        let Content::Array(values) = &members[0].value.content else {
            panic!("an array")
        };
        assert_eq!(place(text, values[1].at), (2, 12), "columns are characters, not bytes");
    }

    #[test]
    fn what_is_not_json_is_refused_at_its_place() {
        for (text, at, says) in [
            ("", (1, 1), "the file ends here"),
            ("{\n  // hello\n}", (2, 3), "a comment"),
            ("{\"a\": 1, /* x */ \"b\": 2}", (1, 10), "a comment"),
            ("{\"a\": 1,}", (1, 8), "a comma behind the last value"),
            ("[1, 2,\n]", (1, 6), "a comma behind the last value"),
            ("{'a': 1}", (1, 2), "double quotes"),
            ("{\"a\" 1}", (1, 6), "expected `:`"),
            ("{\"a\": \"x\n\"}", (1, 7), "not closed"),
            ("{\"a\": \"\\q\"}", (1, 7), "a `\\` before a letter"),
            ("{\"a\": 1} {", (1, 10), "the end of the file"),
            ("{\"a\": 01}", (1, 7), "not a number"),
            ("{\"a\": \u{a0}1}", (1, 7), "U+00A0"),
            ("{\"a\": tru}", (1, 7), "expected a value"),
        ] {
            let malformed = parse(text).unwrap_err();
            assert_eq!(place(text, malformed.at), at, "{text:?}: {malformed:?}");
            let all = format!("{} {}", malformed.why, malformed.remedy);
            assert!(all.contains(says), "{text:?}: {all}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).unwrap_err().why.contains("nested deeper"));
    }

    fn same(parsed: &Value, other: &serde_json::Value) -> bool {
        match (&parsed.content, other) {
            (Content::Null, serde_json::Value::Null) | (Content::Number, serde_json::Value::Number(_)) => true,
            (Content::Bool(a), serde_json::Value::Bool(b)) => a == b,
            (Content::Text(a), serde_json::Value::String(b)) => a == b,
            (Content::Array(a), serde_json::Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Content::Object(a), serde_json::Value::Object(b)) => {
                // A name that stands twice is there once, with its last value.
                b.iter()
                    .all(|(name, b)| a.iter().rev().find(|m| m.name == *name).is_some_and(|m| same(&m.value, b)))
                    && a.iter().all(|m| b.contains_key(&m.name))
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_accepts_what_serde_json_accepts(
            text in "([\\[\\]{},:\" \n0-9.eE+-]|\"[a-z\\\\/u0-9]{0,5}\"|\"a\":|true|false|null|é){0,14}"
        ) {
            match (parse(&text), serde_json::from_str::<serde_json::Value>(&text)) {
                (Ok(ours), Ok(theirs)) => prop_assert!(same(&ours, &theirs), "{text:?}"),
                (Err(ours), Err(_)) => prop_assert!(ours.at <= text.len()),
                (ours, theirs) => prop_assert!(false, "{text:?}: {ours:?} but {theirs:?}"),
            }
        }
    }
}
