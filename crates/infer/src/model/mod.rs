//! Model versions: `models/<name>/<version>/` on disk becomes a READY [`ModelVersion`] in a
//! [`ModelStore`], or a typed reason why not. Manifest and digests first, then the model file, then
//! the golden rows. Scoring knows Arrow batches of a service's features in, margins and scores out;
//! where batches come from is not known here.

mod features;
mod golden;
mod id;
mod manifest;
mod scores;
mod store;
mod version;

#[cfg(test)]
mod tests;

pub use id::ModelId;
pub use manifest::{Exactness, FeatureSpec, MANIFEST_FILE, Manifest, Missing, ServiceRef};
pub use scores::RawScores;
pub use store::{ModelState, ModelStore};
pub use version::{ModelVersion, Unverified};
