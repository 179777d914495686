//! What recovery and the watch over the logs rely on: the log's identity, and a note on each topic.

use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::ports::{AcceptedGap, LogNotes, TopicNote};

use super::TOPIC;

/// Everything that [`LogNotes`] promise.
///
/// # Panics
/// A promise is not kept.
pub fn log_notes(make: &dyn Fn() -> Arc<dyn LogNotes>) {
    let notes = make();
    assert_eq!(notes.log_identity().expect("readable"), None);
    notes.set_log_identity("one").expect("set");
    notes.set_log_identity("one").expect("the same");
    let error = notes.set_log_identity("two").expect_err("another");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(
        notes.log_identity().expect("readable").as_deref(),
        Some("one")
    );

    assert_eq!(notes.topic_note(TOPIC).expect("readable"), None);
    let mut note = TopicNote {
        id: Some("made-once".to_owned()),
        partitions: 2,
        ..TopicNote::default()
    };
    notes.set_topic_note(TOPIC, &note).expect("kept");
    note.gaps.push(AcceptedGap {
        partition: 1,
        from: 3,
        to: 9,
        applied_to: 4,
        accepted_us: 5,
    });
    notes.set_topic_note(TOPIC, &note).expect("replaced");
    assert_eq!(notes.topic_note(TOPIC).expect("readable"), Some(note));
    assert_eq!(notes.topic_note("another").expect("readable"), None);
}
