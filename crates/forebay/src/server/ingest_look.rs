//! Whether ingest moves, as `/readyz/ingest` and the gauges say it: a source that is halted, a
//! partition that is halted alone, a broker that does not answer, and nothing applied although
//! records wait, of all sources or of one. Looked at once a second, from outside ingest.

use std::collections::{BTreeMap, BTreeSet};

use forebay_control::{IngestFacts, IngestHealth, IngestWatch, Phase};
use forebay_core::time::Micros;
use forebay_pipeline::{PipelineStatus, SourceState, SourceStatus};

use super::app::{App, INGEST};

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct IngestLook {
    watches: Watches,
    /// Sources and codes of the halts that are shown: each goes with its halt.
    shown: BTreeSet<(String, &'static str)>,
}

impl IngestLook {
    /// One look.
    pub(super) fn look(&mut self, app: &App) {
        if app.life.phase() == Phase::Starting {
            // The condition says so already.
            return;
        }
        let status = app.status();
        self.show_halted(app, &status);
        let now_us = app.clock.now_us();
        let stands = self.watches.look(
            &status,
            app.is_ingesting(),
            app.settings.ingest.stall_us(),
            now_us,
        );
        let mut words: Vec<String> = status.sources.iter().flat_map(halts).collect();
        words.extend_from_slice(&stands);
        if words.is_empty() {
            app.ingest.met(INGEST);
        } else {
            let words = format!("{}; reads go on", words.join("; "));
            app.ingest.missing_because(INGEST, words);
        }
        let gauge = app.metrics.ingest_standing.with([]);
        gauge.set(if stands.is_empty() { 0.0 } else { 1.0 });
    }

    fn show_halted(&mut self, app: &App, status: &PipelineStatus) {
        let now: BTreeSet<_> = status.sources.iter().flat_map(codes).collect();
        for (gone, code) in self.shown.difference(&now) {
            app.metrics.source_halted.remove([gone, code]);
        }
        for (name, code) in &now {
            app.metrics.source_halted.with([name, code]).set(1.0);
        }
        self.shown = now;
    }
}

/// When each source moved last, and ingest as a whole, from the first look after the start.
#[derive(Debug, Default)]
struct Watches {
    all: Option<IngestWatch>,
    sources: BTreeMap<String, IngestWatch>,
    /// Since when nobody answers for a partition of a source that goes on with its others.
    waiting: BTreeMap<(String, i32), Micros>,
}

impl Watches {
    /// What has stood still for `stall_us`, in words; nothing where all moves.
    fn look(
        &mut self,
        status: &PipelineStatus,
        ingesting: bool,
        stall_us: Micros,
        now_us: Micros,
    ) -> Vec<String> {
        let begin = || IngestWatch::new(stall_us, now_us);
        let sources = status.sources.values();
        let facts = IngestFacts {
            running: ingesting,
            applied: sources.clone().map(applied).sum(),
            // A source of which nobody can tell says so below.
            lag_records: Some(sources.filter_map(|s| s.lag_records).sum()),
        };
        let all = self.all.get_or_insert_with(begin).look(facts, now_us);
        self.sources
            .retain(|name, _| status.sources.contains_key(name));
        let mut words = Vec::new();
        for (name, source) in &status.sources {
            let watch = self.sources.entry(name.clone()).or_insert_with(begin);
            let waits = match &source.state {
                SourceState::Waiting(why) => Some(why),
                _ => None,
            };
            let partly = source.partitions.iter().any(|part| part.waiting.is_some());
            let facts = IngestFacts {
                // Without its broker nobody knows what waits.
                running: ingesting && waits.is_none() && !partly,
                applied: applied(source),
                lag_records: source.lag_records,
            };
            let health = watch.look(facts, now_us);
            // One that is halted says so itself, and from the first moment.
            if let IngestHealth::Standing { since_us } = health
                && halts((name, source)).is_empty()
            {
                let seconds = (now_us - since_us) / 1_000_000;
                let waiting = match source.lag_records {
                    Some(records) => format!("{records} records wait"),
                    None => "how many records wait is not known".to_owned(),
                };
                words.push(format!(
                    "nothing of source {name} was applied for {seconds} s; {waiting}"
                ));
                words.extend(waits.map(|why| format!("source {name} waits for its broker: {why}")));
            }
        }
        words.extend(self.waiting_partitions(status, stall_us, now_us));
        if words.is_empty()
            && let IngestHealth::Standing { since_us } = all
            && !ingesting
        {
            let seconds = (now_us - since_us) / 1_000_000;
            words.push(format!("ingest has not run for {seconds} s"));
        }
        if !words.is_empty() && !ingesting {
            let failed = status.failed.iter();
            words.extend(failed.map(|why| format!("ingest has ended: {why}")));
        }
        if !words.is_empty() {
            let failing = status.failing.iter();
            words.extend(failing.map(|(what, why)| format!("{what} fails: {why}")));
        }
        words
    }
}

impl Watches {
    /// Partitions for which nobody has answered for `stall_us`, in words.
    fn waiting_partitions(
        &mut self,
        status: &PipelineStatus,
        stall_us: Micros,
        now_us: Micros,
    ) -> Vec<String> {
        let mut waiting = BTreeMap::new();
        let mut words = Vec::new();
        for (name, source) in &status.sources {
            for part in &source.partitions {
                let Some(why) = &part.waiting else {
                    continue;
                };
                let place = (name.clone(), part.partition);
                let since_us = self
                    .waiting
                    .get(&place)
                    .map_or(now_us, |us| now_us.min(*us));
                waiting.insert(place, since_us);
                if now_us - since_us >= stall_us {
                    let number = part.partition;
                    words.push(format!(
                        "partition {number} of source {name} waits for its broker: {why}"
                    ));
                }
            }
        }
        self.waiting = waiting;
        words
    }
}

/// A number that grows whenever something of `source` is read or applied.
fn applied(source: &SourceStatus) -> u64 {
    let offsets = source.partitions.iter().map(|p| p.applied.unsigned_abs());
    source.rows + source.dead_letters + offsets.sum::<u64>()
}

/// What of a source is halted, in words.
fn halts((name, source): (&String, &SourceStatus)) -> Vec<String> {
    if let SourceState::Halted(halt) = &source.state {
        return vec![format!("source {name} is halted: {halt}")];
    }
    let partitions = source.partitions.iter();
    let halted = partitions.filter_map(|part| Some((part.partition, part.halted.as_ref()?)));
    halted
        .map(|(number, halt)| format!("partition {number} of source {name} is halted: {halt}"))
        .collect()
}

/// The source with the code of each of its halts.
fn codes((name, source): (&String, &SourceStatus)) -> Vec<(String, &'static str)> {
    let of_partitions = source.partitions.iter();
    let of_partitions = of_partitions.filter_map(|part| Some(part.halted.as_ref()?.code));
    let of_source = source.state.code();
    let codes = of_source.into_iter().chain(of_partitions);
    codes.map(|code| (name.clone(), code)).collect()
}

#[cfg(test)]
mod tests {
    use forebay_pipeline::{Halt, PartitionStatus};

    use super::*;

    const SECOND: Micros = 1_000_000;

    fn halt(reason: &str) -> Halt {
        Halt {
            code: "code",
            reason: reason.to_owned(),
        }
    }

    fn source(state: SourceState, halted: Option<&str>, waiting: Option<&str>) -> SourceStatus {
        let partition = PartitionStatus {
            partition: 3,
            applied: 7,
            last_stable: 9,
            lag: Some(2),
            halted: halted.map(halt),
            waiting: waiting.map(str::to_owned),
        };
        SourceStatus {
            state,
            lag_records: Some(2),
            partitions: vec![partition],
            ..SourceStatus::default()
        }
    }

    /// `rides` beside a source that moves, and the words of a look after it has stood for a minute.
    fn after_a_minute(rides: SourceStatus, failing: &[(&str, &str)]) -> String {
        let mut status = PipelineStatus::default();
        status.sources.insert("rides".to_owned(), rides);
        let mut moving = source(SourceState::Reading, None, None);
        for (what, why) in failing {
            status.failing.insert((*what).to_owned(), (*why).to_owned());
        }
        let (mut watches, mut words) = (Watches::default(), Vec::new());
        for second in 0..=60 {
            moving.rows += 1;
            status.sources.insert("taxis".to_owned(), moving.clone());
            words = watches.look(&status, true, 60 * SECOND, second * SECOND);
        }
        let halted = status.sources.iter().flat_map(halts);
        halted.chain(words).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn each_way_of_standing_still_is_said_in_words_beside_a_source_that_moves() {
        let reading = || SourceState::Reading;
        let stands = "nothing of source rides was applied for 60 s; 2 records wait";
        let cases = [
            (source(reading(), None, None), stands.to_owned()),
            (
                source(SourceState::Halted(halt("no topic")), None, None),
                "source rides is halted: no topic [code]".to_owned(),
            ),
            (
                source(reading(), Some("a bad batch"), None),
                "partition 3 of source rides is halted: a bad batch [code]".to_owned(),
            ),
            (
                source(SourceState::Waiting("away".into()), None, None),
                format!("{stands}; source rides waits for its broker: away"),
            ),
            (
                source(reading(), None, Some("no leader")),
                format!("{stands}; partition 3 of source rides waits for its broker: no leader"),
            ),
        ];
        for (rides, expected) in cases {
            assert_eq!(after_a_minute(rides, &[]), expected);
        }
    }

    #[test]
    fn a_partition_that_nobody_answers_for_is_said_although_its_source_moves() {
        let (mut watches, mut status) = (Watches::default(), PipelineStatus::default());
        let mut look = |second: Micros, waiting: Option<&str>| {
            let mut rides = source(SourceState::Reading, None, waiting);
            rides.rows = second.unsigned_abs();
            status.sources.insert("rides".to_owned(), rides);
            watches
                .look(&status, true, 9 * SECOND, second * SECOND)
                .join("; ")
        };
        assert_eq!(look(0, Some("no leader")), "");
        assert_eq!(look(8, Some("no leader")), "");
        let words = "partition 3 of source rides waits for its broker: no leader";
        assert_eq!(look(9, Some("no leader")), words);
        assert_eq!(look(10, None), "");
        assert_eq!(look(18, Some("no leader")), "", "it waits anew");
    }

    #[test]
    fn what_fails_is_said_while_something_stands_and_an_idle_source_does_not() {
        let failing = [("a shard's write", "no space left on device")];
        let mut rides = source(SourceState::Reading, None, None);
        let words = after_a_minute(rides.clone(), &failing);
        assert!(
            words.ends_with("; a shard's write fails: no space left on device"),
            "{words}"
        );
        rides.lag_records = Some(0);
        assert_eq!(after_a_minute(rides, &failing), "");
    }

    #[test]
    fn ingest_that_does_not_run_is_said_also_without_a_source() {
        let (mut watches, none) = (Watches::default(), PipelineStatus::default());
        assert!(watches.look(&none, false, 9 * SECOND, 0).is_empty());
        let words = watches.look(&none, false, 9 * SECOND, 9 * SECOND);
        assert_eq!(words, ["ingest has not run for 9 s"]);
        let failed = PipelineStatus {
            failed: Some("shard 3 is damaged".to_owned()),
            ..PipelineStatus::default()
        };
        let words = watches.look(&failed, false, 9 * SECOND, 9 * SECOND);
        assert_eq!(words[1..], ["ingest has ended: shard 3 is damaged"]);
        assert!(
            watches
                .look(&none, true, 9 * SECOND, 10 * SECOND)
                .is_empty()
        );
    }
}
