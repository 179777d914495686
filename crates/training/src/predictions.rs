//! Verification of archived predictions: each record holds the features as the model saw them and
//! the offsets that they had applied, so they can be recomputed at any later time. This is the
//! training-serving skew of production itself: a difference is a defect, whenever it is found.
//!
//! Predictions are drawn by a hash of their id, so that a replay draws the same ones, and repeats
//! count once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StructArray};
use arrow_select::concat::concat_batches;
use forebay_core::applied::AppliedViews;
use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::limits::VERIFY_MAX_ROWS;
use forebay_core::ports::{Scan, TableScan};
use forebay_core::prediction::column;
use forebay_core::progress::Applied;
use forebay_core::value::Value;
use forebay_core::view::ServiceSpec;
use futures::TryStreamExt;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::TrainingError;
use crate::recompute::{Cuts, Recompute, Sorted, Tables, pick, reached};
use crate::report::{Reason, Side, VerifyReport};
use crate::verify::{Verifier, key_of};

/// What a verification reads of a prediction.
const COLUMNS: [&str; 7] = [
    column::PREDICTION_ID,
    column::SERVICE,
    column::SERVICE_VERSION,
    column::AS_OF,
    column::REQUEST,
    column::FEATURES,
    column::APPLIED,
];

impl Verifier {
    /// Verify up to `sample` predictions of `service` in the archive table `table`. With
    /// `known_now`, also count the rows whose values would be others with the late events that came
    /// since.
    ///
    /// # Errors
    /// Unknown service or table, a table that holds no predictions, a port that fails. Values that
    /// differ are in the report.
    pub async fn verify_predictions(
        &self,
        table: &str,
        service: &str,
        sample: usize,
        known_now: bool,
    ) -> Result<VerifyReport, TrainingError> {
        if sample == 0 || sample > VERIFY_MAX_ROWS {
            return Err(TrainingError::Invalid(format!(
                "a sample has 1 to {VERIFY_MAX_ROWS} rows (VERIFY_MAX_ROWS)"
            )));
        }
        let spec = Arc::clone(self.reader.service(service)?.spec());
        let drawn = draw(self.archive.as_ref(), table, &spec.name, sample).await?;
        let mut report = VerifyReport {
            service: spec.name.clone(),
            service_version: spec.version,
            ..VerifyReport::default()
        };
        if known_now {
            report.late = Some(0);
        }
        let Some(drawn) = drawn else {
            return Ok(report);
        };
        let predictions = Predictions::of(&drawn, &spec)?;
        self.check_predictions(&spec, &predictions, known_now, &mut report)
            .await?;
        Ok(report)
    }

    async fn check_predictions(
        &self,
        spec: &ServiceSpec,
        predictions: &Predictions,
        known_now: bool,
        report: &mut VerifyReport,
    ) -> Result<(), TrainingError> {
        let (cuts, verdicts) = predictions.cuts(spec);
        let mut tables = Tables::of(spec, self.archive.as_ref()).await?;
        let mut covered = reached(spec, &self.sources, &tables, &cuts, verdicts.len())?;
        if covered.contains(&Some(Reason::ArchiveBehind))
            && let Some(flush) = &self.flush
        {
            flush.flush().await?;
            tables = Tables::of(spec, self.archive.as_ref()).await?;
            covered = reached(spec, &self.sources, &tables, &cuts, verdicts.len())?;
        }
        let mut sorted = Sorted::default();
        for (row, verdict) in verdicts.iter().enumerate() {
            match verdict.or(covered[row]) {
                Some(reason) => sorted.refuse(reason),
                None => sorted.verifiable.push(RowIndex::at(row).number()),
            }
        }
        sorted.check(verdicts.len());
        for (reason, rows) in &sorted.refused {
            report.not_verifiable(*reason, *rows);
        }
        if sorted.verifiable.is_empty() {
            return Ok(());
        }
        let rows = &sorted.verifiable;
        let recompute = Recompute {
            service: spec,
            request: &predictions.request,
            at_us: &predictions.as_of_us,
            cuts: &cuts,
        };
        let served = pick(&predictions.features, rows)?;
        let recomputed = recompute
            .as_applied(self.engine.as_ref(), &tables, rows)
            .await?;
        let at_us: Vec<_> = rows
            .iter()
            .map(|row| predictions.as_of_us[*row as usize])
            .collect();
        // A prediction says of a NULL not why it is one.
        let side = |features| Side {
            features,
            faults: &[],
        };
        let sides = (side(&served), side(&recomputed.features));
        report.compare(sides.0, sides.1, &at_us, |row| {
            predictions.key(rows[row] as usize)
        })?;
        if known_now {
            let now = recompute
                .as_known_now(self.engine.as_ref(), &tables, rows)
                .await?;
            report.compare_late(&served, &now.features)?;
        }
        Ok(())
    }
}

/// Predictions as columns.
struct Predictions {
    ids: StringArray,
    version: Vec<i32>,
    as_of_us: Vec<i64>,
    request: RecordBatch,
    features: RecordBatch,
    applied: StringArray,
}

impl Predictions {
    /// The request columns and features are those of `spec`, in its order; one that an older
    /// version lacked is NULL here, and its rows are refused for their version.
    fn of(rows: &RecordBatch, spec: &ServiceSpec) -> Result<Self, TrainingError> {
        let shape = |record: &RecordBatch, columns: &[forebay_core::source::Column]| {
            let fields = columns
                .iter()
                .map(|c| arrow_schema::Field::new(&c.name, c.data_type.clone(), true));
            let schema = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
            let of_type = |c: &forebay_core::source::Column| {
                let found = record
                    .column_by_name(&c.name)
                    .filter(|found| found.data_type() == &c.data_type);
                found.map_or_else(
                    || arrow_array::new_null_array(&c.data_type, record.num_rows()),
                    Arc::clone,
                )
            };
            let arrays: Vec<ArrayRef> = columns.iter().map(of_type).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(record.num_rows()));
            RecordBatch::try_new_with_options(schema, arrays, &options)
                .map_err(TrainingError::arrow("read predictions"))
        };
        let request = unnest(required(rows, column::REQUEST)?.as_struct())?;
        let features = unnest(required(rows, column::FEATURES)?.as_struct())?;
        Ok(Self {
            ids: required(rows, column::PREDICTION_ID)?
                .as_string::<i32>()
                .clone(),
            version: required(rows, column::SERVICE_VERSION)?
                .as_primitive::<Int32Type>()
                .values()
                .to_vec(),
            as_of_us: required(rows, column::AS_OF)?
                .as_primitive::<TimestampMicrosecondType>()
                .values()
                .to_vec(),
            request: shape(&request, &spec.request)?,
            features: shape(&features, &spec.features)?,
            applied: required(rows, column::APPLIED)?.as_string::<i32>().clone(),
        })
    }

    /// The offsets of every prediction, and why one cannot be verified.
    fn cuts(&self, spec: &ServiceSpec) -> (Cuts, Vec<Option<Reason>>) {
        let mut cuts = Cuts::new(spec.views.len());
        let nothing = cuts.intern(&Arc::new(Applied::default()));
        // Predictions of one batch share their text.
        let mut texts: BTreeMap<&str, Result<Vec<u32>, Reason>> = BTreeMap::new();
        let mut verdicts = Vec::with_capacity(self.version.len());
        for (row, version) in self.version.iter().enumerate() {
            let text = self.applied.value(row);
            let numbers = texts
                .entry(text)
                .or_insert_with(|| offsets(spec, text, &mut cuts));
            let other_version =
                u32::try_from(*version).is_ok_and(|version| version != spec.version);
            match numbers {
                Ok(numbers) => cuts.push(numbers),
                Err(_) => cuts.push(&vec![nothing; spec.views.len()]),
            }
            verdicts.push(if other_version {
                Some(Reason::OtherVersion)
            } else {
                numbers.as_ref().err().copied()
            });
        }
        (cuts, verdicts)
    }

    fn key(&self, row: usize) -> Result<Vec<(String, Value)>, TrainingError> {
        let mut key = vec![(
            column::PREDICTION_ID.to_owned(),
            Value::Text(self.ids.value(row).into()),
        )];
        key.extend(key_of(&self.request, row)?);
        Ok(key)
    }
}

/// The children of a struct column as a batch.
fn unnest(column: &StructArray) -> Result<RecordBatch, TrainingError> {
    let schema = Arc::new(arrow_schema::Schema::new(column.fields().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(column.len()));
    RecordBatch::try_new_with_options(schema, column.columns().to_vec(), &options)
        .map_err(TrainingError::arrow("unpack a record"))
}

/// For each view the number of the vector that `text` says it had applied.
fn offsets(spec: &ServiceSpec, text: &str, cuts: &mut Cuts) -> Result<Vec<u32>, Reason> {
    let views = AppliedViews::decode(text).map_err(|_| Reason::OffsetsUnreadable)?;
    let number = |alias: &str| match views.get(alias) {
        Ok(Some(applied)) => Ok(cuts.intern(&Arc::new(applied))),
        Ok(None) => Err(Reason::EpochForgotten),
        Err(_) => Err(Reason::OffsetsUnreadable),
    };
    spec.views
        .iter()
        .map(|view| view.alias.as_str())
        .map(number)
        .collect()
}

fn required<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, TrainingError> {
    rows.column_by_name(name).ok_or_else(|| {
        TrainingError::Invalid(format!(
            "the table holds no predictions: it has no column `{name}`"
        ))
    })
}

/// The `sample` predictions of `service` in `table` whose ids hash lowest, each id once; None where
/// there is none.
async fn draw(
    tables: &dyn TableScan,
    table: &str,
    service: &str,
    sample: usize,
) -> Result<Option<RecordBatch>, TrainingError> {
    let mut lowest = Lowest {
        sample,
        rows: BTreeMap::new(),
    };
    let mut rows = tables.scan(table, Scan::columns(COLUMNS)).await?;
    while let Some(batch) = rows.try_next().await? {
        for name in COLUMNS {
            required(&batch, name)?;
        }
        lowest.add(&batch, service)?;
    }
    let rows: Vec<RecordBatch> = lowest.rows.into_values().collect();
    let Some(schema) = rows.first().map(RecordBatch::schema) else {
        return Ok(None);
    };
    concat_batches(&schema, &rows)
        .map(Some)
        .map_err(TrainingError::arrow("join predictions"))
}

/// The rows with the lowest hashes so far, each copied out of its batch, so that memory holds no
/// more than the sample.
struct Lowest {
    sample: usize,
    rows: BTreeMap<(u64, String), RecordBatch>,
}

impl Lowest {
    fn add(&mut self, batch: &RecordBatch, service: &str) -> Result<(), TrainingError> {
        let ids = required(batch, column::PREDICTION_ID)?.as_string::<i32>();
        let services = required(batch, column::SERVICE)?.as_string::<i32>();
        for row in (0..batch.num_rows()).filter(|row| services.value(*row) == service) {
            let key = (
                xxh3_64(ids.value(row).as_bytes()),
                ids.value(row).to_owned(),
            );
            let full = self.rows.len() >= self.sample;
            if full
                && self
                    .rows
                    .last_key_value()
                    .is_some_and(|(greatest, _)| *greatest <= key)
            {
                continue;
            }
            if let std::collections::btree_map::Entry::Vacant(entry) = self.rows.entry(key) {
                entry.insert(pick(batch, &[RowIndex::at(row).number()])?);
                if full {
                    self.rows.pop_last();
                }
                invariant!(
                    BudgetKept,
                    self.rows.len() <= self.sample,
                    "{} rows for a sample of {}",
                    self.rows.len(),
                    self.sample
                );
            }
        }
        Ok(())
    }
}
