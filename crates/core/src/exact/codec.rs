//! The bytes of float states. Part of the on-disk format.
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
use crate::bytes::{BytesError, BytesResult, Reader, write_unsigned};
use crate::error::{ErrorKind, PortError, PortResult};
use crate::invariant;

impl FloatSum {
    /// Append the canonical bytes: about 15 for a sum of money.
    pub fn encode(&self, out: &mut Vec<u8>) {
        invariant!(
            NothingSumsToZero,
            finite(&self.counts) != 0 || self.sum.is_zero(),
            "a sum of {} values",
            self.counts.n
        );
        write_counts(out, &self.counts, code::FLOAT_SUM, code::FLOAT_SUM_SPECIAL);
        self.sum.encode(out);
    }

    /// Read what [`Self::encode`] wrote and move `bytes` past it.
    ///
    /// # Errors
    /// Bytes that no state has (`DataLoss`).
    pub fn decode(bytes: &mut &[u8]) -> PortResult<Self> {
        let mut reader = Reader::new(bytes);
        let state = reader.u8().and_then(|code| Self::read(code, &mut reader));
        let state = state.map_err(corrupt)?;
        *bytes = reader.rest();
        Ok(state)
    }

    /// Of a state that begins with `code`.
    pub(crate) fn read(code: u8, reader: &mut Reader<'_>) -> BytesResult<Self> {
        let counts = read_counts(code, reader, code::FLOAT_SUM, code::FLOAT_SUM_SPECIAL)?;
        let sum = read_fixed(reader, SUM_MAX_LIMBS)?;
        if finite(&counts) == 0 && !sum.is_zero() {
            return Err("a float sum of no finite value is not zero".into());
        }
        Ok(Self { counts, sum })
    }
}

impl FloatMoments {
    /// Append the canonical bytes: about 30 for money.
    pub fn encode(&self, out: &mut Vec<u8>) {
        invariant!(
            NothingSumsToZero,
            finite(&self.counts) != 0 || (self.sum.is_zero() && self.squares.is_zero()),
            "moments of {} values",
            self.counts.n
        );
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
        let state = reader.u8().and_then(|code| Self::read(code, &mut reader));
        let state = state.map_err(corrupt)?;
        *bytes = reader.rest();
        Ok(state)
    }

    /// Of a state that begins with `code`.
    pub(crate) fn read(code: u8, reader: &mut Reader<'_>) -> BytesResult<Self> {
        let (plain, special) = (code::FLOAT_MOMENTS, code::FLOAT_MOMENTS_SPECIAL);
        let counts = read_counts(code, reader, plain, special)?;
        let sum = read_fixed(reader, SUM_MAX_LIMBS)?;
        let squares = read_fixed(reader, SQUARES_MAX_LIMBS)?;
        let contradiction = if finite(&counts) == 0 || squares.is_zero() {
            !sum.is_zero() || !squares.is_zero()
        } else {
            squares.is_negative()
        };
        if contradiction {
            return Err("the sums of float moments contradict each other".into());
        }
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
    invariant!(CountsNotNegative, counts.n >= 0, "{}", counts.n);
    invariant!(
        SpecialsCounted,
        (0..=counts.n).contains(&finite(counts)),
        "{} of {} values are finite",
        finite(counts),
        counts.n
    );
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

fn read_counts(code: u8, reader: &mut Reader<'_>, plain: u8, special: u8) -> BytesResult<Counts> {
    if code != plain && code != special {
        return Err(format!("code {code:#04x} where a float state should begin").into());
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
            return Err(format!("{total} special values among {n}").into());
        }
    }
    Ok(Counts::new(n, specials))
}

pub(super) fn read_fixed<const INLINE: usize>(
    reader: &mut Reader<'_>,
    max_limbs: usize,
) -> BytesResult<FixedPoint<INLINE>> {
    let lowest = reader.unsigned()?;
    let length = reader.unsigned()?;
    let bytes = reader.take(length)?;
    FixedPoint::from_bytes(lowest, bytes, max_limbs)
        .ok_or_else(|| "a fixed-point sum is out of range or not in its shortest form".into())
}

/// The error of bytes that contradict the format.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
pub(crate) fn corrupt(why: BytesError) -> PortError {
    PortError::new(
        ErrorKind::DataLoss,
        format!("a stored aggregate state is corrupt: {why}"),
    )
}
