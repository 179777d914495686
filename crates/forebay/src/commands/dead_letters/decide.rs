//! Whether a dead letter is produced once more, and if not, why not. Pure: what is known of it
//! comes in as facts, and the decoder of its source, which is that of ingest, is asked last.

use std::fmt;

use anyhow::Result;
use forebay_core::limits::DEAD_LETTER_PAYLOAD_MAX_BYTES;
use forebay_core::ports::RecordHeader;
use forebay_core::source::SourceDef;
use forebay_kafka::{RecordAgain, Reject};
use forebay_offline::StoredLetter;

/// The header of a record that was produced once more: `TOPIC/PARTITION/OFFSET` of the first.
pub(super) const REPLAY_OF: &str = "forebay-replay-of";

/// What else is known of a letter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// Its source, as the definitions in force have it.
    pub(super) source: Option<&'a SourceDef>,
    /// Whether Forebay itself writes its topic.
    pub(super) is_own_topic: bool,
    /// Whether it was produced once more already.
    pub(super) is_replayed: bool,
}

/// What the caller allows beyond the rule.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowed {
    /// Replays that failed in their turn.
    pub(super) again: bool,
    /// Records whose key and headers nobody kept.
    pub(super) without_key: bool,
}

/// Why a letter is left where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    /// It was produced once more already.
    Replayed,
    /// It is a replay itself, and failed again.
    FailedAgain,
    /// The definition in force does not take it.
    StillNoRow,
    /// Its value is empty: nothing can become of it.
    NoValue,
    /// Not all of it was kept.
    Cut,
    /// An earlier build kept neither key nor headers.
    Keyless,
    /// Its source is not defined, or reads another topic.
    NoSource,
    /// It is of a topic that Forebay writes.
    OwnTopic,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replayed => "was replayed already",
            Self::FailedAgain => {
                "is a replay that failed in its turn; --again replays it too, once"
            }
            Self::StillNoRow => {
                "is still no row; correct the definition (forebay apply), or what produces such records, and replay then"
            }
            Self::NoValue => "has no value, so that nothing can become of it",
            Self::Cut => {
                "was not kept whole, since it is too large; the record itself is in the log, as long as that holds it"
            }
            Self::Keyless => {
                "was kept without key and headers by an earlier build; --without-key produces it without"
            }
            Self::NoSource => {
                "has no source any more that reads its topic; create the source again, and replay then"
            }
            Self::OwnTopic => {
                "is of a topic that Forebay writes; a prediction is settled and not produced again"
            }
        })
    }
}

/// What becomes of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is produced once more.
    Replay,
    /// It is left, with further words where there are any.
    Leave(Left, Option<String>),
}

/// What becomes of `letter`; `fault` is what the definition in force still finds wrong with it.
///
/// # Errors
/// Of `fault`.
pub(super) fn decide(
    letter: &StoredLetter,
    facts: Facts<'_>,
    allowed: Allowed,
    fault: impl FnOnce(&SourceDef) -> Result<Option<Reject>>,
) -> Result<Verdict> {
    let leave = |why| Ok(Verdict::Leave(why, None));
    if facts.is_own_topic {
        return leave(Left::OwnTopic);
    }
    let reads = |source: &&SourceDef| *source.topic == *letter.partition.topic;
    let Some(source) = facts.source.filter(reads) else {
        return leave(Left::NoSource);
    };
    if facts.is_replayed {
        return leave(Left::Replayed);
    }
    let bytes = letter.payload.as_ref().map_or(0, Vec::len);
    if bytes == 0 {
        return leave(Left::NoValue);
    }
    // A build that did not say whether it cut a value kept this many bytes of one that it cut.
    let is_cut = letter
        .is_cut
        .unwrap_or(bytes >= DEAD_LETTER_PAYLOAD_MAX_BYTES);
    if is_cut {
        return leave(Left::Cut);
    }
    if letter.headers.is_none() && !allowed.without_key {
        return leave(Left::Keyless);
    }
    if is_replay(letter) && !allowed.again {
        return leave(Left::FailedAgain);
    }
    Ok(match fault(source)? {
        Some(reject) => {
            let words = format!("{reject} ({})", reject.reason.label());
            Verdict::Leave(Left::StillNoRow, Some(words))
        }
        None => Verdict::Replay,
    })
}

/// Whether `letter` was produced by a replay.
pub(super) fn is_replay(letter: &StoredLetter) -> bool {
    let headers = letter.headers.iter().flatten();
    headers.into_iter().any(|header| header.name == REPLAY_OF)
}

/// The record of `letter`, to be produced once more: as it was, with the header that names its
/// origin. The replay of a replay names the first record.
pub(super) fn again(letter: &StoredLetter) -> RecordAgain {
    let place = &letter.partition;
    let mut headers = letter.headers.clone().unwrap_or_default();
    if !is_replay(letter) {
        let origin = format!("{}/{}/{}", place.topic, place.partition, letter.offset);
        headers.push(RecordHeader {
            name: REPLAY_OF.to_owned(),
            value: Some(origin.into_bytes()),
        });
    }
    RecordAgain {
        topic: place.topic.to_string(),
        partition: place.partition,
        key: letter.key.clone(),
        payload: letter.payload.clone().unwrap_or_default(),
        headers,
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;
    use forebay_core::source::Column;
    use forebay_core::time::timestamp_type;
    use forebay_kafka::{Record, RecordDecoder};

    use super::*;
    use crate::commands::dead_letters::select::tests::letter;

    fn source(topic: &str) -> SourceDef {
        let column = |name: &str, data_type| Column {
            name: name.to_owned(),
            data_type,
            nullable: true,
        };
        let columns = vec![
            column("n", DataType::Float64),
            column("at", timestamp_type()),
        ];
        SourceDef::json("clicks", topic, columns, 1)
    }

    /// What the decoder says of a record that is none.
    fn reject() -> Reject {
        let source = source("raw.clicks");
        let mut decoder = RecordDecoder::new(&source, 0).expect("JSON fills it");
        let record = Record {
            payload: Some(b"{"),
            ..Record::default()
        };
        decoder.push(&record).expect_err("no JSON")
    }

    const STRICT: Allowed = Allowed {
        again: false,
        without_key: false,
    };
    const AGAIN: Allowed = Allowed {
        again: true,
        without_key: false,
    };
    const WITHOUT_KEY: Allowed = Allowed {
        again: false,
        without_key: true,
    };

    /// What becomes of `letter`, which its source takes by now; None: it is replayed.
    fn left(letter: &StoredLetter, facts: Facts<'_>, allowed: Allowed) -> Option<Left> {
        match decide(letter, facts, allowed, |_| Ok(None)).expect("no fault") {
            Verdict::Replay => None,
            Verdict::Leave(why, _) => Some(why),
        }
    }

    fn facts(source: Option<&SourceDef>) -> Facts<'_> {
        Facts {
            source,
            is_own_topic: false,
            is_replayed: false,
        }
    }

    #[test]
    fn a_letter_is_replayed_once_and_by_a_source_that_reads_its_topic() {
        let (own, other) = (source("raw.clicks"), source("other"));
        let replayed = Facts {
            is_replayed: true,
            ..facts(Some(&own))
        };
        let predictions = Facts {
            is_own_topic: true,
            ..facts(None)
        };
        for (facts, allowed, expected) in [
            (facts(Some(&own)), STRICT, None),
            (facts(None), STRICT, Some(Left::NoSource)),
            (facts(Some(&other)), STRICT, Some(Left::NoSource)),
            (predictions, STRICT, Some(Left::OwnTopic)),
            (replayed, AGAIN, Some(Left::Replayed)),
        ] {
            assert_eq!(left(&letter(3, 7), facts, allowed), expected);
        }
    }

    #[test]
    fn what_was_not_kept_whole_is_left() {
        let own = source("raw.clicks");
        let of = |change: &dyn Fn(&mut StoredLetter)| {
            let mut changed = letter(3, 7);
            change(&mut changed);
            changed
        };
        let old = of(&|l| (l.key, l.headers, l.is_cut) = (None, None, None));
        let old_cut = of(&|l| {
            (l.headers, l.is_cut) = (None, None);
            l.payload = Some(vec![b'x'; DEAD_LETTER_PAYLOAD_MAX_BYTES]);
        });
        let empty = of(&|l| l.payload = Some(Vec::new()));
        let cut = of(&|l| l.is_cut = Some(true));
        let header = |name: &str| RecordHeader {
            name: name.to_owned(),
            value: None,
        };
        let replay = of(&|l| l.headers = Some(vec![header("a"), header(REPLAY_OF)]));
        for (letter, allowed, expected) in [
            (&empty, STRICT, Some(Left::NoValue)),
            (&cut, WITHOUT_KEY, Some(Left::Cut)),
            (&old, STRICT, Some(Left::Keyless)),
            (&old, WITHOUT_KEY, None),
            (&old_cut, WITHOUT_KEY, Some(Left::Cut)),
            (&replay, STRICT, Some(Left::FailedAgain)),
            (&replay, AGAIN, None),
        ] {
            assert_eq!(left(letter, facts(Some(&own)), allowed), expected);
        }
    }

    #[test]
    fn what_the_definition_still_does_not_take_is_left_with_its_words() {
        let own = source("raw.clicks");
        let still = decide(&letter(3, 7), facts(Some(&own)), STRICT, |_| {
            Ok(Some(reject()))
        });
        let Ok(Verdict::Leave(Left::StillNoRow, Some(words))) = still else {
            panic!("{still:?}");
        };
        assert!(words.contains("not_json"), "{words}");
    }

    #[test]
    fn a_replay_is_the_record_with_one_header_that_names_the_first() {
        let first = again(&letter(3, 7));
        assert_eq!((first.topic.as_str(), first.partition), ("raw.clicks", 3));
        assert_eq!(first.key.as_deref(), Some(&b"ann"[..]));
        assert_eq!(first.payload, b"{\"n\":1.5}");
        let [header] = first.headers.as_slice() else {
            panic!("{:?}", first.headers);
        };
        assert_eq!(header.name, REPLAY_OF);
        assert_eq!(header.value.as_deref(), Some(&b"raw.clicks/3/7"[..]));
        let second = again(&StoredLetter {
            headers: Some(first.headers.clone()),
            ..letter(3, 90)
        });
        assert_eq!(second.headers, first.headers);
    }
}
