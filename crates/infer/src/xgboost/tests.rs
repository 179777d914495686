//! Model files as XGBoost wrote them, as older versions write them, and as an
//! enemy would: every input gives a model that scores to an end or a typed
//! error.

use std::path::PathBuf;

use forebay_core::ErrorKind;
use forebay_core::limits::{
    MODEL_FILE_MAX_BYTES, MODEL_MAX_DEPTH, MODEL_MAX_FEATURES, MODEL_MAX_NODES_PER_TREE,
    MODEL_MAX_TREES,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::XgboostModel;
use crate::error::InferError;
use crate::forest::Forest;

fn file(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/infer");
    std::fs::read(root.join(name).join("1/model.json")).expect("a committed golden model")
}

fn document(name: &str) -> Value {
    serde_json::from_slice(&file(name)).expect("JSON")
}

fn parse(document: &Value) -> Result<XgboostModel, InferError> {
    XgboostModel::from_json(document.to_string().as_bytes())
}

fn refusal(document: &Value) -> String {
    parse(document).expect_err("refused").to_string()
}

/// Margins of a few rows, which touch every default side; the walk must end.
fn score(model: &XgboostModel) -> Vec<u32> {
    let forest = Forest::new(model, 0..model.iterations()).expect("a checked model packs");
    let cycle = [0.0, -1.5, f32::NAN, 3.0, f32::INFINITY, 1e9, -0.2];
    let rows: Vec<f32> = (0..21 * model.features)
        .map(|i| cycle[(i * 5 + i / 7) % cycle.len()])
        .collect();
    let mut margins = vec![0.0; 21];
    forest.margins(&rows, &mut margins);
    margins.iter().map(|m| m.to_bits()).collect()
}

/// A model of one tree over two features from the arrays that matter.
fn tree(left: &[i32], right: &[i32], parents: &[i32]) -> Value {
    let count = left.len();
    json!({"version": [3, 2, 0], "learner": {
        "learner_model_param": {"base_score": "[5E-1]", "num_class": "0", "num_feature": "2", "num_target": "1"},
        "objective": {"name": "reg:squarederror"},
        "gradient_booster": {"name": "gbtree", "model": {
            "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "1"},
            "iteration_indptr": [0, 1], "tree_info": [0],
            "trees": [{
                "left_children": left, "right_children": right, "parents": parents,
                "split_indices": vec![0; count], "split_conditions": vec![0.25; count],
                "default_left": vec![0; count], "split_type": vec![0; count],
                "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
                "tree_param": {"num_nodes": count.to_string(), "size_leaf_vector": "1"},
            }],
        }},
    }})
}

const ROOT: i32 = i32::MAX;

fn stump() -> Value {
    tree(&[1, -1, -1], &[2, -1, -1], &[ROOT, 0, 0])
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    let set = |pointer: &str, value: Value| {
        let mut document = stump();
        *document
            .pointer_mut(pointer)
            .expect("a member of the stump") = value;
        refusal(&document)
    };
    assert!(set("/learner/objective/name", json!("multi:softprob")).contains("multi:softprob"));
    assert!(set("/learner/objective/name", json!("rank:unheard-of")).contains("rank:unheard-of"));
    assert!(set("/learner/gradient_booster/name", json!("gblinear")).contains("gblinear"));
    assert!(set("/learner/learner_model_param/num_class", json!("3")).contains("3 classes"));
    assert!(set("/learner/learner_model_param/num_target", json!("2")).contains("2 targets"));
    assert!(set("/version", json!([4, 0, 0])).contains("4.x"));
    let first = "/learner/gradient_booster/model/trees/0";
    assert!(
        set(&format!("{first}/tree_param/size_leaf_vector"), json!("2")).contains("vector leaves")
    );
    // What gblinear really looks like: no trees at all.
    let mut linear = stump();
    linear["learner"]["gradient_booster"] =
        json!({"name": "gblinear", "model": {"weights": [0.5, 0.25, 0.0]}});
    assert!(refusal(&linear).contains("gblinear"));
}

#[test]
fn broken_trees_are_refused_with_what_is_broken() {
    parse(&stump()).expect("the stump itself is whole");
    let cases = [
        (
            "a cycle",
            tree(&[1, 0, -1], &[2, 2, -1], &[ROOT, 0, 0]),
            "twice",
        ),
        (
            "two parents",
            tree(&[1, 3, -1, -1], &[2, 2, -1, -1], &[ROOT, 0, 0, 1]),
            "twice",
        ),
        (
            "both children the same",
            tree(&[1, -1], &[1, -1], &[ROOT, 0]),
            "twice",
        ),
        (
            "a child that is not there",
            tree(&[1, -1, -1], &[7, -1, -1], &[ROOT, 0, 0]),
            "not there",
        ),
        (
            "one child",
            tree(&[1, -1], &[-1, -1], &[ROOT, 0]),
            "one child",
        ),
        (
            "only the right child",
            tree(&[-1, -1], &[1, -1], &[ROOT, 0]),
            "one child",
        ),
        (
            "a negative child",
            tree(&[-2, -1, -1], &[2, -1, -1], &[ROOT, 0, 0]),
            "one child",
        ),
        (
            "another parent stated",
            tree(&[1, -1, -1], &[2, -1, -1], &[ROOT, 0, 1]),
            "states another parent",
        ),
        (
            "a root with a parent",
            tree(&[1, -1, -1], &[2, -1, -1], &[2, 0, 0]),
            "root",
        ),
        ("no nodes", tree(&[], &[], &[]), "no nodes"),
        (
            "arrays of two lengths",
            tree(&[1, -1, -1], &[2, -1], &[ROOT, 0, 0]),
            "right_children",
        ),
    ];
    for (name, document, words) in cases {
        let error = parse(&document).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

#[test]
fn broken_members_of_a_tree_are_refused_with_what_is_broken() {
    let first = "/learner/gradient_booster/model/trees/0";
    for (pointer, value, words) in [
        ("split_indices", json!([2, 0, 0]), "feature 2 of 2"),
        ("split_indices", json!([-1, 0, 0]), "feature -1"),
        ("split_type", json!([1, 0, 0]), "without categories"),
        ("split_type", json!([9, 0, 0]), "split type 9"),
        ("default_left", json!([2, 0, 0]), "flag"),
        ("split_conditions", json!([0.5, 1e300, 0.5]), ""),
    ] {
        let mut document = stump();
        *document
            .pointer_mut(&format!("{first}/{pointer}"))
            .expect("a member of the tree") = value;
        assert!(
            refusal(&document).contains(words),
            "{pointer}: {}",
            refusal(&document)
        );
    }
}

#[test]
fn broken_category_sets_are_refused() {
    let with = |nodes: Value, segments: Value, sizes: Value, categories: Value| {
        let mut document = stump();
        let tree = &mut document["learner"]["gradient_booster"]["model"]["trees"][0];
        tree["split_type"] = json!([1, 0, 0]);
        tree["categories_nodes"] = nodes;
        tree["categories_segments"] = segments;
        tree["categories_sizes"] = sizes;
        tree["categories"] = categories;
        document
    };
    let whole = parse(&with(json!([0]), json!([0]), json!([2]), json!([5, 1])))
        .expect("a categorical stump");
    let forest = Forest::new(&whole, 0..1).expect("packs");
    // Leaves 1 and 2 share one value, so the leaf numbers tell the sides apart: members go right.
    let leaf = |x: f32| forest.leaves(&[x, 0.0])[0];
    assert_eq!(
        [
            leaf(5.0),
            leaf(1.9),
            leaf(2.0),
            leaf(-5.0),
            leaf(1e30),
            leaf(f32::NAN)
        ],
        [2, 2, 1, 1, 1, 2]
    );
    for (document, words) in [
        (
            with(json!([9]), json!([0]), json!([1]), json!([5])),
            "not there",
        ),
        (
            with(json!([0, 0]), json!([0, 0]), json!([1, 1]), json!([5])),
            "twice",
        ),
        (
            with(json!([0]), json!([1]), json!([1]), json!([5])),
            "outside the list",
        ),
        (
            with(json!([0]), json!([0]), json!([u64::MAX]), json!([5])),
            "outside the list",
        ),
        (
            with(json!([0]), json!([u64::MAX]), json!([2]), json!([5])),
            "outside the list",
        ),
        (
            with(json!([0]), json!([0]), json!([1]), json!([-5])),
            "category -5",
        ),
        (
            with(json!([0]), json!([0]), json!([1]), json!([1 << 24])),
            "category 16777216",
        ),
        (
            with(json!([0]), json!([]), json!([1]), json!([5])),
            "differ in length",
        ),
    ] {
        assert!(refusal(&document).contains(words), "{}", refusal(&document));
    }
}

#[test]
fn limits_are_reached_and_named() {
    let mut wide = stump();
    wide["learner"]["learner_model_param"]["num_feature"] =
        json!((MODEL_MAX_FEATURES + 1).to_string());
    let error = parse(&wide).expect_err("too wide");
    assert!(
        error.kind() == ErrorKind::ResourceExhausted
            && error.to_string().contains("MODEL_MAX_FEATURES")
    );
    wide["learner"]["learner_model_param"]["num_feature"] = json!(MODEL_MAX_FEATURES);
    assert_eq!(
        parse(&wide).expect("as wide as allowed").features,
        MODEL_MAX_FEATURES
    );

    let chain = |depth: usize| {
        let count = i32::try_from(2 * depth + 1).expect("small");
        let inner = |i: i32| i % 2 == 0 && i < count - 1;
        let left: Vec<i32> = (0..count)
            .map(|i| if inner(i) { i + 1 } else { -1 })
            .collect();
        let right: Vec<i32> = (0..count)
            .map(|i| if inner(i) { i + 2 } else { -1 })
            .collect();
        let parents: Vec<i32> = (0..count)
            .map(|i| if i == 0 { ROOT } else { (i - 1) / 2 * 2 })
            .collect();
        tree(&left, &right, &parents)
    };
    let deepest = parse(&chain(MODEL_MAX_DEPTH)).expect("as deep as allowed");
    let forest = Forest::new(&deepest, 0..1).expect("packs");
    assert_eq!(
        forest.leaves(&[9.0, 0.0]),
        [2 * u32::try_from(MODEL_MAX_DEPTH).expect("small")],
        "the chain's end"
    );
    assert!(refusal(&chain(MODEL_MAX_DEPTH + 1)).contains("MODEL_MAX_DEPTH"));

    let error =
        XgboostModel::from_json(&vec![b' '; MODEL_FILE_MAX_BYTES + 1]).expect_err("too long");
    assert!(
        error.to_string().contains("MODEL_FILE_MAX_BYTES"),
        "{error}"
    );
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        XgboostModel::from_json(nested.as_bytes())
            .expect_err("too deep")
            .kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn a_model_has_so_many_trees_and_a_tree_so_many_nodes() {
    let one = tree(&[-1], &[-1], &[ROOT]).to_string();
    let (head, tail) = one.split_once("\"trees\":[").expect("has trees");
    let (leaf, tail) = tail.split_at(tail.find("}}]").expect("one tree") + 2);
    let of_trees = |trees: usize| {
        let text = format!("{head}\"trees\":[{}{tail}", vec![leaf; trees].join(","));
        let text = text
            .replace(
                "\"tree_info\":[0]",
                &format!("\"tree_info\":{:?}", vec![0; trees]),
            )
            .replace(
                "\"iteration_indptr\":[0,1]",
                &format!("\"iteration_indptr\":[0,{trees}]"),
            )
            .replace("\"num_trees\":\"1\"", &format!("\"num_trees\":\"{trees}\""))
            .replace(
                "\"num_parallel_tree\":\"1\"",
                &format!("\"num_parallel_tree\":\"{trees}\""),
            );
        XgboostModel::from_json(text.as_bytes())
    };
    of_trees(MODEL_MAX_TREES).expect("as many as allowed");
    let error = of_trees(MODEL_MAX_TREES + 1).expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("MODEL_MAX_TREES"), "{error}");

    // The other arrays are short: at the limit that is what is refused.
    let of_nodes = |nodes: usize| {
        let long = format!("\"left_children\":[{}]", vec!["-1"; nodes].join(","));
        let text = one.replace("\"left_children\":[-1]", &long);
        XgboostModel::from_json(text.as_bytes()).expect_err("refused")
    };
    let error = of_nodes(MODEL_MAX_NODES_PER_TREE);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let error = of_nodes(MODEL_MAX_NODES_PER_TREE + 1);
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(
        error.to_string().contains("MODEL_MAX_NODES_PER_TREE"),
        "{error}"
    );
}

#[test]
fn files_of_older_versions_give_the_same_margins() {
    let newest = document("logistic");
    let mut old = newest.clone();
    old["version"] = json!([1, 7, 6]);
    let base = old
        .pointer_mut("/learner/learner_model_param/base_score")
        .expect("has one");
    *base = json!(base.as_str().expect("text").trim_matches(['[', ']']));
    let model = &mut old["learner"]["gradient_booster"]["model"];
    model
        .as_object_mut()
        .expect("an object")
        .remove("iteration_indptr");
    for tree in model["trees"].as_array_mut().expect("trees") {
        for flag in tree["default_left"].as_array_mut().expect("flags") {
            *flag = json!(*flag == json!(1));
        }
    }
    assert_eq!(
        score(&parse(&old).expect("old")),
        score(&parse(&newest).expect("new"))
    );
}

#[test]
fn dead_nodes_of_pruned_trees_are_not_looked_at() {
    let mut pruned = tree(
        &[1, -1, -1, 99, -1],
        &[2, -1, -1, 98, 7],
        &[ROOT, 0, 0, 55, -9],
    );
    let tree = &mut pruned["learner"]["gradient_booster"]["model"]["trees"][0];
    tree["split_indices"] = json!([0, 0, 0, i32::MAX, i32::MAX]);
    assert_eq!(
        score(&parse(&pruned).expect("dead nodes do no harm")),
        score(&parse(&stump()).expect("whole"))
    );
}

/// Where the mutations go: every array of a tree, and the counts.
const ARRAYS: [&str; 11] = [
    "left_children",
    "right_children",
    "parents",
    "split_indices",
    "split_conditions",
    "default_left",
    "split_type",
    "categories",
    "categories_nodes",
    "categories_segments",
    "categories_sizes",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Random numbers in the arrays of a real model: refused, or scored to the end.
    #[test]
    fn hostile_arrays_never_panic(
        categorical in any::<bool>(),
        changes in prop::collection::vec((0..ARRAYS.len(), any::<usize>(), any::<usize>(), -3i64..70, any::<bool>()), 1..6),
    ) {
        let mut hostile = document(if categorical { "categorical" } else { "squarederror" });
        let trees = hostile["learner"]["gradient_booster"]["model"]["trees"].as_array_mut().expect("trees");
        for (array, tree, index, value, drop) in changes {
            let count = trees.len();
            let Some(array) = trees[tree % count][ARRAYS[array]].as_array_mut() else { continue };
            if array.is_empty() {
                array.push(json!(value));
            } else if drop {
                array.pop();
            } else {
                let count = array.len();
                array[index % count] = json!(value);
            }
        }
        if let Ok(model) = parse(&hostile) {
            score(&model);
        }
    }

    /// Random bytes in the text of a real model.
    #[test]
    fn hostile_text_never_panics(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8), cut in any::<Option<usize>>()) {
        let mut hostile = file("dart");
        for (index, byte) in changes {
            let count = hostile.len();
            hostile[index % count] = byte;
        }
        if let Some(cut) = cut {
            hostile.truncate(cut % (hostile.len() + 1));
        }
        if let Ok(model) = XgboostModel::from_json(&hostile) {
            score(&model);
        }
    }

    /// Any bytes at all.
    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(XgboostModel::from_json(&noise).is_err());
    }
}
