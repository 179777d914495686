//! The reader of features keeps what every implementation of its port promises.

use forebay_testkit::conformance::features;

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
