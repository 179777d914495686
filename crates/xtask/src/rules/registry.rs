//! Everything comes from one registry by one lock file: no git dependencies, no `[patch]`, no
//! second lock file, no folder outside the repository. Users behind a registry mirror can then
//! build what we built.

use anyhow::{Context, Result};

use crate::finding::Finding;
use crate::metadata::Metadata;
use crate::tree::{TextFile, Tree};

const LOCK: &str = "Cargo.lock";

/// Lock files, patches and foreign sources.
///
/// # Errors
/// A manifest is not TOML.
pub(crate) fn check(tree: &Tree, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = lock_files(tree.files());
    for file in tree
        .files()
        .iter()
        .filter(|f| f.path == "Cargo.toml" || f.path.ends_with("/Cargo.toml"))
    {
        findings.extend(patches(file)?);
    }
    findings.extend(foreign(metadata));
    Ok(findings)
}

fn lock_files(files: &[TextFile]) -> Vec<Finding> {
    let is_lock = |f: &&TextFile| f.path == LOCK || f.path.ends_with("/Cargo.lock");
    let mut findings: Vec<Finding> = files
        .iter()
        .filter(is_lock)
        .filter(|f| f.path != LOCK)
        .map(|f| {
            Finding::new(
                &f.path,
                1,
                "a second lock file",
                "one workspace has one lock file: remove it",
            )
        })
        .collect();
    if !files.iter().any(|f| f.path == LOCK) {
        findings.push(Finding::new(
            LOCK,
            1,
            "the lock file is missing or ignored",
            "commit it: builds use --locked",
        ));
    }
    findings
}

fn patches(manifest: &TextFile) -> Result<Vec<Finding>> {
    let table: toml::Table = manifest
        .text
        .parse()
        .with_context(|| format!("{} is not TOML", manifest.path))?;
    let tables = ["patch", "replace"]
        .into_iter()
        .filter(|name| table.contains_key(*name));
    let findings = tables.map(|name| {
        let opening = format!("[{name}");
        let line = manifest
            .text
            .lines()
            .position(|line| line.trim_start().starts_with(&opening))
            .map_or(1, |at| at + 1);
        Finding::new(
            &manifest.path,
            line,
            format!("a [{name}] table"),
            "use a release; no forks, no patches",
        )
    });
    Ok(findings.collect())
}

fn foreign(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in metadata.members() {
        for dependency in &member.package.dependencies {
            if dependency
                .source
                .as_deref()
                .is_some_and(|source| !source.starts_with("registry+"))
            {
                let problem = format!("'{}' does not come from a registry", dependency.name);
                findings.push(Finding::new(
                    member.manifest,
                    1,
                    problem,
                    "use a release of it",
                ));
            }
        }
    }
    let ours: Vec<&str> = metadata
        .members()
        .iter()
        .map(|m| m.package.name.as_str())
        .collect();
    for package in &metadata.packages {
        let (problem, remedy) = match package.source.as_deref() {
            Some(source) if source.starts_with("registry+") => continue,
            Some(source) => (
                format!("'{}' comes from {source}", package.name),
                "use releases from the registry",
            ),
            None if ours.contains(&package.name.as_str()) => continue,
            None => (
                format!("'{}' is a folder outside the workspace", package.name),
                "move it below crates/",
            ),
        };
        findings.push(Finding::new(LOCK, 1, problem, remedy));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::workspace;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn there_is_one_lock_file() {
        assert!(lock_files(&[file("Cargo.lock", "")]).is_empty());
        let two = lock_files(&[file("Cargo.lock", ""), file("crates/a/Cargo.lock", "")]);
        assert_eq!(
            two.iter().map(|f| f.file.as_str()).collect::<Vec<_>>(),
            ["crates/a/Cargo.lock"]
        );
        assert!(lock_files(&[])[0].problem.contains("missing"));
    }

    #[test]
    fn patches_are_found_with_their_line() {
        let found = patches(&file(
            "Cargo.toml",
            "[workspace]\n\n[patch.crates-io]\na = { path = \"a\" }\n",
        ))
        .expect("TOML");
        assert_eq!((found.len(), found[0].line), (1, 3));
        assert!(
            patches(&file("Cargo.toml", "[workspace]\n"))
                .expect("TOML")
                .is_empty()
        );
        assert!(patches(&file("a/Cargo.toml", "[")).is_err());
    }

    #[test]
    fn what_comes_from_git_is_found_in_manifest_and_lock_file() {
        let mut metadata = workspace(&["core: serde", "serde 1.0.0"]);
        assert!(foreign(&metadata).is_empty());
        let git = "git+https://example.org/serde";
        for package in &mut metadata.packages {
            package
                .dependencies
                .iter_mut()
                .for_each(|d| d.source = Some(git.to_owned()));
            if package.name == "serde" {
                package.source = Some(git.to_owned());
            }
        }
        let files: Vec<String> = foreign(&metadata).into_iter().map(|f| f.file).collect();
        assert_eq!(files, ["crates/core/Cargo.toml", "Cargo.lock"]);
    }
}
