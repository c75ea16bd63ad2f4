//! CSV records out of chunks of bytes: the dialect of the Bulk API, whatever the chunks' borders.
//!
//! A record is handed out when its line end was seen, never at the end of the input: a body that stops in the middle
//! of a record is an error, not a shorter record. So is every quote that does not stand where one may: a reader that
//! made the best of it would join rows or cells without a word.

use memchr::memchr;
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;

/// A record has at most 400,000 characters (Bulk API 2.0, limits); what is larger is not one.
const RECORD_BYTES_MAX: usize = 16 << 20;
const CELLS_MAX: usize = 64 << 10;

/// What stands before the next byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of a record; empty lines are skipped.
    Start,
    /// A comma.
    Cell,
    Bare,
    Quoted,
    /// A quote inside a quoted cell: its end, or the first half of a quote.
    Quote,
    /// A carriage return outside quotes.
    Return,
}

/// Splits chunks into records; one record at a time is held.
pub(crate) struct Records {
    state: State,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes of the input that the record took, line end included.
    raw_bytes: usize,
    /// Bytes of the input before the current chunk's rest.
    offset: u64,
    /// The held record is complete and is dropped on the next call.
    complete: bool,
}

/// One record's cells.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    text: &'a str,
    ends: &'a [usize],
    pub(crate) raw_bytes: usize,
}

/// Input that is not CSV, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    why: &'static str,
    /// Counted from 0, from the beginning of the body as it was before compression.
    byte: u64,
}

impl Broken {
    /// `place` is the record that was being read, as its reader counts.
    pub(crate) fn at(&self, place: &str) -> ConnectError {
        let message = format!("{place}, byte {} of the body: {}", self.byte, self.why);
        ConnectError::new(ErrorCode::BadAnswer, message)
    }
}

impl<'a> Record<'a> {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn cells(self) -> impl Iterator<Item = &'a str> {
        let mut from = 0;
        self.ends.iter().map(move |&to| {
            let cell = self.text.get(from..to).unwrap_or_default();
            from = to;
            cell
        })
    }

    pub(crate) fn cell(&self, at: usize) -> Option<&'a str> {
        let to = *self.ends.get(at)?;
        let from = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.text.get(from..to)
    }
}

impl Records {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            text: Vec::with_capacity(8 << 10),
            ends: Vec::with_capacity(64),
            raw_bytes: 0,
            offset: 0,
            complete: false,
        }
    }

    /// The next record, taken from the front of `input`; `None` when the input is used up.
    pub(crate) fn next<'a>(&'a mut self, input: &mut &[u8]) -> Result<Option<Record<'a>>, Broken> {
        if self.complete {
            self.text.clear();
            self.ends.clear();
            (self.raw_bytes, self.complete) = (0, false);
        }
        let chunk = *input;
        let outcome = self.scan(input);
        let used = chunk.len() - input.len();
        self.raw_bytes += used;
        self.offset += used as u64;
        if let Err(why) = outcome {
            return Err(self.broken(why));
        }
        if !self.complete {
            return Ok(None);
        }
        self.record().map(Some)
    }

    /// Reads to the end of the record or of the input; on an error the offending byte is the first of what is left.
    fn scan(&mut self, input: &mut &[u8]) -> Result<(), &'static str> {
        while let Some((&byte, rest)) = input.split_first() {
            match (self.state, byte) {
                (State::Start, b'\r' | b'\n') => *input = rest,
                (State::Start | State::Cell, b'"') => (self.state, *input) = (State::Quoted, rest),
                (State::Start | State::Cell | State::Bare, _) => {
                    self.state = State::Bare;
                    let end = input.iter().position(|b| matches!(b, b',' | b'\n' | b'\r' | b'"'));
                    let (cell, rest) = input.split_at(end.unwrap_or(input.len()));
                    self.text.extend_from_slice(cell);
                    *input = rest;
                    match rest.split_first() {
                        Some((b'"', _)) => return Err("a quote inside a cell that does not begin with one"),
                        Some((end, rest)) if self.end_cell(*end) => *input = rest,
                        Some(_) | None => {}
                    }
                }
                (State::Quoted, _) => {
                    let (text, rest) = input.split_at(memchr(b'"', input).unwrap_or(input.len()));
                    self.text.extend_from_slice(text);
                    *input = rest;
                    if let Some((_, rest)) = rest.split_first() {
                        (self.state, *input) = (State::Quote, rest);
                    }
                }
                (State::Quote, b'"') => {
                    self.text.push(b'"');
                    (self.state, *input) = (State::Quoted, rest);
                }
                (State::Quote, end) if self.end_cell(end) => *input = rest,
                (State::Quote, _) => return Err("text between a closing quote and the end of its cell"),
                (State::Return, b'\n') if self.end_cell(b'\n') => *input = rest,
                (State::Return, _) => return Err("a carriage return outside quotes"),
            }
            if self.text.len() > RECORD_BYTES_MAX || self.ends.len() > CELLS_MAX {
                return Err("a record that does not end");
            }
            if self.complete {
                break;
            }
        }
        Ok(())
    }

    /// Whether `byte` may stand behind a cell; what it ends is ended.
    fn end_cell(&mut self, byte: u8) -> bool {
        self.state = match byte {
            b',' => State::Cell,
            b'\n' => State::Start,
            b'\r' => State::Return,
            _ => return false,
        };
        if byte != b'\r' {
            self.ends.push(self.text.len());
        }
        self.complete = byte == b'\n';
        true
    }

    fn record(&self) -> Result<Record<'_>, Broken> {
        let begin = self.offset - self.raw_bytes as u64;
        let not_text = |byte| Broken {
            why: "bytes that are not UTF-8",
            byte,
        };
        let text = std::str::from_utf8(&self.text).map_err(|_| not_text(begin))?;
        // The text as a whole is UTF-8; a border inside a character would make two cells of nonsense.
        if !self.ends.iter().all(|e| text.is_char_boundary(*e)) {
            return Err(not_text(begin));
        }
        Ok(Record {
            text,
            ends: &self.ends,
            raw_bytes: self.raw_bytes,
        })
    }

    /// The input has ended.
    ///
    /// # Errors
    /// When it ended inside a record.
    pub(crate) fn finish(&self) -> Result<(), Broken> {
        if self.state == State::Start {
            return Ok(());
        }
        Err(self.broken("the CSV ends in the middle of a record"))
    }

    /// Bytes that were read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn broken(&self, why: &'static str) -> Broken {
        Broken { why, byte: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(input: &[u8], chunk: usize) -> Result<Vec<Vec<String>>, Broken> {
        let mut records = Records::new();
        let mut out = Vec::new();
        for mut chunk in input.chunks(chunk) {
            while let Some(record) = records.next(&mut chunk)? {
                out.push(record.cells().map(str::to_owned).collect());
                let by_place: Vec<_> = (0..record.len()).filter_map(|i| record.cell(i)).map(str::to_owned).collect();
                assert_eq!(out.last(), Some(&by_place));
            }
        }
        records.finish()?;
        Ok(out)
    }

    #[test]
    fn records_do_not_depend_on_the_chunks_borders() {
        let long = "ü\"\"\n,".repeat(10_000);
        let many = "\"x\",".repeat(300);
        let input = format!("\"A\",B\r\n\"1 \"\"q\"\"\",\n\"{long}\",\"\u{1F600}\"\n{many}\"y\"\n");
        let whole = split(input.as_bytes(), usize::MAX).expect("valid");
        assert_eq!(whole.len(), 4);
        assert_eq!(
            whole.get(1).map(Vec::as_slice),
            Some(["1 \"q\"".to_owned(), String::new()].as_slice())
        );
        assert_eq!(whole.get(3).map(Vec::len), Some(301));
        for chunk in [1, 2, 3, 7, 4096] {
            assert_eq!(split(input.as_bytes(), chunk).as_ref(), Ok(&whole), "{chunk}");
        }
    }

    #[test]
    fn every_body_that_stops_inside_a_record_is_an_error() {
        let input = b"\"A\",\"B\"\n\"1\",\"two\n\"\"lines\"\"\"\n";
        let ends = [0, 8, input.len()];
        for cut in 0..=input.len() {
            let (body, _) = input.split_at(cut);
            assert_eq!(split(body, 1).is_ok(), ends.contains(&cut), "cut at {cut}");
        }
        assert!(split(b"\"A\"\r\n\"1\"\r\n", 1).is_ok());
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        assert!(split(b"\"\xff\"\n", 1).is_err());
        // One character over two cells.
        assert!(split(b"\"\xc3\",\"\xbc\"\n", 1).is_err());
    }

    #[test]
    fn a_misplaced_quote_is_named_by_its_byte() {
        for (input, byte) in [
            (&b"\"A\",\"B\"\n\"1\",\"x\"y\"\n"[..], 15),
            (b"\"A\",\"B\"\n\"1\",\"x\n\"2\",\"y\"\n", 16),
            (b"\"A\",\"B\"\n1,x\"\n", 11),
            (b"\"A\" ,\"B\"\n", 3),
            (b"A, \"B\"\n", 3),
            (b"A\rB\n", 2),
            (b"\"A\"\r\"B\"\n", 4),
        ] {
            for chunk in [1, 2, 5, usize::MAX] {
                let outcome = split(input, chunk).map_err(|e| e.byte);
                assert_eq!(outcome, Err(byte), "{} by {chunk}", String::from_utf8_lossy(input));
            }
        }
    }

    #[test]
    fn a_record_that_does_not_end_is_given_up() {
        let mut records = Records::new();
        let text = vec![b'x'; 1 << 20];
        let mut quote: &[u8] = b"\"";
        assert!(matches!(records.next(&mut quote), Ok(None)));
        let given_up = (0..=(RECORD_BYTES_MAX >> 20)).find_map(|_| records.next(&mut text.as_slice()).err());
        assert_eq!(given_up.map(|e| e.why), Some("a record that does not end"));
        let commas = vec![b','; CELLS_MAX + 1];
        assert!(Records::new().next(&mut commas.as_slice()).is_err());
    }

    /// What somebody else's reader makes of it.
    fn by_the_csv_crate(input: &[u8]) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
        let rows = reader
            .records()
            .map(|r| r.expect("well-formed").iter().map(str::to_owned).collect());
        rows.collect()
    }

    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[\",\r\n\u{e4}a ]{0,9}", Just(String::new()), "[a-z0-9]{1,30}"]
    }

    proptest! {
        #[test]
        fn well_formed_input_is_read_as_others_read_it(
            rows in prop::collection::vec(prop::collection::vec(cell(), 1..6), 0..12),
            always in any::<bool>(),
            crlf in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
            let end = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new().quote_style(style).terminator(end).flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).expect("memory");
            }
            let body = writer.into_inner().expect("memory");
            let whole = split(&body, usize::MAX).expect("well-formed");
            prop_assert_eq!(&whole, &by_the_csv_crate(&body));
            prop_assert_eq!(&whole, &rows);
            // Any split of the bytes gives the same rows.
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(body.len() + 1)).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let mut records = Records::new();
            let mut pieces = Vec::new();
            for range in cuts.windows(2) {
                let mut chunk = body.get(range[0]..range[1]).unwrap_or_default();
                while let Some(record) = records.next(&mut chunk).expect("well-formed") {
                    pieces.push(record.cells().map(str::to_owned).collect::<Vec<_>>());
                }
            }
            prop_assert!(records.finish().is_ok());
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn any_bytes_give_the_same_rows_or_the_same_error_in_any_chunks(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "[\",\r\n\u{e4}a]{0,60}".prop_map(String::into_bytes),
            ],
            chunk in 1_usize..20,
        ) {
            prop_assert_eq!(split(&body, chunk), split(&body, usize::MAX));
        }
    }
}
