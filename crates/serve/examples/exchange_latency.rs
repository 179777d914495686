//! How long one read of one entity takes on an open exchange, from the encoding of the request to
//! the decoded answer, one request at a time (closed loop, one client). Rows come as JSON lines on
//! standard input, one object a row; they are read in turn. One JSON object to standard output,
//! times in microseconds:
//!
//!     exchange_latency ADDRESS SERVICE AT_US SECONDS < rows.jsonl

#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::source::Column;
use forebay_core::value::{Value, array_from_values};
use forebay_serve::{FeatureExchange, FlightClient, ReadOptions};
use serde_json::{Map, Value as Json};

/// Share of the time that is not counted: connection, caches and clocks come to speed.
const WARM_UP: f64 = 0.2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, service, at_us, seconds] = arguments.as_slice() else {
        return Err("usage: exchange_latency ADDRESS SERVICE AT_US SECONDS < rows.jsonl".into());
    };
    let options = ReadOptions {
        at_us: Some(at_us.parse()?),
        ..ReadOptions::default()
    };
    let length = Duration::from_secs_f64(seconds.parse()?);
    let client = FlightClient::connect(address).await?;
    let info = client.service(service).await?;
    let requests = requests(&info.request)?;
    let mut exchange = client.exchange(service, &options).await?;
    read_for(&mut exchange, &requests, &options, length.mul_f64(WARM_UP)).await?;
    let mut nanoseconds = read_for(&mut exchange, &requests, &options, length).await?;
    nanoseconds.sort_unstable();
    let at = |share: f64| {
        nanoseconds[((nanoseconds.len() - 1) as f64 * share) as usize] as f64 / 1_000.0
    };
    println!(
        "{{\"reads\": {}, \"p50_us\": {}, \"p90_us\": {}, \"p99_us\": {}, \"max_us\": {}}}",
        nanoseconds.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

/// Read one row after the other for `length`; what each took.
async fn read_for(
    exchange: &mut FeatureExchange,
    requests: &[RecordBatch],
    options: &ReadOptions,
    length: Duration,
) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut nanoseconds = Vec::with_capacity(1 << 16);
    let end = Instant::now() + length;
    for request in requests.iter().cycle() {
        let started = Instant::now();
        if started >= end {
            break;
        }
        let answer = exchange.read(request, options).await?;
        nanoseconds.push(u64::try_from(started.elapsed().as_nanos())?);
        if answer.rows.num_rows() != 1 {
            return Err(format!("{} rows for one", answer.rows.num_rows()).into());
        }
    }
    if nanoseconds.is_empty() {
        Err("nothing was read".into())
    } else {
        Ok(nanoseconds)
    }
}

/// The rows of standard input as batches of one row.
fn requests(columns: &[Column]) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), true))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let mut requests = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let row: Map<String, Json> = serde_json::from_str(&line?)?;
        let cell = |column: &Column| -> Result<ArrayRef, Box<dyn Error>> {
            let value = value(
                &column.data_type,
                row.get(&column.name).unwrap_or(&Json::Null),
            )
            .ok_or_else(|| {
                format!(
                    "{}: {} is no {}",
                    column.name, row[&column.name], column.data_type
                )
            })?;
            Ok(array_from_values(
                &column.data_type,
                std::iter::once(&value),
            )?)
        };
        let cells = columns.iter().map(cell).collect::<Result<Vec<_>, _>>()?;
        requests.push(RecordBatch::try_new(Arc::clone(&schema), cells)?);
    }
    if requests.is_empty() {
        Err("there are no rows on standard input".into())
    } else {
        Ok(requests)
    }
}

fn value(data_type: &DataType, json: &Json) -> Option<Value> {
    match (data_type, json) {
        (_, Json::Null) => Some(Value::Null),
        (DataType::Utf8, Json::String(text)) => Some(Value::Text(text.as_str().into())),
        (DataType::Int64 | DataType::Int32, number) => number.as_i64().map(Value::Int),
        (DataType::Float64, number) => number.as_f64().map(Value::Float),
        (DataType::Boolean, truth) => truth.as_bool().map(Value::Bool),
        (DataType::Timestamp(..), micros) => micros.as_i64().map(Value::Timestamp),
        _ => None,
    }
}
