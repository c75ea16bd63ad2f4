//! Validation rules as configuration: rows for which a rule's formula holds are refused.

use crate::schema::Object;
use crate::store::formula::{Formula, FormulaError, Scope};
use crate::store::value::RowError;

/// A rule: `Object: formula [=> message]`, where a message may begin with `[Field]` to say where
/// the error shows.
#[derive(Debug, Clone)]
pub struct ValidationRule {
    pub object: String,
    pub message: String,
    condition: Formula,
    location: Option<String>,
    shown: Vec<String>,
}

impl ValidationRule {
    /// Parses a rule; [`ValidationRule::bind`] it to its object before use.
    pub fn parse(text: &str) -> Result<Self, FormulaError> {
        let (body, message) = match text.split_once("=>") {
            Some((body, message)) => (body, Some(message.trim())),
            None => (text, None),
        };
        let (object, formula) = body.split_once(':').ok_or_else(|| FormulaError {
            text: text.into(),
            column: 1,
            reason: "a rule reads Object: formula => message".into(),
        })?;
        let (location, message) = match message.and_then(|m| m.strip_prefix('[')?.split_once(']')) {
            Some((field, rest)) => (Some(field.trim().to_owned()), Some(rest.trim())),
            None => (None, message),
        };
        let formula = formula.trim();
        Ok(Self {
            object: object.trim().into(),
            message: message.map_or_else(|| format!("refused by the rule {formula}"), str::to_owned),
            condition: Formula::parse(formula)?,
            location,
            shown: Vec::new(),
        })
    }

    /// Looks the fields up. The error shows at the named field, or at the only one the formula uses.
    pub fn bind(&mut self, object: &Object) -> Result<(), FormulaError> {
        self.condition.bind(object)?;
        self.shown = match &self.location {
            Some(name) => {
                let field = object.field(name).ok_or_else(|| FormulaError {
                    text: self.message.clone(),
                    column: 1,
                    reason: format!("{} has no field {name}", object.name),
                })?;
                vec![object.fields[field].name.clone()]
            }
            None => match self.condition.fields().as_slice() {
                [one] => vec![object.fields[*one].name.clone()],
                _ => Vec::new(),
            },
        };
        Ok(())
    }

    /// Refuses the row when the formula holds.
    pub(super) fn check(&self, scope: &Scope<'_>) -> Result<(), RowError> {
        if !self.condition.holds(scope) {
            return Ok(());
        }
        let shown: Vec<&str> = self.shown.iter().map(String::as_str).collect();
        Err(RowError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", &self.message, &shown))
    }
}
