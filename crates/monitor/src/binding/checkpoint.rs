//! The bytes of a [`MonitorBinding`]: what it has read, by partition, and the monitor's state
//! (`state`). Decisions about time that lie ahead are in it, with how many rows of their table are
//! known: a restart passes in what came since, and may repeat earlier ones.

use std::collections::BTreeMap;

use forebay_core::answered::Answered;
use forebay_core::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use forebay_core::checkpoint::{self, Opened};

use super::MonitorBinding;
use crate::decided::Decided;
use crate::state::{read_monitor, write_monitor};

const KIND: [u8; 4] = *b"FBMO";

impl MonitorBinding {
    /// The state with the offsets that it covers; None while a prediction waits for its event,
    /// which is not long.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Vec<u8>> {
        let feeds = || {
            self.deployments
                .iter()
                .flat_map(|feed| feed.partitions.values())
        };
        if feeds().any(|partition| !partition.held.is_empty()) {
            return None;
        }
        let mut out = Vec::new();
        for gate in self.gates.values() {
            out.push(u8::from(gate.has_begun()));
        }
        write_unsigned(&mut out, self.covered.len() as u64);
        for (topic, offsets) in &self.covered {
            write_unsigned(&mut out, topic.len() as u64);
            out.extend_from_slice(topic.as_bytes());
            write_offsets(&mut out, offsets);
        }
        self.decided.encode(&mut out);
        write_offsets(&mut out, &self.labels_us);
        for feed in &self.deployments {
            write_unsigned(&mut out, feed.partitions.len() as u64);
            for (number, partition) in &feed.partitions {
                write_signed(&mut out, i64::from(*number));
                partition.answered.encode(&mut out);
            }
        }
        write_monitor(&mut out, &self.monitor);
        Some(checkpoint::seal(KIND, self.definition, &out))
    }

    /// Go on from `checkpoint`, which an earlier run made of a binding of the same definition; this
    /// one is new.
    ///
    /// # Errors
    /// Why it cannot: make the binding anew and read the archive from its beginning.
    pub fn restore(&mut self, checkpoint: &[u8]) -> BytesResult<()> {
        let payload = match checkpoint::open(KIND, self.definition, checkpoint) {
            Opened::Payload(payload) => payload,
            Opened::Other(why) => return Err(BytesError::from(why)),
            Opened::Damaged => return Err(BytesError::from("its bytes have changed")),
        };
        let reader = &mut Reader::new(payload);
        for gate in self.gates.values_mut() {
            if reader.u8()? == 1 {
                gate.begin();
            }
        }
        for _ in 0..reader.unsigned()? {
            let length = reader.unsigned()?;
            let topic = (0..length)
                .map(|_| reader.u8())
                .collect::<BytesResult<_>>()?;
            let topic =
                String::from_utf8(topic).map_err(|_| BytesError::from("a topic is no text"))?;
            self.covered.insert(topic, read_offsets(reader)?);
        }
        self.decided = Decided::decode(reader)?;
        self.labels_us = read_offsets(reader)?;
        for feed in &mut self.deployments {
            for _ in 0..reader.unsigned()? {
                let number = read_partition(reader)?;
                let answered = Answered::decode(reader)?;
                feed.partition(number, &self.scopes).answered = answered;
            }
        }
        read_monitor(reader, &mut self.monitor)?;
        reader.end()?;
        self.begin();
        Ok(())
    }
}

fn write_offsets(out: &mut Vec<u8>, offsets: &BTreeMap<i32, i64>) {
    write_unsigned(out, offsets.len() as u64);
    for (partition, offset) in offsets {
        write_signed(out, i64::from(*partition));
        write_signed(out, *offset);
    }
}

fn read_offsets(reader: &mut Reader<'_>) -> BytesResult<BTreeMap<i32, i64>> {
    let mut offsets = BTreeMap::new();
    for _ in 0..reader.unsigned()? {
        offsets.insert(read_partition(reader)?, reader.signed()?);
    }
    Ok(offsets)
}

fn read_partition(reader: &mut Reader<'_>) -> BytesResult<i32> {
    i32::try_from(reader.signed()?).map_err(|_| BytesError::from("no such partition"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use forebay_core::definition::AlertThreshold;
    use forebay_core::scope::ScoringScopes;
    use forebay_core::source::{Column, SourceDef};
    use forebay_core::time::timestamp_type;

    use super::*;
    use crate::marks::Gate;
    use crate::tests::fixtures::{definition, options, reference, small_monitor};
    use crate::{Monitor, MonitorOptions, WatchedDeployment};

    fn binding(scopes: &ScoringScopes) -> MonitorBinding {
        bound(small_monitor(false), scopes)
    }

    fn bound(monitor: Monitor, scopes: &ScoringScopes) -> MonitorBinding {
        let time = Column {
            name: "ts".to_owned(),
            data_type: timestamp_type(),
            nullable: false,
        };
        let watched = WatchedDeployment {
            deployment: "d".to_owned(),
            scored: Arc::new(SourceDef::json("flights", "flüge", vec![time], 0)),
            predictions: "predictions".to_owned(),
            versions: BTreeSet::from([1]),
        };
        MonitorBinding::new(monitor, vec![watched], None, scopes)
    }

    #[test]
    fn what_was_counted_under_other_options_is_counted_anew() {
        let under = |options: MonitorOptions| {
            let monitor = Monitor::new(
                definition(AlertThreshold::Psi(0.2)),
                reference(3, 200),
                options,
            );
            bound(monitor.expect("sound"), &ScoringScopes::default())
        };
        let frame = under(options()).checkpoint().expect("nothing is held");
        let mut fewer_windows = options();
        fewer_windows.limits.windows = 2;
        for other in [
            MonitorOptions {
                min_rows: options().min_rows + 1,
                ..options()
            },
            MonitorOptions {
                score_threshold: 0.75,
                ..options()
            },
            fewer_windows,
        ] {
            assert!(under(other).restore(&frame).is_err(), "{other:?}");
        }
        under(options()).restore(&frame).expect("the same options");
    }

    #[test]
    fn golden_bytes_of_a_checkpoint() {
        let scopes = ScoringScopes::default();
        let mut written = binding(&scopes);
        written.gates.values_mut().for_each(Gate::begin);
        let offsets = BTreeMap::from([(0, 300), (258, -1)]);
        written.covered.insert("flüge".to_owned(), offsets);
        written.labels_us.insert(0, -2);
        let partition = written.deployments[0].partition(3, &scopes);
        partition.answered.read(300, -2, true);
        let golden = [
            // The gate of the source, offsets of its topic, no decision ahead, times of labels.
            "01 01 06666cc3bc6765 02 00 d804 8404 01 00 01 00 03",
            // An event of partition 3 that waits for its answer.
            "01 06 da04 0103 01 d804 03 00 00 00",
            // A monitor that has counted nothing.
            "00 00 00 00 00 00 00 00 00",
        ];
        let frame = written.checkpoint().expect("nothing is held");
        let definition = written.definition;
        let Opened::Payload(payload) = checkpoint::open(*b"FBMO", definition, &frame) else {
            panic!("its own frame");
        };
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.concat().replace(' ', ""));
        let mut read = binding(&scopes);
        read.restore(&frame).expect("of one definition");
        assert_eq!(read.checkpoint(), Some(frame));
    }
}
