//! A file on its way to its name: its bytes are durable before the name is there, and the name
//! before anybody is told. Knows paths and nothing of object stores but their errors.

use std::fs::{self, File};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::{Error, Result};

/// Name of the store in errors.
pub(super) const STORE: &str = "DurableLocal";
/// Staged files of one name that may lie about after crashes before a write gives up.
pub(super) const STAGED_MAX: u32 = 10_000;

/// A file under a name that nobody lists. Removed on drop, but not after a publish by rename: the
/// name may be another writer's by then.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) file: File,
    path: PathBuf,
    renamed: AtomicBool,
}

impl Staged {
    /// A new staged file beside `target`, whose directory is made when it is missing.
    pub(super) fn new(target: &FilePath) -> io::Result<Self> {
        if let Some(directory) = target.parent() {
            create_directories(directory)?;
        }
        for number in 0..STAGED_MAX {
            let mut name = target.as_os_str().to_owned();
            name.push(format!("#{number}"));
            let path = PathBuf::from(name);
            match File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
            {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        renamed: AtomicBool::new(false),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "{STAGED_MAX} staged files lie beside it; delete those whose names end in `#<n>`"
        )))
    }

    /// Make the bytes durable, then the name, then the name durable. With `create`, an existing
    /// target is an error.
    pub(super) fn publish(&self, target: &FilePath, create: bool) -> Result<()> {
        self.file.sync_all().map_err(|e| failed(target, &e))?;
        if create {
            fs::hard_link(&self.path, target).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => Error::AlreadyExists {
                    path: target.display().to_string(),
                    source: Box::new(e),
                },
                _ => failed(target, &e),
            })?;
        } else {
            fs::rename(&self.path, target).map_err(|e| failed(target, &e))?;
            self.renamed.store(true, Ordering::Release);
        }
        sync_parent(target)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.renamed.load(Ordering::Acquire)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a staged file stays behind");
        }
    }
}

/// `create_dir_all`, durable: the parent of each directory made is synced.
fn create_directories(directory: &FilePath) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    create_directories(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

pub(super) fn sync_parent(path: &FilePath) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| failed(parent, &e))
}

pub(super) fn failed(path: &FilePath, source: &io::Error) -> Error {
    Error::Generic {
        store: STORE,
        source: Box::new(io::Error::new(
            source.kind(),
            format!("{}: {source}", path.display()),
        )),
    }
}

/// Run file work off the async threads where there is a runtime, here where there is none.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    crate::blocking::blocking(work).await?
}
