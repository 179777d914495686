//! The offline store: Delta tables in local directories, appended exactly once, readable by Spark,
//! DuckDB, Polars and delta-rs as they are. Owns deltalake and `object_store`; uses no DataFusion
//! (our own Parquet writer and the transaction layer do).
//!
//! Rows come from `pipeline` through [`forebay_core::ports::Archive`] and go out as streams of
//! batches through [`forebay_core::ports::TableScan`]; no path and no file leaves this crate. An
//! append walks: [`archive`] (which table) -> `marks` (what the log says) -> `rows` (drop, order)
//! -> `dating` (may the clock be believed) -> `file` (Parquet, checksum) -> [`durable`] (fsync) ->
//! one commit of the file and the marks. A scan walks: [`archive`] -> `scan` (which files, which
//! order) -> `parquet_file` (projected batches).
//!
//! [`compact`], `sweep` and [`scrub`] keep a table readable as it ages; the server calls them and
//! sets the pace.
//!
//! Nothing here decides what an event means, deletes a file that a table names, or takes "cannot
//! read" for "none". This is the only crate that opens Parquet; files of users come in through
//! [`user_files`].

pub mod archive;
pub mod compact;
pub mod dead_letter;
pub mod durable;
pub mod error;
pub mod scrub;
pub mod user_files;

mod append;
mod blocking;
mod checkpoint;
mod checkpoint_sum;
mod dating;
mod facts;
mod file;
mod log_files;
mod marks;
mod parquet_file;
mod rows;
mod scan;
mod schema;
mod statistics;
mod sums;
mod sweep;
mod table;

pub use archive::{ArchiveSettings, DeltaArchive, check_name};
pub use compact::Compacted;
pub use dead_letter::{StoredLetter, dead_letter_batch, dead_letter_schema, stored_letters};
pub use durable::DurableLocal;
pub use error::OfflineError;
pub use scrub::{Damage, Scrub, Scrubbed, TableSize};
pub use user_files::{ParquetFolder, ParquetRows, parquet_schema, read_parquet};
