//! A log in memory as the suites of its ports write to it: topics with names of their own, and
//! readers each of which takes other runs.

use std::sync::Arc;

use forebay_core::ports::{EventLog, LogInspector};
use forebay_core::value::Value;

use super::MemoryLog;
use crate::conformance::log::WritableLog;
use crate::conformance::log_inspector::InspectedLog;

impl WritableLog for MemoryLog {
    fn topic(&self, partitions: i32) -> String {
        let name = format!("topic-{}", self.contents.0.lock().topics.len());
        self.create_topic(&name, usize::try_from(partitions).expect("not negative"));
        name
    }

    fn append(&self, topic: &str, partition: i32, number: Option<i64>) {
        let partition = usize::try_from(partition).expect("not negative");
        let values = number.map(|number| vec![Value::Int(number), Value::Timestamp(number)]);
        Self::append(self, topic, partition, values.ok_or("not_json"));
    }

    fn reader(&self) -> Box<dyn EventLog> {
        let seed = self.contents.0.lock().topics.len() as u64;
        Box::new(Self::reader(self, seed, &Arc::default()))
    }
}

impl InspectedLog for MemoryLog {
    fn inspector(&self) -> Box<dyn LogInspector> {
        Box::new(Self::inspector(self))
    }
}
