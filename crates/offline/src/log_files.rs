//! The files of a table's `_delta_log`, by their names: which checkpoint is the newest, and which
//! files no reader needs that asks for a version within the retention. Pure but for [`list`].
//!
//! Only entries and classic checkpoints are known; a file of another name counts for nothing and is
//! never deleted.

use std::collections::BTreeMap;

use deltalake::logstore::LogStore;
use forebay_core::invariant;
use forebay_core::time::Micros;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::error::OfflineError;

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) kind: Kind,
    pub(crate) modified_us: Micros,
}

/// What a file of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The actions of one commit.
    Entry,
    /// A checkpoint, or one of `parts`.
    Checkpoint { parts: Option<u32> },
}

impl LogFile {
    fn parse(name: &str, modified_us: Micros) -> Option<Self> {
        let (version, rest) = name.split_once('.')?;
        if version.len() != 20 {
            return None;
        }
        let kind = match rest.split('.').collect::<Vec<_>>().as_slice() {
            ["json"] => Kind::Entry,
            ["checkpoint", "parquet"] => Kind::Checkpoint { parts: None },
            ["checkpoint", part, parts, "parquet"] => {
                part.parse::<u32>().ok()?;
                Kind::Checkpoint {
                    parts: Some(parts.parse().ok()?),
                }
            }
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            version: version.parse().ok()?,
            kind,
            modified_us,
        })
    }

    /// Where it lies in the table's store.
    pub(crate) fn path(&self) -> Path {
        Path::from_iter(["_delta_log", &self.name])
    }
}

/// The files of a table's log, in the order of their versions.
pub(crate) async fn list(log: &dyn LogStore, table: &str) -> Result<Vec<LogFile>, OfflineError> {
    let directory = Path::from("_delta_log");
    let store = log.object_store(None);
    let listed: Result<Vec<_>, _> = store.list(Some(&directory)).try_collect().await;
    let listed = listed.map_err(|source| OfflineError::Store {
        action: "list",
        path: format!("{table}/{directory}"),
        source,
    })?;
    let parse = |file: &object_store::ObjectMeta| {
        LogFile::parse(
            file.location.filename()?,
            file.last_modified.timestamp_micros(),
        )
    };
    let mut files: Vec<LogFile> = listed.iter().filter_map(parse).collect();
    files.sort_by(|a, b| (a.version, &a.name).cmp(&(b.version, &b.name)));
    Ok(files)
}

/// Version of the newest whole checkpoint at or below `version`, and its parts.
pub(crate) fn newest_checkpoint(files: &[LogFile], version: u64) -> Option<(u64, Option<u32>)> {
    let mut found: BTreeMap<(u64, Option<u32>), u32> = BTreeMap::new();
    for file in files.iter().filter(|file| file.version <= version) {
        if let Kind::Checkpoint { parts } = file.kind {
            *found.entry((file.version, parts)).or_default() += 1;
        }
    }
    let whole = |(checkpoint, count): ((u64, Option<u32>), u32)| {
        (checkpoint.1.unwrap_or(1) == count).then_some(checkpoint)
    };
    found.into_iter().rev().find_map(whole)
}

/// The files that nobody needs who asks for a version that was the newest one at `cutoff_us` or
/// later, oldest first. A version is rebuilt from the newest checkpoint at or below it, so
/// everything below that checkpoint is covered; without one, nothing is.
pub(crate) fn covered(files: &[LogFile], cutoff_us: Micros) -> Vec<&LogFile> {
    let is_old = |file: &&LogFile| file.modified_us < cutoff_us;
    let entries = files.iter().filter(|file| file.kind == Kind::Entry);
    let newest_then = entries.filter(is_old).map(|file| file.version).max();
    let Some((checkpoint, _)) = newest_then.and_then(|then| newest_checkpoint(files, then)) else {
        return Vec::new();
    };
    let covered = files.iter().filter(|file| file.version < checkpoint);
    let covered: Vec<&LogFile> = covered.filter(is_old).collect();
    invariant!(
        SweptFromTheOldest,
        covered.is_sorted_by_key(|file| file.version)
            && covered.last().map(|file| file.version) < files.last().map(|file| file.version),
        "{} of {} files below checkpoint {checkpoint}",
        covered.len(),
        files.len()
    );
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u64) -> LogFile {
        named(&format!("{version:020}.json"), version)
    }

    fn checkpoint(version: u64) -> LogFile {
        named(&format!("{version:020}.checkpoint.parquet"), version)
    }

    /// Written at as many microseconds as its version says.
    fn named(name: &str, version: u64) -> LogFile {
        let modified_us = i64::try_from(version).expect("small");
        LogFile::parse(name, modified_us).expect("a file of a log")
    }

    fn log(entries: u64, checkpoints: &[u64]) -> Vec<LogFile> {
        let checkpoints = checkpoints.iter().map(|version| checkpoint(*version));
        let mut files: Vec<LogFile> = (0..entries).map(entry).chain(checkpoints).collect();
        files.sort_by(|a, b| (a.version, &a.name).cmp(&(b.version, &b.name)));
        files
    }

    #[test]
    fn what_a_checkpoint_covers_goes_and_what_a_kept_version_needs_stays() {
        // Entries, checkpoints, cutoff; the first entry that stays.
        for (entries, checkpoints, cutoff_us, first) in [
            // No checkpoint: nothing is covered.
            (30, vec![], 100, 0),
            // Version 24 was the newest then, which is rebuilt from 20.
            (30, vec![10, 20], 25, 20),
            // Version 20 was, and 19, which is rebuilt from 10.
            (30, vec![10, 20], 21, 20),
            (30, vec![10, 20], 20, 10),
            // Version 4 was: it needs all.
            (30, vec![10, 20], 5, 0),
            // Nothing was committed since: the newest version stays.
            (30, vec![10, 20], 100, 20),
            (30, vec![10, 20, 29], 100, 29),
        ] {
            let files = log(entries, &checkpoints);
            let gone = covered(&files, cutoff_us);
            let left: Vec<&LogFile> = files.iter().filter(|file| !gone.contains(file)).collect();
            let entries_left = left.iter().filter(|file| file.kind == Kind::Entry);
            let versions: Vec<u64> = entries_left.map(|file| file.version).collect();
            assert_eq!(
                versions,
                (first..entries).collect::<Vec<_>>(),
                "{cutoff_us}"
            );
            assert!(gone.is_sorted_by_key(|file| file.version));
            assert!(gone.iter().all(|file| file.version < first));
        }
    }

    #[test]
    fn the_newest_checkpoint_is_the_newest_whole_one() {
        let mut files = log(30, &[10]);
        for part in [1, 2] {
            let name = format!("{:020}.checkpoint.{part:010}.{:010}.parquet", 15, 2);
            files.push(named(&name, 15));
        }
        files.push(named(
            &format!("{:020}.checkpoint.{:010}.{:010}.parquet", 20, 1, 2),
            20,
        ));
        assert_eq!(newest_checkpoint(&files, 29), Some((15, Some(2))));
        assert_eq!(newest_checkpoint(&files, 14), Some((10, None)));
        assert_eq!(newest_checkpoint(&files, 9), None);
    }

    #[test]
    fn a_file_of_another_name_is_none_of_the_log() {
        for name in [
            "_last_checkpoint",
            "00000000000000000010.crc",
            "00000000000000000010.checkpoint.0b1c.parquet",
            "00000000000000000010.json.tmp",
            "10.json",
            "0000000000000000001x.json",
        ] {
            assert_eq!(LogFile::parse(name, 0), None, "{name}");
        }
    }
}
