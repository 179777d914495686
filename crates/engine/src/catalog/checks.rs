//! Deployments and monitors against what they name: columns, types, topics, versions. What would
//! only fail on the first event is refused here. Checked whenever a catalog is built, also where
//! the statement itself is unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;
use forebay_core::definition::{DeploymentDef, ModelDef, MonitorDef};
use forebay_core::ports::CompiledService;
use forebay_core::prediction::column;
use forebay_core::source::{Column, SourceDef, sql_name};

use super::inner::Inner;
use crate::error::{EngineError, Result, listed};
use crate::name;
use crate::parse::Statement;
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

fn refuse<T>(statement: &Statement, message: impl Into<String>) -> Result<T> {
    Err(EngineError::refused(
        statement.at.clone(),
        &statement.object(),
        message,
    ))
}

fn missing<T>(statement: &Statement, message: impl Into<String>) -> Result<T> {
    Err(EngineError::unknown(
        statement.at.clone(),
        &statement.object(),
        message,
    ))
}

fn find<'a>(
    statement: &Statement,
    source: &'a SourceDef,
    name: &str,
    what: &str,
) -> Result<&'a Column> {
    match source.columns.iter().find(|column| column.name == name) {
        Some(column) => Ok(column),
        None => {
            let names: Vec<String> = source
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect();
            missing(
                statement,
                format!(
                    "source {} has no {what} {name}; it has: {}",
                    source.name,
                    listed(&names)
                ),
            )
        }
    }
}

/// Check a model. Its service is there.
pub(super) fn check_model(inner: &Inner, statement: &Statement, model: &ModelDef) -> Result<()> {
    let service = inner.own_services.get(&model.service);
    let mut features = service.iter().flat_map(|service| &service.spec().features);
    let Some(array) = features.find(|feature| feature.data_type.is_nested()) else {
        return Ok(());
    };
    let (name, service) = (&array.name, &model.service);
    let message = format!(
        "feature {name} of feature service {service} is {}, and a model takes no arrays; select an item, {name}[1], \
         or cardinality({name}) in a service for the model",
        sql_name(&array.data_type)
    );
    refuse(statement, message)
}

/// Check a deployment. Its source and its models are there.
pub(super) fn check_deployment(
    inner: &Inner,
    statement: &Statement,
    deployment: &DeploymentDef,
) -> Result<()> {
    let source = &inner.sources[&deployment.source];
    let service = one_service(inner, statement, deployment)?;
    check_request(statement, source, service)?;
    let mut carried: Vec<&str> = Vec::new();
    for name in &deployment.carry {
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
    for name in &deployment.sticky_by {
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
    check_topic(inner, statement, deployment, source)
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

/// Check a monitor. Its label source is there.
pub(super) fn check_monitor(
    inner: &Inner,
    statement: &Statement,
    monitor: &MonitorDef,
) -> Result<()> {
    if !inner.models.iter().any(|model| model.name == monitor.model) {
        let mut known: Vec<String> = inner
            .models
            .iter()
            .map(|model| model.name.clone())
            .collect();
        known.dedup();
        let message = format!(
            "there is no model {}; known models: {}",
            monitor.model,
            listed(&known)
        );
        return missing(statement, message);
    }
    let Some(labels) = &monitor.labels else {
        return Ok(());
    };
    let source = &inner.sources[&labels.source];
    let deployments: Vec<&DeploymentDef> = inner
        .deployments
        .values()
        .filter(|d| d.model == monitor.model)
        .collect();
    if deployments.is_empty() {
        let message = format!(
            "no deployment serves model {}, so that no label can meet a prediction; create one",
            monitor.model
        );
        return missing(statement, message);
    }
    for name in &labels.using {
        let label = find(statement, source, name, "column to join labels by")?;
        for deployment in &deployments {
            check_carried(statement, &inner.sources, deployment, label)?;
        }
    }
    Ok(())
}

fn check_carried(
    statement: &Statement,
    sources: &BTreeMap<String, Arc<SourceDef>>,
    deployment: &DeploymentDef,
    label: &Column,
) -> Result<()> {
    let name = &label.name;
    // First, because a column that is not there cannot be carried either.
    let carried = find(
        statement,
        &sources[&deployment.source],
        name,
        "column to carry",
    )?;
    if !deployment.carry.contains(name) {
        let message = format!(
            "deployment {} does not carry {name}, by which labels join; write CARRY ({name})",
            deployment.name
        );
        return refuse(statement, message);
    }
    if carried.data_type == label.data_type {
        return Ok(());
    }
    let message = format!(
        "{name} is {} in the label source and {} in source {}; declare both alike",
        label.data_type, carried.data_type, deployment.source
    );
    refuse(statement, message)
}
