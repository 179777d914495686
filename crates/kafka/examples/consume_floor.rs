//! The floors of ingest: how fast one thread takes topics from the broker and does nothing with the
//! records, how fast one thread decodes the same records into Arrow columns, with no broker in
//! between, and how fast it counts, adds up and keeps the greatest of the shop's amounts by user
//! besides. One JSON object to standard output:
//!
//!     consume_floor consume|decode|group BOOTSTRAP departures=TOPIC arrivals=TOPIC ..
//!     consume_floor consume|decode|group BOOTSTRAP shop=TOPIC

#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_schema::DataType;
use forebay_core::limits::{EPOCH_MAX_ROWS, EVENT_FUTURE_MAX_US};
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::timestamp_type;
use forebay_kafka::{Record, RecordDecoder};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(30);
const WEATHER: [&str; 9] = [
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
];

/// One record as it came, with the source that it belongs to.
struct Raw {
    source: usize,
    payload: Vec<u8>,
}

/// What was measured.
struct Measured {
    records: u64,
    bytes: u64,
    elapsed: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, bootstrap, topics @ ..] = arguments.as_slice() else {
        return Err(usage());
    };
    let sources = topics
        .iter()
        .map(|topic| source_of(topic))
        .collect::<Result<Vec<_>, _>>()?;
    let measured = match mode.as_str() {
        "consume" => consume(bootstrap, &sources, |_, _| {})?,
        "decode" => decode(bootstrap, &sources, |_| Ok(()))?,
        "group" => {
            let mut groups = Groups::default();
            decode(bootstrap, &sources, |rows| groups.add(rows))?
        }
        _ => return Err(usage()),
    };
    println!(
        "{{\"records\": {}, \"bytes\": {}, \"seconds\": {}}}",
        measured.records,
        measured.bytes,
        measured.elapsed.as_secs_f64()
    );
    Ok(())
}

fn usage() -> Box<dyn Error> {
    "usage: consume_floor consume|decode|group BOOTSTRAP (departures|arrivals|weather|shop)=TOPIC .."
        .into()
}

/// `NAME=TOPIC`: one of the flights' sources, or the shop's, and where it is.
fn source_of(argument: &str) -> Result<SourceDef, Box<dyn Error>> {
    let (name, topic) = argument.split_once('=').ok_or_else(usage)?;
    let columns = columns_of(name).ok_or_else(usage)?;
    let time_column = columns.len() - 1;
    Ok(SourceDef::json(name, topic, columns, time_column))
}

/// The columns of a source, the event time last: that and ids are NOT NULL.
fn columns_of(source: &str) -> Option<Vec<Column>> {
    let (text, number, whole) = (DataType::Utf8, DataType::Float64, DataType::Int64);
    let (flag, time) = (DataType::Boolean, timestamp_type());
    let columns = match source {
        "departures" => vec![
            ("flight_id", &text, false),
            ("carrier", &text, false),
            ("flight", &whole, true),
            ("tailnum", &text, true),
            ("origin", &text, false),
            ("dest", &text, false),
            ("distance", &whole, true),
            ("sched_dep", &time, true),
            ("dep_delay", &number, true),
            ("dep_time", &time, false),
        ],
        "arrivals" => vec![
            ("flight_id", &text, false),
            ("carrier", &text, false),
            ("origin", &text, false),
            ("dest", &text, false),
            ("arr_delay", &number, true),
            ("air_time", &number, true),
            ("arr_time", &time, false),
        ],
        "weather" => {
            let measures = WEATHER.map(|name| (name, &number, true));
            let columns = std::iter::once(("origin", &text, false)).chain(measures);
            columns.chain([("observed_at", &time, false)]).collect()
        }
        "shop" => vec![
            ("event_id", &text, false),
            ("user_id", &text, false),
            ("amount", &number, true),
            ("quantity", &whole, true),
            ("country", &text, true),
            ("device", &text, true),
            ("is_new", &flag, true),
            ("session", &text, true),
            ("page", &text, true),
            ("at", &time, false),
        ],
        _ => return None,
    };
    let column = |(name, data_type, nullable): (&str, &DataType, bool)| Column {
        name: name.to_owned(),
        data_type: data_type.clone(),
        nullable,
    };
    Some(columns.into_iter().map(column).collect())
}

/// Read every record that the topics hold, with the client's settings of the server's reader that
/// bear on speed.
fn consume(
    bootstrap: &str,
    sources: &[SourceDef],
    mut each: impl FnMut(usize, &[u8]),
) -> Result<Measured, Box<dyn Error>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "consume-floor")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.min.messages", "100000")
        .create()?;
    let mut ends: HashMap<(String, i32), i64> = HashMap::new();
    let mut assignment = TopicPartitionList::new();
    for source in sources {
        let metadata = consumer.fetch_metadata(Some(&source.topic), PATIENCE)?;
        for partition in metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
        {
            let (first, end) =
                consumer.fetch_watermarks(&source.topic, partition.id(), PATIENCE)?;
            if first < end {
                assignment.add_partition_offset(
                    &source.topic,
                    partition.id(),
                    Offset::Beginning,
                )?;
                ends.insert((source.topic.clone(), partition.id()), end);
            }
        }
    }
    let source_of: HashMap<&str, usize> = sources
        .iter()
        .enumerate()
        .map(|(i, s)| (s.topic.as_str(), i))
        .collect();
    let mut measured = Measured {
        records: 0,
        bytes: 0,
        elapsed: Duration::ZERO,
    };
    let started = Instant::now();
    consumer.assign(&assignment)?;
    while !ends.is_empty() {
        let message = consumer
            .poll(PATIENCE)
            .ok_or("the broker sent nothing for 30 s")??;
        let payload = message.payload().unwrap_or_default();
        measured.records += 1;
        measured.bytes += payload.len() as u64;
        each(
            source_of.get(message.topic()).copied().unwrap_or_default(),
            payload,
        );
        let place = (message.partition(), message.offset());
        // Only the last record of a partition pays for a look into the map.
        if ends.values().any(|end| *end == place.1 + 1) {
            let key = (message.topic().to_owned(), place.0);
            if ends.get(&key).is_some_and(|end| *end == place.1 + 1) {
                ends.remove(&key);
            }
        }
    }
    measured.elapsed = started.elapsed();
    Ok(measured)
}

/// Decode the same records from memory, in batches as large as the server's, each handed to `each`.
fn decode(
    bootstrap: &str,
    sources: &[SourceDef],
    mut each: impl FnMut(&RecordBatch) -> Result<(), Box<dyn Error>>,
) -> Result<Measured, Box<dyn Error>> {
    let mut raw: Vec<Raw> = Vec::new();
    let consumed = consume(bootstrap, sources, |source, payload| {
        raw.push(Raw {
            source,
            payload: payload.to_vec(),
        })
    })?;
    let mut decoders = sources
        .iter()
        .map(|s| RecordDecoder::new(s, EVENT_FUTURE_MAX_US))
        .collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    let mut rows = 0;
    for record in &raw {
        let decoder = &mut decoders[record.source];
        let row = Record {
            key: None,
            payload: Some(&record.payload),
            kafka_time_us: None,
            broker_time: false,
        };
        decoder
            .push(&row)
            .map_err(|reject| format!("a record is no row: {reject}"))?;
        if decoder.rows() == EPOCH_MAX_ROWS {
            let batch = std::hint::black_box(decoder.finish()?);
            each(&batch)?;
            rows += batch.num_rows();
        }
    }
    for decoder in &mut decoders {
        let batch = std::hint::black_box(decoder.finish()?);
        each(&batch)?;
        rows += batch.num_rows();
    }
    let elapsed = started.elapsed();
    if rows as u64 != consumed.records {
        return Err(format!("{rows} rows of {} records", consumed.records).into());
    }
    Ok(Measured {
        elapsed,
        ..consumed
    })
}

/// Count, sum and greatest amount of each user, inexact and without windows.
#[derive(Default)]
struct Groups(HashMap<String, (u64, f64, f64)>);

impl Groups {
    fn add(&mut self, rows: &RecordBatch) -> Result<(), Box<dyn Error>> {
        let column = |name| rows.column_by_name(name).ok_or_else(usage);
        let users = column("user_id")?.as_string::<i32>();
        let amounts = column("amount")?.as_primitive::<Float64Type>();
        for (user, amount) in users.iter().flatten().zip(amounts.iter().flatten()) {
            let (count, sum, most) = match self.0.get_mut(user) {
                Some(group) => group,
                None => self.0.entry(user.to_owned()).or_default(),
            };
            *count += 1;
            *sum += amount;
            *most = most.max(amount);
        }
        Ok(())
    }
}
