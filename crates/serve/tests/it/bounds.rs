//! What a listener bounds for all of its clients: streams of one connection, large reads, and the
//! time that a client may say nothing in.

use std::time::{Duration, Instant};

use forebay_core::ErrorKind;
use forebay_core::limits::{
    CONNECTION_MAX_STREAMS, FIRST_MESSAGE_MAX_MS, HEADERS_MAX_MS, LARGE_READS_MAX,
};
use forebay_serve::{ReadOptions, Readiness};
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::exchange::at;
use crate::http;
use crate::wire::raw;
use crate::world::{NOON, WAITS, World, rows, wait_for};

#[tokio::test]
async fn a_connection_has_so_many_streams_and_a_further_one_waits_for_its_turn() {
    let world = World::start();
    let client = world.client().await;
    let options = ReadOptions::default();
    let mut open = Vec::new();
    for _ in 0..CONNECTION_MAX_STREAMS {
        open.push(client.exchange("delay", &options).await.expect("opens"));
    }
    let further = client.exchange("delay", &options);
    tokio::pin!(further);
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut further).await;
    assert!(waited.is_err(), "one more than the connection may have");
    open.pop();
    let mut exchange = tokio::time::timeout(Duration::from_secs(20), further)
        .await
        .expect("a stream has ended")
        .expect("opens");
    let answer = exchange.read(&rows(&["JFK"]), &at(NOON)).await;
    assert_eq!(answer.expect("an answer").rows.num_rows(), 1);
}

#[tokio::test]
async fn a_listener_has_so_many_large_reads_under_way_and_refuses_a_further_one() {
    let world = World::start();
    let client = world.client().await;
    let mut origins = vec!["JFK"; 200];
    origins[0] = WAITS;
    let mut reads = Vec::new();
    for _ in 0..=LARGE_READS_MAX {
        let (client, rows) = (client.clone(), rows(&origins));
        let read = async move { client.get("delay", &rows, &ReadOptions::default()).await };
        reads.push(tokio::spawn(read));
    }
    wait_for("one is refused", || reads.iter().any(|r| r.is_finished())).await;
    let at = reads.iter().position(|r| r.is_finished()).expect("found");
    let refused = reads.swap_remove(at).await.expect("no panic");
    let error = refused.expect_err("the gate is shut");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("LARGE_READS_MAX"), "{error}");
    world.store.open_gate();
    for read in reads {
        let answer = read.await.expect("no panic").expect("an answer");
        assert_eq!(answer.rows.num_rows(), 200);
    }
}

/// How much later than its limit a listener may be on a busy machine.
const LATE: Duration = Duration::from_secs(10);

/// The end of an exchange that is opened without a message.
async fn silent_exchange(world: &World) -> Status {
    let silence = stream::pending();
    let opened = raw(world).await.do_exchange(silence).await;
    match opened {
        Err(status) => status,
        Ok(answers) => answers
            .into_inner()
            .message()
            .await
            .expect_err("nothing was asked"),
    }
}

#[tokio::test]
async fn who_opens_a_stream_or_a_request_and_says_nothing_is_let_go_after_its_time() {
    let world = World::start();
    let (server, _) = http::start(&Readiness::default()).await;
    let mut request = TcpStream::connect(server.local_addr())
        .await
        .expect("connects");
    let begun = Instant::now();
    let headers = async {
        request
            .write_all(b"GET /livez HTTP/1.1\r\n")
            .await
            .expect("sent");
        let mut rest = Vec::new();
        let _ended = request.read_to_end(&mut rest).await;
        begun.elapsed()
    };
    let exchange = async { (silent_exchange(&world).await, begun.elapsed()) };
    let (headers, (status, exchange)) = tokio::join!(headers, exchange);
    let expected = Duration::from_millis(HEADERS_MAX_MS);
    assert!(
        (expected..expected + LATE).contains(&headers),
        "{headers:?}"
    );
    let expected = Duration::from_millis(FIRST_MESSAGE_MAX_MS);
    assert!(
        (expected..expected + LATE).contains(&exchange),
        "{exchange:?}"
    );
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(
        status.message().contains("FIRST_MESSAGE_MAX_MS"),
        "{status}"
    );
}
