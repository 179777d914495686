//! A multipart upload (checkpoints come this way) into one staged file: parts are written at their
//! offsets, in any order, and the name appears only when all bytes are durable.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::staged::{STORE, Staged, blocking, failed};

/// One upload in progress.
#[derive(Debug)]
pub(super) struct DurableUpload {
    /// None once it was completed or aborted.
    staged: Option<Arc<Staged>>,
    target: PathBuf,
    offset: u64,
}

impl DurableUpload {
    pub(super) fn new(target: PathBuf) -> Result<Self> {
        let staged = Staged::new(&target).map_err(|e| failed(&target, &e))?;
        Ok(Self {
            staged: Some(Arc::new(staged)),
            target,
            offset: 0,
        })
    }

    fn ended() -> Error {
        Error::Generic {
            store: STORE,
            source: "the upload was completed or aborted before".into(),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(staged) = self.staged.clone() else {
            return async { Err(Self::ended()) }.boxed();
        };
        let mut offset = self.offset;
        self.offset += data.content_length() as u64;
        let target = self.target.clone();
        blocking(move || {
            for part in &data {
                staged
                    .file
                    .write_all_at(part, offset)
                    .map_err(|e| failed(&target, &e))?;
                offset += part.len() as u64;
            }
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(Self::ended)?;
        let target = self.target.clone();
        blocking(move || staged.publish(&target, false)).await?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn abort(&mut self) -> Result<()> {
        self.staged = None;
        Ok(())
    }
}
