//! The files of a training set: rows, errors and manifest, each whole or not there. `training_set`
//! says what is in them, the binary writes them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::TrainingError;
use crate::manifest::TrainingManifest;

/// Where the manifest of the set at `path` lies.
#[must_use]
pub fn manifest_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".manifest.json");
    PathBuf::from(name)
}

/// Where the errors of the set at `path` are listed, if it has any: `delays.errors.parquet` beside
/// `delays.parquet`.
#[must_use]
pub fn errors_path(path: &Path) -> PathBuf {
    path.with_extension("errors.parquet")
}

/// A set on its way to disk: its file appears whole or not at all, the manifest last; a set without
/// one is not finished.
#[derive(Debug)]
pub struct StagedSet {
    path: PathBuf,
    rows: Staged,
    errors: Option<Staged>,
}

impl StagedSet {
    /// The set that will lie at `path`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn create(path: &Path) -> Result<Self, TrainingError> {
        Ok(Self {
            path: path.to_owned(),
            rows: Staged::create(path)?,
            errors: None,
        })
    }

    /// Where its rows are to be written.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn rows_file(&self) -> Result<File, TrainingError> {
        let file = self.rows.file.try_clone();
        file.map_err(|e| TrainingError::file("write", &self.path, e))
    }

    /// Where its errors are to be written, of which there are some.
    ///
    /// # Errors
    /// The disk fails, the process has no descriptor left.
    pub fn errors_file(&mut self) -> Result<File, TrainingError> {
        let path = errors_path(&self.path);
        let staged = match self.errors.take() {
            Some(staged) => staged,
            None => Staged::create(&path)?,
        };
        let file = staged.file.try_clone();
        self.errors = Some(staged);
        file.map_err(|e| TrainingError::file("write", &path, e))
    }

    /// Its rows are written, and its errors where there are some: put them and `manifest` in place.
    ///
    /// # Errors
    /// The disk fails.
    pub fn finish(self, manifest: &TrainingManifest) -> Result<(), TrainingError> {
        self.rows.finish()?;
        match self.errors {
            Some(errors) => errors.finish()?,
            None => remove(&errors_path(&self.path))?,
        }
        let path = manifest_path(&self.path);
        let mut beside = Staged::create(&path)?;
        beside
            .file
            .write_all(manifest.encode().as_bytes())
            .map_err(|e| TrainingError::file("write", &path, e))?;
        beside.finish()
    }
}

/// No errors of a set that was there before are taken for this one's.
fn remove(path: &Path) -> Result<(), TrainingError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainingError::file("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// The manifest of the set at `path`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn read_manifest(path: &Path) -> Result<TrainingManifest, TrainingError> {
    let manifest = manifest_path(path);
    let text =
        fs::read_to_string(&manifest).map_err(|e| TrainingError::file("read", &manifest, e))?;
    TrainingManifest::decode(&text)
}

/// A file that takes its name when it is whole; dropped before, it goes.
#[derive(Debug)]
struct Staged {
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
    is_finished: bool,
}

impl Staged {
    fn create(path: &Path) -> Result<Self, TrainingError> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = File::create(&unfinished).map_err(|e| TrainingError::file("write", path, e))?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            file,
            is_finished: false,
        })
    }

    fn finish(mut self) -> Result<(), TrainingError> {
        let done = self.file.sync_all();
        done.and_then(|()| fs::rename(&self.unfinished, &self.path))
            .map_err(|e| TrainingError::file("write", &self.path, e))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        if let Err(error) = fs::remove_file(&self.unfinished) {
            let path = self.unfinished.display();
            tracing::warn!(%path, %error, "an unfinished file stays behind");
        }
    }
}
