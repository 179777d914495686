//! A server in memory: definitions are sets of view names; a view is known, and filled up to where
//! ingest stood. A step can fail before or after its effect, and the process can die between two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use forebay_control::{ApplyFacts, Life, Parts, Step, Stop, Which, plan_apply};
use forebay_core::time::{Clock, Micros};
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_pipeline::SystemRuntime;
use parking_lot::Mutex;

pub(crate) type Definitions = BTreeSet<String>;

pub(crate) fn definitions(views: &[&str]) -> Definitions {
    views.iter().map(|view| (*view).to_owned()).collect()
}

/// What survives a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) saved: Definitions,
    /// Events that each view has folded.
    pub(crate) views: BTreeMap<String, u64>,
    /// Events that were read.
    pub(crate) applied: u64,
}

/// What a step does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and has done nothing.
    Before,
    /// It fails although it was done.
    After,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) disk: Mutex<Disk>,
    /// Definitions that ingest runs with.
    pub(crate) running: Mutex<Option<Definitions>>,
    /// Whether the change names a source that the archive has and no ingest reads.
    pub(crate) unread: bool,
    /// The step, counted from 0, that fails.
    pub(crate) fault: Option<(usize, Fault)>,
    /// The stop is asked for while this step is carried out.
    pub(crate) stop_at: Option<usize>,
    /// Another change asks this one to give way while this step is carried out.
    pub(crate) gives_way_at: Option<usize>,
    /// By this.
    pub(crate) own: Stop,
    pub(crate) carried_out: AtomicUsize,
    pub(crate) life: Life,
    pub(crate) stop: Stop,
}

pub(crate) struct Change {
    pub(crate) before: Definitions,
    pub(crate) next: Definitions,
}

impl Clock for World {
    fn now_us(&self) -> Micros {
        0
    }
}

/// Over the system's runtime, on which nothing here waits.
fn nobody_asks() -> Stop {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"));
    Stop::new(Arc::new(SystemRuntime::new(runtime.handle().clone())))
}

impl World {
    /// A server that runs with `views`, all of them complete.
    pub(crate) fn running(views: &[&str]) -> Self {
        let views = definitions(views);
        let disk = Disk {
            views: views.iter().map(|view| (view.clone(), 10)).collect(),
            saved: views.clone(),
            applied: 10,
        };
        let stop = nobody_asks();
        Self {
            disk: Mutex::new(disk),
            running: Mutex::new(Some(views)),
            unread: false,
            fault: None,
            stop_at: None,
            gives_way_at: None,
            own: stop.under(),
            carried_out: AtomicUsize::new(0),
            life: Life::default(),
            stop,
        }
    }

    pub(crate) fn steps(&self, next: &Definitions) -> Vec<Step> {
        let before = &self.disk.lock().saved;
        plan_apply(&ApplyFacts {
            unread: self.unread,
            changes: before != next,
            ingesting: self.running.lock().is_some(),
            added: next.difference(before).cloned().collect(),
            removed: before.difference(next).cloned().collect(),
        })
    }

    /// The process dies and starts again: what is in memory is gone.
    pub(crate) fn restart(self) -> Self {
        let disk = self.disk.into_inner();
        let fresh = Self {
            disk: Mutex::new(disk.clone()),
            unread: self.unread,
            ..Self::running(&[])
        };
        fresh
            .resume(&disk.saved)
            .expect("a saved definition has all that it needs");
        fresh
    }

    fn resume(&self, definitions: &Definitions) -> PortResult<()> {
        let disk = self.disk.lock();
        for view in definitions {
            let filled = disk.views.get(view);
            assert_eq!(
                filled,
                Some(&disk.applied),
                "view {view} is complete when it is read"
            );
        }
        *self.running.lock() = Some(definitions.clone());
        Ok(())
    }

    /// Events come while ingest runs.
    fn event(&self) {
        if let Some(views) = &*self.running.lock() {
            let mut disk = self.disk.lock();
            disk.applied += 1;
            for view in views {
                *disk.views.get_mut(view).expect("a view that runs is known") += 1;
            }
        }
    }

    fn effect(&self, change: &Change, step: &Step) -> PortResult<()> {
        let of = |which: &Which| match which {
            // Views are definitions here, and sources are not.
            Which::Sources | Which::Current => change.before.clone(),
            Which::Next | Which::Saved => change.next.clone(),
        };
        match step {
            Step::MakeTables | Step::CatchUp | Step::Level | Step::DropEmptyTables => {}
            Step::BeginView(view) => {
                self.disk.lock().views.insert(view.clone(), 0);
            }
            Step::FillBeside(view) | Step::FillRest(view) => {
                let mut disk = self.disk.lock();
                let applied = disk.applied;
                *disk.views.get_mut(view).expect("begun before it is filled") = applied;
            }
            Step::Pause => *self.running.lock() = None,
            Step::Save(which) => self.disk.lock().saved = of(which),
            Step::Resume(which) => self.resume(&of(which))?,
            Step::DropView(view) => {
                self.disk.lock().views.remove(view);
            }
            Step::DropUnnamed | Step::DropLeftovers => {
                let mut disk = self.disk.lock();
                let saved = disk.saved.clone();
                disk.views.retain(|view, _| saved.contains(view));
            }
        }
        Ok(())
    }
}

impl Parts for World {
    type Change = Change;

    fn carry_out(&self, change: &mut Change, step: &Step) -> PortResult<()> {
        let number = self.carried_out.fetch_add(1, Ordering::Relaxed);
        let fault = self
            .fault
            .filter(|(at, _)| *at == number)
            .map(|(_, fault)| fault);
        if self.stop_at == Some(number) {
            self.stop.ask();
        }
        if self.gives_way_at == Some(number) {
            self.own.ask();
        }
        let resumes = matches!(step, Step::Resume(_));
        if fault == Some(Fault::Before) || (fault.is_some() && resumes) {
            return Err(PortError::new(ErrorKind::Unavailable, "the disk is full"));
        }
        self.effect(change, step)?;
        self.event();
        if fault == Some(Fault::After) {
            return Err(PortError::new(
                ErrorKind::MaybeWritten,
                "the reply was lost",
            ));
        }
        Ok(())
    }
}
