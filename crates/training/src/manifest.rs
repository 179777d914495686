//! The manifest of a training set: all that is needed to build the same rows again, years later.
//! The offset cut of each table is what binds; the Delta version is a cross-check while its files
//! last, the digests say whether it worked.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::applied::AppliedViews;
use forebay_core::ports::Known;
use forebay_core::progress::Applied;
use forebay_core::time::Micros;
use forebay_core::view::ServiceSpec;
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;

/// Version of the JSON shape.
pub(crate) const MANIFEST_FORMAT: u32 = 1;

/// How far one table was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableCut {
    /// Delta version; None for files that are no Delta table.
    pub delta_version: Option<i64>,
    /// Rows in the files that were named.
    pub rows: Option<u64>,
    /// Whether [`TrainingManifest::offsets`] limits it; false for files without offsets, which are
    /// read whole.
    pub cut: bool,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingManifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// Name of the training set.
    pub name: String,
    /// Feature service.
    pub service: String,
    /// Its version.
    pub service_version: u32,
    /// Fingerprint of names, types and definitions.
    pub fingerprint: String,
    /// Digest of each view's definition, by alias.
    pub views: BTreeMap<String, String>,
    /// Digest of the spine, all its columns.
    pub spine_digest: String,
    /// Column of the spine that says as of when.
    pub time_column: String,
    /// Tables read, by source.
    pub tables: BTreeMap<String, TableCut>,
    /// Next offset of each partition, by source: rows at or above it are not part of the set.
    pub offsets: AppliedViews,
    /// Name and version of what computed it.
    pub engine: String,
    /// Rows: those of the spine.
    pub rows: u64,
    /// Cells that are NULL because an expression failed on their row; the file of errors beside the
    /// set lists them.
    #[serde(default)]
    pub errors: u64,
    /// Events that a view left out and a row would have seen, by view, where there are any; up to
    /// [`forebay_core::limits::LEFT_OUT_MAX_ROWS`].
    #[serde(default)]
    pub left_out: BTreeMap<String, u64>,
    /// Digest of the output, all its columns.
    pub output_digest: String,
    /// Digest of the reference profile that was made from it, if one was.
    pub profile_digest: Option<String>,
    /// When it was built, microseconds since the epoch.
    pub built_at_us: Micros,
}

impl TrainingManifest {
    /// The manifest as JSON for people: indented, ending in a newline.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("text, numbers and maps with text keys are JSON");
        text.push('\n');
        text
    }

    /// Read a manifest.
    ///
    /// # Errors
    /// It is not one, or of another format.
    pub fn decode(text: &str) -> Result<Self, TrainingError> {
        let manifest: Self = serde_json::from_str(text).map_err(|e| {
            TrainingError::Invalid(format!("this is no training-set manifest: {e}"))
        })?;
        if manifest.format == MANIFEST_FORMAT {
            return Ok(manifest);
        }
        Err(TrainingError::Invalid(format!(
            "manifest format {} is not {MANIFEST_FORMAT}",
            manifest.format
        )))
    }

    /// What to pass as `known` to build a set of `rows` rows over any later version of the same
    /// tables, as they were when this one was built.
    ///
    /// # Errors
    /// The service reads a table that the manifest has no cut for: it has changed, or the set was
    /// built from plain files.
    pub fn known(&self, service: &ServiceSpec, rows: usize) -> Result<Known, TrainingError> {
        let mut cuts: Vec<Arc<Applied>> = Vec::new();
        let mut index = Vec::new();
        for (view, cut) in service.views.iter().zip(0_u32..) {
            let source = &view.view.source;
            let applied = self.offsets.get(source)?.ok_or_else(|| {
                TrainingError::Invalid(format!(
                    "training set `{}` has no offset cut for source `{source}`",
                    self.name
                ))
            })?;
            index.push(vec![cut; rows]);
            cuts.push(Arc::new(applied));
        }
        Ok(Known::Applied { cuts, index })
    }
}
