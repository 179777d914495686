//! The newest watermark of each source, for readers on other threads: the ingest thread writes it,
//! serving, monitors and metrics read it. It outlives one run of the pipeline and never falls
//! while the process lives.

use std::collections::BTreeMap;

use forebay_core::time::Micros;
use parking_lot::RwLock;

/// The newest watermark of each source, by its name.
#[derive(Debug, Default)]
pub struct PublishedWatermarks {
    sources: RwLock<BTreeMap<String, Micros>>,
}

impl PublishedWatermarks {
    /// Smallest watermark over the partitions of `source`; None until each of them had a row or is
    /// known to be idle, since the first rows of the others may be older than any seen so far.
    #[must_use]
    pub fn of(&self, source: &str) -> Option<Micros> {
        self.sources.read().get(source).copied()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Micros> {
        self.sources.read().clone()
    }

    pub(super) fn publish(&self, source: &str, watermark_us: Micros) {
        let mut sources = self.sources.write();
        match sources.get_mut(source) {
            Some(known) => *known = watermark_us.max(*known),
            None => {
                sources.insert(source.to_owned(), watermark_us);
            }
        }
    }
}
