//! What a look at the log writes down before anything is read on its account: in the state the
//! cluster, the topic's id and its partitions, in the archive where the source's table begins. The
//! latter goes there by a task of its own: a table that hangs keeps its note, and gets no second
//! one, since each holds a thread for blocking work until it is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::invariant;
use forebay_core::ports::{Beginnings, LogIdentity, TopicFacts};
use forebay_core::source::SourceDef;
use forebay_core::{ErrorKind, PortError, PortResult};
use tokio::sync::oneshot;

use crate::beginnings;
use crate::recovery::{Decision, FoundLog, SourceFacts};
use crate::runtime::{block_on, within};
use crate::watch::reach::silent;
use crate::watch::{Look, Noting, TABLE_WAIT, Watcher};
use crate::watermark::recorded;

impl Look {
    /// Whether the cluster that answers is the one that the state follows; None where nobody
    /// answers. A state that follows none yet follows whichever does.
    pub(super) fn is_own_cluster(&self) -> Option<bool> {
        let (found, known) = (self.cluster.as_ref().ok()?, self.known_cluster.as_ref());
        Some(known.is_none_or(|known| known == found))
    }
}

impl Watcher {
    /// Write down what is read from now on, before it is.
    pub(super) fn remember(
        &self,
        facts: &SourceFacts,
        look: &Look,
        decision: &Decision,
    ) -> PortResult<()> {
        let (Decision::Read(plan), FoundLog::There { cluster, topic, .. }) =
            (decision, &facts.found)
        else {
            return Ok(());
        };
        let followed = look.noted_cluster.as_ref();
        invariant!(
            OwnClusterRead,
            followed.is_none_or(|followed| followed == cluster),
            "{cluster} and {followed:?}"
        );
        if followed.is_none() {
            self.parts.notes.set_log_identity(cluster)?;
        }
        let partitions = partition_count(topic, &facts.topic)?;
        let mut note = facts.note.clone();
        note.partitions = self.counted(facts, partitions)?;
        invariant!(
            PartitionsNeverFall,
            note.partitions >= facts.note.partitions,
            "{}: {} to {}",
            facts.topic,
            facts.note.partitions,
            note.partitions
        );
        if note.id.is_none() {
            note.id.clone_from(&topic.id);
        }
        let ids = note.id.as_ref().zip(topic.id.as_ref());
        invariant!(
            OwnTopicRead,
            ids.is_none_or(|(followed, found)| followed == found),
            "{}: {ids:?}",
            facts.topic
        );
        for (place, begin) in plan.starts.iter().filter(|(place, _)| plan.is_new(place)) {
            note.begins.entry(place.partition).or_insert(*begin);
        }
        if note != facts.note {
            self.parts.notes.set_topic_note(&facts.topic, &note)?;
        }
        self.board.know_cluster(true);
        Ok(())
    }

    /// How many partitions the note counts, of `found`. One that the topic has got since counts
    /// once its hold or its progress is recorded: a process that ends before that leaves it as new
    /// as it was, and the next one holds it where the source stands.
    fn counted(&self, facts: &SourceFacts, found: i32) -> PortResult<i32> {
        let counted = facts.note.partitions;
        if counted == 0 || found <= counted {
            return Ok(counted.max(found));
        }
        let records = recorded(self.parts.store.as_ref())?;
        let is_recorded = |number: &i32| {
            let place = facts.place(*number);
            records.iter().any(|record| record.partition == place)
                || facts.shards.iter().any(|s| s.0.contains_key(&place))
        };
        let grown = (counted..found).take_while(is_recorded);
        Ok(grown.last().map_or(counted, |last| last + 1))
    }

    /// Note in the archive where the table of `source` begins and whose records it takes, before a
    /// partition is read first.
    pub(super) fn begin(
        &mut self,
        source: &SourceDef,
        facts: &SourceFacts,
        decision: &Decision,
    ) -> PortResult<()> {
        // A halt stands whatever the table does.
        let Decision::Read(plan) = decision else {
            return Ok(());
        };
        self.hear_noted(&source.name, Duration::ZERO)?;
        let Some(reach) = self.archives.get(&source.name) else {
            return Ok(());
        };
        let mut log = LogIdentity::default();
        if let FoundLog::There { cluster, topic, .. } = &facts.found {
            log.cluster = Some(cluster.clone());
            log.id.clone_from(&topic.id);
            log.partitions = partition_count(topic, &facts.topic)?;
        }
        let new = beginnings::to_note(reach.beginnings(), &plan.starts, &facts.shards);
        if new.from.0.is_empty() && reach.log(&source.topic).covers(&log) {
            return Ok(());
        }
        invariant!(
            CutWhereItBegins,
            new.cut.keys().all(|place| new.from.0.contains_key(place)),
            "{}: {} cuts, {} beginnings",
            source.name,
            new.cut.len(),
            new.from.0.len()
        );
        for place in new.cut.keys() {
            tracing::error!(
                source = source.name,
                partition = place.partition,
                begins_at = new.from.next_offset(place),
                "the archive lacks records that the state had applied; no view is filled from it"
            );
        }
        let logs = BTreeMap::from([(source.topic.clone(), log)]);
        let noting = self.send(&source.name, new, logs);
        self.noting.insert(source.name.clone(), noting);
        self.hear_noted(&source.name, TABLE_WAIT)
    }

    /// Note `new` and `logs` beside `table`.
    fn send(&self, table: &str, new: Beginnings, logs: BTreeMap<String, LogIdentity>) -> Noting {
        let (done, answer) = oneshot::channel();
        let archive = Arc::clone(&self.parts.archive);
        let (name, sent) = (table.to_owned(), (new.clone(), logs.clone()));
        let task = async move {
            // Nobody hears of it where the watch has ended.
            let _left = done.send(archive.begin(&name, &sent.0, &sent.1).await);
        };
        self.parts.runtime.spawn_task("note", Box::pin(task));
        Noting { new, logs, answer }
    }

    /// Wait for the note of `table` that is on its way, if there is one.
    fn hear_noted(&mut self, table: &str, longest: Duration) -> PortResult<()> {
        let Some(mut noting) = self.noting.remove(table) else {
            return Ok(());
        };
        let runtime = self.parts.runtime.as_ref();
        let Some(noted) = block_on(runtime, within(runtime, longest, &mut noting.answer)) else {
            self.noting.insert(table.to_owned(), noting);
            return Err(silent(table));
        };
        noted.map_err(|_| PortError::internal("a note of a table was lost"))??;
        if let Some(reach) = self.archives.get_mut(table) {
            reach.note(noting.new, &noting.logs);
        }
        Ok(())
    }
}

fn partition_count(found: &TopicFacts, topic: &str) -> PortResult<i32> {
    i32::try_from(found.partitions.len()).map_err(|_| {
        PortError::new(
            ErrorKind::ResourceExhausted,
            format!("topic '{topic}' has too many partitions"),
        )
    })
}
