//! What people see of a look at the log of a source: its state, with the reason where it is not
//! read, and its lag. Each change of the state is logged once.

use forebay_core::PortError;
use forebay_core::error::with_causes;
use forebay_core::source::SourceDef;

use crate::halt::HaltReason;
use crate::lag;
use crate::recovery::{Decision, SourceFacts};
use crate::status::SourceState;
use crate::watch::{Look, Watcher};

impl Watcher {
    /// Put state and lag of `source` where people see them. Whether it is read whole and to its
    /// end.
    pub(super) fn show(
        &mut self,
        source: &SourceDef,
        facts: &SourceFacts,
        decision: &Decision,
    ) -> bool {
        self.board.note_gaps(&source.name, facts.note.gaps.len());
        let now = self.parts.runtime.elapsed();
        let held = self.parts.backlog.held(now).remove(&source.name);
        let is_held = held.is_some();
        let state = match (decision, held) {
            (Decision::Read(_), Some(reason)) => SourceState::Halted((&reason).into()),
            (Decision::Read(_), None) => SourceState::Reading,
            (Decision::Wait(why), _) => SourceState::Waiting(why.clone()),
            (Decision::Halt(reason), _) => SourceState::Halted(reason.into()),
        };
        self.show_state(source, state);
        let mut statuses = self.parts.counters.sources.lock();
        let status = statuses.entry(source.name.clone()).or_default();
        let before = std::mem::take(&mut status.partitions);
        status.partitions = lag::partitions(facts, decision, before);
        status.lag_records = lag::of_source(&status.partitions);
        lag::tell_halts(&mut self.told, source, &status.partitions);
        let whole = matches!(decision, Decision::Read(plan) if plan.halted.is_empty());
        whole && status.lag_records == Some(0) && !is_held
    }

    /// What archive and state keep of `source` cannot be read or noted: nobody can tell what waits
    /// in its log. Where it was not read before it is halted, so that nobody waits for it; where it
    /// was, what is read goes on being read.
    pub(super) fn shut(&mut self, source: &SourceDef, look: &Look, error: &PortError) -> Decision {
        let is_read = look.reader.keys().any(|p| *p.topic == *source.topic);
        let reason = HaltReason::TableUnusable {
            table: source.name.clone(),
            why: with_causes(error),
        };
        let (decision, state) = if is_read {
            let why = reason.to_string();
            (Decision::Wait(why.clone()), SourceState::Waiting(why))
        } else {
            let halted = SourceState::Halted((&reason).into());
            (Decision::Halt(reason), halted)
        };
        self.note_halt(source, &decision);
        self.show_state(source, state);
        let mut statuses = self.parts.counters.sources.lock();
        let status = statuses.entry(source.name.clone()).or_default();
        status.lag_records = None;
        status
            .partitions
            .iter_mut()
            .for_each(|part| part.lag = None);
        decision
    }

    /// Put `state` of `source` where people see it.
    fn show_state(&self, source: &SourceDef, state: SourceState) {
        let mut statuses = self.parts.counters.sources.lock();
        let status = statuses.entry(source.name.clone()).or_default();
        if status.state != state {
            match &state {
                SourceState::Halted(halt) => {
                    tracing::error!(
                        source = source.name,
                        code = halt.code,
                        reason = halt.reason,
                        "a source is halted; others are read, and it is looked at again"
                    );
                }
                SourceState::Waiting(reason) => {
                    tracing::warn!(source = source.name, reason, "a source waits");
                }
                _ => tracing::info!(source = source.name, "a source is read"),
            }
            status.state = state;
        }
    }
}
