//! What a simulated server does for each step of a change, and what a fill asks of it.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_control::{
    Course, FillHost, Filler, Leftovers, Parts, Phase, Step, Which, begin_states, delete_leftovers,
    log_stop, source_tables, touched_topics,
};
use forebay_core::ports::{StateHealth, StoreHealth, ViewStates};
use forebay_core::progress::Applied;
use forebay_core::view::ViewId;
use forebay_core::{PortError, PortResult};
use forebay_pipeline::Pipeline;
use forebay_pipeline::archive::Archiver;
use forebay_pipeline::gaps::Listed;

use super::{REST_MAX_ROWS, Server, scored};
use crate::definitions::{Definitions, extra};
use crate::faults::{Effect, Part};

/// A change of definitions under way.
#[derive(Debug)]
pub struct Change {
    pub(super) current: Definitions,
    pub(super) next: Definitions,
    pub(super) course: Course,
}

impl Change {
    /// From `definitions` to themselves.
    pub(super) fn to(definitions: &Definitions) -> Self {
        Self {
            current: definitions.clone(),
            next: definitions.clone(),
            course: Course::default(),
        }
    }

    /// Views that only the next definitions have.
    fn added(&self) -> impl Iterator<Item = &ViewId> {
        self.next.views.difference(&self.current.views)
    }

    fn of(&self, which: Which) -> &Definitions {
        match which {
            // All sources are read from the beginning.
            Which::Current | Which::Sources => &self.current,
            Which::Next | Which::Saved => &self.next,
        }
    }
}

fn id_of(view: &str) -> PortResult<ViewId> {
    let parsed = view.parse();
    parsed.map_err(|_| PortError::internal(format!("{view} is no number of a view")))
}

impl Server {
    /// The views of `definitions` and of the world.
    fn named(&self, definitions: &Definitions) -> HashSet<ViewId> {
        let world = self.world.views.iter().map(|view| view.spec().id);
        world.chain(definitions.views.iter().copied()).collect()
    }

    pub(super) fn filler(&self) -> Filler<'_> {
        Filler {
            host: self,
            archive: self.archive.as_ref(),
            store: self.store.as_ref(),
            memory: &self.memory,
            runtime: self.runtime(),
            life: &self.life,
            stop: &self.stop,
            rest_max_rows: REST_MAX_ROWS,
        }
    }

    /// Bring the shards together, where `change` has other events scored.
    fn level(&self, change: &mut Change) -> PortResult<()> {
        let scored = scored(&change.next);
        let topics = touched_topics(
            self.checkpoints(self.world.checkpoints.clone()).as_ref(),
            &scored,
        )?;
        let sources = self.world.sources.iter();
        let sources = sources.filter(|source| topics.contains(&source.topic));
        let sources: Vec<_> = sources.cloned().collect();
        let mut carry_out = |step: &Step| {
            self.note(|met| met.levelled += u64::from(*step == Step::Pause));
            self.carry_out(change, step)
        };
        Ok(self.filler().level(&sources, &mut carry_out)?)
    }

    fn save(&self, definitions: &Definitions) -> PortResult<()> {
        let act = || {
            self.disk.save(definitions);
            let shards = 0..self.world.setup.shards;
            let has = shards.map(|shard| self.world.store.written(shard));
            self.world
                .deployed
                .change(definitions.routes, has.collect());
            Ok(())
        };
        self.faults.meet(Part::Store, Effect::Write, act)
    }
}

impl Parts for Server {
    type Change = Change;

    fn carry_out(&self, change: &mut Change, step: &Step) -> PortResult<()> {
        match step {
            Step::DropUnnamed => {
                let extra = change.next.views.iter().map(|id| extra(&self.world, *id));
                let views = self.world.views.iter().cloned().chain(extra);
                let views: Vec<_> = views.map(|view| Arc::clone(view.spec())).collect();
                begin_states(self.store.as_ref(), &views, &HashSet::new())
            }
            Step::MakeTables => {
                let sources = &self.world.sources;
                let known = source_tables(sources.iter());
                let known = (self.life.phase() != Phase::Starting).then_some(known.as_slice());
                self.looks.make(sources, known, self.is_ingesting())
            }
            // A change brings no source here.
            Step::DropEmptyTables => Ok(()),
            Step::BeginView(view) => {
                let (source, view) = (&self.world.sources[0], extra(&self.world, id_of(view)?));
                Ok(self.filler().begin(source, view.as_ref())?)
            }
            Step::FillBeside(view) => {
                let (source, view) = (&self.world.sources[0], extra(&self.world, id_of(view)?));
                let course = &mut change.course;
                Ok(self.filler().beside(source, view.as_ref(), course)?)
            }
            Step::CatchUp => {
                let source = || Arc::clone(&self.world.sources[0]);
                let added = change.added();
                let views = added.map(|id| (source(), extra(&self.world, *id)));
                let views: Vec<_> = views.collect();
                let course = &mut change.course;
                Ok(self.filler().catch_up_with_ingest(&views, course)?)
            }
            Step::Pause => {
                // All new views read the first source.
                let is_added = change.added().next().is_some();
                let needed = is_added.then(|| Arc::clone(&self.world.sources[0]));
                let needed: Vec<_> = needed.into_iter().collect();
                Ok(self.filler().after(self.stop_ingest(), &needed)?)
            }
            Step::Level => self.level(change),
            Step::FillRest(view) => {
                let (source, view) = (&self.world.sources[0], extra(&self.world, id_of(view)?));
                Ok(self.filler().rest(source, view.as_ref()).map(drop)?)
            }
            Step::Save(which) => self.save(change.of(*which)),
            Step::Resume(which) => {
                // A resume that failed may have started ingest with the other definitions.
                log_stop(self.stop_ingest());
                self.resume(change.of(*which))
            }
            Step::DropView(view) => self.store.drop_view(id_of(view)?),
            Step::DropLeftovers => {
                let named = self.named(&change.next);
                delete_leftovers(self.store.as_ref(), &named, Leftovers::All)
            }
        }
    }
}

impl FillHost for Server {
    fn is_ingesting(&self) -> bool {
        Server::is_ingesting(self)
    }

    fn archiver(&self) -> Option<Archiver> {
        self.running.lock().as_ref().map(Pipeline::archiver)
    }

    // All definitions read all sources.
    fn recovered(&self, _: &str) -> Option<Applied> {
        Some(self.recovered.lock().clone())
    }

    fn limit_ingest(&self, rows_per_s: Option<NonZeroU64>) {
        if let Some(pipeline) = &*self.running.lock()
            && !self.unlimited.load(Ordering::Relaxed)
        {
            pipeline.limit_rows(rows_per_s);
        }
    }

    fn halts(&self) -> Vec<Listed> {
        let running = self.running.lock();
        running.as_ref().map(Pipeline::halts).unwrap_or_default()
    }

    fn waits_for(&self, _: &str) -> Option<String> {
        None
    }

    fn trouble(&self) -> Option<String> {
        match self.store.health() {
            StoreHealth::Well => self.died(),
            StoreHealth::Troubled { why } | StoreHealth::Lost { why } => Some(why),
        }
    }

    fn folded(&self, _: &str, rows: u64, _: u64, _: u64) {
        if self.running.lock().is_none() {
            self.rest.fetch_add(rows, Ordering::Relaxed);
        }
    }

    fn passed(&self, _: &str, _: Duration) {}
}
