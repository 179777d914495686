//! What `cargo metadata` says about the packages: ours with their dependencies, and every other
//! with its version and where it comes from. Asked once, offline where the index is at hand.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// All packages of the lock file, as far as the workspace uses them.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Ours and the others'.
    pub(crate) packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: String,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Registry or repository; None for a folder.
    pub(crate) source: Option<String>,
    manifest_path: String,
    /// What its manifest names.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One entry of a manifest.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    /// Name of the package.
    pub(crate) name: String,
    /// None, `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Registry or repository; None for a folder.
    pub(crate) source: Option<String>,
}

/// One of our crates: its folder's name, its manifest's path from the root, and what it uses.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    /// `core` for `crates/core`.
    pub(crate) folder: &'a str,
    /// `crates/core/Cargo.toml`.
    pub(crate) manifest: &'a str,
    /// The package.
    pub(crate) package: &'a Package,
}

impl Dependency {
    /// Whether only tests, benches and examples use it.
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

impl Metadata {
    /// Ask cargo.
    ///
    /// # Errors
    /// Cargo fails, for one because the lock file does not fit the manifests.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let ask = |more: &[&str]| {
            let mut command = Command::new(&cargo);
            command
                .current_dir(root)
                .args(["metadata", "--format-version", "1", "--locked"])
                .args(more);
            command.output().context("cargo metadata cannot be started")
        };
        let mut output = ask(&["--offline"])?;
        if !output.status.success() {
            output = ask(&[])?;
        }
        if !output.status.success() {
            bail!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout)
            .context("cargo metadata is not what format version 1 says")
    }

    /// Our crates, by folder.
    pub(crate) fn members(&self) -> Vec<Member<'_>> {
        let ours = self
            .packages
            .iter()
            .filter(|p| self.workspace_members.contains(&p.id));
        let mut members: Vec<Member<'_>> = ours
            .map(|package| {
                let manifest = package
                    .manifest_path
                    .strip_prefix(&self.workspace_root)
                    .unwrap_or(&package.manifest_path);
                let manifest = manifest.trim_start_matches(['/', '\\']);
                Member {
                    folder: manifest.rsplit(['/', '\\']).nth(1).unwrap_or(manifest),
                    manifest,
                    package,
                }
            })
            .collect();
        members.sort_by_key(|member| member.folder);
        members
    }

    /// The crates of ours that can reach an item of `crates/..`, by way of others too, since a
    /// value is handed on; as folders like `crates/core`. `with_dev`: for tests.
    pub(crate) fn users_of(&self, folder: &str, with_dev: bool) -> BTreeSet<String> {
        let members = self.members();
        let path = |member: &Member<'_>| format!("crates/{}", member.folder);
        let mut names: BTreeSet<&str> = members
            .iter()
            .filter(|member| path(member) == folder)
            .map(|member| member.package.name.as_str())
            .collect();
        let mut users = BTreeSet::new();
        loop {
            let reaches = |dependency: &Dependency| {
                names.contains(dependency.name.as_str()) && (with_dev || !dependency.is_dev())
            };
            let next: Vec<&Member<'_>> = members
                .iter()
                .filter(|member| !users.contains(&path(member)) && path(member) != folder)
                .filter(|member| member.package.dependencies.iter().any(reaches))
                .collect();
            if next.is_empty() {
                return users;
            }
            for member in next {
                users.insert(path(member));
                names.insert(&member.package.name);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Small workspaces for the tests of the rules: each crate with what it depends on, written in
    //! one line.

    use super::*;

    /// `"engine: forebay-core, datafusion, dev tokio, build protox"` is a crate of ours;
    /// `"arrow-array 59.3.2"` another's.
    pub(crate) fn workspace(lines: &[&str]) -> Metadata {
        let mut metadata = Metadata {
            packages: Vec::new(),
            workspace_members: Vec::new(),
            workspace_root: "/r".to_owned(),
        };
        for line in lines {
            let package = match line.split_once(':') {
                Some((folder, dependencies)) => ours(folder, dependencies),
                None => theirs(line),
            };
            if package.source.is_none() {
                metadata.workspace_members.push(package.id.clone());
            }
            metadata.packages.push(package);
        }
        metadata
    }

    fn ours(folder: &str, dependencies: &str) -> Package {
        let dependencies = dependencies
            .split(',')
            .map(str::trim)
            .filter(|d| !d.is_empty())
            .map(|dependency| {
                let (kind, name) = match dependency.split_once(' ') {
                    Some((kind, name)) => (Some(kind.to_owned()), name),
                    None => (None, dependency),
                };
                let registry = (!name.starts_with("forebay"))
                    .then(|| "registry+https://example.org/index".to_owned());
                Dependency {
                    name: name.to_owned(),
                    kind,
                    source: registry,
                }
            });
        let name = if matches!(folder, "forebay" | "xtask") {
            folder.to_owned()
        } else {
            format!("forebay-{folder}")
        };
        Package {
            id: format!("path+file:///r/crates/{folder}"),
            name,
            version: "0.1.0".to_owned(),
            source: None,
            manifest_path: format!("/r/crates/{folder}/Cargo.toml"),
            dependencies: dependencies.collect(),
        }
    }

    fn theirs(line: &str) -> Package {
        let (name, version) = line.split_once(' ').expect("name and version");
        Package {
            id: line.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            source: Some("registry+https://example.org/index".to_owned()),
            manifest_path: String::new(),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn members_are_named_by_their_folder() {
        let metadata = workspace(&["forebay: forebay-core", "core:", "serde 1.0.0"]);
        let members = metadata.members();
        let names: Vec<(&str, &str)> = members.iter().map(|m| (m.folder, m.manifest)).collect();
        assert_eq!(
            names,
            [
                ("core", "crates/core/Cargo.toml"),
                ("forebay", "crates/forebay/Cargo.toml")
            ]
        );
    }

    #[test]
    fn who_reaches_a_crate_does_so_by_way_of_others_too() {
        let metadata = workspace(&[
            "core:",
            "online: forebay-core",
            "serve: forebay-core, dev forebay-online",
            "forebay: forebay-online",
        ]);
        let users = |folder: &str, with_dev| Vec::from_iter(metadata.users_of(folder, with_dev));
        let all = ["crates/forebay", "crates/online", "crates/serve"];
        assert_eq!(users("crates/core", false), all);
        assert_eq!(users("crates/online", false), ["crates/forebay"]);
        assert_eq!(
            users("crates/online", true),
            ["crates/forebay", "crates/serve"]
        );
        assert!(users("crates/serve", true).is_empty());
    }
}
