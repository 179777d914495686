//! A compiled service as data: the views that it joins, by name, and its program over the request
//! and their features. `catalog` keeps it beside the text, so that a start plans no SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;
use forebay_core::ports::CompiledView;
use forebay_core::source::Column;
use forebay_core::time::timestamp_type;
use serde::{Deserialize, Serialize};

use super::joins::{Lookup, Tables};
use super::{FeatureRead, Service, ServiceIdentity, object};
use crate::expression::Program;
use crate::scalar::SavedCode;
use crate::view::View;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedService {
    request: Vec<Column>,
    lookups: Vec<SavedLookup>,
    features: Vec<Column>,
    program: SavedCode,
    reads: Vec<Vec<FeatureRead>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedLookup {
    view: String,
    alias: String,
    key_columns: Vec<usize>,
}

impl SavedService {
    /// The service over `views`.
    ///
    /// # Errors
    /// It is none of this build, or of other views: why, for a log.
    pub(crate) fn restored(
        self,
        identity: ServiceIdentity,
        views: &BTreeMap<String, Arc<View>>,
    ) -> Result<Service, String> {
        let mut inputs: Vec<DataType> = self.request.iter().map(|c| c.data_type.clone()).collect();
        inputs.push(timestamp_type());
        let mut lookups = Vec::with_capacity(self.lookups.len());
        for lookup in self.lookups {
            let view = views.get(&lookup.view);
            let view = view.ok_or_else(|| format!("feature view {} is not there", lookup.view))?;
            let features = view.features();
            inputs.extend(features.fields().iter().map(|f| f.data_type().clone()));
            if lookup.key_columns.iter().any(|c| *c >= self.request.len()) {
                return Err("a key column of the request is not there".to_owned());
            }
            lookups.push(Lookup {
                alias: lookup.alias,
                view: Arc::clone(view),
                key_columns: lookup.key_columns,
            });
        }
        let program = Program::restored(&object(&identity.name), &self.program, &inputs)?;
        let tables = Tables {
            request: String::new(),
            lookups,
        };
        let (request, features) = (self.request, self.features);
        let service = Service::assemble(identity, request, tables, features, program);
        Ok(Service {
            reads: self.reads,
            ..service
        })
    }
}

impl Service {
    /// It as data; None where a constant is of no type of ours.
    pub(crate) fn saved(&self) -> Option<SavedService> {
        let lookups = self.spec.views.iter().map(|lookup| SavedLookup {
            view: lookup.view.name.clone(),
            alias: lookup.alias.clone(),
            key_columns: lookup.key_columns.clone(),
        });
        Some(SavedService {
            request: self.spec.request.clone(),
            lookups: lookups.collect(),
            features: self.spec.features.clone(),
            program: self.program.saved()?,
            reads: self.reads.clone(),
        })
    }
}
