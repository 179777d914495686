//! What the tests reach of the definitions: features of views and services that some test expects
//! (a feature of a view also through a service that reads it), windows that an event lies in at an
//! instant that is asked, their far ends (an event of the same key that the window has let go), and
//! time-to-live that has passed; and the branches of CASE that an event or an answer takes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use forebay_core::key::KeyBuffer;
use forebay_core::ports::CompiledView;
use forebay_core::time::Micros;
use forebay_core::view::{FeatureStatus, ServiceView, Window};
use forebay_engine::{Branch, Catalog, Expectation, FeatureTest, ObjectKind};

use super::events::Events;

/// What is reached of all definitions.
#[derive(Debug)]
pub(super) struct Coverage {
    /// The one that tests ask.
    catalog: Catalog,
    pub(super) views: BTreeMap<String, ViewCoverage>,
    pub(super) services: BTreeMap<String, Vec<Covered>>,
}

/// A name, and whether a test reaches it.
#[derive(Debug)]
pub(super) struct Covered {
    pub(super) name: String,
    pub(super) is_reached: bool,
}

/// What is reached of a view.
#[derive(Debug)]
pub(super) struct ViewCoverage {
    pub(super) features: Vec<Covered>,
    pub(super) windows: Vec<WindowCoverage>,
    /// Whether it has passed at an instant that is asked; None without a time-to-live.
    pub(super) ttl: Option<bool>,
}

/// What is reached of a window.
#[derive(Debug)]
pub(super) struct WindowCoverage {
    window: Window,
    /// The features that read it, by their place.
    features: Vec<usize>,
    /// An event lies in it.
    pub(super) is_reached: bool,
    /// An event lies before it; None where it has no far end.
    pub(super) is_passed: Option<bool>,
}

impl Coverage {
    /// Of `definitions`, where nothing is reached yet. `catalog` is what tests ask.
    pub(super) fn new(definitions: &Catalog, catalog: &Catalog) -> Self {
        catalog.trace_branches();
        let not_yet = |name: &String| Covered {
            name: name.clone(),
            is_reached: false,
        };
        let views = definitions.views().iter();
        let views = views.map(|(name, view)| (name.clone(), view_of(catalog, view.as_ref())));
        let services = definitions.services().iter();
        let services = services.map(|(name, service)| {
            let features = service.spec().features.iter();
            let features = features.map(|feature| not_yet(&feature.name));
            (name.clone(), features.collect())
        });
        Self {
            catalog: catalog.clone(),
            views: views.collect(),
            services: services.collect(),
        }
    }

    /// The branches of CASE in the views and services, and whether a test took them.
    pub(super) fn branches(&self) -> impl Iterator<Item = (ObjectKind, &str, Branch)> {
        let views = self.views.keys().map(|name| (ObjectKind::View, name));
        let services = self.services.keys();
        let services = services.map(|name| (ObjectKind::Service, name));
        views.chain(services).flat_map(|(kind, name)| {
            let branches = self.catalog.branches_of(kind, name);
            branches
                .into_iter()
                .map(move |of| (kind, name.as_str(), of))
        })
    }

    /// Note what `test` asks of its `events`.
    ///
    /// # Errors
    /// A key of a request cannot be encoded.
    pub(super) fn note(&mut self, test: &FeatureTest, events: &Events) -> Result<()> {
        for expect in &test.expect {
            let spec = expect.service.spec();
            if let Some(features) = self.services.get_mut(&spec.name) {
                for feature in &expect.features {
                    features[feature.index].is_reached = true;
                }
            }
            let reads = self.catalog.reads_of(&spec.name).to_vec();
            let views = spec.views.iter().zip(expect.service.views()).enumerate();
            for (number, (binding, view)) in views {
                let read = expect.features.iter().flat_map(|f| &reads[f.index]);
                let read = read.filter(|read| read.view == number);
                let features: Vec<usize> = read.map(|read| read.feature).collect();
                if features.is_empty() {
                    continue;
                }
                // A view that fails has no answer by any path, which is told.
                let Ok(times) = times(view.as_ref(), events) else {
                    continue;
                };
                let keys = keys(binding, expect)?;
                let Some(coverage) = self.views.get_mut(&binding.view.name) else {
                    continue;
                };
                coverage.note(&features, &times, &keys, expect.at_us);
            }
        }
        Ok(())
    }

    /// Note where each view stood when `expect` was asked.
    pub(super) fn note_status(&mut self, expect: &Expectation, status: &[Vec<FeatureStatus>]) {
        for (binding, status) in expect.service.spec().views.iter().zip(status) {
            let Some(coverage) = self.views.get_mut(&binding.view.name) else {
                continue;
            };
            let is_passed = status.contains(&FeatureStatus::OutsideMaxAge);
            coverage.ttl = coverage.ttl.map(|before| before || is_passed);
        }
    }
}

fn view_of(catalog: &Catalog, view: &dyn CompiledView) -> ViewCoverage {
    let spec = view.spec();
    let aggregates = catalog.aggregates_of(&spec.name);
    let mut windows: Vec<WindowCoverage> = Vec::new();
    for (feature, aggregates) in aggregates.iter().enumerate() {
        for aggregate in aggregates {
            let window = spec.aggregates[*aggregate].window;
            let place = windows.iter().position(|other| other.window == window);
            let place = place.unwrap_or_else(|| {
                windows.push(WindowCoverage {
                    window,
                    features: Vec::new(),
                    is_reached: false,
                    is_passed: (window != Window::Lifetime).then_some(false),
                });
                windows.len() - 1
            });
            if !windows[place].features.contains(&feature) {
                windows[place].features.push(feature);
            }
        }
    }
    let features = view.features();
    let features = features.fields().iter();
    ViewCoverage {
        features: features
            .map(|field| Covered {
                name: field.name().clone(),
                is_reached: false,
            })
            .collect(),
        windows,
        ttl: spec.ttl_us.map(|_| false),
    }
}

/// Event times by key.
type Times = HashMap<Vec<u8>, Vec<Micros>>;

impl ViewCoverage {
    fn note(&mut self, features: &[usize], times: &Times, keys: &KeyBuffer, at: Micros) {
        for feature in features {
            self.features[*feature].is_reached = true;
        }
        for window in &mut self.windows {
            if !window.features.iter().any(|f| features.contains(f)) {
                continue;
            }
            let of_keys = (0..keys.len()).filter_map(|row| times.get(keys.get(row)?));
            for time in of_keys.flatten().filter(|time| **time <= at) {
                match window.window {
                    Window::Lifetime => window.is_reached = true,
                    Window::Range { preceding_us } if at - time <= preceding_us => {
                        window.is_reached = true;
                    }
                    Window::Range { .. } => window.is_passed = Some(true),
                }
            }
        }
    }
}

impl WindowCoverage {
    /// How long it is, in words.
    pub(super) fn length(&self) -> String {
        match self.window {
            Window::Lifetime => "everything up to now".to_owned(),
            Window::Range { preceding_us } => {
                let length = Duration::from_micros(preceding_us.unsigned_abs());
                humantime::format_duration(length).to_string()
            }
        }
    }

    /// The features of `view` that read it.
    pub(super) fn features<'a>(&self, view: &'a ViewCoverage) -> Vec<&'a str> {
        let features = self.features.iter();
        features.map(|f| view.features[*f].name.as_str()).collect()
    }
}

/// The event times that `view` counts, by key.
fn times(view: &dyn CompiledView, events: &Events) -> Result<Times> {
    let mut times = Times::new();
    let source = &view.spec().source;
    let of = events.sources.iter().find(|of| of.source.name == *source);
    let Some(of) = of else {
        return Ok(times);
    };
    let fold = view.fold(&of.rows)?;
    let keys = KeyBuffer::encode_within(&fold.keys)?.0;
    for (row, time) in fold.times.values().iter().enumerate() {
        if let Some(key) = keys.get(row) {
            times.entry(key.to_vec()).or_default().push(*time);
        }
    }
    Ok(times)
}

/// The keys by which `expect` asks the view of `binding`.
fn keys(binding: &ServiceView, expect: &Expectation) -> Result<KeyBuffer> {
    let columns = binding.view.key.iter().zip(&binding.key_columns);
    let columns = columns.map(|(key, index)| {
        let column = expect.request.column(*index);
        if *column.data_type() == key.data_type {
            return Ok(Arc::clone(column));
        }
        Ok(cast(column, &key.data_type)?)
    });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
    Ok(KeyBuffer::encode(&columns)?)
}
