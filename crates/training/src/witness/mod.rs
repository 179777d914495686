//! The outside witness of a verification: the log. Comparing served values with the archive
//! compares two things that one reader fed, so what that reader lost is missing from both. Here the
//! archive is held against the log itself, by a client of its own, source by source and partition
//! by partition.
//!
//! # The steps
//!
//! 1. The archive is read for offsets: rows, dead letters, accepted gaps. A file whose bytes have
//!    changed since they were written is a finding.
//! 2. Chosen offsets of the log are read: those that nothing in the archive explains, and as many
//!    others as the budget allows, to compare each record with its archived row.
//! 3. [`judge`] decides, purely.
//!
//! The archive is read before the log's end is asked for, so that a row that arrives meanwhile is
//! never taken for one beyond the end.

mod archived;
mod judge;
mod reading;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use forebay_core::invariant;
use forebay_core::offsets::OffsetSet;
use forebay_core::ports::{Archive, EventLog, LogInspector, LogNotes};
use forebay_core::prediction::column;
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::SourceDef;
use serde::Serialize;

use self::archived::{Digests, Facts};
pub use self::judge::{Finding, FindingKind, PartitionVerdict};
use self::judge::{LogFacts, judge, to_read};
use self::reading::{Reading, Reads};
use crate::error::TrainingError;

/// Records of the log that one verification reads of each source unless told otherwise.
pub const WITNESS_RECORDS: u64 = 1_000_000;

/// What two records of one prediction have in common, whatever else their record says.
const SAME_PREDICTION: [&str; 5] = [
    column::DEPLOYMENT,
    column::ROLE,
    column::SOURCE_TOPIC,
    column::SOURCE_PARTITION,
    column::SOURCE_OFFSET,
];

/// A source whose archive is compared.
#[derive(Debug, Clone)]
pub struct WitnessedSource {
    /// The source.
    pub source: Arc<SourceDef>,
    /// Whether it carries predictions, of which repeats are dropped.
    pub predictions: bool,
}

/// Names of the archive's tables that are no source's.
#[derive(Debug, Clone, Copy)]
pub struct OwnTables<'a> {
    /// Dead letters.
    pub letters: &'a str,
    /// Accepted gaps.
    pub gaps: &'a str,
    /// Others, of which the files alone are checked.
    pub others: &'a [&'a str],
}

/// The outside witness: the archive, the log, and what the state remembers of it.
#[derive(Debug)]
pub struct Witness {
    /// Keeps the events.
    pub archive: Arc<dyn Archive>,
    /// What the state remembers.
    pub notes: Arc<dyn LogNotes>,
    /// Reads the log; a client of its own.
    pub log: Box<dyn EventLog>,
    /// Says where the log begins and ends.
    pub inspector: Box<dyn LogInspector>,
    /// What the shards had applied before the archive was brought up to it.
    pub applied: Applied,
    /// Records of the log to read of each source.
    pub records: u64,
}

/// The outcome for one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceVerdict {
    /// Partitions, ascending.
    pub partitions: BTreeMap<i32, PartitionVerdict>,
    /// Topic.
    pub topic: String,
    /// Why the log could not be asked; None where it could.
    pub log_away: Option<String>,
}

/// The outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WitnessReport {
    /// By source.
    pub sources: BTreeMap<String, SourceVerdict>,
    /// Damaged files, in words; each names its table and file.
    pub damaged: BTreeSet<String>,
}

impl WitnessReport {
    /// What is wrong, one line each, with source, topic, partition and offsets.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut failures: Vec<String> = self.damaged.iter().cloned().collect();
        for (name, source) in &self.sources {
            if let Some(why) = &source.log_away {
                failures.push(format!("source {name}: the log could not be asked: {why}"));
            }
            for (partition, verdict) in &source.partitions {
                let place = format!("{}-{partition}", source.topic);
                let found = verdict.findings.iter();
                failures.extend(found.map(|finding| format!("source {name}, {place}, {finding}")));
            }
        }
        failures
    }

    /// Offsets that were looked at, and those of them that nothing explains and that the log could
    /// not be asked for.
    #[must_use]
    pub fn unchecked(&self) -> (u64, u64) {
        let verdicts = self.sources.values().flat_map(|s| s.partitions.values());
        verdicts.fold((0, 0), |(all, unchecked), v| {
            (all + v.offsets, unchecked + v.unchecked)
        })
    }
}

impl Witness {
    /// Hold the archive of `sources` against the log. The ports of the log block, so this is
    /// for a thread that may block.
    ///
    /// # Errors
    /// The archive or the state fails other than by damage, which is a finding.
    pub async fn testify(
        mut self,
        sources: &[WitnessedSource],
        tables: OwnTables<'_>,
    ) -> Result<WitnessReport, TrainingError> {
        let mut report = WitnessReport::default();
        for table in tables.others {
            let checked = archived::check_files(self.archive.as_ref(), table).await;
            report.damaged.extend(archived::damage(checked)?);
        }
        for witnessed in sources {
            let source = &witnessed.source;
            let mut facts = Facts::new();
            let read = self.archive_facts(source, tables, &mut facts).await;
            if let Some(words) = archived::damage(read)? {
                report.damaged.insert(words);
                // Which offsets are archived cannot be told.
                continue;
            }
            let verdict = self.source(witnessed, facts).await;
            let mut found = None;
            let outcome = verdict.map(|verdict| found = Some(verdict));
            report.damaged.extend(archived::damage(outcome)?);
            report
                .sources
                .extend(found.map(|found| (source.name.clone(), found)));
        }
        Ok(report)
    }

    /// What archive and state say of each partition.
    async fn archive_facts(
        &self,
        source: &SourceDef,
        tables: OwnTables<'_>,
        facts: &mut Facts,
    ) -> Result<(), TrainingError> {
        let archive = self.archive.as_ref();
        let snapshot = archive.snapshot(&source.name).await?;
        archived::rows(archive, source, facts).await?;
        archived::letters(archive, tables.letters, source, facts).await?;
        archived::gaps(archive, tables.gaps, source, facts).await?;
        let note = self.notes.topic_note(&source.topic)?.unwrap_or_default();
        for gap in &note.gaps {
            let place = TopicPartition::new(source.topic.as_str(), gap.partition);
            let facts = facts.entry(place).or_default();
            facts.gaps.insert_range(gap.from, gap.to);
        }
        let marks = snapshot.applied.0.iter().chain(&self.applied.0);
        for (place, progress) in marks.filter(|(place, _)| *place.topic == *source.topic) {
            let facts = facts.entry(place.clone()).or_default();
            facts.mark = facts.mark.max(progress.next_offset);
        }
        facts.retain(|place, _| *place.topic == *source.topic);
        for (place, facts) in facts {
            let beginnings = &snapshot.beginnings;
            let from = beginnings.from.next_offset(place);
            facts.begin = note.begins.get(&place.partition).copied();
            // Of a table that a gap has cut since, what is before its own beginning tells.
            let by_gap = beginnings.is_cut_by_gap(place) && facts.begin.is_none_or(|b| b >= from);
            let is_cut = beginnings.cut.contains_key(place) && !by_gap;
            facts.cut = is_cut.then_some(from);
        }
        Ok(())
    }

    /// Ask the log, and decide.
    async fn source(
        &mut self,
        witnessed: &WitnessedSource,
        mut facts: Facts,
    ) -> Result<SourceVerdict, TrainingError> {
        let source = &witnessed.source;
        let places: Vec<TopicPartition> = facts.keys().cloned().collect();
        let (bounds, mut log_away) = match self.inspector.bounds(&places) {
            Ok(bounds) => (bounds, None),
            Err(error) => (BTreeMap::new(), Some(error.to_string())),
        };
        let budget = self.records / u64::try_from(places.len().max(1)).expect("few partitions");
        let mut wanted: BTreeMap<TopicPartition, OffsetSet> = BTreeMap::new();
        for (place, facts) in &mut facts {
            match bounds.get(place) {
                Some(bounds) => {
                    let held = (bounds.begin, bounds.last_stable);
                    wanted.insert(place.clone(), to_read(facts, held, budget));
                    facts.log = Some(LogFacts {
                        begin: bounds.begin,
                        end: bounds.last_stable,
                        ..LogFacts::default()
                    });
                }
                None => {
                    let silent = || format!("nobody answers for partition {}", place.partition);
                    log_away.get_or_insert_with(silent);
                }
            }
        }
        let archive = self.archive.as_ref();
        let digests = archived::row_digests(archive, source, &wanted).await?;
        let identity: &[&str] = if witnessed.predictions {
            &SAME_PREDICTION
        } else {
            &[]
        };
        let mut reads = self.read(source, &digests, identity, &wanted)?;
        let repeats = self.repeats(source, identity, &reads).await?;
        for (place, facts) in &mut facts {
            let (Some(log), Some(read)) = (&mut facts.log, reads.remove(place)) else {
                continue;
            };
            invariant!(
                BudgetKept,
                read.read.count() <= budget,
                "{place:?}: {} offsets of {budget} were read",
                read.read.count()
            );
            let unknown = read.unknown.iter();
            let repeated = unknown.filter(|(_, identity)| repeats.contains(identity));
            log.repeats = repeated.map(|(at, _)| *at..*at + 1).collect();
            log.read = read.read;
            log.records = read.records;
            log.differing = read.differing;
            log.equal = read.equal;
        }
        let verdicts = facts.iter().map(|(place, f)| (place.partition, judge(f)));
        Ok(SourceVerdict {
            partitions: verdicts.collect(),
            topic: source.topic.clone(),
            log_away,
        })
    }

    fn read(
        &mut self,
        source: &Arc<SourceDef>,
        archived: &Digests,
        identity: &[&str],
        wanted: &BTreeMap<TopicPartition, OffsetSet>,
    ) -> Result<Reads, TrainingError> {
        let reading = Reading {
            source,
            archived,
            identity,
        };
        reading.run(self.log.as_mut(), wanted)
    }

    /// Which predictions that the archive does not have at their offsets it has at others.
    async fn repeats(
        &self,
        source: &SourceDef,
        identity: &[&str],
        reads: &Reads,
    ) -> Result<HashSet<u64>, TrainingError> {
        if identity.is_empty() {
            return Ok(HashSet::new());
        }
        let unknown = reads.values().flat_map(|read| &read.unknown);
        let unknown = unknown.map(|(_, identity)| *identity).collect();
        archived::identities(self.archive.as_ref(), source, identity, &unknown).await
    }
}
