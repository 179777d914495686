//! The online side: two shards that have applied different offsets, with what goes wrong as plain
//! data: cells that are off by a bit, epochs that are forgotten, instants that are no longer kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};
use forebay_core::cells::{CellFault, Cells};
use forebay_core::fault::FaultKind;
use forebay_core::key::KeyBuffer;
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::{
    At, CompiledService, CompiledView, FeatureAnswer, FeatureReader, ShardEpoch, StateReader,
    ViewRows,
};
use forebay_core::progress::Applied;
use forebay_core::time::Micros;
use forebay_core::view::{FeatureStatus, ServiceSpec, ViewId};
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_testkit::unbounded_budget;

use crate::world::{Event, SERVICE, applied, features, service};

/// The store and the reader in one.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) events: Vec<Event>,
    /// For each shard the next offset that it needs, of either partition.
    pub(crate) next: [i64; 2],
    /// Shards whose epoch is forgotten.
    pub(crate) forgotten: BTreeSet<u16>,
    /// Instants before this are refused.
    pub(crate) kept_from_us: Micros,
    /// Flip the last bit of every n-th sum.
    pub(crate) flip_every: Option<usize>,
    /// Write 0.0 where the sum is -0.0.
    pub(crate) lose_sign: bool,
    /// Say of every n-th sum that its expression failed.
    pub(crate) fault_every: Option<usize>,
    /// What answers draw on, a byte a row.
    pub(crate) budget: Arc<Budget>,
}

impl Serving {
    pub(crate) fn new(events: Vec<Event>, next: [i64; 2]) -> Self {
        Self {
            events,
            next,
            forgotten: BTreeSet::new(),
            kept_from_us: i64::MIN,
            flip_every: None,
            lose_sign: false,
            fault_every: None,
            budget: unbounded_budget(),
        }
    }

    /// The shard of an airport: JFK lives on 1, the others on 0.
    pub(crate) fn shard(origin: &str) -> u16 {
        u16::from(origin == "JFK")
    }

    /// What is said of the cells of a chunk of `rows` rows.
    fn faults(&self, rows: usize) -> Vec<CellFault> {
        let every = self.fault_every.unwrap_or(usize::MAX);
        let fault = |row: usize| CellFault {
            column: 1,
            row: u32::try_from(row).expect("few rows"),
            kind: FaultKind::Range,
            what: "ln(total)".into(),
        };
        (0..rows).step_by(every).skip(1).map(fault).collect()
    }

    fn sums(&self, total: &Float64Array) -> ArrayRef {
        let wrong = |(row, value): (usize, Option<f64>)| {
            value.map(|value| match self.flip_every {
                Some(every) if row % every == 0 => f64::from_bits(value.to_bits() ^ 1),
                _ if self.lose_sign && value == 0.0 => 0.0,
                _ => value,
            })
        };
        Arc::new(
            total
                .iter()
                .enumerate()
                .map(wrong)
                .collect::<Float64Array>(),
        )
    }
}

impl FeatureReader for Serving {
    fn service(&self, name: &str) -> PortResult<Arc<dyn CompiledService>> {
        if name == SERVICE {
            return Ok(Arc::new(Compiled(service())));
        }
        Err(PortError::not_found(format!(
            "no service `{name}`; there is `{SERVICE}`"
        )))
    }

    fn services(&self) -> Vec<String> {
        vec![SERVICE.to_owned()]
    }

    fn read(
        &self,
        _: &dyn CompiledService,
        request: &RecordBatch,
        at: At<'_>,
    ) -> PortResult<FeatureAnswer> {
        let at_us: Vec<Micros> = (0..request.num_rows()).map(|row| at.of(row)).collect();
        if at_us.iter().any(|at| *at < self.kept_from_us) {
            return Err(PortError::new(
                ErrorKind::OutOfRange,
                "older than what is kept",
            ));
        }
        let origins: Vec<Option<&str>> = request.column(0).as_string::<i32>().iter().collect();
        let cut =
            |row: usize, _: i32| origins[row].map_or(0, |o| self.next[usize::from(Self::shard(o))]);
        let features = features(
            &self.events,
            &origins,
            Arc::clone(request.column(1)),
            &at_us,
            &cut,
        );
        let mut columns = features.columns().to_vec();
        columns[1] = self.sums(features.column(1).as_primitive::<Float64Type>());
        let rows = request.num_rows();
        let epoch = |origin: &Option<&str>| {
            origin.map(|o| ShardEpoch {
                shard: Self::shard(o),
                epoch: u64::try_from(self.next[0]).expect("positive"),
            })
        };
        Ok(FeatureAnswer {
            features: RecordBatch::try_new(features.schema(), columns).expect("well formed"),
            faults: self.faults(rows),
            status: vec![vec![FeatureStatus::Present; rows]],
            newest_us: vec![vec![None; rows]],
            applied: vec![origins.iter().map(epoch).collect()],
            as_of_us: at_us.iter().copied().max().unwrap_or(0),
            watermark_us: None,
            memory: self.budget.reserve(Part::PointInTime, rows)?,
        })
    }
}

#[derive(Debug)]
struct Compiled(Arc<ServiceSpec>);

impl CompiledService for Compiled {
    fn spec(&self) -> &Arc<ServiceSpec> {
        &self.0
    }

    fn views(&self) -> &[Arc<dyn CompiledView>] {
        &[]
    }

    fn finish(
        &self,
        _: &RecordBatch,
        _: &TimestampMicrosecondArray,
        _: &[Cells],
    ) -> PortResult<Cells> {
        Err(absent())
    }
}

fn absent() -> PortError {
    PortError::internal("not part of this world")
}

impl StateReader for Serving {
    fn read(
        &self,
        _: ViewId,
        _: &KeyBuffer,
        _: At<'_>,
        _: &mut Reservation,
    ) -> PortResult<ViewRows> {
        Err(absent())
    }

    fn applied_at(&self, at: ShardEpoch) -> Option<Arc<Applied>> {
        let next = self.next[usize::from(at.shard)];
        (!self.forgotten.contains(&at.shard)).then(|| Arc::new(applied(next)))
    }
}

/// What a shard of `origin` has applied, as a prediction would record it.
pub(crate) fn applied_for(next: [i64; 2], origin: &str) -> Applied {
    applied(next[usize::from(Serving::shard(origin))])
}

/// Instants as a column.
pub(crate) fn times(at_us: &[Micros]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(at_us.to_vec()).with_timezone("UTC"))
}
