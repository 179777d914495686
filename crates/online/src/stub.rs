//! Parts of a key's history whose rows are on disk alone. Where the memory of the table is used up,
//! `table` trims keys that nobody touched lately: the tiles around the newest row stay, for that is
//! where events arrive, and a stub takes the place of everything else. So a key that goes on being
//! written keeps a few nodes in memory, however long its history is.
//!
//! A stub says where its rows lie and keeps their merged states, if some read has needed them. What
//! needs its rows opens it: an insertion into its span, a window that begins or ends inside it, an
//! expiry. The tiles are read by an [`Opener`], which `database` implements, and become the subtree
//! that the stub stands for.
//!
//! # Invariants
//!
//! * A stub stands for what the disk holds of its span as of the epoch of its key's state. A commit
//!   opens stubs before it writes; a reader opens them while no epoch can be published (`shard`).
//! * Its span is that of the node it took the place of, so a tree has the same shape with it.

use std::sync::Arc;

use crate::error::OnlineResult;
use crate::format::TileId;
use crate::tree::{FANOUT, Node, Opener, Stub};

/// `roots` with the tiles around the newest row alone: stubs in the place of all other subtrees.
pub(crate) fn trim(roots: &[Arc<Node>]) -> Vec<Arc<Node>> {
    let Some((newest, older)) = roots.split_last() else {
        return Vec::new();
    };
    let stubs = older.iter().map(to_stub);
    stubs.chain([trim_node(newest)]).collect()
}

fn to_stub(node: &Arc<Node>) -> Arc<Node> {
    match node.as_ref() {
        Node::Stub(_) => Arc::clone(node),
        node => Arc::new(Node::Stub(Stub::of(node))),
    }
}

fn trim_node(node: &Arc<Node>) -> Arc<Node> {
    let Node::Branch(branch) = node.as_ref() else {
        return Arc::clone(node);
    };
    let newest = branch.children.iter().rposition(Option::is_some);
    branch.with_children(std::array::from_fn(|at| {
        let child = branch.children[at].as_ref()?;
        Some(match Some(at) == newest {
            true => trim_node(child),
            false => to_stub(child),
        })
    }))
}

/// `roots` with the subtrees of the stubs that `spans` name.
pub(crate) fn open_spans(
    roots: &[Arc<Node>],
    spans: &[TileId],
    opener: &mut impl Opener,
) -> OnlineResult<Vec<Arc<Node>>> {
    roots
        .iter()
        .map(|root| open_node(root, spans, opener))
        .collect()
}

fn open_node(
    node: &Arc<Node>,
    spans: &[TileId],
    opener: &mut impl Opener,
) -> OnlineResult<Arc<Node>> {
    match node.as_ref() {
        Node::Stub(stub) if spans.contains(&stub.id) => opener.open(stub),
        Node::Branch(branch) => {
            let mut children = [const { None }; FANOUT];
            for (place, child) in children.iter_mut().zip(&branch.children) {
                let child = child.as_ref();
                *place = child
                    .map(|child| open_node(child, spans, opener))
                    .transpose()?;
            }
            Ok(branch.with_children(children))
        }
        Node::Stub(_) | Node::Tile(_) => Ok(Arc::clone(node)),
    }
}

/// Upper bound of the memory of `roots`, bytes.
pub(crate) fn memory_bytes(roots: &[Arc<Node>], partials: usize) -> usize {
    roots.iter().map(|root| node_bytes(root, partials)).sum()
}

fn node_bytes(node: &Node, partials: usize) -> usize {
    match node {
        Node::Tile(tile) => tile.memory_bytes(partials),
        Node::Stub(stub) => stub.memory_bytes(partials),
        Node::Branch(branch) => branch
            .children()
            .map(|child| node_bytes(child, partials))
            .sum(),
    }
}
