//! A prediction, from the event that asks for it to the record on Kafka: its identity, the pending score that the
//! epoch's write holds, and the outbox record that the second write holds (DESIGN section 5, "Output").

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::time::Micros;

/// Whether a score is served or only compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Published to the deployment's topic.
    Live,
    /// Published to `<topic>.shadow`.
    Shadow,
}

/// What makes a prediction the same prediction, however often it is computed or sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PredictionKey {
    /// Deployment that scored.
    pub deployment: String,
    /// Model version that scored.
    pub model_version: u32,
    /// Live or shadow.
    pub role: Role,
    /// Kafka topic of the scored event.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl PredictionKey {
    /// Deterministic id: 32 hex digits of XXH3-128 over the length-prefixed fields, in the order of the struct. The
    /// scheme is part of the published format.
    #[must_use]
    pub fn id(&self) -> String {
        let mut bytes = Vec::with_capacity(self.deployment.len() + self.topic.len() + 32);
        let mut field = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        field(self.deployment.as_bytes());
        field(&self.model_version.to_le_bytes());
        field(match self.role {
            Role::Live => b"live",
            Role::Shadow => b"shadow",
        });
        field(self.topic.as_bytes());
        field(&self.partition.to_le_bytes());
        field(&self.offset.to_le_bytes());
        format!("{:032x}", xxh3_128(&bytes))
    }
}

/// An event that waits for its score. Written in the epoch's batch; it fixes the route, so that a crash cannot give one
/// event two identities.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingScore {
    /// Identity, with the chosen version.
    pub key: PredictionKey,
    /// Event time of the event: the instant as of which its features are read.
    pub event_time_us: Micros,
    /// One row: the service's request columns and then the carried columns, as an Arrow IPC stream or any self-contained
    /// encoding that its writer can read again (`pipeline` owns the encoding).
    pub request: Vec<u8>,
}

/// A finished record that waits to be published. The same bytes go out however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRecord {
    /// Topic to publish to.
    pub topic: String,
    /// Record key: keeps one entity's predictions in order.
    pub key: Vec<u8>,
    /// Record value (JSON).
    pub payload: Vec<u8>,
    /// Record headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}
