//! Recursive descent over the tokens; keeps offsets so later errors can point.
//!
//! Every recursion counts against [`DEPTH_MAX`], so no text can exhaust the stack; the tree
//! is never deeper than that, so neither binding nor dropping it can.

use super::SoqlError;
use super::ast::{Grouping, Item, Order, Path, Statement, Term, TypeOf, With};
use super::lexer::{Spanned, Token, tokens};

/// Longest accepted statement, in characters (SOQL and SOSL limits).
const QUERY_CHARS_MAX: usize = 100_000;
/// Deepest nesting of parentheses, NOT, functions and subqueries together.
const DEPTH_MAX: usize = 64;

/// Functions that may stand for a value.
const FUNCTIONS: [&str; 27] = [
    "COUNT",
    "COUNT_DISTINCT",
    "MIN",
    "MAX",
    "SUM",
    "AVG",
    "GROUPING",
    "TOLABEL",
    "FORMAT",
    "CONVERTCURRENCY",
    "CONVERTTIMEZONE",
    "DISTANCE",
    "GEOLOCATION",
    "FIELDS",
    "CALENDAR_MONTH",
    "CALENDAR_QUARTER",
    "CALENDAR_YEAR",
    "DAY_IN_MONTH",
    "DAY_IN_WEEK",
    "DAY_IN_YEAR",
    "DAY_ONLY",
    "FISCAL_MONTH",
    "FISCAL_QUARTER",
    "FISCAL_YEAR",
    "HOUR_IN_DAY",
    "WEEK_IN_MONTH",
    "WEEK_IN_YEAR",
];

/// Words that can't be a field or an alias.
const RESERVED: [&str; 17] = [
    "select", "from", "where", "and", "or", "not", "in", "like", "order", "group", "limit", "offset", "having", "null", "with", "using",
    "for",
];

/// Parses a whole statement.
pub fn parse(query: &str) -> Result<Statement, SoqlError> {
    if query.len() > QUERY_CHARS_MAX && query.chars().count() > QUERY_CHARS_MAX {
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

pub(super) struct Parser<'a> {
    pub(super) query: &'a str,
    pub(super) list: Vec<Spanned>,
    pub(super) at: usize,
    depth: usize,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> &Token {
        &self.list[self.at.min(self.list.len() - 1)].token
    }

    pub(super) fn offset(&self) -> usize {
        self.list[self.at.min(self.list.len() - 1)].at
    }

    fn ahead(&self, by: usize) -> Option<&Token> {
        self.list.get(self.at + by).map(|s| &s.token)
    }

    pub(super) fn ahead_is_word(&self, by: usize, word: &str) -> bool {
        matches!(self.ahead(by), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word))
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.list.len() - 1);
        token
    }

    fn fail(&self, message: &str) -> SoqlError {
        SoqlError::at("MALFORMED_QUERY", self.query, self.offset(), message)
    }

    pub(super) fn unexpected(&self) -> SoqlError {
        match self.peek() {
            Token::End => self.fail("unexpected token: '<EOF>'"),
            Token::Word(w) | Token::Literal(w) => self.fail(&format!("unexpected token: '{w}'")),
            Token::Text { value, .. } => self.fail(&format!("unexpected token: '{value}'")),
            Token::Symbol(s) => self.fail(&format!("unexpected token: '{s}'")),
        }
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.ahead_is_word(0, word)
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let hit = self.is_word(word);
        if hit {
            self.next();
        }
        hit
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<(), SoqlError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn take(&mut self, symbol: &str) -> bool {
        let hit = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        if hit {
            self.next();
        }
        hit
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), SoqlError> {
        if self.take(symbol) {
            return Ok(());
        }
        Err(match self.peek() {
            Token::End => self.fail(&format!("expecting '{symbol}', found '<EOF>'")),
            _ => self.unexpected(),
        })
    }

    /// Runs one level deeper, or refuses.
    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, SoqlError>) -> Result<T, SoqlError> {
        if self.depth >= DEPTH_MAX {
            return Err(SoqlError::at(
                "QUERY_TOO_COMPLICATED",
                self.query,
                self.offset(),
                "the query is nested too deeply",
            ));
        }
        self.depth += 1;
        let out = parse(self);
        self.depth -= 1;
        out
    }

    pub(super) fn path(&mut self) -> Result<Path, SoqlError> {
        let at = self.offset();
        match self.peek().clone() {
            Token::Word(text) if !is_reserved(&text) && !text.ends_with('.') && !text.contains("..") => {
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

    /// A statement, inside parentheses or not.
    pub(super) fn statement(&mut self) -> Result<Statement, SoqlError> {
        self.nested(Self::clauses)
    }

    fn clauses(&mut self) -> Result<Statement, SoqlError> {
        self.expect_word("SELECT")?;
        let mut items = vec![self.item()?];
        while self.take(",") {
            items.push(self.item()?);
        }
        self.expect_word("FROM")?;
        let from = self.object()?;
        let alias = self.source_alias();
        let mut relations = Vec::new();
        while self.take(",") {
            let path = self.path()?;
            let alias = self.source_alias().ok_or_else(|| self.unexpected())?;
            relations.push((path, alias));
        }
        let scope = if self.take_word("USING") {
            self.take_word("SCOPE");
            Some(self.path()?)
        } else {
            None
        };
        let condition = if self.take_word("WHERE") { Some(self.condition()?) } else { None };
        let with = if self.take_word("WITH") { Some(self.with()?) } else { None };
        let (group, grouping, having) = self.group()?;
        let order = self.orders()?;
        let limit = if self.take_word("LIMIT") { Some(self.count()?) } else { None };
        let offset = if self.take_word("OFFSET") { Some(self.count()?) } else { None };
        let lock = self.tail()?;
        Ok(Statement {
            items,
            from,
            alias,
            relations,
            scope,
            condition,
            with,
            group,
            grouping,
            having,
            order,
            limit,
            offset,
            lock,
        })
    }

    fn source_alias(&mut self) -> Option<String> {
        const CLAUSES: [&str; 13] = [
            "where", "order", "limit", "offset", "group", "with", "using", "for", "all", "having", "update", "and", "or",
        ];
        if self.is_word("AS") && matches!(self.ahead(1), Some(Token::Word(_))) {
            self.next();
        }
        let Token::Word(word) = self.peek() else { return None };
        if CLAUSES.iter().any(|c| word.eq_ignore_ascii_case(c)) || word.contains('.') {
            return None;
        }
        let word = word.clone();
        self.next();
        Some(word)
    }

    fn with(&mut self) -> Result<With, SoqlError> {
        for mode in ["SECURITY_ENFORCED", "USER_MODE", "SYSTEM_MODE"] {
            if self.take_word(mode) {
                return Ok(With::Access);
            }
        }
        if self.take_word("RecordVisibilityContext") {
            self.expect("(")?;
            loop {
                self.path()?;
                self.expect("=")?;
                self.operand()?;
                if !self.take(",") {
                    break;
                }
            }
            self.expect(")")?;
            return Ok(With::Access);
        }
        let at = self.offset();
        self.expect_word("DATA")?;
        self.expect_word("CATEGORY")?;
        loop {
            self.path()?;
            if !["AT", "ABOVE", "BELOW", "ABOVE_OR_BELOW"].iter().any(|w| self.take_word(w)) {
                return Err(self.unexpected());
            }
            if self.take("(") {
                self.path()?;
                while self.take(",") {
                    self.path()?;
                }
                self.expect(")")?;
            } else {
                self.path()?;
            }
            if !self.take_word("AND") {
                return Ok(With::Category(at));
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "one use, next to its definition")]
    fn group(&mut self) -> Result<(Vec<Term>, Grouping, Option<super::ast::Condition>), SoqlError> {
        let (mut group, mut grouping) = (Vec::new(), Grouping::Plain);
        if self.take_word("GROUP") {
            self.expect_word("BY")?;
            for (word, kind) in [("ROLLUP", Grouping::Rollup), ("CUBE", Grouping::Cube)] {
                if self.is_word(word) && matches!(self.ahead(1), Some(Token::Symbol("("))) {
                    self.next();
                    grouping = kind;
                }
            }
            let enclosed = grouping != Grouping::Plain && self.take("(");
            group.push(self.term()?);
            while self.take(",") {
                group.push(self.term()?);
            }
            if enclosed {
                self.expect(")")?;
            }
        }
        let having = if self.is_word("HAVING") {
            if group.is_empty() {
                return Err(self.unexpected());
            }
            self.next();
            Some(self.condition()?)
        } else {
            None
        };
        Ok((group, grouping, having))
    }

    fn orders(&mut self) -> Result<Vec<Order>, SoqlError> {
        let mut order = Vec::new();
        if self.take_word("ORDER") {
            self.expect_word("BY")?;
            order.push(self.order()?);
            while self.take(",") {
                order.push(self.order()?);
            }
        }
        Ok(order)
    }

    /// `FOR VIEW`, `FOR REFERENCE`, `FOR UPDATE`, `UPDATE TRACKING`, `UPDATE VIEWSTAT`.
    fn tail(&mut self) -> Result<Option<usize>, SoqlError> {
        let mut lock = None;
        while self.take_word("FOR") {
            let at = self.offset();
            if self.take_word("UPDATE") {
                lock = Some(at);
            } else if !self.take_word("VIEW") && !self.take_word("REFERENCE") {
                return Err(self.unexpected());
            }
            self.take(",");
        }
        if self.take_word("UPDATE") {
            loop {
                if !self.take_word("TRACKING") && !self.take_word("VIEWSTAT") {
                    return Err(self.unexpected());
                }
                if !self.take(",") {
                    break;
                }
            }
        }
        if self.is_word("ALL") {
            return Err(self.fail("ALL ROWS not allowed in this context"));
        }
        Ok(lock)
    }

    pub(super) fn count(&mut self) -> Result<u64, SoqlError> {
        match self.peek() {
            Token::Literal(text) => match text.parse::<u32>() {
                Ok(number) => {
                    self.next();
                    Ok(u64::from(number))
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
        if self.is_word("TYPEOF") && matches!(self.ahead(1), Some(Token::Word(w)) if !w.eq_ignore_ascii_case("FROM")) {
            return self.type_of();
        }
        let term = self.term()?;
        if let Term::Call { name, at, arguments } = &term {
            match (name.as_str(), arguments.as_slice()) {
                ("COUNT", []) => return Ok(Item::CountAll),
                ("FIELDS", [Term::Path(which)]) => return Ok(Item::Fields(which.text.to_ascii_uppercase(), *at)),
                _ => {}
            }
        }
        // A word here is an alias only where the list goes on behind it; else it is a typo.
        let follows = match self.ahead(1) {
            Some(Token::Symbol(",")) => true,
            Some(Token::Word(w)) => w.eq_ignore_ascii_case("FROM"),
            _ => false,
        };
        let alias = match self.peek() {
            Token::Word(word) if !is_reserved(word) => {
                if !follows || word.contains('.') {
                    return Err(self.unexpected());
                }
                Some(self.path()?)
            }
            _ => None,
        };
        Ok(Item::Value(term, alias))
    }

    fn type_of(&mut self) -> Result<Item, SoqlError> {
        self.expect_word("TYPEOF")?;
        let path = self.path()?;
        let mut arms = Vec::new();
        while self.take_word("WHEN") {
            let object = self.object()?;
            self.expect_word("THEN")?;
            arms.push((object, self.plain_fields()?));
        }
        if arms.is_empty() {
            return Err(self.unexpected());
        }
        let otherwise = if self.take_word("ELSE") { Some(self.plain_fields()?) } else { None };
        self.expect_word("END")?;
        Ok(Item::TypeOf(TypeOf { path, arms, otherwise }))
    }

    fn plain_fields(&mut self) -> Result<Vec<Path>, SoqlError> {
        let mut list = vec![self.path()?];
        while self.take(",") {
            list.push(self.path()?);
        }
        // No function may stand here.
        if matches!(self.peek(), Token::Symbol("(")) {
            return Err(self.unexpected());
        }
        Ok(list)
    }

    /// A path or a function call.
    pub(super) fn term(&mut self) -> Result<Term, SoqlError> {
        let path = self.path()?;
        if !matches!(self.peek(), Token::Symbol("(")) {
            return Ok(Term::Path(path));
        }
        let name = path.text.to_ascii_uppercase();
        if !FUNCTIONS.contains(&name.as_str()) {
            return Err(SoqlError::at(
                "MALFORMED_QUERY",
                self.query,
                path.at,
                &format!("unexpected token: '{}'", path.text),
            ));
        }
        self.expect("(")?;
        let mut arguments = Vec::new();
        if !(name == "COUNT" && matches!(self.peek(), Token::Symbol(")"))) {
            arguments.push(self.argument()?);
            while self.take(",") {
                arguments.push(self.argument()?);
            }
        }
        self.expect(")")?;
        Ok(Term::Call {
            name,
            at: path.at,
            arguments,
        })
    }

    fn argument(&mut self) -> Result<Term, SoqlError> {
        let at = self.offset();
        match self.peek().clone() {
            Token::Literal(text) => {
                self.next();
                Ok(Term::Number(text, at))
            }
            Token::Text { value, .. } => {
                self.next();
                Ok(Term::Text(value, at))
            }
            _ => self.nested(Self::term),
        }
    }

    fn order(&mut self) -> Result<Order, SoqlError> {
        let term = self.term()?;
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
            term,
            descending,
            nulls_first,
        })
    }
}

fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|r| word.eq_ignore_ascii_case(r))
}
