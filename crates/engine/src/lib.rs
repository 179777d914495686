//! From SQL definitions to values: the catalog of applied definitions, views and services compiled
//! for the stream, and two offline lowerings of the same texts that give the same bits. Owns
//! DataFusion; knows no Kafka, RocksDB or Delta.
//!
//! A definition walks `parse` -> `catalog` -> `session` (planning) -> `view`, `service`, `label`
//! (matching and compiling). An event walks `view::fold` into tiles and `view::finish` out of them;
//! a training set walks `probe` or `batch` and `service::finish`. `functions` has the exact
//! aggregates that all of them share.

mod batch;
mod catalog;
mod error;
mod expression;
mod feature_test;
mod functions;
mod input;
mod label;
mod memory;
mod name;
mod nodes;
mod outputs;
mod parse;
mod patience;
mod probe;
#[cfg(test)]
mod remedies;
mod scalar;
mod service;
mod session;
mod substitute;
mod view;

pub use batch::BatchEngine;
pub use catalog::{
    Answer, AnswerTable, BrokenDefinition, Catalog, CatalogPlan, CatalogState, Change,
    ChangeAction, DefinitionFile, DroppedState, MonitorPlan, ObjectState, Planning, Tried,
    ViewTrial, read_definitions,
};
pub use error::{EngineError, Location, Result};
pub use feature_test::{
    Expectation, ExpectedFeature, FeatureTest, FeatureTests, Given, GivenEvents,
};
pub use parse::ObjectKind;
pub use patience::Patience;
pub use probe::ProbeEngine;
pub use scalar::{Branch, FunctionInfo, functions_page, scalar_functions};
pub use service::FeatureRead;
