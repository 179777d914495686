//! What an error of RocksDB means: an outage of the disk, a directory that another process has, or
//! damage, which no retry mends. RocksDB gives no codes for most of it, so its words are read here,
//! and only here; tests damage real directories and hold that the words are still these.
//!
//! Damage becomes [`OnlineError::Damaged`], which names the file; the rest stays an outage.

use std::path::{Path, PathBuf};

use rocksdb::{Error, ErrorKind};

use crate::error::OnlineError;

/// What went wrong, as far as it decides what may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Another process has the directory.
    InUse,
    /// Stored bytes are missing or not those that were written.
    Damage,
    /// The disk refused; it may take the same later.
    Outage,
}

fn meaning(kind: &ErrorKind, words: &str) -> Meaning {
    let is_locked =
        words.contains("While lock file") || words.contains("lock hold by current process");
    match kind {
        ErrorKind::IOError if is_locked => Meaning::InUse,
        ErrorKind::Corruption => Meaning::Damage,
        // A file that the manifest names and the directory does not have.
        ErrorKind::IOError if words.contains(".sst") && words.contains("No such file") => {
            Meaning::Damage
        }
        _ => Meaning::Outage,
    }
}

/// The file that the words name: a table, a log or a manifest by its name, a log by its number.
fn named_file(words: &str) -> Option<String> {
    let is_file = |name: &str| {
        [".sst", ".log"].iter().any(|end| name.ends_with(end)) || name.starts_with("MANIFEST-")
    };
    let by_name = words
        .split(|c: char| c.is_whitespace() || c == ':' || c == ',')
        .filter_map(|token| token.rsplit('/').next())
        .map(|name| name.trim_end_matches('.'))
        .find(|name| is_file(name));
    by_name.map(str::to_owned).or_else(|| {
        let (_, number) = words.split_once("log number: ")?;
        let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
        let number: u64 = digits.parse().ok()?;
        Some(format!("{number:06}.log"))
    })
}

/// The error of shard `shard` at `path`, of which `action` (a participle) failed.
pub(crate) fn disk_error(
    path: &Path,
    shard: u16,
    action: &'static str,
    source: Error,
) -> OnlineError {
    let words = source.as_ref();
    match meaning(&source.kind(), words) {
        Meaning::InUse => OnlineError::InUse {
            path: path.to_owned(),
            source,
        },
        Meaning::Damage => OnlineError::Damaged {
            shard,
            file: named_file(words).map_or_else(|| PathBuf::from(path), |name| path.join(name)),
            source,
        },
        Meaning::Outage => OnlineError::Disk {
            shard,
            action,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_damage_from_outages() {
        let cases = [
            (
                ErrorKind::Corruption,
                "Corruption: anything",
                Meaning::Damage,
            ),
            (
                ErrorKind::IOError,
                "IO error: No space left on device: While appending to file: /d/000004.log",
                Meaning::Outage,
            ),
            (
                ErrorKind::IOError,
                "IO error: While lock file: /d/LOCK: Resource temporarily unavailable",
                Meaning::InUse,
            ),
            (
                ErrorKind::IOError,
                "IO error: No such file or directory: While open a file for random read: /d/000009.sst",
                Meaning::Damage,
            ),
            (
                ErrorKind::IOError,
                "IO error: Too many open files: While open a file for appending: /d/000012.log",
                Meaning::Outage,
            ),
        ];
        for (kind, words, expected) in cases {
            assert_eq!(meaning(&kind, words), expected, "{words}");
        }
    }

    #[test]
    fn the_file_is_named_by_name_or_by_number() {
        let cases = [
            (
                "Corruption: Missing WAL with log number: 12.",
                Some("000012.log"),
            ),
            (
                "Corruption: Size mismatch: WAL (log number: 9) in MANIFEST is 7 bytes , but actually is 3 bytes on disk.",
                Some("000009.log"),
            ),
            (
                "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in /d/shard-0000/000010.sst offset 0 size 4059",
                Some("000010.sst"),
            ),
            (
                "Corruption: Can't access /000010.sst: IO error: No such file or directory",
                Some("000010.sst"),
            ),
            (
                "Corruption: checksum mismatch in file /d/shard-0000/MANIFEST-000005",
                Some("MANIFEST-000005"),
            ),
            ("Corruption: SST file is ahead of WALs in CF tile", None),
        ];
        for (words, expected) in cases {
            assert_eq!(named_file(words).as_deref(), expected, "{words}");
        }
    }
}
