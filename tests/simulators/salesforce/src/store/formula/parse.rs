//! Formula text to its tree, by recursive descent with a bound on nesting.

use super::{Comparison, Expr, FormulaError, Function};

/// Deepest nesting of parentheses, functions and NOT.
const DEPTH_MAX: usize = 40;
/// Longest formula, in characters (the service allows 3,900 for a rule).
const LENGTH_MAX: usize = 3900;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    Word(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 14] = ["&&", "||", "<=", ">=", "<>", "!=", "==", "<", ">", "=", "!", "(", ")", ","];

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, usize)>,
    next: usize,
    end: usize,
}

pub(super) fn parse(text: &str) -> Result<Expr, FormulaError> {
    let end = text.chars().count();
    let mut parser = Parser {
        text,
        tokens: Vec::new(),
        next: 0,
        end,
    };
    if end > LENGTH_MAX {
        return Err(parser.fail(LENGTH_MAX, format!("longer than {LENGTH_MAX} characters")));
    }
    parser.tokens = parser.lex()?;
    let root = parser.any(0)?;
    match parser.tokens.get(parser.next) {
        None => Ok(root),
        Some((token, at)) => Err(parser.fail(*at, format!("unexpected {}", shown(token)))),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Number(n) => n.to_string(),
        Token::Text(text) => format!("'{text}'"),
        Token::Word(word) => word.clone(),
        Token::Symbol(symbol) => format!("`{symbol}`"),
    }
}

impl Parser<'_> {
    fn fail(&self, at: usize, reason: impl Into<String>) -> FormulaError {
        FormulaError {
            text: self.text.into(),
            column: at + 1,
            reason: reason.into(),
        }
    }

    fn lex(&self) -> Result<Vec<(Token, usize)>, FormulaError> {
        let chars: Vec<char> = self.text.chars().collect();
        let mut out = Vec::new();
        let mut i = 0;
        while let Some(&c) = chars.get(i) {
            let start = i;
            let digit_next = chars.get(i + 1).is_some_and(char::is_ascii_digit);
            if c.is_whitespace() {
                i += 1;
                continue;
            }
            let token = if c == '\'' || c == '"' {
                let mut text = String::new();
                i += 1;
                loop {
                    match chars.get(i) {
                        None => return Err(self.fail(start, "the text is not closed")),
                        Some('\\') if chars.get(i + 1).is_some() => {
                            text.push(chars[i + 1]);
                            i += 2;
                        }
                        Some(&q) if q == c => break,
                        Some(&q) => {
                            text.push(q);
                            i += 1;
                        }
                    }
                }
                i += 1;
                Token::Text(text)
            } else if c.is_ascii_digit() || (matches!(c, '-' | '.') && digit_next) {
                i += 1;
                while chars.get(i).is_some_and(|c| c.is_ascii_digit() || *c == '.') {
                    i += 1;
                }
                let text: String = chars[start..i].iter().collect();
                Token::Number(text.parse().map_err(|_| self.fail(start, format!("{text} is not a number")))?)
            } else if c.is_alphabetic() || c == '_' {
                while chars.get(i).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                    i += 1;
                }
                Token::Word(chars[start..i].iter().collect())
            } else {
                let rest: String = chars[i..chars.len().min(i + 2)].iter().collect();
                let symbol = SYMBOLS
                    .iter()
                    .find(|s| rest.starts_with(**s))
                    .ok_or_else(|| self.fail(start, format!("unexpected `{c}`")))?;
                i += symbol.len();
                Token::Symbol(symbol)
            };
            out.push((token, start));
        }
        Ok(out)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(_, at)| *at)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let hit = matches!(self.tokens.get(self.next), Some((Token::Symbol(s), _)) if *s == symbol);
        self.next += usize::from(hit);
        hit
    }

    fn expect(&mut self, symbol: &str) -> Result<(), FormulaError> {
        if self.take(symbol) {
            return Ok(());
        }
        Err(self.fail(self.at(), format!("`{symbol}` is expected")))
    }

    fn any(&mut self, depth: usize) -> Result<Expr, FormulaError> {
        let mut list = vec![self.all(depth)?];
        while self.take("||") {
            list.push(self.all(depth)?);
        }
        Ok(single(list, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, FormulaError> {
        let mut list = vec![self.comparison(depth)?];
        while self.take("&&") {
            list.push(self.comparison(depth)?);
        }
        Ok(single(list, Expr::All))
    }

    fn comparison(&mut self, depth: usize) -> Result<Expr, FormulaError> {
        let left = self.operand(depth)?;
        let at = self.at();
        let how = match self.tokens.get(self.next) {
            Some((Token::Symbol("=" | "=="), _)) => Comparison::Equal,
            Some((Token::Symbol("!=" | "<>"), _)) => Comparison::NotEqual,
            Some((Token::Symbol("<"), _)) => Comparison::Less,
            Some((Token::Symbol("<="), _)) => Comparison::LessOrEqual,
            Some((Token::Symbol(">"), _)) => Comparison::Greater,
            Some((Token::Symbol(">="), _)) => Comparison::GreaterOrEqual,
            _ => return Ok(left),
        };
        self.next += 1;
        let right = self.operand(depth)?;
        Ok(Expr::Compare {
            how,
            at,
            sides: Box::new((left, right)),
        })
    }

    fn operand(&mut self, depth: usize) -> Result<Expr, FormulaError> {
        let at = self.at();
        if depth >= DEPTH_MAX {
            return Err(self.fail(at, format!("nested deeper than {DEPTH_MAX}")));
        }
        let Some((token, _)) = self.tokens.get(self.next).cloned() else {
            return Err(self.fail(at, "the formula ends where a value is expected"));
        };
        self.next += 1;
        match token {
            Token::Number(n) => Ok(Expr::Number(n)),
            Token::Text(text) => Ok(Expr::Text(text)),
            Token::Symbol("!") => Ok(Expr::Not(Box::new(self.operand(depth + 1)?))),
            Token::Symbol("(") => {
                let inner = self.any(depth + 1)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Word(word) if matches!(self.tokens.get(self.next), Some((Token::Symbol("("), _))) => self.call(&word, at, depth),
            Token::Word(word) => Ok(match word.to_ascii_uppercase().as_str() {
                "TRUE" => Expr::Bool(true),
                "FALSE" => Expr::Bool(false),
                "NULL" => Expr::Null,
                _ => Expr::Field { name: word, at, index: 0 },
            }),
            Token::Symbol(symbol) => Err(self.fail(at, format!("unexpected `{symbol}`"))),
        }
    }

    fn call(&mut self, word: &str, at: usize, depth: usize) -> Result<Expr, FormulaError> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        if !self.take(")") {
            arguments.push(self.any(depth + 1)?);
            while self.take(",") {
                arguments.push(self.any(depth + 1)?);
            }
            self.expect(")")?;
        }
        let wanted = |n: usize| {
            format!(
                "{word} takes {n} argument{}, not {}",
                if n == 1 { "" } else { "s" },
                arguments.len()
            )
        };
        match word.to_ascii_uppercase().as_str() {
            "AND" | "OR" if arguments.is_empty() => Err(self.fail(at, format!("{word} needs an argument"))),
            "AND" => Ok(Expr::All(arguments)),
            "OR" => Ok(Expr::Any(arguments)),
            "NOT" if arguments.len() != 1 => Err(self.fail(at, wanted(1))),
            "NOT" => Ok(Expr::Not(Box::new(arguments.remove(0)))),
            _ => {
                let (function, count) = Function::parse(word).ok_or_else(|| self.fail(at, format!("unknown function {word}")))?;
                if arguments.len() != count {
                    return Err(self.fail(at, wanted(count)));
                }
                Ok(Expr::Call { function, at, arguments })
            }
        }
    }
}

fn single(mut list: Vec<Expr>, join: impl Fn(Vec<Expr>) -> Expr) -> Expr {
    if list.len() == 1 { list.remove(0) } else { join(list) }
}
