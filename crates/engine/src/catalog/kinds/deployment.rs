//! `CREATE DEPLOYMENT`: which events are scored by which versions of a model, and where predictions
//! go. Checked against what it names: columns, types, topics. What would only fail on the first
//! event is refused here.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::DataType;
use forebay_core::definition::{DeploymentDef, ModelDef};
use forebay_core::ports::CompiledService as _;
use forebay_core::prediction::column;
use forebay_core::source::{SourceDef, sql_name};
use serde_json::json;

use super::clauses::{Clauses, Kind, Named};
use crate::catalog::answer::{Answer, AnswerTable};
use crate::catalog::checks::{find, refuse};
use crate::catalog::inner::Inner;
use crate::catalog::references::Reference;
use crate::error::{EngineError, Result};
use crate::name;
use crate::parse::{Definition, ObjectKind, Statement};
use crate::service::Service;

/// Names that a prediction record has of its own.
const PREDICTION_COLUMNS: [&str; 17] = [
    column::PREDICTION_ID,
    column::DEPLOYMENT,
    column::MODEL,
    column::MODEL_VERSION,
    column::ROLE,
    column::SERVICE,
    column::SERVICE_VERSION,
    column::SOURCE_TOPIC,
    column::SOURCE_PARTITION,
    column::SOURCE_OFFSET,
    column::EVENT_TIME,
    column::AS_OF,
    column::SCORE,
    column::MARGIN,
    column::REQUEST,
    column::FEATURES,
    column::APPLIED,
];
const SHADOW_SUFFIX: &str = ".shadow";

pub(super) const KIND: Kind = Kind {
    kind: ObjectKind::Deployment,
    words: &["DEPLOYMENT"],
    plural: "DEPLOYMENTS",
    name: "deployment",
    clauses: |cursor, name| Ok(Definition::Deployment(cursor.deployment(name)?)),
};

impl Clauses for DeploymentDef {
    fn references(&self, statement: &Statement) -> Result<Vec<Reference>> {
        let source = Reference::of(ObjectKind::Source, &self.source, statement);
        let models = self.routes.iter().map(|route| {
            let model = model_name(self, route.version);
            Reference::of(ObjectKind::Model, &model, statement)
        });
        Ok(std::iter::once(source).chain(models).collect())
    }

    /// What it asks a service for comes from the event, by the names of the request; carried
    /// columns and the key that routes it are in its text.
    fn named(&self, statement: &Statement, inner: &Inner) -> Named {
        let definition = |kind, name: String| {
            let entry = inner.entries.get(&(kind, name))?;
            Some(&entry.statement.definition)
        };
        let words = statement.canonical.split_whitespace();
        let words = words.map(|word| word.trim_matches('"').to_lowercase());
        let mut named: BTreeSet<String> = words.collect();
        for route in &self.routes {
            let model = definition(ObjectKind::Model, model_name(self, route.version))?;
            let Definition::Model(model) = model else {
                return None;
            };
            let service = definition(ObjectKind::Service, model.service.clone())?;
            let Definition::Service(service) = service else {
                return None;
            };
            named.extend(service.request.iter().map(|c| c.name.to_lowercase()));
        }
        Some(named)
    }

    fn check(&self, statement: &Statement, inner: &Inner) -> Result<()> {
        let source = &inner.sources[&self.source];
        let service = one_service(inner, statement, self)?;
        check_request(statement, source, service)?;
        let mut carried: Vec<&str> = Vec::new();
        for name in &self.carry {
            let column = find(statement, source, name, "column to carry")?;
            if column.data_type.is_nested() {
                let message = format!(
                    "a prediction cannot carry {name}, which is {}; carry another column, and join by it",
                    sql_name(&column.data_type)
                );
                return refuse(statement, message);
            }
            if PREDICTION_COLUMNS.contains(&name.as_str()) {
                let message = format!(
                    "a prediction has a column {name} of its own; rename the column of the source to carry it"
                );
                return refuse(statement, message);
            }
            if carried.contains(&name.as_str()) {
                return refuse(
                    statement,
                    format!("column {name} is carried twice; name it once"),
                );
            }
            carried.push(name);
        }
        for name in &self.sticky_by {
            let column = find(statement, source, name, "column to stick by")?;
            if column.data_type.is_nested() {
                let message = format!(
                    "it cannot stick by {name}, which is {}; name another column",
                    sql_name(&column.data_type)
                );
                return refuse(statement, message);
            }
            if column.data_type == DataType::Float64 {
                return refuse(
                    statement,
                    format!(
                        "it cannot stick by {name}: DOUBLE has no one equality; name another column"
                    ),
                );
            }
        }
        check_topic(inner, statement, self, source)
    }

    fn insert(&self, inner: &mut Inner) {
        inner.deployments.insert(self.name.clone(), self.clone());
    }

    fn describe(&self, _name: &str, _inner: &Inner) -> Answer {
        let mut routes = AnswerTable::new("routes", &["version", "weight", "shadow"]);
        for route in &self.routes {
            let row = vec![
                json!(route.version),
                json!(route.weight),
                json!(route.shadow),
            ];
            routes.rows.push(row);
        }
        Answer::of(
            [
                ("model", json!(self.model)),
                ("source", json!(self.source)),
                ("topic", json!(self.topic)),
                ("carry", json!(self.carry.join(", "))),
                ("sticky_by", json!(self.sticky_by.join(", "))),
                ("routes", json!(self.routes.len())),
            ],
            vec![routes],
        )
    }
}

/// How the catalog calls a version of the model.
fn model_name(deployment: &DeploymentDef, version: u32) -> String {
    format!("{}/{version}", deployment.model)
}

/// The service that all arms read: an event has one request.
fn one_service<'a>(
    inner: &'a Inner,
    statement: &Statement,
    deployment: &DeploymentDef,
) -> Result<&'a Arc<Service>> {
    let models: Vec<&ModelDef> = deployment
        .routes
        .iter()
        .filter_map(|route| {
            inner
                .models
                .iter()
                .find(|m| m.name == deployment.model && m.version == route.version)
        })
        .collect();
    let Some(first) = models.first() else {
        return Err(EngineError::Internal(format!(
            "deployment {} without its model",
            deployment.name
        )));
    };
    if let Some(other) = models.iter().find(|model| model.service != first.service) {
        let message = format!(
            "version {} reads feature service {}, version {} reads {}; make a deployment for each",
            first.version, first.service, other.version, other.service
        );
        return refuse(statement, message);
    }
    inner
        .own_services
        .get(&first.service)
        .ok_or_else(|| EngineError::Internal("a model without its service".to_owned()))
}

fn check_request(statement: &Statement, source: &SourceDef, service: &Service) -> Result<()> {
    let spec = service.spec();
    for wanted in &spec.request {
        let found = find(statement, source, &wanted.name, "request column")?;
        if found.data_type != wanted.data_type {
            let message = format!(
                "request column {} of feature service {} is {}, in source {} it is {}; declare both alike",
                wanted.name, spec.name, wanted.data_type, source.name, found.data_type
            );
            return refuse(statement, message);
        }
        if found.nullable && !wanted.nullable {
            let message = format!(
                "request column {} of feature service {} is NOT NULL, in source {} it may be NULL; declare both alike",
                wanted.name, spec.name, source.name
            );
            return refuse(statement, message);
        }
    }
    Ok(())
}

fn check_topic(
    inner: &Inner,
    statement: &Statement,
    deployment: &DeploymentDef,
    source: &SourceDef,
) -> Result<()> {
    let topic = &deployment.topic;
    if let Some(fault) = name::topic_fault(topic, SHADOW_SUFFIX) {
        return refuse(statement, fault);
    }
    if *topic == source.topic {
        return refuse(
            statement,
            format!("it would read its own predictions from topic {topic}; name another topic"),
        );
    }
    let shadow = |of: &str| format!("{of}{SHADOW_SUFFIX}");
    let others = inner
        .deployments
        .values()
        .filter(|other| other.name != deployment.name);
    for other in others {
        if other.topic == *topic || shadow(&other.topic) == *topic || other.topic == shadow(topic) {
            let message = format!(
                "deployment {} writes into topic {} too; give each its own",
                other.name, other.topic
            );
            return refuse(statement, message);
        }
    }
    Ok(())
}
