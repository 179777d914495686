//! The rule of names: what an object, a column, a feature or a topic may be called. The parser asks
//! it for what a statement names, views and services for what their features are called.

use forebay_core::limits::{NAME_MAX_BYTES, TOPIC_NAME_MAX_BYTES};

/// Why `name` is none, to stand behind what it names; None where it is one.
pub(crate) fn fault(name: &str) -> Option<String> {
    let is_one = !name.is_empty() && name.len() <= NAME_MAX_BYTES && !name.starts_with('_');
    let words = format!(
        "\"{name}\" must have 1 to {NAME_MAX_BYTES} bytes and not begin with an underscore (those are Forebay's own)"
    );
    (!is_one).then_some(words)
}

/// Why a topic cannot be called `topic` and as much longer as `suffix`; None where it can.
pub(crate) fn topic_fault(topic: &str, suffix: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let most = TOPIC_NAME_MAX_BYTES - suffix.len();
    let is_one = (1..=most).contains(&topic.len()) && topic.bytes().all(plain);
    let words = format!(
        "'{topic}' is no Kafka topic: use 1 to {most} letters, digits, dots, underscores, hyphens"
    );
    (!is_one).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_byte_at_least_and_no_more_than_the_limit() {
        let longest = "n".repeat(NAME_MAX_BYTES);
        for name in ["n", "n_", "1", longest.as_str()] {
            assert_eq!(fault(name), None, "{name}");
        }
        for none in ["", "_n", &format!("{longest}n")] {
            let words = fault(none).unwrap_or_default();
            assert!(words.contains("1 to 255 bytes"), "{none}: {words}");
        }
    }

    #[test]
    fn a_topic_leaves_room_for_what_is_added_to_its_name() {
        let longest = "t".repeat(TOPIC_NAME_MAX_BYTES);
        assert_eq!(topic_fault(&longest, ""), None);
        assert_eq!(topic_fault(&longest[7..], ".shadow"), None);
        let words = topic_fault(&longest, ".shadow").unwrap_or_default();
        assert!(words.contains("1 to 242 letters"), "{words}");
        for none in ["", "a b", "a/b", "\u{e4}"] {
            assert!(topic_fault(none, "").is_some(), "{none}");
        }
    }
}
