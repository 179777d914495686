//! Fakes of the ports and a server over them. The store holds event times and values by key and
//! answers as the rules of views say: count and sum of the events at or before the instant,
//! presence by TTL. Some keys misbehave on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::aggregate::AggregateKind;
use forebay_core::cells::{CellFault, Cells};
use forebay_core::domain::Domain;
use forebay_core::fault::FaultKind;
use forebay_core::key::KeyBuffer;
use forebay_core::memory::{Budget, Reservation};
use forebay_core::ports::{At, CompiledService, CompiledView, ShardEpoch, StateReader, ViewRows};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::{Clock, DAY_US, Micros, timestamp_type};
use forebay_core::view::{
    AggregateSpec, FeatureStatus, FoldBatch, ServiceSpec, ServiceView, ViewId, ViewSpec, Window,
    feature_status,
};
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_serve::{
    AdminPort, EventSink, FlightClient, FlightServer, FlightServerConfig, FlightServices,
    PushReceipt, ServiceReader, Watermarks,
};
use forebay_telemetry::Metrics;
use parking_lot::{Condvar, Mutex};

pub(crate) use crate::columns::{doubles, integers};
use crate::times::{FakeClock, FakeWatermarks};

/// Now, as the fake clock starts: noon of 2013-07-01.
pub(crate) const NOON: Micros = 1_372_680_000_000_000;
pub(crate) const MINUTE: Micros = 60_000_000;
/// What answers draw on.
pub(crate) const POOL_BYTES: usize = 128 << 20;
/// What the fake store asks for of each row, bytes.
pub(crate) const ROW_BYTES: usize = 128;
/// A key whose read panics.
pub(crate) const PANICS: &str = "PANICS";
/// A key whose read waits until the gate opens.
pub(crate) const WAITS: &str = "WAITS";
/// A distance on which the on-demand expression fails.
pub(crate) const FAILS: f64 = -1.0;

/// Time and value of each event.
type Events = Vec<(Micros, f64)>;

/// Events by view and key.
#[derive(Debug, Default)]
pub(crate) struct FakeStore {
    events: Mutex<BTreeMap<(ViewId, Vec<u8>), Events>>,
    ttl_us: Mutex<BTreeMap<ViewId, Option<Micros>>>,
    epoch: AtomicUsize,
    gate: (Mutex<bool>, Condvar),
    /// Reads that wait at the gate.
    pub(crate) waiting: AtomicUsize,
}

impl FakeStore {
    pub(crate) fn add(&self, view: ViewId, key: &str, events: &[(Micros, f64)]) {
        let key = encoded(key);
        self.events
            .lock()
            .entry((view, key))
            .or_default()
            .extend_from_slice(events);
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn register(&self, view: &ViewSpec) {
        self.ttl_us.lock().insert(view.id, view.ttl_us);
    }

    pub(crate) fn open_gate(&self) {
        *self.gate.0.lock() = true;
        self.gate.1.notify_all();
    }

    fn wait_at_gate(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut open = self.gate.0.lock();
        while !*open {
            let late = self
                .gate
                .1
                .wait_for(&mut open, Duration::from_secs(30))
                .timed_out();
            assert!(!late, "nobody opened the gate");
        }
    }

    fn progress(&self) -> Arc<Applied> {
        let mut applied = Applied::default();
        let next_offset = self.epoch.load(Ordering::Relaxed) as i64 * 10;
        let partition = TopicPartition::new("departures", 0);
        applied.0.insert(
            partition,
            PartitionProgress {
                next_offset,
                ..PartitionProgress::default()
            },
        );
        Arc::new(applied)
    }
}

/// A text key as the codec writes it.
pub(crate) fn encoded(key: &str) -> Vec<u8> {
    let column: ArrayRef = Arc::new(StringArray::from(vec![key]));
    KeyBuffer::encode(&[column])
        .expect("a text")
        .get(0)
        .expect("not NULL")
        .to_vec()
}

fn absent<T>() -> PortResult<T> {
    Err(PortError::internal("serving does not write"))
}

impl StateReader for FakeStore {
    fn applied_at(&self, at: ShardEpoch) -> Option<Arc<Applied>> {
        (at.epoch == self.epoch.load(Ordering::Relaxed) as u64).then(|| self.progress())
    }

    fn read(
        &self,
        view: ViewId,
        keys: &KeyBuffer,
        at: At<'_>,
        memory: &mut Reservation,
    ) -> PortResult<ViewRows> {
        memory.grow(keys.len() * ROW_BYTES)?;
        let ttl = self.ttl_us.lock().get(&view).copied();
        let ttl = ttl.ok_or_else(|| PortError::not_found(format!("no view {view}")))?;
        let epoch = self.epoch.load(Ordering::Relaxed) as u64;
        let (mut counts, mut sums) = (Vec::new(), Vec::new());
        let (mut status, mut newest_us, mut applied) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..keys.len() {
            let key = keys.get(row).unwrap_or_default();
            assert_ne!(key, encoded(PANICS), "a key that panics, as asked");
            if key == encoded(WAITS) {
                self.wait_at_gate();
            }
            if at.of(row) < 0 {
                let why = "older than what is kept";
                return Err(PortError::new(ErrorKind::OutOfRange, why));
            }
            let events = self.events.lock();
            let seen = events
                .get(&(view, key.to_vec()))
                .into_iter()
                .flatten()
                .filter(|e| e.0 <= at.of(row));
            let (count, sum, newest) = seen
                .fold((0, 0.0, None), |(count, sum, newest), (ts, value)| {
                    (count + 1, sum + value, newest.max(Some(*ts)))
                });
            let is = feature_status(newest, at.of(row), ttl);
            let present = is == FeatureStatus::Present;
            counts.push(present.then_some(count));
            sums.push(present.then_some(sum));
            status.push(is);
            newest_us.push(newest);
            applied.push((!key.is_empty()).then_some(ShardEpoch { shard: 0, epoch }));
        }
        let (counts, sums) = (Int64Array::from(counts), Float64Array::from(sums));
        let aggregates: Vec<ArrayRef> = vec![Arc::new(counts), Arc::new(sums)];
        Ok(ViewRows {
            aggregates: aggregates.into(),
            status,
            newest_us,
            applied,
        })
    }
}

#[derive(Debug)]
struct FakeView(Arc<ViewSpec>);

impl CompiledView for FakeView {
    fn spec(&self) -> &Arc<ViewSpec> {
        &self.0
    }

    fn reads(&self) -> &[usize] {
        &[]
    }

    fn key_columns(&self) -> &[usize] {
        &[]
    }

    fn fold(&self, _rows: &RecordBatch) -> PortResult<FoldBatch> {
        absent()
    }

    fn features(&self) -> SchemaRef {
        let field = |a: &AggregateSpec| Field::new(&a.name, a.data_type.clone(), true);
        let fields: Vec<Field> = self.0.aggregates.iter().map(field).collect();
        Arc::new(Schema::new(fields))
    }

    fn finish(
        &self,
        _keys: &[ArrayRef],
        _at: &TimestampMicrosecondArray,
        aggregates: &Cells,
    ) -> PortResult<Cells> {
        Ok(aggregates.clone())
    }
}

/// Two views and an on-demand expression: `t_count, t_sum, c_count, twice_distance, label`.
#[derive(Debug)]
pub(crate) struct FakeService {
    spec: Arc<ServiceSpec>,
    views: Vec<Arc<dyn CompiledView>>,
    /// Features beyond the first five, each a copy of `t_sum`.
    more: usize,
}

impl CompiledService for FakeService {
    fn spec(&self) -> &Arc<ServiceSpec> {
        &self.spec
    }

    fn views(&self) -> &[Arc<dyn CompiledView>] {
        &self.views
    }

    fn finish(
        &self,
        request: &RecordBatch,
        _: &TimestampMicrosecondArray,
        views: &[Cells],
    ) -> PortResult<Cells> {
        let views: Vec<&[ArrayRef]> = views.iter().map(|cells| &cells.columns[..]).collect();
        let twice: Float64Array = request
            .column(2)
            .as_primitive::<Float64Type>()
            .unary_opt(|distance| (distance != FAILS).then_some(distance * 2.0));
        let origins = request.column(0).as_string::<i32>();
        let labels: StringArray = origins
            .iter()
            .map(|origin| origin.map(|o| format!("from {o}")))
            .collect();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::clone(&views[0][0]),
            Arc::clone(&views[0][1]),
            Arc::clone(&views[1][0]),
            Arc::new(twice),
            Arc::new(labels),
        ];
        columns.extend((0..self.more).map(|_| Arc::clone(&views[0][1])));
        // A distance that no plane flies fails the on-demand expression.
        let distances = request.column(2).as_primitive::<Float64Type>().iter();
        let failed = distances.zip(0..).filter(|(d, _)| *d == Some(FAILS));
        let faults = failed.map(|(_, row)| CellFault {
            column: 3,
            row,
            kind: FaultKind::Overflow,
            what: "request.distance * 2.0".into(),
        });
        Ok(Cells {
            faults: faults.collect(),
            columns,
        })
    }
}

fn column(name: &str, data_type: DataType, nullable: bool) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
        nullable,
    }
}

fn view(
    id: ViewId,
    name: &str,
    key: &str,
    source: &str,
    ttl_us: Option<Micros>,
) -> Arc<dyn CompiledView> {
    let aggregate = |name: &str, kind, data_type| AggregateSpec {
        name: name.to_owned(),
        kind,
        data_type,
        partial: 0,
        window: Window::Lifetime,
    };
    Arc::new(FakeView(Arc::new(ViewSpec {
        id,
        name: name.to_owned(),
        version: 1,
        entity: key.to_owned(),
        source: source.to_owned(),
        key: vec![column(key, DataType::Utf8, false)],
        arguments: vec![DataType::Float64],
        filters: 0,
        partials: Vec::new(),
        aggregates: vec![
            aggregate("count", AggregateKind::Count, DataType::Int64),
            aggregate("sum", AggregateKind::Sum, DataType::Float64),
        ],
        ttl_us,
        digest: "d".to_owned(),
    })))
}

/// Service `delay` in a version, with `more` features; versions differ in their fingerprint.
pub(crate) fn service(version: u32, more: usize) -> Arc<dyn CompiledService> {
    let views = vec![
        view(1, "airport_traffic", "origin", "departures", Some(DAY_US)),
        view(2, "carrier_punctuality", "carrier", "arrivals", None),
    ];
    let mut features = vec![
        column("t_count", DataType::Int64, true),
        column("t_sum", DataType::Float64, true),
        column("c_count", DataType::Int64, true),
        column("twice_distance", DataType::Float64, true),
        column("label", DataType::Utf8, true),
    ];
    features.extend((0..more).map(|i| {
        column(
            &format!("user_stats__feature_{i:02}"),
            DataType::Float64,
            true,
        )
    }));
    let binding = |alias: &str, index: usize| ServiceView {
        alias: alias.to_owned(),
        view: Arc::clone(views[index].spec()),
        key_columns: vec![index],
    };
    let spec = ServiceSpec {
        name: "delay".to_owned(),
        version,
        request: vec![
            column("origin", DataType::Utf8, false),
            column("carrier", DataType::Utf8, true),
            column("distance", DataType::Float64, true),
            column("planned", timestamp_type(), true),
        ],
        views: vec![binding("t", 0), binding("c", 1)],
        features,
        fingerprint: format!("fp{version}"),
    };
    Arc::new(FakeService {
        spec: Arc::new(spec),
        views,
        more,
    })
}

/// Takes events, or does not.
#[derive(Debug, Default)]
pub(crate) struct FakeSink {
    pub(crate) pushed: Mutex<Vec<RecordBatch>>,
    pub(crate) down: Mutex<bool>,
    /// The broker neither takes events nor refuses them.
    pub(crate) hangs: Mutex<bool>,
    /// Told when such a push waits.
    pub(crate) reached: tokio::sync::Notify,
}

#[async_trait]
impl EventSink for FakeSink {
    fn source(&self, name: &str) -> PortResult<Arc<SourceDef>> {
        if name != "departures" {
            return Err(PortError::not_found(format!(
                "there is no source {name}; known sources: departures"
            )));
        }
        let columns = vec![
            column("origin", DataType::Utf8, false),
            column("delay", DataType::Float64, true),
            column("dep_time", timestamp_type(), false),
        ];
        Ok(Arc::new(SourceDef {
            domains: BTreeMap::from([("origin".to_owned(), Domain::Text(10))]),
            ..SourceDef::json(name, name, columns, 2)
        }))
    }

    async fn push(&self, source: &SourceDef, rows: RecordBatch) -> PortResult<PushReceipt> {
        let hangs = *self.hangs.lock();
        if hangs {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        if *self.down.lock() {
            return Err(PortError::new(
                ErrorKind::Unavailable,
                "the broker does not answer",
            ));
        }
        assert_eq!(rows.schema(), source.schema());
        let mut pushed = self.pushed.lock();
        pushed.push(rows);
        let rows: usize = pushed.iter().map(RecordBatch::num_rows).sum();
        Ok(PushReceipt {
            next_offsets: vec![(TopicPartition::new("departures", 0), rows as i64)],
        })
    }
}

/// Administration that answers, fails, or panics.
#[derive(Debug)]
struct FakeAdmin;

#[async_trait]
impl AdminPort for FakeAdmin {
    fn actions(&self) -> Vec<(String, String)> {
        let named = |name: &str| (name.to_owned(), format!("{name}, for tests"));
        vec![named("echo"), named("big"), named("refuse"), named("panic")]
    }

    async fn call(&self, action: &str, body: &[u8]) -> PortResult<Vec<u8>> {
        match action {
            "echo" => Ok(body.to_vec()),
            "big" => Ok(vec![b'x'; (3 << 20) + 17]),
            "refuse" => Err(PortError::new(
                ErrorKind::FailedPrecondition,
                "a definition is in the way",
            )),
            other => panic!("action {other}, as asked"),
        }
    }
}

/// A server and all that it stands on.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: FlightServer,
    pub(crate) budget: Arc<Budget>,
    pub(crate) reader: Arc<ServiceReader>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) sink: Arc<FakeSink>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) watermarks: Arc<FakeWatermarks>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A store with two airports and a carrier, and a reader over it.
pub(crate) fn reader() -> (Arc<ServiceReader>, Arc<FakeStore>, Arc<FakeWatermarks>) {
    reader_within(Budget::shared(POOL_BYTES))
}

/// The same, drawing on `budget`.
fn reader_within(budget: Arc<Budget>) -> (Arc<ServiceReader>, Arc<FakeStore>, Arc<FakeWatermarks>) {
    let store = Arc::new(FakeStore::default());
    for view in service(1, 0).views() {
        store.register(view.spec());
    }
    store.add(
        1,
        "JFK",
        &[
            (NOON - 10 * MINUTE, 4.0),
            (NOON - MINUTE, 2.5),
            (NOON + MINUTE, 100.0),
        ],
    );
    store.add(1, "OLD", &[(NOON - 2 * DAY_US, 1.0)]);
    store.add(2, "AA", &[(NOON - 5 * MINUTE, 1.0)]);
    let watermarks = Arc::new(FakeWatermarks::default());
    let port = Arc::clone(&store) as Arc<dyn StateReader>;
    let reader = Arc::new(ServiceReader::new(
        port,
        Arc::clone(&watermarks) as Arc<dyn Watermarks>,
        budget,
    ));
    reader.replace_services(vec![service(1, 0)]);
    (reader, store, watermarks)
}

impl World {
    pub(crate) fn start() -> Self {
        Self::start_with(Duration::from_secs(30), |_| {})
    }

    pub(crate) fn start_with(grace: Duration, adapt: impl FnOnce(&mut FlightServices)) -> Self {
        let budget = Budget::shared(POOL_BYTES);
        let (reader, store, watermarks) = reader_within(Arc::clone(&budget));
        let clock = Arc::new(FakeClock(AtomicI64::new(NOON)));
        let metrics = Arc::new(Metrics::new().expect("a valid table"));
        let sink = Arc::new(FakeSink::default());
        let mut services = FlightServices::new(
            Arc::clone(&reader) as Arc<_>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&metrics),
            Arc::clone(&budget),
        );
        services.store = Some(Arc::clone(&store) as Arc<dyn StateReader>);
        services.sink = Some(Arc::clone(&sink) as Arc<dyn EventSink>);
        services.admin = Some(Arc::new(FakeAdmin));
        adapt(&mut services);
        let config = FlightServerConfig {
            threads: 2,
            grace,
            ..FlightServerConfig::new(([127, 0, 0, 1], 0).into())
        };
        let server = FlightServer::start(config, services).expect("listens");
        Self {
            server,
            budget,
            reader,
            store,
            sink,
            clock,
            watermarks,
            metrics,
        }
    }

    pub(crate) async fn client(&self) -> FlightClient {
        FlightClient::connect(&self.server.local_addr().to_string())
            .await
            .expect("connects")
    }
}

/// Request rows of service `delay`.
pub(crate) fn rows(origins: &[&str]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("origin", Arc::new(StringArray::from(origins.to_vec()))),
        (
            "carrier",
            Arc::new(StringArray::from(vec!["AA"; origins.len()])),
        ),
        (
            "distance",
            Arc::new(Float64Array::from_iter_values(
                (0..origins.len()).map(|i| i as f64 + 0.5),
            )),
        ),
        (
            "planned",
            Arc::new(
                TimestampMicrosecondArray::from(vec![None; origins.len()]).with_timezone("UTC"),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("one length")
}

/// Poll until `condition` holds, at most thirty seconds.
pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(
            std::time::Instant::now() < deadline,
            "waited in vain for: {what}"
        );
        tokio::task::yield_now().await;
    }
}
