//! What is told of each kind of object: the facts that SHOW lists and DESCRIBE begins with, and
//! DESCRIBE's tables. One function a kind.

use forebay_core::definition::{AlertThreshold, DeploymentDef, EntityDef, ModelDef, MonitorDef};
use forebay_core::ports::{CompiledService as _, CompiledView as _};
use forebay_core::source::{Column, SourceDef, sql_name};
use serde_json::{Value as Json, json};

use super::table::{Answer, AnswerTable};
use super::words::{length, window};
use crate::catalog::inner::{Entry, Inner};
use crate::parse::Definition;
use crate::service::Service;
use crate::view::View;

/// What is told of `entry`, beside its name, version and text.
pub(super) fn describe(inner: &Inner, entry: &Entry) -> Answer {
    let name = &entry.state.name;
    match &entry.statement.definition {
        Definition::Source(source) => of_source(source),
        Definition::Entity(entity) => of_entity(entity),
        Definition::View(_) => inner
            .own_views
            .get(name)
            .map_or_else(Answer::default, |v| of_view(v)),
        Definition::Service(_) => {
            let service = inner.own_services.get(name);
            service.map_or_else(Answer::default, |s| of_service(s))
        }
        Definition::Model(model) => of_model(model),
        Definition::Deployment(deployment) => of_deployment(deployment),
        Definition::Monitor(monitor, _) => of_monitor(monitor),
        Definition::Drop { .. } => Answer::default(),
    }
}

fn answer<const N: usize>(facts: [(&str, Json); N], tables: Vec<AnswerTable>) -> Answer {
    let facts = facts.into_iter();
    Answer {
        facts: facts
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        tables,
    }
}

fn names<'a>(columns: impl IntoIterator<Item = &'a Column>) -> String {
    let names: Vec<&str> = columns.into_iter().map(|c| c.name.as_str()).collect();
    names.join(", ")
}

fn columns(title: &str, columns: &[Column]) -> AnswerTable {
    let mut table = AnswerTable::new(title, &["name", "type", "nullable"]);
    let rows = columns.iter();
    table.rows = rows
        .map(|c| {
            vec![
                json!(c.name),
                json!(sql_name(&c.data_type)),
                json!(c.nullable),
            ]
        })
        .collect();
    table
}

/// The columns of a source, with the units that it says of integers.
fn source_columns(source: &SourceDef) -> AnswerTable {
    let mut table = columns("columns", &source.columns);
    for (row, column) in table.rows.iter_mut().zip(&source.columns) {
        row[1] = json!(source.type_name(column));
        if let Some(unit) = source.epoch_units.get(&column.name) {
            row[1] = json!(format!(
                "{} FROM EPOCH {}",
                source.type_name(column),
                unit.word()
            ));
        }
    }
    table
}

fn of_source(source: &SourceDef) -> Answer {
    answer(
        [
            ("topic", json!(source.topic)),
            ("format", json!(source.format.to_string())),
            ("columns", json!(source.columns.len())),
            ("event_time", json!(source.columns[source.time_column].name)),
            ("watermark_delay", json!(length(source.watermark_delay_us))),
            ("idle_timeout", json!(length(source.idle_timeout_us))),
            (
                "event_future_max",
                json!(length(source.event_future_max_us)),
            ),
        ],
        vec![source_columns(source)],
    )
}

fn of_entity(entity: &EntityDef) -> Answer {
    answer(
        [("key", json!(names(&entity.key)))],
        vec![columns("key", &entity.key)],
    )
}

fn of_view(view: &View) -> Answer {
    let spec = view.spec();
    let features = view.features();
    let mut table = AnswerTable::new("features", &["name", "type", "aggregates"]);
    for (field, aggregates) in features.fields().iter().zip(view.aggregates()) {
        let read = aggregates.iter().map(|index| {
            let aggregate = &spec.aggregates[*index];
            format!("{} {}", aggregate.kind.name(), window(aggregate.window))
        });
        let read: Vec<String> = read.collect();
        table.rows.push(vec![
            json!(field.name()),
            json!(sql_name(field.data_type())),
            json!(read.join("; ")),
        ]);
    }
    answer(
        [
            ("entity", json!(spec.entity)),
            ("key", json!(names(&spec.key))),
            ("source", json!(spec.source)),
            ("features", json!(features.fields().len())),
            (
                "ttl",
                spec.ttl_us.map_or(Json::Null, |ttl| json!(length(ttl))),
            ),
            ("id", json!(spec.id)),
        ],
        vec![columns("key", &spec.key), table],
    )
}

fn of_service(service: &Service) -> Answer {
    let spec = service.spec();
    let mut views = AnswerTable::new("views", &["alias", "view", "version", "by"]);
    for binding in &spec.views {
        let by = binding
            .key_columns
            .iter()
            .map(|index| &spec.request[*index]);
        views.rows.push(vec![
            json!(binding.alias),
            json!(binding.view.name),
            json!(binding.view.version),
            json!(names(by)),
        ]);
    }
    let mut features = AnswerTable::new("features", &["name", "type", "reads"]);
    for (feature, reads) in spec.features.iter().zip(service.reads()) {
        let read = reads.iter().map(|read| {
            let of = service.views()[read.view].features();
            format!(
                "{}.{}",
                spec.views[read.view].alias,
                of.field(read.feature).name()
            )
        });
        let read: Vec<String> = read.collect();
        features.rows.push(vec![
            json!(feature.name),
            json!(sql_name(&feature.data_type)),
            json!(read.join(", ")),
        ]);
    }
    let joined: Vec<&str> = spec.views.iter().map(|b| b.view.name.as_str()).collect();
    answer(
        [
            ("request", json!(names(&spec.request))),
            ("views", json!(joined.join(", "))),
            ("features", json!(spec.features.len())),
            ("fingerprint", json!(spec.fingerprint)),
        ],
        vec![columns("request", &spec.request), views, features],
    )
}

fn of_model(model: &ModelDef) -> Answer {
    answer(
        [
            ("model_version", json!(model.version)),
            ("directory", json!(model.path)),
            ("features", json!(model.service)),
        ],
        Vec::new(),
    )
}

fn of_deployment(deployment: &DeploymentDef) -> Answer {
    let mut routes = AnswerTable::new("routes", &["version", "weight", "shadow"]);
    for route in &deployment.routes {
        let row = vec![
            json!(route.version),
            json!(route.weight),
            json!(route.shadow),
        ];
        routes.rows.push(row);
    }
    answer(
        [
            ("model", json!(deployment.model)),
            ("source", json!(deployment.source)),
            ("topic", json!(deployment.topic)),
            ("carry", json!(deployment.carry.join(", "))),
            ("sticky_by", json!(deployment.sticky_by.join(", "))),
            ("routes", json!(deployment.routes.len())),
        ],
        vec![routes],
    )
}

fn of_monitor(monitor: &MonitorDef) -> Answer {
    let labels = monitor.labels.as_ref();
    let alert = match monitor.threshold {
        AlertThreshold::FalseAlarmRate(rate) => format!("false alarm rate {rate}"),
        AlertThreshold::Psi(psi) => format!("PSI > {psi}"),
    };
    let (raised, of) = (monitor.raised_windows, monitor.of_windows);
    answer(
        [
            ("model", json!(monitor.model)),
            ("window", json!(length(monitor.window_us))),
            ("lateness", json!(length(monitor.lateness_us))),
            ("labels", labels.map_or(Json::Null, |l| json!(l.source))),
            ("label", labels.map_or(Json::Null, |l| json!(l.expression))),
            (
                "within",
                labels.map_or(Json::Null, |l| json!(length(l.within_us))),
            ),
            ("reference", json!(monitor.reference)),
            ("alert", json!(format!("{alert}, {raised} of {of} windows"))),
        ],
        Vec::new(),
    )
}
