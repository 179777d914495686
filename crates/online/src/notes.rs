//! What the store remembers of the logs that it follows: one record a topic, in shard 0, synced
//! before the call returns, since what is read next rests on it.

use forebay_core::PortResult;
use forebay_core::ports::{LogNotes, TopicNote};

use crate::format;
use crate::store::RocksStore;

impl LogNotes for RocksStore {
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
