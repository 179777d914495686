//! What clients send before it is a request: whatever they claim, begin and leave unfinished, the
//! memory for requests is never more than its share, who is refused is told so, and small requests
//! beside it are answered.

use std::convert::Infallible;

use axum::http::Request;
use bytes::Bytes;
use forebay_core::limits::MESSAGE_FREE_BYTES;
use forebay_core::memory::Part;
use forebay_serve::ReadOptions;
use futures::stream::{self, StreamExt};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::exchange::at;
use crate::world::{NOON, WAITS, World, rows, wait_for};

async fn connect(world: &World) -> Channel {
    let address = format!("http://{}", world.server.local_addr());
    let endpoint = Endpoint::from_shared(address).expect("an address");
    endpoint.connect().await.expect("connects")
}

/// Call `method` with the head of a message of `claimed` bytes and the first `sent` of them; never
/// send the rest. The status that it ends with.
async fn unfinished(channel: Channel, method: &str, claimed: u32, sent: usize) -> Status {
    let head = [&[0][..], &claimed.to_be_bytes(), &[0x55]].concat();
    let frames = [Bytes::from(head), Bytes::from(vec![0x55; sent - 1])];
    let frames = stream::iter(frames.map(Ok::<_, Infallible>)).chain(stream::pending());
    let call = format!("/arrow.flight.protocol.FlightService/{method}");
    let request = Request::post(format!("http://localhost{call}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(axum::body::Body::from_stream(frames)))
        .expect("a request");
    let answer = channel.oneshot(request).await.expect("an answer");
    Status::from_header_map(answer.headers()).expect("it ends at once")
}

#[tokio::test]
async fn messages_that_many_streams_begin_are_refused_before_they_take_more_than_their_share() {
    const CLAIMED: u32 = 5_000_000;
    let world = World::start();
    let most = world.budget.most_bytes(Part::Requests);
    let used = || world.budget.used_bytes(Part::Requests);
    let client = world.client().await;
    let options = ReadOptions::default();
    let mut exchange = client.exchange("delay", &options).await.expect("opens");
    for method in ["DoGet", "DoExchange", "DoPut", "DoAction", "Handshake"] {
        let channels = [connect(&world).await, connect(&world).await];
        let calls = (0..60).map(|n| {
            let channel = channels[n % 2].clone();
            tokio::spawn(async move { unfinished(channel, method, CLAIMED, 100_000).await })
        });
        let calls: Vec<_> = calls.collect();
        let refused = || calls.iter().filter(|call| call.is_finished()).count();
        let room = most / CLAIMED as usize;
        if method == "Handshake" {
            // Refused as a call, whatever was sent.
            wait_for("all are refused", || refused() == 60).await;
        } else {
            wait_for("all but a few are refused", || refused() >= 60 - room).await;
            assert!(used() <= most, "{} of {most}", used());
            assert!(used() >= CLAIMED as usize, "one is being received");
        }
        let answer = exchange.read(&rows(&["JFK"]), &at(NOON)).await;
        assert_eq!(answer.expect("an answer").rows.num_rows(), 1, "{method}");
        for call in calls {
            if !call.is_finished() {
                call.abort();
                continue;
            }
            let status = call.await.expect("no panic");
            if method != "Handshake" {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                for word in ["the memory for requests is used up", "try again in"] {
                    assert!(status.message().contains(word), "{status}");
                }
            }
        }
        drop(channels);
        wait_for("all of it comes back", || used() < CLAIMED as usize / 4).await;
    }
}

#[tokio::test]
async fn a_small_request_takes_no_memory_of_its_own_and_a_large_one_until_it_is_answered() {
    let world = World::start();
    let used = || world.budget.used_bytes(Part::Requests);
    let client = world.client().await;
    let options = ReadOptions::default();
    let mut exchange = client.exchange("delay", &options).await.expect("opens");
    let idle = used();
    assert_eq!(idle, 0, "connections and streams draw on nothing");
    let refused = world.budget.refused(Part::Requests);
    let others = world.budget.most_bytes(Part::Requests) - idle;
    let others = world.budget.reserve(Part::Requests, others).expect("free");
    let one = exchange.read(&rows(&["JFK"]), &at(NOON)).await;
    assert_eq!(one.expect("it needs no more").rows.num_rows(), 1);
    assert_eq!(world.budget.refused(Part::Requests), refused);
    drop(others);

    let mut origins = vec!["JFK"; 1_000];
    origins[0] = WAITS;
    let request = rows(&origins);
    let large = tokio::spawn(async move {
        let answer = exchange.read(&request, &at(NOON)).await;
        (answer.expect("an answer").rows.num_rows(), exchange)
    });
    wait_for("it is being answered", || used() > idle).await;
    assert!(used() - idle > MESSAGE_FREE_BYTES);
    world.store.open_gate();
    let (count, _exchange) = large.await.expect("no panic");
    assert_eq!(count, 1_000);
    wait_for("its memory comes back", || used() == idle).await;
}
