//! Golden rows: features with the margins, scores and leaf numbers that the training library
//! computed for them. A model version becomes READY only when it reproduces all of them, one row at
//! a time, all at once, and in random parts.
//!
//! The file is an Arrow IPC file: the model's features under their names, then `__margin` and
//! `__score` (Float32, no NULLs) and `__leaf` (List of Int32, one entry a tree; NULL where the
//! library gave none).

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;
use forebay_core::limits::MODEL_GOLDEN_MIN_ROWS;

use super::manifest::Manifest;
use super::scores::RawScores;
use crate::error::{InferError, Result};
use crate::ipc::read_file;
use crate::random::SplitMix64;

/// Column of the expected margins.
const MARGIN: &str = "__margin";
/// Column of the expected scores.
const SCORE: &str = "__score";
/// Column of the expected leaves.
const LEAF: &str = "__leaf";
/// Rows of the largest random part.
const PART_MAX_ROWS: u64 = 97;

/// What golden rows are tried on: a version on one device.
pub(super) trait Candidate {
    /// What it promises.
    fn manifest(&self) -> &Manifest;
    /// Seeds the random parts, so that a version is always tried in the same ones.
    fn seed(&self) -> &str;
    /// Its scores of these rows.
    fn scores(&self, rows: &RecordBatch) -> Result<RawScores>;
    /// The leaves that these rows reach, one for each tree.
    fn leaves(&self, rows: &RecordBatch) -> Result<Vec<Vec<u32>>>;
}

#[derive(Debug)]
pub(super) struct Golden {
    rows: RecordBatch,
    expected: RawScores,
    /// None: not compared.
    leaves: Vec<Option<Vec<u32>>>,
}

impl Golden {
    /// From the bytes of the file of the version that is called `title`.
    pub(super) fn read(bytes: &[u8], title: &str) -> Result<Self> {
        let fail = |what: String| InferError::Golden {
            model: title.to_owned(),
            what,
        };
        // Lengths are checked and arrays validated, but a hostile file may still trip an assertion
        // inside the Arrow reader: contained here.
        let rows = catch_unwind(AssertUnwindSafe(|| read_batches(bytes)))
            .map_err(|_| fail("the Arrow file is malformed".to_owned()))?
            .map_err(&fail)?;
        if rows.num_rows() < MODEL_GOLDEN_MIN_ROWS {
            let text = format!(
                "{} rows; at least {MODEL_GOLDEN_MIN_ROWS} (MODEL_GOLDEN_MIN_ROWS)",
                rows.num_rows()
            );
            return Err(fail(text));
        }
        let expected = RawScores {
            margin: float_column(&rows, MARGIN).map_err(&fail)?,
            score: float_column(&rows, SCORE).map_err(&fail)?,
        };
        let leaves = leaf_column(&rows).map_err(&fail)?;
        Ok(Self {
            rows,
            expected,
            leaves,
        })
    }

    /// Score all rows in every way that batches may be cut.
    pub(super) fn verify(&self, version: &impl Candidate) -> Result<()> {
        let rows = self.rows.num_rows();
        self.compare(version, 0, &version.scores(&self.rows)?)?;
        for row in 0..rows {
            self.compare(version, row, &version.scores(&self.rows.slice(row, 1))?)?;
        }
        let mut random = SplitMix64::from_text(version.seed());
        let mut start = 0;
        while start < rows {
            // At most PART_MAX_ROWS, so it fits usize.
            let length = ((random.next() % PART_MAX_ROWS) as usize + 1).min(rows - start);
            self.compare(
                version,
                start,
                &version.scores(&self.rows.slice(start, length))?,
            )?;
            start += length;
        }
        self.compare_leaves(version)
    }

    fn compare(&self, version: &impl Candidate, start: usize, found: &RawScores) -> Result<()> {
        let manifest = version.manifest();
        let columns = [
            (
                MARGIN,
                manifest.margin_class,
                &self.expected.margin,
                &found.margin,
            ),
            (
                SCORE,
                manifest.score_class,
                &self.expected.score,
                &found.score,
            ),
        ];
        for (name, class, expected, found) in columns {
            for (index, (expected, found)) in expected[start..].iter().zip(found).enumerate() {
                if !class.admits(*expected, *found) {
                    let what = format!(
                        "{name} of row {} is {expected:e} ({:08x}), computed {found:e} ({:08x}) in a batch of {}; promised is {class:?}",
                        start + index,
                        expected.to_bits(),
                        found.to_bits(),
                        self.rows.num_rows().min(start + 1),
                    );
                    return Err(InferError::Golden {
                        model: manifest.title(),
                        what,
                    });
                }
            }
        }
        Ok(())
    }

    fn compare_leaves(&self, version: &impl Candidate) -> Result<()> {
        let found = version.leaves(&self.rows)?;
        let differs = |(expected, found): (&Option<Vec<u32>>, &Vec<u32>)| {
            expected.as_ref().is_some_and(|e| e != found)
        };
        match self.leaves.iter().zip(&found).position(differs) {
            None => Ok(()),
            Some(row) => Err(InferError::Golden {
                model: version.manifest().title(),
                what: format!(
                    "{LEAF} of row {row} is {:?}, computed {:?}",
                    self.leaves[row], found[row]
                ),
            }),
        }
    }
}

fn read_batches(bytes: &[u8]) -> std::result::Result<RecordBatch, String> {
    let (schema, batches) = read_file(bytes)?;
    concat_batches(&schema, &batches).map_err(|e| e.to_string())
}

fn float_column(rows: &RecordBatch, name: &str) -> std::result::Result<Vec<f32>, String> {
    let column = rows
        .column_by_name(name)
        .ok_or_else(|| format!("column {name} is missing"))?;
    if *column.data_type() != DataType::Float32 || column.null_count() > 0 {
        return Err(format!(
            "column {name} is {} with {} NULLs, not Float32",
            column.data_type(),
            column.null_count()
        ));
    }
    Ok(column.as_primitive::<Float32Type>().values().to_vec())
}

fn leaf_column(rows: &RecordBatch) -> std::result::Result<Vec<Option<Vec<u32>>>, String> {
    let column = rows
        .column_by_name(LEAF)
        .ok_or_else(|| format!("column {LEAF} is missing"))?;
    let list = column
        .as_list_opt::<i32>()
        .ok_or_else(|| format!("column {LEAF} is not a list"))?;
    list.iter()
        .map(|leaves| {
            let Some(leaves) = leaves else {
                return Ok(None);
            };
            let numbers = leaves
                .as_primitive_opt::<Int32Type>()
                .ok_or_else(|| format!("column {LEAF} is not a list of Int32"))?;
            numbers
                .values()
                .iter()
                .map(|n| u32::try_from(*n).map_err(|_| format!("column {LEAF} holds {n}")))
                .collect::<std::result::Result<Vec<_>, _>>()
                .map(Some)
        })
        .collect()
}
