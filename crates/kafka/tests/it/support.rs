//! What the tests share: a broker (embedded or Apache Kafka), a source, and helpers that wait for
//! conditions.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use forebay_core::ports::{DeadLetter, EventLog, LogFault, LogPosition, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::timestamp_type;
use forebay_kafka::{
    ClientSettings, EmbeddedBroker, KafkaInspector, KafkaLog, ProducerSettings, ReaderSettings,
    Replayer, Republisher, TopicStatus, Topics,
};

/// How long a condition may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A broker to test against.
pub(crate) struct TestBroker {
    pub(crate) bootstrap: String,
    pub(crate) embedded: Option<EmbeddedBroker>,
}

impl TestBroker {
    pub(crate) fn embedded() -> Self {
        let broker = EmbeddedBroker::start().expect("a free port on loopback");
        Self {
            bootstrap: broker.bootstrap().to_owned(),
            embedded: Some(broker),
        }
    }

    /// The Apache Kafka that `FOREBAY_TEST_KAFKA` names; None, said aloud, where it names none.
    pub(crate) fn apache(test: &str) -> Option<Self> {
        match std::env::var("FOREBAY_TEST_KAFKA") {
            Ok(bootstrap) if !bootstrap.is_empty() => Some(Self {
                bootstrap,
                embedded: None,
            }),
            _ => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "CI must test against Apache Kafka: run the tests under `scripts/kafka run --`"
                );
                // Past the test runner's capture, so that it is seen.
                writeln!(
                    std::io::stderr(),
                    "skipped: {test}: FOREBAY_TEST_KAFKA is unset (scripts/kafka run -- ..)"
                )
                .expect("stderr");
                None
            }
        }
    }

    pub(crate) fn client(&self) -> ClientSettings {
        ClientSettings::new(&self.bootstrap)
    }

    /// A new topic with a name of its own.
    pub(crate) fn topic(&self, partitions: i32) -> String {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "it-{}-{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        match &self.embedded {
            Some(broker) => broker.create_topic(&name, partitions).expect("a new topic"),
            None => {
                let status = self
                    .topics()
                    .ensure(&name, partitions, 1)
                    .expect("a new topic");
                assert_eq!(status, TopicStatus::Created);
            }
        }
        name
    }

    pub(crate) fn topics(&self) -> Topics {
        Topics::new(self.client()).expect("settings")
    }

    pub(crate) fn reader(&self) -> KafkaLog {
        let settings = ReaderSettings::new(self.client());
        let settings = match self.embedded {
            Some(_) => settings.embedded(),
            None => settings,
        };
        KafkaLog::new(settings).expect("settings")
    }

    pub(crate) fn inspector(&self) -> KafkaInspector {
        let inspector = KafkaInspector::new(ReaderSettings::new(self.client())).expect("settings");
        match self.embedded {
            Some(_) => inspector.describing_by(1),
            None => inspector,
        }
    }

    pub(crate) fn replayer(&self) -> Replayer {
        Replayer::new(ProducerSettings::new(self.client())).expect("settings")
    }

    pub(crate) fn republisher(&self) -> Republisher {
        Republisher::new(ProducerSettings::new(self.client())).expect("settings")
    }

    /// Produce good rows `values` to one partition.
    pub(crate) fn produce(&self, topic: &str, partition: i32, values: impl Iterator<Item = i64>) {
        let replayer = self.replayer();
        for value in values {
            replayer
                .send(topic, Some(partition), b"", &good(value), None)
                .expect("queued");
        }
        replayer.flush(PATIENCE).expect("acknowledged");
    }
}

/// A source `name` on `topic` with a number and a time.
pub(crate) fn source(name: &str, topic: &str) -> Arc<SourceDef> {
    let column = |name: &str, data_type| Column {
        name: name.into(),
        data_type,
        nullable: false,
    };
    Arc::new(SourceDef::json(
        name,
        topic,
        vec![column("n", DataType::Int64), column("at", timestamp_type())],
        1,
    ))
}

/// A record of [`source`] with the number `n`.
pub(crate) fn good(n: i64) -> Vec<u8> {
    format!(r#"{{"n":{n},"at":"2013-01-01T05:15:00Z","ignored":"x"}}"#).into_bytes()
}

/// The same offset for partitions 0.. of `topic`.
pub(crate) fn from(topic: &str, offsets: &[i64]) -> BTreeMap<TopicPartition, i64> {
    offsets
        .iter()
        .zip(0..)
        .map(|(offset, partition)| (TopicPartition::new(topic, partition), *offset))
        .collect()
}

/// A row as read: partition, offset, number.
pub(crate) type Row = (i32, i64, i64);

/// Everything that was read of one source.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) rows: Vec<Row>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) next: BTreeMap<TopicPartition, i64>,
}

impl Gathered {
    pub(crate) fn add(&mut self, batch: &SourceBatch) {
        let numbers = batch.rows.column(0).as_primitive::<Int64Type>();
        let origin = &batch.origin;
        assert_eq!(origin.offset.len(), batch.rows.num_rows());
        assert_eq!(origin.kafka_time_us.len(), batch.rows.num_rows());
        for (row, offset) in origin.offset.iter().enumerate() {
            let partition = &origin.partitions[origin.partition[row] as usize];
            assert_eq!(&*partition.topic, batch.source.topic);
            self.rows
                .push((partition.partition, *offset, numbers.value(row)));
        }
        self.dead_letters.extend(batch.dead_letters.iter().cloned());
        self.next.extend(batch.read_up_to.iter().cloned());
    }

    pub(crate) fn count(&self) -> usize {
        self.rows.len() + self.dead_letters.len()
    }

    /// The rows of one partition, in the order in which they came.
    pub(crate) fn of_partition(&self, partition: i32) -> Vec<(i64, i64)> {
        self.rows
            .iter()
            .filter(|row| row.0 == partition)
            .map(|row| (row.1, row.2))
            .collect()
    }
}

/// Poll until the reader has met the end of every partition: where they are.
pub(crate) fn ends(log: &mut KafkaLog) -> Vec<i64> {
    wait_until("the reader meets the ends", || {
        let batches = log.poll(10, Duration::from_millis(50)).expect("readable");
        assert!(batches.is_empty(), "there is nothing more to read");
        log.positions().values().all(LogPosition::end_reached)
    });
    let positions = log.positions();
    positions.values().map(|p| p.next_offset).collect()
}

/// Poll until the reader stops reading a partition; what it read meanwhile goes into `gathered`.
pub(crate) fn fault(log: &mut KafkaLog, gathered: &mut Gathered) -> (TopicPartition, LogFault) {
    let mut faults = Vec::new();
    wait_until("the reader stops at a partition", || {
        let batches = log.poll(1_000, Duration::from_millis(50));
        for batch in batches.expect("readable") {
            gathered.add(&batch);
        }
        faults = log.faults();
        !faults.is_empty()
    });
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

/// Poll until `records` records of the only source came.
pub(crate) fn read(log: &mut KafkaLog, records: usize) -> Gathered {
    let mut gathered = Gathered::default();
    wait_until("all records are read", || {
        for batch in log
            .poll(1_000, Duration::from_millis(50))
            .expect("readable")
        {
            gathered.add(&batch);
        }
        gathered.count() >= records
    });
    assert_eq!(gathered.count(), records);
    gathered
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} until {what}"
        );
    }
}
