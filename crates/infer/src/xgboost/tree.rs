//! One tree of an XGBoost file, checked and put in breadth-first order: hostile arrays in, a
//! [`SourceTree`] out whose children are adjacent, whose every index is in range and whose every
//! leaf is finite. `forest` packs it.
//!
//! Only nodes reachable from the root are looked at: pruning leaves dead ones behind, with indices
//! out of range.

use forebay_core::limits::{MODEL_MAX_DEPTH, MODEL_MAX_NODES_PER_TREE};

use super::raw::RawTree;
use crate::error::{InferError, Result};

/// The parent that a root states.
const NO_PARENT: i32 = i32::MAX;
/// Categories are smaller than this: XGBoost keeps them in f32, which counts exactly up to here.
const CATEGORY_END: i32 = 1 << 24;

/// A split or a leaf, indices into [`SourceTree::nodes`].
#[derive(Debug, Clone)]
pub(crate) enum SourceNode {
    /// Its value.
    Leaf(f32),
    /// Left when `x < threshold`, or when x is missing and `default_left`.
    Numeric {
        feature: u32,
        threshold: f32,
        default_left: bool,
        left: u32,
    },
    /// Right when x is in the set (ascending), left when not, `default_left` decides when it is
    /// missing.
    Categorical {
        feature: u32,
        set: Vec<u32>,
        default_left: bool,
        left: u32,
    },
}

/// A checked tree. The right child stands behind the left one.
#[derive(Debug)]
pub(crate) struct SourceTree {
    /// Breadth first, root at 0.
    pub(crate) nodes: Vec<SourceNode>,
    /// For each node its number in the file: what `predict(pred_leaf=True)` returns.
    pub(crate) original: Vec<u32>,
    /// Splits on the longest path.
    pub(crate) depth: usize,
}

impl SourceTree {
    /// Check `raw`, the tree at `index`, of a model over `features` features.
    pub(super) fn check(raw: &RawTree, index: usize, features: usize) -> Result<Self> {
        let malformed = |what: String| InferError::ModelFile(format!("tree {index}: {what}"));
        let count = raw.left_children.len();
        // Before anything that takes as long as the tree has nodes.
        if count > MODEL_MAX_NODES_PER_TREE {
            let what = format!("tree {index} has {count} nodes");
            return Err(InferError::limit(
                what,
                "MODEL_MAX_NODES_PER_TREE",
                MODEL_MAX_NODES_PER_TREE,
            ));
        }
        check_lengths(raw, count).map_err(&malformed)?;
        if raw.tree_param.size_leaf_vector.0 > 1 {
            return Err(InferError::Unsupported(format!(
                "tree {index} has vector leaves (size_leaf_vector > 1)"
            )));
        }
        if raw.parents[0] != NO_PARENT {
            return Err(malformed("the root has a parent".to_owned()));
        }
        let sets = CategorySets::check(raw, count).map_err(&malformed)?;
        let mut visited = vec![false; count];
        visited[0] = true;
        let mut tree = Self {
            nodes: Vec::new(),
            original: vec![0],
            depth: 0,
        };
        // `original` is also the queue: node i of the result is number original[i] of the file.
        let (mut at, mut level_end) = (0, 1);
        while at < tree.original.len() {
            if at == level_end {
                tree.depth += 1;
                level_end = tree.original.len();
                if tree.depth > MODEL_MAX_DEPTH {
                    let what = format!("tree {index} is deeper than {MODEL_MAX_DEPTH} splits");
                    return Err(InferError::limit(what, "MODEL_MAX_DEPTH", MODEL_MAX_DEPTH));
                }
            }
            let node = tree.original[at] as usize;
            let left = u32::try_from(tree.original.len())
                .map_err(|_| malformed("too many nodes".to_owned()))?;
            let checked = check_node(raw, node, left, features, &sets).map_err(&malformed)?;
            if !matches!(checked, SourceNode::Leaf(_)) {
                for child in [raw.left_children[node], raw.right_children[node]] {
                    tree.original
                        .push(claim_child(raw, node, child, &mut visited).map_err(&malformed)?);
                }
            }
            tree.nodes.push(checked);
            at += 1;
        }
        Ok(tree)
    }
}

/// Every array has one entry a node (`split_type` may be absent in old files).
fn check_lengths(raw: &RawTree, count: usize) -> std::result::Result<(), String> {
    if count == 0 {
        return Err("no nodes".to_owned());
    }
    let lengths = [
        ("right_children", raw.right_children.len()),
        ("parents", raw.parents.len()),
        ("split_indices", raw.split_indices.len()),
        ("split_conditions", raw.split_conditions.len()),
        ("default_left", raw.default_left.len()),
        (
            "split_type",
            if raw.split_type.is_empty() {
                count
            } else {
                raw.split_type.len()
            },
        ),
    ];
    for (name, length) in lengths {
        if length != count {
            return Err(format!("{name} has {length} entries for {count} nodes"));
        }
    }
    Ok(())
}

/// The number of `child` of `node`: in range, stated by the child itself, and nobody else's child.
fn claim_child(
    raw: &RawTree,
    node: usize,
    child: i32,
    visited: &mut [bool],
) -> std::result::Result<u32, String> {
    let number = u32::try_from(child).map_err(|_| format!("node {node} has one child only"))?;
    let place = visited
        .get_mut(number as usize)
        .ok_or_else(|| format!("node {node} has a child {child} that is not there"))?;
    if std::mem::replace(place, true) {
        return Err(format!(
            "node {child} is reached twice: a cycle or two parents"
        ));
    }
    if usize::try_from(raw.parents[number as usize]) != Ok(node) {
        return Err(format!(
            "node {child} is a child of {node} and states another parent"
        ));
    }
    Ok(number)
}

fn check_node(
    raw: &RawTree,
    node: usize,
    left: u32,
    features: usize,
    sets: &CategorySets<'_>,
) -> std::result::Result<SourceNode, String> {
    let value = raw.split_conditions[node];
    if raw.left_children[node] == -1 {
        if raw.right_children[node] != -1 {
            return Err(format!("node {node} has one child only"));
        }
        if !value.is_finite() {
            return Err(format!("leaf {node} is not finite"));
        }
        return Ok(SourceNode::Leaf(value));
    }
    let feature = u32::try_from(raw.split_indices[node])
        .ok()
        .filter(|f| (*f as usize) < features)
        .ok_or_else(|| {
            format!(
                "node {node} splits on feature {} of {features}",
                raw.split_indices[node]
            )
        })?;
    let default_left = raw.default_left[node].0;
    match raw.split_type.get(node).copied().unwrap_or(0) {
        0 if value.is_nan() => Err(format!("node {node} has a threshold that is not a number")),
        0 => Ok(SourceNode::Numeric {
            feature,
            threshold: value,
            default_left,
            left,
        }),
        1 => Ok(SourceNode::Categorical {
            feature,
            set: sets.of(node)?,
            default_left,
            left,
        }),
        other => Err(format!("node {node} has split type {other}")),
    }
}

/// Which slice of `categories` belongs to which node.
struct CategorySets<'a> {
    raw: &'a RawTree,
    /// For each node 1 + its index in `categories_nodes`; 0 for none. Empty when the tree has no
    /// categories.
    slot: Vec<u32>,
}

impl<'a> CategorySets<'a> {
    fn check(raw: &'a RawTree, count: usize) -> std::result::Result<Self, String> {
        let nodes = raw.categories_nodes.len();
        if raw.categories_segments.len() != nodes || raw.categories_sizes.len() != nodes {
            return Err(
                "categories_nodes, categories_segments and categories_sizes differ in length"
                    .to_owned(),
            );
        }
        let mut slot = if nodes == 0 {
            Vec::new()
        } else {
            vec![0; count]
        };
        for (index, node) in raw.categories_nodes.iter().enumerate() {
            let place = usize::try_from(*node)
                .ok()
                .and_then(|n| slot.get_mut(n))
                .ok_or_else(|| format!("categories_nodes names node {node}, which is not there"))?;
            if *place != 0 {
                return Err(format!("categories_nodes names node {node} twice"));
            }
            *place = u32::try_from(index + 1).map_err(|_| "too many category sets".to_owned())?;
        }
        Ok(Self { raw, slot })
    }

    fn of(&self, node: usize) -> std::result::Result<Vec<u32>, String> {
        let index = match self.slot.get(node) {
            Some(slot) if *slot > 0 => *slot as usize - 1,
            _ => {
                return Err(format!(
                    "node {node} is a categorical split without categories"
                ));
            }
        };
        let range = usize::try_from(self.raw.categories_segments[index])
            .ok()
            .and_then(|start| {
                let end =
                    start.checked_add(usize::try_from(self.raw.categories_sizes[index]).ok()?)?;
                self.raw.categories.get(start..end)
            });
        let categories =
            range.ok_or_else(|| format!("the categories of node {node} lie outside the list"))?;
        let mut set = Vec::with_capacity(categories.len());
        for category in categories {
            if !(0..CATEGORY_END).contains(category) {
                return Err(format!(
                    "node {node} has category {category}, outside 0..{CATEGORY_END}"
                ));
            }
            set.push(category.unsigned_abs());
        }
        set.sort_unstable();
        set.dedup();
        Ok(set)
    }
}
