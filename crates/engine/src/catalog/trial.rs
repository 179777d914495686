//! Trying a view on rows of the archive before it is applied: how many it would leave out, and why.
//! The binary brings the newest rows of the view's source and tells what came of it with the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::PortResult;
use forebay_core::ports::{CompiledView, RowStream, Scan};
use forebay_core::progress::Applied;
use forebay_core::view::FoldBatch;

use super::Catalog;
use crate::input::{TableReader, event_scan, in_background};
use crate::view::View;

/// A view that is to be tried.
#[derive(Debug)]
pub struct ViewTrial {
    view: Arc<View>,
    needed: Vec<bool>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// Rows that were tried.
    pub rows: u64,
    /// How many of them are left out, by expression and reason.
    pub left_out: BTreeMap<String, u64>,
}

impl Catalog {
    /// The view `name`, to be tried; None: there is none.
    #[must_use]
    pub fn trial(&self, name: &str) -> Option<ViewTrial> {
        let view = Arc::clone(self.view(name)?);
        let columns = 0..view.source().columns.len();
        let needed = columns.map(|column| view.reads().contains(&column));
        let needed = needed.collect();
        Some(ViewTrial { view, needed })
    }
}

impl ViewTrial {
    /// Name of the source whose table has the rows.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.view.source().name
    }

    /// What to read of that table: the rows at and above `from`.
    #[must_use]
    pub fn scan(&self, from: Applied) -> Scan {
        Scan {
            from,
            ..event_scan(self.view.source(), &self.needed)
        }
    }

    /// Fold `rows`; within what came of it, the view fails by no fault of a row.
    ///
    /// # Errors
    /// The table cannot be read, or its columns are not the source's.
    pub async fn run(self, rows: RowStream) -> PortResult<PortResult<Tried>> {
        let tried = move || {
            let (mut tried, mut failed) = (Tried::default(), None);
            TableReader::new(self.view.source(), &self.needed).read(rows, &mut |events| {
                if failed.is_some() {
                    return Ok(());
                }
                match self.view.fold(&events.rows) {
                    Ok(folded) => tried.add(events.rows.num_rows(), &folded),
                    Err(error) => failed = Some(error),
                }
                Ok(())
            })?;
            Ok(failed.map_or(Ok(tried), Err))
        };
        Ok(in_background("forebay-trial", tried).await?)
    }
}

impl Tried {
    fn add(&mut self, rows: usize, folded: &FoldBatch) {
        self.rows += rows as u64;
        for fault in &folded.left_out {
            *self.left_out.entry(fault.to_string()).or_default() += 1;
        }
    }
}

impl Tried {
    /// In words, one line a reason; none where every row is taken.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let line = |(why, count): (&String, &u64)| {
            let rows = self.rows;
            format!("{count} of the {rows} newest archived rows would be left out: {why}")
        };
        self.left_out.iter().map(line).collect()
    }
}
