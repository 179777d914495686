//! Why a source, or one partition of it, is not read: each reason names topic, partition and offset
//! and says a remedy that works. [`crate::recovery`] gives them; the status shows them; `forebay
//! gap accept` is the way past those that leave offsets unread.

use forebay_core::ErrorKind;
use thiserror::Error;

/// Offsets that a source wants and its log does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenGap {
    /// The partition.
    pub partition: i32,
    /// First offset that is wanted.
    pub from: i64,
    /// Oldest offset that the log holds.
    pub to: i64,
}

/// Reasons to halt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HaltReason {
    /// The broker belongs to another cluster.
    #[error(
        "the state follows Kafka cluster '{known}' and topic '{topic}' is now asked of cluster '{found}'; \
         set kafka.bootstrap to the cluster that the state follows, or start with another --data-dir to follow this one"
    )]
    OtherCluster {
        /// The topic.
        topic: String,
        /// Cluster that the state follows.
        known: String,
        /// Cluster that answered.
        found: String,
    },
    /// The topic is not there.
    #[error(
        "topic '{topic}' does not exist; create it: reading begins by itself, and of a topic that was read before it \
         goes on only if its records are the same"
    )]
    TopicMissing {
        /// The topic.
        topic: String,
    },
    /// Another topic has the name.
    #[error(
        "topic '{topic}' was deleted and made anew (id '{found}'; the state follows '{known}'); bring back the topic that \
         the state follows, or start with another --data-dir to follow this one"
    )]
    TopicMadeAnew {
        /// The topic.
        topic: String,
        /// Its id in the state.
        known: String,
        /// Its id now.
        found: String,
    },
    /// It has fewer partitions than were read.
    #[error(
        "partition {partition} of topic '{topic}' was read and is not there any more ({found} partitions are): the topic \
         was made anew; bring back the topic that the state follows, or start with another --data-dir to follow this one"
    )]
    PartitionGone {
        /// The topic.
        topic: String,
        /// A partition that is gone.
        partition: i32,
        /// How many there are.
        found: usize,
    },
    /// Another record stands where one was applied.
    #[error(
        "{topic}-{partition}: the record at offset {offset} is not the one that was applied: the topic was made anew, or \
         its log lost its tail and grew again; bring back the log that the state follows, or start with another \
         --data-dir to follow this one"
    )]
    RecordDiffers {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Offset of the record.
        offset: i64,
    },
    /// The log ends before an applied offset.
    #[error(
        "{topic}-{partition}: everything below offset {offset} was applied and the log ends at {end}: it lost its tail or \
         was made anew; bring back the log that the state follows, or start with another --data-dir to follow this one"
    )]
    LogShorter {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// One past what was applied.
        offset: i64,
        /// Last stable offset.
        end: i64,
    },
    /// Records were deleted before they were read. Remedy: raise the topic's retention, see
    /// `forebay gap list`, and go on behind them with `forebay gap accept SOURCE`.
    #[error("{}", gap_words(topic, gaps))]
    Gap {
        /// The topic.
        topic: String,
        /// Each partition that has one.
        gaps: Vec<OpenGap>,
    },
    /// A record batch cannot be read.
    #[error(
        "{topic}-{partition}: what stands at offset {offset} cannot be read ({why}); see `forebay gap list`, and pass it \
         with `forebay gap accept SOURCE/{partition}`"
    )]
    Unreadable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where.
        offset: i64,
        /// The client's words.
        why: String,
    },
    /// Offsets do not ascend.
    #[error(
        "{topic}-{partition}: offset {found} came where {expected} or one above it was to come: the log is damaged; pass \
         it with `forebay gap accept SOURCE/{partition}`"
    )]
    OffsetFell {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was to come.
        expected: i64,
        /// What came.
        found: i64,
    },
    /// A record stands beyond the log's own end.
    #[error(
        "{topic}-{partition}: offset {found} came after {expected} and the log ends at {end}: the log is damaged; pass it \
         with `forebay gap accept SOURCE/{partition}`"
    )]
    OffsetBeyondEnd {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was to come.
        expected: i64,
        /// What came.
        found: i64,
        /// Last stable offset.
        end: i64,
    },
    /// The broker refuses.
    #[error(
        "the broker refuses topic '{topic}' ({why}); grant it to this client: reading goes on by itself"
    )]
    Refused {
        /// The topic.
        topic: String,
        /// Its words.
        why: String,
    },
}

fn gap_words(topic: &str, gaps: &[OpenGap]) -> String {
    let Some(first) = gaps.first() else {
        return format!("topic '{topic}' has lost records");
    };
    let missing: i64 = gaps.iter().map(|gap| gap.to - gap.from).sum();
    let more = match gaps.len() {
        1 => String::new(),
        several => format!(" (and in {} more partitions)", several - 1),
    };
    format!(
        "{topic}-{}: offset {} is wanted and the log now starts at {}{more}: {missing} offsets were deleted unread; raise \
         the topic's retention, see `forebay gap list`, and go on behind them with `forebay gap accept SOURCE`",
        first.partition, first.from, first.to
    )
}

impl HaltReason {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TopicMissing { .. } => ErrorKind::NotFound,
            Self::Gap { .. } => ErrorKind::OutOfRange,
            Self::Unreadable { .. } | Self::OffsetFell { .. } | Self::OffsetBeyondEnd { .. } => {
                ErrorKind::DataLoss
            }
            _ => ErrorKind::FailedPrecondition,
        }
    }
}
