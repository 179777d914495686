//! `CREATE MONITOR`: which model is watched, against which reference, by which labels. Checked
//! against the deployments that its labels must meet; its label is compiled over its source.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Query;
use forebay_core::definition::{AlertThreshold, DeploymentDef};
use forebay_core::ports::CompiledLabel;
use forebay_core::source::{Column, SourceDef};
use serde_json::{Value as Json, json};

use super::clauses::{Clauses, Kind, Named, words_of};
use crate::catalog::answer::{Answer, length};
use crate::catalog::build::{Builder, Identity, Meaning, Proof};
use crate::catalog::checks::{find, missing, refuse};
use crate::catalog::compiled::Compiled;
use crate::catalog::inner::{Inner, MonitorPlan};
use crate::catalog::references::Reference;
use crate::error::{Result, listed};
use crate::label::{Label, SavedLabel};
use crate::parse::{Definition, MonitorStatement, ObjectKind, Statement, label_query};

pub(super) const KIND: Kind = Kind {
    kind: ObjectKind::Monitor,
    words: &["MONITOR"],
    plural: "MONITORS",
    name: "monitor",
    clauses: |cursor, name| Ok(Definition::Monitor(cursor.monitor(name)?)),
};

impl Clauses for MonitorStatement {
    fn references(&self, statement: &Statement) -> Result<Vec<Reference>> {
        let labels = self.def.labels.iter();
        let source = |name| Reference::of(ObjectKind::Source, name, statement);
        Ok(labels.map(|labels| source(&labels.source)).collect())
    }

    fn calls_functions(&self) -> bool {
        true
    }

    fn query(&self, statement: &Statement) -> Result<Option<Query>> {
        let label = self.label.as_ref();
        label
            .map(|label| label_query(label, &statement.name))
            .transpose()
    }

    fn named(&self, _statement: &Statement, _inner: &Inner) -> Named {
        words_of(self.label.as_ref()?)
    }

    fn check(&self, statement: &Statement, inner: &Inner) -> Result<()> {
        if !inner
            .models
            .iter()
            .any(|model| model.name == self.def.model)
        {
            let mut known: Vec<String> = inner
                .models
                .iter()
                .map(|model| model.name.clone())
                .collect();
            known.dedup();
            let message = format!(
                "there is no model {}; known models: {}",
                self.def.model,
                listed(&known)
            );
            return missing(statement, message);
        }
        let Some(labels) = &self.def.labels else {
            return Ok(());
        };
        let source = &inner.sources[&labels.source];
        let deployments: Vec<&DeploymentDef> = inner
            .deployments
            .values()
            .filter(|d| d.model == self.def.model)
            .collect();
        if deployments.is_empty() {
            let message = format!(
                "no deployment serves model {}, so that no label can meet a prediction; create one",
                self.def.model
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

    fn compile(
        &self,
        builder: &mut Builder<'_>,
        statement: &Statement,
        _identity: &Identity,
        meaning: Meaning<'_>,
    ) -> Result<Option<Compiled>> {
        let mut plan = MonitorPlan {
            def: self.def.clone(),
            label: None,
        };
        let mut compiled = None;
        if let (Some(labels), Some(expression)) = (&self.def.labels, &self.label) {
            let source = Arc::clone(&builder.after.sources[&labels.source]);
            let object = statement.object();
            let restore = |_: &Builder<'_>, saved: SavedLabel| saved.restored(&object, &source);
            let label = builder.restored_or(statement, meaning, restore, |builder| {
                Label::compile(&builder.session, &object, expression, &source)
            })?;
            builder.proven(statement, Proof::of_label(&label, &source))?;
            compiled = Compiled::of(meaning.digest, label.saved());
            plan.label = Some(Arc::new(label) as Arc<dyn CompiledLabel>);
        }
        builder.after.monitors.insert(statement.name.clone(), plan);
        Ok(compiled)
    }

    fn take_over(&self, name: &str, from: &Inner, after: &mut Inner) {
        let label = from.monitors.get(name).and_then(|plan| plan.label.clone());
        let def = self.def.clone();
        let plan = MonitorPlan { def, label };
        after.monitors.insert(name.to_owned(), plan);
    }

    fn describe(&self, _name: &str, _inner: &Inner) -> Answer {
        let monitor = &self.def;
        let labels = monitor.labels.as_ref();
        let alert = match monitor.threshold {
            AlertThreshold::FalseAlarmRate(rate) => format!("false alarm rate {rate}"),
            AlertThreshold::Psi(psi) => format!("PSI > {psi}"),
        };
        let (raised, of) = (monitor.raised_windows, monitor.of_windows);
        Answer::of(
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
