//! Times that tests set: the present, and the watermarks of sources.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use forebay_core::time::{Clock, Micros};
use forebay_serve::Watermarks;
use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct FakeClock(pub(crate) AtomicI64);

impl Clock for FakeClock {
    fn now_us(&self) -> Micros {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct FakeWatermarks(pub(crate) Mutex<BTreeMap<String, Micros>>);

impl Watermarks for FakeWatermarks {
    fn watermark_us(&self, source: &str) -> Option<Micros> {
        self.0.lock().get(source).copied()
    }
}
