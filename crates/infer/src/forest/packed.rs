//! A forest packed into one array of nodes, and the walks over it. Rows come in as f32, row-major;
//! margins and leaf numbers go out. Whatever the number of rows, a row's margin is `base + leaf_0 +
//! leaf_1 + ..` in the order of the trees, in f32, so its bits do not depend on the batch that it
//! came in.

use super::node::{Node, Parts};
use crate::error::{InferError, Result};
use crate::xgboost::{SourceNode, SourceTree};

/// Walks that run side by side, to hide the latency of their loads.
const LANES: usize = 8;
/// Levels between two looks at whether all lanes have arrived.
const LEVELS_PER_CHECK: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Tree {
    root: u32,
    depth: u32,
    /// Whether it has a categorical split: trees without take a shorter walk.
    categorical: bool,
}

/// Nodes of all trees, one tree behind the other.
#[derive(Debug)]
pub(super) struct Packed<N> {
    nodes: Vec<N>,
    trees: Vec<Tree>,
    /// Sorted categories; a categorical node's value holds the bits of its index here.
    sets: Vec<Vec<u32>>,
    /// For each node its number in the file.
    original: Vec<u32>,
    features: usize,
    base: f32,
}

impl<N: Node> Packed<N> {
    /// Pack `trees` with their factors. None when a node does not fit N.
    pub(super) fn build<'a>(
        trees: impl Iterator<Item = (&'a SourceTree, f32)>,
        features: usize,
        base: f32,
    ) -> Result<Option<Self>> {
        let mut packed = Self {
            nodes: Vec::new(),
            trees: Vec::new(),
            sets: Vec::new(),
            original: Vec::new(),
            features,
            base,
        };
        for (tree, factor) in trees {
            let root = u32::try_from(packed.nodes.len())
                .ok()
                .filter(|root| {
                    let nodes = u32::try_from(tree.nodes.len()).ok();
                    nodes.and_then(|nodes| root.checked_add(nodes)).is_some()
                })
                .ok_or_else(|| InferError::ModelFile("more than 2^32 nodes".to_owned()))?;
            // `check` bounds the depth far below u32.
            let categorical = tree
                .nodes
                .iter()
                .any(|node| matches!(node, SourceNode::Categorical { .. }));
            packed.trees.push(Tree {
                root,
                depth: tree.depth as u32,
                categorical,
            });
            for (index, node) in tree.nodes.iter().enumerate() {
                let parts = packed.parts(node, index, factor)?;
                match N::pack(parts) {
                    Some(node) => packed.nodes.push(node),
                    None => return Ok(None),
                }
            }
            packed.original.extend_from_slice(&tree.original);
        }
        Ok(Some(packed))
    }

    fn parts(&mut self, node: &SourceNode, index: usize, factor: f32) -> Result<Parts> {
        // A tree has at most MODEL_MAX_NODES_PER_TREE nodes, so its indices fit u32; children
        // follow their parent.
        let offset = |left: u32| left - index as u32;
        Ok(match node {
            SourceNode::Leaf(value) => {
                let value = value * factor;
                if !value.is_finite() {
                    return Err(InferError::ModelFile(
                        "a leaf times its weight_drop is not finite".to_owned(),
                    ));
                }
                Parts {
                    value,
                    feature: 0,
                    default_left: false,
                    categorical: false,
                    offset: 0,
                }
            }
            SourceNode::Numeric {
                feature,
                threshold,
                default_left,
                left,
            } => Parts {
                value: *threshold,
                feature: *feature,
                default_left: *default_left,
                categorical: false,
                offset: offset(*left),
            },
            SourceNode::Categorical {
                feature,
                set,
                default_left,
                left,
            } => {
                let index = u32::try_from(self.sets.len()).map_err(|_| {
                    InferError::ModelFile("more than 2^32 category sets".to_owned())
                })?;
                self.sets.push(set.clone());
                Parts {
                    value: f32::from_bits(index),
                    feature: *feature,
                    default_left: *default_left,
                    categorical: true,
                    offset: offset(*left),
                }
            }
        })
    }

    pub(super) fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Margins of `margins.len()` rows of `block` (row-major, `features` values a row).
    pub(super) fn margins(&self, block: &[f32], margins: &mut [f32]) {
        debug_assert_eq!(block.len(), margins.len() * self.features);
        margins.fill(self.base);
        let whole = margins.len() / LANES * LANES;
        for tree in &self.trees {
            for start in (0..whole).step_by(LANES) {
                let rows = std::array::from_fn(|lane| (start + lane) * self.features);
                let leaves = self.walk(
                    [tree.root; LANES],
                    &rows,
                    block,
                    (tree.depth as usize, tree.categorical),
                );
                for (margin, leaf) in margins[start..start + LANES].iter_mut().zip(leaves) {
                    *margin += self.nodes[leaf as usize].value();
                }
            }
        }
        for (row, margin) in margins.iter_mut().enumerate().skip(whole) {
            self.add_row(row * self.features, block, margin);
        }
    }

    /// One row: several trees are walked side by side, their leaves added in the order of the
    /// trees.
    fn add_row(&self, row: usize, block: &[f32], margin: &mut f32) {
        for tree in self.trees.chunks(LANES) {
            let depth = tree.iter().map(|t| t.depth).max().unwrap_or(0) as usize;
            // Lanes beyond the last tree walk it once more; their leaves are not added.
            let roots = std::array::from_fn(|lane| tree[lane.min(tree.len() - 1)].root);
            let categorical = tree.iter().any(|t| t.categorical);
            let leaves = self.walk(roots, &[row; LANES], block, (depth, categorical));
            for leaf in leaves.iter().take(tree.len()) {
                *margin += self.nodes[*leaf as usize].value();
            }
        }
    }

    /// Numbers, in the file, of the leaf that `row` (one row's values) reaches in each tree.
    pub(super) fn leaves(&self, row: &[f32]) -> Vec<u32> {
        let walk = |tree: &Tree| {
            self.walk(
                [tree.root; 1],
                &[0],
                row,
                (tree.depth as usize, tree.categorical),
            )[0]
        };
        self.trees
            .iter()
            .map(|tree| self.original[walk(tree) as usize])
            .collect()
    }

    /// From the roots `at` down to leaves, at most `depth` levels.
    fn walk<const WIDTH: usize>(
        &self,
        at: [u32; WIDTH],
        rows: &[usize; WIDTH],
        block: &[f32],
        (depth, categorical): (usize, bool),
    ) -> [u32; WIDTH] {
        if categorical {
            self.descend::<WIDTH, true>(at, rows, block, depth)
        } else {
            self.descend::<WIDTH, false>(at, rows, block, depth)
        }
    }

    #[inline(always)]
    fn descend<const WIDTH: usize, const CATEGORICAL: bool>(
        &self,
        mut at: [u32; WIDTH],
        rows: &[usize; WIDTH],
        block: &[f32],
        depth: usize,
    ) -> [u32; WIDTH] {
        let mut level = 0;
        while level < depth {
            for _ in 0..LEVELS_PER_CHECK.min(depth - level) {
                for lane in 0..WIDTH {
                    at[lane] = self.step::<CATEGORICAL>(at[lane], rows[lane], block);
                }
            }
            level += LEVELS_PER_CHECK;
            if level < depth
                && at
                    .iter()
                    .all(|index| self.nodes[*index as usize].offset() == 0)
            {
                break;
            }
        }
        at
    }

    /// The child that the row goes to; a leaf stays.
    #[inline(always)]
    fn step<const CATEGORICAL: bool>(&self, index: u32, row: usize, block: &[f32]) -> u32 {
        let node = self.nodes[index as usize];
        let x = block[row + node.feature()];
        let left = if CATEGORICAL && node.categorical() {
            self.goes_left(node, x)
        } else {
            // NaN fails the comparison, so the default decides.
            (x < node.value()) | (x.is_nan() & node.default_left())
        };
        // Without a branch: a leaf has offset 0 and stays where it is.
        index + node.offset() + u32::from(!left & (node.offset() != 0))
    }

    /// Members of the set go right; negative values and values that are too large are no members.
    fn goes_left(&self, node: N, x: f32) -> bool {
        /// Categories lie below this, as in XGBoost.
        const CATEGORY_END: f32 = 16_777_216.0;
        if x.is_nan() {
            return node.default_left();
        }
        if !(0.0..CATEGORY_END).contains(&x) {
            return true;
        }
        // Truncates, as XGBoost does.
        let category = x as u32;
        self.sets[node.value().to_bits() as usize]
            .binary_search(&category)
            .is_err()
    }
}
