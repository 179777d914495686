//! What is remembered of a topic: its id, its partitions, the gaps that a person accepted, and
//! where reading began. Key and value in `meta` of shard 0; `notes` writes and reads them.
//!
//! Fields behind the version code: whether there is an id as a byte, id, number of partitions i32,
//! number of gaps u32, of each partition i32, first offset i64, end i64 and time i64; then, unless
//! nothing follows, number of beginnings u32, of each partition i32 and offset i64; then, unless
//! the state lacks all of every gap, of each gap the offset below which it had the records i64.

use forebay_core::invariant;
use forebay_core::ports::{AcceptedGap, TopicNote};

use super::{Decoded, META_TOPIC, fields, new_record};

/// Key of the note of `topic`.
pub(crate) fn topic_key(topic: &str) -> Vec<u8> {
    [META_TOPIC, topic.as_bytes()].concat()
}

/// Its value.
pub(crate) fn encode_topic(note: &TopicNote) -> Vec<u8> {
    let mut w = new_record();
    w.bool(note.id.is_some());
    w.text(note.id.as_deref().unwrap_or_default());
    w.i32(note.partitions);
    w.length(note.gaps.len());
    for gap in &note.gaps {
        invariant!(
            GapBeginsBeforeItsEnd,
            gap.from < gap.to,
            "{} to {}",
            gap.from,
            gap.to
        );
        w.i32(gap.partition);
        w.i64(gap.from);
        w.i64(gap.to);
        w.i64(gap.accepted_us);
    }
    let applies = note.gaps.iter().any(|gap| gap.applied_to > gap.from);
    // Notes written before this was remembered end here.
    if !note.begins.is_empty() || applies {
        w.length(note.begins.len());
        for (partition, offset) in &note.begins {
            w.i32(*partition);
            w.i64(*offset);
        }
    }
    // Or here.
    if applies {
        note.gaps.iter().for_each(|gap| w.i64(gap.applied_to));
    }
    w.finish()
}

/// See [`encode_topic`].
pub(crate) fn decode_topic(bytes: &[u8]) -> Decoded<TopicNote> {
    let mut r = fields(bytes)?;
    let known = r.bool()?;
    let id = r.text()?.to_owned();
    let mut note = TopicNote {
        id: known.then_some(id),
        partitions: r.i32()?,
        ..TopicNote::default()
    };
    for _ in 0..r.u32()? {
        let (partition, from) = (r.i32()?, r.i64()?);
        note.gaps.push(AcceptedGap {
            partition,
            from,
            to: r.i64()?,
            applied_to: from,
            accepted_us: r.i64()?,
        });
    }
    if !r.rest().is_empty() {
        for _ in 0..r.u32()? {
            let partition = r.i32()?;
            note.begins.insert(partition, r.i64()?);
        }
    }
    if !r.rest().is_empty() {
        for gap in &mut note.gaps {
            gap.applied_to = r.i64()?;
        }
    }
    r.end()?;
    Ok(note)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{assert_golden, bytes_of};

    #[test]
    fn golden_bytes_of_a_note_of_a_topic() {
        let mut note = TopicNote {
            id: Some("ü=".to_owned()),
            partitions: 12,
            begins: BTreeMap::from([(0, 300), (258, -1)]),
            gaps: vec![AcceptedGap {
                partition: 3,
                from: -2,
                to: i64::MAX,
                applied_to: -2,
                accepted_us: i64::MIN,
            }],
        };
        let whole = "03 01 03000000 c3bc3d 0c000000 01000000 03000000 feffffffffffffff ffffffffffffff7f \
                     0000000000000080 02000000 00000000 2c01000000000000 02010000 ffffffffffffffff";
        assert_golden(&note, &encode_topic(&note), whole, decode_topic);
        note.gaps[0].applied_to = 7;
        let applied = format!("{whole} 0700000000000000");
        assert_golden(&note, &encode_topic(&note), &applied, decode_topic);
        note.begins.clear();
        let unbegun = "03 01 03000000 c3bc3d 0c000000 01000000 03000000 feffffffffffffff ffffffffffffff7f \
                       0000000000000080 00000000 0700000000000000";
        assert_golden(&note, &encode_topic(&note), unbegun, decode_topic);
        let nothing = TopicNote::default();
        let bare = "03 00 00000000 00000000 00000000";
        assert_golden(&nothing, &encode_topic(&nothing), bare, decode_topic);
        assert_eq!(topic_key("flüge"), bytes_of("6c6f672f 666cc3bc6765"));
    }
}
