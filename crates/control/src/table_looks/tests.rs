//! Looks at tables of an archive that answers when the test says.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use forebay_core::ports::{Beginnings, LogIdentity, RowStream, Scan, TableScan, TableSnapshot};
use forebay_core::progress::Applied;
use forebay_core::source::SourceDef;
use forebay_pipeline::SystemRuntime;
use forebay_testkit::{Fate, MemoryArchive, TableFault};
use futures::future::{join, join3};

use super::*;
use crate::aside::source_tables;
use crate::begin_error::BeginError;

/// Whether tables can be opened now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Hangs,
    Open,
    Panics,
}

/// An archive whose tables are opened once the gate says how.
#[derive(Debug)]
struct Gated {
    inner: MemoryArchive,
    gate: watch::Sender<Gate>,
    /// Calls that open a table.
    calls: AtomicUsize,
}

#[async_trait]
impl TableScan for Gated {
    async fn scan(&self, table: &str, scan: Scan) -> PortResult<RowStream> {
        self.inner.scan(table, scan).await
    }
}

#[async_trait]
impl Archive for Gated {
    async fn open_table(&self, name: &str, schema: SchemaRef) -> PortResult<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.subscribe();
        let gate = gate.wait_for(|gate| *gate != Gate::Hangs).await;
        let is_open = gate.is_ok_and(|gate| *gate == Gate::Open);
        assert!(is_open, "it panics as the test wants");
        self.inner.open_table(name, schema).await
    }

    async fn begin(
        &self,
        name: &str,
        beginnings: &Beginnings,
        logs: &BTreeMap<String, LogIdentity>,
    ) -> PortResult<()> {
        self.inner.begin(name, beginnings, logs).await
    }

    async fn progress(&self, name: &str) -> PortResult<Applied> {
        self.inner.progress(name).await
    }

    async fn append(
        &self,
        name: &str,
        batches: Vec<RecordBatch>,
        up_to: &Applied,
    ) -> PortResult<u64> {
        self.inner.append(name, batches, up_to).await
    }

    async fn snapshot(&self, name: &str) -> PortResult<TableSnapshot> {
        self.inner.snapshot(name).await
    }
}

/// An archive that hangs, and looks at it that wait for `answer_max`.
struct World {
    tokio: tokio::runtime::Runtime,
    archive: Arc<Gated>,
    looks: TableLooks,
}

impl World {
    fn waiting(answer_max: Duration) -> Self {
        let tokio = tokio::runtime::Runtime::new().expect("a runtime");
        let system: Arc<dyn Runtime> = Arc::new(SystemRuntime::new(tokio.handle().clone()));
        let archive = Arc::new(Gated {
            inner: MemoryArchive::new(&Arc::default()),
            gate: watch::Sender::new(Gate::Hangs),
            calls: AtomicUsize::new(0),
        });
        let of_looks: Arc<dyn Archive> = Arc::<Gated>::clone(&archive);
        let looks = TableLooks {
            answer_max,
            ..TableLooks::new(of_looks, Arc::clone(&system), Stop::new(system), Vec::new())
        };
        Self {
            tokio,
            archive,
            looks,
        }
    }

    fn calls(&self) -> usize {
        self.archive.calls.load(Ordering::SeqCst)
    }

    async fn pause(&self) {
        self.looks.runtime.sleep(Duration::from_millis(5)).await;
    }
}

/// Tables of these names with one column.
fn wanted(names: &[&str], column: &str) -> Vec<WantedTable> {
    // A table that is there cannot get a column that its rows would have to have.
    let field = Field::new(column, DataType::Int64, column != "other");
    let schema = Arc::new(Schema::new(vec![field]));
    let names = names.iter();
    names
        .map(|name| ((*name).to_owned(), SchemaRef::clone(&schema)))
        .collect()
}

fn kinds(unusable: &BTreeMap<String, PortError>) -> Vec<(&str, ErrorKind)> {
    let unusable = unusable.iter();
    unusable
        .map(|(table, error)| (table.as_str(), error.kind()))
        .collect()
}

#[test]
fn two_callers_at_once_give_a_table_that_hangs_one_look_and_wait_for_it_no_second_time() {
    let world = World::waiting(Duration::from_millis(100));
    let open = || world.looks.open(wanted(&["t"], "a"));
    world.tokio.block_on(async {
        let (one, other) = join(open(), open()).await;
        for unusable in [one, other] {
            assert_eq!(kinds(&unusable), [("t", ErrorKind::Unavailable)]);
            let words = unusable["t"].message();
            assert!(words.contains("table 't' does not answer"), "{words}");
        }
        for _ in 0..3 {
            assert_eq!(kinds(&open().await), [("t", ErrorKind::Unavailable)]);
        }
        assert_eq!(world.calls(), 1, "it still hangs in the first look");
        world.archive.gate.send_replace(Gate::Open);
        while !open().await.is_empty() {
            world.pause().await;
        }
    });
}

#[test]
fn all_who_wait_hear_the_answer_and_who_asks_afterwards_hears_a_new_one() {
    for (gate, column, expected) in [
        (Gate::Open, "a", vec![]),
        (
            Gate::Open,
            "other",
            vec![("there", ErrorKind::AlreadyExists)],
        ),
        (
            Gate::Panics,
            "a",
            vec![("new", ErrorKind::Internal), ("there", ErrorKind::Internal)],
        ),
    ] {
        let world = World::waiting(Duration::from_secs(60));
        let open = || world.looks.open(wanted(&["new", "there"], column));
        world.tokio.block_on(async {
            let (_, schema) = wanted(&["there"], "a").remove(0);
            let made = world.archive.inner.open_table("there", schema).await;
            made.expect("a new table");
            let answers = async {
                while world.calls() < 2 {
                    world.pause().await;
                }
                world.archive.gate.send_replace(gate);
            };
            let (one, other, ()) = join3(open(), open(), answers).await;
            assert_eq!(kinds(&one), expected, "{gate:?} {column}");
            assert_eq!(kinds(&other), expected, "{gate:?} {column}");
            assert_eq!(world.calls(), 2, "one look a table");
            assert_eq!(kinds(&open().await), expected, "{gate:?} {column}");
            assert_eq!(world.calls(), 4, "what has ended is not heard again");
        });
    }
}

#[test]
fn tables_of_other_columns_are_other_looks() {
    let world = World::waiting(Duration::from_millis(50));
    world.tokio.block_on(async {
        let tables = || [wanted(&["t"], "a"), wanted(&["t"], "b")].concat();
        for _ in 0..2 {
            let unusable = world.looks.open(tables()).await;
            assert_eq!(kinds(&unusable), [("t", ErrorKind::Unavailable)]);
            assert_eq!(world.calls(), 2);
        }
    });
}

fn source(name: &str) -> Arc<SourceDef> {
    Arc::new(SourceDef::json(name, name, Vec::new(), 0))
}

/// Looks over an archive in memory that has the table of source `t`.
fn over_memory(
    tokio: &tokio::runtime::Runtime,
    common: Vec<WantedTable>,
) -> (Arc<Fate>, TableLooks) {
    let system: Arc<dyn Runtime> = Arc::new(SystemRuntime::new(tokio.handle().clone()));
    let fate = Arc::new(Fate::default());
    let archive = MemoryArchive::new(&fate);
    tokio
        .block_on(archive.open_table("t", source("t").archive_schema()))
        .expect("a new table");
    let stop = Stop::new(Arc::clone(&system));
    (
        fate,
        TableLooks::new(Arc::new(archive), system, stop, common),
    )
}

#[test]
fn a_table_is_whole_once_a_read_has_given_every_row_and_that_is_told_once() {
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let (fate, looks) = over_memory(&tokio, Vec::new());
    // Asked until it is told: a look that begins a read, or finds one under way, says no.
    let told = |longest: u32| {
        (0..longest).any(|_| {
            tokio.block_on(looks.runtime.sleep(Duration::from_millis(5)));
            looks.is_whole("t")
        })
    };
    fate.break_table("t", TableFault::ReadFails(ErrorKind::DataLoss));
    assert!(!told(20), "no row can be read");
    fate.mend_table("t");
    assert!(told(1_000));
    fate.break_table("t", TableFault::ReadHangs);
    assert!(!looks.is_whole("t"), "the next look reads again");
    looks.forget_reads();
    assert!(!told(20), "one read hangs");
    looks.forget_reads();
    assert!(!told(20), "it is not forgotten, nor read beside it");
    fate.mend_table("t");
    assert!(told(1_000));
}

#[test]
fn a_start_goes_on_without_the_tables_of_sources_and_not_without_a_common_one() {
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let sources = ["t", "u"].map(source);
    let (fate, looks) = over_memory(&tokio, wanted(&["marks"], "a"));
    fate.break_table("u", TableFault::Shut);
    // The rows of `t` cannot be read, which only the second try does without.
    let torn = |table: &str| BeginError::Table {
        table: table.to_owned(),
        source: PortError::new(ErrorKind::DataLoss, "a page is torn"),
    };
    let catch_up = |table: &str| {
        let mut tries = Vec::new();
        let outcome = looks.catch_up(&sources, |aside| {
            tries.push(aside.keys().cloned().collect::<Vec<_>>().join(" "));
            if aside.contains_key(table) {
                Ok(7)
            } else {
                Err(torn(table))
            }
        });
        (outcome.expect("no port fails"), tries)
    };
    let (outcome, tries) = catch_up("t");
    let Outcome::Begins(7, aside) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(tries, ["u", "t u"]);
    assert_eq!(aside.why["t"], "a page is torn");
    let (outcome, _) = catch_up("marks");
    assert!(matches!(outcome, Outcome::Stands(table, _) if table == "marks"));
    fate.break_table("marks", TableFault::Shut);
    let (outcome, tries) = catch_up("t");
    assert!(matches!(outcome, Outcome::Stands(table, _) if table == "marks"));
    assert!(tries.is_empty(), "nothing is read before that");
}

#[test]
fn a_change_is_refused_for_a_new_table_and_for_a_common_one_while_ingest_runs() {
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let (fate, looks) = over_memory(&tokio, wanted(&["marks"], "a"));
    let next = [source("u")];
    let known = source_tables(next.iter());
    let made = |known: Option<&[WantedTable]>, is_ingesting| {
        let refused = looks.make(&next, known, is_ingesting).err();
        refused.map(|error| error.kind())
    };
    assert_eq!(made(Some(&[]), true), None);
    fate.break_table("u", TableFault::Shut);
    assert!(made(Some(&[]), true).is_some(), "it is new");
    assert_eq!(made(Some(&known), true), None, "it was there before");
    assert_eq!(made(None, false), None, "a start");
    fate.break_table("marks", TableFault::Shut);
    assert!(made(Some(&known), true).is_some());
    assert_eq!(made(Some(&known), false), None);
}
