//! Digests and encodings. Their bytes are part of features, so none of them ever changes: `hash` is
//! XXH3 of 64 bits with seed 0 over the bytes that its summary names, which any other program can
//! compute.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use forebay_core::exact::canonical;
use forebay_core::fault::FaultKind;
use md5::Md5;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use super::form::{Constant, constant_text, example, function, takes};
use super::rows::{Bool, Bound, Fixed, Float, Int, Text, TextOut, Time, nulls, texts, values};
use crate::scalar::function::Type::{self, BigInt, Boolean, Double, Timestamp};
use crate::scalar::function::{Argument, Function, Reference};

const TEXT: &[Type] = &[Type::Text];

/// Padding is written, and may be missing in what is read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// XXH3, its 64 bits as they stand.
fn hash(bytes: &[u8]) -> i64 {
    xxh3_64(bytes).cast_signed()
}

fn put_hex(bytes: &[u8], out: &mut TextOut) -> Result<bool, FaultKind> {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    for byte in bytes {
        out.put_char(DIGITS[usize::from(byte >> 4)])?;
        out.put_char(DIGITS[usize::from(byte & 15)])?;
    }
    Ok(true)
}

/// Pairs of digits in either case.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}

#[derive(Debug, Clone, Copy)]
enum Encoding {
    Hex,
    Base64,
}

fn encoding(arguments: &[Argument<'_>], of: &str) -> Result<Constant<Encoding>, String> {
    let what = format!("the encoding of {of}");
    Ok(match constant_text(arguments, 1, &what, "'hex'")? {
        Constant::Null => Constant::Null,
        Constant::Value(name) => Constant::Value(match name.to_ascii_lowercase().as_str() {
            "hex" => Encoding::Hex,
            "base64" => Encoding::Base64,
            _ => {
                return Err(format!(
                    "there is no encoding '{name}'; write 'hex' or 'base64'"
                ));
            }
        }),
    })
}

fn encode(arguments: &[Argument<'_>]) -> Bound {
    match encoding(arguments, "encode")? {
        Constant::Null => nulls(Type::Text),
        Constant::Value(Encoding::Hex) => {
            texts::<(Text, Fixed), _>(|(text, ()): (&str, ()), out: &mut TextOut| {
                put_hex(text.as_bytes(), out)
            })
        }
        Constant::Value(Encoding::Base64) => {
            texts::<(Text, Fixed), _>(|(text, ()): (&str, ()), out: &mut TextOut| {
                out.put(&BASE64.encode(text))
            })
        }
    }
}

fn decode(arguments: &[Argument<'_>]) -> Bound {
    match encoding(arguments, "decode")? {
        Constant::Null => nulls(Type::Text),
        Constant::Value(encoding) => {
            texts::<(Text, Fixed), _>(move |(text, ()): (&str, ()), out: &mut TextOut| {
                let bytes = match encoding {
                    Encoding::Hex => hex(text),
                    Encoding::Base64 => BASE64.decode(text).ok(),
                };
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                out.put(&text.ok_or(FaultKind::Cast)?)
            })
        }
    }
}

const DIGESTS: &[Function] = &[
    function(
        "md5",
        "The MD5 digest of the text's UTF-8, 32 hexadecimal digits.",
        &[takes(TEXT, Type::Text, |_| {
            texts::<(Text,), _>(|(text,): (&str,), out: &mut TextOut| {
                put_hex(&Md5::digest(text), out)
            })
        })],
        Reference::DuckDb("md5(a)"),
        &[example("md5('')", "'d41d8cd98f00b204e9800998ecf8427e'")],
    ),
    function(
        "sha256",
        "The SHA-256 digest of the text's UTF-8, 64 hexadecimal digits.",
        &[takes(TEXT, Type::Text, |_| {
            texts::<(Text,), _>(|(text,): (&str,), out: &mut TextOut| {
                put_hex(&Sha256::digest(text), out)
            })
        })],
        Reference::DuckDb("sha256(a)"),
        &[example(
            "sha256('')",
            "'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
        )],
    ),
    function(
        "hash",
        "XXH3 of 64 bits, seed 0, as BIGINT: of a text's UTF-8, of the 8 bytes of a number or of a \
         time's microseconds (little endian), of one byte 0 or 1 of a BOOLEAN.",
        &[
            takes(TEXT, BigInt, |_| {
                values::<(Text,), Int, _>(|(text,): (&str,)| Ok(Some(hash(text.as_bytes()))))
            }),
            takes(&[BigInt], BigInt, |_| {
                values::<(Int,), Int, _>(|(number,)| Ok(Some(hash(&number.to_le_bytes()))))
            }),
            takes(&[Double], BigInt, |_| {
                values::<(Float,), Int, _>(|(number,)| {
                    Ok(Some(hash(&canonical(number).to_le_bytes())))
                })
            }),
            takes(&[Timestamp], BigInt, |_| {
                values::<(Time,), Int, _>(|(time,)| Ok(Some(hash(&time.to_le_bytes()))))
            }),
            takes(&[Boolean], BigInt, |_| {
                values::<(Bool,), Int, _>(|(value,)| Ok(Some(hash(&[u8::from(value)]))))
            }),
        ],
        Reference::Differs("DuckDB's hash may change with its version; ours never does"),
        &[example("hash('')", "3244421341483603138")],
    )
    .float("every NaN has one hash, and -0.0 that of 0.0"),
];

const ENCODINGS: &[Function] = &[
    function(
        "encode",
        "The text's UTF-8 as 'hex' or 'base64' (with padding).",
        &[takes(&[Type::Text, Type::Text], Type::Text, encode)],
        Reference::Differs("DuckDB's encode gives BLOB; base64(encode(a)) and hex(a) there"),
        &[
            example("encode('foo', 'hex')", "'666f6f'"),
            example("encode('fo', 'base64')", "'Zm8='"),
        ],
    )
    .fault("out of range: a result above 1 MiB"),
    function(
        "decode",
        "The text whose UTF-8 a text in 'hex' or 'base64' (with or without padding) holds.",
        &[takes(&[Type::Text, Type::Text], Type::Text, decode)],
        Reference::Differs("DuckDB's decode takes BLOB; decode(from_base64(a)) there"),
        &[
            example("decode('666F6f', 'hex')", "'foo'"),
            example("decode('Zm8', 'base64')", "'fo'"),
            example("decode('xyz', 'hex')", "error"),
        ],
    )
    .fault("cast: no hexadecimal digits, no base64, no UTF-8"),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] =
    &[("digests", DIGESTS), ("encodings", ENCODINGS)];

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation (`xxhsum -H3`): they are kept for ever.
    #[test]
    fn hashes_are_those_of_xxh3() {
        assert_eq!(hash(b"").cast_unsigned(), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash(b"a").cast_unsigned(), 0xe6c6_32b6_1e96_4e1f);
        assert_eq!(hash(b"abc").cast_unsigned(), 0x78af_5f94_892f_3950);
    }
}
