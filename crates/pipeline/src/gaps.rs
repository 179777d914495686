//! Gaps: offsets that a source wants and cannot have, because its log lost them or they cannot be
//! read. Listed from the newest decisions; accepted by a person, one source or partition at a time.
//! An accepted gap goes into the archive (table [`GAP_TABLE`]) and then, synced, into the state,
//! before anything behind it is read. In between the source's table is noted as cut where it lacks
//! records that the state has: a crash may have come between the two, and the log have lost them
//! since. All may be done twice: the archive drops what its marks cover, a cut is noted once, and
//! the state has a gap once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::invariant;
use forebay_core::limits::LOG_GAPS_MAX;
use forebay_core::ports::{
    AcceptedGap, Archive, FirstRecord, LogInspector, LogNotes, Runtime, StateProgress,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{SourceDef, meta};
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::beginnings::{TableReach, applied_to, cut_by};
use crate::error::PipelineError;
use crate::halt::{Halt, HaltReason, OpenGap};
use crate::recovery::{Decision, pass_gaps};
use crate::runtime::in_time;

/// Name of the archive's table of accepted gaps.
pub const GAP_TABLE: &str = "_gaps";
/// Tries to find where a damaged stretch ends: each doubles or halves it.
const PROBES_MAX: u32 = 80;
/// How long a table may take for a note or an answer: the watch waits for it, and with it all
/// sources.
const TABLE_WAIT: Duration = Duration::from_secs(5);

/// What somebody asks to accept.
#[derive(Debug, Clone)]
pub(crate) struct GapRequest {
    pub(crate) source: String,
    /// One partition, or all that have a gap.
    pub(crate) partition: Option<i32>,
    /// The present.
    pub(crate) now_us: Micros,
}

/// An accepted gap with its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Source that lacks the offsets.
    pub source: String,
    /// Its topic.
    pub topic: String,
    /// Partition and offsets.
    pub gap: AcceptedGap,
}

/// Something that keeps a source or partition from being read and that can be accepted, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Source.
    pub source: String,
    /// Partition; None where the whole source is halted.
    pub partition: Option<i32>,
    /// First offset that is missing.
    pub from: Option<i64>,
    /// One past the last, where it is known before somebody accepts it.
    pub to: Option<i64>,
    /// Why, with the remedy.
    pub halt: Halt,
}

/// What the decisions halt.
#[must_use]
pub fn list(decisions: &BTreeMap<String, Decision>) -> Vec<Listed> {
    let mut listed = Vec::new();
    for (source, decision) in decisions {
        match decision {
            Decision::Halt(reason @ HaltReason::Gap { gaps, .. }) => {
                listed.extend(gaps.iter().map(|gap| Listed {
                    source: source.clone(),
                    partition: Some(gap.partition),
                    from: Some(gap.from),
                    to: Some(gap.to),
                    halt: reason.into(),
                }));
            }
            Decision::Halt(reason) => listed.push(Listed {
                source: source.clone(),
                partition: None,
                from: None,
                to: None,
                halt: reason.into(),
            }),
            Decision::Read(plan) => {
                listed.extend(plan.halted.iter().map(|(partition, reason)| Listed {
                    source: source.clone(),
                    partition: Some(*partition),
                    from: damaged_from(reason),
                    to: None,
                    halt: reason.into(),
                }));
            }
            Decision::Wait(_) => {}
        }
    }
    listed
}

/// First offset of a damaged stretch.
fn damaged_from(reason: &HaltReason) -> Option<i64> {
    match reason {
        HaltReason::Unreadable { offset, .. } => Some(*offset),
        HaltReason::OffsetFell { expected, .. } | HaltReason::OffsetBeyondEnd { expected, .. } => {
            Some(*expected)
        }
        _ => None,
    }
}

/// What accepting asks and writes.
pub(crate) struct GapStores<'a> {
    pub(crate) inspector: &'a mut dyn LogInspector,
    pub(crate) notes: &'a dyn LogNotes,
    pub(crate) archive: &'a dyn Archive,
    pub(crate) store: &'a dyn StateProgress,
    pub(crate) sources: &'a [Arc<SourceDef>],
    pub(crate) runtime: &'a dyn Runtime,
    /// Tells when the pipeline stops: a watch that is left behind then writes nothing any more.
    pub(crate) is_stopping: &'a dyn Fn() -> bool,
}

impl GapStores<'_> {
    fn go_on(&self) -> PortResult<()> {
        if (self.is_stopping)() {
            return Err(PortError::new(ErrorKind::Unavailable, "ingest is stopping"));
        }
        Ok(())
    }
}

/// Accept what `request` names of what `decision` halts.
pub(crate) fn accept(
    stores: &mut GapStores<'_>,
    request: &GapRequest,
    decision: Option<&Decision>,
) -> Result<Vec<Accepted>, PipelineError> {
    let source = stores.sources.iter().find(|s| s.name == request.source);
    let topic = source
        .map(|source| source.topic.clone())
        .ok_or_else(|| PortError::not_found(format!("there is no source '{}'", request.source)))?;
    let open = open_gaps(stores.inspector, &topic, decision)?;
    let mut note = stores.notes.topic_note(&topic)?.unwrap_or_default();
    // Two requests may have seen one decision: a gap is accepted once.
    let is_open = |gap: &OpenGap| pass_gaps(&note.gaps, gap.partition, gap.from) < gap.to;
    let wanted: Vec<OpenGap> = open
        .into_iter()
        .filter(|gap| request.partition.is_none_or(|p| p == gap.partition))
        .filter(is_open)
        .collect();
    if wanted.is_empty() {
        return Err(PipelineError::NoGap {
            source_name: request.source.clone(),
            partition: request.partition,
        });
    }
    // A source that has a gap is not read: what its shards have applied stands.
    let shards = 0..stores.store.shards();
    let shards: Vec<Arc<Applied>> = shards.map(|shard| stores.store.applied(shard)).collect();
    let gaps: Vec<AcceptedGap> = wanted
        .iter()
        .map(|gap| AcceptedGap {
            partition: gap.partition,
            from: gap.from,
            to: gap.to,
            applied_to: applied_to(
                (gap.from, gap.to),
                &TopicPartition::new(topic.as_str(), gap.partition),
                &shards,
            ),
            accepted_us: request.now_us,
        })
        .collect();
    invariant!(
        GapBeginsBeforeItsEnd,
        gaps.iter().all(|gap| gap.from < gap.to),
        "topic {topic}: {} gaps",
        gaps.len()
    );
    if note.gaps.len() + gaps.len() > LOG_GAPS_MAX {
        return Err(PortError::new(
            ErrorKind::ResourceExhausted,
            format!(
                "topic '{topic}' would have more than {LOG_GAPS_MAX} accepted gaps (LOG_GAPS_MAX); \
                 start with another --data-dir"
            ),
        )
        .into());
    }
    stores.go_on()?;
    archive(stores, &request.source, &topic, &gaps)?;
    cut(stores, &request.source, (&topic, &gaps), &shards)?;
    note.gaps.extend(gaps.iter().cloned());
    stores.go_on()?;
    stores.notes.set_topic_note(&topic, &note)?;
    let accepted = gaps.into_iter().map(|gap| Accepted {
        source: request.source.clone(),
        topic: topic.clone(),
        gap,
    });
    Ok(accepted.collect())
}

/// The gaps of `decision`; of a damaged stretch the end is looked for.
fn open_gaps(
    inspector: &mut dyn LogInspector,
    topic: &str,
    decision: Option<&Decision>,
) -> PortResult<Vec<OpenGap>> {
    match decision {
        Some(Decision::Halt(HaltReason::Gap { gaps, .. })) => Ok(gaps.clone()),
        Some(Decision::Read(plan)) => {
            let mut gaps = Vec::new();
            for (partition, reason) in &plan.halted {
                if let Some(from) = damaged_from(reason) {
                    let place = TopicPartition::new(topic, *partition);
                    let to = readable_from(inspector, &place, from)?;
                    gaps.extend(to.map(|to| OpenGap {
                        partition: *partition,
                        from,
                        to,
                    }));
                }
            }
            Ok(gaps)
        }
        _ => Ok(Vec::new()),
    }
}

/// The first offset above `from` at which something readable stands, or the log's end: doubling,
/// then halving. A damaged batch answers the same for each of its offsets, so the answers are
/// monotone up to its end. None: the log ends at `from`, so that nothing is lost.
fn readable_from(
    inspector: &mut dyn LogInspector,
    place: &TopicPartition,
    from: i64,
) -> PortResult<Option<i64>> {
    let bounds = inspector.bounds(std::slice::from_ref(place))?;
    let end = bounds
        .get(place)
        .map(|bounds| bounds.last_stable)
        .ok_or_else(|| {
            PortError::new(
                ErrorKind::Unavailable,
                format!("nobody answers for {}-{}", place.topic, place.partition),
            )
        })?;
    if from >= end {
        return Ok(None);
    }
    let mut probes = 0;
    let mut readable = |offset: i64| -> PortResult<bool> {
        probes += 1;
        if offset >= end || probes > PROBES_MAX {
            return Ok(true);
        }
        Ok(match first_record(inspector, place, offset)? {
            FirstRecord::Record(found) => found.offset >= offset && found.offset < end,
            FirstRecord::End => true,
            FirstRecord::Unreadable(_) => false,
        })
    };
    let (mut bad, mut step) = (from, 1);
    let mut good = loop {
        let next = bad.saturating_add(step).min(end);
        if readable(next)? {
            break next;
        }
        bad = next;
        step *= 2;
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if readable(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    let to = good.max(from + 1);
    invariant!(
        GapWithinLog,
        from < to && to <= end,
        "{}-{}: {from} to {to} of {end}",
        place.topic,
        place.partition
    );
    Ok(Some(to))
}

/// What stands at or above `offset` of `place`.
fn first_record(
    inspector: &mut dyn LogInspector,
    place: &TopicPartition,
    offset: i64,
) -> PortResult<FirstRecord> {
    let mut found = inspector.first_records(&BTreeMap::from([(place.clone(), offset)]))?;
    found.remove(place).ok_or_else(|| {
        PortError::new(
            ErrorKind::Unavailable,
            format!("nobody answers for {}-{}", place.topic, place.partition),
        )
    })
}

/// Columns of [`GAP_TABLE`] but `_ingest_time`.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        // The last offset that is missing: what the table's marks go by.
        Field::new(meta::OFFSET, DataType::Int64, false),
        Field::new("from_offset", DataType::Int64, false),
        Field::new("to_offset", DataType::Int64, false),
        Field::new("accepted_at", timestamp_type(), false),
    ]))
}

fn archive(
    stores: &GapStores<'_>,
    source: &str,
    topic: &str,
    gaps: &[AcceptedGap],
) -> Result<(), PipelineError> {
    let rows = gaps.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(gaps.iter().map(|_| source))),
        Arc::new(StringArray::from_iter_values(gaps.iter().map(|_| topic))),
        Arc::new(Int32Array::from_iter_values(
            gaps.iter().map(|g| g.partition),
        )),
        Arc::new(Int64Array::from_iter_values(gaps.iter().map(|g| g.to - 1))),
        Arc::new(Int64Array::from_iter_values(gaps.iter().map(|g| g.from))),
        Arc::new(Int64Array::from_iter_values(gaps.iter().map(|g| g.to))),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(rows.map(|g| g.accepted_us))
                .with_timezone("UTC"),
        ),
    ];
    let batch = RecordBatch::try_new(schema(), columns)?;
    let mut up_to = Applied::default();
    for gap in gaps {
        let progress = PartitionProgress {
            next_offset: gap.to,
            ..PartitionProgress::default()
        };
        up_to.advance(&TopicPartition::new(topic, gap.partition), progress);
    }
    let noted = async {
        stores.archive.open_table(GAP_TABLE, schema()).await?;
        stores.archive.append(GAP_TABLE, vec![batch], &up_to).await
    };
    // A row that lands later all the same is there once: accepting again says the same.
    in_time(stores.runtime, (GAP_TABLE, TABLE_WAIT), noted)?;
    Ok(())
}

/// Note beside the table of `source` that it lacks what `shards` have applied of `gaps`, if it
/// does. Its mark stands below them until they are passed.
fn cut(
    stores: &GapStores<'_>,
    source: &str,
    (topic, gaps): (&str, &[AcceptedGap]),
    shards: &[Arc<Applied>],
) -> Result<(), PipelineError> {
    stores.go_on()?;
    let asked = stores.archive.snapshot(source);
    let snapshot = in_time(stores.runtime, (source, TABLE_WAIT), asked)?;
    let cuts = cut_by(gaps, topic, &TableReach::of(snapshot).next(), shards);
    if cuts.cut.is_empty() {
        return Ok(());
    }
    for (place, below) in &cuts.cut {
        tracing::error!(
            source,
            partition = place.partition,
            below,
            "the archive lacks records of the accepted gap that the state had applied; no view is \
             filled from it"
        );
    }
    stores.go_on()?;
    let logs = BTreeMap::new();
    let noted = stores.archive.begin(source, &cuts, &logs);
    in_time(stores.runtime, (source, TABLE_WAIT), noted)?;
    Ok(())
}
