//! Text as numbers and booleans. White space around a value is allowed, as PostgreSQL allows
//! it; everything else has to be the value. Integers are digits with an optional sign. DOUBLE
//! has digits with an optional point and exponent, or `NaN`, `inf` and `infinity` in any case;
//! it is rounded once, to the nearest, a number that is too small becomes 0, one that is too
//! large has none. BOOLEAN is a beginning of true, false, yes, no, or on, off, 1, 0, in any
//! case.

use std::str::FromStr;

/// The integer that `text` is, of 32 or 64 bits.
pub(super) fn integer<T: FromStr>(text: &str) -> Option<T> {
    // The library's grammar is the one above.
    text.trim_ascii().parse().ok()
}

/// The number that `text` is.
pub(super) fn double(text: &str) -> Option<f64> {
    let text = text.trim_ascii();
    let value: f64 = text.parse().ok()?;
    if value.is_nan() {
        return Some(forebay_core::exact::CANONICAL_NAN);
    }
    let has_digits = || text.bytes().any(|byte| byte.is_ascii_digit());
    (value.is_finite() || !has_digits()).then_some(value)
}

/// The truth that `text` is.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim_ascii();
    let begins = |word: &str| {
        word.get(..text.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(text))
    };
    let is = |word: &str| word.eq_ignore_ascii_case(text);
    match text {
        "" => None,
        "1" => Some(true),
        "0" => Some(false),
        _ if begins("true") || begins("yes") || is("on") => Some(true),
        _ if begins("false") || begins("no") || is("of") || is("off") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_digits_with_a_sign() {
        for (text, value) in [
            ("0", Some(0_i64)),
            (" -7\t", Some(-7)),
            ("+12", Some(12)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            (" ", None),
            ("1 2", None),
            ("1.0", None),
            ("1e3", None),
            ("0x10", None),
            ("1_000", None),
            ("\u{a0}1", None),
            ("\u{661}", None),
        ] {
            assert_eq!(integer::<i64>(text), value, "{text:?}");
        }
        assert_eq!(integer::<i32>("2147483648"), None);
    }

    #[test]
    fn doubles_are_rounded_once_and_are_never_infinite_by_their_size() {
        for (text, value) in [
            ("1.5", Some(1.5)),
            (" .5 ", Some(0.5)),
            ("1.", Some(1.0)),
            ("-1e-3", Some(-0.001)),
            ("1E400", None),
            ("-1e400", None),
            ("1e-400", Some(0.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("", None),
            (".", None),
            ("1e", None),
            ("1,5", None),
            ("0x1p3", None),
        ] {
            assert_eq!(double(text), value, "{text:?}");
        }
        for text in ["nan", "NaN", "-NaN"] {
            assert_eq!(double(text).map(f64::to_bits), Some(0x7ff8_0000_0000_0000));
        }
    }

    #[test]
    fn booleans_are_words_in_any_case() {
        for text in ["t", "TRUE", "tr", " yes ", "y", "on", "1"] {
            assert_eq!(boolean(text), Some(true), "{text:?}");
        }
        for text in ["f", "False", "no", "n", "off", "of", "0"] {
            assert_eq!(boolean(text), Some(false), "{text:?}");
        }
        for text in ["", "o", "2", "truee", "wahr", "yesno"] {
            assert_eq!(boolean(text), None, "{text:?}");
        }
    }
}
