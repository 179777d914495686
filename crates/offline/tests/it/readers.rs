//! The table as others read it: delta-rs for Python and DuckDB (`tests/python/read_archive.py`).
//! `FOREBAY_PYTHON` names the interpreter (`scripts/test` sets it); one without both skips the
//! test, loudly, and fails it under CI.

use std::io::Write;
use std::process::Command;

use forebay_core::ports::Archive;
use serde_json::Value;

use crate::support::{TABLE, batch, open, range, row_at, schema, up_to};

/// The interpreter; None, said aloud, where it has not what the script imports.
pub(crate) fn python() -> Option<String> {
    let python = std::env::var("FOREBAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let usable = Command::new(&python)
        .args(["-c", "import deltalake, duckdb, pyarrow"])
        .output();
    if usable.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must test with deltalake, duckdb and pyarrow, which {python} lacks: run with \
        FOREBAY_PYTHON=\"$(scripts/python)\""
    );
    // Past the test runner's capture, so that it is seen.
    writeln!(
        std::io::stderr(),
        "skipped: readers: {python} has no deltalake, duckdb and pyarrow (FOREBAY_PYTHON=\"$(scripts/python)\")"
    )
    .expect("stderr");
    None
}

#[tokio::test]
async fn python_and_duckdb_read_what_was_appended() {
    let Some(python) = python() else { return };
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    for (from, to) in [(0, 7), (7, 20)] {
        archive
            .append(TABLE, vec![batch(&range(0, from, to))], &up_to(&[(0, to)]))
            .await
            .expect("appended");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/read_archive.py");
    let output = Command::new(&python)
        .arg(script)
        .arg(root.path().join(TABLE))
        .output()
        .expect("started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let answers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), 2, "{text}");
    for answer in answers {
        let expected: Vec<Value> = (0..20)
            .map(|offset| match row_at(0, offset).delay_bits {
                None => Value::Null,
                Some(bits) => Value::from(
                    bits.to_le_bytes()
                        .iter()
                        .map(|b| format!("{b:02x}"))
                        .collect::<String>(),
                ),
            })
            .collect();
        let found = answer["delay_bits"].as_array().expect("a list");
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            // Python's struct and DuckDB may quiet a signalling NaN on the way; it stays a NaN.
            let nan = |v: &Value| {
                v.as_str().is_some_and(|hex| {
                    hex.ends_with("f07f") && !hex.starts_with("000000000000")
                        || hex.ends_with("f87f")
                })
            };
            assert!(
                found == expected || (nan(found) && nan(expected)),
                "row {row}: {found} and not {expected}"
            );
        }
        assert_eq!(answer["offsets"].as_array().expect("a list").len(), 20);
        assert_eq!(answer["labels"][13], "o13");
    }
}
