//! What is compiled is run before it is taken: on no row, on a row of NULLs and on a row of
//! defaults, so that what can never work, or works on other types than it promises, is refused with
//! its statement and not found by ingest. `build` calls it for everything that it compiles; rows of
//! the archive are tried by the binary (`crate::catalog::trial`).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, TimestampMicrosecondArray, new_empty_array, new_null_array,
};
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use forebay_core::cells::Cells;
use forebay_core::ports::{CompiledLabel, CompiledService, CompiledView};
use forebay_core::source::SourceDef;
use forebay_core::value::{Value, array_from_values};
use forebay_core::{PortError, PortResult};

use crate::view::View;

/// What a column holds on which something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    /// There is no row.
    Nothing,
    /// NULL. Event times are not; two of them tell what fails for its time from what always fails.
    Null,
    /// 0, false, the empty text, 1970.
    Default,
}

/// Two moments that have no part in common.
const TIMES_US: [i64; 2] = [1_372_681_930_123_456, 1_546_398_671_654_321];

/// What failed, with its row.
type Fault = (u32, String);

const SAMPLES: [Sample; 3] = [Sample::Nothing, Sample::Null, Sample::Default];

impl Sample {
    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "no rows",
            Self::Null => "a row of NULLs",
            Self::Default => "a row of defaults (0, false, '', 1970-01-01)",
        }
    }

    fn rows(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Null => TIMES_US.len(),
            Self::Default => 1,
        }
    }

    fn times(self) -> TimestampMicrosecondArray {
        let times = match self {
            Self::Nothing => Vec::new(),
            Self::Null => TIMES_US.to_vec(),
            Self::Default => vec![0],
        };
        TimestampMicrosecondArray::from(times).with_timezone("UTC")
    }

    fn column(self, data_type: &DataType) -> ArrayRef {
        match (self, data_type) {
            (Self::Nothing, _) => new_empty_array(data_type),
            (Self::Null, _) => new_null_array(data_type, self.rows()),
            (_, DataType::Boolean) => Arc::new(BooleanArray::from(vec![false])),
            (_, DataType::Int32) => Arc::new(Int32Array::from(vec![0])),
            (_, DataType::Int64) => Arc::new(Int64Array::from(vec![0])),
            (_, DataType::Float64) => Arc::new(Float64Array::from(vec![0.0])),
            (_, DataType::Utf8) => Arc::new(StringArray::from(vec![""])),
            (_, DataType::Date32) => Arc::new(Date32Array::from(vec![0])),
            (_, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                let epoch = TimestampMicrosecondArray::from(vec![0]);
                Arc::new(epoch.with_data_type(data_type.clone()))
            }
            (_, DataType::List(_)) => {
                let empty = Value::List(Arc::from([]));
                let column = array_from_values(data_type, std::iter::once(&empty));
                column.unwrap_or_else(|_| new_null_array(data_type, 1))
            }
            // A structure has no default of its own.
            _ => new_null_array(data_type, 1),
        }
    }

    /// Rows of `schema`; column `time` holds event times.
    fn batch(self, schema: &SchemaRef, time: Option<usize>) -> PortResult<RecordBatch> {
        let columns = schema.fields().iter().enumerate().map(|(index, field)| {
            if time == Some(index) {
                return Arc::new(self.times()) as ArrayRef;
            }
            self.column(field.data_type())
        });
        let fields = schema.fields().iter();
        let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows()));
        RecordBatch::try_new_with_options(Arc::new(schema), columns.collect(), &options)
            .map_err(|e| PortError::internal(format!("{}: {e}", self.words())))
    }

    fn cells(self, schema: &Schema) -> Cells {
        let columns = schema.fields().iter();
        let columns = columns.map(|field| self.column(field.data_type()));
        columns.collect::<Vec<_>>().into()
    }
}

/// What is said of something that was tried.
#[derive(Debug, Default)]
pub(in crate::catalog) struct Proof {
    /// Why it is refused.
    pub(in crate::catalog) refused: Option<String>,
    /// What it cannot do on a row of defaults.
    pub(in crate::catalog) warnings: Vec<String>,
}

impl Proof {
    fn of(tried: impl Fn(Sample) -> PortResult<Vec<Fault>>) -> Self {
        let mut proof = Self::default();
        for sample in SAMPLES {
            let words = sample.words();
            match tried(sample) {
                Err(error) => {
                    proof.refused = Some(format!("it cannot be run on {words}: {error}"));
                    return proof;
                }
                Ok(faults) if sample == Sample::Default => {
                    let faults: BTreeSet<String> = faults.into_iter().map(|it| it.1).collect();
                    let warning = |fault| format!("on {words}: {fault}");
                    proof.warnings.extend(faults.into_iter().map(warning));
                }
                Ok(faults) => {
                    let always = |(row, fault): &&Fault| {
                        let again = |other: &Fault| other.0 != *row && other.1 == *fault;
                        faults.iter().any(again)
                    };
                    if let Some((_, fault)) = faults.iter().find(always) {
                        proof.refused = Some(format!("it has no value on {words}: {fault}"));
                        return proof;
                    }
                }
            }
        }
        proof
    }

    /// Of a view.
    pub(in crate::catalog) fn of_view(view: &View) -> Self {
        Self::of(|sample| {
            let source: &SourceDef = view.source();
            let rows = sample.batch(&source.schema(), Some(source.time_column))?;
            let folded = view.fold(&rows)?;
            let left_out = folded.left_out.iter();
            let mut faults: Vec<Fault> = left_out.map(|f| (f.row, f.to_string())).collect();
            let spec = view.spec();
            let keys = spec.key.iter();
            let keys = keys.map(|key| sample.column(&key.data_type));
            let keys: Vec<ArrayRef> = keys.collect();
            let aggregates = spec.aggregates.iter();
            let aggregates = aggregates.map(|a| sample.column(&a.data_type));
            let aggregates = Cells::from(aggregates.collect::<Vec<_>>());
            let finished = view.finish(&keys, &sample.times(), &aggregates)?;
            well_typed(&finished, &view.features())?;
            faults.extend(failed(&finished));
            Ok(faults)
        })
    }

    /// Of a service.
    pub(in crate::catalog) fn of_service(
        service: &dyn CompiledService,
        request: &SchemaRef,
    ) -> Self {
        Self::of(|sample| {
            let request = sample.batch(request, None)?;
            let views = service.views().iter();
            let views = views.map(|view| sample.cells(&view.features()));
            let finished = service.finish(&request, &sample.times(), &views.collect::<Vec<_>>())?;
            Ok(failed(&finished).collect())
        })
    }

    /// Of a monitor's label over rows of `source`.
    pub(in crate::catalog) fn of_label(label: &dyn CompiledLabel, source: &SourceDef) -> Self {
        Self::of(|sample| {
            let rows = sample.batch(&source.schema(), Some(source.time_column))?;
            match label.evaluate(&rows) {
                // The only error of a row of defaults is the row's.
                Err(error) if sample == Sample::Default => Ok(vec![(0, error.to_string())]),
                evaluated => evaluated.map(|_| Vec::new()),
            }
        })
    }
}

fn failed(cells: &Cells) -> impl Iterator<Item = Fault> {
    cells
        .faults
        .iter()
        .map(|fault| (fault.row, fault.to_string()))
}

/// Features are of the types that the view promises.
fn well_typed(cells: &Cells, promised: &Schema) -> PortResult<()> {
    let types = cells.columns.iter().map(|column| column.data_type());
    if types.eq(promised.fields().iter().map(|field| field.data_type())) {
        return Ok(());
    }
    Err(PortError::internal("its features are not of their types"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fails_is_told_and_faults_on_defaults_are_warnings() {
        let proof = Proof::of(|_| Ok(Vec::new()));
        assert!(proof.refused.is_none() && proof.warnings.is_empty());
        let broken = Proof::of(|sample| match sample {
            Sample::Nothing => Ok(Vec::new()),
            _ => Err(PortError::invalid("no zone")),
        });
        let words = "it cannot be run on a row of NULLs: no zone";
        assert_eq!(broken.refused.as_deref(), Some(words));
        let words = || "1 / x: division by zero".to_owned();
        let fault = || Ok(vec![(0, words()), (1, words())]);
        let on_null = Proof::of(|sample| match sample {
            Sample::Null => fault(),
            _ => Ok(Vec::new()),
        });
        assert!(on_null.refused.is_some_and(|words| words.contains("1 / x")));
        let of_one_time = Proof::of(|sample| match sample {
            Sample::Null => Ok(vec![(1, words())]),
            _ => Ok(Vec::new()),
        });
        assert_eq!(of_one_time.refused, None);
        let warned = Proof::of(|sample| match sample {
            Sample::Default => fault(),
            _ => Ok(Vec::new()),
        });
        assert!(warned.refused.is_none());
        assert_eq!(warned.warnings.len(), 1, "{:?}", warned.warnings);
        assert!(warned.warnings[0].ends_with("1 / x: division by zero"));
    }

    #[test]
    fn every_type_of_a_column_has_a_default() {
        for data_type in [
            DataType::Boolean,
            DataType::Int32,
            DataType::Int64,
            DataType::Float64,
            DataType::Utf8,
            DataType::Date32,
            forebay_core::time::timestamp_type(),
            forebay_core::value::list_type(DataType::Utf8),
        ] {
            for sample in SAMPLES {
                let column = sample.column(&data_type);
                assert_eq!(column.data_type(), &data_type);
                assert_eq!(column.len(), sample.rows());
                let nulls = if sample == Sample::Null { 2 } else { 0 };
                assert_eq!(column.null_count(), nulls);
            }
        }
    }
}
