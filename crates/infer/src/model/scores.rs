//! Margins and scores in the precision of the model, before they are widened for the port. What the
//! engine computes and what golden rows expect are both this.

use forebay_core::ports::Scores;

/// Margins and scores as the model computes them, one for each row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawScores {
    /// Margins.
    pub margin: Vec<f32>,
    /// Scores.
    pub score: Vec<f32>,
}

impl From<RawScores> for Scores {
    fn from(raw: RawScores) -> Self {
        let widen = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        Self {
            margin: widen(raw.margin),
            score: widen(raw.score),
        }
    }
}
