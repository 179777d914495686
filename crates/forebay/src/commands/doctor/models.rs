//! Models and references: every version that the definitions name loads, reproduces its golden rows
//! and fits its service; every monitor has the profile that it compares with.

use std::path::Path;

use forebay_engine::Catalog;
use forebay_infer::ModelStore;
use forebay_monitor::ReferenceProfile;

use super::finding::Finding;
use crate::exit;
use crate::server::references::profile_path;

/// Load everything that `catalog` names below `root`.
pub(super) fn examine(catalog: &Catalog, root: &Path) -> Vec<Finding> {
    let store = ModelStore::new();
    let mut findings = Vec::new();
    for model in catalog.models() {
        let title = format!("{} version {}", model.name, model.version);
        findings.push(match catalog.services().get(&model.service) {
            None => Finding::failed(
                "model",
                format!("{title}: there is no feature service {}", model.service),
            ),
            Some(service) => match store.prepare(model, root, service.spec()) {
                Ok(version) => Finding::ok(
                    "model",
                    format!(
                        "{title}: loads and reproduces its golden rows ({} trees)",
                        version.forest().trees()
                    ),
                ),
                Err(error) => {
                    let path = root.join(&model.path);
                    Finding::failed(
                        "model",
                        format!(
                            "{title} in {}: {}",
                            path.display(),
                            exit::words(&error.into())
                        ),
                    )
                }
            },
        });
    }
    for monitor in catalog.monitors().values() {
        let def = &monitor.def;
        let versions = catalog
            .models()
            .iter()
            .filter(|model| model.name == def.model);
        let paths: Vec<_> = versions
            .map(|m| profile_path(&root.join(&m.path), &def.reference))
            .collect();
        let found = paths.iter().find(|path| path.is_file());
        findings.push(match found {
            Some(path) => reference(&def.name, path),
            None => Finding::failed(
                "monitor",
                format!(
                    "{}: no version of model {} has a reference-{}.json; make it with: forebay profile {} --training-set \
                     FILE --model DIR",
                    def.name, def.model, def.reference, def.reference
                ),
            ),
        });
    }
    findings
}

fn reference(monitor: &str, path: &Path) -> Finding {
    let read = std::fs::read(path).map_err(anyhow::Error::from);
    match read.and_then(|bytes| Ok(ReferenceProfile::from_json(&bytes)?)) {
        Ok(profile) => Finding::ok(
            "monitor",
            format!(
                "{monitor}: compares with {} rows of {}",
                profile.rows, profile.name
            ),
        ),
        Err(error) => Finding::failed(
            "monitor",
            format!(
                "{monitor}: {} cannot be used: {}; make it again with forebay profile",
                path.display(),
                exit::words(&error)
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_is_none_is_a_failure_with_the_remedy() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("reference-x.json");
        std::fs::write(&path, "{}")?;
        let finding = reference("quality", &path);
        assert!(
            finding.is_failed() && finding.text().contains("forebay profile"),
            "{finding:?}"
        );
        assert!(examine(&Catalog::empty(), dir.path()).is_empty());
        Ok(())
    }
}
