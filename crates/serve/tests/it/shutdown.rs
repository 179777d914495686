//! Going away: exchanges are told, answered through the grace time, and ended after it; new
//! connections are not taken; two servers never share a port by accident.

use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_serve::client::Reply;
use forebay_serve::{
    FlightClient, FlightServer, FlightServerConfig, FlightServices, ReadOptions, ServeError,
};

use crate::exchange::at;
use crate::world::{NOON, World, integers, rows};

#[tokio::test]
async fn an_exchange_is_told_and_answered_until_it_leaves() {
    let world = World::start();
    let address = world.server.local_addr().to_string();
    let client = world.client().await;
    let mut exchange = client
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    exchange
        .read(&rows(&["JFK"]), &at(NOON))
        .await
        .expect("an answer");
    let shutdown = tokio::spawn(world.server.shutdown());
    match exchange.receive().await.expect("no error") {
        Some(Reply::GoingAway(message)) => assert!(message.contains("shutting down"), "{message}"),
        other => panic!("{other:?}"),
    }
    let answer = exchange
        .read(&rows(&["JFK"]), &at(NOON))
        .await
        .expect("answered in the grace time");
    assert_eq!(integers(&answer.rows, "t_count"), [Some(2)]);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while FlightClient::connect(&address).await.is_ok() {
        assert!(
            std::time::Instant::now() < deadline,
            "new connections are still taken"
        );
    }
    drop((exchange, client));
    // Long before the grace time of thirty seconds is over.
    tokio::time::timeout(Duration::from_secs(20), shutdown)
        .await
        .expect("ends when all have left")
        .expect("no panic");
}

#[tokio::test]
async fn after_the_grace_time_exchanges_end_with_the_reason() {
    let world = World::start_with(Duration::from_millis(50), |_| {});
    let client = world.client().await;
    let mut exchange = client
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    let shutdown = tokio::spawn(world.server.shutdown());
    assert!(matches!(
        exchange.receive().await.expect("no error"),
        Some(Reply::GoingAway(_))
    ));
    let error = exchange.receive().await.expect_err("the end");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("open a new stream"), "{error}");
    tokio::time::timeout(Duration::from_secs(20), shutdown)
        .await
        .expect("ends")
        .expect("no panic");
    let error = client.services().await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_port_in_use_and_an_address_for_others_are_refused() {
    let world = World::start();
    let services = || {
        let clock = std::sync::Arc::clone(&world.clock);
        FlightServices::new(
            std::sync::Arc::clone(&world.reader) as _,
            clock,
            std::sync::Arc::clone(&world.metrics),
            std::sync::Arc::clone(&world.budget),
        )
    };
    let taken = FlightServerConfig::new(world.server.local_addr());
    let error = FlightServer::start(taken, services()).expect_err("in use");
    assert!(matches!(error, ServeError::Listen { .. }), "{error}");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let config = FlightServerConfig::new(address.parse().expect("an address"));
        let error = FlightServer::start(config, services()).expect_err("beyond loopback");
        assert!(matches!(error, ServeError::NotLoopback { .. }), "{error}");
    }
    let error = FlightClient::connect("127.0.0.1:1")
        .await
        .expect_err("nobody");
    assert!(
        error.kind() == ErrorKind::Unavailable && error.to_string().contains("127.0.0.1:1"),
        "{error}"
    );
    assert_eq!(
        FlightClient::connect("no address")
            .await
            .expect_err("none")
            .kind(),
        ErrorKind::InvalidArgument
    );
}
