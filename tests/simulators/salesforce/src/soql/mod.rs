//! SOQL: text to syntax tree, tree to a plan bound to the schema, plan to matching rows.

pub mod ast;
mod conditions;
pub mod dates;
pub mod expr;
mod filters;
mod format;
pub mod group;
mod grouping;
pub mod lexer;
mod money;
pub mod parser;
mod paths;
pub mod plan;
pub mod run;
mod select;
pub mod shape;
pub mod viewer;
pub mod virtuals;

/// A query the org refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoqlError {
    pub code: &'static str,
    pub message: String,
}

impl SoqlError {
    /// A plain error without a position.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// An error that quotes the text and points at a column (1-based).
    pub fn at(code: &'static str, query: &str, offset: usize, message: &str) -> Self {
        let start = floor(query, offset.saturating_sub(40));
        let end = floor(query, (offset + 40).min(query.len()));
        let (row, column) = position(query, offset);
        let shown = query.get(start..end).unwrap_or_default().replace('\n', " ");
        let caret = " ".repeat(offset.saturating_sub(start));
        Self {
            code,
            message: format!("\n{shown}\n{caret}^\nERROR at Row:{row}:Column:{column}\n{message}"),
        }
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while at > 0 && !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..floor(text, offset)).unwrap_or_default();
    let row = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (row, column)
}
