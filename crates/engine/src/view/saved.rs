//! A compiled view as data: what its tiles hold ([`ViewSpec`]) and the programs on both sides of
//! them. `catalog` keeps it beside the text, so that a start plans no SQL.

use std::sync::Arc;

use arrow_schema::DataType;
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::timestamp_type;
use forebay_core::view::{ViewId, ViewSpec};
use serde::{Deserialize, Serialize};

use super::fold::SavedFold;
use super::{View, feature_schema};
use crate::expression::Program;
use crate::scalar::SavedCode;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedView {
    spec: ViewSpec,
    definition: String,
    /// The source's columns, over which `fold` is.
    columns: Vec<Column>,
    key_columns: Vec<usize>,
    features: Vec<Column>,
    aggregates: Vec<Vec<usize>>,
    fold: SavedFold,
    finish: SavedCode,
}

impl SavedView {
    /// The view `id` over `source`.
    ///
    /// # Errors
    /// It is none of this build, or of other columns: why, for a log.
    pub(crate) fn restored(self, id: ViewId, source: &Arc<SourceDef>) -> Result<View, String> {
        if self.spec.id != id {
            return Err(format!("it was view {}", self.spec.id));
        }
        if self.columns != source.columns {
            return Err(format!("source {} has other columns by now", source.name));
        }
        let spec = self.spec;
        let object = super::object(&spec.name);
        let fold = self.fold.restored(&object, source)?;
        let finish = Program::restored(&object, &self.finish, &inputs_of_finish(&spec))?;
        Ok(View {
            definition: self.definition,
            source: Arc::clone(source),
            key_columns: self.key_columns,
            features: feature_schema(&self.features),
            aggregates: self.aggregates,
            fold,
            finish,
            spec: Arc::new(spec),
        })
    }
}

/// Types of the key columns, the moment and the aggregates.
fn inputs_of_finish(spec: &ViewSpec) -> Vec<DataType> {
    let key = spec.key.iter().map(|column| column.data_type.clone());
    let aggregates = spec.aggregates.iter().map(|a| a.data_type.clone());
    key.chain([timestamp_type()]).chain(aggregates).collect()
}

impl View {
    /// It as data; None where a constant is of no type of ours.
    pub(crate) fn saved(&self) -> Option<SavedView> {
        let features = self.features.fields().iter().map(|field| Column {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: true,
        });
        Some(SavedView {
            spec: self.spec.as_ref().clone(),
            definition: self.definition.clone(),
            columns: self.source.columns.clone(),
            key_columns: self.key_columns.clone(),
            features: features.collect(),
            aggregates: self.aggregates.clone(),
            fold: self.fold.saved()?,
            finish: self.finish.saved()?,
        })
    }
}
