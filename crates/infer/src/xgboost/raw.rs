//! The shape of XGBoost's JSON model file, as far as scoring needs it: bytes in, unchecked arrays
//! out. `tree.rs` and `mod.rs` decide what of it makes sense.
//!
//! Numbers in the `*_param` objects are strings, flags are 0/1 or booleans, depending on the
//! version that wrote the file. Members that are not listed (statistics, gradients) are skipped
//! unread. The file's size is capped by the caller.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

#[derive(Debug, Deserialize)]
pub(super) struct RawFile {
    #[serde(default)]
    pub(super) version: Vec<u32>,
    pub(super) learner: RawLearner,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawLearner {
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) feature_names: Vec<String>,
    #[serde(default)]
    pub(super) feature_types: Vec<String>,
    pub(super) gradient_booster: RawBooster,
    pub(super) learner_model_param: RawLearnerParam,
    pub(super) objective: RawObjective,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawObjective {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawLearnerParam {
    pub(super) base_score: String,
    pub(super) num_feature: Number,
    #[serde(default)]
    pub(super) num_class: Number,
    #[serde(default = "one")]
    pub(super) num_target: Number,
}

/// `gbtree` and `gblinear` have `model`, `dart` has it one level down.
#[derive(Debug, Deserialize)]
pub(super) struct RawBooster {
    pub(super) name: String,
    #[serde(default)]
    pub(super) model: Option<RawModel>,
    #[serde(default)]
    pub(super) gbtree: Option<RawInner>,
    #[serde(default)]
    pub(super) weight_drop: Vec<f32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawInner {
    pub(super) model: RawModel,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawModel {
    #[serde(default)]
    pub(super) gbtree_model_param: Option<RawModelParam>,
    #[serde(default)]
    pub(super) iteration_indptr: Vec<u32>,
    #[serde(default)]
    pub(super) tree_info: Vec<i64>,
    #[serde(default)]
    pub(super) trees: Vec<RawTree>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawModelParam {
    #[serde(default = "one")]
    pub(super) num_parallel_tree: Number,
    #[serde(default)]
    pub(super) num_trees: Option<Number>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawTree {
    pub(super) left_children: Vec<i32>,
    pub(super) right_children: Vec<i32>,
    pub(super) parents: Vec<i32>,
    pub(super) split_indices: Vec<i32>,
    pub(super) split_conditions: Vec<f32>,
    pub(super) default_left: Vec<Flag>,
    #[serde(default)]
    pub(super) split_type: Vec<u8>,
    #[serde(default)]
    pub(super) categories: Vec<i32>,
    #[serde(default)]
    pub(super) categories_nodes: Vec<i32>,
    #[serde(default)]
    pub(super) categories_segments: Vec<u64>,
    #[serde(default)]
    pub(super) categories_sizes: Vec<u64>,
    pub(super) tree_param: RawTreeParam,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawTreeParam {
    #[serde(default = "one")]
    pub(super) size_leaf_vector: Number,
}

fn one() -> Number {
    Number(1)
}

/// A count, written as a number or as text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl Visitor<'_> for Count {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count, as a number or as text")
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Number, E> {
                Ok(Number(v))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Number, E> {
                v.parse()
                    .map(Number)
                    .map_err(|_| E::custom("a count in text is not a whole number"))
            }
        }
        deserializer.deserialize_any(Count)
    }
}

/// A flag, written as a boolean or as 0 and 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Flag;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a flag, as a boolean or 0 or 1")
            }
            fn visit_bool<E: Error>(self, v: bool) -> Result<Flag, E> {
                Ok(Flag(v))
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Flag, E> {
                match v {
                    0 => Ok(Flag(false)),
                    1 => Ok(Flag(true)),
                    _ => Err(E::custom("a flag is neither 0 nor 1")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}
