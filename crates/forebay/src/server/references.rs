//! Where the reference profile of a monitor lies: a JSON file beside the model version that it was
//! made for. Read when a monitor is bound; `forebay profile` writes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use forebay_core::definition::MonitorDef;
use forebay_monitor::ReferenceProfile;

/// The file of `reference`.
#[must_use]
pub(crate) fn profile_path(model_dir: &Path, reference: &str) -> PathBuf {
    model_dir.join(format!("reference-{reference}.json"))
}

/// The profile at `path`, for the monitor `def`.
///
/// # Errors
/// It is missing or damaged; the text says how to make one.
pub(super) fn read_profile(def: &MonitorDef, path: &Path) -> Result<ReferenceProfile> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "monitor '{}' has no reference at {}; make it with: forebay profile {} \
             --training-set FILE --model DIR",
            def.name,
            path.display(),
            def.reference
        )
    })?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not a reference profile; make it anew: forebay profile .. --replace",
            path.display()
        )
    })
}
