//! Compaction: joins small data files that follow one another in the log into one, beside ingest.
//!
//! # Which
//! Files are merged in tiers, as in an LSM tree: [`MERGE_FILES`] neighbours of one tier or more
//! become one file of a higher one, so each row is rewritten a few times in all. A file of another
//! writer, one whose rows are not in log order, or one that is known to be damaged is left alone
//! and parts its neighbours.
//!
//! # How
//! The inputs are read in log order, checksums compared, and written one after the other: files
//! that follow one another need no merge by key. The output is decoded again, and the places of its
//! rows must be those of the inputs. One commit names the new file and removes the old ones with
//! `dataChange = false` and moves no mark, so it conflicts with no append and changes no row. If
//! another writer has replaced an input meanwhile, the merge is given up. A process that dies
//! anywhere here leaves a file that no table names, or the whole merge. The old files stay on disk
//! until [`crate::sweep`] takes them after their retention.
//!
//! # Memory
//! One input file, its batches, and the output, encoded and as it is read again: together up to
//! three times the bytes of the inputs, reserved before the first is read. Inputs of one merge are
//! [`ARCHIVE_MERGE_MAX_BYTES`] together at most, and fewer where the budget allows upkeep less, so
//! that a merge which the budget refuses fits at another time.

use std::ops::Range;
use std::sync::Arc;

use deltalake::kernel::{Action, Remove};
use deltalake::protocol::DeltaOperation;
use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::limits::{ARCHIVE_MERGE_MAX_BYTES, ARCHIVE_MERGE_MAX_FILES};
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::Scan;
use forebay_core::source::meta;
use futures::TryStreamExt;
use parquet::errors::ParquetError;

use crate::append::put_new;
use crate::archive::DeltaArchive;
use crate::blocking::blocking;
use crate::error::OfflineError;
use crate::facts::{FileFacts, files_of};
use crate::file::{DataFile, Encoder};
use crate::parquet_file::{self, Types};
use crate::rows::PlaceDigest;
use crate::scan::read_files;
use crate::table::{Current, Table, commit};

/// Fewest neighbours of one tier that become one file.
const MERGE_FILES: usize = 8;
/// Commits of other writers that one merge steps aside for before it gives up.
const TRIES: u32 = 5;
/// Upper ends of the tiers, bytes. A file above the last is left alone for good.
const TIERS: [u64; 5] = [16 << 10, 128 << 10, 1 << 20, 8 << 20, 64 << 20];
/// Bytes that a merge may hold for each byte of its inputs.
const HELD_FOR_EACH_BYTE: usize = 3;

/// What one merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Files that became one.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A file that may be merged.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    bytes: u64,
    /// None for one that is large enough or must be left alone.
    tier: Option<usize>,
    /// Whether it follows the file before it in the log.
    follows: bool,
}

fn candidates(files: &[FileFacts], is_damaged: impl Fn(&FileFacts) -> bool) -> Vec<Candidate> {
    let mut before: Option<&FileFacts> = None;
    let mut candidates = Vec::with_capacity(files.len());
    for file in files {
        let fits = file.is_ours() && !is_damaged(file);
        candidates.push(Candidate {
            bytes: file.size,
            tier: fits.then(|| tier(file.size)).flatten(),
            follows: before.is_some_and(|before| file.ingested().0 > before.ingested().1),
        });
        before = Some(file);
    }
    candidates
}

/// The tier of a file of `size` bytes; None for one that is large enough.
fn tier(size: u64) -> Option<usize> {
    TIERS.iter().position(|end| size < *end)
}

/// The most bytes that the inputs of one merge may have together: it takes half of what upkeep has,
/// so that one whose disk hangs leaves room for another table's.
fn most_bytes(memory: &Budget) -> u64 {
    let allowed = memory.most_bytes(Part::Upkeep) / 2 / HELD_FOR_EACH_BYTE;
    ARCHIVE_MERGE_MAX_BYTES.min(allowed as u64)
}

/// The files to join next, of those of a table in the order of their appends: `most_bytes` together
/// at most.
fn choose(files: &[Candidate], most_bytes: u64) -> Option<Range<usize>> {
    // As large as it gets: no further file of the tier may be waited for.
    let large_bytes = TIERS[TIERS.len() - 1].min(most_bytes / 2);
    let mut start = 0;
    while start < files.len() {
        let first = files[start].tier;
        if first.is_none() {
            start += 1;
            continue;
        }
        let (mut end, mut bytes) = (start + 1, files[start].bytes);
        while end < files.len() && end - start < ARCHIVE_MERGE_MAX_FILES {
            let next = files[end];
            if next.tier != first || !next.follows || bytes + next.bytes > most_bytes {
                break;
            }
            bytes += next.bytes;
            end += 1;
        }
        let is_large = bytes >= large_bytes && end - start > 1;
        if end - start >= MERGE_FILES || is_large {
            return Some(start..end);
        }
        start = end;
    }
    None
}

impl DeltaArchive {
    /// Join small files of `table` once, if there are enough of them, with memory of `memory`. None
    /// when there was nothing to do, or another writer has replaced one of the files.
    ///
    /// # Errors
    /// Unknown table, another process that appends to it, a file that has changed since it was
    /// written (the next call leaves it alone), memory that others use now, a store that fails. The
    /// table is then as it was.
    pub async fn compact(
        &self,
        table: &str,
        memory: &Arc<Budget>,
    ) -> Result<Option<Compacted>, OfflineError> {
        let table = self.table(table).await?;
        let mut files = {
            let mut current = table.current.lock().await;
            current.refresh_as(&table, self.owner()).await?;
            files_of(&table.name, &current.state)?
        };
        table.keep_damaged(&files);
        let candidates = candidates(&files, |file| table.is_damaged(&file.path));
        let Some(chosen) = choose(&candidates, most_bytes(memory)) else {
            return Ok(None);
        };
        let inputs: Vec<FileFacts> = files.drain(chosen).collect();
        let _held = reserve(&table, &inputs, memory)?;
        invariant!(
            MergeJoinsFiles,
            inputs.len() > 1,
            "table {}: {} files",
            table.name,
            inputs.len()
        );
        let follows = |a: &FileFacts, b: &FileFacts| a.ingested().1 < b.ingested().0;
        invariant!(
            MergeKeepsOrder,
            inputs.is_sorted_by(follows),
            "table {}: {} files",
            table.name,
            inputs.len()
        );
        let file = match self.join(&table, inputs.clone()).await {
            Ok(file) => file,
            Err(error) => {
                if matches!(error, OfflineError::Damaged { .. }) {
                    self.find_damaged(&table, &inputs).await?;
                }
                return Err(error);
            }
        };
        let id = self.next_commit_id();
        let name = format!("part-{id}.zstd.parquet");
        put_new(&table, &name, &file).await?;
        self.replace(&table, &inputs, &file, &name, &id).await
    }

    /// The rows of `inputs` as one file.
    async fn join(
        &self,
        table: &Arc<Table>,
        inputs: Vec<FileFacts>,
    ) -> Result<DataFile, OfflineError> {
        let failed = |source| OfflineError::Encode {
            table: table.name.clone(),
            source,
        };
        let lost = |error| OfflineError::lost_task(&table.name, error);
        let expected: u64 = inputs.iter().map(|file| file.rows).sum();
        let mut encoder = Encoder::new(&table.schema).map_err(failed)?;
        let mut read = PlaceDigest::default();
        let mut rows = read_files(table, Scan::default().in_log_order(), inputs);
        while let Some(batch) = rows.try_next().await? {
            read.add(&batch);
            let encoded = blocking(move || {
                encoder.write(&batch)?;
                Ok::<_, ParquetError>(encoder)
            });
            encoder = encoded.await.map_err(lost)?.map_err(failed)?;
        }
        if read.rows() != expected {
            return Err(OfflineError::damaged(
                &table.name,
                format!(
                    "files hold {} rows, and their log counts {expected}; restore them from a backup",
                    read.rows()
                ),
            ));
        }
        let encoded = blocking(move || {
            let file = encoder.finish()?;
            let written = places_of(&file)?;
            Ok::<_, ParquetError>((file, written))
        });
        let (file, written) = encoded.await.map_err(lost)?.map_err(failed)?;
        if written != read {
            return Err(OfflineError::damaged(
                &table.name,
                "a merged file does not hold the rows of its inputs, so it is not committed; this is \
                 a fault of Forebay or of this machine's memory: report it",
            ));
        }
        Ok(file)
    }

    /// Note which of `inputs` are damaged. Where each reads well by itself, all of them are: the
    /// table goes on without merging them.
    async fn find_damaged(&self, table: &Table, inputs: &[FileFacts]) -> Result<(), OfflineError> {
        let mut found = false;
        for file in inputs {
            found |= self.examine(table, file).await?.is_some();
        }
        if !found {
            inputs
                .iter()
                .for_each(|file| table.note_damaged(&file.path));
        }
        Ok(())
    }

    /// Commit `file` in the place of `inputs`, if they are all still there. An answer that was lost
    /// is not a commit that was lost: after a failure the log says what became of it.
    async fn replace(
        &self,
        table: &Table,
        inputs: &[FileFacts],
        file: &DataFile,
        name: &str,
        id: &str,
    ) -> Result<Option<Compacted>, OfflineError> {
        // A sweep goes by the time at which its inputs were replaced.
        let now_ms = self.held_now()?.div_euclid(1_000);
        let merged = Compacted {
            files: inputs.len(),
            bytes: inputs.iter().map(|file| file.size).sum(),
        };
        let mut current = table.current.lock().await;
        current.refresh_as(table, self.owner()).await?;
        let mut tries = 0;
        loop {
            let Some(removes) = removes(&current, inputs, now_ms) else {
                tracing::info!(
                    table = %table.name,
                    "another writer has replaced files; their merge is given up"
                );
                return Ok(None);
            };
            let mut actions: Vec<Action> = removes.into_iter().map(Action::Remove).collect();
            let mut add = file.add(name, now_ms);
            add.data_change = false;
            actions.push(Action::Add(add));
            let on = current.state.version();
            // No retry inside delta-rs: its check of conflicts overlooks a file that two commits
            // without data changes remove, and the rows of that file would be there twice.
            let properties = self.properties(&actions, Vec::new(), id);
            let properties = properties.with_max_retries(0);
            let committed = commit(table, &current.state, properties, actions, operation());
            let Err(error) = committed.await else {
                // The commit is in the log; if reading it back fails, the next call reads it.
                if let Err(error) = current.refresh(table).await {
                    tracing::warn!(
                        table = table.name,
                        error = with_causes(&error),
                        "the log cannot be read after a merge"
                    );
                }
                return Ok(Some(merged));
            };
            current.refresh_as(table, self.owner()).await?;
            if current.state.log_data().iter().any(|f| f.path() == name) {
                return Ok(Some(merged));
            }
            tries += 1;
            if tries == TRIES || current.state.version() == on {
                return Err(OfflineError::delta(&table.name, "compact", error));
            }
        }
    }
}

/// What a merge of `inputs` may hold.
fn reserve(
    table: &Table,
    inputs: &[FileFacts],
    memory: &Arc<Budget>,
) -> Result<Reservation, OfflineError> {
    let bytes: u64 = inputs.iter().map(|file| file.size).sum();
    let bytes = usize::try_from(bytes).expect("ARCHIVE_MERGE_MAX_BYTES at most");
    let held = memory.reserve(Part::Upkeep, bytes * HELD_FOR_EACH_BYTE);
    held.map_err(|source| OfflineError::Memory {
        table: table.name.clone(),
        source,
    })
}

fn operation() -> DeltaOperation {
    DeltaOperation::Optimize {
        predicate: None,
        target_size: i64::try_from(ARCHIVE_MERGE_MAX_BYTES).expect("128 MiB"),
    }
}

/// The actions that remove `inputs`; None where one of them is not there any more.
fn removes(current: &Current, inputs: &[FileFacts], now_ms: i64) -> Option<Vec<Remove>> {
    let files = current.state.log_data();
    let named = files.iter().filter(|view| {
        inputs
            .iter()
            .any(|input| input.path == view.object_store_path())
    });
    let removes: Vec<Remove> = named
        .map(|view| Remove {
            deletion_timestamp: Some(now_ms),
            ..view.remove_action(false)
        })
        .collect();
    (removes.len() == inputs.len()).then_some(removes)
}

fn places_of(file: &DataFile) -> Result<PlaceDigest, ParquetError> {
    let places = [meta::TOPIC, meta::PARTITION, meta::OFFSET];
    let rows = parquet_file::open(file.bytes.clone(), Types::Plain, |c| places.contains(&c))?;
    let mut digest = PlaceDigest::default();
    for batch in rows {
        digest.add(&batch?);
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(bytes: u64) -> Candidate {
        Candidate {
            bytes,
            tier: tier(bytes),
            follows: true,
        }
    }

    fn alone(bytes: u64) -> Candidate {
        Candidate {
            tier: None,
            ..small(bytes)
        }
    }

    #[test]
    fn neighbours_of_one_tier_are_joined_from_eight_on() {
        let (tiny, kilobytes) = (small(5_000), small(50_000));
        let overlaps = Candidate {
            follows: false,
            ..tiny
        };
        for (files, expected) in [
            (vec![], None),
            (vec![tiny; 7], None),
            (vec![tiny; 8], Some(0..8)),
            (vec![tiny; 30], Some(0..30)),
            ([vec![kilobytes; 7], vec![tiny; 9]].concat(), Some(7..16)),
            (
                [vec![tiny; 7], vec![alone(5_000)], vec![tiny; 7]].concat(),
                None,
            ),
            (
                [vec![tiny; 5], vec![overlaps], vec![tiny; 7]].concat(),
                Some(5..13),
            ),
            (vec![small(64 << 20); 20], None),
        ] {
            assert_eq!(
                choose(&files, ARCHIVE_MERGE_MAX_BYTES),
                expected,
                "{files:?}"
            );
        }
    }

    #[test]
    fn a_merge_has_so_many_files_and_bytes_and_no_more() {
        let many = vec![small(100); ARCHIVE_MERGE_MAX_FILES + 1];
        assert_eq!(
            choose(&many, ARCHIVE_MERGE_MAX_BYTES),
            Some(0..ARCHIVE_MERGE_MAX_FILES)
        );
        let size = 40 << 20;
        let large = vec![small(size); 9];
        let files = usize::try_from(ARCHIVE_MERGE_MAX_BYTES / size).expect("3");
        assert_eq!(choose(&large, ARCHIVE_MERGE_MAX_BYTES), Some(0..files));
    }

    #[test]
    fn a_merge_is_no_larger_than_the_memory_of_upkeep_allows() {
        let memory = Budget::shared(32 * (60 << 20));
        let most = most_bytes(&memory);
        assert_eq!(most, 10 << 20);
        let files = vec![small(3 << 20); 8];
        assert_eq!(choose(&files, most), Some(0..3));
        assert_eq!(choose(&files[..1], most), None, "no file is joined alone");
        assert_eq!(most_bytes(&Budget::whole(1 << 40)), ARCHIVE_MERGE_MAX_BYTES);
    }

    #[test]
    fn files_that_come_one_by_one_stay_few_and_are_rewritten_a_few_times() {
        let (mut files, mut appended, mut rewritten, mut most) = (Vec::new(), 0, 0, 0);
        for _ in 0..20_000 {
            files.push(small(5_000));
            appended += 5_000;
            while let Some(chosen) = choose(&files, ARCHIVE_MERGE_MAX_BYTES) {
                let bytes = files[chosen.clone()].iter().map(|file| file.bytes).sum();
                rewritten += bytes;
                files.splice(chosen, [small(bytes)]);
            }
            most = most.max(files.len());
        }
        assert!(most <= 7 * TIERS.len() + 2, "{most} files");
        assert!(rewritten <= appended * 6, "{rewritten} of {appended}");
    }
}
