//! What the scoring stage relies on when it asks a model: one margin and one score for each row, in
//! their order, the same whatever rows are asked with it, and an error that says what is not there.

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use forebay_core::ErrorKind;
use forebay_core::ports::{Scorer, Scores};

/// A model that is there, and names that are not.
#[derive(Debug)]
pub struct ScoredModel<'a> {
    /// Name and version of one that is there.
    pub known: (&'a str, u32),
    /// Names and versions that are not.
    pub unknown: &'a [(&'a str, u32)],
    /// Rows of its features, at least two that differ.
    pub features: RecordBatch,
}

/// Everything that a [`Scorer`] promises.
///
/// # Panics
/// A promise is not kept.
pub async fn scorer(scorer: &dyn Scorer, model: &ScoredModel<'_>) {
    let asked = |features: RecordBatch| scorer.score(model.known.0, model.known.1, features);
    let rows = model.features.num_rows();
    assert!(rows >= 2, "an order needs two rows");
    let whole = bits(&asked(model.features.clone()).await.expect("scored"));
    assert_eq!(whole.len(), rows, "a margin and a score for each row");
    // Asked alone, last first, and among many: a row's score is its own.
    for row in (0..rows).rev() {
        let alone = asked(model.features.slice(row, 1)).await.expect("scored");
        assert_eq!(bits(&alone), whole[row..=row], "row {row} alone");
    }
    let schema = model.features.schema();
    let many = concat_batches(&schema, std::iter::repeat_n(&model.features, 300));
    let many = asked(many.expect("one schema")).await.expect("scored");
    assert_eq!(bits(&many), whole.repeat(300), "among many");
    let none = asked(model.features.slice(0, 0)).await.expect("scored");
    assert!(bits(&none).is_empty(), "no row has no score");
    for (name, version) in model.unknown {
        let error = scorer.score(name, *version, model.features.clone()).await;
        let error = error.expect_err("it is not there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains(&version.to_string()), "{error}");
    }
}

/// Margin and score of each row, to the bit.
fn bits(scores: &Scores) -> Vec<(u64, u64)> {
    assert_eq!(scores.margin.len(), scores.score.len());
    let pairs = scores.margin.iter().zip(&scores.score);
    pairs
        .map(|(margin, score)| (margin.to_bits(), score.to_bits()))
        .collect()
}
