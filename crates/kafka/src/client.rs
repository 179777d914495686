//! What all clients share: where the client library's log lines and errors go, and how its error
//! codes sort into ours. Reader, publisher and administration build on it; it opens no connection
//! and decides nothing by itself.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::connections::Watch;
use crate::error::Error;
use crate::settings::ClientSettings;

/// Facilities of the client library's lines about connections that failed or ended.
const CONNECTION_FACILITIES: [&str; 2] = ["FAIL", "ERROR"];

/// Sends the client library's own log lines to `tracing`. A broker that goes away heals by itself,
/// so nothing here is above a warning; each client repeats every try to connect, also while an
/// embedded broker starts and stops, so those are details: the caller that waited gets the typed
/// error and says it once.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientEvents {
    watch: Option<Watch>,
}

impl ClientEvents {
    /// Of a client with `settings`.
    pub(crate) fn of(settings: &ClientSettings) -> Self {
        Self {
            watch: settings.watch.clone(),
        }
    }
}

impl ClientContext for ClientEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            _ if CONNECTION_FACILITIES.contains(&facility) => {
                tracing::debug!(facility, "kafka client: {message}");
            }
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, "kafka client: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, "kafka client: {message}");
            }
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(watch) = &self.watch {
            watch.take(statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // The end of a partition is no error either.
            Some(code) if is_connection(code) || code == RDKafkaErrorCode::PartitionEOF => {
                tracing::debug!("kafka client: {error}: {reason}");
            }
            _ => tracing::warn!("kafka client: {error}: {reason}"),
        }
    }
}

impl ConsumerContext for ClientEvents {}

impl ClientSettings {
    /// The error of a question to the broker, sorted: refused for good, or not answered in time.
    pub(crate) fn question_failed(&self, action: impl Into<String>, source: KafkaError) -> Error {
        match source.rdkafka_error_code() {
            Some(code) if is_refusal(code) => Error::Refused {
                bootstrap: self.bootstrap.clone(),
                action: action.into(),
                source: Box::new(source),
            },
            Some(_) => self.unreachable(action, Some(source)),
            None => Error::Client {
                action: action.into(),
                source: Box::new(source),
            },
        }
    }

    pub(crate) fn unreachable(
        &self,
        action: impl Into<String>,
        source: Option<KafkaError>,
    ) -> Error {
        Error::Unreachable {
            bootstrap: self.bootstrap.clone(),
            timeout: self.request_timeout,
            action: action.into(),
            source: source.map(Box::new),
        }
    }
}

/// The client library does not take the settings (or cannot start its threads).
pub(crate) fn not_created(source: KafkaError) -> Error {
    match source {
        // The client repeats the value, which may be a password.
        KafkaError::ClientConfig(_, problem, property, value) if value.is_empty() => {
            Error::Settings { property, problem }
        }
        KafkaError::ClientConfig(_, problem, property, value) => Error::Settings {
            property,
            problem: problem.replace(&value, "***"),
        },
        KafkaError::ClientCreation(problem) => Error::Settings {
            property: "the client".into(),
            problem,
        },
        source => Error::Client {
            action: "being created".into(),
            source: Box::new(source),
        },
    }
}

/// Whether it is about a connection, which the client makes again by itself.
fn is_connection(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
    )
}

/// Whether the brokers do not know the topic.
pub(crate) fn is_topic_missing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition)
}

/// Whether asking again without changing anything is useless.
pub(crate) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidTimestamp
    )
}
