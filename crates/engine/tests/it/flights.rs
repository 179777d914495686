//! The flights of two weeks through the shipped definitions: probe and batch give the same bits for
//! all five views, one by one and through the service; and a few features are counted by hand.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use arrow_schema::{Field, Schema};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use forebay_core::ports::{Known, PointInTime};
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US};
use forebay_engine::{BatchEngine, Catalog, DefinitionFile, ProbeEngine, read_definitions};
use forebay_testkit::{MemoryTables, unbounded_budget};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::oracle::Cell;
use crate::world::{ask, cells};

/// 2013-01-15T00:00:00Z.
const END_US: i64 = 1_358_208_000_000_000;
const PROBES: usize = 2_000;

/// One service for each view, with all of its features.
const SERVICES: &str = "
CREATE FEATURE SERVICE airport_alone (origin VARCHAR) AS
    SELECT t.* FROM request LEFT JOIN airport_traffic AS t USING (origin);
CREATE FEATURE SERVICE carrier_alone (carrier VARCHAR) AS
    SELECT t.* FROM request LEFT JOIN carrier_punctuality AS t USING (carrier);
CREATE FEATURE SERVICE route_alone (origin VARCHAR, dest VARCHAR) AS
    SELECT t.* FROM request LEFT JOIN route_history AS t USING (origin, dest);
CREATE FEATURE SERVICE aircraft_alone (tailnum VARCHAR) AS
    SELECT t.* FROM request LEFT JOIN aircraft_recent AS t USING (tailnum);
CREATE FEATURE SERVICE weather_alone (origin VARCHAR) AS
    SELECT t.* FROM request LEFT JOIN origin_weather AS t USING (origin);
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn catalog() -> Catalog {
    let mut files = read_definitions(&root().join("sql/flights")).expect("the shipped definitions");
    files.push(DefinitionFile {
        path: "services.sql".to_owned(),
        text: SERVICES.to_owned(),
    });
    match Catalog::empty().plan(&files) {
        Ok(plan) => plan.catalog,
        Err(error) => panic!("{error}"),
    }
}

/// The rows of a bundled file whose event time lies before the end of the two weeks.
fn read(name: &str, time: &str) -> RecordBatch {
    let path = root()
        .join("data/nycflights13")
        .join(format!("{name}.parquet"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("bundled"))
        .expect("Parquet");
    let schema = Arc::clone(reader.schema());
    let mut kept = Vec::new();
    for batch in reader.build().expect("readable") {
        let batch = batch.expect("readable");
        let times = times(&batch, time);
        let early: BooleanArray = times
            .iter()
            .map(|t| Some(t.is_some_and(|t| t < END_US)))
            .collect();
        kept.push(filter_record_batch(&batch, &early).expect("one mask for each row"));
    }
    concat_batches(&schema, &kept).expect("one schema")
}

fn times(batch: &RecordBatch, name: &str) -> TimestampMicrosecondArray {
    let column = batch
        .column_by_name(name)
        .expect("a column of the bundled data");
    let micros =
        arrow_cast::cast(column, &forebay_core::time::timestamp_type()).expect("a timestamp");
    micros.as_primitive::<TimestampMicrosecondType>().clone()
}

struct Flights {
    departures: RecordBatch,
    arrivals: RecordBatch,
    tables: MemoryTables,
    spine: RecordBatch,
}

fn flights() -> Flights {
    let departures = read("departures", "dep_time");
    let arrivals = read("arrivals", "arr_time");
    let weather = read("weather", "observed_at");
    let tables = [
        ("departures", &departures),
        ("arrivals", &arrivals),
        ("weather", &weather),
    ]
    .map(|(name, rows)| (name.to_owned(), vec![rows.clone()]));
    let spine = spine(&departures);
    Flights {
        tables: MemoryTables(BTreeMap::from(tables)),
        departures,
        arrivals,
        spine,
    }
}

/// Departures, as of their own time and of times around it: on window edges, before anything, and
/// after everything.
fn spine(departures: &RecordBatch) -> RecordBatch {
    let rows = departures.num_rows();
    let picked: UInt32Array = (0..PROBES)
        .map(|i| Some((i * 7_919 % rows) as u32))
        .collect();
    let picked = take_record_batch(departures, &picked).expect("rows of the batch");
    let shifts = [
        0,
        0,
        1,
        -1,
        HOUR_US,
        HOUR_US + 1,
        DAY_US,
        -40 * DAY_US,
        3 * DAY_US + MINUTE_US,
        7 * DAY_US + 1,
    ];
    let own = times(&picked, "dep_time");
    let shifted = own
        .values()
        .iter()
        .enumerate()
        .map(|(row, time)| time + shifts[row % shifts.len()]);
    let at: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values(shifted).with_timezone("UTC"));
    let request = [
        "origin",
        "dest",
        "carrier",
        "tailnum",
        "distance",
        "sched_dep",
        "dep_delay",
        "flight_id",
    ];
    let schema = picked.schema();
    let kept = |name: &str| schema.index_of(name).expect("a column of departures");
    let mut fields: Vec<Arc<Field>> = request
        .iter()
        .map(|name| Arc::clone(&schema.fields()[kept(name)]))
        .collect();
    fields.push(Arc::new(Field::new(
        "event_time",
        at.data_type().clone(),
        false,
    )));
    let mut columns: Vec<ArrayRef> = request
        .iter()
        .map(|name| Arc::clone(picked.column(kept(name))))
        .collect();
    columns.push(at);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("well formed")
}

#[test]
fn probe_and_batch_agree_on_every_view_and_on_the_service() {
    let flights = flights();
    assert!(flights.departures.num_rows() > 10_000 && flights.arrivals.num_rows() > 10_000);
    let catalog = catalog();
    let engines: [Box<dyn PointInTime>; 2] = [
        Box::new(ProbeEngine::new(catalog.clone(), unbounded_budget())),
        Box::new(BatchEngine::new(catalog.clone(), unbounded_budget(), None)),
    ];
    for service in [
        "airport_alone",
        "carrier_alone",
        "route_alone",
        "aircraft_alone",
        "weather_alone",
        "delay_features",
    ] {
        let width = flights.spine.num_columns();
        let [probe, batch] = engines.each_ref().map(|engine| {
            match ask(
                engine.as_ref(),
                service,
                &flights.spine,
                &flights.tables,
                Known::All,
            ) {
                Ok(answer) => answer,
                Err(error) => panic!("{service}: {error}"),
            }
        });
        assert_eq!(probe.schema(), batch.schema());
        let features = &catalog.services()[service].spec().features;
        assert_eq!(probe.num_columns(), width + features.len());
        let (probed, batched) = (cells(&probe, width), cells(&batch, width));
        assert_eq!(probed.len(), PROBES);
        for (row, (probed, batched)) in probed.iter().zip(&batched).enumerate() {
            for (feature, (probed, batched)) in features.iter().zip(probed.iter().zip(batched)) {
                assert_eq!(probed, batched, "{service}.{}, row {row}", feature.name);
            }
        }
        for (index, feature) in features.iter().enumerate() {
            let known = probed.iter().filter(|row| row[index] != Cell::Null).count();
            assert!(
                known > 100,
                "{service}.{} is NULL nearly everywhere ({known})",
                feature.name
            );
            let nulls = PROBES - known;
            let always = ["departure_delay", "distance_miles", "sched_hour_utc"]
                .contains(&feature.name.as_str());
            assert!(
                always || nulls > 100,
                "{service}.{}: probes before the first event are NULL",
                feature.name
            );
        }
    }
}

#[test]
fn features_counted_by_hand() {
    let flights = flights();
    let engine = ProbeEngine::new(catalog(), unbounded_budget());
    let answer = ask(
        &engine,
        "delay_features",
        &flights.spine,
        &flights.tables,
        Known::All,
    )
    .expect("answered");
    let at = times(&flights.spine, "event_time");
    let column = |name: &str| Arc::clone(answer.column_by_name(name).expect("a feature"));
    let text = |batch: &RecordBatch, name: &str| -> Vec<String> {
        let utf8 = arrow_cast::cast(
            batch.column_by_name(name).expect("there"),
            &arrow_schema::DataType::Utf8,
        );
        utf8.expect("text")
            .as_string::<i32>()
            .iter()
            .map(|t| t.unwrap_or_default().to_owned())
            .collect()
    };
    let (origins, dests) = (text(&flights.spine, "origin"), text(&flights.spine, "dest"));
    let departed = times(&flights.departures, "dep_time");
    let from = text(&flights.departures, "origin");
    let arrived = times(&flights.arrivals, "arr_time");
    let (route_from, route_to) = (
        text(&flights.arrivals, "origin"),
        text(&flights.arrivals, "dest"),
    );
    let (last_hour, ever) = (column("departures_1h"), column("route_arrivals"));
    let distance = column("distance_miles");
    for row in (0..PROBES).step_by(13) {
        let t = at.value(row);
        let before =
            (0..departed.len()).filter(|i| from[*i] == origins[row] && departed.value(*i) <= t);
        let times: Vec<i64> = before.map(|i| departed.value(i)).collect();
        let newest = times.iter().max();
        let want = newest.filter(|newest| t - **newest <= 2 * DAY_US).map(|_| {
            i64::try_from(times.iter().filter(|time| **time >= t - HOUR_US).count()).expect("few")
        });
        let got = last_hour
            .is_valid(row)
            .then(|| last_hour.as_primitive::<Int64Type>().value(row));
        assert_eq!(got, want, "departures_1h of row {row}");
        let on_route = (0..arrived.len())
            .filter(|i| {
                route_from[*i] == origins[row]
                    && route_to[*i] == dests[row]
                    && arrived.value(*i) <= t
            })
            .count();
        let got = ever
            .is_valid(row)
            .then(|| ever.as_primitive::<Int64Type>().value(row));
        assert_eq!(
            got,
            (on_route > 0).then(|| i64::try_from(on_route).expect("few")),
            "route_arrivals of row {row}"
        );
        assert!(distance.is_valid(row) && distance.as_primitive::<Float64Type>().value(row) > 0.0);
    }
}

#[test]
fn the_answer_is_the_spine_then_the_features_and_says_so_in_its_metadata() {
    let flights = flights();
    let engine = ProbeEngine::new(catalog(), unbounded_budget());
    let answer = ask(
        &engine,
        "delay_features",
        &flights.spine,
        &flights.tables,
        Known::All,
    )
    .expect("answered");
    let schema = answer.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let width = flights.spine.num_columns();
    for (index, name) in names.iter().enumerate().take(width) {
        assert_eq!(name, flights.spine.schema_ref().field(index).name());
        assert_eq!(
            answer.column(index),
            flights.spine.column(index),
            "spine column {index}"
        );
    }
    assert_eq!(
        names[width..width + 3],
        ["departure_delay", "distance_miles", "sched_hour_utc"]
    );
    let listed: Vec<String> =
        serde_json::from_str(&schema.metadata()["forebay.features"]).expect("JSON");
    assert_eq!(listed, names[width..]);
    assert_eq!(schema.metadata()["forebay.service"], "delay_features");
}
