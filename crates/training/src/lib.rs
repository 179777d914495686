//! Training sets and the proof that they equal what was served. Written against the ports alone:
//! values come from [`forebay_core::ports::PointInTime`] over the archive's tables, served ones
//! from [`forebay_core::ports::FeatureReader`] and from archived predictions.
//!
//! [`training_set`] builds a set and its [`manifest`], by which it can be built again at any time;
//! [`verify`] compares fresh reads, and [`predictions`] what predictions say they were given, with
//! values recomputed from the same applied offsets, bit for bit. [`witness`] holds the archive
//! against the log itself, which sees what both sides of that comparison lack. Nothing here
//! computes a feature itself: a second implementation would only verify itself.

pub mod digest;
pub mod error;
pub mod manifest;
pub mod predictions;
pub mod report;
pub mod training_set;
pub mod verdict;
pub mod verify;

mod bounded;
mod cell_errors;
mod recompute;
mod sample;
mod staged;
mod witness;

pub use error::TrainingError;
pub use manifest::{TableCut, TrainingManifest};
pub use report::{FeatureTally, Mismatch, Reason, VerifyReport};
pub use staged::{StagedSet, errors_path, manifest_path, read_manifest};
pub use training_set::{
    AnsweredRows, OnError, TrainingSetRequest, archive_tables, build_training_set,
};
pub use verdict::{UNVERIFIED_MAX_SHARE, failures};
pub use verify::{ArchiveFlush, Verifier, VerifyOptions};
pub use witness::{
    Finding, FindingKind, OwnTables, PartitionVerdict, SourceVerdict, WITNESS_RECORDS, Witness,
    WitnessReport, WitnessedSource,
};
