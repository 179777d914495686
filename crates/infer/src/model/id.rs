//! What a model version is called: its model's name and its number. The key of the store, of routes
//! and of a worker's registration; it knows nothing of what it names.

/// Name and number of a model version.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct ModelId {
    /// Model.
    pub model: String,
    /// Version, from 1.
    pub version: u32,
}

impl ModelId {
    /// `model` at `version`.
    pub fn new(model: impl Into<String>, version: u32) -> Self {
        Self {
            model: model.into(),
            version,
        }
    }
}

impl std::fmt::Display for ModelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} version {}", self.model, self.version)
    }
}
