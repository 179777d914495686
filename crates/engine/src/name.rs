//! The rules of names: what an object, a feature, a column or a topic may be called. The parser
//! asks them for what a statement names, views and services for what their features are called.

use forebay_core::limits::{NAME_MAX_BYTES, TOPIC_NAME_MAX_BYTES};
use forebay_core::source::meta;
use forebay_core::tables::{OWN_TABLES, table_name_fault};

/// Columns that the archive adds to those of a source.
const ARCHIVE_COLUMNS: [&str; 6] = [
    meta::TOPIC,
    meta::PARTITION,
    meta::OFFSET,
    meta::KAFKA_TIME,
    meta::INGEST_TIME,
    meta::LATE,
];
/// What the names of columns begin with that Forebay computes beside those of a definition.
const OWN_COLUMN_PREFIXES: [&str; 2] = ["_forebay", "_aggregate"];

/// Why `name` is none, to stand behind what it names; None where it is one.
pub(crate) fn fault(name: &str) -> Option<String> {
    let is_one = !name.is_empty() && name.len() <= NAME_MAX_BYTES && !name.starts_with('_');
    let words = format!(
        "\"{name}\" must have 1 to {NAME_MAX_BYTES} bytes and not begin with an underscore (those are Forebay's own)"
    );
    (!is_one).then_some(words)
}

/// The same of a source, by whose name the archive keeps a table.
pub(crate) fn source_fault(name: &str) -> Option<String> {
    if let Some(fault) = fault(name) {
        return Some(fault);
    }
    if OWN_TABLES.contains(&name) {
        return Some(format!(
            "\"{name}\" is a table that the archive has of its own; rename it"
        ));
    }
    let fault = table_name_fault(name)?;
    Some(format!("\"{name}\" names a table of the archive: {fault}"))
}

/// The same of a column that events, requests or keys bring. Their names are other people's, so an
/// underscore is no fault (`_id`); Delta compares names without case, so Forebay's own are refused
/// in any.
pub(crate) fn column_fault(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let own = ARCHIVE_COLUMNS.contains(&lower.as_str())
        || OWN_COLUMN_PREFIXES
            .iter()
            .any(|prefix| lower.starts_with(prefix));
    if own {
        return Some(format!("\"{name}\" is one of Forebay's own; rename it"));
    }
    let is_one = (1..=NAME_MAX_BYTES).contains(&name.len());
    (!is_one).then(|| format!("\"{name}\" must have 1 to {NAME_MAX_BYTES} bytes"))
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
    use forebay_core::limits::TABLE_NAME_MAX_BYTES;

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
    fn a_column_may_begin_with_an_underscore_where_it_is_none_of_forebays_own() {
        let longest = "n".repeat(NAME_MAX_BYTES);
        for name in ["_id", "__v", "_offsets", "interval", longest.as_str()] {
            assert_eq!(column_fault(name), None, "{name}");
        }
        for own in [
            "_offset",
            "_OFFSET",
            "_late",
            "_forebay_row",
            "_aggregate_1",
        ] {
            let words = column_fault(own).unwrap_or_default();
            assert!(words.contains("one of Forebay's own"), "{own}: {words}");
        }
        for none in ["", &format!("{longest}n")] {
            let words = column_fault(none).unwrap_or_default();
            assert!(words.contains("1 to 255 bytes"), "{none}: {words}");
        }
    }

    #[test]
    fn a_source_has_a_name_that_a_table_can_have() {
        let longest = "n".repeat(TABLE_NAME_MAX_BYTES);
        for name in ["orders", "Orders-2.x", longest.as_str()] {
            assert_eq!(source_fault(name), None, "{name}");
        }
        for (none, wanted) in [
            ("my orders", "use up to 128 letters"),
            ("b\u{e4}r", "use up to 128 letters"),
            (".x", "no dot in front"),
            (&format!("{longest}n"), "use up to 128 letters"),
            (
                "dead_letters",
                "a table that the archive has of its own; rename it",
            ),
            (
                "settlements",
                "a table that the archive has of its own; rename it",
            ),
            ("_x", "underscore"),
        ] {
            let words = source_fault(none).unwrap_or_default();
            assert!(words.contains(wanted), "{none}: {words}");
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
