//! The one reader and the one writer of bytes that outlive a process: records of the online store,
//! partial states of aggregates, requests of pending scores. Integers are little endian or LEB128,
//! strings carry a u32 length.
//!
//! [`Reader`] takes bytes that may be anything: it never reads past their end and never allocates
//! by a length that it has not checked; what it refuses is a [`BytesError`], which the caller
//! completes with the name of the record. Which fields a record has is declared by its owner, never
//! here.

use std::borrow::Cow;

use thiserror::Error;

/// Result of reading stored bytes.
pub type BytesResult<T> = Result<T, BytesError>;

/// Why bytes are not what their format says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BytesError {
    /// The bytes end inside a field.
    #[error("it ends {missing} bytes too early")]
    Short {
        /// Bytes of the field that are not there.
        missing: u64,
    },
    /// Bytes follow the last field.
    #[error("it is {extra} bytes too long")]
    Long {
        /// Bytes behind the last field.
        extra: usize,
    },
    /// A version code that this build does not read.
    #[error("version code {found}, this build reads {supported}")]
    Version {
        /// As stored.
        found: u8,
        /// As this build writes it.
        supported: u8,
    },
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Utf8,
    /// A varint of more than 64 bits, or not in its shortest form.
    #[error("a number is too long")]
    Varint,
    /// A number of rows below zero.
    #[error("a number of rows is negative")]
    NegativeCount,
    /// The fields can be read and contradict each other.
    #[error("{0}")]
    Contradiction(Cow<'static, str>),
}

impl From<&'static str> for BytesError {
    fn from(words: &'static str) -> Self {
        Self::Contradiction(Cow::Borrowed(words))
    }
}

impl From<String> for BytesError {
    fn from(words: String) -> Self {
        Self::Contradiction(Cow::Owned(words))
    }
}

/// Append a LEB128 varint.
pub fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    write_unsigned_wide(out, value.into());
}

fn write_unsigned_wide(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Append a signed number: zigzag, then LEB128.
pub fn write_signed(out: &mut Vec<u8>, value: i64) {
    write_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// [`write_signed`] of 128 bits: the same bytes where the number fits 64.
pub(crate) fn write_signed_wide(out: &mut Vec<u8>, value: i128) {
    write_unsigned_wide(out, ((value << 1) ^ (value >> 127)) as u128);
}

/// Appends the fields of a record.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// A record that begins with a version code.
    #[must_use]
    pub fn versioned(version: u8) -> Self {
        Self { out: vec![version] }
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// One byte: 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.u8(value.into());
    }

    /// 4 bytes.
    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// 4 bytes.
    pub fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// 8 bytes.
    pub fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// 8 bytes.
    pub fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// 8 bytes, the bits of a double.
    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// A byte that says whether there is a value, and 8 bytes in either case.
    pub fn option(&mut self, value: Option<i64>) {
        self.out.push(u8::from(value.is_some()));
        self.i64(value.unwrap_or(0));
    }

    /// A number of things: a u32.
    pub fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).expect("limits keep fields and lists far below 4 GiB"));
    }

    /// A u32 length and the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.out.extend_from_slice(value);
    }

    /// A u32 length and UTF-8.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
}

/// Reads the fields of a record; see the module.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of fields without a version code.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// A reader of the fields behind the version code, which must be `supported`.
    ///
    /// # Errors
    /// Another code, or no byte at all.
    pub fn versioned(bytes: &'a [u8], supported: u8) -> BytesResult<Self> {
        let mut reader = Self { bytes };
        match reader.u8()? {
            found if found == supported => Ok(reader),
            found => Err(BytesError::Version { found, supported }),
        }
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take(&mut self, length: u64) -> BytesResult<&'a [u8]> {
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.bytes.split_at_checked(length));
        let Some((head, tail)) = split else {
            return Err(BytesError::Short {
                missing: length - self.bytes.len() as u64,
            });
        };
        self.bytes = tail;
        Ok(head)
    }

    /// The next N bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn array<const N: usize>(&mut self) -> BytesResult<[u8; N]> {
        let Some((head, tail)) = self.bytes.split_first_chunk::<N>() else {
            return Err(BytesError::Short {
                missing: (N - self.bytes.len()) as u64,
            });
        };
        self.bytes = tail;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// The bytes end.
    pub fn u8(&mut self) -> BytesResult<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// 4 bytes.
    ///
    /// # Errors
    /// The bytes end.
    pub fn u32(&mut self) -> BytesResult<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// 4 bytes.
    ///
    /// # Errors
    /// The bytes end.
    pub fn i32(&mut self) -> BytesResult<i32> {
        self.array().map(i32::from_le_bytes)
    }

    /// 8 bytes.
    ///
    /// # Errors
    /// The bytes end.
    pub fn u64(&mut self) -> BytesResult<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// 8 bytes.
    ///
    /// # Errors
    /// The bytes end.
    pub fn i64(&mut self) -> BytesResult<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// 8 bytes, the bits of a double.
    ///
    /// # Errors
    /// The bytes end.
    pub fn f64(&mut self) -> BytesResult<f64> {
        self.array().map(f64::from_le_bytes)
    }

    /// See [`Writer::bool`].
    ///
    /// # Errors
    /// The bytes end, or the byte is neither 0 nor 1.
    pub fn bool(&mut self) -> BytesResult<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("presence code {other}").into()),
        }
    }

    /// See [`Writer::option`].
    ///
    /// # Errors
    /// The bytes end, or the first byte is neither 0 nor 1.
    pub fn option(&mut self) -> BytesResult<Option<i64>> {
        let present = self.bool()?;
        let value = self.i64()?;
        Ok(present.then_some(value))
    }

    /// See [`Writer::bytes`].
    ///
    /// # Errors
    /// The bytes end.
    pub fn bytes(&mut self) -> BytesResult<&'a [u8]> {
        let length = self.u32()?;
        self.take(u64::from(length))
    }

    /// See [`Writer::text`].
    ///
    /// # Errors
    /// The bytes end, or are not UTF-8.
    pub fn text(&mut self) -> BytesResult<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| BytesError::Utf8)
    }

    /// A LEB128 varint in its shortest form.
    ///
    /// # Errors
    /// The bytes end, or the number has another form.
    pub fn unsigned(&mut self) -> BytesResult<u64> {
        Ok(self.varint(u64::BITS)? as u64)
    }

    /// A varint of at most `width` bits.
    fn varint(&mut self, width: u32) -> BytesResult<u128> {
        let mut value = 0_u128;
        for shift in (0..width).step_by(7) {
            let byte = self.u8()?;
            let bits = u128::from(byte & 0x7f);
            let room = width - shift;
            if room < 7 && bits >> room != 0 {
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
        Err(BytesError::Varint)
    }

    /// A zigzag number.
    ///
    /// # Errors
    /// As [`Self::unsigned`].
    pub fn signed(&mut self) -> BytesResult<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A zigzag number of 128 bits.
    ///
    /// # Errors
    /// As [`Self::unsigned`].
    pub(crate) fn signed_wide(&mut self) -> BytesResult<i128> {
        let value = self.varint(u128::BITS)?;
        Ok((value >> 1) as i128 ^ -((value & 1) as i128))
    }

    /// A number of rows: a varint that fits an `i64`.
    ///
    /// # Errors
    /// As [`Self::unsigned`], or it does not fit.
    pub(crate) fn count(&mut self) -> BytesResult<i64> {
        i64::try_from(self.unsigned()?).map_err(|_| BytesError::NegativeCount)
    }

    /// Nothing follows.
    ///
    /// # Errors
    /// Something does.
    pub fn end(&self) -> BytesResult<()> {
        match self.bytes.len() {
            0 => Ok(()),
            extra => Err(BytesError::Long { extra }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_defect_is_named() {
        let whole = {
            let mut w = Writer::versioned(2);
            w.text("a");
            w.option(Some(-1));
            w.finish()
        };
        let read = |bytes: &[u8]| -> BytesResult<()> {
            let mut r = Reader::versioned(bytes, 2)?;
            r.text()?;
            r.option()?;
            r.end()
        };
        assert_eq!(read(&whole), Ok(()));
        assert_eq!(
            read(&whole[..whole.len() - 1]),
            Err(BytesError::Short { missing: 1 })
        );
        assert_eq!(read(&[]), Err(BytesError::Short { missing: 1 }));
        assert_eq!(
            read(&[whole.as_slice(), &[0]].concat()),
            Err(BytesError::Long { extra: 1 })
        );
        let changed = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            read(&bytes)
        };
        assert_eq!(
            changed(0, 3),
            Err(BytesError::Version {
                found: 3,
                supported: 2
            })
        );
        assert_eq!(changed(5, 0xFF), Err(BytesError::Utf8));
        assert_eq!(
            changed(6, 7),
            Err(BytesError::Contradiction("presence code 7".into()))
        );
        let long = Reader::new(&[0xFF; 11]).unsigned();
        assert_eq!(long, Err(BytesError::Varint));
        assert_eq!(Reader::new(&[0x80, 0]).unsigned(), Err(BytesError::Varint));
        let long = Reader::new(&[0xFF; 20]).signed_wide();
        assert_eq!(long, Err(BytesError::Varint));
        let mut negative = Vec::new();
        write_unsigned(&mut negative, u64::MAX);
        assert_eq!(
            Reader::new(&negative).count(),
            Err(BytesError::NegativeCount)
        );
    }

    proptest! {
        #[test]
        fn fields_come_back(a: u32, b: i64, c: u64, d in any::<u64>(), e in ".{0,9}", f: Option<i64>, g: i128) {
            let mut w = Writer::versioned(1);
            w.u32(a);
            w.i32(a as i32);
            w.f64(f64::from_bits(d));
            w.text(&e);
            w.option(f);
            let mut bytes = w.finish();
            write_unsigned(&mut bytes, c);
            write_signed(&mut bytes, b);
            write_signed_wide(&mut bytes, g);
            write_signed_wide(&mut bytes, b.into());
            let mut r = Reader::versioned(&bytes, 1).expect("own bytes");
            prop_assert_eq!((r.u32(), r.i32()), (Ok(a), Ok(a as i32)));
            prop_assert_eq!(r.f64().map(f64::to_bits), Ok(d));
            prop_assert_eq!((r.text(), r.option()), (Ok(e.as_str()), Ok(f)));
            prop_assert_eq!((r.unsigned(), r.signed(), r.signed_wide()), (Ok(c), Ok(b), Ok(g)));
            prop_assert_eq!((r.signed(), r.end()), (Ok(b), Ok(())));
        }

        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), length: u64) {
            let reader = Reader::new(&bytes);
            let _outcomes = (
                reader.clone().take(length), reader.clone().text(), reader.clone().signed(), reader.clone().option(),
                reader.clone().count(), reader.clone().array::<16>(),
            );
        }
    }
}
