//! Holds the replay back so that the embedded broker loses nothing: it keeps 5 MiB of a partition
//! and drops the oldest silently. At most so many events are under way between producer and reader,
//! and at most so many scored events without their prediction read back; both counted, not guessed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay_pipeline::PipelineStatus;

use crate::server::app::App;

/// Events between producer and reader. Each takes some 200 bytes and a partition holds 5 MiB, which
/// is far more; but the less is under way, the less one source runs ahead of another, and the
/// fresher the features of a scored event are.
const UNREAD_MAX: u64 = 4_000;
/// Scored events whose prediction has not come back. A prediction takes up to 3 KiB, and all may
/// fall to one partition.
const UNSCORED_MAX: u64 = 1_500;

/// How many events of a replay may be under way.
#[derive(Debug)]
pub(crate) struct Pace<'a> {
    app: &'a App,
    /// Predictions that each event of a source makes, of the sources that are scored.
    scored: BTreeMap<String, u64>,
    sent: BTreeMap<String, u64>,
    sent_total: u64,
    predictions_due: u64,
    seen: Seen,
}

/// What had come through when it was last looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    read: u64,
    predictions_read: u64,
    unscored: u64,
}

impl<'a> Pace<'a> {
    /// Over `app`, in which each event of a source in `scored` makes so many predictions.
    #[must_use]
    pub(crate) fn new(app: &'a App, scored: BTreeMap<String, u64>) -> Self {
        Self {
            app,
            scored,
            sent: BTreeMap::new(),
            sent_total: 0,
            predictions_due: 0,
            seen: Seen::default(),
        }
    }

    /// Whether one more event may go out now.
    pub(crate) fn may_send(&mut self) -> bool {
        if self.has_room() {
            return true;
        }
        self.look();
        self.has_room()
    }

    /// An event of `source` has gone out.
    pub(crate) fn note(&mut self, source: &str) {
        *self.sent.entry(source.to_owned()).or_default() += 1;
        self.sent_total += 1;
        self.predictions_due += self.scored.get(source).copied().unwrap_or(0);
    }

    /// Events sent, by source.
    #[must_use]
    pub(crate) fn sent(&self) -> &BTreeMap<String, u64> {
        &self.sent
    }

    /// Predictions that the events sent ask for.
    #[must_use]
    pub(crate) fn predictions_due(&self) -> u64 {
        self.predictions_due
    }

    /// Wait until everything sent has come through, at most `limit`; whether it has.
    pub(crate) fn drain(
        &mut self,
        limit: Duration,
        poll: Duration,
        interrupted: &AtomicBool,
    ) -> bool {
        let deadline = Instant::now() + limit;
        while !self.is_drained()
            && Instant::now() < deadline
            && !interrupted.load(Ordering::Relaxed)
        {
            std::thread::sleep(poll);
            self.look();
        }
        self.is_drained()
    }

    /// What had come through when it was last looked at, for people.
    #[must_use]
    pub(crate) fn standing(&self) -> String {
        format!(
            "{} of {} events and {} of {} predictions",
            self.seen.read, self.sent_total, self.seen.predictions_read, self.predictions_due
        )
    }

    fn is_drained(&self) -> bool {
        self.seen.read >= self.sent_total
            && self.seen.predictions_read + self.seen.unscored >= self.predictions_due
    }

    fn has_room(&self) -> bool {
        self.sent_total.saturating_sub(self.seen.read) < UNREAD_MAX
            && self
                .predictions_due
                .saturating_sub(self.seen.predictions_read + self.seen.unscored)
                < UNSCORED_MAX
    }

    fn look(&mut self) {
        self.seen = seen(&self.app.status(), &self.sent);
    }
}

fn seen(status: &PipelineStatus, sent: &BTreeMap<String, u64>) -> Seen {
    let mut seen = Seen {
        unscored: status.unscored,
        ..Seen::default()
    };
    for (name, source) in &status.sources {
        if sent.contains_key(name) {
            seen.read += source.rows + source.dead_letters;
        } else {
            seen.predictions_read += source.rows;
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use forebay_pipeline::SourceStatus;

    use super::*;

    #[test]
    fn predictions_are_told_from_events_by_what_was_sent() {
        let source = |rows| SourceStatus {
            rows,
            dead_letters: 1,
            ..SourceStatus::default()
        };
        let status = PipelineStatus {
            unscored: 3,
            sources: [
                ("departures".to_owned(), source(10)),
                ("predictions_late".to_owned(), source(7)),
            ]
            .into(),
            ..PipelineStatus::default()
        };
        let sent = [("departures".to_owned(), 20)].into();
        assert_eq!(
            seen(&status, &sent),
            Seen {
                read: 11,
                predictions_read: 7,
                unscored: 3
            }
        );
    }
}
