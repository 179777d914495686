//! Whether ingest moves, as `/readyz/ingest` and the gauges say it: a source that is halted, a
//! partition that is halted alone, a broker that does not answer, and nothing applied although
//! records wait. Looked at once a second, from outside ingest.

use std::collections::BTreeSet;

use forebay_control::{IngestFacts, IngestHealth, IngestWatch, Phase};
use forebay_pipeline::{PipelineStatus, SourceState, SourceStatus};

use super::app::{App, INGEST};

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct IngestLook {
    /// From the first look after the start.
    watch: Option<IngestWatch>,
    /// Sources whose gauge is shown: it goes with its source.
    shown: BTreeSet<String>,
}

impl IngestLook {
    /// One look.
    pub(super) fn look(&mut self, app: &App) {
        if app.life.phase() == Phase::Starting {
            // The condition says so already.
            return;
        }
        let status = app.status();
        let now_us = app.clock.now_us();
        let facts = facts(&status, app.is_ingesting());
        let begin = || IngestWatch::new(app.settings.stall_us(), now_us);
        let health = self.watch.get_or_insert_with(begin).look(facts, now_us);
        self.show_halted(app, &status);
        let words = standing(&status, facts, health, now_us);
        if words.is_empty() {
            app.ingest.met(INGEST);
        } else {
            let words = format!("{}; reads go on", words.join("; "));
            app.ingest.missing_because(INGEST, words);
        }
        let stalled = health != IngestHealth::Moving;
        let gauge = app.metrics.ingest_standing.with([]);
        gauge.set(if stalled { 1.0 } else { 0.0 });
    }

    fn show_halted(&mut self, app: &App, status: &PipelineStatus) {
        let now: BTreeSet<String> = status.sources.keys().cloned().collect();
        for gone in self.shown.difference(&now) {
            app.metrics.source_halted.remove([gone]);
        }
        for (name, source) in &status.sources {
            let halted = !halts(name, source).is_empty();
            let gauge = app.metrics.source_halted.with([name]);
            gauge.set(if halted { 1.0 } else { 0.0 });
        }
        self.shown = now;
    }
}

fn facts(status: &PipelineStatus, ingesting: bool) -> IngestFacts {
    let waits = |source: &SourceStatus| matches!(source.state, SourceState::Waiting(_));
    let sources = || status.sources.values();
    IngestFacts {
        // Without its broker nobody knows what waits.
        running: ingesting && !sources().any(waits),
        applied: status.rows + sources().map(|s| s.dead_letters).sum::<u64>(),
        lag_records: sources().map(|s| s.lag_records).sum(),
    }
}

/// What of a source is halted, in words.
fn halts(name: &str, source: &SourceStatus) -> Vec<String> {
    if let SourceState::Halted(reason) = &source.state {
        return vec![format!("source {name} is halted: {reason}")];
    }
    let partitions = source.partitions.iter();
    let halted = partitions.filter_map(|part| Some((part.partition, part.halted.as_ref()?)));
    halted
        .map(|(number, reason)| format!("partition {number} of source {name} is halted: {reason}"))
        .collect()
}

/// Why ingest is not ready; empty where it is.
fn standing(
    status: &PipelineStatus,
    facts: IngestFacts,
    health: IngestHealth,
    now_us: i64,
) -> Vec<String> {
    let sources = status.sources.iter();
    let mut words: Vec<String> = sources.flat_map(|(name, s)| halts(name, s)).collect();
    if let IngestHealth::Standing { since_us } = health {
        let seconds = (now_us - since_us) / 1_000_000;
        words.push(format!(
            "nothing was applied for {seconds} s; {} records wait",
            facts.lag_records
        ));
        for (name, source) in &status.sources {
            if let SourceState::Waiting(why) = &source.state {
                words.push(format!("source {name} waits for its broker: {why}"));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use forebay_pipeline::PartitionStatus;

    use super::*;

    fn status(state: SourceState, halted: Option<&str>) -> PipelineStatus {
        let partition = PartitionStatus {
            partition: 3,
            halted: halted.map(str::to_owned),
            ..PartitionStatus::default()
        };
        let source = SourceStatus {
            state,
            partitions: vec![partition],
            ..SourceStatus::default()
        };
        PipelineStatus {
            sources: BTreeMap::from([("rides".to_owned(), source)]),
            ..PipelineStatus::default()
        }
    }

    #[test]
    fn each_way_of_standing_still_is_said_in_words() {
        let stands = IngestHealth::Standing { since_us: 0 };
        let cases = [
            (SourceState::Reading, None, IngestHealth::Moving, None),
            (
                SourceState::Halted("no topic".into()),
                None,
                IngestHealth::Moving,
                Some("source rides is halted: no topic"),
            ),
            (
                SourceState::Reading,
                Some("a bad batch"),
                IngestHealth::Moving,
                Some("partition 3 of source rides is halted: a bad batch"),
            ),
            (
                SourceState::Waiting("away".into()),
                None,
                IngestHealth::Moving,
                None,
            ),
            (
                SourceState::Waiting("away".into()),
                None,
                stands,
                Some("source rides waits for its broker: away"),
            ),
            (
                SourceState::Reading,
                None,
                stands,
                Some("nothing was applied for 61 s"),
            ),
        ];
        for (state, halted, health, expected) in cases {
            let status = status(state.clone(), halted);
            let facts = facts(&status, true);
            assert_eq!(facts.running, !matches!(state, SourceState::Waiting(_)));
            let words = standing(&status, facts, health, 61_000_000).join("; ");
            match expected {
                Some(expected) => assert!(words.contains(expected), "{words}"),
                None => assert_eq!(words, ""),
            }
        }
    }
}
