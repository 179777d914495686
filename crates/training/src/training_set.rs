//! Builds a training set: snapshots of the tables, one pass of the engine over the spine, digests,
//! manifest; writes both so that a build that fails leaves nothing that looks finished.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use forebay_core::PortResult;
use forebay_core::applied::AppliedViews;
use forebay_core::limits::SPINE_MAX_ROWS;
use forebay_core::ports::{Archive, Known, PointInTime, TableScan};
use forebay_core::progress::Applied;
use forebay_core::time::Micros;
use forebay_core::view::ServiceSpec;

use crate::bounded::Bounded;
use crate::digest::table_digest;
use crate::error::TrainingError;
use crate::manifest::{MANIFEST_FORMAT, TableCut, TrainingManifest};
use crate::recompute::source_names;

/// What is known of a table that a training set reads.
#[derive(Debug, Clone, Default)]
pub struct TrainingTable {
    /// Delta version and rows, if it is a snapshot of the archive.
    pub version: Option<(i64, u64)>,
    /// Offsets that it covers; None for plain files.
    pub applied: Option<Applied>,
}

/// What to build.
#[derive(Debug)]
pub struct TrainingSetRequest<'a> {
    /// Name of the set.
    pub name: &'a str,
    /// The service.
    pub service: &'a ServiceSpec,
    /// One row out for each of its rows, in its order.
    pub spine: RecordBatch,
    /// Its column that says as of when.
    pub time_column: &'a str,
    /// Where the tables of the service's sources are read.
    pub tables: &'a dyn TableScan,
    /// What is known of each of them; it is read up to the offsets that it covers.
    pub cuts: BTreeMap<String, TrainingTable>,
    /// What each row may see; [`Known::All`] unless a manifest is rebuilt.
    pub known: Known,
    /// Name and version of the engine.
    pub engine: &'a str,
    /// Now.
    pub now_us: Micros,
}

/// A training set in memory.
#[derive(Debug, Clone)]
pub struct TrainingSet {
    /// Spine columns, then features.
    pub rows: RecordBatch,
    /// Its manifest.
    pub manifest: TrainingManifest,
}

/// Snapshots of the tables that `service` reads.
///
/// # Errors
/// A table is missing, cannot be read, or took the place of a lost one.
pub async fn archive_tables(
    archive: &dyn Archive,
    service: &ServiceSpec,
) -> Result<BTreeMap<String, TrainingTable>, TrainingError> {
    let mut tables = BTreeMap::new();
    for source in source_names(service) {
        let snapshot = archive.snapshot(&source).await?;
        if let Some(partition) = snapshot.beginnings.cut.first() {
            return Err(TrainingError::TableCut {
                from: snapshot.beginnings.from.next_offset(partition),
                partition: partition.clone(),
                table: source,
            });
        }
        let table = TrainingTable {
            version: Some((snapshot.version, snapshot.rows)),
            applied: Some(snapshot.applied),
        };
        tables.insert(source, table);
    }
    Ok(tables)
}

/// Build it. Over snapshots of the archive the manifest's cut is what they cover, which is all that
/// was read.
///
/// # Errors
/// A spine above [`SPINE_MAX_ROWS`], what [`PointInTime::training_set`] refuses, an answer of
/// another length.
pub async fn build_training_set(
    engine: &dyn PointInTime,
    request: TrainingSetRequest<'_>,
) -> Result<TrainingSet, TrainingError> {
    let TrainingSetRequest {
        name,
        service,
        spine,
        time_column,
        tables,
        cuts,
        known,
        engine: engine_name,
        now_us,
    } = request;
    if spine.num_rows() > SPINE_MAX_ROWS {
        return Err(TrainingError::Invalid(format!(
            "a spine has at most {SPINE_MAX_ROWS} rows (SPINE_MAX_ROWS)"
        )));
    }
    let spine_rows = spine.num_rows();
    let spine_digest = table_digest(&spine)?;
    let offsets = cut_of(service, &cuts, &known);
    let covered =
        |(name, table): (&String, &TrainingTable)| Some((name.clone(), table.applied.clone()?));
    let bounded = Bounded {
        tables,
        below: cuts.iter().filter_map(covered).collect(),
    };
    let rows = engine
        .training_set(&service.name, spine, time_column, &bounded, known)
        .await?;
    if rows.num_rows() != spine_rows {
        return Err(TrainingError::Answer(format!(
            "{} rows for a spine of {spine_rows}",
            rows.num_rows()
        )));
    }
    let cut = |table: &TrainingTable| TableCut {
        delta_version: table.version.map(|(version, _)| version),
        rows: table.version.map(|(_, rows)| rows),
        cut: table.applied.is_some(),
    };
    let manifest = TrainingManifest {
        format: MANIFEST_FORMAT,
        name: name.to_owned(),
        service: service.name.clone(),
        service_version: service.version,
        fingerprint: service.fingerprint.clone(),
        views: service
            .views
            .iter()
            .map(|v| (v.alias.clone(), v.view.digest.clone()))
            .collect(),
        spine_digest,
        time_column: time_column.to_owned(),
        tables: cuts
            .iter()
            .map(|(name, table)| (name.clone(), cut(table)))
            .collect(),
        offsets,
        engine: engine_name.to_owned(),
        rows: rows.num_rows() as u64,
        output_digest: table_digest(&rows)?,
        profile_digest: None,
        built_at_us: now_us,
    };
    Ok(TrainingSet { rows, manifest })
}

/// The offsets that bound the set, by source: of a rebuild those that it was asked for, else what
/// the tables cover.
fn cut_of(
    service: &ServiceSpec,
    tables: &BTreeMap<String, TrainingTable>,
    known: &Known,
) -> AppliedViews {
    let mut offsets = AppliedViews::default();
    for (name, table) in tables {
        if let Some(applied) = &table.applied {
            offsets.insert(name, applied);
        }
    }
    if let Known::Applied { cuts, index } = known {
        for (view, rows) in service.views.iter().zip(index) {
            if let Some(cut) = rows.first().and_then(|cut| cuts.get(*cut as usize)) {
                offsets.insert(&view.view.source, cut);
            }
        }
    }
    offsets
}

/// Where the manifest of the set at `path` lies.
#[must_use]
pub fn manifest_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".manifest.json");
    PathBuf::from(name)
}

/// Writes rows to an open file; the binary hands over the one writer of Parquet.
pub type WriteRows = fn(&mut File, &RecordBatch) -> PortResult<()>;

/// Write the set to `path` by `write` and its manifest beside it. Each file appears whole or not at
/// all, the manifest last: a set without one is not finished.
///
/// # Errors
/// The disk fails.
pub fn write_training_set(
    path: &Path,
    set: &TrainingSet,
    write: WriteRows,
) -> Result<(), TrainingError> {
    publish(path, |file| {
        write(file, &set.rows).map_err(|e| TrainingError::file("write", path, e))
    })?;
    let manifest = manifest_path(path);
    publish(&manifest, |file| {
        file.write_all(set.manifest.encode().as_bytes())
            .map_err(|e| TrainingError::file("write", &manifest, e))
    })
}

/// The manifest of the set at `path`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn read_manifest(path: &Path) -> Result<TrainingManifest, TrainingError> {
    let manifest = manifest_path(path);
    let text =
        fs::read_to_string(&manifest).map_err(|e| TrainingError::file("read", &manifest, e))?;
    TrainingManifest::decode(&text)
}

fn publish(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), TrainingError>,
) -> Result<(), TrainingError> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".unfinished");
    let staged = PathBuf::from(staged);
    let failed = |e| TrainingError::file("write", path, e);
    let mut file = File::create(&staged).map_err(failed)?;
    let filled = fill(&mut file).and_then(|()| file.sync_all().map_err(failed));
    if let Err(error) = filled {
        if let Err(error) = fs::remove_file(&staged) {
            tracing::warn!(path = %staged.display(), %error, "an unfinished file stays behind");
        }
        return Err(error);
    }
    fs::rename(&staged, path).map_err(failed)
}
