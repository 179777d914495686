//! What a client sends, frame by frame from a test instead of a socket: where it is cut changes no
//! message, what is large holds its length of the budget and no longer than it is needed, and what
//! is refused, late or no message ends its stream with the reason. Streams over real connections
//! are in `tests/it/receive.rs`.

use std::future::poll_fn;

use futures::FutureExt;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::*;

const POOL: usize = 32 << 20;
const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

/// A body whose frames a test sends.
struct Fed(UnboundedReceiver<Bytes>);

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let data = self.0.poll_recv(context);
        data.map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

fn fed() -> (UnboundedSender<Bytes>, Body) {
    let (feed, frames) = mpsc::unbounded_channel();
    (feed, Body::new(Fed(frames)))
}

fn messages(budget: &Arc<Budget>, time: Duration) -> (UnboundedSender<Bytes>, Messages) {
    let (feed, body) = fed();
    (feed, Messages::new(body, Arc::clone(budget), time))
}

fn head(flag: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).expect("a test's length");
    [&[flag][..], &length.to_be_bytes()].concat()
}

/// A message that is `length` bytes long once it is encoded.
fn of_length(length: usize) -> FlightData {
    let with = |body: usize| FlightData {
        data_body: (0..body).map(|i| i as u8).collect::<Vec<_>>().into(),
        ..FlightData::default()
    };
    let bodies = length.saturating_sub(8)..=length;
    let found = bodies.map(with).find(|data| data.encoded_len() == length);
    found.expect("a tag and a length are a few bytes")
}

fn framed(data: &FlightData) -> Vec<u8> {
    [head(0, data.encoded_len()), data.encode_to_vec()].concat()
}

#[tokio::test]
async fn messages_are_the_same_wherever_they_are_cut_and_the_large_ones_hold_memory() {
    let lengths = [
        0,
        100,
        MESSAGE_FREE_BYTES + 1,
        9,
        MESSAGE_FREE_BYTES,
        50_000,
        0,
        7,
    ];
    let sent = lengths.map(of_length);
    let bytes: Vec<u8> = sent.iter().flat_map(framed).collect();
    let budget = Budget::shared(POOL);
    for cut in [1, 2, 3, 5, 7, 4_096, 16_384, bytes.len()] {
        let (feed, mut messages) = messages(&budget, LONG);
        for frame in bytes.chunks(cut) {
            feed.send(Bytes::copy_from_slice(frame)).expect("open");
        }
        drop(feed);
        for (data, length) in sent.iter().zip(lengths) {
            let received = messages.next().await.expect("no error").expect("one more");
            assert_eq!(received.data, *data, "cut at {cut}");
            let held = received.memory.map_or(0, |memory| memory.bytes());
            let is_large = length > MESSAGE_FREE_BYTES;
            assert_eq!(held, if is_large { length } else { 0 }, "cut at {cut}");
        }
        assert!(messages.next().await.expect("no error").is_none());
        assert_eq!(budget.used_bytes(Part::Requests), 0, "nothing leaks");
    }
}

#[tokio::test]
async fn a_message_that_does_not_fit_is_refused_by_its_head_alone() {
    let budget = Budget::shared(POOL);
    let most = budget.most_bytes(Part::Requests);
    for (others, words) in [(most - 1_000_000, "try again in"), (0, "memory.limit_mib")] {
        let _others = budget.reserve(Part::Requests, others).expect("free");
        let length = if others > 0 { 1_000_001 } else { most + 1 };
        let (feed, mut messages) = messages(&budget, LONG);
        feed.send(head(0, length).into()).expect("open");
        let status = messages.next().await.err().expect("refused");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        for word in ["requests", "memory.limit_mib", words] {
            assert!(status.message().contains(word), "{status}");
        }
        assert!(messages.next().await.expect("it has ended").is_none());
        assert_eq!(budget.used_bytes(Part::Requests), others);

        // The same of a call of one message.
        let (feed, body) = fed();
        let memory = budget.reserve(Part::Requests, 0).expect("nothing");
        let mut counted = Counted {
            body,
            head: Head::default(),
            left: 0,
            memory: Arc::new(Mutex::new(memory)),
        };
        feed.send(head(0, length).into()).expect("open");
        let frame = poll_fn(|context| Pin::new(&mut counted).poll_frame(context)).await;
        let status = frame.expect("a frame").expect_err("refused");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
}

#[tokio::test]
async fn a_call_of_one_message_holds_all_that_it_was_sent_until_its_answer_has_ended() {
    let budget = Budget::shared(POOL);
    let memory = Arc::new(Mutex::new(budget.empty(Part::Requests)));
    let (feed, body) = fed();
    let mut counted = Counted {
        body,
        head: Head::default(),
        left: 0,
        memory: Arc::clone(&memory),
    };
    let sent = [9, 20_000, MESSAGE_FREE_BYTES, 30_000].map(of_length);
    let bytes: Vec<u8> = sent.iter().flat_map(framed).collect();
    for frame in bytes.chunks(7) {
        feed.send(Bytes::copy_from_slice(frame)).expect("open");
    }
    drop(feed);
    let mut passed = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut counted).poll_frame(context)).await {
        let data = frame.expect("no error").into_data().expect("data");
        passed.extend_from_slice(&data);
    }
    assert_eq!(passed, bytes, "nothing is changed");
    drop(counted);
    assert_eq!(budget.used_bytes(Part::Requests), 50_000);
    drop(memory);
    assert_eq!(budget.used_bytes(Part::Requests), 0);
}

#[tokio::test]
async fn a_message_that_has_begun_must_go_on_and_between_two_there_is_all_the_time() {
    let budget = Budget::shared(POOL);
    for begun in [
        head(0, 100)[..3].to_vec(),
        head(0, 100),
        framed(&of_length(20_000))[..15_000].to_vec(),
    ] {
        let (feed, mut messages) = messages(&budget, SOON);
        let small = framed(&of_length(10));
        feed.send(small.into()).expect("open");
        assert!(messages.next().await.expect("no error").is_some());
        tokio::time::sleep(2 * SOON).await;
        assert!(messages.next().now_or_never().is_none(), "it is waited for");
        tokio::time::sleep(2 * SOON).await;
        assert!(messages.next().now_or_never().is_none(), "it is waited for");
        feed.send(begun.into()).expect("open");
        let status = messages.next().await.err().expect("it does not go on");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        let limit = "REQUEST_DEADLINE_MAX_MS";
        assert!(status.message().contains(limit), "{status}");
        assert_eq!(budget.used_bytes(Part::Requests), 0, "it holds nothing");
    }
}

/// Answers that are not read keep a client's messages from being read.
#[tokio::test]
async fn a_message_that_goes_on_after_nobody_has_read_for_long_is_taken() {
    let budget = Budget::shared(POOL);
    let (feed, mut messages) = messages(&budget, SOON);
    let message = framed(&of_length(20_000));
    let part = |range| Bytes::copy_from_slice(&message[range]);
    feed.send(part(0..9_000)).expect("open");
    assert!(messages.next().now_or_never().is_none(), "it has begun");
    tokio::time::sleep(2 * SOON).await;
    feed.send(part(9_000..15_000)).expect("open");
    assert!(messages.next().now_or_never().is_none(), "it goes on");
    feed.send(part(15_000..message.len())).expect("open");
    assert!(messages.next().await.expect("no error").is_some());
}

#[tokio::test]
async fn what_is_no_message_ends_the_stream_with_the_reason() {
    let budget = Budget::shared(POOL);
    for (bytes, words) in [
        (head(1, 3), "compressed"),
        (head(0, MESSAGE_MAX_BYTES + 1), "REQUEST_MAX_BYTES"),
        (head(0, 10), "ended within a message"),
        (head(0, 10)[..4].to_vec(), "ended within a message"),
        ([head(0, 3), vec![0xFF; 3]].concat(), "not a FlightData"),
    ] {
        let (feed, mut messages) = messages(&budget, LONG);
        feed.send(bytes.into()).expect("open");
        drop(feed);
        let status = messages.next().await.err().expect(words);
        assert!(status.message().contains(words), "{status}");
    }
}
