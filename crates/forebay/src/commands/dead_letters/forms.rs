//! Bytes and headers as people and programs read them: text where they are UTF-8, else
//! hexadecimal. What could move a terminal's cursor is written as its code.

use std::fmt::Write as _;

use forebay_core::ports::RecordHeader;
use serde_json::{Value as Json, json};

/// For programs: null, a text, or `{"hex": ".."}`.
pub(super) fn json_of(bytes: Option<&[u8]>) -> Json {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Json::Null,
        Some((_, Ok(text))) => Json::from(text),
        Some((bytes, Err(_))) => json!({ "hex": hex(bytes) }),
    }
}

/// For people: `-`, the text, or `0x..`.
pub(super) fn text_of(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "-".to_owned(),
        Some((_, Ok(text))) => printable(text),
        Some((bytes, Err(_))) => format!("0x{}", hex(bytes)),
    }
}

/// Headers for programs, as the table has them.
pub(super) fn headers_json(headers: &[RecordHeader]) -> Json {
    let header = |h: &RecordHeader| json!({"name": h.name, "value": json_of(h.value.as_deref())});
    headers.iter().map(header).collect()
}

/// `text` with control characters but line breaks and tabs as their codes.
pub(super) fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
        out
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_or_hexadecimal_and_move_no_cursor() {
        for (bytes, text, json) in [
            (None, "-", Json::Null),
            (Some(&b""[..]), "", json!("")),
            (
                Some("\u{e4} b\n".as_bytes()),
                "\u{e4} b\n",
                json!("\u{e4} b\n"),
            ),
            (Some(&[0xff, 0x0a][..]), "0xff0a", json!({"hex": "ff0a"})),
            (Some(b"a\x1b[2J"), "a\\u{1b}[2J", json!("a\u{1b}[2J")),
        ] {
            assert_eq!(text_of(bytes), text);
            assert_eq!(json_of(bytes), json);
        }
    }
}
