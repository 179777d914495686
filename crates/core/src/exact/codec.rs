//! The bytes of float states, and the small readers and writers that all partial states share. Part
//! of the on-disk format.
//!
//! A float state is: its code byte (see [`crate::aggregate::code`]), n, the three special counters
//! when the code says so, then each sum as the index of its lowest byte above E0, the number of its
//! bytes, and its two's complement bytes, little endian, without zero low bytes and redundant sign
//! bytes. Numbers are LEB128 varints. Sums are normalised first, so equal multisets of values give
//! equal bytes. Decoding accepts that one form only and trusts nothing.

use super::fixed::{FixedPoint, SQUARES_MAX_LIMBS, SUM_MAX_LIMBS};
use super::special::{Counts, Specials};
use super::{FloatMoments, FloatSum};
use crate::aggregate::code;
use crate::error::{ErrorKind, PortError, PortResult};

impl FloatSum {
    /// Append the canonical bytes: about 15 for a sum of money.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_counts(out, &self.counts, code::FLOAT_SUM, code::FLOAT_SUM_SPECIAL);
        self.sum.encode(out);
    }

    /// Read what [`Self::encode`] wrote and move `bytes` past it.
    ///
    /// # Errors
    /// Bytes that no state has (`DataLoss`).
    pub fn decode(bytes: &mut &[u8]) -> PortResult<Self> {
        let mut reader = Reader::new(bytes);
        let counts = read_counts(&mut reader, code::FLOAT_SUM, code::FLOAT_SUM_SPECIAL)?;
        let sum = read_fixed(&mut reader, SUM_MAX_LIMBS)?;
        if finite(&counts) == 0 && !sum.is_zero() {
            return Err(corrupt("a float sum of no finite value is not zero"));
        }
        *bytes = reader.rest();
        Ok(Self { counts, sum })
    }
}

impl FloatMoments {
    /// Append the canonical bytes: about 30 for money.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_counts(
            out,
            &self.counts,
            code::FLOAT_MOMENTS,
            code::FLOAT_MOMENTS_SPECIAL,
        );
        self.sum.encode(out);
        self.squares.encode(out);
    }

    /// Read what [`Self::encode`] wrote and move `bytes` past it.
    ///
    /// # Errors
    /// Bytes that no state has (`DataLoss`).
    pub fn decode(bytes: &mut &[u8]) -> PortResult<Self> {
        let mut reader = Reader::new(bytes);
        let counts = read_counts(
            &mut reader,
            code::FLOAT_MOMENTS,
            code::FLOAT_MOMENTS_SPECIAL,
        )?;
        let sum = read_fixed(&mut reader, SUM_MAX_LIMBS)?;
        let squares = read_fixed(&mut reader, SQUARES_MAX_LIMBS)?;
        let contradiction = if finite(&counts) == 0 || squares.is_zero() {
            !sum.is_zero() || !squares.is_zero()
        } else {
            squares.is_negative()
        };
        if contradiction {
            return Err(corrupt("the sums of float moments contradict each other"));
        }
        *bytes = reader.rest();
        Ok(Self {
            counts,
            sum,
            squares,
        })
    }
}

fn finite(counts: &Counts) -> i64 {
    let specials = counts.specials().unwrap_or_default();
    counts.n - specials.nan - specials.positive_infinity - specials.negative_infinity
}

fn write_counts(out: &mut Vec<u8>, counts: &Counts, plain: u8, special: u8) {
    let specials = counts.specials();
    out.push(if specials.is_some() { special } else { plain });
    write_unsigned(out, counts.n as u64);
    if let Some(specials) = specials {
        for count in [
            specials.nan,
            specials.positive_infinity,
            specials.negative_infinity,
        ] {
            write_unsigned(out, count as u64);
        }
    }
}

fn read_counts(reader: &mut Reader<'_>, plain: u8, special: u8) -> PortResult<Counts> {
    let code = reader.byte()?;
    if code != plain && code != special {
        return Err(corrupt(format!(
            "code {code:#04x} where a float state should begin"
        )));
    }
    let n = reader.count()?;
    let mut specials = Specials::default();
    if code == special {
        specials = Specials {
            nan: reader.count()?,
            positive_infinity: reader.count()?,
            negative_infinity: reader.count()?,
        };
        let total = i128::from(specials.nan)
            + i128::from(specials.positive_infinity)
            + i128::from(specials.negative_infinity);
        if total == 0 || total > i128::from(n) {
            return Err(corrupt(format!("{total} special values among {n}")));
        }
    }
    Ok(Counts::new(n, specials))
}

fn read_fixed<const INLINE: usize>(
    reader: &mut Reader<'_>,
    max_limbs: usize,
) -> PortResult<FixedPoint<INLINE>> {
    let lowest = reader.unsigned()?;
    let length = reader.unsigned()?;
    let bytes = reader.take(length)?;
    FixedPoint::from_bytes(lowest, bytes, max_limbs)
        .ok_or_else(|| corrupt("a fixed-point sum is out of range or not in its shortest form"))
}

/// The error of bytes that contradict the format.
pub(crate) fn corrupt(what: impl Into<String>) -> PortError {
    let what = what.into();
    PortError::new(
        ErrorKind::DataLoss,
        format!("a stored aggregate state is corrupt: {what}; rebuild it from the log"),
    )
}

/// Append a LEB128 varint.
pub(crate) fn write_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Append a signed number: zigzag, then LEB128.
pub(crate) fn write_signed(out: &mut Vec<u8>, value: i64) {
    write_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Reads bytes that may be anything. Never reads past the end, never allocates by a length that it
/// has not checked.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &&'a [u8]) -> Self {
        Self { bytes }
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn byte(&mut self) -> PortResult<u8> {
        let (first, rest) = self
            .bytes
            .split_first()
            .ok_or_else(|| corrupt("it ends too early"))?;
        self.bytes = rest;
        Ok(*first)
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: u64) -> PortResult<&'a [u8]> {
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.bytes.split_at_checked(length));
        let (taken, rest) = split.ok_or_else(|| corrupt("it ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A LEB128 varint in its shortest form.
    pub(crate) fn unsigned(&mut self) -> PortResult<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if bits == 0 && shift > 0 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(corrupt("a number is too long"))
    }

    /// A zigzag number.
    pub(crate) fn signed(&mut self) -> PortResult<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of rows: not negative.
    pub(crate) fn count(&mut self) -> PortResult<i64> {
        i64::try_from(self.unsigned()?).map_err(|_| corrupt("a number of rows is negative"))
    }
}
