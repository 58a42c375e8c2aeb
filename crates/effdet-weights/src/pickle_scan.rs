//! A dry run of a pickle, before `pytorch-reader` builds anything from it.
//!
//! `pytorch-reader` never calls a function a pickle names, but it copies objects on every memo fetch and does not count
//! all of what a copy duplicates (long class names, dictionary keys, shapes of many dimensions), so a small file can
//! ask it for any amount of memory. This walk follows the same stack machine with a cost in place of each object, and
//! refuses what would cost too much. It also names the functions a hostile pickle would have Python call.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

/// What one object costs the reader besides its text: its slot on the stack and in the container that takes it.
const OBJECT: u64 = 128;
/// Longest text kept, for the names of functions.
const KEPT_TEXT: u64 = 256;
/// Longest line of a protocol 0 pickle.
const LINE: u64 = 1 << 20;

/// Why a pickle is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The bytes ran out or could not be read.
    Io(io::Error),
    /// Not a pickle.
    Malformed(String),
    /// It would have Python call this function.
    Calls(String),
    /// Building its objects would take more than the budget.
    TooCostly,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[derive(Clone)]
struct Item {
    cost: u64,
    text: Option<Rc<str>>,
}

struct Scan<'a, R> {
    reader: &'a mut R,
    budget: u64,
    stack: Vec<Item>,
    marks: Vec<usize>,
    memo: HashMap<u32, Item>,
}

/// Walks one pickle up to and including its `STOP`, spending at most about `budget` bytes of objects.
pub(crate) fn scan<R: BufRead>(reader: &mut R, budget: u64) -> Result<(), Refusal> {
    Scan { reader, budget, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }.run()
}

/// Whether Python would run code by calling this name, and no checkpoint has reason to hold it.
///
/// Nothing is called either way: this only decides whether to warn that the file is hostile.
fn runs_code(module: &str, name: &str) -> bool {
    const MODULES: [&str; 16] = [
        "os",
        "posix",
        "nt",
        "subprocess",
        "pty",
        "sys",
        "runpy",
        "importlib",
        "shutil",
        "socket",
        "ctypes",
        "webbrowser",
        "pdb",
        "timeit",
        "marshal",
        "asyncio",
    ];
    const BUILTINS: [&str; 8] =
        ["eval", "exec", "execfile", "compile", "__import__", "open", "input", "breakpoint"];
    // Standard modules, but also names that people give to packages of their own.
    const COMMON_NAMES: [&str; 2] = ["code", "commands"];
    let top = module.split('.').next().unwrap_or(module);
    MODULES.contains(&top)
        || COMMON_NAMES.contains(&module)
        || (matches!(top, "builtins" | "__builtin__") && BUILTINS.contains(&name))
}

impl<R: BufRead> Scan<'_, R> {
    fn run(mut self) -> Result<(), Refusal> {
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop().map(drop);
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), Refusal> {
        match opcode {
            // PROTO, FRAME
            0x80 => self.skip(1),
            0x95 => self.skip(8),
            // NONE, NEWTRUE, NEWFALSE, and the empty tuple, list, dict and set
            b'N' | 0x88 | 0x89 | b')' | b']' | b'}' | 0x8f => self.push(OBJECT, None),
            // BININT1, BININT2, BININT, BINFLOAT
            b'K' => self.fixed(1),
            b'M' => self.fixed(2),
            b'J' => self.fixed(4),
            b'G' => self.fixed(8),
            // INT, LONG, FLOAT, STRING, UNICODE
            b'I' | b'L' | b'F' | b'S' | b'V' => {
                let line = self.line()?;
                self.push_text(&line)
            }
            // Text and bytes behind lengths of one, four and eight bytes; LONG1 and LONG4 look the same.
            b'U' | b'C' | 0x8c | 0x8a => {
                let length = self.number(1)?;
                self.text(length)
            }
            b'T' | b'X' | b'B' | 0x8b => {
                let length = self.number(4)?;
                self.text(length)
            }
            0x8d | 0x8e | 0x96 => {
                let length = self.number(8)?;
                self.text(length)
            }
            b'(' => {
                self.spend(8)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            // TUPLE, LIST, DICT, FROZENSET, OBJ
            b't' | b'l' | b'd' | 0x91 | b'o' => {
                let inside = self.pop_to_mark()?;
                self.spend(OBJECT)?;
                self.push_paid(inside.saturating_add(OBJECT));
                Ok(())
            }
            // TUPLE1, TUPLE2, TUPLE3
            0x85 => self.combine(1, OBJECT),
            0x86 => self.combine(2, OBJECT),
            0x87 => self.combine(3, OBJECT),
            // APPENDS, SETITEMS, ADDITEMS
            b'e' | b'u' | 0x90 => {
                let inside = self.pop_to_mark()?;
                let container = self.pop()?;
                self.push_paid(container.cost.saturating_add(inside));
                Ok(())
            }
            // APPEND, REDUCE and NEWOBJ take two; SETITEM and NEWOBJ_EX take three.
            b'a' | b'R' | 0x81 => self.combine(2, OBJECT),
            b's' | 0x92 => self.combine(3, OBJECT),
            b'b' => {
                // The reader refreshes its memo with a copy of what BUILD made.
                self.combine(2, OBJECT)?;
                let cost = self.top()?.cost;
                self.spend(cost)
            }
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                    Ok(())
                } else {
                    self.pop().map(drop)
                }
            }
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.top()?.clone();
                self.copy(top)
            }
            b'g' => {
                let index = self.memo_index()?;
                self.fetch(index)
            }
            b'h' => {
                let index = self.number(1)?;
                self.fetch(index)
            }
            b'j' => {
                let index = self.number(4)?;
                self.fetch(index)
            }
            b'p' => {
                let index = self.memo_index()?;
                self.store(index)
            }
            b'q' => {
                let index = self.number(1)?;
                self.store(index)
            }
            b'r' => {
                let index = self.number(4)?;
                self.store(index)
            }
            0x94 => self.store(self.memo.len() as u64),
            // GLOBAL, INST
            b'c' | b'i' => {
                let module = self.line()?;
                let name = self.line()?;
                if opcode == b'i' {
                    self.pop_to_mark()?;
                }
                self.global(&String::from_utf8_lossy(&module), &String::from_utf8_lossy(&name))
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                match (module.text, name.text) {
                    (Some(module), Some(name)) => self.global(&module, &name),
                    _ => Err(Refusal::Malformed(
                        "a class is named by something that is not a short text".into(),
                    )),
                }
            }
            // PERSID, BINPERSID
            b'P' => {
                let line = self.line()?;
                self.push_text(&line)
            }
            b'Q' => self.combine(1, OBJECT),
            other => Err(Refusal::Malformed(format!("unsupported pickle opcode 0x{other:02x}"))),
        }
    }

    fn spend(&mut self, cost: u64) -> Result<(), Refusal> {
        self.budget = self.budget.checked_sub(cost).ok_or(Refusal::TooCostly)?;
        Ok(())
    }

    fn push_paid(&mut self, cost: u64) {
        self.stack.push(Item { cost, text: None });
    }

    fn push(&mut self, cost: u64, text: Option<Rc<str>>) -> Result<(), Refusal> {
        self.spend(cost)?;
        self.stack.push(Item { cost, text });
        Ok(())
    }

    fn push_text(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let length = bytes.len() as u64;
        let text = (length <= KEPT_TEXT).then(|| String::from_utf8_lossy(bytes).into());
        self.push(OBJECT + length, text)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Refusal> {
        if runs_code(module, name) {
            return Err(Refusal::Calls(format!("{module}.{name}")));
        }
        self.push(OBJECT + (module.len() + name.len()) as u64, None)
    }

    fn fixed(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.skip(bytes)?;
        self.push(OBJECT, None)
    }

    /// A length-prefixed text: kept when short, else read past.
    fn text(&mut self, length: u64) -> Result<(), Refusal> {
        if length > KEPT_TEXT {
            self.skip(length)?;
            return self.push(OBJECT.saturating_add(length), None);
        }
        let mut bytes = Vec::new();
        self.reader.take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.push_text(&bytes)
    }

    fn skip(&mut self, length: u64) -> Result<(), Refusal> {
        let skipped = io::copy(&mut self.reader.take(length), &mut io::sink())?;
        if skipped < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// A little-endian unsigned number of `width` bytes, at most eight.
    fn number(&mut self, width: usize) -> Result<u64, Refusal> {
        let mut bytes = [0; 8];
        self.reader.read_exact(&mut bytes[..width])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn line(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut line = Vec::new();
        self.reader.take(LINE).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(Refusal::Malformed("a line of text has no end".into()));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    fn memo_index(&mut self) -> Result<u64, Refusal> {
        let line = self.line()?;
        std::str::from_utf8(&line)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Refusal::Malformed("a memo index is not a number".into()))
    }

    fn top(&self) -> Result<&Item, Refusal> {
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(Refusal::Malformed("a mark stands where a value should".into()));
        }
        self.stack.last().ok_or_else(|| Refusal::Malformed("the stack is empty".into()))
    }

    fn pop(&mut self) -> Result<Item, Refusal> {
        let item = self.top()?.clone();
        self.stack.pop();
        Ok(item)
    }

    fn pop_to_mark(&mut self) -> Result<u64, Refusal> {
        let mark = self.marks.pop().ok_or_else(|| Refusal::Malformed("no mark on the stack".into()))?;
        if mark > self.stack.len() {
            return Err(Refusal::Malformed("a mark lies above the stack".into()));
        }
        Ok(self.stack.drain(mark..).fold(0, |sum, item| sum.saturating_add(item.cost)))
    }

    /// Replaces the top `count` items by one that holds them all.
    fn combine(&mut self, count: usize, extra: u64) -> Result<(), Refusal> {
        let mut cost = extra;
        for _ in 0..count {
            cost = cost.saturating_add(self.pop()?.cost);
        }
        self.spend(extra)?;
        self.push_paid(cost);
        Ok(())
    }

    fn copy(&mut self, item: Item) -> Result<(), Refusal> {
        self.push(item.cost, item.text)
    }

    fn fetch(&mut self, index: u64) -> Result<(), Refusal> {
        let item = u32::try_from(index)
            .ok()
            .and_then(|index| self.memo.get(&index))
            .cloned()
            .ok_or_else(|| Refusal::Malformed(format!("memo entry {index} was never stored")))?;
        self.copy(item)
    }

    fn store(&mut self, index: u64) -> Result<(), Refusal> {
        let index = u32::try_from(index)
            .map_err(|_| Refusal::Malformed(format!("memo index {index} is out of range")))?;
        let top = self.top()?.clone();
        self.spend(top.cost)?;
        self.memo.insert(index, top);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> Refusal {
        scan(&mut &bytes[..], 1 << 20).expect_err("the pickle should be refused")
    }

    #[test]
    fn a_dictionary_passes() {
        // pickle.dumps({"a": 1, "b": [1.5, True, None], "c": b"xy"}, protocol=2) without the memo
        scan(&mut &b"\x80\x02}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00b](G?\xf8\x00\x00\x00\x00\x00\x00\x88Neu."[..], 1 << 20)
            .expect("a plain dictionary");
    }

    #[test]
    fn functions_that_run_code_are_named_in_every_spelling() {
        let pickles: [&[u8]; 4] = [
            b"cos\nsystem\n(S'id'\ntR.",
            b"(S'id'\nios\nsystem\n.",
            b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x8c\x02id\x85R.",
            b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        ];
        for pickle in pickles {
            assert!(matches!(refused(pickle), Refusal::Calls(_)), "{}", pickle.escape_ascii());
        }
    }

    #[test]
    fn packages_that_are_called_as_modules_that_run_code_are_no_attack() {
        scan(&mut &b"ccode.models\nDetector\n."[..], 1 << 20).expect("a class of a package");
        for pickle in [b"ccode\ninteract\n.".as_slice(), b"ccommands\ngetoutput\n."] {
            assert!(matches!(refused(pickle), Refusal::Calls(_)), "{}", pickle.escape_ascii());
        }
    }

    #[test]
    fn copies_of_what_the_reader_does_not_count_are_paid_for() {
        // One class name of 100 kB, fetched from the memo a hundred times: 10 MB out of 100 kB.
        let mut pickle = b"\x80\x02c".to_vec();
        pickle.extend(std::iter::repeat_n(b'a', 100_000));
        pickle.extend(b"\nb\nq\x00(");
        pickle.extend(b"h\x00".repeat(100));
        pickle.extend(b"t.");
        assert!(matches!(refused(&pickle), Refusal::TooCostly));
    }

    #[test]
    fn lengths_beyond_the_end_are_an_error_without_an_allocation() {
        assert!(matches!(refused(b"\x80\x02B\xff\xff\xff\xffab."), Refusal::Io(_)));
        assert!(matches!(refused(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab."), Refusal::Io(_)));
    }
}
