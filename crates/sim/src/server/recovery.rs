//! The simulated server as the recovery of `control` sees it, and what came of that.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_control::{
    Aside, Cause, Phase, RecoveryHost, WantedTable, begin_again, source_tables,
    until_ingest_is_lost,
};
use forebay_core::ports::Runtime;
use forebay_core::{PortError, PortResult};
use futures::future::{Either, select};
use parking_lot::Mutex;

use super::Server;
use super::steps::Change;

/// What recovery has done in one process.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    is_under_way: AtomicBool,
    /// Why it has given up.
    lost: Mutex<Option<PortError>>,
    ends: Mutex<Vec<String>>,
    met: Mutex<Met>,
}

/// How often, in one process, whatever has ended it apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Met {
    /// Ingest had ended by itself, was begun anew and ran.
    pub came_back: u64,
    /// A start of ingest left sources out.
    pub left_out: u64,
    /// It was begun anew with such a source, and ran.
    pub mended: u64,
    /// Recovery gave up.
    pub lost: u64,
    /// Ingest read on with the definitions before, for shards that were apart.
    pub levelled: u64,
    /// Ingest stopped or ended with rows that the archive did not have.
    pub cut_off: u64,
}

impl Server {
    /// Begin ingest anew whenever it has ended, until the process stops.
    pub(super) fn recover(self: &Arc<Self>) {
        self.recovery.is_under_way.store(true, Ordering::SeqCst);
        let server = Arc::clone(self);
        let recovery = async move {
            let runtime = server.runtime();
            let lost = until_ingest_is_lost(server.as_ref(), &server.looks, runtime);
            if let Either::Left((error, _)) = select(pin!(lost), pin!(server.stop.asked())).await {
                *server.recovery.lost.lock() = Some(error);
            }
            server.recovery.is_under_way.store(false, Ordering::SeqCst);
        };
        self.runtime().spawn_task("recovery", Box::pin(recovery));
    }

    pub(super) fn recovers(&self) -> bool {
        self.recovery.is_under_way.load(Ordering::SeqCst)
    }

    /// Ingest has failed: begin it anew with the definitions in force.
    pub(super) fn start_again(&self) {
        self.note_end();
        let current = self.in_force.lock().clone();
        // Where that fails too, the next look or change tries again.
        let _told = begin_again(self, &mut Change::to(&current));
    }

    /// Ingest that ran and has ended by itself is about to be dropped. A start that failed has left
    /// nothing that runs, and is no end of it.
    pub(super) fn note_end(&self) {
        self.recovery.ends.lock().extend(self.died());
    }

    /// Why ingest that ran has ended by itself, each time.
    pub(super) fn ends(&self) -> Vec<String> {
        self.recovery.ends.lock().clone()
    }

    /// What this process has come across.
    #[must_use]
    pub fn met(&self) -> Met {
        let lost = self.lost().is_some().into();
        Met {
            lost,
            ..*self.recovery.met.lock()
        }
    }

    /// Something has happened, in a process that is not over.
    pub(super) fn note(&self, note: impl FnOnce(&mut Met)) {
        if !self.faults.is_over() {
            note(&mut self.recovery.met.lock());
        }
    }

    /// Whether all sources are read that are to be.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_ingesting() && self.aside.lock().why.is_empty()
    }

    pub(super) fn died(&self) -> Option<String> {
        let running = self.running.lock();
        let dead = running.as_ref().filter(|pipeline| !pipeline.is_ingesting());
        dead.map(|pipeline| pipeline.status().failed.unwrap_or_default())
    }

    /// Why ingest comes back no more, if it does not.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        self.recovery.lost.lock().as_ref().map(ToString::to_string)
    }
}

impl RecoveryHost for Server {
    fn is_changing(&self) -> bool {
        self.changing.load(Ordering::SeqCst)
    }

    fn ended(&self) -> Option<String> {
        let stands = self.running.lock().is_none() && !self.aside.lock().why.is_empty();
        let has_ended = self.life.phase() == Phase::Running && !self.is_ingesting() && !stands;
        has_ended.then(|| self.died().unwrap_or_default())
    }

    fn aside(&self) -> (Aside, Vec<WantedTable>) {
        let aside = self.aside.lock().clone();
        (aside, source_tables(self.world.sources.iter()))
    }

    async fn begin_anew(&self, cause: Cause) -> PortResult<()> {
        if self.changing.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let holds = match &cause {
            Cause::Ended => self.ended().is_some(),
            Cause::Mended(aside) => *self.aside.lock() == *aside,
        };
        if holds && !self.stop.is_asked() {
            let ran = self.running.lock().is_some();
            self.start_again();
            if ran && self.is_ingesting() {
                self.note(|met| match cause {
                    Cause::Ended => met.came_back += 1,
                    Cause::Mended(_) => met.mended += 1,
                });
            }
        }
        self.changing.store(false, Ordering::SeqCst);
        Ok(())
    }
}
