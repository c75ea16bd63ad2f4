//! Bitmap strings back to fields.

use super::schema::EventSchema;
use super::{Fault, FieldPath};

/// Hexadecimal digits of the longest bitmap: an object has 800 custom fields and some hundred standard ones.
const DIGITS_MAX: usize = 512;

/// Adds the fields of one string: `0x…` for fields, `4-0x…` for parts of the compound at 4. Bit 0 is the rightmost.
pub(super) fn expand(text: &str, schema: &EventSchema, out: &mut Vec<FieldPath>) -> Result<(), Fault> {
    let Some((parent, hex)) = text.split_once('-') else {
        for bit in bits(text)? {
            let (name, _) = schema.parts_of(bit).ok_or(Fault::Bit(bit))?;
            out.push(FieldPath {
                field: name.to_owned(),
                part: None,
            });
        }
        return Ok(());
    };
    let parent: usize = parent.parse().map_err(|_| Fault::Bitmap)?;
    let (name, parts) = schema.parts_of(parent).ok_or(Fault::Bit(parent))?;
    let parts = parts.ok_or(Fault::Bit(parent))?;
    for bit in bits(hex)? {
        let (part, _) = parts.get(bit).ok_or(Fault::Bit(bit))?;
        out.push(FieldPath {
            field: name.to_owned(),
            part: Some(part.clone()),
        });
    }
    Ok(())
}

fn bits(text: &str) -> Result<Vec<usize>, Fault> {
    let digits = text.strip_prefix("0x").ok_or(Fault::Bitmap)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return Err(Fault::Bitmap);
    }
    let mut out = Vec::new();
    for (place, digit) in digits.chars().rev().enumerate() {
        let value = digit.to_digit(16).ok_or(Fault::Bitmap)?;
        out.extend((0..4).filter(|bit| value >> bit & 1 == 1).map(|bit| place * 4 + bit));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_zero_is_the_rightmost() {
        // Verified example: Description (16) and LastModifiedDate (22).
        assert_eq!(bits("0x410000"), Ok(vec![16, 22]));
        assert_eq!(bits("0x650004E0"), Ok(vec![5, 6, 7, 10, 24, 26, 29, 30]));
        assert_eq!(bits("0x00"), Ok(vec![]));
        for bad in ["", "0x", "41", "0xZZ", "0x-1", &format!("0x{}", "0".repeat(513))] {
            assert_eq!(bits(bad), Err(Fault::Bitmap), "{bad}");
        }
    }
}
