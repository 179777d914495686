//! The offline store: Delta tables in local directories, appended exactly once, readable by Spark,
//! DuckDB, Polars and delta-rs as they are. Owns deltalake and `object_store`; uses no DataFusion
//! (our own Parquet writer and the transaction layer do).
//!
//! Rows come from `pipeline` through [`forebay_core::ports::Archive`]; files and offsets go to
//! `engine` and `training` as a [`forebay_core::ports::TableSnapshot`]. An append walks:
//! [`archive`] (which table) -> `marks` (what the log says) -> `rows` (drop, sort) -> `file`
//! (Parquet, checksum) -> [`durable`] (fsync) -> one commit of the file and the marks.
//!
//! Nothing here decides what an event means, deletes a file that a table names, or takes "cannot
//! read" for "none".
//!
//! Compaction (not here yet) needs: a k-way merge by the table's order, `remove` + `add` with
//! `dataChange = false`, the same tags, and row counts and offsets compared before the commit.

pub mod archive;
pub mod dead_letter;
pub mod durable;
pub mod error;
pub mod sweep;

mod append;
mod checkpoint;
mod file;
mod marks;
mod rows;
mod schema;
mod statistics;
mod table;

pub use archive::{ArchiveSettings, DeltaArchive};
pub use dead_letter::{dead_letter_batch, dead_letter_schema};
pub use durable::DurableLocal;
pub use error::OfflineError;
pub use sweep::Damage;
