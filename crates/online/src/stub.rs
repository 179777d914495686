//! What of a key stays in memory where memory is short. The table trims a key: the paths to the
//! places where its last rows went stay, for that is where the next ones come, and a [`Stub`] takes
//! the place of each subtree beside them. So a key that goes on being written keeps a few nodes in
//! memory, however long its history is.
//!
//! A stub says where on disk its rows are, and keeps their merged states, if they were known. What
//! needs its rows opens it: an insertion into its span, a window that begins or ends inside it, an
//! expiry. `load` reads the subtree that the stub stands for, with stubs in it in the place of
//! branches that have records on disk, so that what is read is a path and not a span. A window that
//! has all of its rows inside needs their merged states alone: where the stub has none they are
//! made from its rows once, and stay with it. A key that is not in memory is loaded in the same
//! way.
//!
//! # Invariants
//!
//! * A stub stands for what the disk holds of its span as of the epoch of its key's state. A commit
//!   opens stubs before it writes; a reader opens them while no epoch can be published (`find`). So
//!   nothing enters the table that does not belong to its epoch.
//! * Its span is that of the node it took the place of, so a tree has the same shape with it.
//! * The record of a branch says what the branch has: a commit that changes it deletes the record
//!   in its batch. Which branches have one decides how much is read, never what.

use std::sync::Arc;

use forebay_core::time::Micros;

use crate::error::OnlineResult;
use crate::format::TileId;
use crate::span::{around, digit, root_start};
use crate::tree::{Node, Stub};

/// Event times around which rows arrive: of events and of a fill, or of rows that are late.
pub(crate) type Places = [Micros; 2];

/// `roots` with the paths to `places` in memory: stubs in the place of the other subtrees.
pub(crate) fn trim(roots: &[Arc<Node>], places: Places) -> Vec<Arc<Node>> {
    let near = Near::among(roots.iter(), places);
    let trimmed = roots.iter().map(|root| trim_beside(root, near));
    trimmed.collect()
}

/// The nodes that stay, of those that stand side by side.
#[derive(Debug, Clone, Copy)]
struct Near {
    places: Places,
    /// Where the last of them begins that does not begin behind the place, or else the first.
    begins: Places,
}

impl Near {
    fn among<'a>(nodes: impl Iterator<Item = &'a Arc<Node>>, places: Places) -> Self {
        let mut begins = [None; 2];
        for begin in nodes.map(|node| node.min_us()) {
            for (near, place) in begins.iter_mut().zip(places) {
                if near.is_none() || begin <= place {
                    *near = Some(begin);
                }
            }
        }
        let begins = begins.map(|begin| begin.unwrap_or(Micros::MAX));
        Self { places, begins }
    }

    /// In a microsecond that is split several nodes may begin alike, or hold the instant.
    fn has(self, node: &Node) -> bool {
        self.begins.contains(&node.min_us())
            || self
                .places
                .iter()
                .any(|place| node.min_us() <= *place && *place <= node.max_us())
    }
}

/// `node`, one of several, as it stays.
fn trim_beside(node: &Arc<Node>, near: Near) -> Arc<Node> {
    match node.as_ref() {
        Node::Branch(branch) if near.has(node) => {
            let near = Near::among(branch.children(), near.places);
            let trimmed = |child: &Arc<Node>| trim_beside(child, near);
            let children = std::array::from_fn(|at| branch.children[at].as_ref().map(trimmed));
            Arc::new(Node::Branch(branch.with_children(children)))
        }
        Node::Branch(branch) => Arc::new(Node::Stub(Stub::of(branch))),
        // A tile takes hardly more than its stub.
        Node::Tile(_) | Node::Stub(_) => Arc::clone(node),
    }
}

/// What [`memory_bytes`] is of [`trim`]'s nodes, at least: without the states of new stubs.
pub(crate) fn trimmed_bytes(roots: &[Arc<Node>], places: Places, partials: usize) -> usize {
    let near = Near::among(roots.iter(), places);
    let bytes = roots.iter().map(|root| bytes_beside(root, near, partials));
    bytes.sum()
}

fn bytes_beside(node: &Node, near: Near, partials: usize) -> usize {
    match node {
        Node::Branch(branch) if near.has(node) => {
            let near = Near::among(branch.children(), near.places);
            let bytes = |child: &Arc<Node>| bytes_beside(child, near, partials);
            branch.children().map(bytes).sum()
        }
        Node::Branch(_) => Stub::least_bytes(partials),
        node => node_bytes(node, partials),
    }
}

/// `roots` with what `change` makes of the stub `id`, or as they are where there is none.
pub(crate) fn change_stub(
    roots: &[Arc<Node>],
    id: TileId,
    change: impl FnOnce(&Stub) -> OnlineResult<Arc<Node>>,
) -> OnlineResult<Vec<Arc<Node>>> {
    let mut changed = roots.to_vec();
    let of_root = |root: &Arc<Node>| root_start(root.min_us());
    if let Ok(at) = roots.binary_search_by_key(&root_start(id.start), of_root) {
        changed[at] = change_below(&roots[at], id, change)?;
    }
    Ok(changed)
}

fn change_below(
    node: &Arc<Node>,
    id: TileId,
    change: impl FnOnce(&Stub) -> OnlineResult<Arc<Node>>,
) -> OnlineResult<Arc<Node>> {
    match node.as_ref() {
        Node::Stub(stub) if stub.id == id => change(stub),
        Node::Branch(branch) if around(node.id().level, id) == node.id() => {
            let at = digit(node.id().level, id.start, || id.sub);
            let Some(child) = &branch.children[at] else {
                return Ok(Arc::clone(node));
            };
            let mut children = branch.children.clone();
            children[at] = Some(change_below(child, id, change)?);
            Ok(Arc::new(Node::Branch(branch.with_children(children))))
        }
        _ => Ok(Arc::clone(node)),
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
