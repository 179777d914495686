//! How far event time has come, as requests see it: the instant of a read that names none follows
//! from the present and from these watermarks.

use std::fmt::Debug;

use forebay_core::time::Micros;

/// How far event time has come, per source.
pub trait Watermarks: Send + Sync + Debug {
    /// Smallest watermark over the partitions of `source`; None before the first event. Called on
    /// every read: it must not wait.
    fn watermark_us(&self, source: &str) -> Option<Micros>;
}
