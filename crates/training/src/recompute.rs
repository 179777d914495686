//! Values of request rows from the archive, each row as of the offsets that its answer had applied.
//! Shared by both verifications: collects the distinct vectors, refuses rows whose vector the
//! archive has not reached, asks the engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow_schema::{Field, Schema};
use arrow_select::take::take_record_batch;
use forebay_core::cells::CellFault;
use forebay_core::invariant;
use forebay_core::ports::{Archive, Known, PointInTime, TableSnapshot};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::view::ServiceSpec;

use crate::bounded::Bounded;
use crate::error::TrainingError;
use crate::report::Reason;

/// Column of the spine that holds the instants; no SQL name begins like it.
const TIME_COLUMN: &str = "forebay_as_of";

/// Distinct vectors of applied offsets, and which one each view of each row had.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    cuts: Vec<Arc<Applied>>,
    known: HashMap<Vec<(String, i32, i64)>, u32>,
    /// For each view, for each row.
    index: Vec<Vec<u32>>,
}

impl Cuts {
    /// For a service with `views` views.
    pub(crate) fn new(views: usize) -> Self {
        Self {
            index: vec![Vec::new(); views],
            ..Self::default()
        }
    }

    /// The number of `applied` among the vectors.
    pub(crate) fn intern(&mut self, applied: &Arc<Applied>) -> u32 {
        let key = applied
            .0
            .iter()
            .map(|(p, at)| (p.topic.to_string(), p.partition, at.next_offset))
            .collect();
        let next = u32::try_from(self.cuts.len()).expect("no more vectors than rows and views");
        let number = *self.known.entry(key).or_insert_with(|| {
            self.cuts.push(Arc::clone(applied));
            next
        });
        invariant!(
            CutsDistinct,
            self.cuts.len() == self.known.len(),
            "{} vectors under {} keys",
            self.cuts.len(),
            self.known.len()
        );
        number
    }

    /// Add a row: for each view the number of its vector.
    pub(crate) fn push(&mut self, row: &[u32]) {
        invariant!(
            CutPerView,
            row.len() == self.index.len(),
            "{} cuts for {} views",
            row.len(),
            self.index.len()
        );
        self.index
            .iter_mut()
            .zip(row)
            .for_each(|(view, cut)| view.push(*cut));
    }

    /// The vectors of `rows` alone.
    fn known(&self, rows: &[u32]) -> Known {
        let of_view = |view: &Vec<u32>| rows.iter().map(|row| view[*row as usize]).collect();
        let index: Vec<Vec<u32>> = self.index.iter().map(of_view).collect();
        let mut named = index.iter().flatten();
        invariant!(
            CutIsThere,
            named.all(|cut| (*cut as usize) < self.cuts.len()),
            "one beyond {} cuts",
            self.cuts.len()
        );
        Known::Applied {
            cuts: self.cuts.clone(),
            index,
        }
    }
}

/// Snapshots of the tables that a service reads.
#[derive(Debug)]
pub(crate) struct Tables<'a> {
    archive: &'a dyn Archive,
    snapshots: BTreeMap<String, TableSnapshot>,
}

impl<'a> Tables<'a> {
    /// Take snapshots of all of them.
    pub(crate) async fn of(
        service: &ServiceSpec,
        archive: &'a dyn Archive,
    ) -> Result<Self, TrainingError> {
        let mut snapshots = BTreeMap::new();
        for source in source_names(service) {
            let snapshot = archive.snapshot(&source).await?;
            snapshots.insert(source, snapshot);
        }
        Ok(Self { archive, snapshots })
    }

    /// The snapshot of one source.
    pub(crate) fn get(&self, source: &str) -> Option<&TableSnapshot> {
        self.snapshots.get(source)
    }

    /// The tables as the snapshots cover them.
    fn bounded(&self) -> Bounded<'_> {
        let cut = |(name, s): (&String, &TableSnapshot)| (name.clone(), s.applied.clone());
        Bounded {
            tables: self.archive,
            below: self.snapshots.iter().map(cut).collect(),
        }
    }

    /// Why the table of `source` does not hold all that `cut` says was applied of its topic; None
    /// where it does.
    fn lacks(&self, source: &SourceDef, cut: &Applied) -> Option<Reason> {
        let table = self.get(&source.name);
        let of_source = |place: &TopicPartition| *place.topic == *source.topic;
        let mut applied = cut.0.iter().filter(|(place, _)| of_source(place));
        // Where in its past the missing records lie, nobody knows.
        let is_cut = |place: &TopicPartition, at: &PartitionProgress| {
            at.next_offset > 0 && table.is_some_and(|t| t.beginnings.cut.contains_key(place))
        };
        if applied.clone().any(|(place, at)| is_cut(place, at)) {
            return Some(Reason::ArchiveCut);
        }
        let reached = |place| table.map_or(0, |table| table.applied.next_offset(place));
        let is_behind = applied.any(|(place, at)| at.next_offset > reached(place));
        is_behind.then_some(Reason::ArchiveBehind)
    }
}

/// Names of the sources that a service's views read.
pub(crate) fn source_names(service: &ServiceSpec) -> BTreeSet<String> {
    service
        .views
        .iter()
        .map(|v| v.view.source.clone())
        .collect()
}

/// For each row why the archive does not have all that its views had applied; None where it has.
pub(crate) fn reached(
    service: &ServiceSpec,
    sources: &BTreeMap<String, Arc<SourceDef>>,
    tables: &Tables<'_>,
    cuts: &Cuts,
    rows: usize,
) -> Result<Vec<Option<Reason>>, TrainingError> {
    let mut all = vec![None; rows];
    for (view, index) in service.views.iter().zip(&cuts.index) {
        let source = sources.get(&view.view.source).ok_or_else(|| {
            TrainingError::Invalid(format!(
                "source `{}` is not in the catalog",
                view.view.source
            ))
        })?;
        let lacks = cuts.cuts.iter().map(|cut| tables.lacks(source, cut));
        let lacks: Vec<Option<Reason>> = lacks.collect();
        // Of two reasons the one that no flush mends.
        all.iter_mut()
            .zip(index)
            .for_each(|(row, cut)| *row = (*row).max(lacks[*cut as usize]));
    }
    Ok(all)
}

/// What was recomputed: the service's features, and the cells of them that failed.
#[derive(Debug)]
pub(crate) struct Recomputed {
    pub(crate) features: RecordBatch,
    pub(crate) faults: Vec<CellFault>,
}

/// What to recompute.
#[derive(Debug)]
pub(crate) struct Recompute<'a> {
    pub(crate) service: &'a ServiceSpec,
    pub(crate) request: &'a RecordBatch,
    pub(crate) at_us: &'a [Micros],
    pub(crate) cuts: &'a Cuts,
}

impl Recompute<'_> {
    /// The features of `rows`, in their order, as of their own offsets.
    pub(crate) async fn as_applied(
        &self,
        engine: &dyn PointInTime,
        tables: &Tables<'_>,
        rows: &[u32],
    ) -> Result<Recomputed, TrainingError> {
        self.ask(engine, tables, rows, self.cuts.known(rows)).await
    }

    /// The same over all that the archive holds.
    pub(crate) async fn as_known_now(
        &self,
        engine: &dyn PointInTime,
        tables: &Tables<'_>,
        rows: &[u32],
    ) -> Result<Recomputed, TrainingError> {
        self.ask(engine, tables, rows, Known::All).await
    }

    async fn ask(
        &self,
        engine: &dyn PointInTime,
        tables: &Tables<'_>,
        rows: &[u32],
        known: Known,
    ) -> Result<Recomputed, TrainingError> {
        invariant!(
            InstantPerRow,
            self.at_us.len() == self.request.num_rows(),
            "{} instants for {} rows",
            self.at_us.len(),
            self.request.num_rows()
        );
        let request = pick(self.request, rows)?;
        let times: TimestampMicrosecondArray = rows
            .iter()
            .map(|row| Some(self.at_us[*row as usize]))
            .collect();
        let mut fields: Vec<Arc<Field>> = request.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(TIME_COLUMN, timestamp_type(), false)));
        let mut columns: Vec<ArrayRef> = request.columns().to_vec();
        columns.push(Arc::new(times.with_timezone("UTC")));
        let spine = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(TrainingError::arrow("make the spine"))?;
        let width = spine.num_columns();
        let answer = engine
            .training_set(
                &self.service.name,
                spine,
                TIME_COLUMN,
                &tables.bounded(),
                known,
            )
            .await?;
        let (answer, faults) = (answer.rows, answer.faults);
        if answer.num_rows() != rows.len() {
            return Err(TrainingError::Answer(format!(
                "{} rows for {}",
                answer.num_rows(),
                rows.len()
            )));
        }
        Ok(Recomputed {
            features: features(self.service, &answer, width)?,
            faults,
        })
    }
}

/// The features of an answer: its columns behind the `spine` columns, or, for a feature that is a
/// request column passed through, that column.
fn features(
    service: &ServiceSpec,
    answer: &RecordBatch,
    spine: usize,
) -> Result<RecordBatch, TrainingError> {
    let schema = answer.schema();
    let position = |name: &str| {
        let named = |index: &usize| schema.field(*index).name() == name;
        (spine..answer.num_columns())
            .find(named)
            .or_else(|| (0..spine.min(answer.num_columns())).find(named))
    };
    let indices = service.features.iter().map(|feature| {
        position(&feature.name)
            .ok_or_else(|| TrainingError::Answer(format!("it lacks feature `{}`", feature.name)))
    });
    let indices = indices.collect::<Result<Vec<usize>, _>>()?;
    answer
        .project(&indices)
        .map_err(TrainingError::arrow("take the features"))
}

/// These rows of a batch.
pub(crate) fn pick(batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch, TrainingError> {
    if batch.num_columns() == 0 {
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        return RecordBatch::try_new_with_options(batch.schema(), Vec::new(), &options)
            .map_err(TrainingError::arrow("pick rows"));
    }
    take_record_batch(batch, &UInt32Array::from(rows.to_vec()))
        .map_err(TrainingError::arrow("pick rows"))
}

/// Rows sorted into those that can be verified and the reasons of the others, each once.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) verifiable: Vec<u32>,
    pub(crate) refused: BTreeMap<Reason, u64>,
}

impl Sorted {
    pub(crate) fn refuse(&mut self, reason: Reason) {
        *self.refused.entry(reason).or_default() += 1;
    }

    /// All of `rows` are sorted.
    pub(crate) fn check(&self, rows: usize) {
        let refused: u64 = self.refused.values().sum();
        let sorted = self.verifiable.len() as u64 + refused;
        invariant!(
            CountsAddUp,
            sorted == rows as u64,
            "{sorted} of {rows} rows are sorted"
        );
    }
}
