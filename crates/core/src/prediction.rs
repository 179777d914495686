//! A prediction, from the event that asks for it to the record on Kafka: its identity, the pending
//! score that the epoch's write holds, and the outbox record that the second write holds.

use std::fmt;

use arrow_schema::{DataType, Field, Fields};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::source::Column;
use crate::time::{Micros, timestamp_type};
use crate::view::ServiceSpec;

/// Whether a score is served or only compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Published to the deployment's topic.
    Live,
    /// Published to `<topic>.shadow`.
    Shadow,
}

impl Role {
    /// The role as records say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }

    /// The role that a record says; None for another word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Shadow]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

/// What a route leads to: a version of a model, in its role. The same version in another role goes
/// to another topic, so it is another arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arm {
    /// Version of the model.
    pub version: u32,
    /// Live or shadow.
    pub role: Role,
}

/// As a status names it: the role is said of a shadow alone, since one version may be both.
impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Live => "",
            Role::Shadow => " (shadow)",
        };
        write!(f, "version {}{role}", self.version)
    }
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
    /// What the event was routed to.
    #[must_use]
    pub fn arm(&self) -> Arm {
        Arm {
            version: self.model_version,
            role: self.role,
        }
    }

    /// Deterministic id: 32 hex digits of XXH3-128 over the length-prefixed fields, in the order of
    /// the struct. The scheme is part of the published format.
    #[must_use]
    pub fn id(&self) -> String {
        let mut bytes = Vec::with_capacity(self.deployment.len() + self.topic.len() + 32);
        let mut field = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        field(self.deployment.as_bytes());
        field(&self.model_version.to_le_bytes());
        field(self.role.as_str().as_bytes());
        field(self.topic.as_bytes());
        field(&self.partition.to_le_bytes());
        field(&self.offset.to_le_bytes());
        format!("{:032x}", xxh3_128(&bytes))
    }
}

/// An event that waits for its score. Written in the epoch's batch; it fixes the route, so that a
/// crash cannot give one event two identities.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingScore {
    /// Identity, with the chosen version.
    pub key: PredictionKey,
    /// Event time of the event: the instant as of which its features are read.
    pub event_time_us: Micros,
    /// One row: the service's request columns and then the carried columns, as an Arrow IPC stream
    /// or any self-contained encoding that its writer can read again (`pipeline` owns the
    /// encoding).
    pub request: Vec<u8>,
}

/// A finished record that waits to be published. The same bytes go out however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Names of the columns of a prediction record: JSON members on the topic, columns in the archive.
/// The carried columns stand between [`column::MARGIN`] and [`column::REQUEST`].
pub mod column {
    /// [`super::PredictionKey::id`], `Utf8`.
    pub const PREDICTION_ID: &str = "prediction_id";
    /// `Utf8`.
    pub const DEPLOYMENT: &str = "deployment";
    /// `Utf8`.
    pub const MODEL: &str = "model";
    /// `Int32`.
    pub const MODEL_VERSION: &str = "model_version";
    /// `live` or `shadow`, `Utf8`.
    pub const ROLE: &str = "role";
    /// Feature service, `Utf8`.
    pub const SERVICE: &str = "service";
    /// `Int32`.
    pub const SERVICE_VERSION: &str = "service_version";
    /// Topic of the scored event, `Utf8`.
    pub const SOURCE_TOPIC: &str = "source_topic";
    /// Its partition, `Int32`.
    pub const SOURCE_PARTITION: &str = "source_partition";
    /// Its offset, `Int64`.
    pub const SOURCE_OFFSET: &str = "source_offset";
    /// Event time of the scored event, timestamp.
    pub const EVENT_TIME: &str = "event_time";
    /// Instant as of which the features were read, timestamp.
    pub const AS_OF: &str = "as_of";
    /// What the objective defines (a probability for a classifier), `Float64`.
    pub const SCORE: &str = "score";
    /// Raw model output, `Float64`.
    pub const MARGIN: &str = "margin";
    /// The service's request columns, `Struct`.
    pub const REQUEST: &str = "request";
    /// The service's features as served, `Struct`.
    pub const FEATURES: &str = "features";
    /// What the features had applied, JSON text: [`crate::applied::AppliedViews`].
    pub const APPLIED: &str = "applied";
}

/// Columns of a prediction record of a deployment that reads `service` and carries `carry`.
#[must_use]
pub fn prediction_columns(service: &ServiceSpec, carry: &[Column]) -> Vec<Column> {
    let text = || DataType::Utf8;
    let record = |columns: &[Column]| {
        DataType::Struct(
            columns
                .iter()
                .map(|c| Field::new(&c.name, c.data_type.clone(), true))
                .collect::<Fields>(),
        )
    };
    let required = |name: &str, data_type: DataType| Column {
        name: name.to_owned(),
        data_type,
        nullable: false,
    };
    let mut columns = vec![
        required(column::PREDICTION_ID, text()),
        required(column::DEPLOYMENT, text()),
        required(column::MODEL, text()),
        required(column::MODEL_VERSION, DataType::Int32),
        required(column::ROLE, text()),
        required(column::SERVICE, text()),
        required(column::SERVICE_VERSION, DataType::Int32),
        required(column::SOURCE_TOPIC, text()),
        required(column::SOURCE_PARTITION, DataType::Int32),
        required(column::SOURCE_OFFSET, DataType::Int64),
        required(column::EVENT_TIME, timestamp_type()),
        required(column::AS_OF, timestamp_type()),
        required(column::SCORE, DataType::Float64),
        required(column::MARGIN, DataType::Float64),
    ];
    columns.extend(carry.iter().map(|c| Column {
        nullable: true,
        ..c.clone()
    }));
    columns.extend([
        required(column::REQUEST, record(&service.request)),
        required(column::FEATURES, record(&service.features)),
        required(column::APPLIED, text()),
    ]);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_is_told_from_a_live_version() {
        let named = |role| Arm { version: 2, role }.to_string();
        let names = [Role::Live, Role::Shadow].map(named);
        assert_eq!(names, ["version 2", "version 2 (shadow)"]);
    }

    /// From the C implementation of XXH3, over the prefixed bytes of the fields. Consumers drop
    /// repeats by the id, so another one would double every prediction that is under way.
    #[test]
    fn golden_ids() {
        let mut key = PredictionKey {
            deployment: "dé".to_owned(),
            model_version: 258,
            role: Role::Live,
            topic: "events".to_owned(),
            partition: 3,
            offset: i64::MAX,
        };
        assert_eq!(key.id(), "04cb01a52e86c5e1f6edfe6864a4c965");
        key = PredictionKey {
            deployment: "d".to_owned(),
            model_version: 1,
            role: Role::Shadow,
            partition: 0,
            offset: 0,
            ..key
        };
        assert_eq!(key.id(), "ce328c5b0baef514eb0ad43917cec10d");
    }
}
