//! How deep a JSON text nests, before anything parses it. Skipped fields are not parsed into
//! anything, so the parser alone would let them nest as deep as they like.

/// Whether `json` nests objects and arrays deeper than `limit`. Exact for valid JSON; for anything
/// else some answer.
pub(super) fn exceeds(json: &[u8], limit: usize) -> bool {
    // Counting all brackets, also those in strings, runs at memory speed and settles nearly every
    // event.
    let opening = json
        .iter()
        .filter(|byte| matches!(byte, b'{' | b'['))
        .count();
    opening > limit && exceeds_outside_strings(json, limit)
}

fn exceeds_outside_strings(json: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    false
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_strings_only() {
        let nest = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(!exceeds(&nest(16), 16));
        assert!(exceeds(&nest(17), 16));
        assert!(!exceeds(br#"{"a": "[[[[[[[[[[[[[[[[[[[[[[\"[[[[["}"#, 16));
        assert!(
            !exceeds(b"[][][][][][][][][][][][][][][][][][]", 16),
            "beside one another is not inside one another"
        );
    }
}
