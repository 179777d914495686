//! A local directory as an object store that survives a power cut. `object_store` 0.13 never
//! fsyncs, and syncing after its `put` is too late: a cut in between leaves a log entry that exists
//! and is empty. So every write here is: staged file, its bytes, `sync_all`, then the name (hard
//! link for create, rename for overwrite), then fsync of the directory.
//!
//! Reads, lists and deletes go to [`LocalFileSystem`] unchanged, but for lists of a log's end
//! ([`listing`]): a delete that a power cut undoes is done again by the next sweep. Staged files
//! end in `#<n>`, which [`LocalFileSystem`] never lists.

mod listing;
mod staged;
mod upload;

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

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

use self::staged::{STORE, Staged, blocking, failed, sync_parent};
use self::upload::DurableUpload;

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
        listing::list_from(&self.inner, prefix, offset)
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

#[cfg(test)]
mod tests;
