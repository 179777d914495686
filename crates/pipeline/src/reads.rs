//! What is read now. Takes the decisions of a look at the log and says which partitions to assign
//! and which are new to this run; keeps no clock and asks nobody. A source halts or comes back
//! without the others being touched: they go on from where the reader stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_core::invariant;
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;

use crate::recovery::{Decision, Plan};

/// Which partitions are read, and which were ever read in this run.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    assigned: BTreeSet<TopicPartition>,
    joined: BTreeSet<TopicPartition>,
    /// Assigned once and stopped by the reader since.
    faulted: BTreeSet<TopicPartition>,
    /// Sources that were decided at least once.
    decided: BTreeSet<String>,
    /// The last assignment failed: nobody knows what is read.
    is_unknown: bool,
    /// Sources of which a batch was left, because what comes behind the reader does not take it:
    /// all that follows is left too, and no position of their reader counts, until an assignment
    /// without them is made. Then they are read on from where the reader stands.
    left: BTreeSet<String>,
    /// Those of the assignment that is being made.
    leaving: BTreeSet<String>,
}

/// What a round of decisions changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// All partitions to read from now on; None: what is read stays.
    pub(crate) assign: Option<BTreeMap<TopicPartition, i64>>,
    /// What is known of partitions that this run reads for the first time.
    pub(crate) join: Plan,
    /// Topics that are halted: nobody waits for them.
    pub(crate) halted: BTreeSet<Arc<str>>,
}

impl Reads {
    /// Take a round of decisions. `stands` is where the reader stands in a partition that joined.
    /// Sources in `held` are not read whatever was decided: what comes behind the reader does not
    /// take their rows.
    pub(crate) fn take(
        &mut self,
        sources: &[Arc<SourceDef>],
        decisions: &BTreeMap<String, Decision>,
        held: &BTreeSet<String>,
        stands: impl Fn(&TopicPartition) -> i64,
    ) -> Change {
        let mut change = Change::default();
        let mut wanted = BTreeMap::new();
        let mut moved = false;
        self.leaving = std::mem::take(&mut self.left);
        let is_held = |source: &String| held.contains(source) || self.leaving.contains(source);
        for source in sources {
            match decisions.get(&source.name) {
                Some(Decision::Read(_) | Decision::Wait(_)) | None if is_held(&source.name) => {}
                Some(Decision::Read(plan)) => {
                    self.decided.insert(source.name.clone());
                    for (place, start) in &plan.starts {
                        let at = if self.joined.contains(place) {
                            moved |= *start > stands(place);
                            stands(place).max(*start)
                        } else {
                            join(&mut change.join, plan, place, *start);
                            *start
                        };
                        wanted.insert(place.clone(), at);
                    }
                }
                Some(Decision::Halt(_)) => {
                    self.decided.insert(source.name.clone());
                    change.halted.insert(source.topic.as_str().into());
                }
                Some(Decision::Wait(_)) | None => {
                    let of_source = |place: &&TopicPartition| {
                        *place.topic == *source.topic && !self.faulted.contains(*place)
                    };
                    let kept = self.assigned.iter().filter(of_source);
                    wanted.extend(kept.map(|place| (place.clone(), stands(place))));
                }
            }
        }
        self.joined.extend(change.join.starts.keys().cloned());
        invariant!(
            ReadOnlyWhatJoined,
            wanted.keys().all(|place| self.joined.contains(place)),
            "{} partitions, {} joined",
            wanted.len(),
            self.joined.len()
        );
        let of_held = |source: &&Arc<SourceDef>| is_held(&source.name);
        let mut left_out = sources.iter().filter(of_held).map(|s| s.topic.as_str());
        invariant!(
            HeldIsLeftOut,
            left_out.all(|topic| wanted.keys().all(|place| *place.topic != *topic)),
            "{} partitions, {} sources held back",
            wanted.len(),
            held.len()
        );
        let again = wanted.keys().any(|place| self.faulted.contains(place));
        let known = !std::mem::take(&mut self.is_unknown);
        if moved || again || !known || !wanted.keys().eq(self.assigned.iter()) {
            self.faulted.retain(|place| !wanted.contains_key(place));
            self.assigned = wanted.keys().cloned().collect();
            change.assign = Some(wanted);
        }
        change
    }

    /// The reader has stopped reading `place`.
    pub(crate) fn fault(&mut self, place: &TopicPartition) {
        self.faulted.insert(place.clone());
    }

    /// A batch of `source` was left.
    pub(crate) fn leave(&mut self, source: &str) {
        self.left.insert(source.to_owned());
    }

    /// Whether what comes of `source` is left.
    pub(crate) fn is_left(&self, source: &str) -> bool {
        self.left.contains(source)
    }

    /// An assignment failed: the next round makes it again.
    pub(crate) fn unassigned(&mut self) {
        self.assigned.clear();
        self.is_unknown = true;
        self.left.append(&mut self.leaving);
    }

    /// Whether every one of `sources` was decided: before that nobody knows what will be read.
    pub(crate) fn is_settled(&self, sources: &[Arc<SourceDef>]) -> bool {
        sources.iter().all(|s| self.decided.contains(&s.name))
    }

    /// Whether `place` was ever read in this run.
    pub(crate) fn has_joined(&self, place: &TopicPartition) -> bool {
        self.joined.contains(place)
    }

    /// Partitions that were ever read in this run.
    pub(crate) fn joined(&self) -> impl Iterator<Item = &TopicPartition> {
        self.joined.iter()
    }
}

/// Take over what `plan` knows of `place`.
fn join(into: &mut Plan, plan: &Plan, place: &TopicPartition, start: i64) {
    into.starts.insert(place.clone(), start);
    if let Some(recorded) = plan.recorded.get(place) {
        into.recorded.insert(place.clone(), recorded.clone());
    }
    if let Some(reached) = plan.reached.0.get(place) {
        into.reached.advance(place, *reached);
    }
    if let Some(archived) = plan.archived.0.get(place) {
        into.archived.advance(place, *archived);
    }
    if plan.behind.contains(place) {
        into.behind.push(place.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halt::HaltReason;

    fn place(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    fn sources() -> Vec<Arc<SourceDef>> {
        let source =
            |name: &str, topic: &str| Arc::new(SourceDef::json(name, topic, Vec::new(), 0));
        vec![source("a", "ta"), source("b", "tb")]
    }

    fn read(starts: &[(&str, i32, i64)]) -> Decision {
        Decision::Read(Plan {
            starts: starts
                .iter()
                .map(|(topic, partition, at)| (place(topic, *partition), *at))
                .collect(),
            ..Plan::default()
        })
    }

    fn round(a: Decision, b: Decision) -> BTreeMap<String, Decision> {
        BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)])
    }

    fn halt() -> Decision {
        Decision::Halt(HaltReason::TopicMissing { topic: "ta".into() })
    }

    fn away() -> Decision {
        Decision::Wait("away".into())
    }

    #[test]
    fn a_halted_source_leaves_and_comes_back_where_the_reader_stood() {
        let (mut reads, sources) = (Reads::default(), sources());
        let b = || read(&[("tb", 0, 3)]);
        let change = reads.take(&sources, &round(halt(), b()), &BTreeSet::new(), |_| 0);
        assert_eq!(change.assign, Some(BTreeMap::from([(place("tb", 0), 3)])));
        assert_eq!(change.halted, BTreeSet::from(["ta".into()]));
        assert!(reads.is_settled(&sources));
        let both = || round(read(&[("ta", 0, 5)]), b());
        let change = reads.take(&sources, &both(), &BTreeSet::new(), |_| 9);
        let wanted = BTreeMap::from([(place("ta", 0), 5), (place("tb", 0), 9)]);
        assert_eq!(change.assign, Some(wanted));
        assert_eq!(change.join.starts, BTreeMap::from([(place("ta", 0), 5)]));
        assert_eq!(
            reads.take(&sources, &both(), &BTreeSet::new(), |_| 9),
            Change::default()
        );
        reads.take(&sources, &round(halt(), b()), &BTreeSet::new(), |_| 9);
        let change = reads.take(&sources, &both(), &BTreeSet::new(), |_| 12);
        assert!(change.join.starts.is_empty(), "it joined before");
        assert_eq!(change.assign.expect("again")[&place("ta", 0)], 12);
    }

    #[test]
    fn a_source_that_is_held_back_is_read_on_where_it_stood_and_the_other_goes_on() {
        let (mut reads, sources) = (Reads::default(), sources());
        let both = || round(read(&[("ta", 0, 5)]), read(&[("tb", 0, 3)]));
        let nobody = BTreeSet::new();
        reads.take(&sources, &both(), &nobody, |_| 0);
        let held = BTreeSet::from(["a".to_owned()]);
        let change = reads.take(&sources, &both(), &held, |_| 7);
        assert_eq!(change.assign, Some(BTreeMap::from([(place("tb", 0), 7)])));
        for decision in [read(&[("ta", 0, 5)]), away()] {
            let round = round(decision, read(&[("tb", 0, 3)]));
            let change = reads.take(&sources, &round, &held, |_| 9);
            assert_eq!(change, Change::default(), "it stays so");
        }
        let change = reads.take(&sources, &both(), &nobody, |_| 9);
        let wanted = BTreeMap::from([(place("ta", 0), 9), (place("tb", 0), 9)]);
        assert_eq!(change.assign, Some(wanted));
        assert!(change.join.starts.is_empty(), "it joined before");
    }

    #[test]
    fn a_source_that_is_left_is_out_of_an_assignment_before_it_is_read_on() {
        let (mut reads, sources) = (Reads::default(), sources());
        let both = || round(read(&[("ta", 0, 5)]), read(&[("tb", 0, 3)]));
        let nobody = BTreeSet::new();
        reads.take(&sources, &both(), &nobody, |_| 0);
        reads.leave("a");
        assert!(reads.is_left("a") && !reads.is_left("b"));
        let without = || BTreeMap::from([(place("tb", 0), 7)]);
        let change = reads.take(&sources, &both(), &nobody, |_| 7);
        assert_eq!(change.assign, Some(without()));
        reads.unassigned();
        assert!(reads.is_left("a"), "nobody knows what is read");
        let change = reads.take(&sources, &both(), &nobody, |_| 7);
        assert_eq!(change.assign, Some(without()));
        assert!(!reads.is_left("a"));
        let change = reads.take(&sources, &both(), &nobody, |_| 7);
        assert_eq!(change.assign.expect("both")[&place("ta", 0)], 7);
    }

    #[test]
    fn while_the_broker_is_away_what_is_read_stays_assigned_and_nothing_is_settled() {
        let (mut reads, sources) = (Reads::default(), sources());
        let change = reads.take(&sources, &round(away(), away()), &BTreeSet::new(), |_| 0);
        assert_eq!(change.assign, None);
        assert!(!reads.is_settled(&sources));
        let both = round(read(&[("ta", 0, 5)]), read(&[("tb", 0, 3)]));
        reads.take(&sources, &both, &BTreeSet::new(), |_| 0);
        let change = reads.take(&sources, &round(away(), away()), &BTreeSet::new(), |_| 7);
        assert_eq!(change.assign, None);
        assert!(reads.is_settled(&sources));
    }

    #[test]
    fn added_partitions_and_accepted_gaps_and_faults_assign_anew() {
        let (mut reads, sources) = (Reads::default(), sources());
        let a = |starts: &[(&str, i32, i64)]| round(read(starts), read(&[]));
        reads.take(&sources, &a(&[("ta", 0, 0)]), &BTreeSet::new(), |_| 0);
        let change = reads.take(
            &sources,
            &a(&[("ta", 0, 4), ("ta", 1, 0)]),
            &BTreeSet::new(),
            |_| 4,
        );
        let wanted = BTreeMap::from([(place("ta", 0), 4), (place("ta", 1), 0)]);
        assert_eq!(change.assign, Some(wanted));
        assert_eq!(change.join.starts.len(), 1);
        // The reader has moved on since the look: nothing changes.
        let same = a(&[("ta", 0, 4), ("ta", 1, 0)]);
        assert_eq!(
            reads.take(&sources, &same, &BTreeSet::new(), |_| 6).assign,
            None
        );
        // A gap was accepted.
        let passed = a(&[("ta", 0, 90), ("ta", 1, 0)]);
        let change = reads.take(&sources, &passed, &BTreeSet::new(), |_| 6);
        assert_eq!(change.assign.expect("moved")[&place("ta", 0)], 90);
        // A partition that met something is left out, then tried again.
        reads.fault(&place("ta", 1));
        let change = reads.take(&sources, &a(&[("ta", 0, 90)]), &BTreeSet::new(), |_| 90);
        assert_eq!(change.assign.expect("fewer").len(), 1);
        let change = reads.take(&sources, &passed, &BTreeSet::new(), |_| 90);
        assert_eq!(change.assign.expect("again").len(), 2);
        reads.unassigned();
        assert!(
            reads
                .take(&sources, &passed, &BTreeSet::new(), |_| 90)
                .assign
                .is_some()
        );
        reads.unassigned();
        let both = ["a", "b"].map(str::to_owned).into();
        let change = reads.take(&sources, &passed, &both, |_| 90);
        assert_eq!(change.assign, Some(BTreeMap::new()), "also that of nothing");
    }
}
