//! Checksums of what a table's log says, beside those of its data files: of the facts that a scan
//! leaves a file out by, of the actions of one entry, how both are turned into bytes, and the tags
//! of an `add` action that have them. Without them one flipped bit in the log would hide a file, a
//! row or an offset, and nothing would differ that anybody compares. A change of a single bit never
//! escapes CRC-32C. Pure.
//!
//! # Bytes
//! A JSON value as text without blanks, the keys of each object in the order of their bytes. The
//! same facts have the same bytes however a writer ordered them.

use deltalake::kernel::{Action, Transaction};
use serde_json::{Value, json};

/// Tag of an `add` action: CRC-32C of the whole file, eight hex digits.
pub(crate) const CHECKSUM_TAG: &str = "forebay.crc32c";
/// Tag of an `add` action: CRC-32C of what a scan takes from the rest of it (`FileFacts::sum`),
/// eight hex digits.
pub(crate) const FACTS_TAG: &str = "forebay.facts";
/// Tag of an `add` action: the order of the file's rows.
pub(crate) const ORDER_TAG: &str = "forebay.order";
/// Value of [`ORDER_TAG`]: offsets ascend within each partition.
pub(crate) const ORDER_LOG: &str = "log";
/// Key of a commit's `commitInfo`: the checksum of the entry's other actions, and of whose commit
/// it is. Entries of other writers and of older builds have none and are believed as they are.
pub(crate) const ENTRY_SUM: &str = "forebay.crc32c";

/// How a checksum is written in a tag.
pub(crate) fn checksum_text(checksum: u32) -> String {
    format!("{checksum:08x}")
}

/// The checksum of `value`, as it is written.
pub(crate) fn sum_of(value: &Value) -> String {
    let mut bytes = Vec::new();
    canonical(value, &mut bytes);
    checksum_text(crc32c::crc32c(&bytes))
}

/// The checksum of an entry of ours: who committed it, which of its commits it is, and what it
/// does, in the order in which the log has it.
pub(crate) fn sum_of_entry<'a>(
    owner: &str,
    commit: &str,
    actions: impl Iterator<Item = &'a Value>,
) -> String {
    let actions: Vec<&Value> = actions.collect();
    sum_of(&json!({ "owner": owner, "commit": commit, "actions": actions }))
}

/// The same before it is committed: delta-rs writes the actions, and the transactions behind them.
pub(crate) fn sum_of_commit(
    owner: &str,
    commit: &str,
    actions: &[Action],
    transactions: &[Transaction],
) -> String {
    let transactions = transactions.iter().cloned().map(Action::Txn);
    let all: Vec<Value> = actions
        .iter()
        .cloned()
        .chain(transactions)
        .map(|action| serde_json::to_value(action).expect("the log has it as JSON"))
        .collect();
    sum_of_entry(owner, commit, all.iter())
}

fn canonical(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            bytes.push(b'{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    bytes.push(b',');
                }
                bytes.extend(Value::from(key.as_str()).to_string().as_bytes());
                bytes.push(b':');
                canonical(&fields[key], bytes);
            }
            bytes.push(b'}');
        }
        Value::Array(values) => {
            bytes.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    bytes.push(b',');
                }
                canonical(value, bytes);
            }
            bytes.push(b']');
        }
        other => bytes.extend(other.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_counts_for_nothing_and_that_of_actions_does() {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let one = parsed(r#"{"b": [1, null, "é\""], "a": {"y": true, "x": -2}}"#);
        let other = parsed(r#"{"a":{"x":-2,"y":true},"b":[1,null,"é\""]}"#);
        let mut bytes = Vec::new();
        canonical(&one, &mut bytes);
        assert_eq!(
            String::from_utf8(bytes).expect("UTF-8"),
            r#"{"a":{"x":-2,"y":true},"b":[1,null,"é\""]}"#
        );
        assert_eq!(sum_of(&one), sum_of(&other));
        let actions = [one, parsed("{}")];
        assert_ne!(
            sum_of_entry("a", "1", actions.iter()),
            sum_of_entry("a", "1", actions.iter().rev())
        );
    }

    #[test]
    fn golden_sums() {
        // Part of the format: CRC-32C, as another program computes it, of
        // {"actions":[{"txn":{"appId":"prod/t/x/0","version":7}}],"commit":"a-00000001","owner":"a"}
        let action = json!({ "txn": { "version": 7, "appId": "prod/t/x/0" } });
        let sum = sum_of_entry("a", "a-00000001", [&action].into_iter());
        assert_eq!(sum, "d0251d52");
    }

    #[test]
    fn what_is_committed_has_the_sum_of_what_the_log_then_says() {
        let transaction = Transaction::new_with_last_update("prod/t/x/0", 7, Some(5));
        let line = serde_json::to_string(&Action::Txn(transaction.clone())).expect("JSON");
        let action: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            sum_of_commit("a", "1", &[], &[transaction]),
            sum_of_entry("a", "1", [&action].into_iter())
        );
    }
}
