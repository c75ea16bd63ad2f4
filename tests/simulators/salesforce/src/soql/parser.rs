//! Recursive descent over the tokens; keeps offsets so later errors can point.

use super::SoqlError;
use super::lexer::{Spanned, Token, tokens};

/// Longest accepted statement.
const QUERY_CHARS_MAX: usize = 100_000;
const DEPTH_MAX: usize = 200;

/// A dotted path and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    pub text: String,
    pub at: usize,
}

/// One entry of the select list.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Field(Path),
    /// `COUNT()`
    CountAll,
    /// `COUNT(f) alias`
    Aggregate {
        function: String,
        path: Path,
        alias: Option<String>,
    },
    /// `FIELDS(ALL|STANDARD|CUSTOM)`
    Fields(String, usize),
    /// `(SELECT … FROM Children)`
    Children(Box<Statement>),
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Text {
        value: String,
        pattern: String,
    },
    Literal(String),
    /// `null`, `true`, `TODAY`, `LAST_N_DAYS:3`
    Word(String, Option<u32>),
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Compare { path: Path, operator: String, operand: Operand },
    In { path: Path, negated: bool, list: Vec<Operand> },
    SemiJoin { path: Path, negated: bool, inner: Box<Statement> },
    Includes { path: Path, negated: bool, list: Vec<String> },
}

/// One sort key.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub path: Path,
    pub descending: bool,
    pub nulls_first: Option<bool>,
}

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub items: Vec<Item>,
    pub from: Path,
    pub alias: Option<String>,
    pub condition: Option<Condition>,
    pub group: Vec<Path>,
    pub order: Vec<Order>,
    pub limit: Option<u64>,
    pub offset: Option<u64>,
}

/// Parses a whole statement.
pub fn parse(query: &str) -> Result<Statement, SoqlError> {
    if query.len() > QUERY_CHARS_MAX {
        return Err(SoqlError::new(
            "MALFORMED_QUERY",
            "SOQL statements cannot be longer than 100000 characters.",
        ));
    }
    let list = tokens(query)?;
    let mut parser = Parser {
        query,
        list,
        at: 0,
        depth: 0,
    };
    let statement = parser.statement()?;
    match parser.peek() {
        Token::End => Ok(statement),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'a> {
    query: &'a str,
    list: Vec<Spanned>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.list[self.at.min(self.list.len() - 1)].token
    }

    fn offset(&self) -> usize {
        self.list[self.at.min(self.list.len() - 1)].at
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.list.len() - 1);
        token
    }

    fn fail(&self, message: &str) -> SoqlError {
        SoqlError::at("MALFORMED_QUERY", self.query, self.offset(), message)
    }

    fn unexpected(&self) -> SoqlError {
        match self.peek() {
            Token::End => self.fail("unexpected token: '<EOF>'"),
            Token::Word(w) | Token::Literal(w) => self.fail(&format!("unexpected token: '{w}'")),
            Token::Text { value, .. } => self.fail(&format!("unexpected token: '{value}'")),
            Token::Symbol(s) => self.fail(&format!("unexpected token: '{s}'")),
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(w) if w.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let hit = self.is_word(word);
        if hit {
            self.next();
        }
        hit
    }

    fn expect_word(&mut self, word: &str) -> Result<(), SoqlError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn take(&mut self, symbol: &str) -> bool {
        let hit = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        if hit {
            self.next();
        }
        hit
    }

    fn expect(&mut self, symbol: &str) -> Result<(), SoqlError> {
        if self.take(symbol) {
            return Ok(());
        }
        Err(match self.peek() {
            Token::End => self.fail(&format!("expecting '{symbol}', found '<EOF>'")),
            _ => self.unexpected(),
        })
    }

    fn path(&mut self) -> Result<Path, SoqlError> {
        const RESERVED: [&str; 14] = [
            "select", "from", "where", "and", "or", "not", "in", "like", "order", "group", "limit", "offset", "having", "null",
        ];
        let at = self.offset();
        match self.peek().clone() {
            Token::Word(text) if !RESERVED.iter().any(|r| text.eq_ignore_ascii_case(r)) && !text.ends_with('.') && !text.contains("..") => {
                self.next();
                Ok(Path { text, at })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The object of FROM: `Group` and `Order` are objects as well as keywords.
    fn object(&mut self) -> Result<Path, SoqlError> {
        let at = self.offset();
        match self.peek().clone() {
            Token::Word(text) if text.eq_ignore_ascii_case("Group") || text.eq_ignore_ascii_case("Order") => {
                self.next();
                Ok(Path { text, at })
            }
            _ => self.path(),
        }
    }

    fn statement(&mut self) -> Result<Statement, SoqlError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SoqlError::new("QUERY_TOO_COMPLICATED", "query is too deeply nested"));
        }
        self.expect_word("SELECT")?;
        let mut items = vec![self.item()?];
        while self.take(",") {
            items.push(self.item()?);
        }
        self.expect_word("FROM")?;
        let from = self.object()?;
        let clause = [
            "where", "order", "limit", "offset", "group", "with", "using", "for", "all", "having",
        ];
        let alias = match self.peek() {
            Token::Word(word) if !clause.iter().any(|c| word.eq_ignore_ascii_case(c)) => Some(word.clone()),
            _ => None,
        };
        if alias.is_some() {
            self.next();
        }
        if self.take_word("USING") {
            self.expect_word("SCOPE")?;
            self.path()?;
        }
        let condition = if self.take_word("WHERE") { Some(self.condition()?) } else { None };
        if self.take_word("WITH") && !(self.take_word("SECURITY_ENFORCED") || self.take_word("USER_MODE") || self.take_word("SYSTEM_MODE"))
        {
            return Err(self.unexpected());
        }
        let mut group = Vec::new();
        if self.take_word("GROUP") {
            self.expect_word("BY")?;
            group.push(self.path()?);
            while self.take(",") {
                group.push(self.path()?);
            }
        }
        let mut order = Vec::new();
        if self.take_word("ORDER") {
            self.expect_word("BY")?;
            order.push(self.order()?);
            while self.take(",") {
                order.push(self.order()?);
            }
        }
        let limit = if self.take_word("LIMIT") { Some(self.count()?) } else { None };
        let offset = if self.take_word("OFFSET") { Some(self.count()?) } else { None };
        if self.take_word("FOR") && !(self.take_word("VIEW") || self.take_word("REFERENCE") || self.take_word("UPDATE")) {
            return Err(self.unexpected());
        }
        if self.is_word("ALL") {
            return Err(self.fail("ALL ROWS not allowed in this context"));
        }
        self.depth -= 1;
        Ok(Statement {
            items,
            from,
            alias,
            condition,
            group,
            order,
            limit,
            offset,
        })
    }

    fn count(&mut self) -> Result<u64, SoqlError> {
        match self.peek() {
            Token::Literal(text) => match text.parse() {
                Ok(number) => {
                    self.next();
                    Ok(number)
                }
                Err(_) => Err(self.unexpected()),
            },
            _ => Err(self.unexpected()),
        }
    }

    fn item(&mut self) -> Result<Item, SoqlError> {
        if self.take("(") {
            let inner = self.statement()?;
            self.expect(")")?;
            return Ok(Item::Children(Box::new(inner)));
        }
        let path = self.path()?;
        if !self.take("(") {
            if path.text.eq_ignore_ascii_case("TYPEOF") {
                return Err(SoqlError::at(
                    "MALFORMED_QUERY",
                    self.query,
                    path.at,
                    "TYPEOF is not supported by this org",
                ));
            }
            // An alias behind a plain field is only legal in grouped queries; it changes nothing.
            if !self.is_word("FROM") && matches!(self.peek(), Token::Word(_)) {
                return Err(self.unexpected());
            }
            return Ok(Item::Field(path));
        }
        let function = path.text.to_ascii_uppercase();
        let known = ["COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG"];
        if function == "COUNT" && self.take(")") {
            return Ok(Item::CountAll);
        }
        let inner = self.path()?;
        self.expect(")")?;
        if function == "FIELDS" {
            return Ok(Item::Fields(inner.text.to_ascii_uppercase(), path.at));
        }
        if ["TOLABEL", "FORMAT", "CONVERTCURRENCY"].contains(&function.as_str()) {
            return Ok(Item::Field(inner));
        }
        if !known.contains(&function.as_str()) {
            return Err(SoqlError::at(
                "MALFORMED_QUERY",
                self.query,
                path.at,
                &format!("unexpected token: '{}'", path.text),
            ));
        }
        let alias = match self.peek() {
            Token::Word(word) if !word.eq_ignore_ascii_case("FROM") => Some(word.clone()),
            _ => None,
        };
        if alias.is_some() {
            self.next();
        }
        Ok(Item::Aggregate {
            function,
            path: inner,
            alias,
        })
    }

    fn order(&mut self) -> Result<Order, SoqlError> {
        let path = self.path()?;
        let descending = if self.take_word("DESC") {
            true
        } else {
            self.take_word("ASC");
            false
        };
        let nulls_first = if self.take_word("NULLS") {
            if self.take_word("FIRST") {
                Some(true)
            } else {
                self.expect_word("LAST")?;
                Some(false)
            }
        } else {
            None
        };
        Ok(Order {
            path,
            descending,
            nulls_first,
        })
    }

    fn condition(&mut self) -> Result<Condition, SoqlError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SoqlError::new("QUERY_TOO_COMPLICATED", "query is too deeply nested"));
        }
        let first = self.term()?;
        let out = if self.is_word("AND") {
            let mut all = vec![first];
            while self.take_word("AND") {
                all.push(self.term()?);
            }
            // Mixing needs parentheses.
            if self.is_word("OR") {
                return Err(self.unexpected());
            }
            Condition::And(all)
        } else if self.is_word("OR") {
            let mut any = vec![first];
            while self.take_word("OR") {
                any.push(self.term()?);
            }
            if self.is_word("AND") {
                return Err(self.unexpected());
            }
            Condition::Or(any)
        } else {
            first
        };
        self.depth -= 1;
        Ok(out)
    }

    fn term(&mut self) -> Result<Condition, SoqlError> {
        if self.take_word("NOT") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(SoqlError::new("QUERY_TOO_COMPLICATED", "query is too deeply nested"));
            }
            let inner = self.term()?;
            self.depth -= 1;
            return Ok(Condition::Not(Box::new(inner)));
        }
        if self.take("(") {
            let inner = self.condition()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let path = self.path()?;
        if let Token::Symbol(operator @ ("=" | "!=" | "<" | "<=" | ">" | ">=")) = *self.peek() {
            self.next();
            let operand = self.operand()?;
            return Ok(Condition::Compare {
                path,
                operator: operator.into(),
                operand,
            });
        }
        if self.take_word("LIKE") {
            let operand = self.operand()?;
            return Ok(Condition::Compare {
                path,
                operator: "LIKE".into(),
                operand,
            });
        }
        for (word, negated) in [("INCLUDES", false), ("EXCLUDES", true)] {
            if self.take_word(word) {
                let mut list = Vec::new();
                for operand in self.operands()? {
                    match operand {
                        Operand::Text { value, .. } => list.push(value),
                        _ => return Err(self.unexpected()),
                    }
                }
                return Ok(Condition::Includes { path, negated, list });
            }
        }
        let negated = self.take_word("NOT");
        if !self.take_word("IN") {
            return Err(self.unexpected());
        }
        if matches!(self.list.get(self.at + 1).map(|s| &s.token), Some(Token::Word(w)) if w.eq_ignore_ascii_case("SELECT")) {
            self.expect("(")?;
            let inner = self.statement()?;
            self.expect(")")?;
            return Ok(Condition::SemiJoin {
                path,
                negated,
                inner: Box::new(inner),
            });
        }
        let list = self.operands()?;
        Ok(Condition::In { path, negated, list })
    }

    fn operands(&mut self) -> Result<Vec<Operand>, SoqlError> {
        self.expect("(")?;
        let mut list = vec![self.operand()?];
        while self.take(",") {
            list.push(self.operand()?);
        }
        self.expect(")")?;
        Ok(list)
    }

    fn operand(&mut self) -> Result<Operand, SoqlError> {
        match self.peek().clone() {
            Token::Text { value, pattern } => {
                self.next();
                Ok(Operand::Text { value, pattern })
            }
            Token::Literal(text) => {
                self.next();
                Ok(Operand::Literal(text))
            }
            Token::Word(word) => {
                self.next();
                let mut count = None;
                if self.take(":") {
                    count = Some(u32::try_from(self.count()?).unwrap_or(u32::MAX));
                }
                Ok(Operand::Word(word, count))
            }
            _ => Err(self.unexpected()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn good_statements_parse() {
        for query in [
            "SELECT Id FROM Account",
            "select id, account.owner.name from contact where not (email = null and name like 'a\\%b%')",
            "SELECT Id FROM Account WHERE Name = 'O\\'Neil' OR (Name != null AND IsDeleted = false)",
            "SELECT COUNT() FROM Contact",
            "SELECT COUNT(Id) CNT FROM Contact",
            "SELECT StageName, COUNT(Id), MAX(Amount) FROM Opportunity GROUP BY StageName",
            "SELECT Id FROM Account ORDER BY Name DESC NULLS LAST, Id LIMIT 5 OFFSET 10",
            "SELECT Id FROM Contact WHERE AccountId NOT IN (SELECT Id FROM Account WHERE Name LIKE 'A%')",
            "SELECT Id FROM Account WHERE Tags__c INCLUDES ('A;B','C')",
            "SELECT Id FROM Task WHERE ActivityDate = LAST_N_DAYS:30 AND CreatedDate > 2020-01-01T00:00:00Z",
            "SELECT Id, (SELECT Id FROM Contacts LIMIT 2) FROM Account",
            "SELECT FIELDS(ALL) FROM Account LIMIT 200",
            "SELECT a.Id FROM Account a WHERE Amount > -1.5",
        ] {
            parse(query).unwrap_or_else(|e| panic!("{query}: {}", e.message));
        }
    }

    #[test]
    fn bad_statements_point_at_the_token() {
        for (query, column, text) in [
            ("SELECT Id FORM Account", 11, "unexpected token: 'FORM'"),
            ("SELECT FROM Account", 8, "unexpected token: 'FROM'"),
            ("SELECT Id FROM Account WHERE", 29, "unexpected token: '<EOF>'"),
            (
                "SELECT Id FROM Account WHERE A = 1 AND B = 2 OR C = 3",
                46,
                "unexpected token: 'OR'",
            ),
            ("SELECT Id FROM Account LIMIT x", 30, "unexpected token: 'x'"),
            ("SELECT Id FROM Account WHERE Name = 'open", 37, "unexpected token: '''"),
            ("SELECT Id FROM Account WHERE Id IN ()", 37, "unexpected token: ')'"),
            ("SELECT Id, FROM Account", 12, "unexpected token: 'FROM'"),
            ("SELECT Id FROM Account WHERE (Name = 'a'", 41, "expecting ')', found '<EOF>'"),
            ("SELECT * FROM Account", 8, "unexpected token: '*'"),
        ] {
            let error = parse(query).unwrap_err();
            assert_eq!(error.code, "MALFORMED_QUERY", "{query}");
            assert!(
                error.message.contains(&format!("ERROR at Row:1:Column:{column}\n")),
                "{query}: {}",
                error.message
            );
            assert!(error.message.ends_with(text), "{query}: {}", error.message);
        }
    }

    #[test]
    fn hostile_nesting_is_refused_not_overflowed() {
        let query = format!("SELECT Id FROM Account WHERE {}", "(".repeat(50_000));
        assert!(parse(&query).is_err());
        let query = format!("SELECT Id FROM Account WHERE {}", "NOT ".repeat(20_000));
        assert_eq!(parse(&query).unwrap_err().code, "QUERY_TOO_COMPLICATED");
    }
}
