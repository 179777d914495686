//! One view of the service: collects its events while the table is read, then answers all of the
//! spine's rows, key after key, and runs the view's own expressions over the aggregates.

use std::sync::Arc;

use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use forebay_core::cells::Cells;
use forebay_core::fault::LeftOutRows;
use forebay_core::memory::Reservation;
use forebay_core::ports::CompiledView;
use forebay_core::time::Micros;
use forebay_core::view::ViewSpec;

use super::answers::Answers;
use super::collect::{BatchPlaces, Collector, Event, Events};
use super::plan::{Probe, WindowPlan, window_plans};
use super::slide::slide;
use super::tree::Tree;
use crate::error::Result;
use crate::input::{EventBatch, LeftOut, Places, SpineKeys, apply_presence};

/// What a probe of the tree costs, in events of a walk. Measured roughly; it decides speed, never a
/// value.
const TREE_PROBE_EVENTS: usize = 64;

/// Next offsets by cut and place, and the cut of each spine row.
pub(super) type Cuts<'a> = (&'a [Vec<i64>], &'a [u32]);

/// One view of the service: its events as they are collected, then its answers.
#[derive(Debug)]
pub(super) struct ViewProbe {
    view: Arc<dyn CompiledView>,
    key_columns: Vec<ArrayRef>,
    keys: SpineKeys,
    collector: Collector,
    left_out: LeftOut,
}

/// What a view answers for all rows of a spine.
pub(super) struct ViewAnswer {
    /// Its features, presence applied.
    pub(super) features: Cells,
    /// Events that it leaves out and a row would see.
    pub(super) left_out: LeftOutRows,
}

impl ViewProbe {
    /// Of a spine whose key columns for this view are `key_columns`.
    pub(super) fn new(
        view: Arc<dyn CompiledView>,
        key_columns: Vec<ArrayRef>,
        at: &TimestampMicrosecondArray,
        memory: Reservation,
    ) -> Result<Self> {
        let keys = SpineKeys::new(&key_columns, at.values())?;
        Ok(Self {
            view,
            key_columns,
            keys,
            collector: Collector::new(memory),
            left_out: LeftOut::default(),
        })
    }

    /// Take what the spine can see of `batch`, whose places have these numbers; `time` is its
    /// column of event times.
    pub(super) fn add(&mut self, batch: &EventBatch, time: usize, place: &[u32]) -> Result<()> {
        let folded = self.view.fold(&batch.rows)?;
        let (view, events) = (self.view.as_ref(), (batch, time, place));
        self.left_out
            .note(view, events, &folded.left_out, &self.keys)?;
        let places = BatchPlaces {
            place,
            partition: batch.partition.values(),
            offset: batch.offset.values(),
        };
        self.collector.add(&folded, &places, &self.keys)
    }

    /// What the view answers for all rows; `places` are the table's.
    pub(super) fn answer(
        self,
        at: &TimestampMicrosecondArray,
        cuts: Option<Cuts<'_>>,
        places: &Places,
    ) -> Result<ViewAnswer> {
        let Self {
            view,
            key_columns,
            keys,
            collector,
            left_out,
        } = self;
        let spec = Arc::clone(view.spec());
        let plans = window_plans(&spec);
        let events = collector.finish(keys.count());
        if cuts.is_none() {
            // What was served is compared with whatever the archive has: `verify` reports it.
            events.check_once()?;
        }
        let probes = probes(&keys, at.values(), cuts.map(|(_, index)| index));
        let mut answers = Answers::new(&spec, at.len());
        let key_probe = KeyProbe {
            spec: &spec,
            plans: &plans,
            events: &events,
        };
        for run in probes.chunk_by(|a, b| a.key == b.key) {
            key_probe.answer(run, cuts.map(|(offsets, _)| offsets), &mut answers)?;
        }
        let left_out = left_out.seen(&spec, (&keys, at.values()), places, |row, event| {
            cuts.is_none_or(|(offsets, index)| {
                event.offset < offsets[index[row] as usize][event.place as usize]
            })
        });
        let (aggregates, newest_us) = answers.finish()?;
        let features = view.finish(&key_columns, at, &aggregates)?;
        Ok(ViewAnswer {
            features: apply_presence(features, &newest_us, at.values(), spec.ttl_us)?,
            left_out,
        })
    }
}

/// The rows with a key, sorted by (key, cut, instant).
pub(super) fn probes(keys: &SpineKeys, at: &[Micros], cuts: Option<&[u32]>) -> Vec<Probe> {
    let rows = keys.of_rows().iter().enumerate();
    let mut probes: Vec<Probe> = rows
        .filter_map(|(row, key)| {
            let cut = cuts.map_or(0, |cuts| cuts[row]);
            let number = u32::try_from(row).expect("a spine has fewer rows than u32 counts");
            key.map(|key| Probe {
                key,
                cut,
                at_us: at[row],
                row: number,
            })
        })
        .collect();
    probes.sort_unstable_by_key(|p| (p.key, p.cut, p.at_us, p.row));
    probes
}

/// Answers the probes of one key after another.
struct KeyProbe<'a> {
    spec: &'a ViewSpec,
    plans: &'a [WindowPlan],
    events: &'a Events,
}

impl KeyProbe<'_> {
    /// `run` are the probes of one key, sorted by (cut, instant); `cuts` are next offsets by cut
    /// and place.
    ///
    /// Under one cut, or few of them, the events below each cut are walked once a cut. Where nearly
    /// every probe has a cut of its own that would be events x probes: there a tree over the key's
    /// events answers each probe by itself.
    fn answer(
        &self,
        run: &[Probe],
        cuts: Option<&[Vec<i64>]>,
        answers: &mut Answers,
    ) -> Result<()> {
        let events = self.events.of_key(run[0].key);
        let columns = &self.events.columns;
        let Some(cuts) = cuts else {
            return slide(self.spec, self.plans, columns, events, run, answers);
        };
        let groups = run.chunk_by(|a, b| a.cut == b.cut).count();
        if groups.saturating_mul(events.len()) > events.len() + TREE_PROBE_EVENTS * run.len() {
            let tree = Tree::new(self.spec, columns, events)?;
            return run
                .iter()
                .try_for_each(|p| tree.answer(self.plans, &cuts[p.cut as usize], p, answers));
        }
        for group in run.chunk_by(|a, b| a.cut == b.cut) {
            let cut = &cuts[group[0].cut as usize];
            let applied: Vec<Event> = events.iter().filter(|e| e.is_below(cut)).copied().collect();
            slide(self.spec, self.plans, columns, &applied, group, answers)?;
        }
        Ok(())
    }
}
