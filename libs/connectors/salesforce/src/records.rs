//! CSV records out of chunks of bytes: the dialect of the Bulk API, whatever the chunks' borders.
//!
//! A record is handed out when its line end was seen, never at the end of the input: a body that stops in the middle
//! of a record is an error, not a shorter record.

use csv_core::{ReadRecordResult, Reader};
use syncline_connect::ConnectError;
use syncline_domain::ErrorCode;

/// A record has at most 400,000 characters (Bulk API 2.0, limits); what is larger is not one.
const RECORD_BYTES_MAX: usize = 16 << 20;
const CELLS_MAX: usize = 64 << 10;

/// Splits chunks into records; one record at a time is held.
pub(crate) struct Records {
    reader: Reader,
    text: Vec<u8>,
    text_len: usize,
    ends: Vec<usize>,
    ends_len: usize,
    /// Bytes of the input that the record took, line end included.
    raw_bytes: usize,
    /// Something other than line ends was read of an unfinished record.
    begun: bool,
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
            reader: Reader::new(),
            text: vec![0; 8 << 10],
            text_len: 0,
            ends: vec![0; 64],
            ends_len: 0,
            raw_bytes: 0,
            begun: false,
            complete: false,
        }
    }

    /// The next record, taken from the front of `input`; `None` when the input is used up.
    pub(crate) fn next<'a>(&'a mut self, input: &mut &[u8]) -> Result<Option<Record<'a>>, ConnectError> {
        if self.complete {
            (self.text_len, self.ends_len, self.raw_bytes) = (0, 0, 0);
            (self.begun, self.complete) = (false, false);
        }
        while !input.is_empty() {
            // Both ranges are within bounds: the lengths only ever grow by what the reader wrote into these slices.
            let (_, text) = self.text.split_at_mut(self.text_len);
            let (_, ends) = self.ends.split_at_mut(self.ends_len);
            let (result, read, wrote, ended) = self.reader.read_record(input, text, ends);
            let (used, rest) = input.split_at(read);
            *input = rest;
            self.text_len += wrote;
            self.ends_len += ended;
            self.raw_bytes += read;
            match result {
                ReadRecordResult::Record => {
                    self.complete = true;
                    return self.record().map(Some);
                }
                ReadRecordResult::OutputFull if self.text.len() < RECORD_BYTES_MAX => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() < CELLS_MAX => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Err(ConnectError::new(ErrorCode::BadAnswer, "a CSV record does not end"));
                }
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {}
            }
            self.begun |= self.text_len > 0 || used.iter().any(|b| !matches!(b, b'\r' | b'\n'));
        }
        Ok(None)
    }

    fn record(&self) -> Result<Record<'_>, ConnectError> {
        let text = self.text.get(..self.text_len).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| ConnectError::new(ErrorCode::BadAnswer, "CSV that is not UTF-8"))?;
        let ends = self.ends.get(..self.ends_len).unwrap_or_default();
        // The text as a whole is UTF-8; a border inside a character would make two cells of nonsense.
        if !ends.iter().all(|e| text.is_char_boundary(*e)) {
            return Err(ConnectError::new(ErrorCode::BadAnswer, "CSV that is not UTF-8"));
        }
        Ok(Record {
            text,
            ends,
            raw_bytes: self.raw_bytes,
        })
    }

    /// The input has ended.
    ///
    /// # Errors
    /// When it ended inside a record.
    pub(crate) fn finish(&self) -> Result<(), ConnectError> {
        if self.begun && !self.complete {
            return Err(ConnectError::new(ErrorCode::BadAnswer, "the CSV ends in the middle of a record"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(input: &[u8], chunk: usize) -> Result<Vec<Vec<String>>, ConnectError> {
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
}
