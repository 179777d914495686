//! The packed walks against a naive one over the same file, and against
//! themselves in batches of every size. Models come from
//! tests/golden/infer.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::node::{CompactNode, Node, Parts, WideNode};
use super::packed::Packed;
use super::{BLOCK_ROWS, Forest};
use crate::xgboost::XgboostModel;

fn file(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/infer");
    std::fs::read(root.join(name).join("1/model.json")).expect("a committed golden model")
}

fn forest(name: &str) -> (XgboostModel, Forest) {
    let model = XgboostModel::from_json(&file(name)).expect("a golden model");
    let forest = Forest::new(&model, 0..model.iterations()).expect("packs");
    (model, forest)
}

/// Rows with missing values, ties and both signs of zero, from a counter.
fn rows(count: usize, features: usize) -> Vec<f32> {
    let cell = |i: usize| match (i * 2_654_435_761) >> 7 & 15 {
        0 => f32::NAN,
        1 => -0.0,
        2 => f32::INFINITY,
        value => (value as f32 - 9.0) * 0.31,
    };
    (0..count * features).map(cell).collect()
}

/// One row, node by node as the file says: f32 sums in the order of the trees.
fn naive(document: &Value, base: f32, row: &[f32]) -> f32 {
    let booster = &document["learner"]["gradient_booster"];
    let weights = booster["weight_drop"].as_array();
    let trees = booster
        .pointer("/gbtree/model/trees")
        .or_else(|| booster.pointer("/model/trees"))
        .expect("trees");
    let number =
        |tree: &Value, array: &str, node: usize| tree[array][node].as_f64().expect("a number");
    trees
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
        .fold(base, |sum, (index, tree)| {
            let mut node = 0;
            while number(tree, "left_children", node) >= 0.0 {
                let x = row[number(tree, "split_indices", node) as usize];
                let left = if x.is_nan() {
                    number(tree, "default_left", node) == 1.0
                } else {
                    x < number(tree, "split_conditions", node) as f32
                };
                node = number(
                    tree,
                    if left {
                        "left_children"
                    } else {
                        "right_children"
                    },
                    node,
                ) as usize;
            }
            let weight = weights.map_or(1.0, |w| w[index].as_f64().expect("a number") as f32);
            sum + number(tree, "split_conditions", node) as f32 * weight
        })
}

#[test]
fn margins_equal_a_naive_walk_over_the_file() {
    for name in [
        "squarederror",
        "dart",
        "deep",
        "forest",
        "one_leaf",
        "empty",
    ] {
        let (model, forest) = forest(name);
        let document: Value = serde_json::from_slice(&file(name)).expect("JSON");
        let rows = rows(333, model.features);
        let mut margins = vec![0.0; 333];
        forest.margins(&rows, &mut margins);
        for (row, margin) in rows.chunks(model.features).zip(&margins) {
            assert_eq!(
                naive(&document, model.base_margin, row).to_bits(),
                margin.to_bits(),
                "{name}: {row:?}"
            );
        }
    }
}

#[test]
fn compact_and_wide_nodes_score_alike() {
    let (model, forest) = forest("categorical");
    let rows = rows(200, model.features);
    let wide = Packed::<WideNode>::build(
        model.trees_of(0..model.iterations()).expect("all"),
        model.features,
        model.base_margin,
    );
    let wide = wide.expect("builds").expect("everything fits");
    let (mut compact_margins, mut wide_margins) = (vec![0.0; 200], vec![0.0; 200]);
    forest.margins(&rows, &mut compact_margins);
    wide.margins(&rows, &mut wide_margins);
    assert_eq!(compact_margins, wide_margins);
    assert_eq!((size_of::<CompactNode>(), size_of::<WideNode>()), (8, 16));
}

#[test]
fn a_compact_node_holds_its_parts_or_refuses_them() {
    let parts = |feature, offset, default_left, categorical| Parts {
        value: 1.5,
        feature,
        default_left,
        categorical,
        offset,
    };
    for (feature, offset, default_left, categorical) in [
        (0, 0, false, false),
        (2_047, 524_287, true, false),
        (1_000, 1, false, true),
        (3, 77, true, true),
    ] {
        let node =
            CompactNode::pack(parts(feature, offset, default_left, categorical)).expect("fits");
        assert_eq!(
            (
                node.value(),
                node.feature(),
                node.offset(),
                node.default_left(),
                node.categorical()
            ),
            (1.5, feature as usize, offset, default_left, categorical)
        );
    }
    assert!(CompactNode::pack(parts(2_048, 1, false, false)).is_none());
    assert!(CompactNode::pack(parts(0, 524_288, false, false)).is_none());
}

#[test]
fn models_wider_than_a_compact_node_are_served() {
    let mut document: Value = serde_json::from_slice(&file("squarederror")).expect("JSON");
    document["learner"]["learner_model_param"]["num_feature"] = "3000".into();
    document["learner"]["feature_names"] = Value::Array(Vec::new());
    document["learner"]["feature_types"] = Value::Array(Vec::new());
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]
        .as_array_mut()
        .expect("trees")
    {
        for index in tree["split_indices"].as_array_mut().expect("indices") {
            *index = (index.as_u64().expect("an index") * 499).into();
        }
    }
    let model = XgboostModel::from_json(document.to_string().as_bytes()).expect("wide");
    let forest = Forest::new(&model, 0..model.iterations()).expect("packs");
    let rows = rows(70, 3_000);
    let mut margins = vec![0.0; 70];
    forest.margins(&rows, &mut margins);
    for (row, margin) in rows.chunks(3_000).zip(&margins) {
        assert_eq!(
            naive(&document, model.base_margin, row).to_bits(),
            margin.to_bits()
        );
    }
}

#[test]
fn iterations_outside_the_model_are_refused() {
    let (model, _) = forest("logistic");
    assert!(Forest::new(&model, 0..model.iterations() + 1).is_err());
    assert!(Forest::new(&model, std::ops::Range { start: 3, end: 2 }).is_err());
    assert_eq!(Forest::new(&model, 1..3).expect("inside").trees(), 2);
}

proptest! {
    /// Any cut of the rows into batches gives the bits of the whole.
    #[test]
    fn the_cut_into_batches_never_shows(cuts in prop::collection::vec(1usize..=3 * BLOCK_ROWS, 1..12)) {
        for name in ["logistic", "categorical", "dart"] {
            let (model, forest) = forest(name);
            let count: usize = cuts.iter().sum();
            let rows = rows(count, model.features);
            let (mut whole, mut cut) = (vec![0.0; count], vec![0.0; count]);
            forest.margins(&rows, &mut whole);
            let mut start = 0;
            for length in &cuts {
                let end = start + length;
                forest.margins(&rows[start * model.features..end * model.features], &mut cut[start..end]);
                start = end;
            }
            let bits = |margins: &[f32]| margins.iter().map(|m| m.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&whole), bits(&cut));
        }
    }
}
