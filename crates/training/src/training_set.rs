//! Builds a training set: snapshots of the tables, the spine as a stream of which the engine
//! answers some rows at a time, digests, manifest. Rows leave as they are answered, and a build
//! that fails leaves nothing that looks finished. No spine and no set is whole in memory.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_select::concat::concat_batches;
use forebay_core::applied::AppliedViews;
use forebay_core::fault::LeftOutRows;
use forebay_core::invariant;
use forebay_core::limits::SPINE_CHUNK_ROWS;
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::{Archive, Known, PointInTime, SpineAnswer, TableScan};
use forebay_core::progress::Applied;
use forebay_core::time::Micros;
use forebay_core::view::ServiceSpec;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::bounded::Bounded;
use crate::cell_errors;
use crate::digest::TableDigest;
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

/// Rows of a spine below which a part that does not fit into memory is not cut again.
const PART_MIN_ROWS: usize = 1_024;

/// The rows of a spine: at least one batch, which may be empty, so that its columns are known. It
/// is read as the batches are taken.
pub type SpineBatches<'a> = Box<dyn Iterator<Item = PortResult<RecordBatch>> + Send + 'a>;

/// Some rows of a set.
#[derive(Debug)]
pub struct AnsweredRows {
    /// The rows.
    pub rows: RecordBatch,
    /// Their cells that are NULL because an expression failed, a row for each (`cell_errors`).
    pub errors: RecordBatch,
}

/// Takes the rows of a set, in the order of its spine; the first may be none, for their columns.
pub type TakeRows<'a> = dyn FnMut(&AnsweredRows) -> PortResult<()> + Send + 'a;

/// What a cell without a value makes of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is NULL, and told of.
    Null,
    /// There is no set.
    Fail,
}

/// What to build.
pub struct TrainingSetRequest<'a> {
    /// Name of the set.
    pub name: &'a str,
    /// The service.
    pub service: &'a ServiceSpec,
    /// One row out for each of its rows, in its order.
    pub spine: SpineBatches<'a>,
    /// Its column that says as of when.
    pub time_column: &'a str,
    /// Where the tables of the service's sources are read.
    pub tables: &'a dyn TableScan,
    /// What is known of each of them; it is read up to the offsets that it covers.
    pub cuts: BTreeMap<String, TrainingTable>,
    /// The set that is built again, over the offsets that it was built over.
    pub again: Option<&'a TrainingManifest>,
    /// What a cell without a value makes of it.
    pub on_error: OnError,
    /// What the rows that are answered at a time draw on.
    pub memory: &'a Arc<Budget>,
    /// Name and version of the engine.
    pub engine: &'a str,
    /// Now.
    pub now_us: Micros,
}

impl std::fmt::Debug for TrainingSetRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainingSetRequest")
            .field("name", &self.name)
            .field("service", &self.service.name)
            .finish_non_exhaustive()
    }
}

/// Snapshots of the tables that `service` reads.
///
/// # Errors
/// A table is missing, cannot be read, or lacks what the state had applied.
pub async fn archive_tables(
    archive: &dyn Archive,
    service: &ServiceSpec,
) -> Result<BTreeMap<String, TrainingTable>, TrainingError> {
    let mut tables = BTreeMap::new();
    for source in source_names(service) {
        let snapshot = archive.snapshot(&source).await?;
        if let Some((place, offset)) = snapshot.beginnings.cut.first_key_value() {
            let (partition, table) = (place.clone(), source);
            return Err(if snapshot.beginnings.is_cut_by_gap(place) {
                let below = *offset;
                TrainingError::TableGap {
                    table,
                    partition,
                    below,
                }
            } else {
                let from = *offset;
                TrainingError::TableCut {
                    table,
                    partition,
                    from,
                }
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

/// Build it and hand its rows to `take`. Over snapshots of the archive the manifest's cut is what
/// they cover, which is all that was read.
///
/// # Errors
/// What [`PointInTime::training_set`] refuses, an answer of another length, what `take` says.
pub async fn build_training_set(
    engine: &dyn PointInTime,
    request: TrainingSetRequest<'_>,
    take: &mut TakeRows<'_>,
) -> Result<TrainingManifest, TrainingError> {
    let TrainingSetRequest {
        name,
        service,
        spine,
        time_column,
        tables,
        cuts,
        again,
        on_error,
        memory,
        engine: engine_name,
        now_us,
    } = request;
    let covered =
        |(name, table): (&String, &TrainingTable)| Some((name.clone(), table.applied.clone()?));
    let bounded = Bounded {
        tables,
        below: cuts.iter().filter_map(covered).collect(),
    };
    let asked = Asked {
        engine,
        service,
        time_column,
        tables: &bounded,
        again,
        on_error,
    };
    let digests = asked.answer(Parts::of(spine, memory), take).await?;
    let cut = |table: &TrainingTable| TableCut {
        delta_version: table.version.map(|(version, _)| version),
        rows: table.version.map(|(_, rows)| rows),
        cut: table.applied.is_some(),
    };
    Ok(TrainingManifest {
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
        spine_digest: digests.spine,
        time_column: time_column.to_owned(),
        tables: cuts
            .iter()
            .map(|(name, table)| (name.clone(), cut(table)))
            .collect(),
        offsets: cut_of(service, &cuts, again)?,
        engine: engine_name.to_owned(),
        rows: digests.rows,
        errors: digests.errors,
        left_out: left_out_of(service, &digests.left_out),
        output_digest: digests.output,
        profile_digest: None,
        built_at_us: now_us,
    })
}

/// What every part of a spine is asked of.
struct Asked<'a> {
    engine: &'a dyn PointInTime,
    service: &'a ServiceSpec,
    time_column: &'a str,
    tables: &'a Bounded<'a>,
    again: Option<&'a TrainingManifest>,
    on_error: OnError,
}

/// What a spine and its answers came to.
struct Digests {
    spine: String,
    output: String,
    rows: u64,
    errors: u64,
    /// For each view what it leaves out.
    left_out: Vec<LeftOutRows>,
}

impl Asked<'_> {
    /// Answer one part of a spine after the other.
    async fn answer(
        &self,
        spine: Parts<'_>,
        take: &mut TakeRows<'_>,
    ) -> Result<Digests, TrainingError> {
        let mut digests: Option<(TableDigest, TableDigest)> = None;
        let (mut asked, mut rows, mut errors) = (0, 0, 0);
        let mut left_out = vec![LeftOutRows::default(); self.service.views.len()];
        for part in spine {
            let (part, _held) = part?;
            asked += part.num_rows() as u64;
            // What is still to be answered of it, the next rows last.
            let mut parts = vec![part];
            while let Some(part) = parts.pop() {
                let answer = match self.answer_part(&part).await {
                    Err(error) if is_short(&error) && part.num_rows() > PART_MIN_ROWS => {
                        let half = part.num_rows() / 2;
                        parts.push(part.slice(half, part.num_rows() - half));
                        parts.push(part.slice(0, half));
                        continue;
                    }
                    answer => answer?,
                };
                let (of_spine, of_rows) = digests.get_or_insert_with(|| {
                    (
                        TableDigest::new(part.schema()),
                        TableDigest::new(answer.rows.schema()),
                    )
                });
                of_spine.update(&part)?;
                of_rows.update(&answer.rows)?;
                left_out
                    .iter_mut()
                    .zip(&answer.left_out)
                    .for_each(|(all, more)| all.extend(more));
                let answered = self.told(&part, answer, rows)?;
                rows += answered.rows.num_rows() as u64;
                errors += answered.errors.num_rows() as u64;
                take(&answered)?;
            }
            invariant!(
                RowPerSpineRow,
                rows == asked,
                "{rows} rows for a spine of {asked} by now"
            );
        }
        let (spine, output) = digests.ok_or_else(|| {
            TrainingError::Invalid("the spine has no batch, so no columns".to_owned())
        })?;
        Ok(Digests {
            spine: spine.finish(),
            output: output.finish(),
            rows,
            errors,
            left_out,
        })
    }

    /// `answer` to `part`, whose first row is number `first` of the set.
    fn told(
        &self,
        part: &RecordBatch,
        answer: SpineAnswer,
        first: u64,
    ) -> Result<AnsweredRows, TrainingError> {
        let (spine, faults) = ((part, self.time_column), &answer.faults);
        let errors = cell_errors::told(self.service, spine, faults, first)?;
        let first = faults.iter().min_by_key(|fault| (fault.row, fault.column));
        if let (Some(first), OnError::Fail) = (first, self.on_error) {
            let feature = self.service.features[first.column].name.clone();
            let text = |name: &str| {
                let texts = errors.column_by_name(name)?.as_string_opt::<i32>()?;
                Some(texts.value(0).to_owned())
            };
            return Err(TrainingError::Cell {
                service: self.service.name.clone(),
                feature,
                key: text("key").unwrap_or_default(),
                why: first.to_string(),
            });
        }
        Ok(AnsweredRows {
            rows: answer.rows,
            errors,
        })
    }

    async fn answer_part(&self, part: &RecordBatch) -> Result<SpineAnswer, TrainingError> {
        let rows = part.num_rows();
        let known = match self.again {
            Some(manifest) => manifest.known(self.service, rows)?,
            None => Known::All,
        };
        let asked = (&self.service.name, self.time_column);
        let answer = self
            .engine
            .training_set(asked.0, part.clone(), asked.1, self.tables, known)
            .await?;
        if answer.rows.num_rows() == rows {
            return Ok(answer);
        }
        Err(TrainingError::Answer(format!(
            "{} rows for a spine of {rows}",
            answer.rows.num_rows()
        )))
    }
}

/// How many events each view leaves out, where there are any.
fn left_out_of(service: &ServiceSpec, left_out: &[LeftOutRows]) -> BTreeMap<String, u64> {
    let mut of_view: BTreeMap<&str, LeftOutRows> = BTreeMap::new();
    for (binding, rows) in service.views.iter().zip(left_out) {
        // A service may read a view more than once.
        of_view.entry(&binding.view.name).or_default().extend(rows);
    }
    let counted = of_view.into_iter().filter(|(_, rows)| rows.count() > 0);
    counted
        .map(|(view, rows)| (view.to_owned(), rows.count() as u64))
        .collect()
}

/// Whether fewer rows at once may do.
fn is_short(error: &TrainingError) -> bool {
    matches!(error, TrainingError::Port(port) if port.kind() == ErrorKind::ResourceExhausted)
}

/// A spine's batches, joined until they have [`SPINE_CHUNK_ROWS`] rows or memory is short: each
/// part reads the tables once.
struct Parts<'a> {
    batches: Peekable<SpineBatches<'a>>,
    memory: &'a Arc<Budget>,
}

impl<'a> Parts<'a> {
    fn of(spine: SpineBatches<'a>, memory: &'a Arc<Budget>) -> Self {
        Self {
            batches: spine.peekable(),
            memory,
        }
    }

    /// The next part and what it holds; None: there is no further row.
    fn part(&mut self) -> Result<Option<(RecordBatch, Reservation)>, TrainingError> {
        let Some(first) = self.batches.next().transpose()? else {
            return Ok(None);
        };
        let held = self.memory.reserve(Part::PointInTime, bytes_of(&first));
        let mut held = held.map_err(PortError::from)?;
        let (schema, mut rows, mut joined) = (first.schema(), first.num_rows(), vec![first]);
        let mut has_room = |batch: &PortResult<RecordBatch>| match batch {
            Ok(batch) => {
                rows += batch.num_rows();
                rows <= SPINE_CHUNK_ROWS && held.grow(bytes_of(batch)).is_ok()
            }
            Err(_) => true,
        };
        while let Some(batch) = self.batches.next_if(&mut has_room) {
            joined.push(batch?);
        }
        let batches = joined.len();
        let joined = concat_batches(&schema, &joined)
            .map_err(TrainingError::arrow("join rows of the spine"))?;
        invariant!(
            BudgetKept,
            batches == 1 || joined.num_rows() <= SPINE_CHUNK_ROWS,
            "{batches} batches of {} rows in one part",
            joined.num_rows()
        );
        Ok(Some((joined, held)))
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<(RecordBatch, Reservation), TrainingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.part().transpose()
    }
}

/// What the rows hold, and once more while they are joined.
fn bytes_of(batch: &RecordBatch) -> usize {
    batch.get_array_memory_size().saturating_mul(2)
}

/// The offsets that bound the set, by source: of a rebuild those that it was built over, else what
/// the tables cover.
fn cut_of(
    service: &ServiceSpec,
    tables: &BTreeMap<String, TrainingTable>,
    again: Option<&TrainingManifest>,
) -> Result<AppliedViews, TrainingError> {
    let mut offsets = AppliedViews::default();
    for (name, table) in tables {
        if let Some(applied) = &table.applied {
            offsets.insert(name, applied);
        }
    }
    for source in again.map(|_| source_names(service)).unwrap_or_default() {
        if let Some(applied) = again.map(|m| m.offsets.get(&source)).transpose()?.flatten() {
            offsets.insert(&source, &applied);
        }
    }
    Ok(offsets)
}
