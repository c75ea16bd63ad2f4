//! The grammar of WHERE and HAVING.

use super::SoqlError;
use super::ast::{Condition, Operand};
use super::lexer::Token;
use super::parser::Parser;

impl Parser<'_> {
    /// Terms joined by AND or by OR; mixing the two needs parentheses.
    pub(super) fn condition(&mut self) -> Result<Condition, SoqlError> {
        self.nested(|parser| {
            let first = parser.clause()?;
            for (word, other) in [("AND", "OR"), ("OR", "AND")] {
                if !parser.is_word(word) {
                    continue;
                }
                let mut list = vec![first];
                while parser.take_word(word) {
                    list.push(parser.clause()?);
                }
                if parser.is_word(other) {
                    return Err(parser.unexpected());
                }
                return Ok(if word == "AND" { Condition::And(list) } else { Condition::Or(list) });
            }
            Ok(first)
        })
    }

    fn clause(&mut self) -> Result<Condition, SoqlError> {
        if self.take_word("NOT") {
            let inner = self.nested(Self::clause)?;
            return Ok(Condition::Not(Box::new(inner)));
        }
        if self.take("(") {
            let inner = self.condition()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let term = self.term()?;
        if let Token::Symbol(operator @ ("=" | "!=" | "<" | "<=" | ">" | ">=")) = *self.peek() {
            self.next();
            let operand = self.operand()?;
            let operator = operator.into();
            return Ok(Condition::Compare { term, operator, operand });
        }
        if self.take_word("LIKE") {
            let operand = self.operand()?;
            let operator = "LIKE".into();
            return Ok(Condition::Compare { term, operator, operand });
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
                return Ok(Condition::Includes { term, negated, list });
            }
        }
        let negated = self.take_word("NOT");
        if !self.take_word("IN") {
            return Err(self.unexpected());
        }
        if self.ahead_is_word(1, "SELECT") {
            self.expect("(")?;
            let inner = Box::new(self.statement()?);
            self.expect(")")?;
            return Ok(Condition::SemiJoin { term, negated, inner });
        }
        let list = self.operands()?;
        Ok(Condition::In { term, negated, list })
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

    pub(super) fn operand(&mut self) -> Result<Operand, SoqlError> {
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
    use super::super::parser::parse;

    #[test]
    fn good_statements_parse() {
        for query in [
            "SELECT Id FROM Account",
            "select id, account.owner.name from contact where not (email = null and name like 'a\\%b%')",
            "SELECT Id FROM Account WHERE Name = 'O\\'Neil' OR (Name != null AND IsDeleted = false)",
            "SELECT COUNT() FROM Contact",
            "SELECT COUNT(Id) CNT FROM Contact",
            "SELECT StageName, COUNT(Id), MAX(Amount) FROM Opportunity GROUP BY StageName",
            "SELECT StageName s, COUNT(Id) c FROM Opportunity GROUP BY ROLLUP(StageName, Type) HAVING COUNT(Id) > 1 ORDER BY COUNT(Id) DESC",
            "SELECT Id FROM Account ORDER BY Name DESC NULLS LAST, Id LIMIT 5 OFFSET 10",
            "SELECT Id FROM Contact WHERE AccountId NOT IN (SELECT Id FROM Account WHERE Name LIKE 'A%')",
            "SELECT Id FROM Account WHERE Tags__c INCLUDES ('A;B','C')",
            "SELECT Id FROM Task WHERE ActivityDate = LAST_N_DAYS:30 AND CreatedDate > 2020-01-01T00:00:00Z",
            "SELECT Id, (SELECT Id FROM Contacts LIMIT 2) FROM Account",
            "SELECT FIELDS(ALL) FROM Account LIMIT 200",
            "SELECT a.Id FROM Account a WHERE Amount > -1.5",
            "SELECT COUNT() FROM Contact c, c.Account a WHERE a.Name = 'x'",
            "SELECT Id FROM Account USING SCOPE mine WITH USER_MODE FOR VIEW UPDATE TRACKING",
            "SELECT Id FROM Group WITH RecordVisibilityContext (maxDescriptorPerRecord=100, supportsDomains=true)",
            "SELECT TYPEOF What WHEN Account THEN Phone, Name WHEN Case THEN Subject ELSE Name END, Id FROM Event",
            "SELECT Id FROM Account WHERE DISTANCE(BillingAddress, GEOLOCATION(37.7,-122.4), 'mi') < 20",
            "SELECT CALENDAR_YEAR(convertTimezone(CreatedDate)) y FROM Account GROUP BY CALENDAR_YEAR(convertTimezone(CreatedDate))",
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
            ("SELECT UPPER(Name) FROM Account", 8, "unexpected token: 'UPPER'"),
            ("SELECT Id FROM Account HAVING COUNT(Id) > 1", 24, "unexpected token: 'HAVING'"),
            (
                "SELECT TYPEOF What WHEN Account THEN Phone FROM Event",
                44,
                "unexpected token: 'FROM'",
            ),
            ("SELECT Id FROM Account ALL ROWS", 24, "ALL ROWS not allowed in this context"),
            ("SELECT Id FROM Account LIMIT 99999999999", 30, "unexpected token: '99999999999'"),
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
        for (open, inner) in [
            ("(", ""),
            ("NOT ", ""),
            ("Id IN (SELECT Id FROM Account WHERE ", ""),
            ("COUNT(", "Id"),
        ] {
            let query = format!("SELECT Id FROM Account WHERE {}{inner}", open.repeat(90_000 / open.len()));
            let error = parse(&query).unwrap_err();
            assert_eq!(error.code, "QUERY_TOO_COMPLICATED", "{open}");
            assert!(error.message.contains("ERROR at Row:1:Column:"), "{open}");
        }
        let query = "SELECT Id, (".repeat(8_000);
        assert_eq!(parse(&query).unwrap_err().code, "QUERY_TOO_COMPLICATED");
        let long = format!("SELECT Id FROM Account WHERE Name = '{}'", "x".repeat(100_000));
        assert_eq!(parse(&long).unwrap_err().code, "MALFORMED_QUERY");
    }
}
