//! The reader of features keeps what every implementation of its port promises. The suite is that
//! of `testkit`, taken in as a file: it uses nothing else of it.

#[path = "../../../testkit/src/conformance/features.rs"]
#[allow(unreachable_pub, reason = "testkit gives it to other crates too")]
mod features;

use crate::world::{NOON, reader, rows};

#[test]
fn the_reader_keeps_the_promises() {
    let (reader, _, _) = reader();
    let asked = features::AskedService {
        name: "delay",
        request: rows(&["JFK", "LGA", "nobody"]),
        at_us: NOON,
    };
    features::feature_reader(reader.as_ref(), &asked);
}
