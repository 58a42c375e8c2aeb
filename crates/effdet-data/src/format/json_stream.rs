//! The elements of the arrays of a JSON object, without holding the file in memory.
//!
//! A COCO file is one object with a few long arrays of small objects. Its elements are found by their braces alone
//! (strings skipped), which runs at memory speed over the numbers of polygons; each is then parsed, and thereby
//! checked, on its own.

use std::io::Read;
use std::ops::Range;

/// Bytes read at once.
const BLOCK: usize = 4 << 20;

/// Why a file is not an object of arrays.
#[derive(Debug)]
pub(super) enum StreamError {
    /// The file could not be read.
    Read(std::io::Error),
    /// The file is not JSON, or its value no object.
    Json { offset: u64, reason: &'static str },
}

/// Complete elements of one array.
pub(super) struct Batch<'a> {
    pub bytes: &'a [u8],
    pub elements: Vec<Range<usize>>,
}

pub(super) struct Stream<R> {
    reader: R,
    block: usize,
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` starts.
    position: usize,
    /// Offset of `buffer` in the file.
    offset: u64,
    ended: bool,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(reader: R) -> Self {
        Self::with_block(reader, BLOCK)
    }

    /// A stream that reads `block` bytes at once.
    fn with_block(reader: R, block: usize) -> Self {
        Self { reader, block, buffer: Vec::new(), position: 0, offset: 0, ended: false }
    }

    /// Enters the top-level object.
    pub(super) fn open(&mut self) -> Result<(), StreamError> {
        while self.buffer.len() < 3 && self.fill()? {}
        if self.buffer.starts_with(b"\xEF\xBB\xBF") {
            self.position = 3;
        }
        self.expect(b'{', "not a JSON object")
    }

    /// The next key of the top-level object, or `None` at its end. `first` tells whether a comma must come before.
    pub(super) fn key(&mut self, first: bool) -> Result<Option<String>, StreamError> {
        match self.peek()? {
            Some(b'}') => {
                self.position += 1;
                return match self.peek()? {
                    None => Ok(None),
                    Some(_) => Err(self.error("something after the end of the JSON object")),
                };
            }
            Some(b',') if !first => self.position += 1,
            Some(_) if first => {}
            Some(_) => return Err(self.error("no comma between two entries")),
            None => return Err(self.error("the file ends inside the JSON object")),
        }
        if self.peek()? != Some(b'"') {
            return Err(self.error("no key where one should be"));
        }
        let range = self.value()?;
        let key =
            serde_json::from_slice(&self.buffer[range]).map_err(|_| self.error("a key that is no string"))?;
        self.expect(b':', "no colon after a key")?;
        Ok(Some(key))
    }

    /// Skips a value, without holding it as a whole.
    pub(super) fn skip(&mut self) -> Result<(), StreamError> {
        match self.peek()? {
            Some(b'{') => self.skip_nested(b'{', b'}'),
            Some(b'[') => self.skip_nested(b'[', b']'),
            _ => self.value().map(drop),
        }
    }

    /// Skips an object or array, by brackets of its own kind alone.
    fn skip_nested(&mut self, open: u8, close: u8) -> Result<(), StreamError> {
        let mut depth = 0usize;
        loop {
            let rest = &self.buffer[self.position..];
            let Some(next) = memchr::memchr3(b'"', open, close, rest) else {
                self.position = self.buffer.len();
                if !self.fill()? {
                    return Err(self.error("the file ends inside a value"));
                }
                continue;
            };
            self.position += next;
            let byte = self.buffer[self.position];
            if byte == b'"' {
                self.value().map(drop)?;
                continue;
            }
            depth = if byte == open { depth + 1 } else { depth.saturating_sub(1) };
            self.position += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Whether the next value is an array; if so it is entered.
    pub(super) fn enter_array(&mut self) -> Result<bool, StreamError> {
        let is_array = self.peek()? == Some(b'[');
        if is_array {
            self.position += 1;
        }
        Ok(is_array)
    }

    /// The next elements of the array, which must be objects; `None` at its end. `first` tells whether none was read.
    pub(super) fn batch(&mut self, first: bool) -> Result<Option<Batch<'_>>, StreamError> {
        let mut elements = Vec::new();
        let mut first = first;
        loop {
            // Only the first element of a batch may make the buffer move.
            let more = elements.is_empty();
            let next = if more { self.peek()? } else { self.peek_buffered() };
            match next {
                Some(b']') if more => {
                    self.position += 1;
                    return Ok(None);
                }
                Some(b']') => break,
                Some(b',') if !first => {
                    let comma = self.position;
                    self.position += 1;
                    let next = if more { self.peek()? } else { self.peek_buffered() };
                    if next.is_none() && !more {
                        self.position = comma;
                        break;
                    }
                }
                Some(_) if first => {}
                Some(_) => return Err(self.error("no comma between two elements")),
                None if more => return Err(self.error("the file ends inside an array")),
                None => break,
            }
            let start = self.position;
            if self.buffer.get(start) != Some(&b'{') {
                return Err(self.error("an element that is no object"));
            }
            if more {
                elements.push(self.value()?);
            } else if let Some(length) = object_length(&self.buffer[start..]) {
                elements.push(start..start + length);
                self.position = start + length;
            } else {
                // Incomplete; it comes with the next batch, after its comma.
                self.position = start;
                self.rewind_to_comma();
                break;
            }
            first = false;
        }
        Ok(Some(Batch { bytes: &self.buffer, elements }))
    }

    fn rewind_to_comma(&mut self) {
        while self.position > 0 && self.buffer.get(self.position) != Some(&b',') {
            self.position -= 1;
        }
    }

    pub(super) fn error(&self, reason: &'static str) -> StreamError {
        StreamError::Json { offset: self.offset + self.position as u64, reason }
    }

    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), StreamError> {
        if self.peek()? == Some(byte) {
            self.position += 1;
            return Ok(());
        }
        Err(self.error(reason))
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Result<Option<u8>, StreamError> {
        loop {
            if let Some(byte) = self.peek_buffered() {
                return Ok(Some(byte));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn peek_buffered(&mut self) -> Option<u8> {
        while let Some(&byte) = self.buffer.get(self.position) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
            self.position += 1;
        }
        None
    }

    /// Passes over a whole value and tells where in the buffer it lies.
    fn value(&mut self) -> Result<Range<usize>, StreamError> {
        let first = self.peek()?;
        let mut tried = 0;
        loop {
            let rest = &self.buffer[self.position..];
            // Trying again only when the data have doubled keeps this linear in the length of the value.
            let length = if rest.len() < tried && !self.ended {
                None
            } else {
                tried = rest.len() * 2;
                match first {
                    Some(b'{') => object_length(rest),
                    Some(b'[') => nested_length(rest),
                    Some(b'"') => string_length(rest),
                    _ => rest.iter().position(|b| !b.is_ascii_alphanumeric() && !b"+-.".contains(b)),
                }
            };
            if length == Some(0) {
                return Err(self.error("no value where one should be"));
            }
            if let Some(length) = length {
                let range = self.position..self.position + length;
                self.position = range.end;
                return Ok(range);
            }
            if !self.fill()? {
                if rest_was_tried(tried, self.buffer.len() - self.position) {
                    return Err(self.error("the file ends inside a value"));
                }
                tried = 0;
            }
        }
    }

    /// Reads another block behind the unread part; false at the end of the file.
    fn fill(&mut self) -> Result<bool, StreamError> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.position);
        self.offset += self.position as u64;
        self.position = 0;
        let before = self.buffer.len();
        let block = self.block.saturating_sub(before).max(self.block.div_ceil(4)) as u64;
        (&mut self.reader).take(block).read_to_end(&mut self.buffer).map_err(StreamError::Read)?;
        self.ended = self.buffer.len() == before;
        Ok(!self.ended)
    }
}

/// Whether all of the `length` bytes were searched in the last try, which noted twice their number.
fn rest_was_tried(tried: usize, length: usize) -> bool {
    tried == length * 2
}

/// Length of the string at the start of `bytes`, if it ends.
fn string_length(bytes: &[u8]) -> Option<usize> {
    let mut i = 1;
    loop {
        i += memchr::memchr2(b'"', b'\\', bytes.get(i..)?)?;
        match bytes[i] {
            b'"' => return Some(i + 1),
            _ => i += 2,
        }
    }
}

/// Length of the object at the start of `bytes`, if its brace is closed.
fn object_length(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut i) = (0usize, 0);
    loop {
        i += memchr::memchr3(b'"', b'{', b'}', bytes.get(i..)?)?;
        match bytes[i] {
            b'"' => {
                i += string_length(&bytes[i..])?;
                continue;
            }
            b'{' => depth += 1,
            _ => depth = depth.saturating_sub(1),
        }
        i += 1;
        if depth == 0 {
            return Some(i);
        }
    }
}

/// Length of the array at the start of `bytes`, if its bracket is closed.
fn nested_length(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut i) = (0usize, 0);
    loop {
        i += memchr::memchr3(b'"', b'[', b']', bytes.get(i..)?)?;
        match bytes[i] {
            b'"' => {
                i += string_length(&bytes[i..])?;
                continue;
            }
            b'[' => depth += 1,
            _ => depth = depth.saturating_sub(1),
        }
        i += 1;
        if depth == 0 {
            return Some(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\u{feff} { \"info\" : {\"a\": [1, \"}]\"]},\n\"empty\":[ ],\"images\" : [ {\"x\": \"\\\"{\"} ,\
        \n{\"y\":{\"z\":[1.5,2]}},{}] , \"n\": -1.5e3, \"images\":[{\"again\":null}], \"s\":\"\\\\\" } \n";

    /// The elements of the arrays under `images`.
    fn images(text: &[u8], block: usize) -> Result<Vec<String>, StreamError> {
        let mut stream = Stream::with_block(text, block);
        let mut found = Vec::new();
        stream.open()?;
        let mut first = true;
        while let Some(key) = stream.key(first)? {
            first = false;
            if key != "images" {
                stream.skip()?;
                continue;
            }
            if !stream.enter_array()? {
                return Err(stream.error("not an array"));
            }
            let mut count = 0;
            while let Some(batch) = stream.batch(count == 0)? {
                assert!(!batch.elements.is_empty());
                count += batch.elements.len();
                let text =
                    |range: &Range<usize>| String::from_utf8_lossy(&batch.bytes[range.clone()]).into_owned();
                found.extend(batch.elements.iter().map(text));
            }
        }
        Ok(found)
    }

    #[test]
    fn elements_are_the_same_for_any_size_of_block() {
        let expected = [r#"{"x": "\"{"}"#, r#"{"y":{"z":[1.5,2]}}"#, "{}", r#"{"again":null}"#];
        for block in 1..TEXT.len() + 2 {
            assert_eq!(images(TEXT.as_bytes(), block).unwrap(), expected, "block of {block}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let end = TEXT.trim_end().len();
        for length in 0..end {
            for block in [3, 17, 1000] {
                assert!(images(&TEXT.as_bytes()[..length], block).is_err(), "{length} of {end}");
            }
        }
    }

    #[test]
    fn what_is_no_object_of_arrays_is_refused_with_its_place() {
        for (text, offset, reason) in [
            ("[]", 0, "not a JSON object"),
            ("{\"images\":[1]}", 11, "an element that is no object"),
            ("{\"images\":[{},]}", 14, "an element that is no object"),
            ("{\"images\":[{}{}]}", 13, "no comma between two elements"),
            ("{\"a\":1 \"b\":2}", 7, "no comma between two entries"),
            ("{\"a\" 1}", 5, "no colon after a key"),
            ("{\"a\":}", 5, "no value where one should be"),
            ("{a:1}", 1, "no key where one should be"),
            ("{} {}", 3, "something after the end of the JSON object"),
        ] {
            match images(text.as_bytes(), 100) {
                Err(StreamError::Json { offset: o, reason: r }) => {
                    assert_eq!((o, r), (offset, reason), "{text}")
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
