//! The server as `pyarrow.flight` sees it (`tests/python/read_features.py`), a client that nobody
//! here wrote. `FOREBAY_PYTHON` names the interpreter (`scripts/test` sets it); one without it
//! skips the test, loudly, and fails it under CI.

use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::world::{NOON, World};

/// The interpreter; None, said aloud, where it has no `pyarrow.flight`.
fn python() -> Option<String> {
    let python = std::env::var("FOREBAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let usable = Command::new(&python)
        .args(["-c", "import pyarrow.flight"])
        .output();
    if usable.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must test with pyarrow.flight, which {python} lacks: run with FOREBAY_PYTHON=\"$(scripts/python)\""
    );
    // Past the test runner's capture, so that it is seen.
    writeln!(
        std::io::stderr(),
        "skipped: pyarrow: {python} has no pyarrow.flight (FOREBAY_PYTHON=\"$(scripts/python)\")"
    )
    .expect("stderr");
    None
}

fn script(python: &str, address: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/read_features.py");
    let output = Command::new(python)
        .arg(script)
        .arg(address)
        .output()
        .expect("started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[tokio::test]
async fn pyarrow_reads_pushes_and_asks() {
    let Some(python) = python() else { return };
    let world = World::start();
    let address = world.server.local_addr().to_string();
    let found = tokio::task::spawn_blocking(move || script(&python, &address))
        .await
        .expect("no panic");
    let row = |count: Value,
               sum: Value,
               carriers: Value,
               twice: Value,
               label: &str,
               status: u8,
               of_carrier: u8| {
        json!({"t_count": count, "t_sum": sum, "c_count": carriers, "twice_distance": twice, "label": label,
            "t__status": status, "c__status": of_carrier})
    };
    let rows = json!([
        row(json!(2), json!(6.5), json!(1), json!(3.0), "from JFK", 1, 1),
        row(
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            "from XXX",
            3,
            3
        ),
    ]);
    assert_eq!(found["get"], rows);
    assert_eq!(found["as_of_us"], NOON.to_string());
    assert_eq!(found["flights"], json!([["delay"]]));
    assert_eq!(
        found["columns"],
        json!(["t_count", "t_sum", "c_count", "twice_distance", "label"])
    );
    assert_eq!(
        (&found["endpoint"], &found["schema"]),
        (&json!(true), &json!(true))
    );
    let exchange = json!([
        [0, "OK", [2, null]],
        [1, "OK", [1, null]],
        [2, "OK", [1, null]],
        [3, "INVALID_ARGUMENT", []],
        [4, "OK", []],
    ]);
    assert_eq!(found["exchange"], exchange);
    assert_eq!(
        found["actions"],
        json!(["health", "services", "echo", "big", "refuse", "panic"])
    );
    assert_eq!(found["echo"], "hello");
    assert_eq!(found["pushed"], json!([4, "OK", 1, 1]));
    let words = found["refused"][1].as_str().expect("a text");
    assert!(words.contains("known services: delay"), "{words}");
}
