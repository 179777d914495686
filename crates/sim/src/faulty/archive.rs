//! The archive, wrapped. An append may be done and reported as maybe written, as with a store of
//! objects that does not answer; a scan may end between two batches, for that and by a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::ports::{
    Archive, Beginnings, LogIdentity, RowStream, Scan, TableScan, TableSnapshot,
};
use forebay_core::progress::Applied;
use futures::StreamExt;
use futures::stream::unfold;

use crate::faults::Effect::{None, Write};
use crate::faults::{Faults, Part};

/// An archive under faults.
#[derive(Debug)]
pub struct FaultyArchive<A> {
    inner: A,
    faults: Arc<Faults>,
}

impl<A> FaultyArchive<A> {
    /// `inner` under `faults`.
    pub fn new(inner: A, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

#[async_trait]
impl<A: Archive> Archive for FaultyArchive<A> {
    async fn open_table(&self, name: &str, schema: SchemaRef) -> PortResult<()> {
        self.faults.is_there(name)?;
        let act = self.inner.open_table(name, schema);
        self.faults.meet_async(Part::Archive, Write, act).await
    }

    async fn begin(
        &self,
        name: &str,
        beginnings: &Beginnings,
        logs: &BTreeMap<String, LogIdentity>,
    ) -> PortResult<()> {
        self.faults.is_there(name)?;
        let act = self.inner.begin(name, beginnings, logs);
        self.faults.meet_async(Part::Archive, Write, act).await
    }

    async fn progress(&self, name: &str) -> PortResult<Applied> {
        self.faults.is_there(name)?;
        let act = self.inner.progress(name);
        self.faults.meet_async(Part::Archive, None, act).await
    }

    async fn append(
        &self,
        name: &str,
        batches: Vec<RecordBatch>,
        up_to: &Applied,
    ) -> PortResult<u64> {
        self.faults.is_there(name)?;
        let act = self.inner.append(name, batches, up_to);
        self.faults.meet_async(Part::Archive, Write, act).await
    }

    async fn snapshot(&self, name: &str) -> PortResult<TableSnapshot> {
        self.faults.is_there(name)?;
        let act = self.inner.snapshot(name);
        self.faults.meet_async(Part::Archive, None, act).await
    }
}

#[async_trait]
impl<A: Archive> TableScan for FaultyArchive<A> {
    async fn scan(&self, name: &str, scan: Scan) -> PortResult<RowStream> {
        self.faults.is_there(name)?;
        let act = self.inner.scan(name, scan);
        let rows = self.faults.meet_async(Part::Archive, None, act).await?;
        let (faults, is_broken) = (Arc::clone(&self.faults), false);
        let next = |(mut rows, faults, is_broken): (RowStream, Arc<Faults>, bool)| async move {
            let batch = rows.next().await.filter(|_| !is_broken)?;
            let read = faults.read_on(Part::Archive).and(batch);
            let is_broken = read.is_err();
            Some((read, (rows, faults, is_broken)))
        };
        Ok(Box::pin(unfold((rows, faults, is_broken), next)))
    }
}
