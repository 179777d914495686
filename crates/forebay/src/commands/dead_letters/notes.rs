//! Which dead letters were produced once more: `dead_letters_replayed.jsonl` in the data directory,
//! a line for each group that the broker has acknowledged, synced before the next group is sent. A
//! crash between the two leaves a group that nobody has noted, and the next run produces it again.
//! A line that a crash has torn is not there.
//!
//! One process at a time holds the file, by a lock of the system; readers need none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use forebay_core::limits::REPLAYED_MAX_RECORDS;
use forebay_core::progress::TopicPartition;
use forebay_core::{ErrorKind, PortError};
use serde::{Deserialize, Serialize};

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    topic: String,
    partition: i32,
    offsets: Vec<i64>,
    /// When, for people.
    at: String,
}

/// What was produced once more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    offsets: BTreeMap<TopicPartition, BTreeSet<i64>>,
    records: usize,
}

impl Replayed {
    /// As the data directory has it.
    ///
    /// # Errors
    /// The file cannot be read, or has other lines.
    pub(super) fn of(data_dir: &Path) -> Result<Self> {
        let path = path(data_dir);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self::parsed(&path, &bytes)?.0),
            Err(error) if error.kind() == IoErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Whether the letter at `offset` of `place` is among it.
    pub(super) fn has(&self, place: &TopicPartition, offset: i64) -> bool {
        let of_place = self.offsets.get(place);
        of_place.is_some_and(|offsets| offsets.contains(&offset))
    }

    fn add(&mut self, place: TopicPartition, offset: i64) {
        let of_place = self.offsets.entry(place).or_default();
        self.records += usize::from(of_place.insert(offset));
    }

    /// What the whole lines of `bytes` say, and how many bytes those are.
    fn parsed(path: &Path, bytes: &[u8]) -> Result<(Self, usize)> {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        let mut replayed = Self::default();
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            let line: Line = serde_json::from_slice(line).with_context(|| {
                format!(
                    "{} is damaged; restore it from a backup, or move it away: records that it names may then be produced again",
                    path.display()
                )
            })?;
            let place = TopicPartition::new(line.topic.as_str(), line.partition);
            for offset in line.offsets {
                replayed.add(place.clone(), offset);
            }
        }
        Ok((replayed, whole))
    }
}

/// The file, held by this process.
#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
    file: File,
    pub(super) replayed: Replayed,
}

impl Notes {
    /// Hold the file of `data_dir`, which is made where there is none.
    ///
    /// # Errors
    /// Another process holds it; the disk fails; it has other lines.
    pub(super) fn hold(data_dir: &Path) -> Result<Self> {
        let path = path(data_dir);
        let failed = || format!("cannot open {}", path.display());
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path)?;
            File::open(data_dir)?.sync_all()?;
            std::io::Result::Ok(file)
        };
        let mut file = open().with_context(failed)?;
        if file.try_lock().is_err() {
            let words =
                "another replay is under way on this data directory; try again when it has ended";
            return Err(PortError::new(ErrorKind::FailedPrecondition, words).into());
        }
        let bytes = std::fs::read(&path).with_context(failed)?;
        let (replayed, whole) = Replayed::parsed(&path, &bytes)?;
        let cut = |file: &mut File| {
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::End(0))
        };
        cut(&mut file).with_context(failed)?;
        Ok(Self {
            path,
            file,
            replayed,
        })
    }

    /// Whether `records` more can be noted.
    ///
    /// # Errors
    /// They are more than [`REPLAYED_MAX_RECORDS`] then.
    pub(super) fn check_room(&self, records: u64) -> Result<()> {
        let known = self.replayed.records as u64;
        if known.saturating_add(records) <= REPLAYED_MAX_RECORDS as u64 {
            return Ok(());
        }
        let words = format!(
            "{} names {} replayed records, and {REPLAYED_MAX_RECORDS} are the most (REPLAYED_MAX_RECORDS); move it away, \
             and say with --since, or by offsets, what was not replayed yet: nobody knows then what was",
            self.path.display(),
            self.replayed.records
        );
        Err(PortError::new(ErrorKind::ResourceExhausted, words).into())
    }

    /// Note that the broker has these letters once more, as of `at`.
    ///
    /// # Errors
    /// The disk fails: the next run may produce them again.
    pub(super) fn add(&mut self, letters: &[(TopicPartition, i64)], at: &str) -> Result<()> {
        let mut offsets: BTreeMap<&TopicPartition, Vec<i64>> = BTreeMap::new();
        for (place, offset) in letters {
            offsets.entry(place).or_default().push(*offset);
        }
        let mut bytes = Vec::new();
        for (place, offsets) in offsets {
            let line = Line {
                topic: place.topic.to_string(),
                partition: place.partition,
                offsets,
                at: at.to_owned(),
            };
            serde_json::to_writer(&mut bytes, &line)?;
            bytes.push(b'\n');
        }
        let write = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        write.with_context(|| {
            let path = self.path.display();
            format!(
                "cannot write {path}: what was just produced may be produced again by the next run"
            )
        })?;
        for (place, offset) in letters {
            self.replayed.add(place.clone(), *offset);
        }
        Ok(())
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("dead_letters_replayed.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> TopicPartition {
        TopicPartition::new("raw", partition)
    }

    #[test]
    fn what_was_noted_is_known_to_the_next_run_and_a_torn_line_is_not() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let letters = [(place(0), 4), (place(1), 4), (place(0), 9)];
        let mut notes = Notes::hold(dir.path())?;
        assert_eq!(notes.replayed, Replayed::default());
        notes.add(&letters, "now")?;
        assert!(notes.replayed.has(&place(0), 9));
        let busy = Notes::hold(dir.path()).expect_err("held");
        assert!(busy.to_string().contains("under way"), "{busy}");
        drop(notes);

        let path = path(dir.path());
        let whole = std::fs::read(&path)?;
        std::fs::write(&path, [&whole[..], b"{\"topic\":\"raw\",\"part"].concat())?;
        assert_eq!(Replayed::of(dir.path())?.records, 3);
        let mut notes = Notes::hold(dir.path())?;
        notes.add(&[(place(2), 1), (place(0), 4)], "later")?;
        let known = Replayed::of(dir.path())?;
        assert_eq!(known, notes.replayed);
        assert_eq!(known.records, 4);
        for (partition, offset, is_known) in [(0, 4, true), (2, 1, true), (2, 4, false)] {
            assert_eq!(known.has(&place(partition), offset), is_known);
        }
        Ok(())
    }

    #[test]
    fn a_file_of_another_shape_is_refused_with_the_way_out() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert_eq!(Replayed::of(dir.path())?, Replayed::default());
        std::fs::write(path(dir.path()), "{}\n")?;
        let error = Notes::hold(dir.path()).expect_err("damaged");
        assert!(error.to_string().contains("move it away"), "{error}");
        std::fs::rename(path(dir.path()), dir.path().join("away"))?;
        Notes::hold(dir.path())?;
        Ok(())
    }

    #[test]
    fn no_more_are_noted_than_the_limit() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut notes = Notes::hold(dir.path())?;
        let most = i64::try_from(REPLAYED_MAX_RECORDS)?;
        let letters: Vec<_> = (1..most).map(|offset| (place(0), offset)).collect();
        notes.add(&letters, "now")?;
        notes.check_room(1)?;
        notes.add(&[(place(0), most)], "now")?;
        let error = notes.check_room(1).expect_err("full");
        assert!(
            error.to_string().contains("REPLAYED_MAX_RECORDS"),
            "{error}"
        );
        Ok(())
    }
}
