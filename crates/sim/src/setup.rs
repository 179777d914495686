//! How a world is built: sizes, what is scored and watched, and what refuses what. Data only; a
//! seed draws it, and tests state it.

use std::time::Duration;

use forebay_core::limits::IDLE_TIMEOUT_US;
use forebay_core::time::Micros;
use forebay_pipeline::ScoringLimits;

use crate::refusals::Refusals;
use crate::world::RECENT;

/// How the world is built.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Partitions of the events.
    pub partitions: usize,
    /// Shards of the store.
    pub shards: u16,
    /// Threads that write them.
    pub writer_threads: usize,
    /// Rows of a micro-batch at most.
    pub epoch_max_rows: usize,
    /// Whether events are scored.
    pub scored: bool,
    /// Whether a shadow version scores them too.
    pub shadow: bool,
    /// Columns that keep an event on one version, and its score in one shard; none: the entity's
    /// key.
    pub sticky_by: &'static [&'static str],
    /// The version that the route names.
    pub version: u32,
    /// The view whose features events are scored with.
    pub asks: u32,
    /// First feature of the rows that the model refuses.
    pub model_refuses: Option<f64>,
    /// Whether it panics on them.
    pub model_panics: bool,
    /// A version that no model has.
    pub model_lacks: Option<u32>,
    /// Which events of a simulated server get no prediction.
    pub refusals: Refusals,
    /// How much of a deployment may wait.
    pub scoring: ScoringLimits,
    /// Whether some events come from a clock that is a year ahead.
    pub far_ahead: bool,
    /// Whether a monitor watches what is scored, with labels.
    pub monitored: bool,
    /// Whether that monitor comes by a change of the definitions.
    pub monitor_comes_later: bool,
    /// `FOR 1 OF m WINDOWS` of that monitor.
    pub alarm_windows: u32,
    /// Whether the topic of alarms refuses some.
    pub refuses_alarms: bool,
    /// After how long a partition without a record holds its source back no more.
    pub idle_timeout_us: Micros,
    /// How long the archive collects rows.
    pub flush: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            partitions: 2,
            shards: 3,
            writer_threads: 2,
            epoch_max_rows: 8,
            scored: true,
            shadow: false,
            sticky_by: &[],
            version: 1,
            asks: RECENT,
            model_refuses: None,
            model_panics: false,
            model_lacks: None,
            refusals: Refusals::default(),
            scoring: ScoringLimits::default(),
            far_ahead: false,
            monitored: false,
            monitor_comes_later: false,
            alarm_windows: 2,
            refuses_alarms: false,
            idle_timeout_us: IDLE_TIMEOUT_US,
            flush: Duration::from_millis(3),
        }
    }
}
