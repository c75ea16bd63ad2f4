//! Reading one datum: every length is held against what is left of the payload before anything is reserved.

use std::fmt;

use super::Fault;
use super::schema::{EventSchema, Shape};

/// Values of one event, all levels together.
const VALUES_MAX: usize = 200_000;
/// Levels of records, unions and arrays.
const DEPTH_MAX: usize = 32;
/// Bytes of the longest number (Avro 1.12, "Primitive types": 64 bits in groups of seven).
const NUMBER_BYTES_MAX: usize = 10;

/// A decoded value. `Debug` shows its type, not what it is.
#[derive(Clone, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Record(Vec<(String, Value)>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Boolean(_) => "Boolean",
            Self::Int(_) => "Int",
            Self::Long(_) => "Long",
            Self::Double(_) => "Double",
            Self::Text(_) => "Text",
            Self::Bytes(_) => "Bytes",
            Self::Array(_) => "Array",
            Self::Record(_) => "Record",
        })
    }
}

/// A step on the way to the value that is being read.
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

/// Reads a payload once, from its begin to its end.
pub(super) struct Reader<'a> {
    schema: &'a EventSchema,
    payload: &'a [u8],
    at: usize,
    steps: Vec<Step<'a>>,
    values: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(schema: &'a EventSchema, payload: &'a [u8]) -> Self {
        Self {
            schema,
            payload,
            at: 0,
            steps: Vec::new(),
            values: 0,
        }
    }

    /// The byte that is read next, or at which reading failed.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The field that is read, or in which reading failed.
    pub(super) fn path(&self) -> String {
        let mut out = String::new();
        for step in &self.steps {
            match step {
                Step::Field(name) if out.is_empty() => out.push_str(name),
                Step::Field(name) => {
                    out.push('.');
                    out.push_str(name);
                }
                Step::Item(at) => out.push_str(&format!("[{at}]")),
            }
        }
        out
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.payload.len() - self.at {
            0 => Ok(()),
            left => Err(Fault::Trailing(left)),
        }
    }

    /// A record's fields. On failure the path stays where it was.
    pub(super) fn record(&mut self, record: usize, depth: usize) -> Result<Vec<(String, Value)>, Fault> {
        let schema = self.schema;
        let fields = schema.records.get(record).map_or(&[][..], Vec::as_slice);
        let mut out = Vec::with_capacity(fields.len().min(VALUES_MAX - self.values.min(VALUES_MAX)));
        for (name, shape) in fields {
            self.steps.push(Step::Field(name));
            out.push((name.clone(), self.value(shape, depth)?));
            self.steps.pop();
        }
        Ok(out)
    }

    fn value(&mut self, shape: &'a Shape, depth: usize) -> Result<Value, Fault> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(Fault::Values);
        }
        if depth > DEPTH_MAX {
            return Err(Fault::Depth);
        }
        Ok(match shape {
            Shape::Null => Value::Null,
            Shape::Boolean => match self.bytes(1)? {
                [0] => Value::Boolean(false),
                [1] => Value::Boolean(true),
                other => return Err(Fault::Boolean(other.first().copied().unwrap_or_default())),
            },
            Shape::Int => Value::Int(i32::try_from(self.number()?).map_err(|_| Fault::Number)?),
            Shape::Long => Value::Long(self.number()?),
            Shape::Float => Value::Double(f32::from_le_bytes(self.array()?).into()),
            Shape::Double => Value::Double(f64::from_le_bytes(self.array()?)),
            Shape::Text => {
                let bytes = self.sized()?;
                let text = std::str::from_utf8(bytes).map_err(|_| Fault::Text)?;
                Value::Text(text.to_owned())
            }
            Shape::Bytes => Value::Bytes(self.sized()?.to_vec()),
            Shape::Enum(symbols) => {
                let number = self.number()?;
                let symbol = usize::try_from(number).ok().and_then(|n| symbols.get(n));
                Value::Text(symbol.ok_or(Fault::Branch(number, symbols.len()))?.clone())
            }
            Shape::Union(branches) => {
                let number = self.number()?;
                let branch = usize::try_from(number).ok().and_then(|n| branches.get(n));
                return self.value(branch.ok_or(Fault::Branch(number, branches.len()))?, depth + 1);
            }
            Shape::Array(items) => Value::Array(self.items(items, depth)?),
            Shape::Record(record) => Value::Record(self.record(*record, depth + 1)?),
        })
    }

    /// An array's blocks (Avro 1.12, "Arrays"): a count, negative when the block's size in bytes follows.
    fn items(&mut self, shape: &'a Shape, depth: usize) -> Result<Vec<Value>, Fault> {
        let mut out = Vec::new();
        loop {
            let count = self.number()?;
            if count == 0 {
                return Ok(out);
            }
            if count < 0 {
                self.number()?;
            }
            // An item takes a byte at least; a block of items that take none is nothing an event has.
            let items = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            if items > self.payload.len() - self.at {
                return Err(Fault::Length(count));
            }
            for _ in 0..items {
                self.steps.push(Step::Item(out.len()));
                out.push(self.value(shape, depth + 1)?);
                self.steps.pop();
            }
        }
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.payload.len());
        let Some(end) = end else {
            return Err(Fault::Truncated);
        };
        let bytes = &self.payload[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.bytes(N)?.try_into().map_err(|_| Fault::Truncated)
    }

    fn sized(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.at;
        let length = self.number()?;
        match usize::try_from(length) {
            Ok(bytes) if bytes <= self.payload.len() - self.at => self.bytes(bytes),
            _ => {
                // The place is where the length stands.
                self.at = start;
                Err(Fault::Length(length))
            }
        }
    }

    /// A zig-zag number of variable length.
    fn number(&mut self) -> Result<i64, Fault> {
        let mut out = 0u64;
        for place in 0..NUMBER_BYTES_MAX {
            let byte = self.bytes(1)?.first().copied().unwrap_or_default();
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if place == NUMBER_BYTES_MAX - 1 && bits > 1 {
                return Err(Fault::Number);
            }
            out |= bits << (7 * place);
            if byte & 0x80 == 0 {
                #[allow(clippy::cast_possible_wrap, reason = "zig-zag uses all 64 bits")]
                return Ok((out >> 1) as i64 ^ -((out & 1) as i64));
            }
        }
        Err(Fault::Number)
    }
}
