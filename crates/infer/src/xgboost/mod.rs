//! XGBoost's JSON model format: hostile bytes in, a checked [`XgboostModel`] out, which `forest`
//! packs for scoring.
//!
//! Served: boosters `gbtree` and `dart`, numeric and categorical splits, the single-output
//! objectives of `objective.rs`. Refused by name: `gblinear`, several outputs (classes, targets,
//! vector leaves), unknown objectives, files of unknown major versions. Everything else that does
//! not fit is a typed error; nothing here panics on any input. The format's facts are in the tests
//! of XGBoost's own files under `tests/golden/infer`.

mod objective;
mod raw;
mod tree;

#[cfg(test)]
mod tests;

use std::ops::Range;

use forebay_core::limits::{MODEL_FILE_MAX_BYTES, MODEL_MAX_FEATURES, MODEL_MAX_TREES};

pub use objective::Objective;
pub(crate) use tree::{SourceNode, SourceTree};

use crate::error::{InferError, Result};
use raw::{RawBooster, RawFile, RawLearnerParam, RawModel};

/// Newest major version whose files are known.
const MAJOR_VERSION_MAX: u32 = 3;

/// A model file, checked.
#[derive(Debug)]
pub struct XgboostModel {
    /// Objective.
    pub objective: Objective,
    /// First term of every margin.
    pub base_margin: f32,
    /// Features that the trees index.
    pub features: usize,
    /// Names of the features; empty when the file has none.
    pub feature_names: Vec<String>,
    /// Types of the features (`float`, `int`, `i`, `q`, `c`); empty when the file has none.
    pub feature_types: Vec<String>,
    /// `attributes.best_iteration`, for information: the manifest states the range that is served.
    pub best_iteration: Option<String>,
    /// For each boosting iteration its first tree, and one more entry for the end.
    iteration_starts: Vec<usize>,
    trees: Vec<SourceTree>,
    /// Factor of each tree (`dart`); empty means 1.
    weight_drop: Vec<f32>,
}

impl XgboostModel {
    /// Parse and check a model file.
    ///
    /// # Errors
    /// Too large, not JSON, not XGBoost's, contradictory, or not served; the text says which.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MODEL_FILE_MAX_BYTES {
            let what = format!("model file has {} bytes", bytes.len());
            return Err(InferError::limit(
                what,
                "MODEL_FILE_MAX_BYTES",
                MODEL_FILE_MAX_BYTES,
            ));
        }
        let file: RawFile =
            serde_json::from_slice(bytes).map_err(|e| InferError::ModelFile(e.to_string()))?;
        if let Some(major) = file.version.first().filter(|m| **m > MAJOR_VERSION_MAX) {
            return Err(InferError::Unsupported(format!(
                "a file written by XGBoost {major}.x"
            )));
        }
        let learner = file.learner;
        let objective = Objective::by_name(&learner.objective.name).ok_or_else(|| {
            let known = Objective::names().join(", ");
            InferError::Unsupported(format!(
                "objective {:?}; served are {known}",
                learner.objective.name
            ))
        })?;
        let features = check_outputs(&learner.learner_model_param)?;
        let names = [
            ("feature_names", &learner.feature_names),
            ("feature_types", &learner.feature_types),
        ];
        for (what, list) in names {
            if !list.is_empty() && list.len() != features {
                let text = format!("{what} has {} entries for {features} features", list.len());
                return Err(InferError::ModelFile(text));
            }
        }
        let base_score = parse_base_score(&learner.learner_model_param.base_score)?;
        let base_margin = objective.base_margin(base_score);
        if !base_margin.is_finite() {
            let text = format!(
                "base_score {base_score} has no finite margin under {}",
                objective.name()
            );
            return Err(InferError::ModelFile(text));
        }
        let (model, weight_drop) = select_trees(learner.gradient_booster)?;
        let iteration_starts = check_model(&model, &weight_drop)?;
        let trees = model
            .trees
            .iter()
            .enumerate()
            .map(|(i, t)| SourceTree::check(t, i, features))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            objective,
            base_margin,
            features,
            feature_names: learner.feature_names,
            feature_types: learner.feature_types,
            best_iteration: learner.attributes.get("best_iteration").cloned(),
            iteration_starts,
            trees,
            weight_drop,
        })
    }

    /// Boosting iterations in the file.
    #[must_use]
    pub fn iterations(&self) -> usize {
        self.iteration_starts.len() - 1
    }

    /// Trees in the file.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// The trees of `iterations` with their factors, in the order in which XGBoost adds them.
    pub(crate) fn trees_of(
        &self,
        iterations: Range<usize>,
    ) -> Result<impl Iterator<Item = (&SourceTree, f32)>> {
        if iterations.start > iterations.end || iterations.end > self.iterations() {
            let text = format!(
                "iterations {iterations:?} of a model that has {}",
                self.iterations()
            );
            return Err(InferError::ModelFile(text));
        }
        let range = self.iteration_starts[iterations.start]..self.iteration_starts[iterations.end];
        let factors = range
            .clone()
            .map(|i| self.weight_drop.get(i).copied().unwrap_or(1.0));
        Ok(self.trees[range].iter().zip(factors))
    }
}

/// The number of features, when there is one output.
fn check_outputs(param: &RawLearnerParam) -> Result<usize> {
    if param.num_class.0 > 1 || param.num_target.0 > 1 {
        let text = format!(
            "a model with {} classes and {} targets; a prediction has one score, train one model for each",
            param.num_class.0, param.num_target.0
        );
        return Err(InferError::Unsupported(text));
    }
    let stated = param.num_feature.0;
    let features = usize::try_from(stated).ok();
    let Some(features) = features.filter(|features| *features <= MODEL_MAX_FEATURES) else {
        let what = format!("model has {stated} features");
        return Err(InferError::limit(
            what,
            "MODEL_MAX_FEATURES",
            MODEL_MAX_FEATURES,
        ));
    };
    if features == 0 {
        return Err(InferError::ModelFile("num_feature is 0".to_owned()));
    }
    Ok(features)
}

/// `"5E-1"` before version 3.1, `"[5E-1]"` since.
fn parse_base_score(text: &str) -> Result<f32> {
    let trimmed = text.trim();
    let inner = trimmed
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(trimmed);
    let value: f32 = inner.trim().parse().map_err(|_| {
        InferError::ModelFile(format!("base_score {:?} is not one number", shorten(text)))
    })?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(InferError::ModelFile(format!(
            "base_score {value} is not finite"
        )))
    }
}

/// At most 40 characters, for error texts.
fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

fn select_trees(booster: RawBooster) -> Result<(RawModel, Vec<f32>)> {
    let (model, weights) = match booster.name.as_str() {
        "gbtree" => (booster.model, Vec::new()),
        "dart" => (booster.gbtree.map(|inner| inner.model), booster.weight_drop),
        other => {
            let text = format!("booster {:?}; served are gbtree and dart", shorten(other));
            return Err(InferError::Unsupported(text));
        }
    };
    let model = model
        .ok_or_else(|| InferError::ModelFile(format!("booster {} has no trees", booster.name)))?;
    if booster.name == "dart" && weights.len() != model.trees.len() {
        let text = format!(
            "weight_drop has {} entries for {} trees",
            weights.len(),
            model.trees.len()
        );
        return Err(InferError::ModelFile(text));
    }
    if weights.iter().any(|w| !w.is_finite()) {
        return Err(InferError::ModelFile(
            "weight_drop holds a factor that is not finite".to_owned(),
        ));
    }
    Ok((model, weights))
}

/// Counts agree; returns where the iterations start.
fn check_model(model: &RawModel, weight_drop: &[f32]) -> Result<Vec<usize>> {
    let malformed = |text: String| Err(InferError::ModelFile(text));
    let trees = model.trees.len();
    debug_assert!(weight_drop.is_empty() || weight_drop.len() == trees);
    if trees > MODEL_MAX_TREES {
        let what = format!("model has {trees} trees");
        return Err(InferError::limit(what, "MODEL_MAX_TREES", MODEL_MAX_TREES));
    }
    let param = model.gbtree_model_param.as_ref();
    if let Some(stated) = param
        .and_then(|p| p.num_trees)
        .filter(|n| n.0 != trees as u64)
    {
        return malformed(format!("num_trees is {}, there are {trees}", stated.0));
    }
    if model.tree_info.iter().any(|class| *class != 0) {
        return Err(InferError::Unsupported(
            "trees of several classes or targets".to_owned(),
        ));
    }
    if !model.tree_info.is_empty() && model.tree_info.len() != trees {
        return malformed(format!(
            "tree_info has {} entries for {trees} trees",
            model.tree_info.len()
        ));
    }
    if !model.iteration_indptr.is_empty() {
        let starts: Vec<usize> = model.iteration_indptr.iter().map(|s| *s as usize).collect();
        let ordered = starts.windows(2).all(|pair| pair[0] <= pair[1]);
        if starts.first() != Some(&0) || starts.last() != Some(&trees) || !ordered {
            return malformed(
                "iteration_indptr does not run from 0 to the number of trees".to_owned(),
            );
        }
        return Ok(starts);
    }
    let forest = param.map_or(1, |p| p.num_parallel_tree.0).max(1);
    let whole = usize::try_from(forest).ok();
    let Some(forest) = whole.filter(|forest| trees.is_multiple_of(*forest)) else {
        return malformed(format!(
            "{trees} trees do not make whole rounds of num_parallel_tree = {forest}"
        ));
    };
    Ok((0..=trees / forest).map(|i| i * forest).collect())
}
