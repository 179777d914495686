//! What the store remembers of the logs that it follows: one record a topic, in shard 0, synced
//! before the call returns, since what is read next rests on it.

use forebay_core::ports::{LogNotes, TopicNote};
use forebay_core::{PortError, PortResult};

use crate::format;
use crate::store::RocksStore;

impl LogNotes for RocksStore {
    fn log_identity(&self) -> PortResult<Option<String>> {
        self.read_identity().map_err(PortError::from)
    }

    fn set_log_identity(&self, identity: &str) -> PortResult<()> {
        self.write_identity(identity).map_err(PortError::from)
    }

    fn topic_note(&self, topic: &str) -> PortResult<Option<TopicNote>> {
        let database = self.meta_database()?;
        let key = format::topic_key(topic);
        let what = "the note of a topic";
        Ok(database.get(format::FAMILY_META, &key, what, format::decode_topic)?)
    }

    fn set_topic_note(&self, topic: &str, note: &TopicNote) -> PortResult<()> {
        let mut batch = self.meta_database()?.batch(256)?;
        let key = format::topic_key(topic);
        batch.put(format::FAMILY_META, &key, &format::encode_topic(note));
        Ok(batch.write_synced()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use forebay_core::memory::Budget;
    use forebay_core::ports::AcceptedGap;

    use super::*;
    use crate::options::OnlineOptions;

    #[test]
    fn golden_bytes_of_the_identity_of_the_log() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let budget = Budget::whole(usize::MAX);
        let store = RocksStore::open(directory.path(), &OnlineOptions::default(), &budget);
        let store = store.expect("a new one");
        store.set_log_identity("küste-1").expect("the first");
        let database = store.meta_database().expect("open");
        let whole = |bytes: &[u8]| Ok(bytes.to_vec());
        let stored = database.get(format::FAMILY_META, b"log", "the log identity", whole);
        let stored = stored.expect("readable").expect("written");
        assert_eq!(stored, b"k\xc3\xbcste-1");
    }

    #[test]
    fn what_is_remembered_of_a_topic_is_read_back_also_when_written_before_beginnings_were() {
        let note = TopicNote {
            id: Some("made-once".into()),
            partitions: 3,
            begins: BTreeMap::from([(0, 0), (2, 1 << 40)]),
            gaps: vec![AcceptedGap {
                partition: 2,
                from: 7,
                to: 9,
                applied_to: 7,
                accepted_us: -1,
            }],
        };
        let bytes = format::encode_topic(&note);
        assert_eq!(format::decode_topic(&bytes).expect("its own bytes"), note);
        let beginnings = 4 + 2 * (4 + 8);
        let before = &bytes[..bytes.len() - beginnings];
        let read = format::decode_topic(before).expect("bytes of a version before");
        let known = TopicNote {
            begins: BTreeMap::new(),
            ..note
        };
        assert_eq!(read, known);
    }
}
