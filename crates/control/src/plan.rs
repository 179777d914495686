//! The decisions: from facts to steps, and from what was done to what has to be undone. Pure; the
//! tables below are their tests.

use crate::step::{Step, Which};

/// The steps of a start. The definitions that were saved are in force at its end; where a step
/// fails, the server does not start.
#[must_use]
pub(crate) fn plan_start() -> Vec<Step> {
    vec![
        Step::DropUnnamed,
        Step::MakeTables,
        Step::Resume(Which::Saved),
    ]
}

/// The steps that begin ingest anew where it has failed, once the definitions in force are what a
/// restart finds: a change that was undone may not have saved them.
#[must_use]
pub(crate) fn plan_again() -> Vec<Step> {
    vec![Step::Save(Which::Current), Step::Resume(Which::Current)]
}

/// The steps of a stop.
#[must_use]
pub(crate) fn plan_stop() -> Vec<Step> {
    vec![Step::Pause]
}

/// What an apply is decided on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyFacts {
    /// Whether any definition differs from those in force.
    pub changes: bool,
    /// Whether ingest runs.
    pub ingesting: bool,
    /// Whether a new view reads a source that is new too, and of which the archive has events that
    /// the state lacks ([`Filler::must_be_read`](crate::Filler::must_be_read)).
    pub unread: bool,
    /// Views that only the new definitions have.
    pub added: Vec<String>,
    /// Views that only the definitions in force have.
    pub removed: Vec<String>,
}

/// The steps of an apply; none where everything is in force already.
///
/// The long work, filling new views, comes first and beside ingest. Ingest stands only from
/// [`Step::Pause`] to [`Step::Resume`], whatever the archive's size. State is deleted last: until
/// then the definitions before can come back.
///
/// Which events a deployment scores is recorded by offsets, for all shards alike: before those
/// change, [`Step::Level`] brings shards together that a stop or a crash has left apart. It comes
/// before the rest is filled, because events may come while it reads.
///
/// Where a new source is unread although the archive has it (the saved definitions were lost), it
/// is read first: what of the archive its log brings again is known only then.
#[must_use]
pub fn plan_apply(facts: &ApplyFacts) -> Vec<Step> {
    if !facts.changes && facts.ingesting {
        return Vec::new();
    }
    let mut steps = vec![Step::MakeTables];
    if facts.unread {
        steps.extend([Step::Pause, Step::Resume(Which::Sources)]);
    }
    for view in &facts.added {
        steps.push(Step::BeginView(view.clone()));
        steps.push(Step::FillBeside(view.clone()));
    }
    if !facts.added.is_empty() {
        steps.push(Step::CatchUp);
    }
    steps.push(Step::Pause);
    if facts.changes {
        steps.push(Step::Level);
    }
    steps.extend(facts.added.iter().cloned().map(Step::FillRest));
    steps.push(Step::Save(Which::Next));
    steps.push(Step::Resume(Which::Next));
    steps.extend(facts.removed.iter().cloned().map(Step::DropView));
    if facts.changes {
        steps.push(Step::DropLeftovers);
    }
    steps
}

/// Why a change is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undone {
    /// A step failed.
    Failed,
    /// Another change takes it over.
    TakenOver,
    /// The server stops.
    Stopping,
}

impl Undone {
    /// What holds after it, in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Failed | Self::Stopping => {
                "nothing was applied, and the definitions before are in force"
            }
            Self::TakenOver => "the definitions before are in force meanwhile",
        }
    }
}

/// What brings back the definitions that were in force, after the steps `done` and the failure of
/// `failed`. When the server is stopping, ingest is not started again. Then, and where another
/// change takes this one over, the state of a view that was being filled is left: a change that
/// brings the same view goes on with it, and any other deletes it.
#[must_use]
pub(crate) fn plan_undo(done: &[Step], failed: &Step, why: Undone) -> Vec<Step> {
    let stopping = why == Undone::Stopping;
    if failed.is_deletion() {
        // The new definitions are in force; the next start or apply deletes the state.
        return Vec::new();
    }
    // A step that failed may have had its effect: a save or a resume that failed is undone too.
    let reached = |wanted: fn(&Step) -> bool| wanted(failed) || done.iter().any(wanted);
    let mut steps = Vec::new();
    if reached(|step| matches!(step, Step::Save(_))) {
        steps.push(Step::Save(Which::Current));
    }
    if reached(|step| matches!(step, Step::Pause)) && !stopping {
        steps.push(Step::Resume(Which::Current));
    }
    if reached(|step| matches!(step, Step::MakeTables)) && !stopping {
        steps.push(Step::DropEmptyTables);
    }
    if why == Undone::Failed {
        let begun = done.iter().chain(std::iter::once(failed));
        steps.extend(begun.filter_map(|step| match step {
            Step::BeginView(view) => Some(Step::DropView(view.clone())),
            _ => None,
        }));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(added: &[&str], removed: &[&str]) -> ApplyFacts {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ApplyFacts {
            changes: true,
            ingesting: true,
            unread: false,
            added: names(added),
            removed: names(removed),
        }
    }

    fn words(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_start_deletes_makes_and_reads_and_saves_nothing() {
        assert_eq!(
            words(&plan_start()),
            [
                "delete state that no saved definition names",
                "make the tables and topics that are missing",
                "start ingest with the saved definitions",
            ]
        );
        assert_eq!(
            words(&plan_again()),
            [
                "save the definitions before",
                "start ingest with the definitions before",
            ]
        );
        assert_eq!(words(&plan_stop()), ["stop ingest"]);
    }

    #[test]
    fn an_apply_fills_beside_ingest_and_deletes_last() {
        let cases: [(ApplyFacts, &[&str]); 5] = [
            (
                ApplyFacts {
                    ingesting: true,
                    ..ApplyFacts::default()
                },
                &[],
            ),
            (
                // Ingest has failed: the same definitions start it anew.
                ApplyFacts::default(),
                &[
                    "make the tables and topics that are missing",
                    "stop ingest",
                    "save the new definitions",
                    "start ingest with the new definitions",
                ],
            ),
            (
                facts(&["v"], &["old"]),
                &[
                    "make the tables and topics that are missing",
                    "make view v known to the store",
                    "fill view v from the archive beside ingest",
                    "fill what came meanwhile, beside ingest",
                    "stop ingest",
                    "bring all shards to the same events",
                    "fill view v with what came meanwhile",
                    "save the new definitions",
                    "start ingest with the new definitions",
                    "delete the state of view old",
                    "delete what no definition names",
                ],
            ),
            (
                // A rebuild: another state of a view that both have.
                facts(&["v version 1 (anew)"], &["v version 1 (before)"]),
                &[
                    "make the tables and topics that are missing",
                    "make view v version 1 (anew) known to the store",
                    "fill view v version 1 (anew) from the archive beside ingest",
                    "fill what came meanwhile, beside ingest",
                    "stop ingest",
                    "bring all shards to the same events",
                    "fill view v version 1 (anew) with what came meanwhile",
                    "save the new definitions",
                    "start ingest with the new definitions",
                    "delete the state of view v version 1 (before)",
                    "delete what no definition names",
                ],
            ),
            (
                facts(&[], &["old"]),
                &[
                    "make the tables and topics that are missing",
                    "stop ingest",
                    "bring all shards to the same events",
                    "save the new definitions",
                    "start ingest with the new definitions",
                    "delete the state of view old",
                    "delete what no definition names",
                ],
            ),
        ];
        for (facts, expected) in cases {
            assert_eq!(words(&plan_apply(&facts)), expected, "{facts:?}");
        }
    }

    #[test]
    fn several_views_catch_up_together_beside_ingest_before_it_stands() {
        let expected = [
            "make the tables and topics that are missing",
            "make view v known to the store",
            "fill view v from the archive beside ingest",
            "make view w known to the store",
            "fill view w from the archive beside ingest",
            "fill what came meanwhile, beside ingest",
            "stop ingest",
            "bring all shards to the same events",
            "fill view v with what came meanwhile",
            "fill view w with what came meanwhile",
            "save the new definitions",
            "start ingest with the new definitions",
            "delete what no definition names",
        ];
        assert_eq!(words(&plan_apply(&facts(&["v", "w"], &[]))), expected);
    }

    #[test]
    fn a_source_that_only_the_archive_knows_is_read_before_a_view_is_filled_from_it() {
        let facts = ApplyFacts {
            unread: true,
            ..facts(&["v"], &[])
        };
        let steps = plan_apply(&facts);
        let expected = [
            "make the tables and topics that are missing",
            "stop ingest",
            "start ingest with the definitions before and the new sources",
            "make view v known to the store",
            "fill view v from the archive beside ingest",
            "fill what came meanwhile, beside ingest",
            "stop ingest",
        ];
        assert_eq!(words(&steps)[..expected.len()], expected);
        // From then on ingest runs with the definitions before again, whatever fails.
        for at in 1..steps.len() - 2 {
            let undone = plan_undo(&steps[..at], &steps[at], Undone::Failed);
            assert!(undone.contains(&Step::Resume(Which::Current)), "step {at}");
        }
    }

    #[test]
    fn what_failed_decides_what_is_undone() {
        let steps = plan_apply(&facts(&["v"], &["old"]));
        let undone: Vec<Vec<String>> = (0..steps.len())
            .map(|at| words(&plan_undo(&steps[..at], &steps[at], Undone::Failed)))
            .collect();
        let (save, resume, tables, drop) = (
            "save the definitions before",
            "start ingest with the definitions before",
            "delete the new tables, which hold nothing",
            "delete the state of view v",
        );
        let expected: [&[&str]; 11] = [
            &[tables],
            &[tables, drop],
            &[tables, drop],
            &[tables, drop],
            &[resume, tables, drop],
            &[resume, tables, drop],
            &[resume, tables, drop],
            &[save, resume, tables, drop],
            &[save, resume, tables, drop],
            &[],
            &[],
        ];
        assert_eq!(undone, expected);
    }

    #[test]
    fn a_stop_starts_nothing_again_and_keeps_what_was_filled() {
        let steps = plan_apply(&facts(&["v"], &[]));
        let undone: Vec<Vec<String>> = (0..steps.len())
            .map(|at| words(&plan_undo(&steps[..at], &steps[at], Undone::Stopping)))
            .collect();
        let save: &[&str] = &["save the definitions before"];
        assert_eq!(
            undone,
            [&[][..], &[], &[], &[], &[], &[], &[], save, save, &[]]
        );
    }

    #[test]
    fn a_change_that_gives_way_keeps_what_was_filled_and_ingest_goes_on() {
        let unread = ApplyFacts {
            unread: true,
            ..facts(&["v"], &[])
        };
        let steps = plan_apply(&unread);
        let may = steps.iter().filter(|step| step.may_give_way());
        let may: Vec<String> = may.map(ToString::to_string).collect();
        let expected = [
            "make view v known to the store",
            "fill view v from the archive beside ingest",
            "fill what came meanwhile, beside ingest",
        ];
        assert_eq!(may, expected);
        let at = steps.iter().position(Step::may_give_way).expect("a fill");
        for at in at..at + expected.len() {
            let undone = words(&plan_undo(&steps[..at], &steps[at], Undone::TakenOver));
            let expected = [
                "start ingest with the definitions before",
                "delete the new tables, which hold nothing",
            ];
            assert_eq!(undone, expected);
        }
    }
}
