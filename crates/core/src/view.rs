//! The checked form of a feature view: which partial states its tiles hold and how a feature reads
//! them. `engine` makes it from SQL, `online` folds and reads by it, the probe lowering evaluates
//! it over Delta. Pure data.
//!
//! Value of view V for key k at t: the aggregates over the events of k that pass V's WHERE with `t
//! - W <= ts <= t`, both ends in (`docs/concepts.md`, Value).

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

use crate::aggregate::{AggregateKind, PartialSpec};
use crate::fault::RowFault;
use crate::source::Column;
use crate::time::Micros;
use crate::watermark::is_too_late;

/// Identity of one version of one view, and of its tiles on disk. Given by the catalog, never
/// reused.
pub type ViewId = u32;

/// Which events of a key count at time t.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// `RANGE BETWEEN preceding_us PRECEDING AND CURRENT ROW`: `[t - preceding_us, t]`.
    Range {
        /// Length, microseconds.
        preceding_us: Micros,
    },
    /// `UNBOUNDED PRECEDING`: every event at or before t.
    Lifetime,
}

/// One aggregate output of a view: read partial `partial` over `window`, finish it as `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateSpec {
    /// Name inside the view (the feature's name where the SQL selects the aggregate as it is).
    pub name: String,
    /// Which function.
    pub kind: AggregateKind,
    /// Type of the output.
    #[serde(with = "crate::data_type")]
    pub data_type: DataType,
    /// Index into [`ViewSpec::partials`].
    pub partial: usize,
    /// Over which events.
    pub window: Window,
}

impl AggregateSpec {
    /// Whether there are events over which it has no value: a sum of integers may not fit, distinct
    /// values may be too many to tell.
    #[must_use]
    pub fn may_fail(&self) -> bool {
        match self.kind {
            AggregateKind::Sum => self.data_type == DataType::Int64,
            AggregateKind::CountDistinct => true,
            _ => false,
        }
    }
}

/// A feature view as the stream sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewSpec {
    /// Identity of this version.
    pub id: ViewId,
    /// Name in SQL.
    pub name: String,
    /// Version, from 1.
    pub version: u32,
    /// Entity that it belongs to.
    pub entity: String,
    /// Source that it scans.
    pub source: String,
    /// Entity key columns, in the entity's order. Types: `Utf8`, `Int64`, `Int32`, `Boolean`,
    /// `Timestamp`.
    pub key: Vec<Column>,
    /// Types of the argument columns of a [`FoldBatch`]: what the tiles' blobs hold.
    #[serde(with = "crate::data_type::list")]
    pub arguments: Vec<DataType>,
    /// Number of FILTER columns of a [`FoldBatch`].
    pub filters: usize,
    /// Distinct partial states that each tile holds.
    pub partials: Vec<PartialSpec>,
    /// Aggregate outputs, in the order in which readers return them.
    pub aggregates: Vec<AggregateSpec>,
    /// Age of a key's newest event above which its values are NULL (age equal to it still counts).
    pub ttl_us: Option<Micros>,
    /// Digest of the definition (SQL text and function versions), hex.
    pub digest: String,
}

impl ViewSpec {
    /// R: how far back a read at t can look, the greatest of the windows and the TTL. None: for
    /// ever (lifetime, latest).
    pub fn retention_us(&self) -> Option<Micros> {
        let mut longest = self.ttl_us.unwrap_or(0);
        for aggregate in &self.aggregates {
            match aggregate.window {
                Window::Range { preceding_us } => longest = longest.max(preceding_us),
                Window::Lifetime => return None,
            }
        }
        Some(longest)
    }

    /// How far before an instant events of a key can matter to its values, presence among them;
    /// None: for ever. A key without a TTL is present once it had an event.
    #[must_use]
    pub fn reach_us(&self) -> Option<Micros> {
        self.ttl_us.and_then(|_| self.retention_us())
    }

    /// How far behind its partition's watermark a row is still taken: R and the history. None for a
    /// view whose rows never expire.
    #[must_use]
    pub fn lateness_us(&self, history_us: Micros) -> Option<Micros> {
        Some(self.retention_us()?.saturating_add(history_us))
    }

    /// Whether a row is too late for the retained state ([`is_too_late`]), with the watermark of
    /// the row's own partition before the row.
    #[must_use]
    pub fn too_late(
        &self,
        event_time_us: Micros,
        watermark_us: Option<Micros>,
        history_us: Micros,
    ) -> bool {
        is_too_late(event_time_us, watermark_us, self.lateness_us(history_us))
    }
}

/// The rows of one decoded batch that concern one view, after its WHERE, with argument expressions
/// evaluated. All columns are equally long; rows with a NULL key part are no part of it.
#[derive(Debug, Clone)]
pub struct FoldBatch {
    /// Entity key columns, as [`ViewSpec::key`].
    pub keys: Vec<ArrayRef>,
    /// Event times, microseconds UTC, no NULLs.
    pub times: TimestampMicrosecondArray,
    /// Argument columns, as [`ViewSpec::arguments`].
    pub arguments: Vec<ArrayRef>,
    /// FILTER columns; NULL counts as false.
    pub filters: Vec<BooleanArray>,
    /// For each row its index in the decoded batch (to find offset and watermark).
    pub source_rows: Vec<u32>,
    /// Rows of the decoded batch that the view leaves out because an expression fails on them,
    /// ascending. They are no rows of the columns above. Which they are follows from each row
    /// alone, so that every lowering leaves out the same ones.
    pub left_out: Vec<RowFault>,
}

impl FoldBatch {
    /// What its arrays hold, those that it shares with others too.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let columns = self.keys.iter().chain(&self.arguments);
        let columns: usize = columns.map(|column| column.get_array_memory_size()).sum();
        let filters = self.filters.iter().map(Array::get_array_memory_size);
        columns
            + filters.sum::<usize>()
            + self.times.get_array_memory_size()
            + size_of_val(self.source_rows.as_slice())
            + size_of_val(self.left_out.as_slice())
    }
}

/// Why a cell is as it is. The numbers are Feast's `FieldStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FeatureStatus {
    /// The key has an event at or before t, young enough. Single cells may still be NULL.
    Present = 1,
    /// The key has no event at or before t: every value NULL, counts too.
    NotFound = 3,
    /// The newest event at or before t is older than the TTL: every value NULL.
    OutsideMaxAge = 4,
}

/// The rule of presence and TTL, the same in every lowering: `newest_us` is the newest event time
/// at or before `at_us` among the rows that pass the view's WHERE.
#[must_use]
pub fn feature_status(
    newest_us: Option<Micros>,
    at_us: Micros,
    ttl_us: Option<Micros>,
) -> FeatureStatus {
    match (newest_us, ttl_us) {
        (None, _) => FeatureStatus::NotFound,
        (Some(newest), Some(ttl)) if at_us.saturating_sub(newest) > ttl => {
            FeatureStatus::OutsideMaxAge
        }
        (Some(_), _) => FeatureStatus::Present,
    }
}

/// A feature service as applied: what a request carries and what an answer holds.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSpec {
    /// Name in SQL.
    pub name: String,
    /// Version, from 1.
    pub version: u32,
    /// Request columns: entity keys and values that only the caller knows.
    pub request: Vec<Column>,
    /// Views that it joins, in the order of the SQL.
    pub views: Vec<ServiceView>,
    /// Features in order, with their types; all nullable.
    pub features: Vec<Column>,
    /// Hex digest over names, types and definitions: a model states the one that it was trained
    /// for.
    pub fingerprint: String,
}

impl ServiceSpec {
    /// Names of the request columns that are keys of its views, in the order of the request.
    #[must_use]
    pub fn key_columns(&self) -> Vec<&str> {
        let is_key = |index: usize| self.views.iter().any(|v| v.key_columns.contains(&index));
        let columns = self.request.iter().enumerate();
        columns
            .filter(|(index, _)| is_key(*index))
            .map(|(_, column)| column.name.as_str())
            .collect()
    }
}

/// One view inside a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceView {
    /// Alias in the service's SQL.
    pub alias: String,
    /// The view's spec.
    pub view: Arc<ViewSpec>,
    /// For each key column of the view its index among the request columns.
    pub key_columns: Vec<usize>,
}
