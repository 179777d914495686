//! `catalog.json` in the data directory: the definitions as applied. Written whole to a file beside
//! it, synced, and renamed over it, so that a crash leaves the old one or the new one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use forebay_engine::{Catalog, CatalogState};

/// Where the catalog of `data_dir` lies.
#[must_use]
pub(crate) fn catalog_path(data_dir: &Path) -> PathBuf {
    data_dir.join("catalog.json")
}

/// The catalog of `data_dir`; an empty one where nothing was applied yet.
///
/// # Errors
/// The file cannot be read, is damaged, or has a shape that this version does not know.
pub(crate) fn load(data_dir: &Path) -> Result<Catalog> {
    let path = catalog_path(data_dir);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Catalog::empty()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let state: CatalogState = serde_json::from_slice(&bytes).with_context(|| {
        format!(
            "{} is damaged; restore it, or start on an empty data directory",
            path.display()
        )
    })?;
    Catalog::load(&state).with_context(|| {
        format!(
            "the definitions in {} cannot be read; start the build that applied them, or move the file \
             away and apply the definitions again",
            path.display()
        )
    })
}

/// Make `catalog` the one that a restart finds.
///
/// # Errors
/// The disk fails: the old one stays.
pub(crate) fn save(data_dir: &Path, catalog: &Catalog) -> Result<()> {
    let path = catalog_path(data_dir);
    let bytes = serde_json::to_vec_pretty(catalog.state())?;
    write_whole(&path, &bytes)
}

/// Replace the file at `path` by `bytes`, so that a crash or a power cut leaves the old file or the
/// new one, whole.
///
/// # Errors
/// The disk fails: the old one stays.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        let folder = path.parent().context("a file lies in a folder")?;
        Ok(File::open(folder)?.sync_all()?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
