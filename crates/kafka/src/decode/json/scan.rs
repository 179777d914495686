//! From a record's text to the list of its fields, by one pass and without a look at a column. A
//! record is taken whole or not at all: what is no JSON beyond doubt, or is rare, is left to the
//! general parser, so nothing here needs words for what is wrong.
//!
//! Records of one topic mostly have the same fields in the same order. So the name that stood at a
//! place of the record before is compared with the bytes there, quotes and colon with it, before a
//! name is looked for.

use forebay_core::limits::EVENT_MAX_DEPTH;
use serde::Deserialize;

use super::super::columns::Fields;
use super::fields::{Field, Name, Span, Value};
use super::{number, text};

/// Fields of a record, those inside others too, that are noted.
const FIELDS_MAX: usize = 4_096;

/// The fields of one record, in its order; those of an object follow it.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) fields: Vec<Field>,
    /// Strings that have escapes, without them.
    pub(super) unescaped: String,
}

impl Tape {
    /// Note the fields of the record `text`. None: it is not taken, and nothing here counts.
    pub(super) fn scan(&mut self, text: &str, columns: &Fields) -> Option<()> {
        self.fields.clear();
        self.unescaped.clear();
        // Places in it are noted in 32 bits.
        u32::try_from(text.len()).ok()?;
        let mut scan = Scan {
            text,
            bytes: text.as_bytes(),
            at: 0,
            tape: self,
        };
        scan.blank();
        scan.object(Some(columns), 1)?;
        scan.blank();
        (scan.at == text.len()).then_some(())
    }
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    tape: &'a mut Tape,
}

impl Scan<'_> {
    fn blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// Whether `byte` is next, and then behind it.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// An object, the `depth`-th around the place, whose fields go into `columns`.
    fn object(&mut self, columns: Option<&Fields>, depth: usize) -> Option<()> {
        if !self.skip(b'{') || depth > EVENT_MAX_DEPTH {
            return None;
        }
        self.blank();
        if self.skip(b'}') {
            return Some(());
        }
        let mut place = 0;
        loop {
            self.field(columns, place, depth)?;
            place += 1;
            self.blank();
            if self.skip(b'}') {
                return Some(());
            }
            if !self.skip(b',') {
                return None;
            }
            self.blank();
        }
    }

    fn field(&mut self, columns: Option<&Fields>, place: usize, depth: usize) -> Option<()> {
        let name = self.name(columns, place)?;
        self.blank();
        let number = self.tape.fields.len();
        if number == FIELDS_MAX {
            return None;
        }
        if self.bytes.get(self.at) != Some(&b'{') {
            let value = self.value(depth)?;
            self.tape.fields.push(Field { name, value });
            return Some(());
        }
        let value = Value::Object(0);
        self.tape.fields.push(Field { name, value });
        let inner = match name {
            Name::Remembered(Some(found)) => columns.and_then(|columns| columns.inside(found)),
            _ => None,
        };
        self.object(inner, depth + 1)?;
        let inside = self.tape.fields.len() - number - 1;
        self.tape.fields[number].value = Value::Object(inside);
        Some(())
    }

    /// A name and the colon behind it.
    fn name(&mut self, columns: Option<&Fields>, place: usize) -> Option<Name> {
        let remembered = columns.and_then(|columns| columns.remembered(place));
        if let Some((quoted, found)) = remembered
            && self.bytes.get(self.at..)?.starts_with(quoted)
        {
            self.at += quoted.len();
            return Some(Name::Remembered(found));
        }
        let name = match self.string()? {
            Value::Plain(span) => Name::Plain(span),
            Value::Unescaped(span) => Name::Unescaped(span),
            _ => return None,
        };
        self.blank();
        self.skip(b':').then_some(name)
    }

    /// A value that is no object.
    fn value(&mut self, depth: usize) -> Option<Value> {
        match self.bytes.get(self.at)? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => {
                let (value, end) = number::read(self.text, self.at)?;
                self.at = end;
                Some(value)
            }
            b't' => self.word(b"true", Value::Boolean(true)),
            b'f' => self.word(b"false", Value::Boolean(false)),
            b'n' => self.word(b"null", Value::Null),
            b'[' => self.array(depth + 1),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8], value: Value) -> Option<Value> {
        let is_there = self.bytes.get(self.at..)?.starts_with(word);
        self.at += word.len();
        is_there.then_some(value)
    }

    /// An array: no column of a record that is scanned takes one, so what is in it is looked at and
    /// forgotten.
    fn array(&mut self, depth: usize) -> Option<Value> {
        if !self.skip(b'[') || depth > EVENT_MAX_DEPTH {
            return None;
        }
        self.blank();
        if self.skip(b']') {
            return Some(Value::Array);
        }
        let (fields, unescaped) = (self.tape.fields.len(), self.tape.unescaped.len());
        loop {
            if self.bytes.get(self.at) == Some(&b'{') {
                self.object(None, depth + 1)?;
            } else {
                self.value(depth)?;
            }
            self.tape.fields.truncate(fields);
            self.tape.unescaped.truncate(unescaped);
            self.blank();
            if self.skip(b']') {
                return Some(Value::Array);
            }
            if !self.skip(b',') {
                return None;
            }
            self.blank();
        }
    }

    fn string(&mut self) -> Option<Value> {
        if !self.skip(b'"') {
            return None;
        }
        let start = self.at;
        let end = text::plain_end(self.bytes, start)?;
        if self.bytes[end] != b'"' {
            return self.escaped(start - 1, end);
        }
        self.at = end + 1;
        Some(Value::Plain(span(start, end)))
    }

    /// The string from `quote` on, whose first byte that is not plain lies at `at`. The general
    /// parser says what its escapes mean.
    fn escaped(&mut self, quote: usize, mut at: usize) -> Option<Value> {
        while self.bytes[at] == b'\\' {
            at = text::plain_end(self.bytes, at + 2)?;
        }
        if self.bytes[at] != b'"' {
            return None;
        }
        let quoted = self.text.get(quote..=at)?;
        let mut json = serde_json::Deserializer::from_str(quoted);
        let unescaped = String::deserialize(&mut json).ok()?;
        json.end().ok()?;
        self.at = at + 1;
        let start = self.tape.unescaped.len();
        self.tape.unescaped.push_str(&unescaped);
        Some(Value::Unescaped(span(start, self.tape.unescaped.len())))
    }
}

/// Places in a record, or in what its strings are without escapes, which is no longer.
fn span(start: usize, end: usize) -> Span {
    Span {
        start: start as u32,
        end: end as u32,
    }
}
