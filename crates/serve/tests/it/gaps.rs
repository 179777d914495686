//! Accepted gaps in answers: told by DoGet and by an exchange, in both encodings, of the sources
//! behind the service alone, and by nothing where there are none.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_flight::{FlightData, Ticket};
use forebay_core::progress::TopicPartition;
use forebay_serve::{Answer, LogGap, LogGaps, ReadOptions};
use futures::TryStreamExt;
use serde_json::json;

use crate::get::get;
use crate::wire::{RawExchange, message_of, raw, schema_of};
use crate::world::{World, rows};

const TICKET: &str = r#"{"service":"delay","rows":{"origin":["JFK"],"carrier":["AA"],"distance":[1],
    "planned":[null]},"at":"2013-07-01T12:00:00Z"}"#;

fn gap(topic: &str, from: i64) -> LogGap {
    LogGap {
        place: TopicPartition::new(topic, 1),
        from,
        to: from + 3,
    }
}

fn started() -> (World, Arc<LogGaps>) {
    let gaps = Arc::<LogGaps>::default();
    let world = World::start_with(std::time::Duration::from_secs(30), |services| {
        services.gaps = Arc::clone(&gaps);
    });
    (world, gaps)
}

async fn answers(world: &World) -> [Answer; 2] {
    let client = world.client().await;
    let options = ReadOptions::default();
    let got = client.get("delay", &rows(&["JFK"]), &options).await;
    let mut exchange = client.exchange("delay", &options).await.expect("opens");
    let exchanged = exchange.read(&rows(&["JFK"]), &options).await;
    [got.expect("an answer"), exchanged.expect("an answer")]
}

#[tokio::test]
async fn an_answer_tells_the_accepted_gaps_of_its_sources_and_no_others() {
    let (world, gaps) = started();
    for answer in answers(&world).await {
        assert_eq!(answer.gaps, []);
    }
    gaps.replace(BTreeMap::from([
        ("departures".to_owned(), vec![gap("d", 4)]),
        ("clicks".to_owned(), vec![gap("c", 1)]),
        ("arrivals".to_owned(), Vec::new()),
    ]));
    for answer in answers(&world).await {
        assert_eq!(answer.gaps, [gap("d", 4)]);
    }
    gaps.add("arrivals", &[gap("a", 9)]);
    gaps.add("departures", &[gap("d", 2)]);
    for answer in answers(&world).await {
        assert_eq!(answer.gaps, [gap("a", 9), gap("d", 2), gap("d", 4)]);
    }
    gaps.replace(BTreeMap::new());
    for answer in answers(&world).await {
        assert_eq!(answer.gaps, []);
    }
}

#[tokio::test]
async fn a_stream_that_is_open_hears_of_a_gap_in_its_next_answer() {
    let (world, gaps) = started();
    let request = rows(&["JFK"]);
    let open = r#"{"service":"delay"}"#;
    let mut exchange = RawExchange::open(&world, open, schema_of(&request))
        .await
        .expect("opens");
    let _schema = exchange.next().await.expect("no error").expect("a schema");
    exchange.send(message_of(&request, "")).await;
    assert_eq!(exchange.next_meta().await.get("gaps"), None);
    gaps.add("departures", &[gap("d", 4)]);
    exchange.send(message_of(&request, "")).await;
    let told = json!([{"topic": "d", "partition": 1, "from": 4, "to": 7}]);
    assert_eq!(exchange.next_meta().await["gaps"], told);
    let batch = get(&world, TICKET).await.expect("an answer");
    let schema = batch.schema();
    let said = schema.metadata()["forebay.gaps"].as_str();
    let said: serde_json::Value = serde_json::from_str(said).expect("JSON");
    assert_eq!(said, told);
}

/// The messages of a DoGet.
async fn messages(world: &World) -> Vec<FlightData> {
    let mut client = raw(world).await;
    let stream = client.do_get(Ticket::new(TICKET)).await.expect("an answer");
    stream.into_inner().try_collect().await.expect("messages")
}

#[tokio::test]
async fn gaps_of_other_sources_change_no_byte_of_an_answer() {
    let (world, gaps) = started();
    let before = messages(&world).await;
    gaps.add("clicks", &[gap("c", 1)]);
    let after = messages(&world).await;
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.data_header, after.data_header);
        assert_eq!(before.app_metadata, after.app_metadata);
        assert_eq!(before.data_body, after.data_body);
    }
}
