//! Why a source, or one partition of it, is not read: each reason has a stable code, names topic,
//! partition and offset and says a remedy that works. [`crate::recovery`] gives them; the status
//! shows them as a [`Halt`]; `forebay gap accept` is the way past those that leave offsets unread.

use std::fmt;

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
        "this server follows Kafka cluster '{known}' and topic '{topic}' is now asked of cluster '{found}'; \
         set kafka.bootstrap to the cluster that this server follows, or start with another --data-dir to follow this one"
    )]
    OtherCluster {
        /// The topic.
        topic: String,
        /// Cluster that this server follows.
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
        "topic '{topic}' was deleted and made anew (id '{found}'; this server follows '{known}'); bring back the topic that \
         this server follows, or start with another --data-dir to follow this one"
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
         was made anew; bring back the topic that this server follows, or start with another --data-dir to follow this one"
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
         its log lost its tail and grew again; bring back the log that this server follows, or start with another \
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
         was made anew; bring back the log that this server follows, or start with another --data-dir to follow this one"
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
    /// `forebay gap list`, and go on behind them with `forebay gap accept` and the source's name.
    #[error("{}", gap_words(source_name, topic, gaps))]
    Gap {
        /// The source.
        source_name: String,
        /// The topic.
        topic: String,
        /// Each partition that has one.
        gaps: Vec<OpenGap>,
    },
    /// A record batch cannot be read.
    #[error(
        "{topic}-{partition}: what stands at offset {offset} cannot be read ({why}); see `forebay gap list`, and pass it \
         with `forebay gap accept {source_name}/{partition}`"
    )]
    Unreadable {
        /// The source.
        source_name: String,
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
         it with `forebay gap accept {source_name}/{partition}`"
    )]
    OffsetFell {
        /// The source.
        source_name: String,
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
         with `forebay gap accept {source_name}/{partition}`"
    )]
    OffsetBeyondEnd {
        /// The source.
        source_name: String,
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
    /// Its rows are not taken by their table, or by that of dead letters or marks.
    #[error(
        "rows of '{table}' are not archived ({why}); reading goes on by itself when they are; check the disk of the data \
         directory"
    )]
    NotArchived {
        /// The table, which has the source's name.
        table: String,
        /// What the append fails by, or for how long it has run.
        why: String,
    },
    /// What archive and state keep of it cannot be read or noted.
    #[error(
        "table '{table}' of the archive, or the note of its log, cannot be used ({why}); reading goes on by itself when it \
         can"
    )]
    TableUnusable {
        /// The table, which has the source's name.
        table: String,
        /// The error, with its causes.
        why: String,
    },
}

fn gap_words(source_name: &str, topic: &str, gaps: &[OpenGap]) -> String {
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
         the topic's retention, see `forebay gap list`, and go on behind them with `forebay gap accept {source_name}`",
        first.partition, first.from, first.to
    )
}

/// A halt as users see it: in the status, in logs, in answers about gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// [`HaltReason::code`].
    pub code: &'static str,
    /// The words of the reason, with its remedy.
    pub reason: String,
}

impl From<&HaltReason> for Halt {
    fn from(reason: &HaltReason) -> Self {
        Self {
            code: reason.code(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.reason, self.code)
    }
}

impl HaltReason {
    /// What programs know it by: label of a metric, field of the status. It never changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OtherCluster { .. } => "other_cluster",
            Self::TopicMissing { .. } => "topic_missing",
            Self::TopicMadeAnew { .. } => "topic_made_anew",
            Self::PartitionGone { .. } => "partition_gone",
            Self::RecordDiffers { .. } => "record_differs",
            Self::LogShorter { .. } => "log_shorter",
            Self::Gap { .. } => "gap",
            Self::Unreadable { .. } => "unreadable",
            Self::OffsetFell { .. } => "offset_fell",
            Self::OffsetBeyondEnd { .. } => "offset_beyond_end",
            Self::Refused { .. } => "refused",
            Self::NotArchived { .. } => "not_archived",
            Self::TableUnusable { .. } => "table_unusable",
        }
    }

    /// The topic, where what stands under its name is not the log that the state follows: a record
    /// that is sent there never comes back.
    pub(crate) fn other_log(&self) -> Option<&str> {
        match self {
            Self::OtherCluster { topic, .. }
            | Self::TopicMadeAnew { topic, .. }
            | Self::PartitionGone { topic, .. }
            | Self::RecordDiffers { topic, .. }
            | Self::LogShorter { topic, .. } => Some(topic),
            _ => None,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TopicMissing { .. } => ErrorKind::NotFound,
            Self::Gap { .. } => ErrorKind::OutOfRange,
            Self::Unreadable { .. } | Self::OffsetFell { .. } | Self::OffsetBeyondEnd { .. } => {
                ErrorKind::DataLoss
            }
            Self::NotArchived { .. } | Self::TableUnusable { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::FailedPrecondition,
        }
    }
}
