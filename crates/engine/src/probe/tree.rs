//! A tree over the events of one key, for probes that each have a cut of their own (served values,
//! recomputed): every node holds the merged states of its events and, for each partition in it, its
//! least and greatest offset. A node whose events all lie below the cut is merged whole, one with
//! none is skipped, only what straddles a cut or a window's edge is looked into. Partitions are
//! applied in order of offset and events come nearly in order of time, so that is little.

use std::ops::Range;

use forebay_core::aggregate::Partial;
use forebay_core::time::Micros;
use forebay_core::view::{FeatureStatus, ViewSpec, feature_status};

use super::answers::Answers;
use super::collect::{Columns, Event};
use super::fold::fold;
use super::plan::{Probe, WindowPlan};
use crate::error::Result;

/// Events of a leaf.
const LEAF_EVENTS: usize = 16;
/// Children of a node above the leaves.
const FAN_OUT: usize = 4;

/// Offsets of one partition inside a node.
#[derive(Debug, Clone, Copy)]
struct Offsets {
    place: u32,
    least: i64,
    greatest: i64,
}

#[derive(Debug)]
struct Node {
    states: Vec<Partial>,
    offsets: Vec<Offsets>,
}

/// How much of a node lies below a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visible {
    Nothing,
    Part,
    Whole,
}

impl Node {
    fn empty(spec: &ViewSpec) -> Self {
        Self {
            states: spec.partials.iter().map(Partial::new).collect(),
            offsets: Vec::new(),
        }
    }

    fn note(&mut self, seen: Offsets) {
        match self.offsets.iter_mut().find(|o| o.place == seen.place) {
            Some(known) => {
                known.least = known.least.min(seen.least);
                known.greatest = known.greatest.max(seen.greatest);
            }
            None => self.offsets.push(seen),
        }
    }

    fn visible(&self, cut: &[i64]) -> Visible {
        if self
            .offsets
            .iter()
            .all(|o| o.greatest < cut[o.place as usize])
        {
            Visible::Whole
        } else if self
            .offsets
            .iter()
            .all(|o| o.least >= cut[o.place as usize])
        {
            Visible::Nothing
        } else {
            Visible::Part
        }
    }
}

/// The events of one key with merged states above them, for reads below a cut.
pub(super) struct Tree<'a> {
    spec: &'a ViewSpec,
    columns: &'a Columns,
    events: &'a [Event],
    /// Leaves first; the last level has one node, or none where there are no events.
    levels: Vec<Vec<Node>>,
}

impl<'a> Tree<'a> {
    /// Over `events`, sorted.
    pub(super) fn new(
        spec: &'a ViewSpec,
        columns: &'a Columns,
        events: &'a [Event],
    ) -> Result<Self> {
        let leaves = events
            .chunks(LEAF_EVENTS)
            .map(|chunk| leaf(spec, columns, chunk));
        let mut levels = vec![leaves.collect::<Result<Vec<_>>>()?];
        while let Some(below) = levels.last().filter(|nodes| nodes.len() > 1) {
            let above = below
                .chunks(FAN_OUT)
                .map(|children| parent(spec, children))
                .collect();
            levels.push(above);
        }
        Ok(Self {
            spec,
            columns,
            events,
            levels,
        })
    }

    /// Answer `probe` over the events below `cut`.
    pub(super) fn answer(
        &self,
        plans: &[WindowPlan],
        cut: &[i64],
        probe: &Probe,
        answers: &mut Answers,
    ) -> Result<()> {
        let end = self
            .events
            .partition_point(|event| event.time_us <= probe.at_us);
        let newest_us = self.newest(end, cut);
        answers.set_newest(probe.row, newest_us);
        if feature_status(newest_us, probe.at_us, self.spec.ttl_us) != FeatureStatus::Present {
            return Ok(());
        }
        for plan in plans {
            let start = plan.preceding_us.map_or(0, |preceding_us| {
                let from_us = probe.at_us.saturating_sub(preceding_us);
                self.events.partition_point(|event| event.time_us < from_us)
            });
            let mut query = Query {
                tree: self,
                window: start..end,
                cut,
                partials: &plan.partials,
                states: plan
                    .partials
                    .iter()
                    .map(|index| Partial::new(&self.spec.partials[*index]))
                    .collect(),
            };
            query.run()?;
            for (output, slot, kind) in &plan.outputs {
                answers.set(probe.row, *output, &query.states[*slot].evaluate(*kind))?;
            }
        }
        Ok(())
    }

    /// Time of the last event before index `end` that lies below `cut`.
    fn newest(&self, end: usize, cut: &[i64]) -> Option<Micros> {
        self.newest_in(self.levels.len() - 1, 0, end, cut)
    }

    fn newest_in(&self, level: usize, index: usize, end: usize, cut: &[i64]) -> Option<Micros> {
        let node = self.levels[level].get(index)?;
        let span = self.span(level, index);
        if span.start >= end || node.visible(cut) == Visible::Nothing {
            return None;
        }
        if level == 0 {
            let seen = &self.events[span.start..span.end.min(end)];
            return seen
                .iter()
                .rev()
                .find(|event| event.is_below(cut))
                .map(|event| event.time_us);
        }
        self.children(level, index)
            .rev()
            .find_map(|child| self.newest_in(level - 1, child, end, cut))
    }

    fn children(&self, level: usize, index: usize) -> Range<usize> {
        index * FAN_OUT..((index + 1) * FAN_OUT).min(self.levels[level - 1].len())
    }

    fn span(&self, level: usize, index: usize) -> Range<usize> {
        let width = (0..level).fold(LEAF_EVENTS, |width, _| width.saturating_mul(FAN_OUT));
        index * width..(index + 1).saturating_mul(width).min(self.events.len())
    }
}

fn leaf(spec: &ViewSpec, columns: &Columns, events: &[Event]) -> Result<Node> {
    let mut node = Node::empty(spec);
    for event in events {
        node.note(Offsets {
            place: event.place,
            least: event.offset,
            greatest: event.offset,
        });
        for (state, partial) in node.states.iter_mut().zip(&spec.partials) {
            if columns.passes(partial, event) {
                fold(state, partial, columns, event)?;
            }
        }
    }
    Ok(node)
}

fn parent(spec: &ViewSpec, children: &[Node]) -> Node {
    let mut node = Node::empty(spec);
    for child in children {
        child.offsets.iter().for_each(|offsets| node.note(*offsets));
        node.states
            .iter_mut()
            .zip(&child.states)
            .for_each(|(mine, theirs)| mine.merge(theirs));
    }
    node
}

/// One window of one probe.
struct Query<'t, 'a> {
    tree: &'t Tree<'a>,
    window: Range<usize>,
    cut: &'t [i64],
    partials: &'t [usize],
    states: Vec<Partial>,
}

impl Query<'_, '_> {
    fn run(&mut self) -> Result<()> {
        self.visit(self.tree.levels.len() - 1, 0)
    }

    fn visit(&mut self, level: usize, index: usize) -> Result<()> {
        let tree = self.tree;
        let Some(node) = tree.levels[level].get(index) else {
            return Ok(());
        };
        let span = tree.span(level, index);
        if span.start >= self.window.end || span.end <= self.window.start {
            return Ok(());
        }
        let visible = node.visible(self.cut);
        if visible == Visible::Nothing {
            return Ok(());
        }
        if visible == Visible::Whole
            && self.window.start <= span.start
            && span.end <= self.window.end
        {
            let theirs = self.partials.iter().map(|partial| &node.states[*partial]);
            self.states
                .iter_mut()
                .zip(theirs)
                .for_each(|(mine, theirs)| mine.merge(theirs));
            return Ok(());
        }
        if level > 0 {
            return tree
                .children(level, index)
                .try_for_each(|child| self.visit(level - 1, child));
        }
        let inside = span.start.max(self.window.start)..span.end.min(self.window.end);
        for event in tree.events[inside]
            .iter()
            .filter(|event| event.is_below(self.cut))
        {
            for (state, index) in self.states.iter_mut().zip(self.partials) {
                let partial = &tree.spec.partials[*index];
                if tree.columns.passes(partial, event) {
                    fold(state, partial, tree.columns, event)?;
                }
            }
        }
        Ok(())
    }
}
