//! Which events each deployment scores, kept as a checkpoint: changed before the first of them is
//! read, so that monitors and the filter of repeats wait for predictions of those alone.

use std::collections::BTreeSet;

use forebay_core::PortResult;
use forebay_core::checkpoint::{self, Opened};
use forebay_core::ports::Checkpoints;
use forebay_core::progress::Applied;
use forebay_core::scope::ScoringScopes;
use forebay_core::{ErrorKind, PortError};

const SCOPES: &str = "scoring-scopes";
const KIND: [u8; 4] = *b"FBSC";

/// Which events each deployment scores from now on, where only `current` (deployment and topic of
/// its source) do and `applied` was read. Saved before it is returned, hence before any of those
/// events is read.
///
/// A record that is missing or damaged says nothing of the past: no prediction is waited for of
/// events that were read before now.
///
/// # Errors
/// The disk fails.
pub fn change_scopes(
    checkpoints: &dyn Checkpoints,
    current: &[(&str, &str)],
    applied: &Applied,
) -> PortResult<ScoringScopes> {
    let mut scopes = load(checkpoints)?.unwrap_or_else(|| {
        tracing::warn!(
            "the record of which events are scored is damaged; monitors wait for predictions of \
             new events alone"
        );
        ScoringScopes::default()
    });
    if scopes.change(current, applied) {
        let text = serde_json::to_vec(&scopes).map_err(|error| {
            let words = "which events are scored cannot be written as JSON";
            PortError::with_source(ErrorKind::Internal, words, error)
        })?;
        checkpoints.save(SCOPES, &checkpoint::seal(KIND, 0, &text))?;
    }
    Ok(scopes)
}

/// Topics of which other events are scored once only `current` (deployment and topic of its
/// source) do. Their shards must have the same events by then ([`Filler::level`]).
///
/// [`Filler::level`]: crate::Filler::level
///
/// # Errors
/// The disk fails.
pub fn touched_topics(
    checkpoints: &dyn Checkpoints,
    current: &[(&str, &str)],
) -> PortResult<BTreeSet<String>> {
    let scopes = load(checkpoints)?;
    Ok(scopes.unwrap_or_default().touched(current))
}

/// What is recorded; None where that is damaged.
fn load(checkpoints: &dyn Checkpoints) -> PortResult<Option<ScoringScopes>> {
    let frame = checkpoints.load(SCOPES)?;
    Ok(frame.map_or_else(|| Some(ScoringScopes::default()), |frame| read(&frame)))
}

fn read(frame: &[u8]) -> Option<ScoringScopes> {
    match checkpoint::open(KIND, 0, frame) {
        Opened::Payload(payload) => serde_json::from_slice(payload).ok(),
        Opened::Other(_) | Opened::Damaged => None,
    }
}

#[cfg(test)]
mod tests {
    use forebay_testkit::MemoryCheckpoints;

    use super::*;

    #[test]
    fn scopes_outlive_a_restart_and_damage_only_forgets_the_past() -> PortResult<()> {
        let kept = MemoryCheckpoints::default();
        let current = [("d", "events")];
        let scopes = change_scopes(&kept, &current, &Applied::default())?;
        assert!(scopes.of("d", "events", 0).contains(0));
        let again = change_scopes(&kept, &current, &Applied::default())?;
        assert_eq!(again, scopes);
        kept.save(SCOPES, b"damaged")?;
        let anew = change_scopes(&kept, &current, &Applied::default())?;
        assert_eq!(anew, scopes);
        Ok(())
    }
}
