//! Events whose predictions lie in an accepted gap of their topic. They were scored, their outbox
//! is cleared, and nobody will read their predictions: whoever waits for them, the monitors, would
//! wait for ever. They are settled with a note, as every event without a prediction is.
//!
//! # Which events those are
//!
//! What an observer waits for is one of these: its score is pending, its record stands in the
//! outbox, a note on it is on its way to the archive, its prediction stands in the log beyond the
//! reader, or it is lost. So of what is waited for
//!
//! 1. take what every shard has applied, so that its pending score was written;
//! 2. leave out, shard by shard, what is pending, what stands in the outbox and what is noted, in
//!    this order, which is that of an event's way;
//! 3. once the reader has met all that the topics of predictions had after that, take what is still
//!    waited for.
//!
//! Nothing of it depends on when it is done: it says the same of an event at any later time. So it
//! is done after an acceptance, and again in each run over a topic that has a gap: a crash between
//! the acceptance and the note is made up for, and a monitor that is built anew finds the notes in
//! the archive, or waits and is looked at.
//!
//! Why notes and no rule of the monitors: docs/decisions/0017-lost-predictions-are-settled.md.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::invariant;
use forebay_core::offsets::OffsetSet;
use forebay_core::ports::{ScoreQueue, StateProgress};
use forebay_core::prediction::{PredictionKey, Role};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::settlement::{OffsetRuns, Unscored, UnscoredReason};

/// How much later than the look at the queues the ends of the topics are asked for: a partition
/// that a topic has got is known by then.
const RESTS: Duration = Duration::from_secs(10);
/// Entries of a queue that are read at a time.
const PAGE: usize = 1_000;
/// The shard that takes the notes: any does, since the archive has them all.
const NOTED_IN: u16 = 0;
/// The version of a note, since nobody has its prediction.
const NO_VERSION: u32 = 0;

/// Events of a partition that wait for predictions of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The deployment.
    pub deployment: String,
    /// The source that carries its predictions.
    pub predictions: String,
    /// The events' partition.
    pub place: TopicPartition,
    /// Their offsets.
    pub offsets: OffsetSet,
}

/// Deployment and partition of events.
type Stream = (String, TopicPartition);

/// The search, from an acceptance on.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// By source of predictions the accepted gaps that were searched for.
    known: BTreeMap<String, usize>,
    search: Option<Search>,
}

#[derive(Debug)]
struct Search {
    sources: BTreeSet<String>,
    /// Up to where the state had applied events when it began.
    up_to: Applied,
    /// What may be lost, and when the queues were looked at.
    suspects: Option<(Duration, BTreeMap<Stream, OffsetSet>)>,
}

/// What a step of the search goes by.
pub(crate) struct Facts<'a> {
    /// The present.
    pub(crate) now: &'a dyn Fn() -> Duration,
    /// When the ends of the topics of predictions were asked for that the reader has met; None
    /// where it has not.
    pub(crate) met: Option<Duration>,
    /// By source of predictions its accepted gaps.
    pub(crate) gaps: &'a BTreeMap<String, usize>,
    /// Topics of the events that are scored.
    pub(crate) scored: &'a BTreeSet<&'a str>,
    /// Where the reader stands.
    pub(crate) reader: &'a dyn Fn(&TopicPartition) -> i64,
    /// What observers wait for.
    pub(crate) awaited: &'a dyn Fn() -> Vec<Awaited>,
}

impl Lost {
    /// Go on. Returns the notes on events that are lost, once they are written.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn step<Q: ScoreQueue + StateProgress + ?Sized>(
        &mut self,
        facts: &Facts<'_>,
        queue: &Q,
    ) -> PortResult<Vec<Unscored>> {
        self.begin(facts, queue);
        let Some(search) = &mut self.search else {
            return Ok(Vec::new());
        };
        let Some((looked, suspects)) = &search.suspects else {
            if search.has_read(facts, queue) {
                let waits = search.waits(facts);
                let owed = owed(&waits, queue)?;
                let suspects = without(waits, &owed);
                // From behind the reading of the queues, which takes its time: what left one of
                // them meanwhile is in its topic by then.
                search.suspects = Some(((facts.now)(), suspects));
                self.end_if(|suspects| suspects.is_empty());
            }
            return Ok(Vec::new());
        };
        if facts.met.is_none_or(|asked| asked < *looked + RESTS) {
            return Ok(Vec::new());
        }
        let mut lost = search.waits(facts);
        lost.retain(|stream, waits| {
            let suspect = suspects.get(stream);
            *waits = suspect.map(|s| s.intersection(waits)).unwrap_or_default();
            !waits.is_empty()
        });
        let notes: Vec<Unscored> = lost.into_iter().map(note).collect::<PortResult<_>>()?;
        if !notes.is_empty() {
            queue.note(NOTED_IN, &notes)?;
        }
        self.end_if(|_| true);
        Ok(notes)
    }

    /// A search begins where a gap is not searched for yet.
    fn begin<Q: StateProgress + ?Sized>(&mut self, facts: &Facts<'_>, state: &Q) {
        let is_new = |(source, gaps): &(&String, &usize)| {
            self.known.get(*source).is_none_or(|known| known < *gaps) && **gaps > 0
        };
        let new: Vec<String> = facts
            .gaps
            .iter()
            .filter(is_new)
            .map(|(source, _)| source.clone())
            .collect();
        if new.is_empty() {
            return;
        }
        let earlier = self.search.take().map(|search| search.sources);
        let mut up_to = Applied::default();
        for shard in 0..state.shards() {
            for (place, progress) in &state.applied(shard).0 {
                up_to.advance(place, *progress);
            }
        }
        self.known.clone_from(facts.gaps);
        self.search = Some(Search {
            sources: earlier.into_iter().flatten().chain(new).collect(),
            up_to,
            suspects: None,
        });
    }

    fn end_if(&mut self, is_over: impl Fn(&BTreeMap<Stream, OffsetSet>) -> bool) {
        let over = |search: &mut Search| search.suspects.as_ref().is_some_and(|(_, s)| is_over(s));
        drop(self.search.take_if(over));
    }
}

impl Search {
    /// Whether every shard, and observers too, have all events that the state had applied.
    fn has_read<Q: StateProgress + ?Sized>(&self, facts: &Facts<'_>, state: &Q) -> bool {
        let up_to = self.up_to.0.iter();
        let mut scored = up_to.filter(|(place, _)| facts.scored.contains(&*place.topic));
        let shards: Vec<_> = (0..state.shards()).map(|s| state.applied(s)).collect();
        scored.all(|(place, end)| {
            let has = |next: i64| next >= end.next_offset;
            has((facts.reader)(place)) && shards.iter().all(|s| has(s.next_offset(place)))
        })
    }

    /// What is waited for of what the state had applied.
    fn waits(&self, facts: &Facts<'_>) -> BTreeMap<Stream, OffsetSet> {
        let mut waits: BTreeMap<Stream, OffsetSet> = BTreeMap::new();
        for awaited in (facts.awaited)() {
            let end = self.up_to.next_offset(&awaited.place);
            let offsets = awaited.offsets.within(0, end);
            if self.sources.contains(&awaited.predictions) && !offsets.is_empty() {
                let stream = (awaited.deployment, awaited.place);
                waits.entry(stream).or_default().extend(&offsets);
            }
        }
        waits
    }
}

/// Of the streams of `waits` what will get its prediction or its note.
fn owed<Q: ScoreQueue + ?Sized>(
    waits: &BTreeMap<Stream, OffsetSet>,
    queue: &Q,
) -> PortResult<BTreeMap<Stream, OffsetSet>> {
    let mut owed: BTreeMap<Stream, OffsetSet> = BTreeMap::new();
    let mut owe = |key: &PredictionKey| {
        if key.role == Role::Live {
            let place = TopicPartition::new(key.topic.as_str(), key.partition);
            let stream = (key.deployment.clone(), place);
            owed.entry(stream).or_default().insert(key.offset);
        }
    };
    let deployments: BTreeSet<&str> = waits.keys().map(|(name, _)| name.as_str()).collect();
    let mut notes = Vec::new();
    for shard in 0..queue.shards() {
        // An event moves from the first queue to the last: none is missed in between.
        let waiting = queue.score_load(shard)?;
        for deployment in &deployments {
            let load = waiting.get(*deployment).into_iter();
            for arm in load.flat_map(|load| load.arms.keys()) {
                let page = |from| queue.pending(shard, deployment, *arm, from, PAGE);
                all_pages(page, |entry| entry.sequence, |e| owe(&e.score.key))?;
            }
        }
        // Read anew: what was settled meanwhile may wait for a topic for which nothing did.
        let scored = queue.score_load(shard)?;
        for deployment in &deployments {
            let load = scored.get(*deployment).into_iter();
            for topic in load.flat_map(|load| load.outbox.keys()) {
                let page = |from| queue.outbox(shard, (deployment, topic), from, PAGE);
                all_pages(page, |entry| entry.sequence, |e| owe(&e.key))?;
            }
        }
        let page = |from| queue.unscored(shard, from, PAGE);
        all_pages(page, |entry| entry.sequence, |e| notes.push(e.note.clone()))?;
    }
    for note in notes.iter().filter(|note| note.role == Role::Live) {
        let place = TopicPartition::new(note.topic.as_str(), note.partition);
        let noted = owed.entry((note.deployment.clone(), place)).or_default();
        let runs = note.offsets.ranges();
        runs.for_each(|run| noted.insert_range(run.start, run.end));
    }
    Ok(owed)
}

/// Read a queue to its end.
fn all_pages<T>(
    page: impl Fn(u64) -> PortResult<Vec<T>>,
    place: impl Fn(&T) -> u64,
    mut each: impl FnMut(&T),
) -> PortResult<()> {
    let mut from = 0;
    loop {
        let entries = page(from)?;
        entries.iter().for_each(&mut each);
        match entries.last() {
            Some(last) if entries.len() == PAGE => from = place(last) + 1,
            _ => return Ok(()),
        }
    }
}

fn without(
    mut waits: BTreeMap<Stream, OffsetSet>,
    owed: &BTreeMap<Stream, OffsetSet>,
) -> BTreeMap<Stream, OffsetSet> {
    waits.retain(|stream, offsets| {
        if let Some(owed) = owed.get(stream) {
            *offsets = offsets.difference(owed);
        }
        !offsets.is_empty()
    });
    waits
}

fn note(((deployment, place), offsets): (Stream, OffsetSet)) -> PortResult<Unscored> {
    let runs = offsets.ranges().map(|run| (run.start, run.end - 1));
    let runs = OffsetRuns::of_runs(runs.collect())?;
    invariant!(
        PartsMakeTheWhole,
        runs.count() == offsets.count(),
        "{place:?}: {} of {} events are noted",
        runs.count(),
        offsets.count()
    );
    tracing::warn!(
        deployment,
        topic = &*place.topic,
        partition = place.partition,
        events = runs.count(),
        "events whose predictions were lost with an accepted gap are settled"
    );
    Ok(Unscored {
        deployment,
        model_version: NO_VERSION,
        role: Role::Live,
        topic: place.topic.to_string(),
        partition: place.partition,
        offsets: runs,
        reason: UnscoredReason::Lost,
        detail: "an accepted gap of the topic of predictions".to_owned(),
    })
}

#[cfg(test)]
mod tests;
