//! An object store that fails as told: the n-th call, before or after its effect. A failed write
//! "before" may leave nothing, one "after" has happened and its answer is lost, as when a machine
//! dies between the two.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::sync::Notify;

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// `inner`, but from call number `from` on `calls` calls fail.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    made: AtomicU64,
    /// Bytes that were asked for, and those that were given.
    bytes: AtomicU64,
    from: u64,
    calls: u64,
    when: When,
    /// What the path of the next write that waits has in it.
    held: Mutex<Option<&'static str>>,
    reached: Notify,
    released: Notify,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, from: u64, calls: u64, when: When) -> Self {
        Self {
            inner,
            made: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            from,
            calls,
            when,
            held: Mutex::default(),
            reached: Notify::new(),
            released: Notify::new(),
        }
    }

    /// Let the next write of a path that has `part` in it wait for [`Self::release`].
    pub(crate) fn hold(&self, part: &'static str) {
        *self.held.lock().expect("not poisoned") = Some(part);
    }

    /// Wait until a write waits.
    pub(crate) async fn is_held(&self) {
        self.reached.notified().await;
    }

    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    async fn gate(&self, location: &Path) {
        let waits = self
            .held
            .lock()
            .expect("not poisoned")
            .take_if(|part| location.as_ref().contains(*part))
            .is_some();
        if waits {
            self.reached.notify_one();
            self.released.notified().await;
        }
    }

    /// Calls made so far.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Bytes that were read and written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }

    fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn fails(&self) -> bool {
        let call = self.made.fetch_add(1, Ordering::SeqCst);
        call >= self.from && call - self.from < self.calls
    }

    async fn guard<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if !self.fails() {
            return call.await;
        }
        if self.when == When::After {
            // The effect happened; what it answered is lost.
            drop(call.await);
        }
        Err(injected())
    }
}

fn injected() -> Error {
    Error::Generic {
        store: "FaultyStore",
        source: "injected".into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.gate(location).await;
        self.count(payload.content_length() as u64);
        self.guard(self.inner.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.guard(self.inner.put_multipart_opts(location, opts))
            .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.guard(self.inner.get_opts(location, options)).await?;
        self.count(got.range.end - got.range.start);
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let got = self.guard(self.inner.get_ranges(location, ranges)).await?;
        self.count(got.iter().map(|bytes| bytes.len() as u64).sum());
        Ok(got)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.fails() {
            return futures::stream::once(async { Err(injected()) }).boxed();
        }
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.fails() {
            return futures::stream::once(async { Err(injected()) }).boxed();
        }
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.guard(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.guard(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.guard(self.inner.rename_opts(from, to, options)).await
    }
}
