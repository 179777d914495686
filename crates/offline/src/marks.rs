//! What a table's log says beside its rows: up to which offset of each partition it has all records
//! (its marks), where it begins, and which log the rows came from. [`Marks`] reads that and names
//! what `append` commits; the archive's port shows it to the pipeline, which starts reading by it.
//! It writes nothing itself.
//!
//! # Layout
//!
//! All of it is application transactions (`txn`) of the Delta log, pairs of an id and a version of
//! 64 bits, of which the newest counts. Each id begins with the scope, `<deployment>/<table>`:
//!
//! | behind the scope | version |
//! |---|---|
//! | nothing | newest `_ingest_time` of the table, microseconds |
//! | `/<topic>/<partition>` | the mark: next offset |
//! | `/from/<topic>/<partition>` | first offset that the table was ready to take |
//! | `/cut/<topic>/<partition>` | the offset below which records are missing that the state had applied: where the table begins, if one was lost; beyond, if a gap was accepted |
//! | `/cluster/<topic>/<cluster id>` | 1 |
//! | `/id/<topic>/<topic id>` | 1 |
//! | `/partitions/<topic>/all` | how many partitions the topic has |
//! | `/last/<topic>/<partition>` | offset of the last record below the mark |
//! | `/last_time/<topic>/<partition>` | its time, microseconds; -1 for none |
//! | `/last_hash/<topic>/<partition>` | the bits of its hash |
//!
//! No topic has a slash in its name. One that is named as a kind is no kind: the id of its mark has
//! one part less (`/last/3` is partition 3 of topic `last`).
//!
//! A commit also says in its `commitInfo` whose it is ([`commit_info`]): the process, and which of
//! its commits.
//!
//! # Reading
//!
//! [`Marks::load`] takes the transactions of the newest checkpoint, then the entries behind it one
//! by one; [`Marks::advance`] goes on from there. An entry that is missing, empty, no JSON or, by
//! its checksum, not what was committed is an error with what to do, never "none": without its
//! marks rows would be appended twice. When a table is opened, `table` compares each mark with what
//! delta-rs reads for it.
//!
//! # Exactly once
//!
//! An append drops the rows below the marks, writes their file, and commits file and new marks in
//! one entry. A process that dies in between leaves a file that no entry names. After an error
//! nobody knows whether the entry is there, so the log is read again and [`outcome_of`] says, by
//! the first entry since that tells:
//!
//! * this process and this commit: it has landed;
//! * another process has moved our marks: it owns the table now, and this one appends no more;
//! * none: it is absent. Where another writer's entry was in the way, such as a merge of files, the
//!   append starts again.
//!
//! # Invariants
//!
//! * `offsets_never_fall`: [`Marks::moves`] takes marks forward only, and reading checks it.
//! * `version_never_falls`: the log is never read back to an older version.
//! * `digest_below_next`: the last record of a partition lies below its mark.
//! * In `append`: `rows_move_marks`, `append_covered`, `ingest_time_ascends`.
//!
//! # Alternatives
//!
//! Delta-rs looks up one application id at a time, each by a replay of its own, and does not say
//! whose commit moved it. Words in `commitInfo` alone would be cleaned away with old entries;
//! checkpoints keep transactions. Domain metadata would ask a table feature of every reader.

use std::collections::BTreeMap;

use deltalake::logstore::LogStore;
use forebay_core::invariant;
use forebay_core::ports::{Beginnings, LogIdentity};
use forebay_core::progress::{Applied, PartitionProgress, RecordDigest, TopicPartition};
use forebay_core::time::Micros;
use serde_json::Value;

use crate::checkpoint;
use crate::error::OfflineError;
use crate::sums::{ENTRY_SUM, sum_of_entry};

/// Kind of an application id that notes where a partition begins.
const FROM: &str = "from";
/// Kind of one that notes below which offset records are missing that the state had applied.
const CUT: &str = "cut";
/// Kind of one that names the cluster of a topic; its version says nothing.
const CLUSTER: &str = "cluster";
/// Kind of one that names the id of a topic; its version says nothing.
const ID: &str = "id";
/// Kind of one that notes how many partitions a topic has.
const PARTITIONS: &str = "partitions";
/// Kinds of the three that hold the digest of a partition's last record: its offset.
const LAST: &str = "last";
/// Its time.
const LAST_TIME: &str = "last_time";
/// The bits of its hash.
const LAST_HASH: &str = "last_hash";
/// The time of a record that has none, as Kafka writes it.
const NO_TIME: i64 = -1;

/// The action that says whose commit an entry is.
const COMMIT_INFO: &str = "commitInfo";

/// Keys of a commit's `commitInfo` that are ours, beside [`ENTRY_SUM`].
pub(crate) mod commit_info {
    /// The process that committed.
    pub(crate) const OWNER: &str = "forebay.owner";
    /// Which of its commits.
    pub(crate) const COMMIT: &str = "forebay.commit";
}

/// What one log entry said that concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitFacts {
    /// `forebay.owner`, if it is one of ours.
    pub(crate) owner: Option<String>,
    /// `forebay.commit`.
    pub(crate) commit: Option<String>,
    /// Whether it moved a mark of this deployment and table.
    pub(crate) moved: bool,
}

/// Before an entry is believed its actions are compared with the checksum that was committed with
/// them: an offset that has changed would lose rows or append them twice.
fn check_entry(
    table: &str,
    entry: u64,
    actions: &[Value],
    facts: &CommitFacts,
    expected: &str,
) -> Result<(), OfflineError> {
    let done = actions
        .iter()
        .filter(|action| action.get(COMMIT_INFO).is_none());
    let owner = facts.owner.as_deref().unwrap_or_default();
    let commit = facts.commit.as_deref().unwrap_or_default();
    let sum = sum_of_entry(owner, commit, done);
    if sum == expected {
        return Ok(());
    }
    Err(OfflineError::damaged(
        table,
        format!(
            "log entry {entry} has changed since it was written (its CRC-32C is {sum} and was \
             {expected}); restore `_delta_log/{entry:020}.json` from a backup"
        ),
    ))
}

/// The marks of one deployment in one table, as of one version.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    /// Application id without topic and partition: `<deployment>/<table>`.
    scope: String,
    /// Version up to which the log was read; None before the first.
    version: Option<u64>,
    next: BTreeMap<TopicPartition, i64>,
    beginnings: Beginnings,
    logs: BTreeMap<String, LogIdentity>,
    last: BTreeMap<TopicPartition, RecordDigest>,
    ingest_time_us: Option<Micros>,
}

impl Marks {
    /// Marks of `deployment` in `table` as of `version`, from the checkpoint on.
    pub(crate) async fn load(
        log: &dyn LogStore,
        deployment: &str,
        table: &str,
        version: u64,
    ) -> Result<Self, OfflineError> {
        let mut marks = Self {
            scope: format!("{deployment}/{table}"),
            version: None,
            next: BTreeMap::new(),
            beginnings: Beginnings::default(),
            logs: BTreeMap::new(),
            last: BTreeMap::new(),
            ingest_time_us: None,
        };
        if let Some(checkpoint) = checkpoint::newest(log, table, version).await? {
            for (app_id, at) in checkpoint.transactions {
                marks.take(table, &app_id, at)?;
            }
            marks.version = Some(checkpoint.version);
        }
        marks.advance(log, table, version).await?;
        Ok(marks)
    }

    /// Read the entries up to `version`; returns what each said, oldest first.
    pub(crate) async fn advance(
        &mut self,
        log: &dyn LogStore,
        table: &str,
        version: u64,
    ) -> Result<Vec<CommitFacts>, OfflineError> {
        let mut facts = Vec::new();
        invariant!(
            VersionNeverFalls,
            self.version.is_none_or(|known| version >= known),
            "table {table}: {:?} to {version}",
            self.version
        );
        for entry in self.version.map_or(0, |v| v + 1)..=version {
            let bytes = log
                .read_commit_entry(entry)
                .await
                .map_err(|e| OfflineError::delta(table, "read the log of", e))?;
            let bytes = bytes.ok_or_else(|| {
                OfflineError::damaged(
                    table,
                    format!("log entry {entry} is missing and no checkpoint covers it; restore it from a backup"),
                )
            })?;
            facts.push(self.read_entry(table, entry, &bytes)?);
            self.version = Some(entry);
        }
        Ok(facts)
    }

    fn read_entry(
        &mut self,
        table: &str,
        entry: u64,
        bytes: &[u8],
    ) -> Result<CommitFacts, OfflineError> {
        let mut facts = CommitFacts {
            owner: None,
            commit: None,
            moved: false,
        };
        let lines = bytes.split(|b| *b == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty());
        let actions: Result<Vec<Value>, _> = lines.map(serde_json::from_slice).collect();
        let actions = actions.map_err(|e| {
            OfflineError::damaged(
                table,
                format!("log entry {entry} is not JSON ({e}); restore it from a backup"),
            )
        })?;
        let text =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(info) = actions.iter().find_map(|action| action.get(COMMIT_INFO)) {
            facts.owner = text(info, commit_info::OWNER);
            facts.commit = text(info, commit_info::COMMIT);
            if let Some(expected) = text(info, ENTRY_SUM) {
                check_entry(table, entry, &actions, &facts, &expected)?;
            }
        }
        for action in &actions {
            if let Some(transaction) = action.get("txn") {
                let (Some(app_id), Some(at)) = (
                    text(transaction, "appId"),
                    transaction.get("version").and_then(Value::as_i64),
                ) else {
                    return Err(OfflineError::damaged(
                        table,
                        format!("log entry {entry} has a txn without id or version"),
                    ));
                };
                facts.moved |= self.take(table, &app_id, at)?;
            }
        }
        if actions.is_empty() {
            return Err(OfflineError::damaged(
                table,
                format!(
                    "log entry {entry} is empty; if it is the newest, move it away: the rows are appended again"
                ),
            ));
        }
        Ok(facts)
    }

    /// Take over one transaction; true if it is one of our marks.
    fn take(&mut self, table: &str, app_id: &str, at: i64) -> Result<bool, OfflineError> {
        let Some(rest) = app_id.strip_prefix(&self.scope) else {
            return Ok(false);
        };
        if rest.is_empty() {
            self.ingest_time_us = self.ingest_time_us.max(Some(at));
            return Ok(false);
        }
        let Some(place) = rest.strip_prefix('/') else {
            return Ok(false);
        };
        if self.take_identity(place, at) {
            return Ok(false);
        }
        let parsed = place
            .rsplit_once('/')
            .and_then(|(topic, number)| Some((topic, number.parse::<i32>().ok()?)));
        let Some((topic, partition)) = parsed else {
            return Err(OfflineError::damaged(
                table,
                format!("application id `{app_id}` names no topic and partition"),
            ));
        };
        let place = |topic: &str| TopicPartition::new(topic, partition);
        match topic.split_once('/') {
            Some((FROM, topic)) => {
                let from = PartitionProgress {
                    next_offset: at,
                    ..PartitionProgress::default()
                };
                self.beginnings.from.0.insert(place(topic), from);
            }
            Some((CUT, topic)) => {
                self.beginnings.note_cut(&place(topic), at);
            }
            Some((LAST, topic)) => self.last_of(place(topic)).offset = at,
            Some((LAST_TIME, topic)) => {
                self.last_of(place(topic)).kafka_time_us = Some(at).filter(|at| *at != NO_TIME);
            }
            Some((LAST_HASH, topic)) => self.last_of(place(topic)).hash = at.cast_unsigned(),
            _ => {
                let place = place(topic);
                invariant!(
                    OffsetsNeverFall,
                    at >= self.next_offset(&place),
                    "table {table}, {place:?}: {} to {at}",
                    self.next_offset(&place)
                );
                self.next.insert(place, at);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is known of the last record of `place`: its three parts stand in one commit.
    fn last_of(&mut self, place: TopicPartition) -> &mut RecordDigest {
        self.last.entry(place).or_insert(RecordDigest {
            offset: 0,
            kafka_time_us: None,
            hash: 0,
        })
    }

    /// Take over what `place` says of a topic as a whole; false if it says nothing of one.
    fn take_identity(&mut self, place: &str, at: i64) -> bool {
        // A topic may have the name of a kind: its marks have one part less.
        let parts = place.split_once('/');
        let Some((kind, (topic, value))) =
            parts.and_then(|(kind, rest)| Some((kind, rest.split_once('/')?)))
        else {
            return false;
        };
        let found = match kind {
            CLUSTER => LogIdentity {
                cluster: Some(value.to_owned()),
                ..LogIdentity::default()
            },
            ID => LogIdentity {
                id: Some(value.to_owned()),
                ..LogIdentity::default()
            },
            PARTITIONS => {
                let Ok(partitions) = i32::try_from(at) else {
                    return false;
                };
                LogIdentity {
                    partitions,
                    ..LogIdentity::default()
                }
            }
            _ => return false,
        };
        self.logs.entry(topic.to_owned()).or_default().take(&found);
        true
    }

    /// Next offset of `partition`; 0 where nothing was committed.
    pub(crate) fn next_offset(&self, partition: &TopicPartition) -> i64 {
        self.next.get(partition).copied().unwrap_or(0)
    }

    /// The partitions that `up_to` moves, with their new marks: never back.
    pub(crate) fn moves(&self, up_to: &Applied) -> Vec<(TopicPartition, PartitionProgress)> {
        let moved = up_to
            .0
            .iter()
            .filter(|(partition, progress)| progress.next_offset > self.next_offset(partition));
        moved
            .map(|(partition, progress)| (partition.clone(), *progress))
            .collect()
    }

    /// Application ids and versions that move `partition` to `progress`.
    pub(crate) fn transactions(
        &self,
        partition: &TopicPartition,
        progress: &PartitionProgress,
    ) -> Vec<(String, i64)> {
        let mut all = vec![(self.app_id(partition), progress.next_offset)];
        if let Some(last) = progress.last {
            invariant!(
                DigestBelowNext,
                last.offset < progress.next_offset,
                "{partition:?}: {} and {}",
                last.offset,
                progress.next_offset
            );
            let parts = [
                (LAST, last.offset),
                (LAST_TIME, last.kafka_time_us.unwrap_or(NO_TIME)),
                (LAST_HASH, last.hash.cast_signed()),
            ];
            all.extend(parts.map(|(kind, at)| (self.note_id(kind, partition), at)));
        }
        all
    }

    fn note_id(&self, kind: &str, partition: &TopicPartition) -> String {
        let (topic, number) = (&partition.topic, partition.partition);
        format!("{}/{kind}/{topic}/{number}", self.scope)
    }

    /// Newest `_ingest_time` that this deployment gave out.
    pub(crate) fn ingest_time_us(&self) -> Option<Micros> {
        self.ingest_time_us
    }

    /// The marks as the ports speak of them. The log knows no event times.
    pub(crate) fn applied(&self) -> Applied {
        let progress = |next: &i64| PartitionProgress {
            next_offset: *next,
            max_event_time_us: None,
            last: None,
        };
        Applied(
            self.next
                .iter()
                .map(|(partition, next)| (partition.clone(), progress(next)))
                .collect(),
        )
    }

    /// Application id of a partition's mark.
    pub(crate) fn app_id(&self, partition: &TopicPartition) -> String {
        format!("{}/{}/{}", self.scope, partition.topic, partition.partition)
    }

    /// Where the table begins.
    pub(crate) fn beginnings(&self) -> &Beginnings {
        &self.beginnings
    }

    /// By topic the log that the rows came from.
    pub(crate) fn logs(&self) -> &BTreeMap<String, LogIdentity> {
        &self.logs
    }

    /// The last record of each partition.
    pub(crate) fn last(&self) -> &BTreeMap<TopicPartition, RecordDigest> {
        &self.last
    }

    /// Application ids and versions that note of `logs` what is not noted yet.
    pub(crate) fn log_notes(&self, logs: &BTreeMap<String, LogIdentity>) -> Vec<(String, i64)> {
        let mut notes = Vec::new();
        for (topic, log) in logs {
            let known = self.logs.get(topic).cloned().unwrap_or_default();
            let mut note = |kind: &str, value: &str, at: i64| {
                notes.push((format!("{}/{kind}/{topic}/{value}", self.scope), at));
            };
            if let (None, Some(cluster)) = (&known.cluster, &log.cluster) {
                note(CLUSTER, cluster, 1);
            }
            if let (None, Some(id)) = (&known.id, &log.id) {
                note(ID, id, 1);
            }
            if log.partitions > known.partitions {
                note(PARTITIONS, "all", i64::from(log.partitions));
            }
        }
        notes
    }

    /// Application ids and versions that note `wanted`: beginnings of partitions that nothing is
    /// noted of, and cuts that come with them or, without a beginning, lie further on.
    pub(crate) fn notes(&self, wanted: &Beginnings) -> Vec<(String, i64)> {
        let mut notes = Vec::new();
        for (partition, from) in &wanted.from.0 {
            if self.beginnings.from.0.contains_key(partition) {
                continue;
            }
            notes.push((self.note_id(FROM, partition), from.next_offset));
        }
        for (partition, cut) in &wanted.cut {
            let is_known = self.beginnings.cut.get(partition) >= Some(cut);
            let is_late = wanted.from.0.contains_key(partition)
                && self.beginnings.from.0.contains_key(partition);
            if !is_known && !is_late {
                notes.push((self.note_id(CUT, partition), *cut));
            }
        }
        notes
    }

    /// Application id of the newest `_ingest_time`.
    pub(crate) fn ingest_time_app_id(&self) -> &str {
        &self.scope
    }
}

/// What became of a commit, judged by what the log says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there.
    Landed,
    /// It is not there; it may be tried again from the start.
    Absent,
    /// Somebody else moved our marks.
    Fenced(String),
}

/// Judge by the entries since the read, oldest first: ours, somebody else's, or nothing that
/// concerns us.
pub(crate) fn outcome_of(facts: &[CommitFacts], owner: &str, commit: &str) -> Outcome {
    for entry in facts {
        if entry.owner.as_deref() == Some(owner) {
            if entry.commit.as_deref() == Some(commit) {
                return Outcome::Landed;
            }
        } else if entry.moved {
            return Outcome::Fenced(entry.owner.clone().unwrap_or_else(|| "unnamed".to_owned()));
        }
    }
    Outcome::Absent
}

#[cfg(test)]
mod tests;
