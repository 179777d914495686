//! What this crate's unit tests hold golden bytes with. Such bytes are written by hand from the
//! layout that a codec's head describes, never by the codec, and stay as they are: a changed layout
//! gets a new version code and golden bytes of its own.

use std::fmt::Debug;

use forebay_core::bytes::BytesError;

use crate::format::Decoded;

/// Hexadecimal digits as bytes; blanks part the fields of a record.
pub(crate) fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |c: char| c.to_digit(16).expect("hexadecimal digits and blanks") as u8;
    let digits: Vec<u8> = hex
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(digit)
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4) | pair[1])
        .collect()
}

/// `value` is encoded as `golden`, which `decode` reads as `value`. With the next version code in
/// its first byte it is refused as such, and so are the retired ones.
pub(crate) fn assert_golden<T: Debug + PartialEq>(
    value: &T,
    encoded: &[u8],
    golden: &str,
    decode: impl Fn(&[u8]) -> Decoded<T>,
) {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let mut bytes = bytes_of(golden);
    assert_eq!(hex(encoded), hex(&bytes), "{value:?}");
    assert_eq!(decode(&bytes).as_ref(), Ok(value));
    let supported = bytes[0];
    for found in (0..supported).chain([supported + 1, u8::MAX]) {
        bytes[0] = found;
        let refused = Err(BytesError::Version { found, supported });
        assert_eq!(decode(&bytes), refused, "{value:?}");
    }
}
