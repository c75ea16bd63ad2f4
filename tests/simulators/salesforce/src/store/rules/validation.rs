//! Validation rules as configuration: rows for which a rule holds are refused.

/// A configured validation rule: the row is refused when the comparison holds.
#[derive(Debug, Clone)]
pub struct ValidationRule {
    pub object: String,
    pub field: String,
    pub operator: String,
    pub operand: String,
    pub message: String,
}

impl ValidationRule {
    /// Parses `Object: Field < value` with an optional `=> message`.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, message) = match text.split_once("=>") {
            Some((body, message)) => (body, Some(message.trim().to_owned())),
            None => (text, None),
        };
        let (object, rest) = body.split_once(':')?;
        let mut words = rest.trim().splitn(3, ' ');
        let (field, operator) = (words.next()?, words.next()?);
        let operand = words.next().unwrap_or_default().trim().trim_matches('\'');
        if !["<", "<=", ">", ">=", "=", "!="].contains(&operator) {
            return None;
        }
        Some(Self {
            object: object.trim().into(),
            field: field.into(),
            operator: operator.into(),
            operand: operand.into(),
            message: message.unwrap_or_else(|| format!("{field} must not be {operator} {operand}")),
        })
    }

    pub(super) fn holds(&self, value: Option<&[u8]>) -> bool {
        let text = value.map(String::from_utf8_lossy).unwrap_or_default();
        if self.operand.is_empty() || self.operand == "null" {
            return text.is_empty() == (self.operator == "=");
        }
        if text.is_empty() {
            return false;
        }
        let order = match (text.parse::<f64>(), self.operand.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.partial_cmp(&b),
            _ => Some(text.as_ref().cmp(self.operand.as_str())),
        };
        order.is_some_and(|order| match self.operator.as_str() {
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            ">=" => order.is_ge(),
            "=" => order.is_eq(),
            _ => order.is_ne(),
        })
    }
}
