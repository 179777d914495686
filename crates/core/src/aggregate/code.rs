//! Code bytes of partial states and of the scalars inside them. They outlive the process (tiles in
//! RocksDB, states between SQL operators): a code never changes its meaning, a changed layout gets
//! a new one, a retired one stays reserved. One list for all
//! states, so that a code names its state too.

/// `count`: rows (varint).
pub(crate) const COUNT: u8 = 0x10;
/// Float sum without NaN and infinities: see `exact::codec`.
pub(crate) const FLOAT_SUM: u8 = 0x11;
/// Float sum with counts of NaN, +inf and -inf.
pub(crate) const FLOAT_SUM_SPECIAL: u8 = 0x12;
/// Float sum and sum of squares.
pub(crate) const FLOAT_MOMENTS: u8 = 0x13;
/// The same with counts of NaN, +inf and -inf.
pub(crate) const FLOAT_MOMENTS_SPECIAL: u8 = 0x14;
// 0x15 was the integer sum modulo 2^64.
/// Least value: a scalar, NULL while there is none.
pub(crate) const MIN: u8 = 0x16;
/// Greatest value: a scalar, NULL while there is none.
pub(crate) const MAX: u8 = 0x17;
/// Last value, no row yet.
pub(crate) const LAST_NONE: u8 = 0x18;
/// Last value: event time, partition, offset (zigzag varints) and a scalar.
pub(crate) const LAST: u8 = 0x19;
/// Integer sum: values (varint), sum (zigzag varint of up to 128 bits).
pub(crate) const INT_SUM: u8 = 0x1A;
/// First value, no row yet.
pub(crate) const FIRST_NONE: u8 = 0x1B;
/// First value: as the last one.
pub(crate) const FIRST: u8 = 0x1C;
/// `max_by`, no row yet.
pub(crate) const MAX_BY_NONE: u8 = 0x1D;
/// `max_by`: as the last value, with the scalar that decides in front of the value.
pub(crate) const MAX_BY: u8 = 0x1E;
/// `min_by`, no row yet.
pub(crate) const MIN_BY_NONE: u8 = 0x1F;
/// `min_by`: as `max_by`.
pub(crate) const MIN_BY: u8 = 0x20;
/// Truth values: how many are false, how many true (varints).
pub(crate) const BOOLS: u8 = 0x21;
/// Bits, no value yet.
pub(crate) const BITS_NONE: u8 = 0x22;
/// Bits: and, or, xor (zigzag varints).
pub(crate) const BITS: u8 = 0x23;
/// Moments of pairs: see `exact::comoments`.
pub(crate) const PAIRS: u8 = 0x24;
/// Different values: how many (varint), scalars, ascending.
pub(crate) const DISTINCT: u8 = 0x25;
/// More different values than are kept.
pub(crate) const DISTINCT_MORE: u8 = 0x26;
/// Registers: how many (varint), each its number (2 bytes) and rank (1 byte), ascending.
pub(crate) const REGISTERS: u8 = 0x27;
/// Sketch: precision (1 byte), NaN, buckets (varints), each the difference to the number of the one
/// before (zigzag varint) and its values (varint).
pub(crate) const SKETCH: u8 = 0x28;

/// Newest rows: how many (varint), each as the last value has it, ascending.
pub(crate) const NEWEST: u8 = 0x30;

/// Scalars inside a state.
pub(crate) mod scalar {
    /// SQL NULL.
    pub(crate) const NULL: u8 = 0x00;
    /// BOOLEAN false.
    pub(crate) const FALSE: u8 = 0x01;
    /// BOOLEAN true.
    pub(crate) const TRUE: u8 = 0x02;
    /// INTEGER, BIGINT: zigzag varint.
    pub(crate) const INT: u8 = 0x03;
    /// DOUBLE: 8 bytes, little endian.
    pub(crate) const FLOAT: u8 = 0x04;
    /// VARCHAR: length (varint), UTF-8.
    pub(crate) const TEXT: u8 = 0x05;
    /// TIMESTAMP: zigzag varint, microseconds.
    pub(crate) const TIMESTAMP: u8 = 0x06;
    /// DATE: zigzag varint, days.
    pub(crate) const DATE: u8 = 0x07;
    /// An array: how many items (varint), then each as a scalar.
    pub(crate) const LIST: u8 = 0x10;
}
