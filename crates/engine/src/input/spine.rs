//! The spine: rows that ask for features, each as of an instant. Checked here, column by column, so
//! that an error names the column or the row; answered here, so that both lowerings put columns in
//! the same places.
//!
//! The answer holds all spine columns, untouched and in order, then the service's features. A spine
//! column that has the name of a feature is an error, unless it is one of the service's request
//! columns: then the feature keeps the name and the request column goes by `request_<name>`, so
//! that no two columns of a training set share a name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::cast::{conform, moments};
use forebay_core::limits::SPINE_MAX_ROWS;
use forebay_core::source::sql_name;
use forebay_core::time::timestamp_type;
use forebay_core::view::{ServiceSpec, ServiceView};

use crate::error::{EngineError, Result};

/// A checked spine.
#[derive(Debug)]
pub(crate) struct Spine {
    rows: RecordBatch,
    names: Vec<String>,
    /// The service's request columns, in its order and of its types.
    request: RecordBatch,
    /// The instants, no NULLs, UTC.
    at: TimestampMicrosecondArray,
}

impl Spine {
    /// Check `rows` against what `service` asks for.
    pub(crate) fn new(service: &ServiceSpec, rows: RecordBatch, time_column: &str) -> Result<Self> {
        if rows.num_rows() > SPINE_MAX_ROWS {
            return Err(EngineError::Input(format!(
                "the spine has {} rows; split it, one call takes at most {SPINE_MAX_ROWS} (SPINE_MAX_ROWS)",
                rows.num_rows()
            )));
        }
        let names = output_names(service, &rows)?;
        let at = instants(&rows, time_column)?;
        let request = request_rows(service, &rows)?;
        Ok(Self {
            rows,
            names,
            request,
            at,
        })
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// The request columns.
    pub(crate) fn request(&self) -> &RecordBatch {
        &self.request
    }

    /// The instants.
    pub(crate) fn at(&self) -> &TimestampMicrosecondArray {
        &self.at
    }

    /// The key columns of one view, of the view's types.
    pub(crate) fn keys(&self, view: &ServiceView) -> Result<Vec<ArrayRef>> {
        let keys = view.view.key.iter().zip(&view.key_columns);
        keys.map(|(key, index)| {
            conform(self.request.column(*index), &key.data_type).map_err(|why| {
                EngineError::Input(format!(
                    "key column `{}` of view {}{why}",
                    key.name, view.view.name
                ))
            })
        })
        .collect()
    }

    /// The spine with `features` behind it.
    pub(crate) fn answer(
        self,
        service: &ServiceSpec,
        features: &[ArrayRef],
    ) -> Result<RecordBatch> {
        let schema = self.rows.schema();
        let renamed = schema
            .fields()
            .iter()
            .zip(&self.names)
            .map(|(field, name)| {
                if field.name() == name {
                    Arc::clone(field)
                } else {
                    Arc::new(field.as_ref().clone().with_name(name))
                }
            });
        let declared = service
            .features
            .iter()
            .map(|f| Arc::new(Field::new(&f.name, f.data_type.clone(), true)));
        let fields: Vec<Arc<Field>> = renamed.chain(declared).collect();
        let columns = self
            .rows
            .columns()
            .iter()
            .chain(features)
            .cloned()
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.num_rows()));
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata(service)));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(|e| {
            EngineError::Internal(format!("the answer of service {}: {e}", service.name))
        })
    }
}

/// What trainers read from the file of a training set: which columns are features, and of what.
fn metadata(service: &ServiceSpec) -> HashMap<String, String> {
    let names: Vec<&str> = service.features.iter().map(|f| f.name.as_str()).collect();
    HashMap::from([
        ("forebay.service".to_owned(), service.name.clone()),
        ("forebay.version".to_owned(), service.version.to_string()),
        (
            "forebay.fingerprint".to_owned(),
            service.fingerprint.clone(),
        ),
        (
            "forebay.features".to_owned(),
            serde_json::to_string(&names).expect("a list of texts is JSON"),
        ),
    ])
}

/// The names of the spine's columns in the answer.
fn output_names(service: &ServiceSpec, rows: &RecordBatch) -> Result<Vec<String>> {
    let features: HashSet<&str> = service.features.iter().map(|f| f.name.as_str()).collect();
    let mut taken: HashSet<String> = HashSet::new();
    let mut names = Vec::with_capacity(rows.num_columns());
    for field in rows.schema_ref().fields() {
        let name = field.name();
        let requested = service.request.iter().any(|c| c.name == *name);
        let output = if !features.contains(name.as_str()) {
            name.clone()
        } else if requested {
            format!("request_{name}")
        } else {
            return Err(EngineError::Input(format!(
                "spine column `{name}` has the name of feature `{name}` of service {}; rename the spine column",
                service.name
            )));
        };
        if features.contains(output.as_str()) || !taken.insert(output.clone()) {
            return Err(EngineError::Input(format!(
                "spine column `{name}` would be `{output}` in the answer, where another column has that name; \
                 rename one of them"
            )));
        }
        names.push(output);
    }
    Ok(names)
}

fn instants(rows: &RecordBatch, name: &str) -> Result<TimestampMicrosecondArray> {
    let column = rows.column_by_name(name).ok_or_else(|| {
        EngineError::Input(format!(
            "the spine has no time column `{name}`; it has: {}",
            names_of(rows)
        ))
    })?;
    if !matches!(column.data_type(), DataType::Timestamp(..)) {
        return Err(EngineError::Input(format!(
            "time column `{name}` of the spine is {}; make it a timestamp (a naive one is taken as UTC)",
            sql_name(column.data_type())
        )));
    }
    let at = moments(column)
        .map_err(|why| EngineError::Input(format!("time column `{name}` of the spine{why}")))?
        .with_data_type(timestamp_type());
    match (0..at.len()).find(|row| at.is_null(*row)) {
        None => Ok(at),
        Some(row) => Err(EngineError::Input(format!(
            "time column `{name}` of the spine is NULL in row {row} (counted from 0); every row needs an instant"
        ))),
    }
}

fn request_rows(service: &ServiceSpec, rows: &RecordBatch) -> Result<RecordBatch> {
    let owner = format!("service {}", service.name);
    let mut fields = Vec::with_capacity(service.request.len());
    let mut columns = Vec::with_capacity(service.request.len());
    for column in &service.request {
        let found = rows.column_by_name(&column.name).ok_or_else(|| {
            EngineError::Input(format!(
                "{owner} needs column `{}` {}, which the spine lacks; it has: {}",
                column.name,
                sql_name(&column.data_type),
                names_of(rows)
            ))
        })?;
        let array = conform(found, &column.data_type).map_err(|why| {
            EngineError::Input(format!(
                "column `{}` of {owner} is {}, the spine has {}{why}",
                column.name,
                sql_name(&column.data_type),
                found.data_type()
            ))
        })?;
        if !column.nullable
            && let Some(row) = (0..array.len()).find(|row| array.is_null(*row))
        {
            return Err(EngineError::Input(format!(
                "column `{}` of {owner} is declared NOT NULL, the spine is NULL in row {row} (counted from 0)",
                column.name
            )));
        }
        fields.push(Field::new(&column.name, column.data_type.clone(), true));
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|e| EngineError::Internal(format!("the request rows of {owner}: {e}")))
}

fn names_of(rows: &RecordBatch) -> String {
    rows.schema_ref()
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
