//! What an error that the client reports while polling means for the reader, and when an offset is
//! out of order. Pure.

use forebay_core::limits::LOG_OFFSET_JUMP_MAX;
use forebay_core::ports::LogFault;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::client::is_refusal;
use crate::error::Error;
use crate::settings::ClientSettings;

/// What the reader does about an error of the client.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// It heals by itself; keep polling.
    Heals,
    /// All connections are gone; tell the caller now and then, who polls again.
    Away(Error),
    /// The client itself is broken.
    Broken(Error),
    /// The partition is not read any more.
    Halts(LogFault),
}

/// What `error` about a partition whose reader stands at `offset` means.
pub(crate) fn meaning(
    client: &ClientSettings,
    error: KafkaError,
    offset: Option<i64>,
    why: &str,
) -> Meaning {
    use RDKafkaErrorCode as Code;
    if let KafkaError::MessageConsumptionFatal(_) = error {
        return Meaning::Broken(Error::Client {
            action: "reading".into(),
            source: Box::new(error),
        });
    }
    let why = || {
        if why.is_empty() {
            error.to_string()
        } else {
            why.to_owned()
        }
    };
    match error.rdkafka_error_code() {
        Some(
            Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::LogTruncation
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicId,
        ) => Meaning::Halts(LogFault::PositionLost { why: why() }),
        Some(
            Code::BadMessage
            | Code::BadCompression
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageSizeTooLarge
            | Code::Underflow
            | Code::NotImplemented,
        ) => match offset {
            Some(offset) => Meaning::Halts(LogFault::Unreadable { offset, why: why() }),
            None => Meaning::Halts(LogFault::PositionLost { why: why() }),
        },
        Some(Code::AllBrokersDown) => Meaning::Away(Error::Disconnected {
            bootstrap: client.bootstrap.clone(),
            action: "reading".into(),
            source: Box::new(error),
        }),
        Some(code) if is_refusal(code) => Meaning::Halts(LogFault::Refused { why: why() }),
        _ => Meaning::Heals,
    }
}

/// Why the record at `found` is not the next one of a partition that stands at `expected`; None
/// where it may be. Offsets may have holes, they never fall, and a hole has a size that
/// transactions and compaction leave.
pub(super) fn order(expected: i64, found: i64) -> Option<LogFault> {
    if found < expected {
        Some(LogFault::OffsetFell { expected, found })
    } else if found - expected > LOG_OFFSET_JUMP_MAX {
        Some(LogFault::OffsetJumped { expected, found })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_ascend_over_holes_of_a_bounded_size() {
        assert_eq!(order(5, 5), None);
        assert_eq!(order(5, 5 + LOG_OFFSET_JUMP_MAX), None);
        let fell = LogFault::OffsetFell {
            expected: 5,
            found: 4,
        };
        assert_eq!(order(5, 4), Some(fell));
        let found = 6 + LOG_OFFSET_JUMP_MAX;
        let jumped = LogFault::OffsetJumped { expected: 5, found };
        assert_eq!(order(5, found), Some(jumped));
    }

    #[test]
    fn what_concerns_one_partition_halts_it_and_a_lost_connection_does_not() {
        use RDKafkaErrorCode as Code;
        let client = ClientSettings::new("b:1");
        let of = |code| {
            let error = KafkaError::MessageConsumption(code);
            match meaning(&client, error, Some(7), "words") {
                Meaning::Heals => "heals",
                Meaning::Away(_) => "away",
                Meaning::Broken(_) => "broken",
                Meaning::Halts(LogFault::PositionLost { .. }) => "lost",
                Meaning::Halts(LogFault::Unreadable { offset: 7, why }) if why == "words" => "bad",
                Meaning::Halts(LogFault::Refused { .. }) => "refused",
                Meaning::Halts(_) => "other",
            }
        };
        for (code, expected) in [
            (Code::BrokerTransportFailure, "heals"),
            (Code::NotLeaderForPartition, "heals"),
            (Code::AllBrokersDown, "away"),
            (Code::AutoOffsetReset, "lost"),
            (Code::UnknownTopicOrPartition, "lost"),
            (Code::BadMessage, "bad"),
            (Code::BadCompression, "bad"),
            (Code::TopicAuthorizationFailed, "refused"),
        ] {
            assert_eq!(of(code), expected, "{code:?}");
        }
        let fatal = KafkaError::MessageConsumptionFatal(Code::Fatal);
        assert!(matches!(
            meaning(&client, fatal, None, ""),
            Meaning::Broken(_)
        ));
    }
}
