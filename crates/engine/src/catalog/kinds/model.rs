//! `CREATE MODEL`: one version of a model, and the feature service that it reads. Its artifact is
//! no business of the catalog: `infer` opens that.

use forebay_core::definition::ModelDef;
use forebay_core::ports::CompiledService as _;
use forebay_core::source::sql_name;
use serde_json::json;

use super::clauses::{Clauses, Kind};
use crate::catalog::answer::Answer;
use crate::catalog::checks::refuse;
use crate::catalog::inner::Inner;
use crate::catalog::references::Reference;
use crate::error::Result;
use crate::parse::{Definition, ObjectKind, Statement};

pub(super) const KIND: Kind = Kind {
    kind: ObjectKind::Model,
    words: &["MODEL"],
    plural: "MODELS",
    name: "model",
    clauses: |cursor, name| Ok(Definition::Model(cursor.model(name)?)),
};

impl Clauses for ModelDef {
    fn references(&self, statement: &Statement) -> Result<Vec<Reference>> {
        let service = Reference::of(ObjectKind::Service, &self.service, statement);
        Ok(vec![service])
    }

    fn check(&self, statement: &Statement, inner: &Inner) -> Result<()> {
        let service = inner.own_services.get(&self.service);
        let mut features = service.iter().flat_map(|service| &service.spec().features);
        let Some(array) = features.find(|feature| feature.data_type.is_nested()) else {
            return Ok(());
        };
        let (name, service) = (&array.name, &self.service);
        let message = format!(
            "feature {name} of feature service {service} is {}, and a model takes no arrays; select an item, {name}[1], \
             or cardinality({name}) in a service for the model",
            sql_name(&array.data_type)
        );
        refuse(statement, message)
    }

    fn insert(&self, inner: &mut Inner) {
        inner.models.push(self.clone());
        let models = &mut inner.models;
        models.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    }

    fn describe(&self, _name: &str, _inner: &Inner) -> Answer {
        Answer::of(
            [
                ("model_version", json!(self.version)),
                ("directory", json!(self.path)),
                ("features", json!(self.service)),
            ],
            Vec::new(),
        )
    }
}
