//! Plays Parquet files as events: one file a source (NAME.parquet), merged in event-time order, at
//! a chosen pace. Used by `forebay replay` and by the demo. What is sent, and to which partition,
//! is a pure function of the files, the range and the shuffle's seed, so that two replays give two
//! equal logs.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow_schema::DataType;
use forebay_core::cast::{Misfit, conform, moments};
use forebay_core::source::{EpochUnit, SourceDef, sql_name};
use forebay_core::time::Micros;
use forebay_core::time_text;
use xxhash_rust::xxh3::xxh3_64;

/// Rows that are encoded at once.
const ENCODE_ROWS: usize = 1_024;

/// Slowest and fastest pace, event-seconds in a second: a year takes from 3 hundredths of a second
/// to a thousand years.
const SPEED_MIN: f64 = 1e-3;
const SPEED_MAX: f64 = 1e9;
/// Longest sleep between two looks at whether to go on.
const NAP: Duration = Duration::from_millis(50);

/// Which events, and how their order of arrival differs from their order in time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Selection {
    /// Events at or after this moment.
    pub(crate) from_us: Option<Micros>,
    /// Events before this moment.
    pub(crate) until_us: Option<Micros>,
    /// Each event is delayed by up to this much, at random.
    pub(crate) shuffle_us: Micros,
    /// Seed of that.
    pub(crate) seed: u64,
}

/// How fast event time passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// As fast as it goes.
    Max,
    /// So many seconds of event time in a second.
    Times(f64),
}

impl std::str::FromStr for Speed {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.trim_end_matches('x').parse::<f64>() {
            Ok(times) if (SPEED_MIN..=SPEED_MAX).contains(&times) => Ok(Self::Times(times)),
            _ => bail!(
                "speed '{text}' is neither max nor a number of event-seconds in a second from {SPEED_MIN} to {SPEED_MAX:e}"
            ),
        }
    }
}

/// One event that is due: of which file, and when it arrives in event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_us: Micros,
    file: u16,
    /// Position in the file's own order of arrival.
    position: u32,
}

#[derive(Debug)]
struct EventFile {
    source: Arc<SourceDef>,
    rows: RecordBatch,
    /// Rows in order of arrival.
    order: Vec<u32>,
}

/// All events of a replay, in order of arrival.
#[derive(Debug)]
pub(crate) struct Timeline {
    files: Vec<EventFile>,
    due: Vec<Due>,
}

/// One encoded event.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    /// Its source.
    pub(crate) source: &'a Arc<SourceDef>,
    /// Its number within its source: decides the partition.
    pub(crate) number: u32,
    /// In the format of its source.
    pub(crate) payload: Vec<u8>,
}

impl Event<'_> {
    /// The partition that this event belongs to.
    #[must_use]
    pub(crate) fn partition(&self, partitions: i32) -> i32 {
        let hash = xxh3_64(&self.number.to_le_bytes());
        i32::try_from(hash % u64::from(partitions.max(1).unsigned_abs()))
            .expect("a remainder is less than its divisor, which is an i32")
    }
}

impl Timeline {
    /// Read the files of `sources` in `dir`; a source without a file has no events.
    ///
    /// # Errors
    /// No file at all, an unreadable one, or one without a column that its source needs; names file
    /// and column.
    pub(crate) fn load(
        dir: &Path,
        sources: &[Arc<SourceDef>],
        selection: Selection,
    ) -> Result<Self> {
        let mut timeline = Self {
            files: Vec::new(),
            due: Vec::new(),
        };
        for source in sources {
            let path = dir.join(format!("{}.parquet", source.name));
            if path.exists() {
                timeline.add(source, &path, selection)?;
            }
        }
        let wanted: Vec<PathBuf> = sources
            .iter()
            .map(|s| PathBuf::from(format!("{}.parquet", s.name)))
            .collect();
        ensure!(
            !timeline.files.is_empty(),
            "{} has none of {wanted:?}; files are named after the sources",
            dir.display()
        );
        timeline.due.sort_unstable();
        Ok(timeline)
    }

    /// Events in all.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// Events of each source.
    #[must_use]
    pub(crate) fn events_by_source(&self) -> BTreeMap<&str, usize> {
        self.files
            .iter()
            .map(|f| (f.source.name.as_str(), f.order.len()))
            .collect()
    }

    /// Arrival of the first and of the last event.
    #[must_use]
    pub(crate) fn span_us(&self) -> Option<(Micros, Micros)> {
        Some((self.due.first()?.at_us, self.due.last()?.at_us))
    }

    /// Hand every event to `send`, in order, at `speed`. Before each event `may_send` is asked
    /// until it says yes: that is how a slow consumer holds the replay back. Stops early when
    /// `send` or `may_send` fails.
    ///
    /// # Errors
    /// Of `send` or `may_send`, or a column that cannot be encoded.
    pub(crate) fn play(
        &self,
        speed: Speed,
        mut may_send: impl FnMut(usize) -> Result<bool>,
        mut send: impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut cursors: Vec<Cursor> = self.files.iter().map(|_| Cursor::default()).collect();
        let started = Instant::now();
        for (sent, due) in self.due.iter().enumerate() {
            if let (Speed::Times(times), Some((first, _))) = (speed, self.span_us()) {
                let after = Duration::try_from_secs_f64((due.at_us - first) as f64 / 1e6 / times)
                    .context("the events span too long a time for this --speed")?;
                let mut left = after.saturating_sub(started.elapsed());
                while left > NAP {
                    std::thread::sleep(NAP);
                    // What stops a replay stops it here too; whether there is room is asked again
                    // below.
                    may_send(sent)?;
                    left = after.saturating_sub(started.elapsed());
                }
                std::thread::sleep(left);
            }
            while !may_send(sent)? {
                std::thread::sleep(Duration::from_millis(1));
            }
            let file = &self.files[usize::from(due.file)];
            let payload = cursors[usize::from(due.file)].next(file)?;
            send(Event {
                source: &file.source,
                number: due.position,
                payload,
            })?;
        }
        Ok(())
    }

    fn add(&mut self, source: &Arc<SourceDef>, path: &Path, selection: Selection) -> Result<()> {
        let rows = read_source(path, source)?;
        let time = source.columns[source.time_column].name.as_str();
        let times = rows
            .column_by_name(time)
            .with_context(|| format!("{} has no column '{time}'", path.display()))?;
        let unit = source.epoch_units.get(time).copied();
        let times = event_times(times, unit.unwrap_or(EpochUnit::Micros)).map_err(|misfit| {
            anyhow!(
                "column '{time}' of {} is no timestamp{misfit}",
                path.display()
            )
        })?;
        ensure!(
            times.null_count() == 0,
            "column '{time}' of {} has NULLs",
            path.display()
        );
        let file = u16::try_from(self.files.len()).context("too many sources")?;
        let mut arrivals: Vec<(Micros, u32)> = Vec::with_capacity(rows.num_rows());
        for (row, at) in times.values().iter().enumerate() {
            if selection.from_us.is_none_or(|from| *at >= from)
                && selection.until_us.is_none_or(|until| *at < until)
            {
                let row = u32::try_from(row).context("a file of over 4 billion rows")?;
                arrivals.push((at + delay(selection, file, row), row));
            }
        }
        arrivals.sort_unstable();
        for (position, (at_us, _)) in arrivals.iter().enumerate() {
            self.due.push(Due {
                at_us: *at_us,
                file,
                position: u32::try_from(position).context("too many events")?,
            });
        }
        let order = arrivals.into_iter().map(|(_, row)| row).collect();
        self.files.push(EventFile {
            source: Arc::clone(source),
            rows,
            order,
        });
        Ok(())
    }
}

fn delay(selection: Selection, file: u16, row: u32) -> Micros {
    if selection.shuffle_us <= 0 {
        return 0;
    }
    let mut seed = selection.seed.to_le_bytes().to_vec();
    seed.extend_from_slice(&file.to_le_bytes());
    seed.extend_from_slice(&row.to_le_bytes());
    i64::try_from(xxh3_64(&seed) % selection.shuffle_us.unsigned_abs())
        .expect("a remainder is less than its divisor, which is an i64")
}

/// The moments of a column of event times as a decoder will read them: timestamps, integers of
/// `unit`, texts.
fn event_times(times: &ArrayRef, unit: EpochUnit) -> Result<TimestampMicrosecondArray, Misfit> {
    let none = |what: String| Misfit::Value(format!("{what} is none"));
    if let Some(texts) = times.as_string_opt::<i32>() {
        let read = |text: &str| match time_text::parse(text) {
            Some(moment) => Ok(moment),
            None => Err(none(format!("'{text}'"))),
        };
        return texts
            .iter()
            .map(|text| text.map(read).transpose())
            .collect();
    }
    if !times.data_type().is_integer() {
        return moments(times);
    }
    let counts = conform(times, &DataType::Int64)?;
    counts.as_primitive::<Int64Type>().try_unary(|count| {
        let moment = unit.moment(count).map(|(moment, _)| moment);
        moment.ok_or_else(|| none(count.to_string()))
    })
}

/// The source's columns of a Parquet file, those that it has, in the source's types where the file
/// has others. What a type does not take stays: the record's decoder says why it is none.
fn read_source(path: &Path, source: &SourceDef) -> Result<RecordBatch> {
    let all = read_parquet(path)?;
    let mut columns = Vec::with_capacity(source.columns.len());
    for column in &source.columns {
        match all.schema().index_of(&column.name) {
            Ok(index) => columns.push(index),
            Err(_) if column.nullable => {}
            Err(_) => bail!(
                "{} has no column '{}', which source '{}' needs",
                path.display(),
                column.name,
                source.name
            ),
        }
    }
    let rows = all.project(&columns)?;
    let mut arrays = Vec::with_capacity(rows.num_columns());
    for (field, array) in rows.schema().fields().iter().zip(rows.columns()) {
        let column = source.columns.iter().find(|c| c.name == *field.name());
        let wanted = column.map_or_else(|| field.data_type(), |column| &column.data_type);
        arrays.push(match conform(array, wanted) {
            Ok(array) => array,
            Err(Misfit::Type) => Arc::clone(array),
            Err(misfit) => bail!(
                "column '{}' of {} is {}, source '{}' declares {}{misfit}",
                field.name(),
                path.display(),
                array.data_type(),
                source.name,
                sql_name(wanted)
            ),
        });
    }
    let named = rows.schema();
    let named = named.fields().iter().map(|field| field.name());
    Ok(RecordBatch::try_from_iter_with_nullable(
        named.zip(arrays).map(|(name, array)| (name, array, true)),
    )?)
}

/// A whole Parquet file as one batch.
///
/// # Errors
/// Names the file.
pub(crate) fn read_parquet(path: &Path) -> Result<RecordBatch> {
    let schema = forebay_offline::parquet_schema(path)?;
    let batches = forebay_offline::read_parquet(path, None)?.collect::<Result<Vec<_>, _>>()?;
    Ok(arrow_select::concat::concat_batches(&schema, &batches)?)
}

#[derive(Debug, Default)]
struct Cursor {
    encoded: VecDeque<Vec<u8>>,
    done: usize,
}

impl Cursor {
    fn next(&mut self, file: &EventFile) -> Result<Vec<u8>> {
        if self.encoded.is_empty() {
            let end = (self.done + ENCODE_ROWS).min(file.order.len());
            let rows = UInt32Array::from(file.order[self.done..end].to_vec());
            let batch = arrow_select::take::take_record_batch(&file.rows, &rows)?;
            self.encoded = forebay_kafka::encode_events(&file.source, &batch)?.into();
            self.done = end;
        }
        self.encoded
            .pop_front()
            .context("a replay has as many events as its files have rows")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use arrow_array::{
        Int64Array, StringArray, TimestampNanosecondArray, UInt16Array, UInt64Array,
    };
    use forebay_core::source::Column;
    use forebay_core::time::timestamp_type;

    use super::*;

    pub(crate) fn source(name: &str) -> Arc<SourceDef> {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            data_type,
            nullable: false,
        };
        Arc::new(SourceDef::json(
            name,
            name,
            vec![column("n", DataType::Int64), column("ts", timestamp_type())],
            1,
        ))
    }

    pub(crate) fn write(dir: &Path, name: &str, times: &[i64]) -> Result<()> {
        let rows = RecordBatch::try_new(
            source(name).schema(),
            vec![
                Arc::new(Int64Array::from_iter_values(0..times.len() as i64)),
                Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
            ],
        )?;
        let file = std::fs::File::create(dir.join(format!("{name}.parquet")))?;
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, rows.schema(), None)?;
        writer.write(&rows)?;
        writer.close()?;
        Ok(())
    }

    fn played(timeline: &Timeline) -> Result<Vec<(String, i64)>> {
        let mut events = Vec::new();
        timeline.play(
            Speed::Max,
            |_| Ok(true),
            |event| {
                events.push(format!(
                    "{}{}",
                    event.source.name,
                    String::from_utf8(event.payload)?
                ));
                Ok(())
            },
        )?;
        Ok(events
            .into_iter()
            .zip(timeline.due.iter().map(|due| due.at_us))
            .collect())
    }

    #[test]
    fn files_are_merged_in_event_time_order_within_the_range() -> Result<()> {
        let dir = tempfile::tempdir()?;
        write(dir.path(), "a", &[30, 10, 50])?;
        write(dir.path(), "b", &[20, 40])?;
        let sources = [source("a"), source("b"), source("c")];
        let all = Timeline::load(dir.path(), &sources, Selection::default())?;
        assert_eq!(
            played(&all)?.iter().map(|e| e.1).collect::<Vec<_>>(),
            [10, 20, 30, 40, 50]
        );
        assert!(
            played(&all)?[0].0.starts_with("a{\"n\":1,"),
            "{:?}",
            played(&all)?[0]
        );
        let some = Selection {
            from_us: Some(20),
            until_us: Some(40),
            ..Selection::default()
        };
        assert_eq!(Timeline::load(dir.path(), &sources, some)?.len(), 2);
        Ok(())
    }

    fn write_columns(dir: &Path, n: ArrayRef, ts: ArrayRef) -> Result<()> {
        let rows = RecordBatch::try_from_iter([("n", n), ("ts", ts)])?;
        let file = std::fs::File::create(dir.join("a.parquet"))?;
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, rows.schema(), None)?;
        writer.write(&rows)?;
        writer.close()?;
        Ok(())
    }

    #[test]
    fn a_file_of_other_types_becomes_events_of_its_sources_or_is_refused() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let load = || Timeline::load(dir.path(), &[source("a")], Selection::default());
        let narrow: ArrayRef = Arc::new(UInt16Array::from(vec![7, 8]));
        // What is finer than a microsecond is dropped, downwards.
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_999, -1]));
        write_columns(dir.path(), Arc::clone(&narrow), nanos)?;
        let events = played(&load()?)?;
        assert_eq!(events.iter().map(|e| e.1).collect::<Vec<_>>(), [-1, 1]);
        assert!(events[0].0.contains("23:59:59.999999Z"), "{}", events[0].0);

        let counts: ArrayRef = Arc::new(Int64Array::from(vec![2, 1]));
        write_columns(dir.path(), Arc::clone(&narrow), Arc::clone(&counts))?;
        let seconds = SourceDef {
            epoch_units: BTreeMap::from([("ts".to_owned(), EpochUnit::Seconds)]),
            ..source("a").as_ref().clone()
        };
        let timeline = Timeline::load(dir.path(), &[Arc::new(seconds)], Selection::default())?;
        let times = played(&timeline)?.into_iter().map(|e| e.1);
        assert_eq!(times.collect::<Vec<_>>(), [1_000_000, 2_000_000]);

        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1970-01-01 00:00:01", "noon"]));
        write_columns(dir.path(), Arc::clone(&narrow), texts)?;
        let error = load().expect_err("no time").to_string();
        assert!(error.contains("'noon' is none"), "{error}");

        let large: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
        write_columns(dir.path(), large, counts)?;
        let error = load().expect_err("beyond BIGINT").to_string();
        assert!(
            error.contains("column 'n' of")
                && error.contains("declares BIGINT; 18446744073709551615 does not fit"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn a_shuffle_delays_each_event_within_its_bound_and_repeats_with_its_seed() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let times: Vec<i64> = (0..500).map(|i| i * 10).collect();
        write(dir.path(), "a", &times)?;
        let shuffled = Selection {
            shuffle_us: 1_000,
            seed: 7,
            ..Selection::default()
        };
        let load = || Timeline::load(dir.path(), &[source("a")], shuffled);
        let order = played(&load()?)?;
        assert_eq!(order, played(&load()?)?);
        assert_ne!(
            order,
            played(&Timeline::load(
                dir.path(),
                &[source("a")],
                Selection::default()
            )?)?
        );
        assert!(order.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        Ok(())
    }

    #[test]
    fn what_is_missing_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let error =
            Timeline::load(dir.path(), &[source("a")], Selection::default()).expect_err("no file");
        assert!(error.to_string().contains("a.parquet"), "{error}");
        for wrong in ["fast", "", "0", "-1", "1e-300", "1e300", "inf", "nan"] {
            let error = wrong.parse::<Speed>().expect_err("refused").to_string();
            assert!(
                error.contains(&format!("'{wrong}'")) && error.contains("0.001"),
                "{error}"
            );
        }
        assert_eq!("175200x".parse::<Speed>()?, Speed::Times(175_200.0));
        Ok(())
    }
}
