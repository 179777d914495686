//! Runs tests by every path to their answers: both lowerings of training, and stores that took the
//! events as given and in orders at random, cut at random places, with a crash. What each path
//! answers goes to `compare`; what the events reach, to `coverage`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema};
use forebay_core::memory::Budget;
use forebay_core::ports::{CompiledView, Known, PointInTime};
use forebay_core::time::timestamp_type;
use forebay_engine::{BatchEngine, Catalog, Expectation, FeatureTest, ProbeEngine};
use forebay_pipeline::step::Epoch;
use futures::executor::block_on;

use super::compare::{Answer, differences};
use super::coverage::Coverage;
use super::draws::Draws;
use super::events::{Event, Events, Tables};
use super::own::Own;
use super::report::{Failure, LeftOutRow, Tested};
use super::stream::{LeftOut, SHARDS, Stream, admit, empty_epoch};
use crate::exit;

/// Column of a spine that says as of when; no request column begins like this.
const AT: &str = "_forebay_at";
/// An epoch of an order at random ends after each event with this chance, one in so many.
const CUT_ONE_IN: usize = 3;

/// Runs tests.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) catalog: Catalog,
    pub(super) budget: Arc<Budget>,
    pub(super) seed: u64,
    /// Orders at random of each test.
    pub(super) orders: u32,
}

/// A test under way.
struct Running<'a> {
    number: usize,
    test: &'a FeatureTest,
    events: Events,
    own: Own,
    /// By expectation, what each path has answered.
    answers: Vec<Vec<Answer>>,
    failures: Vec<Failure>,
    left_out: Vec<LeftOutRow>,
    took: Duration,
}

/// One order at random of the events of a test: its epochs, and in which of them the crash falls.
struct Order {
    epochs: Vec<Vec<Event>>,
    crash: usize,
}

impl Runner {
    /// Run `tests`.
    ///
    /// # Errors
    /// The machine fails. That a path has no answer is a failure of the test.
    pub(super) fn run(
        &self,
        tests: &[FeatureTest],
        coverage: &mut Coverage,
    ) -> Result<Vec<Tested>> {
        let mut next_view = 1;
        let running = tests.iter().enumerate().map(|(number, test)| {
            Ok(Running {
                number,
                test,
                events: Events::of(&test.given)?,
                own: Own::of(test, &mut next_view),
                answers: test.expect.iter().map(|_| Vec::new()).collect(),
                failures: Vec::new(),
                left_out: Vec::new(),
                took: Duration::ZERO,
            })
        });
        let mut running: Vec<Running<'_>> = running.collect::<Result<_>>()?;
        let (catalog, budget) = (|| self.catalog.clone(), || Arc::clone(&self.budget));
        let probe = ProbeEngine::new(catalog(), budget());
        let batch = BatchEngine::new(catalog(), budget(), None);
        let engines: [(&str, &dyn PointInTime); 2] = [("probe", &probe), ("batch", &batch)];
        for test in &mut running {
            for (path, engine) in engines {
                test.timed(|test| {
                    let answered = self.trained(test, engine);
                    test.take(path, answered);
                });
            }
        }
        self.given(&mut running, coverage)?;
        for number in 1..=self.orders {
            self.shuffled(&mut running, number)?;
        }
        running
            .into_iter()
            .map(|running| running.finish(coverage))
            .collect()
    }

    /// What `engine` puts into a training set.
    fn trained(&self, running: &Running<'_>, engine: &dyn PointInTime) -> Result<Vec<RecordBatch>> {
        let sources = self.catalog.sources().iter();
        let mut tables: BTreeMap<String, RecordBatch> = sources
            .map(|(name, source)| (name.clone(), RecordBatch::new_empty(source.schema())))
            .collect();
        for of in &running.events.sources {
            tables.insert(of.source.name.clone(), of.rows.clone());
        }
        let tables = Tables(tables);
        let expect = running.test.expect.iter();
        expect
            .map(|expect| {
                let spec = expect.service.spec();
                let spine = spine(expect)?;
                let width = spine.num_columns();
                let rows = engine.training_set(&spec.name, spine, AT, &tables, Known::All);
                let rows = block_on(rows)?.rows;
                let features: Vec<usize> = (width..rows.num_columns()).collect();
                Ok(rows.project(&features)?)
            })
            .collect()
    }

    /// By a store that took the events of each test at once, in the order of the text.
    fn given(&self, running: &mut [Running<'_>], coverage: &mut Coverage) -> Result<()> {
        const PATH: &str = "stream, as given";
        let stream = Stream::open(views(running), &self.budget)?;
        for test in running.iter_mut() {
            let mut epoch = empty_epoch();
            let order = test.events.order.clone();
            let left_out = test.timed(|test| test.admit(PATH, &order, false, &mut epoch));
            stream.commit(epoch)?;
            test.left_out = left_out;
        }
        for test in running {
            test.timed(|test| test.read(PATH, &stream, Some(coverage)));
        }
        Ok(())
    }

    /// By a store that took the events of each test in order `number` at random, cut at random
    /// places. In one epoch, which has a part of each test, the process crashes.
    fn shuffled(&self, running: &mut [Running<'_>], number: u32) -> Result<()> {
        let path = format!("stream, order {number} of seed {}", self.seed);
        let orders = running.iter().map(|test| test.order(self.seed, number));
        let orders: Vec<Order> = orders.collect();
        let mut stream = Stream::open(views(running), &self.budget)?;
        for (test, order) in running.iter_mut().zip(&orders) {
            test.epochs(&path, &stream, &order.epochs[..order.crash])?;
        }
        let mut epoch = empty_epoch();
        for (test, order) in running.iter_mut().zip(&orders) {
            if let Some(events) = order.epochs.get(order.crash) {
                test.timed(|test| test.admit(&path, events, true, &mut epoch));
            }
        }
        let shards = Draws::new(self.seed, "shards", number).below(usize::from(SHARDS) + 1);
        let shards = u16::try_from(shards).expect("there are few shards");
        stream = stream.crash(epoch, shards)?;
        for (test, order) in running.iter_mut().zip(&orders) {
            let rest = order.epochs.get(order.crash + 1..).unwrap_or_default();
            test.epochs(&path, &stream, rest)?;
        }
        for test in running {
            test.timed(|test| test.read(&path, &stream, None));
        }
        Ok(())
    }
}

impl Running<'_> {
    /// What `work` gives, with the time that it takes.
    fn timed<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let began = Instant::now();
        let done = work(self);
        self.took += began.elapsed();
        done
    }

    /// Take what `path` has answered, or why it has not; of one path that is told once.
    fn take(&mut self, path: &str, answered: Result<Vec<RecordBatch>>) {
        match answered {
            Ok(batches) => {
                for (answers, features) in self.answers.iter_mut().zip(batches) {
                    answers.push(Answer {
                        path: path.to_owned(),
                        features,
                    });
                }
            }
            Err(error) => self.fail(path, &error),
        }
    }

    fn fail(&mut self, path: &str, error: &anyhow::Error) {
        if !self.has_failed(path) {
            self.failures.push(Failure {
                path: path.to_owned(),
                words: exit::words(error),
            });
        }
    }

    fn has_failed(&self, path: &str) -> bool {
        self.failures.iter().any(|failure| failure.path == path)
    }

    /// The order `number` by `seed`.
    fn order(&self, seed: u64, number: u32) -> Order {
        let mut draws = Draws::new(seed, &self.test.name, number);
        let mut events = self.events.order.clone();
        draws.shuffle(&mut events);
        let mut epochs = vec![Vec::new()];
        for event in events {
            epochs.last_mut().expect("it begins with one").push(event);
            if draws.below(CUT_ONE_IN) == 0 {
                epochs.push(Vec::new());
            }
        }
        epochs.retain(|epoch| !epoch.is_empty());
        let crash = match epochs.len() {
            0 => 0,
            epochs => draws.below(epochs),
        };
        Order { epochs, crash }
    }

    /// Fold `events` into `epoch`. Returns what views leave out, each with its place.
    fn admit(
        &mut self,
        path: &str,
        events: &[Event],
        spread: bool,
        epoch: &mut Epoch,
    ) -> Vec<LeftOutRow> {
        if self.has_failed(path) {
            return Vec::new();
        }
        let batches = self.events.batches(self.number, events, spread);
        let admitted = batches.and_then(|batches| {
            let (batches, runs): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
            Ok((admit(&self.own.views, batches, epoch)?, runs))
        });
        match admitted {
            Ok((left_out, runs)) => {
                let left_out = left_out.iter();
                left_out
                    .map(|left| self.left_out_row(left, &runs))
                    .collect()
            }
            Err(error) => {
                self.fail(path, &error);
                Vec::new()
            }
        }
    }

    fn left_out_row(&self, left: &LeftOut, runs: &[Vec<Event>]) -> LeftOutRow {
        let event = runs[left.batch][left.fault.row as usize];
        LeftOutRow {
            view: left.view.clone(),
            source: self.events.sources[event.0].source.name.clone(),
            at: self.events.place(event).clone(),
            why: left.fault.to_string(),
        }
    }

    /// Commit each of `epochs` to `stream`.
    fn epochs(&mut self, path: &str, stream: &Stream, epochs: &[Vec<Event>]) -> Result<()> {
        self.timed(|test| {
            for events in epochs {
                let mut epoch = empty_epoch();
                test.admit(path, events, true, &mut epoch);
                stream.commit(epoch)?;
            }
            Ok(())
        })
    }

    /// Take what `stream` answers.
    fn read(&mut self, path: &str, stream: &Stream, mut coverage: Option<&mut Coverage>) {
        if self.has_failed(path) {
            return;
        }
        let expect = self.test.expect.iter().zip(&self.own.services);
        let answered = expect.map(|(expect, service)| {
            let answer = stream.read(service, &expect.request, expect.at_us)?;
            if let Some(coverage) = &mut coverage {
                coverage.note_status(expect, &answer.status);
            }
            Ok(answer.features)
        });
        let answered = answered.collect();
        self.take(path, answered);
    }

    fn finish(self, coverage: &mut Coverage) -> Result<Tested> {
        let mut different = Vec::new();
        for (expect, answers) in self.test.expect.iter().zip(&self.answers) {
            different.extend(differences(expect, answers)?);
        }
        coverage.note(self.test, &self.events)?;
        Ok(Tested {
            name: self.test.name.clone(),
            at: self.test.at.clone(),
            took: self.took,
            differences: different,
            failures: self.failures,
            left_out: self.left_out,
            undecoded: self.events.undecoded,
        })
    }
}

/// The views of all tests.
fn views(running: &[Running<'_>]) -> Vec<Arc<dyn CompiledView>> {
    let views = running.iter().flat_map(|test| &test.own.views);
    views.cloned().collect()
}

/// The request rows of `expect`, and as of when.
fn spine(expect: &Expectation) -> Result<RecordBatch> {
    let request = &expect.request;
    let rows = request.num_rows();
    let at = TimestampMicrosecondArray::from(vec![expect.at_us; rows]);
    let at: ArrayRef = Arc::new(at.with_data_type(timestamp_type()));
    let fields = request.schema_ref().fields().iter().cloned();
    let field = Arc::new(Field::new(AT, at.data_type().clone(), false));
    let schema = Schema::new(fields.chain([field]).collect::<Vec<_>>());
    let columns = request.columns().iter().cloned().chain([at]).collect();
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
