//! What follows from an error of scoring or publishing: pure decisions. An error is the fault of a
//! row, of the place (model, reader, topic, broker), or of a version that is gone; a chunk is
//! settled, halved to find the row, set aside with a note, or tried again.

use forebay_core::ErrorKind;
use forebay_core::error::with_causes;
use forebay_core::ports::Publication;
use forebay_core::settlement::UnscoredReason;
use forebay_core::time::Micros;

use crate::error::PipelineError;

/// What to do with rows that could not be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is wrong with the rows: keep them, and try the deployment again later.
    Retry,
    /// One of the rows is at fault: try each half alone.
    Halve,
    /// Waiting cannot help these rows: they end without a prediction.
    SetAside(UnscoredReason),
}

/// What `error` means for `rows` rows of one version, which is still on the route or not.
pub(crate) fn verdict(error: &PipelineError, rows: usize, routed: bool) -> Verdict {
    let of_the_row = match error {
        // The row's own bytes, which stay as they are.
        PipelineError::PendingBytes { .. } => true,
        error => error.kind().is_of_the_data(),
    };
    match of_the_row {
        true if rows > 1 => Verdict::Halve,
        true => Verdict::SetAside(UnscoredReason::RowRefused),
        false if routed || error.kind().is_retriable() => Verdict::Retry,
        false => Verdict::SetAside(UnscoredReason::Withdrawn),
    }
}

/// Whether features were refused for their size: there is no memory for so many rows now, or their
/// texts are more than any answer may hold. Fewer rows at once may pass.
pub(crate) fn asks_too_much(error: &PipelineError) -> bool {
    error.kind() == ErrorKind::ResourceExhausted
}

/// Whether an event that waits for a model or for room at a topic is given up: its features are
/// kept no longer.
pub(crate) fn is_expired(
    event_us: Micros,
    watermark_us: Option<Micros>,
    max_age_us: Micros,
) -> bool {
    watermark_us.is_some_and(|watermark| event_us < watermark.saturating_sub(max_age_us))
}

/// What became of a batch of outbox records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sorted {
    /// Those that leave the outbox, with the words of the topic that refuses one.
    pub(crate) done: Vec<(usize, Option<String>)>,
    /// Why the others are sent again.
    pub(crate) failure: Option<(ErrorKind, String)>,
}

/// Sort `outcomes`, one for each record that was sent.
pub(crate) fn sort(outcomes: Vec<Publication>) -> Sorted {
    let mut sorted = Sorted::default();
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Publication::Acknowledged => sorted.done.push((number, None)),
            Publication::Refused(words) => sorted.done.push((number, Some(words))),
            Publication::Unknown(error) => {
                sorted
                    .failure
                    .get_or_insert_with(|| (error.kind(), with_causes(&error)));
            }
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use forebay_core::PortError;
    use forebay_core::limits::PENDING_SCORE_MAX_AGE_US;

    use super::*;

    #[test]
    fn a_chunk_is_tried_again_unless_a_row_is_at_fault_or_its_version_is_gone() {
        use UnscoredReason::{RowRefused, Withdrawn};
        let port = |kind| PipelineError::from(PortError::new(kind, "why"));
        let bytes = || PipelineError::PendingBytes {
            id: "id".to_owned(),
            detail: "cut".to_owned(),
        };
        let large = || PipelineError::PredictionTooLarge {
            id: "id".to_owned(),
            bytes: 1,
        };
        // Error, rows, whether the version is on the route, verdict.
        let table = [
            (port(ErrorKind::Unavailable), 9, true, Verdict::Retry),
            (port(ErrorKind::DeadlineExceeded), 1, true, Verdict::Retry),
            (port(ErrorKind::FailedPrecondition), 1, true, Verdict::Retry),
            (port(ErrorKind::NotFound), 9, true, Verdict::Retry),
            (port(ErrorKind::DataLoss), 1, true, Verdict::Retry),
            (port(ErrorKind::Internal), 1, true, Verdict::Retry),
            (port(ErrorKind::InvalidArgument), 9, true, Verdict::Halve),
            (port(ErrorKind::OutOfRange), 2, true, Verdict::Halve),
            (
                port(ErrorKind::InvalidArgument),
                1,
                true,
                Verdict::SetAside(RowRefused),
            ),
            (bytes(), 9, true, Verdict::Halve),
            (bytes(), 1, false, Verdict::SetAside(RowRefused)),
            (large(), 1, true, Verdict::SetAside(RowRefused)),
            (port(ErrorKind::Unavailable), 9, false, Verdict::Retry),
            (
                port(ErrorKind::NotFound),
                9,
                false,
                Verdict::SetAside(Withdrawn),
            ),
            (
                port(ErrorKind::FailedPrecondition),
                1,
                false,
                Verdict::SetAside(Withdrawn),
            ),
        ];
        for (error, rows, routed, expected) in table {
            let kind = error.kind();
            assert_eq!(
                verdict(&error, rows, routed),
                expected,
                "{kind:?} {rows} {routed}"
            );
        }
    }

    #[test]
    fn an_event_is_given_up_only_when_the_watermark_is_more_than_the_age_ahead() {
        for (event, watermark, expired) in [
            (0, None, false),
            (0, Some(10), false),
            (-1, Some(10), true),
            (Micros::MIN, Some(Micros::MIN), false),
        ] {
            assert_eq!(
                is_expired(event, watermark, 10),
                expired,
                "{event} {watermark:?}"
            );
        }
        let at_the_limit = Some(PENDING_SCORE_MAX_AGE_US);
        assert!(!is_expired(0, at_the_limit, PENDING_SCORE_MAX_AGE_US));
        assert!(is_expired(-1, at_the_limit, PENDING_SCORE_MAX_AGE_US));
    }

    #[test]
    fn what_is_acknowledged_or_refused_is_done_and_the_rest_is_sent_again() {
        let sorted = sort(vec![
            Publication::Acknowledged,
            Publication::Refused("too large".to_owned()),
            Publication::unknown(ErrorKind::Unavailable, "no broker"),
            Publication::unknown(ErrorKind::NotFound, "no topic"),
            Publication::Acknowledged,
        ]);
        let expected = Sorted {
            done: vec![(0, None), (1, Some("too large".to_owned())), (4, None)],
            failure: Some((ErrorKind::Unavailable, "no broker".to_owned())),
        };
        assert_eq!(sorted, expected);
        assert_eq!(sort(Vec::new()), Sorted::default());
    }
}
