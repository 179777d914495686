//! Answers and the memory of the process: a request is refused before its answer is built, with a
//! typed error and a time to try again, and what an answer held comes back when it was read.

use arrow_flight::Ticket;
use forebay_core::ErrorKind;
use forebay_core::memory::Part;
use forebay_core::ports::{At, FeatureReader};
use forebay_serve::ReadOptions;
use futures::StreamExt;
use tonic::Code;

use crate::get::get;
use crate::wire::raw;
use crate::world::{NOON, World, rows};

/// A ticket for `rows` rows of one key.
fn ticket(rows: usize) -> String {
    let column = |value: &str| format!("[{}]", vec![value; rows].join(","));
    format!(
        r#"{{"service":"delay","rows":{{"origin":{},"carrier":{},"distance":{},"planned":{}}},
        "at":"2013-07-01T12:00:00Z"}}"#,
        column(r#""JFK""#),
        column(r#""AA""#),
        column("1"),
        column("null")
    )
}

#[tokio::test]
async fn where_the_memory_for_answers_is_used_up_requests_are_refused_and_nothing_else() {
    let world = World::start();
    let most = world.budget.most_bytes(Part::Answers);
    let held = world.budget.reserve(Part::Answers, most).expect("free");

    let refused = get(&world, ticket(2)).await.expect_err("no memory");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    for word in ["answers", "memory.limit_mib", "try again in"] {
        assert!(refused.message().contains(word), "{refused}");
    }
    let (client, options) = (world.client().await, ReadOptions::default());
    let mut exchange = client.exchange("delay", &options).await.expect("opens");
    for many in [1, 1_000] {
        let origins = vec!["JFK"; many];
        let request = rows(&origins);
        let error = exchange
            .read(&request, &options)
            .await
            .expect_err("no memory");
        assert!(error.to_string().contains("answers"), "{error}");
    }
    let shed = world.metrics.serving_shed.with(["memory"]);
    assert_eq!(shed.value(), 3);
    assert_eq!(
        world.budget.used_bytes(Part::Answers),
        most,
        "nothing leaks"
    );

    drop(held);
    assert_eq!(get(&world, ticket(2)).await.expect("memory").num_rows(), 2);
    let one = exchange.read(&rows(&["JFK"]), &options).await;
    assert_eq!(one.expect("the stream goes on").rows.num_rows(), 1);
}

#[tokio::test]
async fn an_answer_holds_its_memory_until_it_was_read_and_not_longer() {
    let world = World::start();
    let used = || world.budget.used_bytes(Part::Answers);
    let mut client = raw(&world).await;
    let ask = Ticket::new(ticket(10_000));
    let answer = client.do_get(ask).await.expect("an answer").into_inner();
    let messages: Vec<_> = answer.collect().await;
    assert!(messages.iter().all(Result::is_ok));
    crate::world::wait_for("its memory comes back", || used() == 0).await;

    // One that is never read gives its memory back when its client goes away.
    let ask = Ticket::new(ticket(10_000));
    let unread = client.do_get(ask).await.expect("an answer");
    drop(unread);
    drop(client);
    crate::world::wait_for("its memory comes back", || used() == 0).await;
}

#[tokio::test]
async fn where_the_memory_for_scoring_is_used_up_one_row_alone_is_read_all_the_same() {
    let world = World::start();
    let most = world.budget.most_bytes(Part::Scoring);
    let _held = world.budget.reserve(Part::Scoring, most).expect("free");
    let scoring = world.reader.drawing_as(Part::Scoring);
    let service = scoring.service("delay").expect("known");
    let read = |origins: &[&str]| scoring.read(service.as_ref(), &rows(origins), At::Instant(NOON));
    let error = read(&["JFK"; 2]).expect_err("no memory");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(read(&["JFK"]).expect("read").features.num_rows(), 1);
}

#[tokio::test]
async fn what_a_service_computes_on_demand_is_held_too_and_refused_where_it_does_not_fit() {
    const LONG: usize = 900;
    let world = World::start();
    let service = world.reader.service("delay").expect("known");
    let origin = "x".repeat(LONG);
    let read = || {
        let request = rows(&[origin.as_str(); 1_000]);
        world
            .reader
            .read(service.as_ref(), &request, At::Instant(NOON))
    };
    let used = || world.budget.used_bytes(Part::Answers);
    let answer = read().expect("memory");
    // The label of each row is its origin with a word before it.
    let held = used();
    assert!((1_000 * LONG..1_400 * LONG).contains(&held), "{held}");
    drop(answer);
    let others = world.budget.most_bytes(Part::Answers) - 1_000 * LONG;
    let _others = world.budget.reserve(Part::Answers, others).expect("free");
    let error = read().expect_err("the labels alone are more than is left");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(used(), others, "nothing leaks");
}
