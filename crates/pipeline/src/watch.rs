//! Watches the log on a thread of its own, through a client of its own: reads the facts, lets
//! [`crate::recovery`] decide for each source, and leaves the decisions on a [`Board`] for the
//! ingest thread. It measures lag too, so that lag goes on growing while ingest stands still. A
//! broker that does not answer holds up this thread and nothing else.
//!
//! It never reads events and never assigns a partition; it writes the state's notes of the logs
//! that it follows (cluster, topic ids, accepted gaps), before anything is read on their account.

mod noted;
mod reach;
mod shown;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::limits::ARCHIVE_DRAIN_MAX_MS;
use forebay_core::memory::Budget;
use forebay_core::ports::{
    Archive, Beginnings, FirstRecord, LogBounds, LogFault, LogIdentity, LogInspector, LogNotes,
    Runtime, StateProgress, TableSnapshot, TopicFacts,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::watermark::MarkRecord;
use forebay_core::{ErrorKind, PortError, PortResult};
use tokio::sync::oneshot;

use crate::archive::Backlog;
use crate::beginnings::TableReach;
use crate::board::Board;
use crate::error::PipelineError;
use crate::gaps::{self, GapStores};
use crate::halt::Halt;
use crate::log_throttle::LogThrottle;
use crate::prefix::{PrefixParts, Prefixes};
use crate::recovery::{Decision, FoundLog, SourceFacts, decide};
use crate::runtime::{Thread, block_on, within};
use crate::status::Counters;
use turn::Turns;

/// Between two looks: lag is this old at most while the reader moves.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at topics that are read: partitions added, topics made anew. Well under the
/// 30 s within which a new partition is read.
const TOPICS_EVERY: Duration = Duration::from_secs(3);
/// How long a partition that met something unreadable, or was refused, rests before it is tried
/// again: what was mended meanwhile goes on by itself.
const FAULT_RESTS: Duration = Duration::from_secs(20);
/// How long a look waits for a table of the archive, which is one source's, while the others wait
/// for the look.
const TABLE_WAIT: Duration = Duration::from_secs(5);

/// What the watch works with.
pub(crate) struct WatchParts {
    pub(crate) inspector: Box<dyn LogInspector>,
    pub(crate) notes: Arc<dyn LogNotes>,
    pub(crate) store: Arc<dyn StateProgress>,
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) sources: Vec<Arc<SourceDef>>,
    /// The decisions about time that the archive has.
    pub(crate) marks: Vec<MarkRecord>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// What reads of the archive draw on.
    pub(crate) memory: Arc<Budget>,
    /// Set when the pipeline stops.
    pub(crate) stopping: Arc<AtomicBool>,
    /// Tells which tables hold their source back.
    pub(crate) backlog: Arc<Backlog>,
    /// Sources that are not read in this run, each with what is wrong with its table.
    pub(crate) unusable: BTreeMap<String, String>,
}

/// The running watch.
#[derive(Debug)]
pub(crate) struct LogWatch {
    pub(crate) board: Arc<Board>,
    thread: Option<Thread<()>>,
}

impl LogWatch {
    /// Start it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(mut parts: WatchParts, board: Arc<Board>) -> Result<Self, PipelineError> {
        let prefixes = PrefixParts {
            archive: Arc::clone(&parts.archive),
            runtime: Arc::clone(&parts.runtime),
            counters: Arc::clone(&parts.counters),
            stopping: Arc::clone(&parts.stopping),
            board: Arc::clone(&board),
            records: std::mem::take(&mut parts.marks).into(),
            memory: Arc::clone(&parts.memory),
        };
        let mut watcher = Watcher {
            board: Arc::clone(&board),
            topics: BTreeMap::new(),
            archives: BTreeMap::new(),
            asked: BTreeMap::new(),
            noting: BTreeMap::new(),
            topics_seen: None,
            halted: BTreeSet::new(),
            told: BTreeMap::new(),
            shards: Vec::new(),
            turns: Turns::default(),
            prefixes: Prefixes::new(prefixes),
            failures: LogThrottle::default(),
            parts,
        };
        let runtime = Arc::clone(&watcher.parts.runtime);
        let thread = Thread::spawn(&runtime, "log-watch", move || watcher.run())?;
        Ok(Self {
            board,
            thread: Some(thread),
        })
    }

    /// Stop and wait, but not for one that hangs: left behind, it notes nothing any more.
    pub(crate) fn stop(mut self, runtime: &dyn Runtime) {
        self.board.stop();
        let longest = Duration::from_millis(ARCHIVE_DRAIN_MAX_MS);
        let joined = self.thread.take().map(Thread::joined);
        let ended = joined.map(|joined| block_on(runtime, within(runtime, longest, joined)));
        if ended != Some(Some(Some(()))) {
            tracing::error!("the watch over the log has panicked, or hangs and is left behind");
        }
    }
}

impl Drop for LogWatch {
    /// Of a start that fails: nobody stops it.
    fn drop(&mut self) {
        self.board.stop();
    }
}

/// What a table says of itself.
type Answer = oneshot::Receiver<PortResult<TableSnapshot>>;

/// What was sent to be noted beside a table.
struct Noting {
    new: Beginnings,
    logs: BTreeMap<String, LogIdentity>,
    answer: oneshot::Receiver<PortResult<()>>,
}

struct Watcher {
    parts: WatchParts,
    board: Arc<Board>,
    /// What each topic was at the last look at it.
    topics: BTreeMap<String, TopicFacts>,
    /// What the archive of each source had before its first read, and where it begins.
    archives: BTreeMap<String, TableReach>,
    /// Tables that were asked, and have not answered yet.
    asked: BTreeMap<String, Answer>,
    /// Notes on their way to tables.
    noting: BTreeMap<String, Noting>,
    topics_seen: Option<Duration>,
    /// Sources that are halted, also while their broker is away.
    halted: BTreeSet<String>,
    /// Halts of partitions that were logged; the watch tries each of them again.
    told: BTreeMap<TopicPartition, Halt>,
    /// Progress of the shards at the last look.
    shards: Vec<Arc<Applied>>,
    /// Turns of the records that are read again.
    turns: Turns,
    /// Marks of rows below where a new state begins.
    prefixes: Prefixes,
    /// Looks that failed.
    failures: LogThrottle,
}

/// What one look shares between the sources.
struct Look {
    cluster: Result<String, PortError>,
    /// The cluster that the state follows.
    noted_cluster: Option<String>,
    /// The same, or the one that an archive table knows.
    known_cluster: Option<String>,
    shards: Vec<Arc<Applied>>,
    reader: BTreeMap<TopicPartition, i64>,
    faults: BTreeMap<TopicPartition, LogFault>,
    /// Sources that the last look decided to read.
    reading: BTreeSet<String>,
    /// Whether topics that are read are looked at too.
    topics: bool,
}

/// Why tables of sources cannot be looked at.
type Shut = BTreeMap<String, PortError>;

impl Look {
    /// Whether `source` is read and has met nothing: then not all of it is compared at once.
    fn reads(&self, source: &SourceDef) -> bool {
        let met = self
            .faults
            .keys()
            .any(|place| *place.topic == *source.topic);
        self.reading.contains(&source.name) && !met
    }
}

impl Watcher {
    fn run(&mut self) {
        loop {
            let quiet = self.look().unwrap_or_else(|error| {
                // The state's disk or the archive: ingest meets the same and says more.
                self.tell(
                    &error,
                    "the log cannot be compared with the state; tried again",
                );
                false
            });
            self.serve_requests();
            // Where all is read and nothing waits, a question costs the broker and this process
            // more than its answer tells: the reader hears of records before anybody asks.
            let most = if quiet { self.rest_max() } else { LOOK_EVERY };
            let runtime = self.parts.runtime.as_ref();
            if !self.board.rest(runtime, LOOK_EVERY, most) {
                return;
            }
        }
    }

    fn tell(&self, error: &PortError, what: &str) {
        let now = self.parts.runtime.elapsed();
        if let Some(times) = self.failures.add(1, now) {
            tracing::warn!(error = with_causes(error), times, "{what}");
        }
    }

    /// Longest rest where all is read: a partition is idle by ends that are not older than half of
    /// what its source declares.
    fn rest_max(&self) -> Duration {
        let idle_us = self.parts.sources.iter().map(|s| s.idle_timeout_us).min();
        let half = idle_us.map_or(TOPICS_EVERY, |us| {
            Duration::from_micros(us.unsigned_abs()) / 2
        });
        half.clamp(LOOK_EVERY, TOPICS_EVERY)
    }

    /// Look at the log of every source. Whether each is read to its end, and nothing is halted.
    fn look(&mut self) -> PortResult<bool> {
        let now = self.parts.runtime.elapsed();
        let Some((look, mut shut)) = self.begin_look(now)? else {
            return Ok(false);
        };
        let is_own = look.is_own_cluster();
        if is_own == Some(false) {
            self.board.know_cluster(false);
        }
        let mut decisions = BTreeMap::new();
        let mut all_bounds = BTreeMap::new();
        let mut away: Option<String> = None;
        let mut quiet = true;
        for source in self.parts.sources.clone() {
            if self.is_stopping() {
                return Ok(false);
            }
            let decided = match shut.remove(&source.name) {
                Some(error) => Err(error),
                None => self.decided(&source, &look, &mut away),
            };
            let (facts, decision) = match decided {
                Ok(decided) => decided,
                // Not the table's fault: nobody reads what this look decides.
                Err(_) if self.is_stopping() || self.board.is_stopping() => return Ok(false),
                Err(error) => {
                    let decision = self.shut(&source, &look, &error);
                    decisions.insert(source.name.clone(), decision);
                    quiet = false;
                    continue;
                }
            };
            if let FoundLog::There { bounds, .. } = &facts.found {
                all_bounds.extend(bounds.iter().map(|(partition, bounds)| {
                    (
                        TopicPartition::new(source.topic.as_str(), *partition),
                        *bounds,
                    )
                }));
            }
            quiet &= self.show(&source, &facts, &decision);
            decisions.insert(source.name.clone(), decision);
        }
        invariant!(
            EverySourceDecided,
            self.parts
                .sources
                .iter()
                .all(|s| decisions.contains_key(&s.name)),
            "{} decisions on {} sources",
            decisions.len(),
            self.parts.sources.len()
        );
        self.board.publish(decisions, all_bounds, now);
        // Behind the decisions: who waits for it asks which topics are others.
        if is_own == Some(true) {
            self.board.know_cluster(true);
        }
        Ok(quiet)
    }

    /// What a look shares between the sources, and those whose table cannot be looked at, each with
    /// why. None where the pipeline stops.
    fn begin_look(&mut self, now: Duration) -> PortResult<Option<(Look, Shut)>> {
        let topics = self
            .topics_seen
            .is_none_or(|seen| now.saturating_sub(seen) >= TOPICS_EVERY);
        if topics {
            self.topics_seen = Some(now);
        }
        // What is recorded is read before the broker is asked: the log may only be longer by then.
        let (reader, faults) = self.board.heard(now, FAULT_RESTS);
        let newest = self.board.decisions();
        let read = newest
            .iter()
            .filter(|(_, d)| matches!(d, Decision::Read(_)));
        let mut shut = Shut::new();
        for source in self.parts.sources.clone() {
            if self.is_stopping() {
                return Ok(None);
            }
            if let Err(error) = self.open_reach(&source) {
                shut.insert(source.name.clone(), error);
            }
        }
        let noted_cluster = self.parts.notes.log_identity()?;
        let shards = 0..self.parts.store.shards();
        let look = Look {
            known_cluster: noted_cluster.clone().or_else(|| self.archived_cluster()),
            noted_cluster,
            shards: shards.map(|s| self.parts.store.applied(s)).collect(),
            cluster: self.parts.inspector.cluster_id(),
            reading: read.map(|(name, _)| name.clone()).collect(),
            reader,
            faults,
            topics,
        };
        self.check(&look);
        self.shards.clone_from(&look.shards);
        Ok(Some((look, shut)))
    }

    fn is_stopping(&self) -> bool {
        self.parts.stopping.load(Ordering::Relaxed)
    }

    /// What holds at every look, whatever the broker and the archive say.
    fn check(&self, look: &Look) {
        let sources = &self.parts.sources;
        let mut read = look.reader.keys();
        invariant!(
            ReadsHaveASource,
            read.all(|place| sources.iter().any(|s| *s.topic == *place.topic)),
            "{} partitions are read of {} sources",
            look.reader.len(),
            sources.len()
        );
        for (before, now) in self.shards.iter().zip(&look.shards) {
            let stands = |(place, was): (&TopicPartition, &PartitionProgress)| {
                was.next_offset <= now.next_offset(place)
            };
            invariant!(
                OffsetsNeverFall,
                Arc::ptr_eq(before, now) || before.0.iter().all(stands),
                "a shard stands at {now:?}, and stood at {before:?}"
            );
        }
    }

    /// Decide on `source`, and write down what is read from now on, before it is. `away`: why the
    /// broker does not answer, where one question was left without an answer.
    fn decided(
        &mut self,
        source: &Arc<SourceDef>,
        look: &Look,
        away: &mut Option<String>,
    ) -> PortResult<(SourceFacts, Decision)> {
        let mut facts = self.facts(source, look)?;
        facts.found = match &away {
            // One question unanswered is enough: each waits for its whole timeout.
            Some(why) => FoundLog::Away(why.clone()),
            None => self.find(source, look, &facts)?,
        };
        if let FoundLog::Away(why) = &facts.found {
            *away = Some(why.clone());
        }
        let mut decision = decide(&facts);
        if let Decision::Read(plan) = &mut decision
            && let Some(reach) = self.archives.get(&source.name)
            && let Some(meanwhile) = self.prefixes.date(plan, (source, &facts, reach))?
        {
            decision = meanwhile;
        }
        if self.board.is_stopping() {
            return Err(PortError::new(ErrorKind::Unavailable, "ingest is stopping"));
        }
        self.note_halt(source, &decision);
        self.remember(&facts, look, &decision)?;
        self.begin(source, &facts, &decision)?;
        Ok((facts, decision))
    }

    /// A source stays halted while its broker is away.
    fn note_halt(&mut self, source: &SourceDef, decision: &Decision) {
        match decision {
            Decision::Read(_) => drop(self.halted.remove(&source.name)),
            Decision::Halt(_) => drop(self.halted.insert(source.name.clone())),
            Decision::Wait(_) => {}
        }
    }

    /// Ask the broker about the topic of `source`.
    fn find(
        &mut self,
        source: &SourceDef,
        look: &Look,
        facts: &SourceFacts,
    ) -> PortResult<FoundLog> {
        let cluster = match &look.cluster {
            Ok(cluster) => cluster.clone(),
            Err(error) => return Ok(FoundLog::of_error(error)),
        };
        if look.topics || !facts.reading {
            self.topics.remove(&source.topic);
        }
        let topic = match self.topics.get(&source.topic) {
            Some(topic) => topic.clone(),
            None => match self.parts.inspector.topic(&source.topic) {
                Ok(Some(topic)) => {
                    self.topics.insert(source.topic.clone(), topic.clone());
                    topic
                }
                Ok(None) => return Ok(FoundLog::Missing { cluster }),
                Err(error) => return Ok(FoundLog::of_error(&error)),
            },
        };
        let places: Vec<TopicPartition> = topic
            .partitions
            .iter()
            .map(|partition| TopicPartition::new(source.topic.as_str(), *partition))
            .collect();
        let bounds = match self.parts.inspector.bounds(&places) {
            Ok(bounds) => bounds,
            Err(error) => return Ok(FoundLog::of_error(&error)),
        };
        let wanted = self.wanted(look, facts, &bounds);
        let records = match self.records(wanted) {
            Ok(records) => records,
            Err(error) => return Ok(FoundLog::of_error(&error)),
        };
        Ok(FoundLog::There {
            cluster,
            topic,
            bounds: bounds.into_iter().map(|(p, b)| (p.partition, b)).collect(),
            records,
        })
    }

    /// The records to be read again in this look: all of a source that is not read, and in turn
    /// those of one that is.
    fn wanted(
        &mut self,
        look: &Look,
        facts: &SourceFacts,
        bounds: &BTreeMap<TopicPartition, LogBounds>,
    ) -> Vec<(TopicPartition, i64)> {
        if facts.reading && !look.topics {
            return Vec::new();
        }
        let mut held = Vec::new();
        for (place, all) in facts.last_records() {
            let Some(bounds) = bounds.get(&place) else {
                continue;
            };
            let offsets = all.into_iter().map(|last| last.offset);
            let inside = offsets.filter(|at| bounds.begin <= *at && *at < bounds.last_stable);
            held.extend(inside.map(|at| (place.clone(), at)));
        }
        if facts.reading {
            self.turns.next(&facts.source_name, &held)
        } else {
            held
        }
    }

    /// What stands at each of `wanted`.
    fn records(
        &mut self,
        mut wanted: Vec<(TopicPartition, i64)>,
    ) -> PortResult<BTreeMap<(i32, i64), FirstRecord>> {
        let mut records = BTreeMap::new();
        // A question has one offset of each partition.
        while !wanted.is_empty() {
            let mut asked: BTreeMap<TopicPartition, i64> = BTreeMap::new();
            wanted.retain(|(place, at)| asked.entry(place.clone()).or_insert(*at) != at);
            let found = self.parts.inspector.first_records(&asked)?;
            let found = found.into_iter();
            records.extend(found.map(|(place, record)| ((place.partition, asked[&place]), record)));
        }
        Ok(records)
    }

    /// The cluster that the archive knows: a source that is new beside it follows no other.
    fn archived_cluster(&self) -> Option<String> {
        let sources = self.parts.sources.iter();
        let reaches = sources.filter_map(|s| Some(self.archives.get(&s.name)?.log(&s.topic)));
        reaches.filter_map(|log| log.cluster).next()
    }

    /// What is recorded of `source` and its log; nothing is found yet.
    fn facts(&self, source: &SourceDef, look: &Look) -> PortResult<SourceFacts> {
        let mut facts = SourceFacts::recorded(&source.name, &source.topic, look.shards.clone());
        if let Some(reach) = self.archives.get(&source.name) {
            facts.archive = reach.next();
            facts.archived_log = reach.log(&source.topic);
            if !look.reads(source) {
                facts.archived_last.clone_from(reach.last());
            }
        }
        let of_topic = |place: &TopicPartition| place.topic == facts.topic;
        let reader = look.reader.iter().filter(|(place, _)| of_topic(place));
        let reader = reader.map(|(place, at)| (place.partition, *at)).collect();
        let faults = look.faults.iter().filter(|(place, _)| of_topic(place));
        let faults = faults
            .map(|(place, fault)| (place.partition, fault.clone()))
            .collect();
        facts.known_cluster.clone_from(&look.known_cluster);
        facts.note = self
            .parts
            .notes
            .topic_note(&source.topic)?
            .unwrap_or_default();
        facts.reader = reader;
        facts.reading = look.reads(source);
        facts.halted = self.halted.contains(&source.name);
        facts.faults = faults;
        Ok(facts)
    }

    fn serve_requests(&mut self) {
        for (request, reply) in self.board.requests() {
            let decision = self.board.decisions().remove(&request.source);
            let mut stores = GapStores {
                inspector: self.parts.inspector.as_mut(),
                notes: self.parts.notes.as_ref(),
                archive: self.parts.archive.as_ref(),
                store: self.parts.store.as_ref(),
                sources: &self.parts.sources,
                runtime: self.parts.runtime.as_ref(),
                is_stopping: &|| self.board.is_stopping(),
            };
            let outcome = gaps::accept(&mut stores, &request, decision.as_ref());
            if outcome.is_ok() {
                self.board.passed();
            }
            // Ignore the send error: the command has given up waiting.
            let _gone = reply.send(outcome);
        }
    }
}

impl FoundLog {
    fn of_error(error: &PortError) -> Self {
        let words = with_causes(error);
        if error.kind().is_retriable() {
            Self::Away(words)
        } else {
            Self::Refused(words)
        }
    }
}

impl SourceFacts {
    /// What is recorded of `topic`, which `source_name` reads; nothing found yet.
    pub(crate) fn recorded(source_name: &str, topic: &str, shards: Vec<Arc<Applied>>) -> Self {
        Self {
            source_name: source_name.to_owned(),
            topic: topic.into(),
            shards,
            known_cluster: None,
            note: forebay_core::ports::TopicNote::default(),
            archive: Applied::default(),
            archived_log: LogIdentity::default(),
            archived_last: BTreeMap::new(),
            reading: false,
            halted: false,
            reader: BTreeMap::new(),
            faults: BTreeMap::new(),
            found: FoundLog::Away("not asked yet".to_owned()),
        }
    }
}
