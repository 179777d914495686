//! The repository's text files: those that git tracks or would track (not the ignored ones), or,
//! where there is no git, all below the root but build output. Read once; the rules look at the
//! texts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::source::Source;

/// Folders that are never ours, where git is not there to say so.
const SKIPPED: [&str; 4] = ["target", ".git", ".venv", "__pycache__"];
/// A file above this is data, whatever its bytes look like.
const TEXT_MAX_BYTES: u64 = 4 << 20;
/// Endings of what people write: such a file is text, or no rule would look at it.
const WRITTEN: [&str; 5] = [".rs", ".md", ".py", ".toml", ".sql"];

/// One text file.
#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The repository's root.
    pub(crate) root: PathBuf,
    files: Vec<TextFile>,
    others: Vec<String>,
}

/// The repository's root: two folders above this crate.
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("run it as `cargo run -p xtask -- check`")?;
    let root = Path::new(&here).ancestors().nth(2).map(Path::to_path_buf);
    root.filter(|root| root.join("crates").is_dir())
        .context("there is no folder 'crates' two levels above this crate")
}

impl Tree {
    /// Read the text files below `root`.
    ///
    /// # Errors
    /// A file cannot be read, or is no text where somebody wrote it.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut paths = match tracked(root)? {
            Some(paths) => paths,
            None => walk(root)?,
        };
        paths.sort();
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for path in paths {
            let full = root.join(&path);
            // Deleted but not committed yet, or a link.
            let Ok(metadata) = full.symlink_metadata() else {
                continue;
            };
            if !metadata.is_file() || metadata.len() > TEXT_MAX_BYTES {
                others.push(path);
                continue;
            }
            let bytes = std::fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            match text_of(&path, bytes)? {
                Some(text) => files.push(TextFile { path, text }),
                None => others.push(path),
            }
        }
        Ok(Self {
            root: root.to_path_buf(),
            files,
            others,
        })
    }

    /// All text files, by path.
    pub(crate) fn files(&self) -> &[TextFile] {
        &self.files
    }

    /// Paths of what is no text.
    pub(crate) fn others(&self) -> &[String] {
        &self.others
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust sources below `crates/`.
    pub(crate) fn rust(&self) -> Vec<Source> {
        let rust = self
            .files
            .iter()
            .filter(|f| f.path.starts_with("crates/") && f.path.ends_with(".rs"));
        rust.map(|file| Source::new(&file.path, &file.text))
            .collect()
    }
}

/// The text of a file; None for data.
///
/// # Errors
/// Somebody wrote it, and it is no text.
fn text_of(path: &str, bytes: Vec<u8>) -> Result<Option<String>> {
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(Some(text)),
        _ if WRITTEN.iter().any(|end| path.ends_with(end)) => {
            bail!("{path} has a zero byte, or is not UTF-8: write it as an escape")
        }
        _ => Ok(None),
    }
}

/// What git tracks, and what it would; None where there is no repository.
fn tracked(root: &Path) -> Result<Option<Vec<String>>> {
    if !root.join(".git").exists() {
        return Ok(None);
    }
    let listing = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ];
    let Ok(output) = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(listing)
        .output()
    else {
        return Ok(None);
    };
    if !output.status.success() {
        bail!(
            "git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut paths: Vec<String> = text
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    Ok(Some(paths))
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let (mut folders, mut paths) = (vec![root.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?
        {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let relative = path.strip_prefix(root).unwrap_or(&path);
                paths.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_this_file_and_not_what_is_ignored() {
        let tree = Tree::read(&root().expect("run by cargo")).expect("readable");
        assert!(
            tree.file("crates/xtask/src/tree.rs")
                .is_some_and(|file| file.text.contains("this very text"))
        );
        assert!(
            tree.files()
                .iter()
                .all(|file| !file.path.starts_with("target/"))
        );
        assert!(tree.file("crates/README.md").is_some());
        assert!(
            tree.rust()
                .iter()
                .all(|source| source.path.starts_with("crates/"))
        );
    }

    #[test]
    fn a_source_with_a_zero_byte_is_refused_and_data_may_be_anything() {
        let text = |path: &str, bytes: &[u8]| text_of(path, bytes.to_vec());
        assert_eq!(text("a.rs", b"ab").expect("text"), Some("ab".to_owned()));
        assert_eq!(text("a.bin", b"a\0b").expect("data"), None);
        for bytes in [&b"a\0b"[..], b"\xff"] {
            let error = text("a.rs", bytes).expect_err("no rule would look at it");
            assert!(error.to_string().contains("a.rs"), "{error}");
        }
    }

    #[test]
    fn without_git_the_folders_are_walked() {
        let here = root().expect("run by cargo").join("crates/xtask");
        let paths = walk(&here).expect("readable");
        assert!(
            paths.contains(&"src/tree.rs".to_owned()) && paths.contains(&"Cargo.toml".to_owned()),
            "{paths:?}"
        );
    }
}
