//! What of a key stays in memory where memory is short. The table trims a key: the path to the
//! place where its last rows went stays, for that is where the next ones come, and a [`Stub`] takes
//! the place of each subtree beside it. So a key that goes on being written keeps a few nodes in
//! memory, however long its history is.
//!
//! A stub says where on disk its rows are, and keeps their merged states, if they were known. What
//! needs its rows opens it: an insertion into its span, a window that begins or ends inside it, an
//! expiry. The tiles are read by `load` and become the subtree that the stub stands
//! for. A window that has all of its rows inside needs their merged states alone: they are read
//! once, and stay with the stub.
//!
//! # Invariants
//!
//! * A stub stands for what the disk holds of its span as of the epoch of its key's state. A commit
//!   opens stubs before it writes; a reader opens them while no epoch can be published (`find`). So
//!   nothing enters the table that does not belong to its epoch.
//! * Its span is that of the node it took the place of, so a tree has the same shape with it.

use std::sync::Arc;

use forebay_core::time::Micros;

use crate::error::OnlineResult;
use crate::format::TileId;
use crate::tree::{Node, Stub, around, digit, root_start};

/// `roots` with the path to `arrives_us` in memory: stubs in the place of the other subtrees.
pub(crate) fn trim(roots: &[Arc<Node>], arrives_us: Micros) -> Vec<Arc<Node>> {
    let nearest = nearest(roots.iter(), arrives_us);
    let trimmed = roots
        .iter()
        .map(|root| trim_beside(root, nearest, arrives_us));
    trimmed.collect()
}

/// Where the last of `nodes` begins that does not begin behind `arrives_us`, or else the first.
fn nearest<'a>(nodes: impl Iterator<Item = &'a Arc<Node>>, arrives_us: Micros) -> Micros {
    let mut nearest = None;
    for begins in nodes.map(|node| node.min_us()) {
        if nearest.is_none() || begins <= arrives_us {
            nearest = Some(begins);
        }
    }
    nearest.unwrap_or(arrives_us)
}

/// `node`, one of several, as it stays.
fn trim_beside(node: &Arc<Node>, nearest: Micros, arrives_us: Micros) -> Arc<Node> {
    // In a microsecond that is split several nodes may begin alike, or hold the instant.
    let is_near =
        node.min_us() == nearest || (node.min_us() <= arrives_us && arrives_us <= node.max_us());
    match node.as_ref() {
        Node::Branch(_) if is_near => trim_below(node, arrives_us),
        Node::Branch(_) => Arc::new(Node::Stub(Stub::of(node))),
        // A tile takes hardly more than its stub.
        Node::Tile(_) | Node::Stub(_) => Arc::clone(node),
    }
}

fn trim_below(node: &Arc<Node>, arrives_us: Micros) -> Arc<Node> {
    let Node::Branch(branch) = node.as_ref() else {
        return Arc::clone(node);
    };
    let nearest = nearest(branch.children(), arrives_us);
    let trimmed = |child: &Arc<Node>| trim_beside(child, nearest, arrives_us);
    branch.with_children(std::array::from_fn(|at| {
        branch.children[at].as_ref().map(trimmed)
    }))
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
            Ok(branch.with_children(children))
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
