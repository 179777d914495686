//! The online store: feature state in RocksDB, one atomic batch per shard and epoch, and the values
//! of views read from it at any permitted instant. Implements `core`'s `OnlineStore`; the only
//! crate that knows RocksDB.
//!
//! Write: `store` -> `shard` -> `commit`: rows of fold batches (`fold`) go into the time trees of
//! their keys (`insert`, `tree`, whose leaves are the tiles of `rows`), changed tiles into one
//! batch (`format`, `database`), then the new states are published (`table`). Read: `store` ->
//! `find` -> `window`: merge tiles, or copy the last finished row while it is valid. What memory
//! has no room for is on disk alone (`stub`) and read when it is needed (`load`). `expiry` removes
//! what no read can see, `presence_expiry` the keys that nothing is left of; `history` resolves
//! epochs to offsets; `queue` keeps pending scores and the outbox. A view whose records are damaged
//! is set `aside` alone.
//!
//! Readers never see what RocksDB has not got. Nothing here plans, decodes, routes or reads a wall
//! clock.

mod answers;
mod aside;
mod closing;
mod commit;
mod damage;
mod database;
mod draft;
mod error;
mod expiry;
mod find;
mod floor;
mod fold;
mod format;
mod fresh;
mod heal;
mod history;
mod insert;
mod key_state;
mod load;
mod marks;
mod notes;
mod options;
mod presence_expiry;
mod progress;
mod queue;
mod rocks_options;
mod room;
mod rows;
mod shard;
mod slots;
mod span;
mod stats;
mod store;
mod stub;
mod sweep;
mod table;
#[cfg(test)]
mod testing;
mod tree;
mod view;
mod window;
mod work;
mod writer;

pub use error::{OnlineError, OnlineResult};
pub use options::{OPEN_FILES_MIN, OnlineOptions};
pub use rows::{TileBytes, tile_bytes};
pub use stats::{RocksStats, StoreStats, ViewStats};
pub use store::RocksStore;
