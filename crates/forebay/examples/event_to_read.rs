//! How long it takes from the moment an event is due to be produced until an answer shows it:
//! departures of new aircraft go to Kafka at a constant rate (open loop: a late event counts from
//! when it was due), while one exchange reads the aircraft that were not seen yet. One JSON object
//! to standard output, times in milliseconds:
//!
//!     event_to_read BOOTSTRAP TOPIC FLIGHT_ADDRESS SERVICE EVENTS_A_SECOND SECONDS
//!
//! SERVICE has a request column `tailnum` and joins the view `aircraft_recent` as `a`, like
//! `delay_features`.

#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use forebay_core::source::Column;
use forebay_core::view::FeatureStatus;
use forebay_kafka::{ClientSettings, ProducerSettings, Replayer};
use forebay_serve::{FlightClient, ReadOptions};

/// When the events happened, 2014-01-03T00:00:00Z: after all flights, so that none of them is late.
const EVENT_TIME_US: i64 = 1_388_707_200_000_000;
const EVENT_TIME: &str = "2014-01-03T00:00:00Z";
/// How long the last events may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows of one read.
const ROWS_MAX: usize = 100;
/// Events due before this are not counted: the producer looks for its partitions first.
const WARM_UP: Duration = Duration::from_secs(1);

/// An event that no answer has shown yet.
struct Unseen {
    tailnum: String,
    due: Instant,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, address, service, rate, seconds] = arguments.as_slice() else {
        return Err(
            "usage: event_to_read BOOTSTRAP TOPIC FLIGHT_ADDRESS SERVICE EVENTS_A_SECOND SECONDS"
                .into(),
        );
    };
    let (rate, seconds): (f64, f64) = (rate.parse()?, seconds.parse()?);
    let client = FlightClient::connect(address).await?;
    let info = client.service(service).await?;
    let options = ReadOptions {
        at_us: Some(EVENT_TIME_US),
        with_status: true,
        ..ReadOptions::default()
    };
    let mut exchange = client.exchange(service, &options).await?;
    let replayer = Replayer::new(ProducerSettings::new(ClientSettings::new(bootstrap)))?;
    let total = (rate * (seconds + WARM_UP.as_secs_f64())) as usize;
    let started = Instant::now();
    let due = |number: usize| started + Duration::from_secs_f64(number as f64 / rate);
    let (mut sent, mut unseen, mut seen_events) = (0, Vec::<Unseen>::new(), 0);
    let mut milliseconds = Vec::with_capacity(total);
    let mut send_lag = Duration::ZERO;
    while seen_events < total {
        while sent < total && due(sent) <= Instant::now() {
            let tailnum = format!("F{}-{sent:06}", std::process::id());
            replayer.send(topic, None, b"", departure(&tailnum).as_bytes(), None)?;
            if due(sent) >= started + WARM_UP {
                send_lag = send_lag.max(due(sent).elapsed());
            }
            unseen.push(Unseen {
                tailnum,
                due: due(sent),
            });
            sent += 1;
        }
        if unseen.is_empty() {
            tokio::time::sleep(due(sent).saturating_duration_since(Instant::now())).await;
            continue;
        }
        let asked = unseen.len().min(ROWS_MAX);
        let answer = exchange
            .read(&request(&info.request, &unseen[..asked])?, &options)
            .await?;
        let now = Instant::now();
        let mut row = 0;
        let seen = |row| answer.status("a", row) == Some(FeatureStatus::Present);
        unseen.retain(|event| {
            row += 1;
            let shown = row <= asked && seen(row - 1);
            seen_events += usize::from(shown);
            if shown && event.due >= started + WARM_UP {
                milliseconds.push(now.duration_since(event.due).as_secs_f64() * 1_000.0);
            }
            !shown
        });
        check_patience(&unseen)?;
    }
    report(milliseconds, send_lag);
    Ok(())
}

/// Refuse to wait for ever for an event that no answer shows.
fn check_patience(unseen: &[Unseen]) -> Result<(), Box<dyn Error>> {
    match unseen.first() {
        Some(event) if event.due.elapsed() > PATIENCE => {
            let tailnum = &event.tailnum;
            Err(format!("aircraft {tailnum} was not seen within {PATIENCE:?}").into())
        }
        _ => Ok(()),
    }
}

/// Print what was measured.
fn report(mut milliseconds: Vec<f64>, send_lag: Duration) {
    milliseconds.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| milliseconds[((milliseconds.len() - 1) as f64 * share) as usize];
    println!(
        "{{\"events\": {}, \"p50_ms\": {}, \"p99_ms\": {}, \"max_ms\": {}, \"send_lag_max_ms\": {}}}",
        milliseconds.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        send_lag.as_secs_f64() * 1_000.0
    );
}

fn departure(tailnum: &str) -> String {
    format!(
        "{{\"flight_id\": \"{tailnum}\", \"carrier\": \"ZZ\", \"tailnum\": \"{tailnum}\", \"origin\": \"JFK\", \"dest\": \"BOS\", \
         \"distance\": 187, \"dep_delay\": 1.0, \"dep_time\": \"{EVENT_TIME}\"}}"
    )
}

/// Request rows with nothing but the aircraft.
fn request(columns: &[Column], events: &[Unseen]) -> Result<RecordBatch, Box<dyn Error>> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), true))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let column = |column: &Column| -> ArrayRef {
        if column.name == "tailnum" {
            return Arc::new(StringArray::from_iter_values(
                events.iter().map(|event| &event.tailnum),
            ));
        }
        new_null_array(&column.data_type, events.len())
    };
    Ok(RecordBatch::try_new(
        schema,
        columns.iter().map(column).collect(),
    )?)
}
