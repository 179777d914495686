//! How far the fill of a view from the archive is in a shard: basis, rows read, and of each
//! partition the next offset with the mark there. Key and value in `meta`.
//!
//! Fields behind the version code: basis, rows u64, number of partitions u32; of each topic,
//! partition i32, next offset i64, and the mark as a byte (1: there is one) and i64.

use forebay_core::ports::FillNote;
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::view::ViewId;

use super::{Decoded, META_FILL, fields, new_record};

/// Key of the note of the fill of `view`.
pub(crate) fn fill_key(view: ViewId) -> Vec<u8> {
    [META_FILL, &view.to_be_bytes()].concat()
}

/// Its value.
pub(crate) fn encode_fill(note: &FillNote) -> Vec<u8> {
    let mut w = new_record();
    w.text(&note.basis);
    w.u64(note.rows);
    w.length(note.at.0.len());
    for (place, at) in &note.at.0 {
        w.text(&place.topic);
        w.i32(place.partition);
        w.i64(at.next_offset);
        w.option(at.max_event_time_us);
    }
    w.finish()
}

/// See [`encode_fill`].
pub(crate) fn decode_fill(bytes: &[u8]) -> Decoded<FillNote> {
    let mut r = fields(bytes)?;
    let mut note = FillNote {
        basis: r.text()?.to_owned(),
        rows: r.u64()?,
        ..FillNote::default()
    };
    for _ in 0..r.u32()? {
        let place = TopicPartition::new(r.text()?, r.i32()?);
        let at = PartitionProgress {
            next_offset: r.i64()?,
            max_event_time_us: r.option()?,
            last: None,
        };
        note.at.0.insert(place, at);
    }
    r.end()?;
    Ok(note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_golden;

    #[test]
    fn a_note_of_a_fill_is_read_back_and_its_bytes_stay() {
        let mut note = FillNote {
            basis: "t".to_owned(),
            rows: 7,
            ..FillNote::default()
        };
        for (partition, max_event_time_us) in [(0, None), (1, Some(-2))] {
            let at = PartitionProgress {
                next_offset: 9,
                max_event_time_us,
                last: None,
            };
            note.at.advance(&TopicPartition::new("e", partition), at);
        }
        assert_golden(&note, &encode_fill(&note), GOLDEN, decode_fill);
        assert_eq!(fill_key(258), b"fill/\x00\x00\x01\x02");
    }

    const GOLDEN: &str = "0301000000740700000000000000020000000100000065000000000900000000\
        000000000000000000000000010000006501000000090000000000000001feffffffffffffff";
}
