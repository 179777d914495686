//! Tables as of given offsets: what a snapshot covered, and nothing that was appended since. Every
//! scan of a training set or a verification goes through here, so that two passes over one table
//! see the same rows while ingest goes on.

use std::collections::BTreeMap;

use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::invariant;
use forebay_core::ports::{RowStream, Scan, TableScan};
use forebay_core::progress::{Applied, PartitionProgress};

/// `tables`, each bounded by the offsets under its name; one without is not bounded.
#[derive(Debug)]
pub(crate) struct Bounded<'a> {
    pub(crate) tables: &'a dyn TableScan,
    pub(crate) below: BTreeMap<String, Applied>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl TableScan for Bounded<'_> {
    async fn scan(&self, table: &str, scan: Scan) -> PortResult<RowStream> {
        let below = match (self.below.get(table), scan.below) {
            (Some(ours), Some(theirs)) => Some(lower(ours, &theirs)),
            (ours, theirs) => ours.cloned().or(theirs),
        };
        if let (Some(ours), Some(below)) = (self.below.get(table), &below) {
            let mut ends = below.0.iter();
            invariant!(
                BoundNotRaised,
                ends.all(|(place, end)| end.next_offset <= ours.next_offset(place)),
                "{table}: {} partitions in {}",
                below.0.len(),
                ours.0.len()
            );
        }
        self.tables.scan(table, Scan { below, ..scan }).await
    }
}

/// For each partition that both name the lower offset; of others nothing counts.
fn lower(a: &Applied, b: &Applied) -> Applied {
    let both = a.0.iter().filter_map(|(partition, a)| {
        let b = b.0.get(partition)?;
        let progress = PartitionProgress {
            next_offset: a.next_offset.min(b.next_offset),
            max_event_time_us: None,
            last: None,
        };
        Some((partition.clone(), progress))
    });
    Applied(both.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::RecordBatch;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use forebay_core::progress::TopicPartition;
    use forebay_core::source::meta;
    use forebay_testkit::MemoryTables;
    use forebay_testkit::conformance::scan::{self, TABLE};
    use futures::executor::block_on;

    use super::*;

    /// The same rows, later in their logs.
    fn later(rows: &RecordBatch) -> RecordBatch {
        let schema = rows.schema();
        let at = schema.index_of(meta::OFFSET).expect("it has places");
        let offsets = rows.column(at).as_primitive::<Int64Type>();
        let mut columns = rows.columns().to_vec();
        columns[at] = Arc::new(offsets.unary::<_, Int64Type>(|offset| offset + 10_000));
        RecordBatch::try_new(schema, columns).expect("columns of one length")
    }

    #[test]
    fn bounded_tables_keep_the_promises_of_tables_and_hide_what_came_since() {
        let (mut batches, mut covered) = (Vec::new(), Applied::default());
        for (batch, up_to) in scan::appends() {
            batches.push(batch);
            let marks = up_to.0.iter();
            marks.for_each(|(place, progress)| covered.advance(place, *progress));
        }
        let as_they_are = Bounded {
            tables: &MemoryTables::one(TABLE, batches.clone()),
            below: BTreeMap::new(),
        };
        block_on(scan::table_scan(&as_they_are, true));
        batches.push(later(&batches[batches.len() - 1]));
        let grown = Bounded {
            tables: &MemoryTables::one(TABLE, batches),
            below: BTreeMap::from([(TABLE.to_owned(), covered)]),
        };
        block_on(scan::table_scan(&grown, true));
    }

    #[test]
    fn a_bound_within_a_bound_is_the_lower_one() {
        let applied = |marks: &[(i32, i64)]| {
            let progress = |next_offset| PartitionProgress {
                next_offset,
                max_event_time_us: None,
                last: None,
            };
            let marks = marks.iter();
            Applied(
                marks
                    .map(|(p, next)| (TopicPartition::new("t", *p), progress(*next)))
                    .collect(),
            )
        };
        assert_eq!(
            lower(
                &applied(&[(0, 5), (1, 7), (2, 1)]),
                &applied(&[(0, 9), (1, 3), (3, 4)])
            ),
            applied(&[(0, 5), (1, 3)])
        );
    }
}
