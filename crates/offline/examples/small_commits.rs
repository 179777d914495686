//! A day of small commits: so many appends of a few rows to one table, as a quiet source makes
//! them, with the merges that a server does beside ingest after every N of them (0: none), then the
//! rest of the upkeep. What the table is before that and after goes to standard output as one JSON
//! object, milliseconds and bytes by name. The clock is moved beyond the retention before files are
//! deleted.
//!
//!     small_commits FOLDER COMMITS MERGE_EVERY

#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use forebay_core::memory::Budget;
use forebay_core::ports::Archive;
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::{Clock, Micros, PassingClock, whole_us};
use forebay_offline::{ArchiveSettings, DeltaArchive};
use serde_json::{Value, json};

const TABLE: &str = "clicks";
const ROWS: i64 = 10;
/// What merges may hold.
const MEMORY_BYTES: usize = 1 << 30;
const RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// Appends of which the median time is told, at the beginning and at the end.
const SAMPLE: usize = 500;

/// The system's clock, moved ahead by so many microseconds.
#[derive(Debug, Default)]
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now_us(&self) -> Micros {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| whole_us(since) as Micros);
        now + self.0.load(Ordering::Relaxed)
    }
}

impl PassingClock for Ahead {
    fn passed(&self) -> Duration {
        // What it is moved ahead by has passed.
        Duration::from_micros(self.now_us().unsigned_abs())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, commits, merge_every] = arguments.as_slice() else {
        return Err("usage: small_commits FOLDER COMMITS MERGE_EVERY".into());
    };
    let (folder, commits) = (Path::new(folder), commits.parse::<usize>()?);
    let merge_every = merge_every.parse::<usize>()?;
    let clock = Arc::new(Ahead::default());
    let archive = open(folder, &clock)?;
    archive.open_table(TABLE, batch(0)?.schema()).await?;
    let mut appends = Vec::with_capacity(commits);
    let mut merges = Merges::default();
    for number in 0..commits {
        let first = i64::try_from(number)? * ROWS;
        let started = Instant::now();
        let up_to = applied(first + ROWS);
        archive.append(TABLE, vec![batch(first)?], &up_to).await?;
        appends.push(started.elapsed());
        if merge_every > 0 && (number + 1) % merge_every == 0 {
            merges.run(&archive).await?;
        }
    }
    let before = state(folder, &clock).await?;
    merges.run(&archive).await?;
    clock.0.store(2 * micros(RETENTION), Ordering::Relaxed);
    archive.sweep(TABLE, RETENTION).await?;
    archive.clean_log(TABLE, RETENTION).await?;
    let after = state(folder, &clock).await?;
    let sample = SAMPLE.min(commits);
    let measured = json!({
        "commits": commits, "rows": i64::try_from(commits)? * ROWS, "joined_files": merges.files,
        "compact_ms": milliseconds(merges.took), "before": before, "after": after,
        "append_first_ms": median(&appends[..sample]),
        "append_last_ms": median(&appends[commits - sample..]),
    });
    println!("{measured}");
    Ok(())
}

/// Merges of small files so far.
#[derive(Debug, Default)]
struct Merges {
    files: usize,
    took: Duration,
}

impl Merges {
    /// Merge until nothing is left to merge.
    async fn run(&mut self, archive: &DeltaArchive) -> Result<(), Box<dyn Error>> {
        let started = Instant::now();
        while let Some(merged) = archive.compact(TABLE, &Budget::whole(MEMORY_BYTES)).await? {
            self.files += merged.files;
        }
        self.took += started.elapsed();
        Ok(())
    }
}

fn open(folder: &Path, clock: &Arc<Ahead>) -> Result<DeltaArchive, Box<dyn Error>> {
    let settings = ArchiveSettings::new("bench", "small_commits");
    let clock: Arc<dyn PassingClock> = Arc::<Ahead>::clone(clock);
    Ok(DeltaArchive::open(folder, settings, clock)?)
}

/// Files of the newest version, files of the folder and of its log, and how long a start takes to
/// open the table and to find where to go on.
async fn state(folder: &Path, clock: &Arc<Ahead>) -> Result<Value, Box<dyn Error>> {
    let archive = open(folder, clock)?;
    let started = Instant::now();
    archive.open_table(TABLE, batch(0)?.schema()).await?;
    archive.progress(TABLE).await?;
    let open_ms = milliseconds(started.elapsed());
    let size = archive.size(TABLE).await?;
    let data = files(&folder.join(TABLE))?;
    let log = files(&folder.join(TABLE).join("_delta_log"))?;
    let bytes = |files: &[PathBuf]| -> u64 {
        let sizes = files.iter().filter_map(|file| file.metadata().ok());
        sizes.map(|metadata| metadata.len()).sum()
    };
    Ok(json!({
        "files": size.files, "bytes": size.bytes, "files_on_disk": data.len(),
        "log_files": log.len(), "log_bytes": bytes(&log), "open_ms": open_ms,
    }))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn batch(first: i64) -> Result<RecordBatch, Box<dyn Error>> {
    let offsets: Vec<i64> = (first..first + ROWS).collect();
    let count = offsets.len();
    let times: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from_iter_values(offsets.iter().map(|o| o * 1_000))
            .with_timezone("UTC"),
    );
    let names = offsets.iter().map(|offset| format!("n{}", offset % 100));
    let columns: [(&str, ArrayRef); 7] = [
        ("name", Arc::new(StringArray::from_iter_values(names))),
        ("at", Arc::clone(&times)),
        (meta::TOPIC, Arc::new(StringArray::from(vec![TABLE; count]))),
        (meta::PARTITION, Arc::new(Int32Array::from(vec![0; count]))),
        (meta::OFFSET, Arc::new(Int64Array::from(offsets))),
        (meta::KAFKA_TIME, times),
        (meta::LATE, Arc::new(BooleanArray::from(vec![false; count]))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn applied(next_offset: i64) -> Applied {
    let progress = PartitionProgress {
        next_offset,
        max_event_time_us: None,
        last: None,
    };
    Applied(std::iter::once((TopicPartition::new(TABLE, 0), progress)).collect())
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(whole_us(duration)).unwrap_or(Micros::MAX)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn median(durations: &[Duration]) -> f64 {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted
        .get(sorted.len() / 2)
        .map_or(0.0, |d| milliseconds(*d))
}
