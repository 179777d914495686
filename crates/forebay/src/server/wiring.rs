//! From a catalog to what runs on it: sources (those of predictions too), bound deployments,
//! monitors, topics. Reads model directories and reference profiles, starts nothing: what is wrong
//! with a definition shows before anything is stopped.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use forebay_control::MonitorParts;
use forebay_core::definition::{DeploymentDef, ModelDef};
use forebay_core::format::SourceFormat;
use forebay_core::limits::MODELS_MAX;
use forebay_core::ports::CompiledService;
use forebay_core::prediction::{column, prediction_columns};
use forebay_core::source::{Column, SourceDef};
use forebay_core::view::ServiceSpec;
use forebay_engine::{Catalog, MonitorPlan};
use forebay_infer::{ModelId, ModelStore, ModelVersion};
use forebay_monitor::{ALERT_TOPIC, LabelFeed, MonitorOptions, WatchedDeployment};
use forebay_pipeline::{Deployment, check_topics};
use forebay_training::WitnessedSource;

use super::references::{profile_path, read_profile};
use super::suspended::Suspended;
use crate::exit;

/// What a catalog makes run.
#[derive(Debug, Default)]
pub(crate) struct Wiring {
    /// All sources that are read, those of predictions included.
    pub(crate) sources: Vec<Arc<SourceDef>>,
    /// Names of the latter.
    pub(crate) prediction_sources: HashSet<String>,
    /// Deployments, bound to their columns.
    pub(crate) deployments: Vec<Deployment>,
    /// Monitors with their references.
    pub(crate) monitors: Vec<MonitorParts>,
    /// Whether a monitor may raise alarms.
    pub(crate) alerts: bool,
    /// Every model version, loaded or with the reason why it cannot be served.
    pub(crate) models: Vec<(ModelId, Result<Arc<ModelVersion>, String>)>,
    /// Model, version and the fingerprint of the service that it reads, for workers.
    pub(crate) fingerprints: Vec<(String, u32, String)>,
    /// Parts that are set aside.
    pub(crate) suspended: Vec<Suspended>,
}

/// What happens with a part that cannot be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding<'a> {
    /// All is refused, a change that is only being considered, unless the part is one of these:
    /// they are set aside already.
    Strict(&'a [Suspended]),
    /// That part is set aside alone: definitions that were in force before.
    Lenient,
}

impl Binding<'_> {
    fn refuses(self, part: &Suspended) -> bool {
        match self {
            Self::Strict(aside) => !aside.iter().any(|known| known.is_same(part)),
            Self::Lenient => false,
        }
    }
}

/// Where models come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Models<'a> {
    /// Those that are served; what is missing is read, and served only when it is published.
    pub(crate) store: &'a ModelStore,
    /// What relative paths in SQL are relative to.
    pub(crate) root: &'a Path,
}

impl Wiring {
    /// Bind everything in `catalog`; monitors keep to `judging`.
    ///
    /// # Errors
    /// A model that cannot be loaded or was trained for other features, a deployment whose source
    /// lacks a column, a monitor without its reference.
    pub(crate) fn of(
        catalog: &Catalog,
        models: Models<'_>,
        judging: MonitorOptions,
        binding: Binding<'_>,
    ) -> Result<Self> {
        let mut wiring = Self {
            sources: catalog.sources().values().cloned().collect(),
            ..Self::default()
        };
        ensure!(
            catalog.models().len() <= MODELS_MAX,
            "the definitions name {} model versions; {MODELS_MAX} are allowed (MODELS_MAX): drop some",
            catalog.models().len()
        );
        for model in catalog.models() {
            let opened = wiring.open_model(catalog, model, models);
            let name = format!("{} version {}", model.name, model.version);
            if let Some(reason) = wiring.set_aside("model", name, opened, binding)? {
                let id = ModelId::new(&model.name, model.version);
                wiring.models.push((id, Err(reason)));
            }
        }
        for def in catalog.deployments().values() {
            wiring.deploy(catalog, def)?;
        }
        for monitor in catalog.monitors().values() {
            let opened = wiring.monitor(catalog, monitor, models.root, judging);
            let opened = opened.map(|parts| wiring.monitors.push(parts));
            wiring.set_aside("monitor", monitor.def.name.clone(), opened, binding)?;
            wiring.alerts = true;
        }
        check_topics(&wiring.sources)?;
        check_names(&wiring.sources)?;
        Ok(wiring)
    }

    /// A part that failed is refused or set aside, as `binding` says. Its reason when it is set
    /// aside.
    fn set_aside(
        &mut self,
        kind: &'static str,
        name: String,
        outcome: Result<()>,
        binding: Binding<'_>,
    ) -> Result<Option<String>> {
        let Err(error) = outcome else {
            return Ok(None);
        };
        let reason = exit::words(&error);
        let part = Suspended {
            kind,
            name,
            reason: reason.clone(),
        };
        if binding.refuses(&part) {
            return Err(error);
        }
        self.suspended.push(part);
        Ok(Some(reason))
    }

    fn open_model(
        &mut self,
        catalog: &Catalog,
        model: &ModelDef,
        models: Models<'_>,
    ) -> Result<()> {
        let service = service_named(catalog, &model.service)?;
        let (name, number) = (&model.name, model.version);
        let version = models
            .store
            .prepare(model, models.root, service.spec())
            .with_context(|| format!("model {name} version {number} cannot be served"))?;
        self.models.push((ModelId::new(name, number), Ok(version)));
        let fingerprint = service.spec().fingerprint.clone();
        self.fingerprints.push((name.clone(), number, fingerprint));
        Ok(())
    }

    /// Topics that are written: predictions, and alerts where there is a monitor.
    pub(crate) fn written_topics(&self) -> BTreeSet<String> {
        let carries = |source: &&Arc<SourceDef>| self.prediction_sources.contains(&source.name);
        let predictions = self.sources.iter().filter(carries);
        predictions
            .map(|source| source.topic.clone())
            .chain(self.alerts.then(|| ALERT_TOPIC.to_owned()))
            .collect()
    }

    /// What a verification holds against the log: all that is read.
    pub(super) fn witnessed(&self) -> Vec<WitnessedSource> {
        let witnessed = |source: &Arc<SourceDef>| WitnessedSource {
            source: Arc::clone(source),
            predictions: self.prediction_sources.contains(&source.name),
        };
        self.sources.iter().map(witnessed).collect()
    }

    fn deploy(&mut self, catalog: &Catalog, def: &DeploymentDef) -> Result<()> {
        let source = Arc::clone(catalog.sources().get(&def.source).with_context(|| {
            format!(
                "deployment {} scores source {}, which is not defined",
                def.name, def.source
            )
        })?);
        let service = service_of(catalog, def)?;
        let deployment = Deployment::bind(
            Arc::new(def.clone()),
            Arc::clone(&source),
            Arc::clone(&service),
        )?;
        let carry = deployment.carry_columns();
        for shadow in [false, true] {
            if def.routes.iter().any(|r| r.shadow == shadow) {
                let predictions = prediction_source(def, shadow, service.spec(), &carry, &source);
                self.prediction_sources.insert(predictions.name.clone());
                self.sources.push(Arc::new(predictions));
            }
        }
        self.deployments.push(deployment);
        Ok(())
    }

    fn monitor(
        &self,
        catalog: &Catalog,
        monitor: &MonitorPlan,
        model_root: &Path,
        judging: MonitorOptions,
    ) -> Result<MonitorParts> {
        let def = &monitor.def;
        let watched = |d: &Deployment| {
            let live = d.def().routes.iter().filter(|route| !route.shadow);
            Some(WatchedDeployment {
                deployment: d.def().name.clone(),
                scored: catalog.sources().get(d.source()).cloned()?,
                predictions: prediction_table(d.def(), false, d.service().spec()),
                versions: live.map(|route| route.version).collect(),
            })
        };
        let of_model = self
            .deployments
            .iter()
            .filter(|d| d.def().model == def.model);
        let deployments: Vec<WatchedDeployment> = of_model.filter_map(watched).collect();
        ensure!(
            !deployments.is_empty(),
            "monitor {} watches model {}, which no deployment serves; add CREATE DEPLOYMENT",
            def.name,
            def.model
        );
        let labels = match (&def.labels, &monitor.label) {
            (Some(labels), Some(expression)) => {
                let source = catalog.sources().get(&labels.source).with_context(|| {
                    format!(
                        "monitor {} takes labels from source {}, which is not defined",
                        def.name, labels.source
                    )
                })?;
                Some(LabelFeed {
                    source: Arc::clone(source),
                    expression: Arc::clone(expression),
                })
            }
            _ => None,
        };
        let versions = catalog.models().iter().filter(|m| m.name == def.model);
        let paths: Vec<_> = versions
            .map(|m| profile_path(&model_root.join(&m.path), &def.reference))
            .collect();
        let found = paths
            .iter()
            .find(|path| path.is_file())
            .or_else(|| paths.first());
        let profile = found.with_context(|| {
            format!(
                "monitor {} watches model {}, which has no version",
                def.name, def.model
            )
        })?;
        let reference = read_profile(def, profile)?;
        Ok(MonitorParts::new(
            def.clone(),
            reference,
            deployments,
            labels,
            judging,
        )?)
    }
}

/// A source that is named like the table of a deployment's predictions would share its archive.
fn check_names(sources: &[Arc<SourceDef>]) -> Result<()> {
    let mut names = HashSet::new();
    for source in sources {
        ensure!(
            names.insert(source.name.as_str()),
            "source {} has the name of a table of predictions; rename the source or the deployment",
            source.name
        );
    }
    Ok(())
}

fn service_named(catalog: &Catalog, name: &str) -> Result<Arc<dyn CompiledService>> {
    let known = || {
        catalog
            .services()
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    catalog
        .services()
        .get(name)
        .cloned()
        .ok_or_else(|| anyhow!("there is no feature service {name}; known: {}", known()))
}

/// The service that every arm of the route reads.
fn service_of(catalog: &Catalog, def: &DeploymentDef) -> Result<Arc<dyn CompiledService>> {
    let mut name: Option<&str> = None;
    for route in &def.routes {
        let model = catalog
            .models()
            .iter()
            .find(|m| m.name == def.model && m.version == route.version);
        let model = model.with_context(|| {
            format!(
                "deployment {} routes to model {} version {}, which is not defined",
                def.name, def.model, route.version
            )
        })?;
        ensure!(
            name.is_none_or(|name| name == model.service),
            "deployment {} routes to versions that read different services ({} and {}); deploy them apart",
            def.name,
            name.unwrap_or_default(),
            model.service
        );
        name = Some(&model.service);
    }
    service_named(
        catalog,
        name.with_context(|| format!("deployment {} has no route", def.name))?,
    )
}

/// Name of the source, and of the archive table, that carries a deployment's predictions. Another
/// version of the service has other columns, hence a table of its own.
#[must_use]
pub(crate) fn prediction_table(def: &DeploymentDef, shadow: bool, service: &ServiceSpec) -> String {
    let version = if service.version > 1 {
        format!("_v{}", service.version)
    } else {
        String::new()
    };
    format!(
        "predictions_{}{version}{}",
        def.name,
        if shadow { "_shadow" } else { "" }
    )
}

fn prediction_source(
    def: &DeploymentDef,
    shadow: bool,
    service: &ServiceSpec,
    carry: &[Column],
    scored: &SourceDef,
) -> SourceDef {
    let columns = prediction_columns(service, carry);
    let time_column = columns
        .iter()
        .position(|c| c.name == column::EVENT_TIME)
        .expect("the columns of predictions hold their event time");
    SourceDef {
        name: prediction_table(def, shadow, service),
        columns,
        time_column,
        watermark_delay_us: scored.watermark_delay_us,
        idle_timeout_us: scored.idle_timeout_us,
        event_future_max_us: scored.event_future_max_us,
        topic: if shadow {
            format!("{}.shadow", def.topic)
        } else {
            def.topic.clone()
        },
        format: SourceFormat::json(),
        epoch_units: BTreeMap::new(),
        domains: BTreeMap::new(),
    }
}
