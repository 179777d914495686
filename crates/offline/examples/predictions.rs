//! So many predictions, and the events that they score, as the archive of a server holds them: what
//! a short run has archived is taken again and again, by the server's own append, with offsets that
//! go on, ids that belong to them and event times that ascend behind the last one. The server must
//! not run. Where each partition of the two topics ends goes to standard output as one JSON object:
//! the log has to reach as far before the server starts again.
//!
//!     predictions ARCHIVE SCORED TIME_COLUMN KEY_COLUMN PREDICTIONS ROWS
//!
//! SCORED and PREDICTIONS are tables; of each copy the texts of KEY_COLUMN are its own.

#![allow(clippy::disallowed_methods, reason = "it dates rows by the real time")]
#![expect(clippy::print_stdout, reason = "an example prints what it made")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_select::concat::concat_batches;
use forebay_core::ports::{Archive, Scan, TableScan};
use forebay_core::prediction::{PredictionKey, Role, column};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::{Clock, Micros, PassingClock, whole_us};
use forebay_offline::{ArchiveSettings, DeltaArchive};
use futures::TryStreamExt;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The default of `server.name`: whose archive it is.
const DEPLOYMENT: &str = "forebay";

#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn now_us(&self) -> Micros {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |since| whole_us(since) as Micros)
    }
}

impl PassingClock for Now {
    fn passed(&self) -> Duration {
        // Nobody sets the clock meanwhile.
        Duration::from_micros(self.now_us().unsigned_abs())
    }
}

/// What a table had before.
struct Template {
    table: String,
    rows: RecordBatch,
    applied: Applied,
}

/// How event times of a copy follow those of the one before.
struct Times {
    first_us: Micros,
    last_us: Micros,
    copies: i64,
}

impl Times {
    /// `at_us` in copy `number`: all copies lie in as long a time behind the last event as the
    /// template covers before it.
    fn moved(&self, at_us: Micros, number: i64) -> Micros {
        let span_us = self.last_us - self.first_us;
        let along_us = (number - 1) * span_us + (at_us - self.first_us);
        self.last_us + along_us / self.copies.max(1)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, scored, time, key, predictions, rows] = arguments.as_slice() else {
        return Err(
            "usage: predictions ARCHIVE SCORED TIME_COLUMN KEY_COLUMN PREDICTIONS ROWS".into(),
        );
    };
    let settings = ArchiveSettings::new(DEPLOYMENT, "predictions");
    let archive = DeltaArchive::open(Path::new(folder), settings, Arc::new(Now))?;
    let scored = template(&archive, scored).await?;
    let predictions = template(&archive, predictions).await?;
    let rows: usize = rows.parse()?;
    let copies = i64::try_from(rows.div_ceil(predictions.rows.num_rows()))? - 1;
    let of_events = times(&scored.rows, time)?;
    let times = Times {
        first_us: of_events.values().iter().copied().min().unwrap_or(0),
        last_us: of_events.values().iter().copied().max().unwrap_or(0),
        copies,
    };
    for number in 1..=copies {
        for of in [&scored, &predictions] {
            let copy = Copy {
                number,
                times: &times,
                time,
                key,
                scored: &scored.applied,
            };
            append(&archive, of, &copy).await?;
        }
    }
    let ends = |of: &Template| -> BTreeMap<String, BTreeMap<i32, i64>> {
        let mut ends = BTreeMap::<String, BTreeMap<i32, i64>>::new();
        for (place, progress) in &of.applied.0 {
            let end = progress.next_offset * (copies + 1);
            let topic = ends.entry(place.topic.to_string()).or_default();
            topic.insert(place.partition, end);
        }
        ends
    };
    let mut topics = ends(&scored);
    topics.extend(ends(&predictions));
    let made = predictions.rows.num_rows() * usize::try_from(copies + 1)?;
    println!("{}", json!({ "predictions": made, "ends": topics }));
    Ok(())
}

/// All rows of `table`, without when the archive took them.
async fn template(archive: &DeltaArchive, table: &str) -> Outcome<Template> {
    let scan = Scan::default().in_log_order();
    let batches: Vec<RecordBatch> = archive.scan(table, scan).await?.try_collect().await?;
    let first = batches
        .first()
        .ok_or_else(|| format!("{table} has no rows"))?;
    let mut rows = concat_batches(&first.schema(), &batches)?;
    if let Ok(ingest_time) = rows.schema().index_of(meta::INGEST_TIME) {
        rows.remove_column(ingest_time);
    }
    Ok(Template {
        table: table.to_owned(),
        rows,
        applied: archive.progress(table).await?,
    })
}

fn times<'a>(rows: &'a RecordBatch, name: &str) -> Outcome<&'a TimestampMicrosecondArray> {
    let column = named(rows, name)?;
    let times = column.as_primitive_opt::<TimestampMicrosecondType>();
    Ok(times.ok_or_else(|| format!("column {name} has no times"))?)
}

fn named<'a>(rows: &'a RecordBatch, name: &str) -> Outcome<&'a ArrayRef> {
    let column = rows.column_by_name(name);
    Ok(column.ok_or_else(|| format!("there is no column {name}"))?)
}

/// One copy of the rows of both tables.
struct Copy<'a> {
    number: i64,
    times: &'a Times,
    /// Names of the scored table's event time and key.
    time: &'a str,
    key: &'a str,
    /// What the scored table had before.
    scored: &'a Applied,
}

impl Copy<'_> {
    fn rows(&self, of: &Template) -> Outcome<RecordBatch> {
        let rows = &of.rows;
        let mut columns = Vec::with_capacity(rows.num_columns());
        for field in rows.schema().fields() {
            let name = field.name().as_str();
            let column = named(rows, name)?;
            columns.push(match name {
                meta::OFFSET => {
                    let places = (meta::TOPIC, meta::PARTITION);
                    self.offsets(rows, places, column, &of.applied)?
                }
                column::SOURCE_OFFSET => {
                    let places = (column::SOURCE_TOPIC, column::SOURCE_PARTITION);
                    self.offsets(rows, places, column, self.scored)?
                }
                column::EVENT_TIME | column::AS_OF => self.moved(times(rows, name)?),
                _ if name == self.time => self.moved(times(rows, name)?),
                _ if name == self.key => {
                    let texts = column.as_string::<i32>().iter();
                    let of_copy = |text: &str| format!("{text}-{}", self.number);
                    Arc::new(StringArray::from_iter(texts.map(|t| t.map(of_copy))))
                }
                _ => Arc::clone(column),
            });
        }
        let copied = RecordBatch::try_new(rows.schema(), columns)?;
        let Ok(id) = copied.schema().index_of(column::PREDICTION_ID) else {
            return Ok(copied);
        };
        let mut columns = copied.columns().to_vec();
        columns[id] = ids(&copied)?;
        Ok(RecordBatch::try_new(copied.schema(), columns)?)
    }

    /// Offsets of the copy: those of a partition go on where the copy before has ended.
    fn offsets(
        &self,
        rows: &RecordBatch,
        (topic, partition): (&str, &str),
        offsets: &ArrayRef,
        before: &Applied,
    ) -> Outcome<ArrayRef> {
        let topics = named(rows, topic)?.as_string::<i32>();
        let partitions = named(rows, partition)?.as_primitive::<Int32Type>();
        let offsets = offsets.as_primitive::<Int64Type>();
        let moved = (0..rows.num_rows()).map(|row| {
            let place = TopicPartition::new(topics.value(row), partitions.value(row));
            offsets.value(row) + self.number * before.next_offset(&place)
        });
        Ok(Arc::new(Int64Array::from_iter_values(moved)))
    }

    fn moved(&self, times: &TimestampMicrosecondArray) -> ArrayRef {
        let number = self.number;
        let moved = times.unary::<_, TimestampMicrosecondType>(|at| self.times.moved(at, number));
        Arc::new(moved.with_timezone("UTC"))
    }
}

fn ids(rows: &RecordBatch) -> Outcome<ArrayRef> {
    let text = |name| Ok::<_, Box<dyn Error>>(named(rows, name)?.as_string::<i32>());
    let number = |name| Ok::<_, Box<dyn Error>>(named(rows, name)?.as_primitive::<Int32Type>());
    let (deployments, roles) = (text(column::DEPLOYMENT)?, text(column::ROLE)?);
    let (topics, versions) = (text(column::SOURCE_TOPIC)?, number(column::MODEL_VERSION)?);
    let partitions = number(column::SOURCE_PARTITION)?;
    let offsets = named(rows, column::SOURCE_OFFSET)?.as_primitive::<Int64Type>();
    let mut ids = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        let key = PredictionKey {
            deployment: deployments.value(row).to_owned(),
            model_version: u32::try_from(versions.value(row))?,
            role: Role::parse(roles.value(row)).ok_or("a role that is none")?,
            topic: topics.value(row).to_owned(),
            partition: partitions.value(row),
            offset: offsets.value(row),
        };
        ids.push(key.id());
    }
    Ok(Arc::new(StringArray::from(ids)))
}

/// Append a copy of the rows of `of`, as a server does that has read so far.
async fn append(archive: &DeltaArchive, of: &Template, copy: &Copy<'_>) -> Outcome<()> {
    let rows = copy.rows(of)?;
    let mut up_to = Applied::default();
    for (place, before) in &of.applied.0 {
        let moved = |at_us| copy.times.moved(at_us, copy.number);
        let progress = PartitionProgress {
            next_offset: before.next_offset * (copy.number + 1),
            max_event_time_us: before.max_event_time_us.map(moved),
            last: None,
        };
        up_to.advance(place, progress);
    }
    let appended = archive.append(&of.table, vec![rows], &up_to).await?;
    if appended != of.rows.num_rows() as u64 {
        return Err(format!("{} has rows of the copy already", of.table).into());
    }
    Ok(())
}
