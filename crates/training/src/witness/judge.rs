//! The comparison of one partition: what the archive has, what the log has and what is known to be
//! missing, and what follows. Pure: sets of offsets in, findings out.
//!
//! Every offset from where reading began up to the mark is one of these, or a finding: an archived
//! row, a dead letter, an accepted gap, a repeat of a prediction, or an offset for which the log
//! has no record (a transaction's control record, an aborted record, a hole that compaction left).

use std::fmt;

use forebay_core::invariant;
use forebay_core::offsets::OffsetSet;
use serde::Serialize;

/// Ranges of offsets that one finding names; the rest is counted.
pub(super) const FINDING_RANGES_MAX: usize = 20;

/// What is known of one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct PartitionFacts {
    /// Where reading began, as the state remembers it; None where it does not.
    pub(super) begin: Option<i64>,
    /// One past what the archive says that it covers, or the state applied, whichever is more.
    pub(super) mark: i64,
    /// Offsets of archived rows.
    pub(super) archived: OffsetSet,
    /// Offsets of which the archive has more than one row.
    pub(super) doubled: OffsetSet,
    /// Offsets of dead letters.
    pub(super) letters: OffsetSet,
    /// Where the table begins, if it took the place of a lost one whose records the state had
    /// applied.
    pub(super) cut: Option<i64>,
    /// Offsets that a person accepted as lost.
    pub(super) gaps: OffsetSet,
    /// What the log says; None where nobody answers.
    pub(super) log: Option<LogFacts>,
}

/// What the log says of one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct LogFacts {
    /// Oldest offset that it holds.
    pub(super) begin: i64,
    /// One past the newest record.
    pub(super) end: i64,
    /// Offsets that were read: the log's answer for them is known.
    pub(super) read: OffsetSet,
    /// Those of them at which there is a record.
    pub(super) records: OffsetSet,
    /// Those of them that repeat a prediction which the archive has.
    pub(super) repeats: OffsetSet,
    /// Those of them whose record is not what the archive has at that offset.
    pub(super) differing: OffsetSet,
    /// Those of them whose record is what the archive has there.
    pub(super) equal: OffsetSet,
}

/// A kind of finding; each is a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The log has records there that are neither archived nor dead letters.
    Lost,
    /// The archive has more than one row for a record.
    Doubled,
    /// The log has another record there than the one that was archived.
    OtherRecord,
    /// The archive has rows of offsets that the log has not reached.
    BeyondEnd,
    /// The log has lost records that nobody has read, and nobody has accepted that.
    Unread,
    /// The table took the place of a lost one: it has none of the records below where it begins,
    /// and the state has.
    Replaced,
    /// An archived file cannot be read, or its bytes have changed. Remedy: restore it from a
    /// backup; the finding names it.
    Damaged,
}

impl FindingKind {
    /// In words, with what to do.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Lost => {
                "the log has records that are neither archived nor dead letters; the archive is not whole: \
                 restore it from a backup, or fill a new --data-dir from the log"
            }
            Self::Doubled => {
                "the archive has a record more than once; restore the table from a backup"
            }
            Self::OtherRecord => {
                "the log has other records than those that were archived: the topic was made anew or the \
                 archive replaced; bring back the log that was read, or give a new --data-dir"
            }
            Self::BeyondEnd => {
                "the archive has rows beyond the end of the log: the topic was made anew, or its log lost \
                 its tail; bring back the log that was read, or give a new --data-dir"
            }
            Self::Unread => {
                "the log has lost records before they were read; see `forebay gap list`, and go on behind them with \
                 `forebay gap accept`"
            }
            Self::Replaced => {
                "the table was lost and made anew when the log had lost its head; restore the table's \
                 directory from a backup, or begin anew with an empty --data-dir"
            }
            Self::Damaged => "a file is damaged",
        }
    }
}

/// What is wrong in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Offsets, first and one past the last, ascending; at most twenty ranges; the rest is counted.
    pub ranges: Vec<(i64, i64)>,
    /// How many offsets in all.
    pub offsets: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.ranges.iter().map(|(from, to)| match to - from {
            1 => from.to_string(),
            _ => format!("{from} to {}", to - 1),
        });
        write!(f, "offsets {}", named.collect::<Vec<_>>().join(", "))?;
        if self.ranges.len() == FINDING_RANGES_MAX {
            f.write_str(" and perhaps more")?;
        }
        write!(f, " ({} in all): {}", self.offsets, self.kind.words())
    }
}

/// The outcome for one partition. The counts add up to `offsets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PartitionVerdict {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// First offset that was looked at.
    pub from: i64,
    /// Whether the state remembers that reading began there.
    pub begin_known: bool,
    /// One past the last.
    pub to: i64,
    /// Offsets between them.
    pub offsets: u64,
    /// Archived rows.
    pub archived: u64,
    /// Archived rows that were compared with their record, and were equal.
    pub compared: u64,
    /// Dead letters of records that are not archived.
    pub dead_letters: u64,
    /// Accepted as lost.
    pub gaps: u64,
    /// Repeats of predictions.
    pub repeats: u64,
    /// Offsets for which the log has no record.
    pub no_record: u64,
    /// Offsets at which a record is lost.
    pub lost: u64,
    /// Offsets that nothing explains and that the log could not be asked for.
    pub unchecked: u64,
}

impl PartitionVerdict {
    /// Every offset that was looked at is counted in one way.
    fn check(&self) {
        let archived = self.archived + self.dead_letters + self.gaps;
        let counted = archived + self.repeats + self.no_record + self.lost + self.unchecked;
        invariant!(
            CountsAddUp,
            counted == self.offsets,
            "{counted} of {} offsets from {} to {} are counted",
            self.offsets,
            self.from,
            self.to
        );
    }
}

/// Compare.
#[must_use]
pub(super) fn judge(facts: &PartitionFacts) -> PartitionVerdict {
    let first = |set: &OffsetSet| set.ranges().next().map(|range| range.start);
    let known = [&facts.archived, &facts.letters, &facts.gaps];
    let least = known.into_iter().filter_map(first).min();
    let from = facts.begin.or(least).unwrap_or(facts.mark).max(0);
    // Rows that lie outside are looked at too: they should not be there.
    let from = least.map_or(from, |least| from.min(least));
    let to = facts.mark.max(from);
    let span: OffsetSet = std::iter::once(from..to).collect();
    let inside = |set: &OffsetSet| set.intersection(&span);
    let archived = inside(&facts.archived);
    let letters = inside(&facts.letters).difference(&archived);
    let gaps = inside(&facts.gaps)
        .difference(&archived)
        .difference(&letters);
    let missing = span
        .difference(&archived)
        .difference(&letters)
        .difference(&gaps);
    let nothing = LogFacts {
        end: i64::MAX,
        ..LogFacts::default()
    };
    let log = facts.log.as_ref().unwrap_or(&nothing);
    let repeats = missing.intersection(&log.repeats);
    let unexplained = missing.difference(&repeats);
    let lost = unexplained.intersection(&log.records);
    let asked = unexplained.intersection(&log.read);
    let beyond: OffsetSet = std::iter::once(log.end..i64::MAX).collect();
    let found = [
        (FindingKind::Lost, lost.clone()),
        (FindingKind::Doubled, facts.doubled.clone()),
        (FindingKind::OtherRecord, log.differing.clone()),
        (FindingKind::BeyondEnd, facts.archived.intersection(&beyond)),
        (FindingKind::Unread, unread(facts, log.begin)),
        (FindingKind::Replaced, replaced(facts)),
    ];
    let verdict = PartitionVerdict {
        findings: found
            .iter()
            .filter_map(|(k, set)| finding(*k, set))
            .collect(),
        from,
        begin_known: facts.begin.is_some(),
        to,
        offsets: span.count(),
        archived: archived.count(),
        compared: archived.intersection(&log.equal).count(),
        dead_letters: letters.count(),
        gaps: gaps.count(),
        repeats: repeats.count(),
        no_record: asked.difference(&lost).count(),
        lost: lost.count(),
        unchecked: unexplained.difference(&log.read).count(),
    };
    verdict.check();
    verdict
}

/// Offsets from where reading is to go on up to `oldest`, the first that the log holds, without
/// those that a person accepted as lost. Of a partition whose reading has not begun nothing is
/// wanted yet.
fn unread(facts: &PartitionFacts, oldest: i64) -> OffsetSet {
    let wanted = facts.begin.map(|begin| begin.max(facts.mark));
    let unread = wanted.map(|next| next..oldest.max(next));
    let unread: OffsetSet = unread.into_iter().collect();
    unread.difference(&facts.gaps)
}

/// Offsets that only a table had which is lost: those that were read before this one began.
fn replaced(facts: &PartitionFacts) -> OffsetSet {
    let begin = facts.begin.unwrap_or(0);
    facts
        .cut
        .map(|cut| begin..cut.max(begin))
        .into_iter()
        .collect()
}

fn finding(kind: FindingKind, set: &OffsetSet) -> Option<Finding> {
    let ranges = set.ranges().take(FINDING_RANGES_MAX);
    (!set.is_empty()).then(|| Finding {
        kind,
        ranges: ranges.map(|range| (range.start, range.end)).collect(),
        offsets: set.count(),
    })
}

/// Which offsets to read of a log that holds those from `begin` to `end`, at most `budget` of them:
/// first those that nothing explains, since they may be lost, runs that lie close together in one;
/// of what is left half from the oldest on and half up to the newest, to compare records.
#[must_use]
pub(super) fn to_read(facts: &PartitionFacts, (begin, end): (i64, i64), budget: u64) -> OffsetSet {
    /// Offsets between two runs that are rather read than passed by a new request.
    const NEAR: i64 = 4_096;
    let verdict = judge(facts);
    let span: OffsetSet = std::iter::once(begin.max(verdict.from)..end.min(verdict.to)).collect();
    let known = [&facts.archived, &facts.letters, &facts.gaps];
    let missing = known
        .into_iter()
        .fold(span.clone(), |rest, set| rest.difference(set));
    let mut wanted = OffsetSet::default();
    for range in missing.ranges() {
        let from = wanted.before(range.start).map(|(_, end)| end);
        let from = from.filter(|end| range.start - end <= NEAR);
        wanted.insert_range(from.unwrap_or(range.start), range.end);
    }
    let wanted = oldest(&wanted, budget);
    let rest = span.difference(&wanted);
    let left = budget - wanted.count();
    let mut all = oldest(&rest, left.div_ceil(2));
    let rest = rest.difference(&all);
    let passed = rest.count().saturating_sub(left / 2);
    all.extend(&rest.difference(&oldest(&rest, passed)));
    all.extend(&wanted);
    invariant!(
        BudgetKept,
        all.count() <= budget,
        "{} offsets of {budget}",
        all.count()
    );
    invariant!(
        PartsMakeTheWhole,
        wanted.difference(&all).is_empty() && all.difference(&span).is_empty(),
        "{} offsets are wanted of a span of {}",
        wanted.count(),
        span.count()
    );
    all
}

/// The first `count` offsets of `set`.
fn oldest(set: &OffsetSet, count: u64) -> OffsetSet {
    let mut left = i64::try_from(count).expect("a budget is far below 2^63");
    let ranges = set.ranges().map_while(|range| {
        let end = range.end.min(range.start.saturating_add(left));
        left -= end - range.start;
        (range.start < end).then_some(range.start..end)
    });
    ranges.collect()
}

#[cfg(test)]
mod tests;
