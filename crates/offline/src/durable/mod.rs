//! A local directory as an object store that survives a power cut. `object_store` 0.13 never
//! fsyncs, and syncing after its `put` is too late: a cut in between leaves a log entry that exists
//! and is empty. So every write here is: staged file, its bytes, `sync_all`, then the name (hard
//! link for create, rename for overwrite), then fsync of the directory.
//!
//! Reads, lists and deletes go to [`LocalFileSystem`] unchanged: a delete that a power cut undoes
//! is done again by the next sweep. Staged files end in `#<n>`, which [`LocalFileSystem`] never
//! lists.

mod upload;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

use self::upload::DurableUpload;

/// Name of this store in errors.
const STORE: &str = "DurableLocal";
/// Staged files of one name that may lie about after crashes before a write gives up.
const STAGED_MAX: u32 = 10_000;

/// [`LocalFileSystem`] over the whole file system, with durable writes.
#[derive(Debug, Clone, Default)]
pub struct DurableLocal {
    inner: Arc<LocalFileSystem>,
}

impl DurableLocal {
    /// A store whose root is the root of the file system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for DurableLocal {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        if !opts.attributes.is_empty() || matches!(opts.mode, PutMode::Update(_)) {
            return Err(Error::NotImplemented {
                operation: "`put_opts` with attributes or a version".to_owned(),
                implementer: STORE.to_owned(),
            });
        }
        let path = self.inner.path_to_filesystem(location)?;
        blocking(move || {
            let mut staged = Staged::new(&path).map_err(|e| failed(&path, &e))?;
            for part in &payload {
                staged.file.write_all(part).map_err(|e| failed(&path, &e))?;
            }
            staged.publish(&path, opts.mode == PutMode::Create)?;
            Ok(PutResult {
                e_tag: None,
                version: None,
            })
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !opts.attributes.is_empty() {
            return Err(Error::NotImplemented {
                operation: "`put_multipart_opts` with attributes".to_owned(),
                implementer: STORE.to_owned(),
            });
        }
        let path = self.inner.path_to_filesystem(location)?;
        let upload = blocking(move || DurableUpload::new(path)).await?;
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let target = self.inner.path_to_filesystem(to)?;
        self.inner.copy_opts(from, to, options).await?;
        blocking(move || sync_parent(&target)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (origin, target) = (
            self.inner.path_to_filesystem(from)?,
            self.inner.path_to_filesystem(to)?,
        );
        self.inner.rename_opts(from, to, options).await?;
        blocking(move || sync_parent(&target).and_then(|()| sync_parent(&origin))).await
    }
}

/// A file under a name that nobody lists. Removed on drop, but not after a publish by rename: the
/// name may be another writer's by then.
#[derive(Debug)]
struct Staged {
    file: File,
    path: PathBuf,
    renamed: AtomicBool,
}

impl Staged {
    /// A new staged file beside `target`, whose directory is made when it is missing.
    fn new(target: &FilePath) -> io::Result<Self> {
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
    fn publish(&self, target: &FilePath, create: bool) -> Result<()> {
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

fn sync_parent(path: &FilePath) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| failed(parent, &e))
}

fn failed(path: &FilePath, source: &io::Error) -> Error {
    Error::Generic {
        store: STORE,
        source: Box::new(io::Error::new(
            source.kind(),
            format!("{}: {source}", path.display()),
        )),
    }
}

/// Run file work off the async threads where there is a runtime, here where there is none.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    crate::blocking::blocking(work).await?
}

#[cfg(test)]
mod tests;
