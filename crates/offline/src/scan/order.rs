//! Log order: which files can be read one after the other and which must be sorted together, and
//! the check that a stream keeps what it promises. Pure.

use std::collections::{HashMap, VecDeque};

use arrow_array::RecordBatch;
use forebay_core::invariant;

use crate::error::OfflineError;
use crate::facts::FileFacts;
use crate::rows::Places;

/// `files` (sorted by when their rows were appended) cut into groups that follow one another in the
/// log: files whose times overlap belong together.
pub(super) fn groups(files: Vec<FileFacts>) -> VecDeque<Vec<FileFacts>> {
    let given = files.len();
    let mut groups: VecDeque<Vec<FileFacts>> = VecDeque::new();
    let mut last = None;
    for file in files {
        let (from, to) = file.ingested();
        match groups.back_mut() {
            Some(group) if last.is_some_and(|last| from <= last) => group.push(file),
            _ => groups.push_back(vec![file]),
        }
        last = last.max(Some(to));
    }
    invariant!(
        PartsMakeTheWhole,
        groups.iter().map(Vec::len).sum::<usize>() == given,
        "{} groups of {given} files",
        groups.len()
    );
    groups
}

/// The greatest offset of each partition so far.
#[derive(Debug, Default)]
pub(super) struct LogOrder {
    greatest: HashMap<(String, i32), i64>,
}

impl LogOrder {
    /// Take `rows` in; false where an offset is not above those before it in its partition.
    pub(super) fn admit(&mut self, rows: &RecordBatch) -> bool {
        let places = Places::of(rows);
        places.runs().all(|run| {
            let key = (run.topic.to_owned(), run.partition);
            let greatest = self.greatest.entry(key).or_insert(-1);
            run.offsets.iter().all(|offset| {
                let ascends = *offset > *greatest;
                *greatest = *offset;
                ascends
            })
        })
    }
}

/// A table whose rows do not ascend.
pub(super) fn disordered(table: &str) -> OfflineError {
    OfflineError::damaged(
        table,
        "it holds one record of its log twice, or its files contradict their order tags; restore the \
         table from a backup",
    )
}
