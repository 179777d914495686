//! A view and a service without SQL: count and sum of one DOUBLE column for each value of one
//! VARCHAR column, over a window, a service that asks for them by key and may give a column of the
//! request back, and a label that is a column. The view can be told to fail on a
//! value, by the row's fault or its own, or on every batch, as expressions over real data do.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::aggregate::{AggregateKind, PartialClass, PartialSpec};
use forebay_core::cells::Cells;
use forebay_core::fault::{FaultKind, RowFault};
use forebay_core::index::RowIndex;
use forebay_core::ports::{CompiledLabel, CompiledService, CompiledView};
use forebay_core::source::{Column, SourceDef};
use forebay_core::value::{Value, array_from_values};
use forebay_core::view::{
    AggregateSpec, FoldBatch, ServiceSpec, ServiceView, ViewId, ViewSpec, Window,
};
use forebay_core::{PortError, PortResult};

/// A column.
#[must_use]
pub fn column(name: &str, data_type: DataType, nullable: bool) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
        nullable,
    }
}

/// Count and sum of one column by key, as a compiled view.
#[derive(Debug, Clone)]
pub struct PlainView {
    spec: Arc<ViewSpec>,
    source: Arc<SourceDef>,
    reads: Vec<usize>,
    key: usize,
    argument: usize,
    leaves_out: Option<f64>,
    breaks: Option<f64>,
    never: bool,
}

impl PlainView {
    /// Count and sum of column `argument` of `source` for each value of column `key`, over
    /// `window`.
    ///
    /// # Panics
    /// The source has no such columns.
    #[must_use]
    pub fn new(
        id: ViewId,
        source: &Arc<SourceDef>,
        key: &str,
        argument: &str,
        window: Window,
    ) -> Self {
        let find = |name: &str| {
            let found = source.columns.iter().position(|c| c.name == name);
            found.unwrap_or_else(|| panic!("source '{}' has no column '{name}'", source.name))
        };
        let (key, argument) = (find(key), find(argument));
        let argument_type = source.columns[argument].data_type.clone();
        let partial = |class, argument: Option<usize>| PartialSpec {
            class,
            arguments: argument.into_iter().collect(),
            argument_types: argument
                .map(|_| argument_type.clone())
                .into_iter()
                .collect(),
            filter: None,
            keep: None,
        };
        let aggregate = |name: &str, kind, data_type, partial| AggregateSpec {
            name: name.to_owned(),
            kind,
            data_type,
            partial,
            window,
        };
        let spec = ViewSpec {
            id,
            name: format!("view_{id}"),
            version: 1,
            entity: "entity".to_owned(),
            source: source.name.clone(),
            key: vec![source.columns[key].clone()],
            arguments: vec![argument_type.clone()],
            filters: 0,
            partials: vec![
                partial(PartialClass::Count, None),
                partial(PartialClass::FloatSum, Some(0)),
            ],
            aggregates: vec![
                aggregate("n", AggregateKind::Count, DataType::Int64, 0),
                aggregate("total", AggregateKind::Sum, DataType::Float64, 1),
            ],
            ttl_us: None,
            digest: format!("digest-{id}"),
        };
        let source = Arc::clone(source);
        let mut reads = vec![key, argument, source.time_column];
        reads.sort_unstable();
        reads.dedup();
        Self {
            spec: Arc::new(spec),
            source,
            reads,
            key,
            argument,
            leaves_out: None,
            breaks: None,
            never: false,
        }
    }

    /// The same view, whose expression fails where the argument is `value`: it leaves the row out.
    #[must_use]
    pub fn leaving_out(self, value: f64) -> Self {
        Self {
            leaves_out: Some(value),
            ..self
        }
    }

    /// The same view, which fails where the argument is `value`, and by no fault of the row.
    #[must_use]
    pub fn breaking(self, value: f64) -> Self {
        Self {
            breaks: Some(value),
            ..self
        }
    }

    /// The same view, whose expression fails on every batch, also on one without a row.
    #[must_use]
    pub fn never(self) -> Self {
        Self {
            never: true,
            ..self
        }
    }
}

impl CompiledView for PlainView {
    fn spec(&self) -> &Arc<ViewSpec> {
        &self.spec
    }

    fn reads(&self) -> &[usize] {
        &self.reads
    }

    fn key_columns(&self) -> &[usize] {
        std::slice::from_ref(&self.key)
    }

    fn fold(&self, rows: &RecordBatch) -> PortResult<FoldBatch> {
        if self.never {
            return Err(PortError::invalid("there is no time zone 'Mars/Base'"));
        }
        let (mut keys, mut times, mut arguments, mut source_rows, mut left_out) =
            (vec![], vec![], vec![], vec![], vec![]);
        for row in 0..rows.num_rows() {
            let value = |column: usize| Value::from_array(rows.column(column).as_ref(), row);
            let (key, argument) = (value(self.key)?, value(self.argument)?);
            if matches!((&argument, self.leaves_out), (Value::Float(a), Some(b)) if *a == b) {
                left_out.push(RowFault {
                    row: RowIndex::at(row).number(),
                    kind: FaultKind::Division,
                    what: "1 / x".into(),
                });
                continue;
            }
            if matches!((&argument, self.breaks), (Value::Float(a), Some(b)) if *a == b) {
                return Err(PortError::internal("another type came out"));
            }
            if let (Value::Timestamp(time), true) =
                (value(self.source.time_column)?, key != Value::Null)
            {
                keys.push(key);
                times.push(time);
                arguments.push(argument);
                source_rows.push(RowIndex::at(row).number());
            }
        }
        Ok(FoldBatch {
            keys: vec![array_from_values(&self.spec.key[0].data_type, keys.iter())?],
            times: TimestampMicrosecondArray::from(times).with_timezone("UTC"),
            arguments: vec![array_from_values(
                &self.spec.arguments[0],
                arguments.iter(),
            )?],
            filters: Vec::new(),
            source_rows,
            left_out,
        })
    }

    fn features(&self) -> SchemaRef {
        let field = |a: &AggregateSpec| Field::new(&a.name, a.data_type.clone(), true);
        Arc::new(Schema::new(
            self.spec.aggregates.iter().map(field).collect::<Vec<_>>(),
        ))
    }

    fn finish(
        &self,
        _keys: &[ArrayRef],
        _at: &TimestampMicrosecondArray,
        aggregates: &Cells,
    ) -> PortResult<Cells> {
        Ok(aggregates.clone())
    }
}

/// A service that asks one view for one key.
#[derive(Debug)]
pub struct PlainService {
    spec: Arc<ServiceSpec>,
    views: Vec<Arc<dyn CompiledView>>,
}

impl PlainService {
    /// The features of `view`, asked for by a column that is named and typed as its key.
    #[must_use]
    pub fn new(name: &str, view: Arc<dyn CompiledView>) -> Self {
        let spec = view.spec();
        let features = spec
            .aggregates
            .iter()
            .map(|a| column(&a.name, a.data_type.clone(), true))
            .collect();
        let service = ServiceSpec {
            name: name.to_owned(),
            version: 1,
            request: spec.key.clone(),
            views: vec![ServiceView {
                alias: "v".to_owned(),
                view: Arc::clone(spec),
                key_columns: vec![0],
            }],
            features,
            fingerprint: "f".to_owned(),
        };
        Self {
            spec: Arc::new(service),
            views: vec![view],
        }
    }

    /// The same, which asks for one more column and gives it back as its last feature: what a model
    /// makes of that follows from the request alone.
    #[must_use]
    pub fn echoing(self, column: Column) -> Self {
        let mut spec = ServiceSpec::clone(&self.spec);
        spec.request.push(column.clone());
        spec.features.push(column);
        Self {
            spec: Arc::new(spec),
            ..self
        }
    }
}

impl CompiledService for PlainService {
    fn spec(&self) -> &Arc<ServiceSpec> {
        &self.spec
    }

    fn views(&self) -> &[Arc<dyn CompiledView>] {
        &self.views
    }

    fn finish(
        &self,
        request: &RecordBatch,
        _: &TimestampMicrosecondArray,
        views: &[Cells],
    ) -> PortResult<Cells> {
        let echoed = self.spec.views.iter().flat_map(|view| &view.key_columns);
        let echoed = &request.columns()[echoed.count()..];
        let mut features = Cells::default();
        views.iter().for_each(|cells| features.extend(cells));
        features.columns.extend(echoed.iter().cloned());
        assert!(
            features
                .columns
                .iter()
                .all(|c| c.len() == request.num_rows()),
            "one feature row for each request row"
        );
        Ok(features)
    }
}

/// A label that is a BOOLEAN column of its source.
#[derive(Debug, Clone)]
pub struct PlainLabel(String);

impl PlainLabel {
    /// The column of this name.
    #[must_use]
    pub fn new(column: &str) -> Self {
        Self(column.to_owned())
    }
}

impl CompiledLabel for PlainLabel {
    fn evaluate(&self, rows: &RecordBatch) -> PortResult<BooleanArray> {
        let column = rows.column_by_name(&self.0);
        let labels = column.and_then(|column| column.as_boolean_opt());
        let labels = labels.ok_or_else(|| {
            let name = &self.0;
            PortError::invalid(format!("there is no column {name} of labels"))
        });
        labels.cloned()
    }
}
