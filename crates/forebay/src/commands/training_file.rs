//! The file of a training set as `forebay profile` reads it: again and again, a few columns and
//! some thousand rows at a time, those before a moment alone. The score of each row is all that is
//! held of it, beside what the profile itself holds of one column.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::{Context, Result, anyhow, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::PortResult;
use forebay_core::cast::conform;
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::time::{Micros, timestamp_type};
use forebay_infer::ModelVersion;
use forebay_monitor::{TrainingBatches, TrainingRows};
use forebay_offline::{parquet_schema, read_parquet};

use crate::exit::port_error;

/// The rows of a training set that are profiled.
#[derive(Debug)]
pub(super) struct TrainingFile<'a> {
    path: &'a Path,
    schema: SchemaRef,
    time_column: &'a str,
    until_us: Option<Micros>,
}

impl<'a> TrainingFile<'a> {
    /// The rows of the file at `path` whose `time_column` is before `until_us`.
    ///
    /// # Errors
    /// No Parquet, or it has no such column.
    pub(super) fn open(
        path: &'a Path,
        time_column: &'a str,
        until_us: Option<Micros>,
    ) -> Result<Self> {
        let schema = parquet_schema(path)?;
        let file = Self {
            path,
            schema,
            time_column,
            until_us,
        };
        let known = || {
            let names = file.schema.fields().iter().map(|f| f.name().as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        ensure!(
            file.schema.column_with_name(time_column).is_some(),
            "{} has no column '{time_column}'; give --time-column, it has {}",
            file.object(),
            known()
        );
        Ok(file)
    }

    /// What error texts call it.
    pub(super) fn object(&self) -> String {
        format!("training set {}", self.path.display())
    }

    /// How many rows it has, and how many of them are profiled.
    ///
    /// # Errors
    /// It cannot be read, or has rows without a time.
    pub(super) fn count(&self) -> Result<(usize, usize)> {
        let (mut all, mut kept) = (0, 0);
        for batch in self.batches(&[])? {
            let batch = batch?;
            all += batch.num_rows();
            kept += self.before(&batch)?.num_rows();
        }
        Ok((all, kept))
    }

    /// The scores of its `rows` rows; reserved from `memory`.
    ///
    /// # Errors
    /// It cannot be read, lacks a feature, or its scores do not fit into memory.
    pub(super) fn scored(
        self,
        model: &ModelVersion,
        rows: usize,
        memory: &Arc<Budget>,
    ) -> Result<ScoredFile<'a>> {
        let bytes = rows.saturating_mul(size_of::<f32>());
        let held = memory.reserve(Part::PointInTime, bytes)?;
        let features = model.manifest().features.iter();
        let features: Vec<&str> = features.map(|feature| feature.name.as_str()).collect();
        let threads = available_parallelism().map_or(1, usize::from);
        let mut scores = Vec::with_capacity(rows);
        for batch in self.batches(&features)? {
            let batch = self.before(&batch?)?;
            ensure!(
                scores.len() + batch.num_rows() <= rows,
                "{} changed while it was read; try again",
                self.object()
            );
            scores.extend(model.score(&batch, threads)?.score);
        }
        let mut score_column = String::from("_score");
        while self.schema.column_with_name(&score_column).is_some() {
            score_column.insert(0, '_');
        }
        Ok(ScoredFile {
            file: self,
            scores,
            score_column,
            _held: held,
        })
    }

    /// Its rows with these of its columns and the time, whenever they are.
    fn batches(
        &self,
        columns: &[&str],
    ) -> PortResult<impl Iterator<Item = PortResult<RecordBatch>> + use<>> {
        let mut wanted: Vec<String> = columns.iter().map(ToString::to_string).collect();
        if !columns.contains(&self.time_column) {
            wanted.push(self.time_column.to_owned());
        }
        read_parquet(self.path, Some(&wanted))
    }

    /// The rows before the moment, with the time in microseconds UTC.
    fn before(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let (object, time_column) = (self.object(), self.time_column);
        let index = rows.schema().index_of(time_column)?;
        let times = conform(rows.column(index), &timestamp_type()).map_err(|misfit| {
            anyhow!("column '{time_column}' of {object} is no timestamp{misfit}")
        })?;
        let values = times.as_primitive::<TimestampMicrosecondType>();
        ensure!(
            values.null_count() == 0,
            "column '{time_column}' of {object} has NULLs"
        );
        let keep: BooleanArray = values
            .values()
            .iter()
            .map(|at| Some(self.until_us.is_none_or(|until| *at < until)))
            .collect();
        let rows = replace_column(rows, index, time_column, times)?;
        Ok(arrow_select::filter::filter_record_batch(&rows, &keep)?)
    }
}

/// The same with the model's score of each row as a further column.
#[derive(Debug)]
pub(super) struct ScoredFile<'a> {
    file: TrainingFile<'a>,
    /// In the order of the rows.
    scores: Vec<f32>,
    score_column: String,
    _held: Reservation,
}

impl ScoredFile<'_> {
    /// The name of that column, which the file has not.
    pub(super) fn score_column(&self) -> &str {
        &self.score_column
    }

    /// `rows`, the profiled ones of a batch whose first one is the row `first`, with their scores.
    fn with_scores(&self, rows: &RecordBatch, first: usize) -> Result<RecordBatch> {
        let scores = self.scores.get(first..first + rows.num_rows());
        let scores = scores.with_context(|| {
            format!(
                "{} changed while it was read; try again",
                self.file.object()
            )
        })?;
        let scores = scores.iter().copied().map(f64::from);
        let mut fields: Vec<_> = rows.schema().fields().iter().map(Arc::clone).collect();
        let mut columns = rows.columns().to_vec();
        let field = Field::new(&self.score_column, DataType::Float64, false);
        fields.push(Arc::new(field));
        columns.push(Arc::new(Float64Array::from_iter_values(scores)));
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

impl TrainingRows for ScoredFile<'_> {
    fn batches(&self, columns: &[&str]) -> PortResult<TrainingBatches<'_>> {
        let mut first = 0;
        let rows = self.file.batches(columns)?.map(move |batch| {
            let rows = self.file.before(&batch?).map_err(|e| port_error(&e))?;
            let scored = self.with_scores(&rows, first);
            first += rows.num_rows();
            scored.map_err(|e| port_error(&e))
        });
        Ok(Box::new(rows))
    }
}

fn replace_column(
    rows: &RecordBatch,
    index: usize,
    name: &str,
    column: ArrayRef,
) -> Result<RecordBatch> {
    let mut fields: Vec<_> = rows.schema().fields().iter().map(Arc::clone).collect();
    let mut columns = rows.columns().to_vec();
    fields[index] = Arc::new(Field::new(name, column.data_type().clone(), true));
    columns[index] = column;
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, TimestampMillisecondArray};
    use forebay_core::time::DAY_US;
    use forebay_monitor::{CalibrationWindows, build_profile_of};

    use super::*;
    use crate::commands::tests::{golden_rows, written};

    #[test]
    fn rows_before_a_moment_keep_their_order_and_get_utc_microseconds() -> Result<()> {
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
        let at = TimestampMillisecondArray::from_iter_values([3_000, 1_000, 2_000, 4_000]);
        let at: ArrayRef = Arc::new(at);
        let folder = tempfile::tempdir()?;
        let path = written(
            &folder,
            &RecordBatch::try_from_iter([("n", n), ("at", at)])?,
        )?;
        let file = TrainingFile::open(&path, "at", Some(3_000_000))?;
        assert_eq!(file.count()?, (4, 2));
        let batches = file.batches(&["n"])?.collect::<Result<Vec<_>, _>>()?;
        let kept = file.before(&batches[0])?;
        assert_eq!(kept.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
        assert_eq!(kept.column(1).data_type(), &timestamp_type());
        assert_eq!(TrainingFile::open(&path, "at", None)?.count()?, (4, 4));
        let error = TrainingFile::open(&path, "event_time", None).expect_err("no such column");
        assert!(error.to_string().contains("it has n, at"), "{error}");
        Ok(())
    }

    #[test]
    fn a_file_of_many_batches_has_the_profile_of_its_rows_in_memory() -> Result<()> {
        let version = Path::new(env!("CARGO_MANIFEST_DIR"));
        let version = version.join("../../tests/golden/infer/logistic/1");
        let rows = golden_rows(&version, 1)?.num_rows();
        let all = golden_rows(&version, 20_000_usize.div_ceil(rows))?;
        let kept = all.num_rows() - 100;
        let until_us = kept as i64 * 2 * forebay_core::time::HOUR_US;
        let folder = tempfile::tempdir()?;
        let path = written(&folder, &all)?;
        let model = ModelVersion::load(&version)?;
        let features = model.manifest().features.iter();
        let features: Vec<&str> = features.map(|feature| feature.name.as_str()).collect();
        let calibration = Some(CalibrationWindows {
            time_column: "event_time",
            window_us: 30 * DAY_US,
            min_rows: 100,
        });

        // Held: the scores, and the values of one column.
        let enough = Budget::whole(kept * (size_of::<f32>() + size_of::<f64>()) + (1 << 20));
        let file = TrainingFile::open(&path, "event_time", Some(until_us))?;
        assert!(file.batches(&[])?.count() > 2, "it is read in parts");
        assert_eq!(file.count()?, (all.num_rows(), kept));
        let scored = file.scored(&model, kept, &enough)?;
        let score = Some(scored.score_column());
        let built = build_profile_of("q1", &scored, &features, score, calibration, &enough)?;
        drop(scored);
        assert_eq!(enough.used_bytes(Part::PointInTime), 0, "nothing leaks");

        let whole = all.slice(0, kept);
        let scores = model.score(&whole, 1)?.score.into_iter().map(f64::from);
        let scores: ArrayRef = Arc::new(Float64Array::from_iter_values(scores));
        let fields = whole
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect::<Vec<_>>();
        let columns = fields
            .into_iter()
            .zip(whole.columns().iter().map(Arc::clone));
        let whole = RecordBatch::try_from_iter_with_nullable(
            columns
                .chain([("_score".to_owned(), scores)])
                .map(|(name, array)| (name, array, true)),
        )?;
        let (whole, all) = ([whole], Budget::whole(usize::MAX));
        let (rows, score) = (&whole.as_slice(), Some("_score"));
        let expected = build_profile_of("q1", rows, &features, score, calibration, &all)?;
        assert!(
            expected
                .columns
                .iter()
                .any(|column| column.calibration.len() > 20)
        );
        assert_eq!(built.to_json()?, expected.to_json()?);

        let little = Budget::whole(kept * size_of::<f32>() - 1);
        let file = TrainingFile::open(&path, "event_time", Some(until_us))?;
        let error = file.scored(&model, kept, &little).expect_err("too little");
        assert!(error.to_string().contains("memory.limit_mib"), "{error}");
        Ok(())
    }
}
