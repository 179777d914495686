//! Records of branches: which branches of a key get one with a commit, and what it says. `commit`
//! asks once the rows of the key are inserted and its old ones have expired; records go with its
//! batch, and `load` reads the key in parts by them.
//!
//! Rows go on arriving where the last ones did, so a branch gets its record when they have left it:
//! it is not at one of the key's places (`key_state`), and the last insertions have passed it by. A
//! row that comes for it all the same, and an expiry in it, delete the record (`insert`, `expiry`).
//! The states of a branch that rows have left are made at once, while all of it is in memory: they
//! stay with the stub that takes its place, and the branch above it is closed without a look at the
//! disk. A key of few tiles is left as it is.

use std::sync::Arc;

use forebay_core::time::Micros;

use crate::format::{BranchRecord, TileId};
use crate::insert::HistorySink;
use crate::key_state::Tree;
use crate::span::last_place;
use crate::stub::Places;
use crate::tree::{
    Branch, Extent, Node, RECORD_MIN_TILES, REST_INSERTIONS, Record, Stub, encode_states,
};
use crate::view::ViewRuntime;
use crate::window::has_states;

/// States of up to so many bytes go into a record; larger ones only where they are at most this
/// part (1 in N) of the tiles that they are of.
const STATES_SMALL_BYTES: usize = 512;
const STATES_PART: usize = 8;

/// Close the branches of `tree` that rows have left; returns how many got a record.
pub(crate) fn close(view: &ViewRuntime, tree: &mut Tree, sink: &mut impl HistorySink) -> u64 {
    let mut closing = Closing {
        view,
        places: tree.places(),
        now: tree.record(),
        sink,
        written: 0,
    };
    for root in &mut tree.roots {
        if root.extent().tiles >= RECORD_MIN_TILES
            && let Some(closed) = closing.visit(root)
        {
            *root = closed;
        }
    }
    closing.written
}

struct Closing<'a, S> {
    view: &'a ViewRuntime,
    places: Places,
    /// Of a branch that this commit has changed.
    now: Record,
    sink: &'a mut S,
    written: u64,
}

impl<S: HistorySink> Closing<'_, S> {
    /// What takes the place of `node`, if anything does.
    fn visit(&mut self, node: &Arc<Node>) -> Option<Arc<Node>> {
        match node.as_ref() {
            Node::Tile(_) => None,
            Node::Stub(stub) => self.visit_stub(stub),
            Node::Branch(branch) if branch.record == Record::OnDisk => None,
            Node::Branch(branch) => self.visit_branch(branch),
        }
    }

    fn visit_branch(&mut self, branch: &Branch) -> Option<Arc<Node>> {
        let is_left = !self.has_place(branch.id());
        let is_known = is_left && has_states(self.view, branch);
        let extent = branch.extent();
        if is_left && extent.tiles < RECORD_MIN_TILES {
            return None;
        }
        let mut closed = self.visit_children(branch);
        if is_known && self.has_rested(branch.record) {
            let states = branch.states.get().map(|states| encode_states(states));
            let states = states.unwrap_or_default();
            let record = self.put(branch.id(), branch.ends(), extent, &states);
            let branch =
                closed.get_or_insert_with(|| branch.with_children(branch.children.clone()));
            branch.record = record;
        }
        Some(Arc::new(Node::Branch(closed?)))
    }

    /// The branch with other children, if any is another.
    fn visit_children(&mut self, branch: &Branch) -> Option<Branch> {
        let mut children = None;
        for (at, child) in branch.children.iter().enumerate() {
            if let Some(closed) = child.as_ref().and_then(|child| self.visit(child)) {
                let children = children.get_or_insert_with(|| branch.children.clone());
                children[at] = Some(closed);
            }
        }
        children.map(|children| branch.with_children(children))
    }

    /// A stub took the place of its branch before that had rested.
    fn visit_stub(&mut self, stub: &Stub) -> Option<Arc<Node>> {
        let states = stub.states.as_ref()?;
        let is_large = stub.extent.tiles >= RECORD_MIN_TILES;
        if !is_large || self.has_place(stub.id) || !self.has_rested(stub.record) {
            return None;
        }
        let record = self.put(stub.id, (stub.min_us, stub.max_us), stub.extent, states);
        Some(Arc::new(Node::Stub(Stub {
            record,
            states: Some(states.clone()),
            ..*stub
        })))
    }

    /// Whether rows are expected in the span of `id`.
    fn has_place(&self, id: TileId) -> bool {
        let last_us = last_place(id).0;
        let holds = |place: &Micros| (id.start..=last_us).contains(place);
        self.places.iter().any(holds)
    }

    /// Whether a branch that has this is one that gets a record.
    fn has_rested(&self, record: Record) -> bool {
        match (record, self.now) {
            (Record::None { since }, Record::None { since: now }) => {
                now.wrapping_sub(since) >= REST_INSERTIONS
            }
            _ => false,
        }
    }

    /// Write the record of a branch, unless its states are too large for one.
    fn put(
        &mut self,
        id: TileId,
        (min_us, max_us): (Micros, Micros),
        extent: Extent,
        states: &[u8],
    ) -> Record {
        if states.len() > STATES_SMALL_BYTES.max(extent.bytes / STATES_PART) {
            return Record::TooLarge;
        }
        let record = BranchRecord {
            min_us,
            max_us,
            levels: extent.levels,
            tiles: extent.tiles as u64,
            bytes: extent.bytes as u64,
            states,
        };
        self.sink.put_branch(id, &record.encode());
        self.written += 1;
        Record::OnDisk
    }
}
