//! What the engine tells of how a view is computed, with what the online store adds: the bytes that
//! an event and a tile take. The one place that knows both; used by the server's answers and by
//! those over a folder.

use forebay_engine::{Answer, Catalog};
use forebay_online::tile_bytes;
use serde_json::json;

/// `answer`, which `catalog` gave; of a view that is explained with the bytes of its tiles.
pub(crate) fn with_tiles(catalog: &Catalog, mut answer: Answer) -> Answer {
    let explained = match answer.facts.first() {
        Some((fact, name)) if fact == "view" => name.as_str(),
        _ => None,
    };
    let view = explained.and_then(|name| catalog.views().get(name));
    // A type that tiles do not hold is refused when the view is registered.
    if let Some(Ok(bytes)) = view.map(|view| tile_bytes(view.spec())) {
        let added = [
            ("event_bytes_most", bytes.row_bits.div_ceil(8)),
            ("tile_bytes_beside", bytes.beside),
            ("tile_events_most", bytes.rows_most),
        ];
        let added = added.map(|(name, value)| (name.to_owned(), json!(value)));
        answer.facts.extend(added);
    }
    answer
}
