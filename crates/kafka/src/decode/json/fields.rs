//! What the scan of a record notes of each of its fields: names and values, with the kinds that the
//! general parser tells apart. Texts are places in the record, or in what strings with escapes are
//! without them.

use super::super::names::Found;

/// Some bytes: of the record, or of the strings without their escapes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// What a field is called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    /// As the field at its place was in the record before: what that name means.
    Remembered(Option<Found>),
    /// These bytes of the record.
    Plain(Span),
    /// A name with escapes.
    Unescaped(Span),
}

/// A value, with the kinds that the general parser tells apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Unsigned(u64),
    Negative(i64),
    Double(f64),
    Plain(Span),
    /// A string with escapes.
    Unescaped(Span),
    /// Its fields are so many of those that follow.
    Object(usize),
    Array,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: Name,
    pub(super) value: Value,
}
