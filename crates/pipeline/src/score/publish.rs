//! The publishing thread of one topic of a deployment: reads what the outbox has for it, sends, and
//! clears what the broker has. A record that the topic refuses leaves the outbox with a note of the
//! broker's words, so that it stands in no other's way; what is not acknowledged, for want of a
//! broker, a topic or a right, is sent again with growing pauses, by this thread alone. It also
//! sends what an earlier run left.
//!
//! The client has one queue for the records to all topics, and keeps those that no broker takes
//! until they time out. So after a failure a few records are sent at once until a try passes: a
//! topic that takes nothing must not fill the queue in which the others' records wait.
//!
//! A thread for each topic, because a call waits for each of its records: one thread for all would
//! wait for the slowest topic. And none for each version: those of one role go to one topic, where
//! an entity's predictions stay in the order of the outbox over a change of routes.

use std::sync::atomic::Ordering;

use forebay_core::ErrorKind;
use forebay_core::invariant;
use forebay_core::limits::{PUBLISH_MAX_BYTES, PUBLISH_PROBE_MAX_RECORDS};
use forebay_core::ports::{OutboxEntry, Published};
use forebay_core::prediction::{OutboxRecord, Role};
use forebay_core::settlement::UnscoredReason;

use crate::error::PipelineError;
use crate::retry::Outage;
use crate::score::bounded::Bound;
use crate::score::lane::Lane;
use crate::score::settle::{Sorted, sort};
use crate::status::DeploymentStatus;

/// Outbox records that are sent at once.
const SEND_ROWS: usize = 2_048;
/// Longest wait for a bell, so that a stop is seen.
const LISTEN: std::time::Duration = std::time::Duration::from_secs(1);

/// The publishing thread of one topic of a deployment.
#[derive(Debug)]
pub(crate) struct Publishing {
    lane: Lane,
    topic: String,
    /// The shard that is read first the next time, so that none waits for another.
    first_shard: u16,
    outage: Option<Outage>,
}

impl Publishing {
    /// For `topic` of `lane`.
    pub(crate) fn new(lane: Lane, topic: String) -> Self {
        Self {
            lane,
            topic,
            first_shard: 0,
            outage: None,
        }
    }

    /// Send until nothing more comes, or the pipeline stops and the broker does not answer.
    ///
    /// # Errors
    /// The store fails for good.
    pub(crate) fn run(mut self) -> Result<(), PipelineError> {
        loop {
            let heard = self.lane.bell.rings();
            // Read before the outbox: what is settled afterwards is seen in the next look.
            let is_last = self.lane.scorers.load(Ordering::Acquire) == 0 || !self.is_filled();
            if self.lane.is_abandoned() {
                return Ok(());
            }
            let entries = self.read()?;
            if entries.is_empty() {
                if is_last {
                    return Ok(());
                }
                self.lane.bell.wait(self.lane.runtime(), heard, LISTEN);
            } else if !self.send(&entries)? {
                return Ok(());
            }
        }
    }

    /// Whether more may come: no route leads to a topic that the deployment had before.
    fn is_filled(&self) -> bool {
        let roles = [Role::Live, Role::Shadow];
        let deployment = self.lane.deployment.as_ref();
        deployment.is_some_and(|d| roles.iter().any(|role| d.topic_of(*role) == self.topic))
    }

    /// The oldest records of each shard, with their shard.
    fn read(&mut self) -> Result<Vec<(u16, OutboxEntry)>, PipelineError> {
        let (store, shards) = (&self.lane.parts.store, self.lane.parts.store.shards());
        let mut entries = Vec::new();
        let rows = match self.outage {
            Some(_) => PUBLISH_PROBE_MAX_RECORDS,
            None => SEND_ROWS,
        };
        let mut bound = Bound::of(rows, PUBLISH_MAX_BYTES);
        let known = |entry: &OutboxEntry| (entry.sequence, bytes_of(&entry.record));
        for step in 0..shards {
            let shard = (self.first_shard + step) % shards;
            let outbox = |from, count| {
                self.lane.retry().run("a read of the outbox", || {
                    store.outbox(shard, (&self.lane.name, &self.topic), from, count)
                })
            };
            let read = bound.read(0, outbox, known)?;
            invariant!(
                OutboxSequencesAscend,
                read.is_sorted_by(|a, b| a.sequence < b.sequence),
                "shard {shard}"
            );
            let is_own = |entry: &OutboxEntry| {
                entry.key.deployment == self.lane.name && entry.record.topic == self.topic
            };
            // Sent from here, another's would overtake those before it.
            invariant!(
                OutboxByTopic,
                read.iter().all(is_own),
                "shard {shard}, topic {}",
                self.topic
            );
            entries.extend(read.into_iter().map(|entry| (shard, entry)));
        }
        self.first_shard = (self.first_shard + 1) % shards.max(1);
        Ok(entries)
    }

    /// Send `entries`, clear those that are dealt with, and wait if some are not. False when the
    /// pipeline stops meanwhile.
    fn send(&mut self, entries: &[(u16, OutboxEntry)]) -> Result<bool, PipelineError> {
        let parts = &self.lane.parts;
        let records: Vec<&OutboxRecord> = entries.iter().map(|(_, entry)| &entry.record).collect();
        let outcomes = parts.publisher.publish(&records, &self.lane.ends.abandoned);
        invariant!(
            OutcomePerRecord,
            outcomes.len() == records.len(),
            "{} outcomes of {} records",
            outcomes.len(),
            records.len()
        );
        let sorted = sort(outcomes);
        self.clear(entries, &sorted)?;
        match sorted.failure {
            None => {
                if let Some(outage) = self.outage.take() {
                    let (name, topic) = (&self.lane.name, &self.topic);
                    outage.is_over(&format_args!("deployment {name}, topic {topic}"));
                }
                // Also what a run before this one has failed of.
                let shown =
                    |status: &mut DeploymentStatus| drop(status.publishing.remove(&self.topic));
                self.lane.show(shown);
                Ok(true)
            }
            Some((kind, words)) => Ok(self.wait(kind, &words)),
        }
    }

    fn wait(&mut self, kind: ErrorKind, words: &str) -> bool {
        let (name, topic) = (&self.lane.name, &self.topic);
        self.lane.show(|status| {
            status.publishing.insert(topic.clone(), words.to_owned());
        });
        let outage = self.outage.get_or_insert_with(|| Outage::new("publishing"));
        let goes_on = outage.wait(
            self.lane.retry(),
            kind,
            &format_args!("deployment {name}, topic {topic}: {words}"),
        );
        if !goes_on {
            tracing::warn!(
                deployment = name,
                topic,
                error = words,
                "predictions are left for the next start"
            );
        }
        goes_on
    }

    /// How many of `published` are refused.
    fn tell_refused(&self, published: &[Published<'_>]) -> u64 {
        let is_refused = |one: &&Published<'_>| one.refused.is_some();
        let (refused, now) = (
            published.iter().filter(is_refused).count() as u64,
            self.lane.runtime().elapsed(),
        );
        if refused > 0
            && let Some(predictions) = self.lane.refused_predictions.add(refused, now)
            && let Some(one) = published.iter().find(is_refused)
        {
            let (deployment, id) = (&self.lane.name, one.entry.key.id());
            tracing::warn!(
                deployment,
                id,
                predictions,
                error = one.refused,
                "predictions are refused by their topic and set aside; each has a note in the table settlements"
            );
        }
        refused
    }

    fn clear(&self, entries: &[(u16, OutboxEntry)], sorted: &Sorted) -> Result<(), PipelineError> {
        let (mut refused, mut cleared) = (0, 0);
        for shard in entries.chunk_by(|(a, _), (b, _)| a == b) {
            let published: Vec<Published<'_>> = sorted
                .done
                .iter()
                .filter_map(|(number, words)| {
                    let (of, entry) = &entries[*number];
                    let of_shard = *of == shard[0].0;
                    of_shard.then_some(Published {
                        entry,
                        refused: words.as_deref(),
                    })
                })
                .collect();
            cleared += published.len();
            refused += self.tell_refused(&published);
            if !published.is_empty() {
                self.lane.retry().run("the write of the outbox", || {
                    self.lane.parts.store.clear_outbox(shard[0].0, &published)
                })?;
            }
        }
        invariant!(
            PublishedOnce,
            cleared == sorted.done.len(),
            "{cleared} of {} are cleared",
            sorted.done.len()
        );
        let sent = sorted.done.len() as u64 - refused;
        let counter = &self.lane.parts.counters.predictions;
        counter.fetch_add(sent, Ordering::Relaxed);
        self.lane.show(|status| {
            status.predictions += sent;
            for (number, _) in sorted.done.iter().filter(|(_, words)| words.is_none()) {
                let key = &entries[*number].1.key;
                let version = (key.model_version, key.role);
                *status.published.entry(version).or_default() += 1;
            }
        });
        if refused > 0 {
            self.lane
                .count_unscored(UnscoredReason::PredictionRefused.label(), refused);
        }
        // There is room in the outbox.
        self.lane.bell.ring();
        Ok(())
    }
}

fn bytes_of(record: &OutboxRecord) -> usize {
    let headers = record.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    record.key.len() + record.payload.len() + headers
}
