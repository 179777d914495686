//! The CPU engine: a checked model becomes a [`Forest`], rows of f32 become margins, bit for bit
//! those of the training library, whatever the size of the batch. It knows nothing of Arrow, files
//! or objectives.

mod node;
mod packed;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::error::{InferError, Result};
use crate::xgboost::XgboostModel;
use node::{CompactNode, WideNode};
use packed::Packed;

/// Rows that are staged and scored together.
pub(crate) const BLOCK_ROWS: usize = 64;

#[derive(Debug)]
enum Layout {
    Compact(Packed<CompactNode>),
    Wide(Packed<WideNode>),
}

/// Trees, packed for scoring.
#[derive(Debug)]
pub struct Forest {
    layout: Layout,
    features: usize,
}

impl Forest {
    /// The trees of `iterations` of `model`.
    ///
    /// # Errors
    /// A range outside the model; a leaf that its factor makes infinite.
    pub fn new(model: &XgboostModel, iterations: Range<usize>) -> Result<Self> {
        let (features, base) = (model.features, model.base_margin);
        let layout = match Packed::build(model.trees_of(iterations.clone())?, features, base)? {
            Some(packed) => Layout::Compact(packed),
            None => Self::wide(model, iterations)?,
        };
        Ok(Self { layout, features })
    }

    fn wide(model: &XgboostModel, iterations: Range<usize>) -> Result<Layout> {
        let packed = Packed::build(
            model.trees_of(iterations)?,
            model.features,
            model.base_margin,
        )?;
        packed
            .map(Layout::Wide)
            .ok_or_else(|| InferError::ModelFile("a node does not fit 16 bytes".to_owned()))
    }

    /// Features of one row.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// Trees.
    #[must_use]
    pub fn trees(&self) -> usize {
        match &self.layout {
            Layout::Compact(packed) => packed.trees(),
            Layout::Wide(packed) => packed.trees(),
        }
    }

    /// Margins of the rows of `rows`: row-major, NaN for missing, [`Forest::features`] values a
    /// row.
    ///
    /// # Panics
    /// When `rows` is not `margins.len()` whole rows.
    pub(crate) fn margins(&self, rows: &[f32], margins: &mut [f32]) {
        assert_eq!(rows.len(), margins.len() * self.features, "rows are whole");
        for (block, out) in rows
            .chunks(BLOCK_ROWS * self.features)
            .zip(margins.chunks_mut(BLOCK_ROWS))
        {
            match &self.layout {
                Layout::Compact(packed) => packed.margins(block, out),
                Layout::Wide(packed) => packed.margins(block, out),
            }
        }
    }

    /// For each tree the number (in the model file) of the leaf that one row reaches.
    ///
    /// # Panics
    /// When `row` is not one whole row.
    #[must_use]
    pub(crate) fn leaves(&self, row: &[f32]) -> Vec<u32> {
        assert_eq!(row.len(), self.features, "one whole row");
        match &self.layout {
            Layout::Compact(packed) => packed.leaves(row),
            Layout::Wide(packed) => packed.leaves(row),
        }
    }
}
