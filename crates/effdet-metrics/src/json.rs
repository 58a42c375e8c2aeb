//! Reads large COCO-like JSON without holding it: a window over the file is walked by hand down to the arrays of
//! records, and each window of records is cut into runs that are parsed in parallel.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use effdet_core::label_text::{may_hold_non_finite, without_non_finite};
use rayon::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::Error;

/// Bytes read at a time for each thread.
const WINDOW: usize = 2 << 20;
/// Below this, cutting into runs costs more than it gains.
const MIN_RUN: usize = 64 << 10;

/// Where the records of an array go. Each run fills its own, and they are joined in the order of the file.
pub(crate) trait Collect<T>: Default + Send {
    fn push(&mut self, record: T) -> Result<(), String>;
    fn append(&mut self, other: Self);
}

impl<T: Send> Collect<T> for Vec<T> {
    fn push(&mut self, record: T) -> Result<(), String> {
        Self::push(self, record);
        Ok(())
    }

    fn append(&mut self, mut other: Self) {
        Self::append(self, &mut other);
    }
}

pub(crate) struct JsonReader<R> {
    source: R,
    path: PathBuf,
    window: Vec<u8>,
    position: usize,
    at_end: bool,
}

impl JsonReader<File> {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Read { path: path.into(), source })?;
        Ok(Self::new(file, path))
    }
}

impl<R: Read> JsonReader<R> {
    /// `path` only names the source in errors.
    pub(crate) fn new(source: R, path: &Path) -> Self {
        Self { source, path: path.into(), window: Vec::new(), position: 0, at_end: false }
    }

    pub(crate) fn layout(&self, reason: impl Into<String>) -> Error {
        Error::Layout { path: self.path.clone(), reason: reason.into() }
    }

    fn rest(&self) -> &[u8] {
        self.window.get(self.position..).unwrap_or_default()
    }

    /// Reads until `wanted` bytes lie ahead or the source ends.
    fn fill(&mut self, wanted: usize) -> Result<(), Error> {
        let missing = wanted.saturating_sub(self.rest().len());
        if missing == 0 || self.at_end {
            return Ok(());
        }
        self.window.drain(..self.position);
        self.position = 0;
        let read = self.source.by_ref().take(missing as u64).read_to_end(&mut self.window);
        let read = read.map_err(|source: io::Error| Error::Read { path: self.path.clone(), source })?;
        self.at_end = read < missing;
        Ok(())
    }

    /// The next byte that is no white space, without taking it.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>, Error> {
        loop {
            let blank = blank_length(self.rest());
            self.position += blank;
            if let Some(&byte) = self.rest().first() {
                return Ok(Some(byte));
            }
            if self.at_end {
                return Ok(None);
            }
            self.fill(WINDOW)?;
        }
    }

    /// Takes the next byte that is no white space.
    fn next(&mut self) -> Result<Option<u8>, Error> {
        let byte = self.peek()?;
        self.position += usize::from(byte.is_some());
        Ok(byte)
    }

    fn expect(&mut self, wanted: u8, place: &str) -> Result<(), Error> {
        match self.next()? {
            Some(byte) if byte == wanted => Ok(()),
            Some(byte) => {
                let (found, wanted) = (char::from(byte).escape_default(), char::from(wanted));
                Err(self.layout(format!("{place}: expected `{wanted}`, found `{found}`")))
            }
            None => Err(self.layout(format!("{place}: the file ends too early"))),
        }
    }

    /// Skips a byte-order mark; to be called first.
    pub(crate) fn skip_mark(&mut self) -> Result<(), Error> {
        self.fill(WINDOW)?;
        if self.rest().starts_with(b"\xef\xbb\xbf") {
            self.position += 3;
        }
        Ok(())
    }

    /// Parses one value, reading as far as it goes.
    fn value<T: DeserializeOwned>(&mut self, place: &str) -> Result<T, Error> {
        loop {
            let rest = self.rest();
            let mut values = serde_json::Deserializer::from_slice(rest).into_iter();
            match values.next() {
                // A number at the end of the window may go on behind it.
                Some(Ok(value)) if self.at_end || values.byte_offset() < rest.len() => {
                    self.position += values.byte_offset();
                    return Ok(value);
                }
                Some(Err(source)) if self.at_end || !source.is_eof() => match parse_again(rest, source) {
                    Some(Ok((value, length))) => {
                        self.position += length;
                        return Ok(value);
                    }
                    Some(Err(source)) => {
                        return Err(Error::Json { path: self.path.clone(), place: place.into(), source });
                    }
                    None if self.at_end => {
                        return Err(self.layout(format!("{place}: the file ends too early")));
                    }
                    None => self.fill(self.rest().len() * 2 + WINDOW)?,
                },
                None if self.at_end => return Err(self.layout(format!("{place}: the file ends too early"))),
                _ => self.fill(self.rest().len() * 2 + WINDOW)?,
            }
        }
    }

    /// Walks an object and calls `entry` with each key; it returns true if it took the value, else that is
    /// skipped.
    pub(crate) fn object(
        &mut self,
        mut entry: impl FnMut(&mut Self, &str) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.expect(b'{', "top level")?;
        if self.peek()? == Some(b'}') {
            self.position += 1;
            return Ok(());
        }
        loop {
            let key: String = self.value("top level")?;
            self.expect(b':', &key)?;
            if !entry(self, &key)? {
                self.value::<IgnoredAny>(&key)?;
            }
            match self.next()? {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                _ => return Err(self.layout(format!("expected `,` or `}}` after `{key}`"))),
            }
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        if self.peek()?.is_some() {
            Err(self.layout("more data after the end of the JSON value"))
        } else {
            Ok(())
        }
    }

    /// Parses an array of records, in parallel.
    pub(crate) fn array<T: DeserializeOwned, C: Collect<T>>(&mut self, record: &str) -> Result<C, Error> {
        self.expect(b'[', record)?;
        let mut all = C::default();
        if self.peek()? == Some(b']') {
            self.position += 1;
            return Ok(all);
        }
        let threads = rayon::current_num_threads().max(1);
        let (mut count, mut wanted, mut cut) = (0, WINDOW * threads, true);
        loop {
            self.fill(wanted)?;
            let rest = self.rest();
            let parts = if cut { (rest.len() / MIN_RUN).clamp(1, threads) } else { 1 };
            let starts = run_starts(rest, parts);
            let runs: Vec<Run<C>> = starts
                .par_iter()
                .enumerate()
                .map(|(i, &start)| parse_run(rest, start, starts.get(i + 1).copied()))
                .collect();

            let mut reached = 0;
            for run in runs {
                let place = |index: usize| format!("{record} {}", count + index);
                let failed = run.count;
                reached = run.end;
                match run.stop {
                    Stop::NextRun => {}
                    Stop::EndOfArray => {
                        all.append(run.records);
                        self.position += reached;
                        return Ok(all);
                    }
                    // The next run began inside a record: its work is thrown away.
                    Stop::Overrun => cut = false,
                    Stop::EndOfWindow => {}
                    Stop::Json(source) => {
                        return Err(Error::Json { path: self.path.clone(), place: place(failed), source });
                    }
                    Stop::Refused(reason) => return Err(self.layout(format!("{}: {reason}", place(failed)))),
                    Stop::Separator => {
                        return Err(self.layout(format!("expected `,` or `]` after {}", place(failed))));
                    }
                }
                let whole = matches!(run.stop, Stop::NextRun);
                all.append(run.records);
                count += run.count;
                if !whole {
                    break;
                }
            }
            if reached == 0 {
                if self.at_end {
                    return Err(self.layout(format!("{record} {count}: the file ends too early")));
                }
                wanted = rest.len() * 2;
            }
            self.position += reached;
        }
    }
}

struct Run<C> {
    records: C,
    count: usize,
    /// Start of the first record that was not taken, or what follows the array.
    end: usize,
    stop: Stop,
}

enum Stop {
    NextRun,
    Overrun,
    EndOfArray,
    EndOfWindow,
    Json(serde_json::Error),
    Refused(String),
    Separator,
}

fn blank_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t')).unwrap_or(bytes.len())
}

/// Length of the value at the start of `bytes`, with the white space before it, if it ends there; found by brackets and
/// commas alone.
fn value_length(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (i, byte) in bytes.iter().enumerate().skip(blank_length(bytes)) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return Some(i + 1),
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' | b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return Some(i),
            _ => {}
        }
    }
    None
}

/// Parses the value at the start of `bytes` once more, for which there is `error`, with nulls for the `NaN` and `Infinity`
/// that Python writes, and tells its length. The error is the same if there are none; `None` if they may go on behind
/// `bytes`.
fn parse_again<T: DeserializeOwned>(
    bytes: &[u8],
    error: serde_json::Error,
) -> Option<Result<(T, usize), serde_json::Error>> {
    if !error.is_syntax() {
        return Some(Err(error));
    }
    match value_length(bytes) {
        Some(length) => Some(match without_non_finite(&bytes[..length]) {
            Some(clean) => serde_json::from_slice(&clean).map(|value| (value, length)),
            None => Err(error),
        }),
        None if may_hold_non_finite(bytes) => None,
        None => Some(Err(error)),
    }
}

/// Guesses where records begin: a `{` behind `},`. A guess may be wrong (inside a text, or in a nested list);
/// the run before it then does not end there.
fn run_starts(bytes: &[u8], parts: usize) -> Vec<usize> {
    let mut starts = vec![0];
    for part in 1..parts {
        let from = bytes.len() / parts * part;
        let found = (from..bytes.len()).filter(|&i| bytes[i] == b'}').find_map(|i| {
            let comma = i + 1 + blank_length(&bytes[i + 1..]);
            (bytes.get(comma) == Some(&b',')).then_some(())?;
            let start = comma + 1 + blank_length(&bytes[comma + 1..]);
            (bytes.get(start) == Some(&b'{')).then_some(start)
        });
        starts.extend(found.filter(|&start| starts.last().is_some_and(|&last| last < start)));
    }
    starts
}

/// Parses the records from `start` on, which is the start of one, to `next`, the guessed start of another.
fn parse_run<T: DeserializeOwned, C: Collect<T>>(bytes: &[u8], start: usize, next: Option<usize>) -> Run<C> {
    let mut run = Run { records: C::default(), count: 0, end: start, stop: Stop::EndOfWindow };
    loop {
        match next {
            Some(next) if run.end == next => run.stop = Stop::NextRun,
            Some(next) if run.end > next => run.stop = Stop::Overrun,
            _ => {
                let mut values = serde_json::Deserializer::from_slice(&bytes[run.end..]).into_iter::<T>();
                let (record, length) = match values.next() {
                    Some(Ok(record)) => (record, values.byte_offset()),
                    Some(Err(error)) if !error.is_eof() => match parse_again(&bytes[run.end..], error) {
                        Some(Ok(read)) => read,
                        Some(Err(error)) => {
                            run.stop = Stop::Json(error);
                            return run;
                        }
                        None => return run,
                    },
                    _ => return run,
                };
                let mut end = run.end + length;
                end += blank_length(&bytes[end..]);
                let Some(separator) = bytes.get(end) else { return run };
                end += 1;
                match separator {
                    b']' => run.stop = Stop::EndOfArray,
                    b',' => {
                        end += blank_length(&bytes[end..]);
                        if end == bytes.len() {
                            return run;
                        }
                    }
                    _ => {
                        run.stop = Stop::Separator;
                        return run;
                    }
                }
                if let Err(reason) = run.records.push(record) {
                    run.stop = Stop::Refused(reason);
                    return run;
                }
                run.count += 1;
                run.end = end;
            }
        }
        if !matches!(run.stop, Stop::EndOfWindow) {
            return run;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(buffer.len()).min(3);
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn numbers(text: &str) -> Result<Vec<i64>, Error> {
        let mut reader = JsonReader::new(Trickle(text.as_bytes()), Path::new("numbers.json"));
        let all = reader.array::<i64, Vec<i64>>("number")?;
        reader.end()?;
        Ok(all)
    }

    #[test]
    fn arrays_are_read_whatever_the_white_space() {
        assert_eq!(numbers(" [ 1 ,\n2,3 ] ").unwrap(), [1, 2, 3]);
        assert_eq!(numbers("[]").unwrap(), [0i64; 0]);
    }

    #[test]
    fn broken_arrays_are_errors_that_name_the_record() {
        for (text, message) in [
            ("[1, 2", "number 1: the file ends too early"),
            ("[1, x]", "number 1: expected value at line 1 column 1"),
            ("[1 2]", "expected `,` or `]` after number 0"),
            ("[1,]", "number 1: expected value at line 1 column 1"),
            ("{}", "number: expected `[`, found `{`"),
            ("[1] 2", "more data after the end of the JSON value"),
            ("", "number: the file ends too early"),
        ] {
            assert_eq!(numbers(text).unwrap_err().to_string(), format!("numbers.json: {message}"), "{text}");
        }
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Captioned {
        n: u32,
        caption: String,
    }

    #[test]
    fn records_whose_text_looks_like_a_boundary_are_read_once_each() {
        let caption = "}, {".repeat(10);
        let records: Vec<_> =
            (0..20_000u32).map(|n| format!("{{\"n\":{n},\"caption\":\"{caption}\"}}")).collect();
        let text = format!("[{}]", records.join(" , "));
        assert!(text.len() > 8 * MIN_RUN);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        let read: Vec<Captioned> =
            pool.install(|| JsonReader::new(text.as_bytes(), Path::new("x")).array("record").unwrap());
        assert!(read.iter().enumerate().all(|(i, r)| r.n == i as u32 && r.caption == caption));
        assert_eq!(read.len(), 20_000);
    }

    #[test]
    fn a_record_larger_than_the_window_is_read() {
        let long = "x".repeat(WINDOW * 9);
        let text = format!("[{{\"n\":1,\"caption\":\"{long}\"}},{{\"n\":2,\"caption\":\"\"}}]");
        let read: Vec<Captioned> = JsonReader::new(text.as_bytes(), Path::new("x")).array("record").unwrap();
        assert_eq!((read[0].caption.len(), read[1].n), (long.len(), 2));
    }

    #[test]
    fn what_python_writes_for_numbers_that_are_none_is_null_wherever_it_is_cut() {
        type Numbers = Vec<Vec<Option<f64>>>;
        let text = b"[[1, NaN], [-Infinity, Infinity], [2]]";
        for length in 0..text.len() {
            let start = &text[..length];
            let mut reader = JsonReader::new(start, Path::new("x"));
            assert!(reader.array::<Vec<Option<f64>>, Numbers>("list").is_err(), "{length}");
            // What is not all there is no error of a run, but read again when there is more.
            let run = parse_run::<Vec<Option<f64>>, Numbers>(start, length.min(1), None);
            assert!(matches!(run.stop, Stop::EndOfWindow), "{length}");
        }
        let read: Numbers = JsonReader::new(Trickle(text), Path::new("x")).array("list").unwrap();
        assert_eq!(read, [vec![Some(1.0), None], vec![None, None], vec![Some(2.0)]]);
    }

    #[test]
    fn keys_that_are_not_asked_for_are_skipped() {
        let text = r#"{"info": {"a": [1, "]}", NaN]}, "n\u0075mbers": [4, 5], "loss": NaN, "rest": null}"#;
        let mut found: Vec<i64> = Vec::new();
        JsonReader::new(Trickle(text.as_bytes()), Path::new("x"))
            .object(|reader, key| {
                let wanted = key == "numbers";
                if wanted {
                    found = reader.array("number")?;
                }
                Ok(wanted)
            })
            .unwrap();
        assert_eq!(found, [4, 5]);
    }
}
