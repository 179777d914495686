//! The loop over a server that is played, on a clock that leaps over every sleep.

use std::future::pending;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use arrow_schema::Schema;
use forebay_core::PortResult;
use forebay_core::ports::{Body, Task};
use forebay_testkit::{Fate, MemoryArchive, TableFault};
use futures::FutureExt;
use parking_lot::Mutex;

use super::*;
use crate::aside::{Aside, WantedTable};
use crate::stop::Stop;

/// The table of the only source.
const TABLE: &str = "t";

/// A runtime on which a sleep is over as soon as it begins, but one beyond `end`, which never is.
#[derive(Debug)]
struct Leaping {
    now: Arc<Mutex<Duration>>,
    end: Duration,
}

impl Runtime for Leaping {
    fn elapsed(&self) -> Duration {
        *self.now.lock()
    }

    fn sleep(&self, pause: Duration) -> Task<()> {
        let (now, end) = (Arc::clone(&self.now), self.end);
        Box::pin(async move {
            let is_over = {
                let mut now = now.lock();
                *now += pause;
                *now <= end
            };
            if !is_over {
                pending::<()>().await;
            }
        })
    }

    fn spawn_thread(&self, name: &str, _body: Body) -> PortResult<()> {
        Err(PortError::internal(format!("no thread {name} here")))
    }

    fn spawn_task(&self, _name: &str, task: Task<()>) {
        // A look at an archive in memory ends at once.
        let _ended = task.now_or_never();
    }

    fn wait(&self, _future: Pin<&mut (dyn Future<Output = ()> + '_)>) {}
}

/// What happens to a server, by the second, and what recovery is to do.
struct Case {
    name: &'static str,
    /// When ingest ends by itself.
    ends: &'static [u64],
    /// Starts that fail before one helps.
    failing: usize,
    /// When the definitions change.
    changing: Range<u64>,
    /// When a table is set aside.
    aside: Range<u64>,
    /// What is wrong with it then.
    fault: Option<TableFault>,
    /// What was done, and when.
    expected: &'static [(u64, &'static str)],
    is_lost: bool,
}

/// Nothing happens.
const QUIET: Case = Case {
    name: "nothing happens",
    ends: &[],
    failing: 0,
    changing: 0..0,
    aside: 0..0,
    fault: None,
    expected: &[],
    is_lost: false,
};

const CASES: [Case; 10] = [
    QUIET,
    Case {
        name: "ingest ends now and then, and a start helps",
        ends: &[5, 500],
        expected: &[(6, "heal"), (501, "heal")],
        ..QUIET
    },
    Case {
        name: "it ends soon after each start: pauses grow",
        ends: &[5, 7, 20, 30, 40, 900],
        expected: &[
            (6, "heal"),
            (9, "heal"),
            (24, "heal"),
            (38, "heal"),
            (56, "heal"),
            (901, "heal"),
        ],
        ..QUIET
    },
    Case {
        name: "no start helps",
        ends: &[1],
        failing: usize::MAX,
        expected: &[
            (2, "heal"),
            (5, "heal"),
            (10, "heal"),
            (19, "heal"),
            (36, "heal"),
        ],
        is_lost: true,
        ..QUIET
    },
    Case {
        name: "the third start helps",
        ends: &[1],
        failing: 2,
        expected: &[(2, "heal"), (5, "heal"), (10, "heal")],
        ..QUIET
    },
    Case {
        name: "the definitions change meanwhile",
        ends: &[5],
        changing: 4..20,
        aside: 2..20,
        expected: &[(21, "heal")],
        ..QUIET
    },
    Case {
        name: "a table is set aside",
        aside: 3..40,
        expected: &[(5, "mend"), (9, "mend"), (17, "mend"), (33, "mend")],
        ..QUIET
    },
    Case {
        name: "the table that is set aside does not open",
        aside: 3..40,
        fault: Some(TableFault::Shut),
        ..QUIET
    },
    Case {
        name: "one whose rows could not be read is read first, and begins at the look after that",
        aside: 3..40,
        fault: Some(TableFault::ReadFails(ErrorKind::DataLoss)),
        expected: &[(9, "mend"), (33, "mend")],
        ..QUIET
    },
    Case {
        name: "ingest comes before tables",
        ends: &[5],
        failing: 1,
        aside: 3..12,
        expected: &[(6, "heal"), (9, "heal"), (10, "mend")],
        ..QUIET
    },
];

/// The server of one case.
struct Played<'a> {
    case: &'a Case,
    now: Arc<Mutex<Duration>>,
    /// When ingest was started last, and the starts that have failed.
    started: Mutex<(u64, usize)>,
    done: Mutex<Vec<(u64, &'static str)>>,
    /// What every action fails with.
    broken: bool,
}

impl Played<'_> {
    fn second(&self) -> u64 {
        self.now.lock().as_secs()
    }

    fn does(&self, what: &'static str) -> PortResult<()> {
        self.done.lock().push((self.second(), what));
        if self.broken {
            return Err(PortError::internal("an action was cut off"));
        }
        Ok(())
    }
}

impl RecoveryHost for Played<'_> {
    fn is_changing(&self) -> bool {
        self.case.changing.contains(&self.second())
    }

    fn ended(&self) -> Option<String> {
        let (started, now) = (self.started.lock().0, self.second());
        let mut ends = self.case.ends.iter();
        ends.any(|end| (started..=now).contains(end))
            .then(|| "as a test".to_owned())
    }

    fn aside(&self) -> (Aside, Vec<WantedTable>) {
        let is_aside = self.case.aside.contains(&self.second());
        let broken = || PortError::new(ErrorKind::DataLoss, "as a test");
        let aside = match self.case.fault {
            Some(TableFault::ReadFails(_)) if is_aside => {
                let mut aside = Aside::default();
                aside.leave_out(TABLE, &broken(), &[]);
                aside
            }
            _ => Aside::of(
                is_aside
                    .then(|| (TABLE.to_owned(), broken()))
                    .into_iter()
                    .collect(),
            ),
        };
        (aside, vec![(TABLE.to_owned(), Arc::new(Schema::empty()))])
    }

    async fn begin_anew(&self, cause: Cause) -> PortResult<()> {
        if cause != Cause::Ended {
            return self.does("mend");
        }
        let mut started = self.started.lock();
        if started.1 < self.case.failing {
            started.1 += 1;
        } else {
            started.0 = self.second();
        }
        self.does("heal")
    }
}

/// What the loop has done in `case`, of which an action fails where it is `broken`, and with what
/// it ended.
fn play(case: &Case, broken: bool) -> (Vec<(u64, &'static str)>, Option<PortError>) {
    let now = Arc::new(Mutex::new(Duration::ZERO));
    let runtime = Leaping {
        now: Arc::clone(&now),
        end: Duration::from_secs(1_000),
    };
    let server = Played {
        case,
        now,
        started: Mutex::default(),
        done: Mutex::default(),
        broken,
    };
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let fate = Arc::new(Fate::default());
    if case.fault == Some(TableFault::Shut) {
        fate.break_table(TABLE, TableFault::Shut);
    }
    let (archive, stop) = (MemoryArchive::new(&fate), Stop::new(Arc::clone(&runtime)));
    let looks = TableLooks::new(Arc::new(archive), Arc::clone(&runtime), stop, Vec::new());
    let lost = until_ingest_is_lost(&server, &looks, runtime.as_ref()).now_or_never();
    (server.done.into_inner(), lost)
}

#[test]
fn ingest_is_started_again_tables_are_looked_at_and_a_change_is_left_alone() {
    for case in &CASES {
        let (done, lost) = play(case, false);
        assert_eq!(done, case.expected, "{}", case.name);
        assert_eq!(lost.is_some(), case.is_lost, "{}", case.name);
        if let Some(error) = lost {
            let words = "5 times after one another (as a test)";
            assert!(error.message().contains(words), "{error}");
        }
    }
}

#[test]
fn an_action_that_cannot_be_tried_ends_the_process_with_its_error() {
    for (case, expected) in [
        (
            Case {
                ends: &[5],
                ..QUIET
            },
            (6, "heal"),
        ),
        (
            Case {
                aside: 3..40,
                ..QUIET
            },
            (5, "mend"),
        ),
    ] {
        let (done, lost) = play(&case, true);
        assert_eq!(done, [expected]);
        assert_eq!(lost.expect("lost").message(), "an action was cut off");
    }
}
