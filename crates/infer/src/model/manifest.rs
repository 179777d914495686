//! The manifest of a model version: TOML in, checked [`Manifest`] out. It says which files belong
//! to the version (with their digests), what the model is, which features it reads and how, and
//! what its golden rows promise.
//!
//! Raw, then validated; unknown keys are refused. Nothing here opens the files that it names.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use arrow_schema::DataType;
use forebay_core::limits::{MODEL_FILES_MAX, MODEL_MAX_FEATURES};
use serde::Deserialize;

/// Name of the manifest in a version directory.
pub const MANIFEST_FILE: &str = "manifest.toml";
/// Version of the manifest's own format.
const FORMAT: u32 = 1;

/// A checked manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Model.
    pub model: String,
    /// Version, from 1.
    pub version: u32,
    /// Objective, as the training library calls it.
    pub objective: String,
    /// Library that trained the model and wrote the golden rows, with its version.
    pub library: String,
    /// Boosting iterations that are served: first, and one past the last.
    pub iterations: (usize, usize),
    /// File with the trees.
    pub model_file: String,
    /// File with the golden rows.
    pub golden_file: String,
    /// Lower-case hex sha256 of every file of the version but the manifest.
    pub files: BTreeMap<String, String>,
    /// The service that the model was made for.
    pub service: ServiceRef,
    /// Features in the model's order.
    pub features: Vec<FeatureSpec>,
    /// How near the golden margins must be reproduced.
    pub margin_class: Exactness,
    /// The same for scores.
    pub score_class: Exactness,
    /// How it was trained, for people and the console.
    pub training: BTreeMap<String, toml::Value>,
}

/// A feature service, as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRef {
    /// Name in SQL.
    pub name: String,
    /// Version of the service, for information.
    #[serde(default)]
    pub version: u32,
    /// Schema fingerprint; empty: names and types of the features alone are checked.
    #[serde(default)]
    pub fingerprint: String,
}

/// One feature and how it becomes an f32.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSpec {
    /// Column of the service.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// What NULL becomes.
    pub missing: Missing,
    /// For text: the category at index i has code i.
    pub categories: Vec<String>,
}

/// What a model sees where the feature is NULL (or text that is no category).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// NaN: the trees have a default side.
    Nan,
    /// This value.
    Sentinel(f64),
    /// The batch is refused.
    Refuse,
}

/// How near a golden value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Exactness {
    /// Equal bits.
    Exact,
    /// At most this many f32 steps away.
    Ulp(u32),
    /// At most this relative distance away.
    Relative(f64),
}

impl Exactness {
    /// Whether `found` is near enough to `expected`.
    #[must_use]
    pub(crate) fn admits(self, expected: f32, found: f32) -> bool {
        if expected.to_bits() == found.to_bits() {
            return true;
        }
        match self {
            Self::Exact => false,
            Self::Ulp(steps) => {
                ordered(expected).abs_diff(ordered(found)) <= i64::from(steps).unsigned_abs()
            }
            Self::Relative(distance) => {
                let (expected, found) = (f64::from(expected), f64::from(found));
                (expected - found).abs() <= distance * expected.abs()
            }
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let number = |t: &str| t.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
        match text.split_once(':') {
            None if text == "exact" => Some(Self::Exact),
            Some(("ulp", steps)) => steps.parse().ok().map(Self::Ulp),
            Some(("rel", distance)) => number(distance).map(Self::Relative),
            _ => None,
        }
        .ok_or_else(|| format!("class {text:?}: use exact, ulp:k or rel:x"))
    }
}

/// The place of `value` among all f32 in ascending order; -0.0 and 0.0 share one.
fn ordered(value: f32) -> i64 {
    let magnitude = i64::from(value.to_bits() & 0x7fff_ffff);
    if value.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: u32,
    model: String,
    version: u32,
    kind: String,
    objective: String,
    library: String,
    iterations: (usize, usize),
    #[serde(default = "fp32")]
    precision: String,
    model_file: String,
    golden_file: String,
    files: BTreeMap<String, String>,
    service: ServiceRef,
    features: Vec<RawFeature>,
    outputs: Vec<RawOutput>,
    #[serde(default)]
    training: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFeature {
    name: String,
    dtype: String,
    missing: Missing,
    #[serde(default)]
    categories: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOutput {
    name: String,
    dtype: String,
    class: String,
}

fn fp32() -> String {
    "fp32".to_owned()
}

impl Manifest {
    /// Parse and check the text of a manifest.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        if raw.format != FORMAT {
            return Err(format!(
                "format {}: this build reads format {FORMAT}",
                raw.format
            ));
        }
        if raw.kind != "xgboost" {
            return Err(format!("kind {:?}: served is xgboost", raw.kind));
        }
        if raw.precision != "fp32" {
            return Err(format!("precision {:?}: served is fp32", raw.precision));
        }
        if raw.model.is_empty() || raw.version == 0 {
            return Err("model needs a name and a version from 1".to_owned());
        }
        if raw.iterations.0 >= raw.iterations.1 && raw.iterations != (0, 0) {
            return Err(format!(
                "iterations {:?}: the end comes after the start",
                raw.iterations
            ));
        }
        check_files(&raw)?;
        let (margin_class, score_class) = check_outputs(&raw.outputs)?;
        let features = check_features(raw.features)?;
        Ok(Self {
            model: raw.model,
            version: raw.version,
            objective: raw.objective,
            library: raw.library,
            iterations: raw.iterations,
            model_file: raw.model_file,
            golden_file: raw.golden_file,
            files: raw.files,
            service: raw.service,
            features,
            margin_class,
            score_class,
            training: raw.training,
        })
    }

    /// `model version N`, for texts.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} version {}", self.model, self.version)
    }
}

/// Plain names, whole digests, and the two files that every version has.
fn check_files(raw: &Raw) -> Result<(), String> {
    if raw.files.len() > MODEL_FILES_MAX {
        let files = raw.files.len();
        return Err(format!(
            "{files} files; at most {MODEL_FILES_MAX} (MODEL_FILES_MAX)"
        ));
    }
    for (name, digest) in &raw.files {
        let mut parts = Path::new(name).components();
        if !matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        ) || name == MANIFEST_FILE
        {
            return Err(format!(
                "file {name:?}: give the plain name of a file beside the manifest"
            ));
        }
        if digest.len() != 64
            || !digest
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Err(format!(
                "file {name:?}: its digest is not 64 lower-case hex digits"
            ));
        }
    }
    for (key, name) in [
        ("model_file", &raw.model_file),
        ("golden_file", &raw.golden_file),
    ] {
        if !raw.files.contains_key(name) {
            return Err(format!("{key} {name:?} is not listed in [files]"));
        }
    }
    Ok(())
}

/// The two outputs, `margin` and `score`, with their classes.
fn check_outputs(outputs: &[RawOutput]) -> Result<(Exactness, Exactness), String> {
    let class = |name: &str| {
        let mut found = outputs.iter().filter(|o| o.name == name);
        match (found.next(), found.next()) {
            (Some(output), None) if output.dtype == "FP32" => Exactness::parse(&output.class),
            (Some(output), None) => Err(format!(
                "output {name}: dtype {:?}; served is FP32",
                output.dtype
            )),
            _ => Err(format!("outputs: give {name} once")),
        }
    };
    if outputs.len() != 2 {
        return Err("outputs: give margin and score".to_owned());
    }
    Ok((class("margin")?, class("score")?))
}

fn check_features(raw: Vec<RawFeature>) -> Result<Vec<FeatureSpec>, String> {
    if raw.is_empty() || raw.len() > MODEL_MAX_FEATURES {
        return Err(format!(
            "{} features; 1 to {MODEL_MAX_FEATURES} (MODEL_MAX_FEATURES)",
            raw.len()
        ));
    }
    let mut features: Vec<FeatureSpec> = Vec::with_capacity(raw.len());
    let mut names = std::collections::HashSet::new();
    for feature in raw {
        let data_type = match feature.dtype.as_str() {
            "DOUBLE" => DataType::Float64,
            "BIGINT" => DataType::Int64,
            "INTEGER" => DataType::Int32,
            "BOOLEAN" => DataType::Boolean,
            "VARCHAR" => DataType::Utf8,
            other => {
                let known = "DOUBLE, BIGINT, INTEGER, BOOLEAN or VARCHAR";
                return Err(format!(
                    "feature {:?}: dtype {other:?}; use {known}",
                    feature.name
                ));
            }
        };
        let text = data_type == DataType::Utf8;
        if text == feature.categories.is_empty() {
            return Err(format!(
                "feature {:?}: VARCHAR needs categories, other types have none",
                feature.name
            ));
        }
        let mut categories: Vec<&String> = feature.categories.iter().collect();
        categories.sort_unstable();
        if categories.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!(
                "feature {:?}: a category occurs twice",
                feature.name
            ));
        }
        if !names.insert(feature.name.clone()) {
            return Err(format!("feature {:?} occurs twice", feature.name));
        }
        features.push(FeatureSpec {
            name: feature.name,
            data_type,
            missing: feature.missing,
            categories: feature.categories,
        });
    }
    Ok(features)
}
