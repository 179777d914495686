//! One seed: a world whose shape follows from it, processes that are disturbed, change their
//! definitions, are killed and started again while events go on coming, a last one that nothing
//! disturbs, and the oracle's verdict.
//!
//! Everything that a run decides comes from the seed, so a seed that fails is played again as it
//! was.

mod changes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::ports::{Archive, FillWriter, StateHealth, StateProgress};
use forebay_core::progress::TopicPartition;
use forebay_core::time::SECOND_US;
use forebay_core::view::ViewId;
use forebay_monitor::MonitorReport;
use forebay_pipeline::runtime::block_on;
use forebay_testkit::Random;

pub use changes::Changes;

use crate::definitions::{Disk, EXTRA};
use crate::drift::{Judged, check_alarms};
use crate::evaluator::{Evaluated, Figures};
use crate::faults::{End, Faults, Rates};
use crate::met::Met;
use crate::monitored::{LABELS_TOPIC, WINDOW_US};
use crate::oracle::{Oracle, check};
use crate::recomputed::check_scores;
use crate::refusals::Refusals;
use crate::runtime::{Report, SimRuntime, simulate};
use crate::server::Server;
use crate::world::{EVENTS, PREDICTIONS_TOPIC, RECENT, Setup, TOPIC, World};

/// Virtual time in which a process that nothing disturbs must be done.
const DONE_MAX: Duration = Duration::from_secs(600);

/// Virtual time in which all is read again once nothing more goes wrong: an outage, and three of
/// the longest pauses between two looks, where rows could not be read (that is heard, they are
/// read again, that is heard).
const BACK_MAX: Duration = Duration::from_secs(420);

/// About how often tasks are switched between two calls of ports.
const SWITCHES_PER_CALL: usize = 5;

/// Virtual time in which notes on events without a prediction are archived.
const SETTLED_MAX: Duration = Duration::from_secs(10);

/// One seed, played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// It names what failed.
    pub report: Report,
    /// Nothing where it failed.
    pub met: Met,
}

/// Play `seed`.
#[must_use]
pub fn play(seed: u64) -> Played {
    let (met, report) = simulate(seed, move |runtime| Run::new(seed, &runtime).play());
    Played {
        report,
        met: met.unwrap_or_default(),
    }
}

/// One seed under way.
struct Run {
    runtime: SimRuntime,
    random: Random,
    world: Arc<World>,
    disk: Arc<Disk>,
    /// Whether state of views is damaged.
    damages: bool,
    /// Whether models lie and panic now and then.
    misbehaves: bool,
    /// Whether the archive may have been left behind every shard: then a row may have lost its
    /// mark.
    left_behind: bool,
    /// Views that a change has dropped.
    dropped: BTreeSet<ViewId>,
    met: Met,
}

impl Run {
    fn new(seed: u64, runtime: &SimRuntime) -> Self {
        // Not the numbers that the runtime draws from.
        let mut random = Random::new(!seed);
        let scored = random.below(4) > 0;
        let setup = Setup {
            partitions: 1 + random.below(3),
            shards: u16::try_from(1 + random.below(4)).expect("few"),
            writer_threads: 1 + random.below(3),
            epoch_max_rows: 1 + random.below(20),
            scored,
            monitored: scored && random.below(3) > 0,
            shadow: random.below(2) == 0,
            monitor_comes_later: random.below(6) == 0,
            alarm_windows: [1, 2][random.below(2)],
            refuses_alarms: random.below(4) == 0,
            far_ahead: random.below(3) == 0,
            idle_timeout_us: [1, 3, 30][random.below(3)] * SECOND_US,
            flush: Duration::from_millis([3, 300, 10_000][random.below(3)]),
            refusals: Refusals {
                of_the_model: random.below(4) == 0,
                in_panic: random.below(2) == 0,
                of_the_topic: random.below(4) == 0,
            },
            ..Setup::default()
        };
        let world = World::with_events(setup, random.below(30), random.bits());
        Self {
            runtime: runtime.clone(),
            damages: random.below(4) > 0,
            misbehaves: random.below(2) == 0,
            left_behind: false,
            random,
            world: Arc::new(world),
            disk: Arc::default(),
            dropped: BTreeSet::new(),
            met: Met::default(),
        }
    }

    fn play(mut self) -> Met {
        for _ in 0..self.random.below(4) {
            self.disturbed();
            self.cut_power();
            self.retire();
        }
        let reports = self.undisturbed();
        self.met.strict = u64::from(!self.left_behind);
        self.met.checked = check(&self.world, !self.left_behind);
        self.check_monitors(&reports);
        self.met.recomputed = check_scores(&self.world, &Oracle::of(&self.world));
        self.check_extra();
        if self.random.below(3) == 0 {
            self.lose_head();
            check(&self.world, !self.left_behind);
            self.check_extra();
        }
        if self.random.below(4) == 0 {
            self.made_anew();
        }
        self.met
    }

    fn server(&mut self, faults: &Arc<Faults>) -> Arc<Server> {
        Server::new(&self.world, &self.disk, faults, self.random.bits())
    }

    /// A process under faults, with events that come meanwhile. It is killed, or stops.
    fn disturbed(&mut self) {
        self.damage();
        let rates = Rates {
            outages: [0, 5, 30][self.random.below(3)],
            delays: [0, 20, 200][self.random.below(3)],
            lost_replies: [0, 50][self.random.below(2)],
            refusals: [0, 20][self.random.below(2)],
            breaks: [0, 40][self.random.below(2)],
            lies: if self.misbehaves { 200 } else { 0 },
            panics: if self.misbehaves { 100 } else { 0 },
        };
        let end = match self.random.below(3) {
            0 => End::Never,
            _ => self.end(600),
        };
        let faults = Faults::new(&self.runtime, self.random.bits(), rates, end);
        if self.random.below(3) == 0 {
            // One source's table alone.
            let sources = &self.world.sources;
            let table = &sources[self.random.below(sources.len())].name;
            let lasts = Duration::from_millis(self.random.below(20_000) as u64);
            faults.shut(table, lasts);
        }
        let faults = Arc::new(faults);
        let server = self.server(&faults);
        if server.begin().is_err() {
            // A part was away, or the process ended as it began.
            self.over(&faults, &server);
            return;
        }
        for _ in 0..self.random.below(6) {
            self.meanwhile(&server);
            let pause = Duration::from_millis(self.random.below(3_000) as u64);
            self.runtime.wait_until(pause, || faults.is_over());
        }
        if !server.is_stopping() && (self.random.below(2) == 0 || !server.is_ingesting()) {
            faults.calm();
            let is_back = || {
                let is_over = faults.is_over() || server.is_stopping();
                is_over || server.is_whole() || server.lost().is_some()
            };
            let is_back = self.runtime.wait_until(BACK_MAX, is_back);
            assert!(is_back, "not all is read again: {}", server.words());
        }
        // What a stop under faults says is for whoever reads the log.
        let _told = server.pause();
        let met = server.met();
        self.met.came_back += met.came_back;
        self.met.left_out += met.left_out;
        self.met.mended += met.mended;
        self.met.lost += met.lost;
        self.met.levelled += met.levelled;
        self.met.set_aside += self.world.store.set_aside().len() as u64;
        self.over(&faults, &server);
    }

    /// What some shards have of views that definitions have added may be damaged.
    fn damage(&mut self) {
        if !self.damages {
            return;
        }
        for view in self.disk.views() {
            for shard in 0..self.world.setup.shards {
                if self.random.below(2) == 0 {
                    self.world.store.damage(shard, view);
                }
            }
        }
    }

    /// Where a process ends: at one of so many calls, or at a switch of its tasks about as late.
    fn end(&mut self, calls: usize) -> End {
        match self.random.below(2) {
            0 => End::AtCall(self.random.below(calls) as u64),
            _ => End::AtSwitch(self.random.below(SWITCHES_PER_CALL * calls) as u64),
        }
    }

    /// The process is over, whatever has ended it.
    fn over(&mut self, faults: &Faults, server: &Server) {
        self.left_behind |= faults.is_over() || server.met().cut_off > 0;
        let crashes = faults.crashes();
        self.met.crashes.at_calls += crashes.at_calls;
        self.met.crashes.at_switches += crashes.at_switches;
        self.met.add_deeds(faults.deeds());
        self.met.undecided += faults.undecided();
        self.met.broken_reads += faults.broken_reads();
        faults.kill();
    }

    /// Something comes from outside.
    fn meanwhile(&mut self, server: &Arc<Server>) {
        let (count, seed) = (self.random.below(12), self.random.bits());
        let later = i64::try_from(self.random.below(20)).expect("few");
        self.world.move_on(later * SECOND_US);
        if self.world.setup.monitored && self.random.below(3) == 0 {
            // In a window of their own, so that verdicts change there and back.
            self.world.shift(self.random.below(2) == 0);
            self.world.move_on(WINDOW_US);
            let (count, seed) = (self.random.below(40), self.random.bits());
            self.world.append_events(count, seed);
        }
        match self.random.below(10) {
            0..=2 => self.change(server),
            3 => {
                self.world.log.set_down(true);
                let away = Duration::from_millis(self.random.below(40_000) as u64);
                self.runtime.pause(away);
                self.world.log.set_down(false);
            }
            4 => {
                let mut topics = vec![TOPIC, PREDICTIONS_TOPIC];
                topics.extend(self.world.setup.monitored.then_some(LABELS_TOPIC));
                let topic = topics[self.random.below(topics.len())];
                let partitions = self.world.log.partitions(topic);
                self.world.log.grow(topic, (partitions + 1).min(4));
            }
            5 => self.world.log.control(TOPIC, 0),
            _ => self.world.append_events(count, seed),
        }
    }

    /// The last writes of a shard may be lost with the power.
    fn cut_power(&mut self) {
        if self.random.below(2) == 0 {
            return;
        }
        for shard in 0..usize::from(self.world.setup.shards) {
            let most = self.world.store.writes(shard).min(6);
            let lost = self.random.below(most + 1);
            let number = u16::try_from(shard).expect("few");
            let before = self.world.store.written(number);
            self.world.store.lose_writes(shard, lost);
            let left = self.world.store.written(number);
            self.world.deployed.note_cut(number, left, before);
        }
    }

    /// Retention deletes what archive and shards have, some of it.
    fn retire(&mut self) {
        if self.random.below(2) == 0 {
            return;
        }
        self.world.store.sync().expect("in memory");
        let archived = block_on(&self.runtime, self.world.archive.progress(EVENTS));
        let archived = archived.unwrap_or_default();
        for partition in 0..self.world.log.partitions(TOPIC) {
            let number = i32::try_from(partition).expect("few");
            let place = TopicPartition::new(TOPIC, number);
            let shards = (0..self.world.setup.shards).map(|s| self.world.store.applied(s));
            let applied = shards.map(|applied| applied.next_offset(&place)).min();
            let safe = applied.unwrap_or(0).min(archived.next_offset(&place));
            let kept = i64::try_from(self.random.below(4)).expect("few");
            let begin = self.world.log.begin(TOPIC, partition);
            if safe - kept > begin {
                self.world.log.retire(TOPIC, partition, safe - kept);
            }
        }
    }

    /// The log loses records that nobody has read: the source halts until somebody accepts the gap.
    fn lose_head(&mut self) {
        let ends = self.world.log.ends(TOPIC);
        self.world.append_events(40, self.random.bits());
        for (partition, end) in ends.into_iter().enumerate() {
            let lost = i64::try_from(self.random.below(6)).expect("few");
            let records = self.world.log.records(TOPIC, partition);
            // Some are left, so that reading goes on behind the gap.
            if records.iter().any(|record| record.offset > end + lost) {
                self.world.log.retire(TOPIC, partition, end);
                self.world.log.delete_before(TOPIC, partition, end + lost);
            }
        }
        for _ in 0..self.random.below(3) {
            self.accept(true);
        }
        self.accept(false);
    }

    /// A process in which somebody accepts whatever gap there is, and which then reads what is
    /// left; under faults it may end before that.
    fn accept(&mut self, disturbed: bool) {
        let rates = Rates {
            outages: 10,
            delays: 20,
            lost_replies: 20,
            ..Rates::default()
        };
        let end = self.end(300);
        let faults = match disturbed {
            true => Faults::new(&self.runtime, self.random.bits(), rates, end),
            false => Faults::none(&self.runtime),
        };
        let faults = Arc::new(faults);
        let server = self.server(&faults);
        let began = server.begin();
        if disturbed && began.is_err() {
            self.over(&faults, &server);
            return;
        }
        began.expect("it starts");
        let longest = if disturbed {
            Duration::from_secs(30)
        } else {
            DONE_MAX
        };
        let done = self.runtime.wait_until(longest, || {
            if !server.halted().is_empty() {
                // One that fails is asked for again.
                let _told = server.accept_gaps(EVENTS);
            }
            faults.is_over() || self.is_done()
        });
        if !disturbed {
            self.make_anew(&server);
        }
        let stopped = server.pause();
        self.over(&faults, &server);
        if !disturbed {
            assert!(done, "not done in time, lacks {:?}", self.world.lacking());
            stopped.expect("nothing is in the way of the stop");
        }
    }

    /// The topic of the events is deleted and made anew: nothing of it is read, nothing is lost.
    fn made_anew(&mut self) {
        let applied = |shard| !self.world.store.applied(shard).0.is_empty();
        if !(0..self.world.setup.shards).any(applied) {
            return;
        }
        let before = (self.rows(RECENT), self.world.archive.rows(EVENTS).len());
        let partitions = self.world.log.partitions(TOPIC);
        self.world.log.delete_topic(TOPIC);
        self.world.log.create_topic(TOPIC, partitions);
        self.world.append_events(100, self.random.bits());
        let faults = Arc::new(Faults::none(&self.runtime));
        let server = self.server(&faults);
        server.begin().expect("it starts");
        self.runtime.pause(Duration::from_secs(60));
        let halted = server.halted();
        server.pause().expect("nothing is in the way of the stop");
        assert!(halted.contains(&EVENTS.to_owned()), "halted are {halted:?}");
        let after = (self.rows(RECENT), self.world.archive.rows(EVENTS).len());
        assert!(
            before == after,
            "the topic that was made anew has been read"
        );
    }

    /// Whether all is done, of the events too: before their source is decided on, a reader may
    /// stand at the ends of other topics alone.
    fn is_done(&self) -> bool {
        self.world.log.is_assigned(TOPIC) && self.world.is_done()
    }

    /// A process that does all that is left. What its monitors know when it has stopped.
    fn undisturbed(&mut self) -> Vec<MonitorReport> {
        self.damage();
        let faults = Arc::new(Faults::none(&self.runtime));
        let server = self.server(&faults);
        server.begin().expect("it starts");
        for _ in 0..self.random.below(4) {
            self.change_calmly(&server);
        }
        let done = self.runtime.wait_until(DONE_MAX, || self.is_done());
        let lacking: Vec<String> = self.world.lacking();
        assert!(
            done,
            "not done in time, lacks {lacking:?}: {}",
            server.words()
        );
        if self.random.below(2) == 0 {
            // Whatever a crash has left of a fill is gone on with.
            let all = BTreeSet::from(EXTRA);
            server
                .apply_views(&all)
                .expect("nothing is in the way of it");
        }
        self.make_anew(&server);
        // Notes on events without a prediction are archived, and observers told of them.
        self.runtime.pause(SETTLED_MAX);
        let stopped = server.pause();
        stopped.expect("nothing is in the way of the stop");
        self.met.levelled += server.met().levelled;
        server.reports()
    }

    /// What monitors reported is what a start goes on from, what is rebuilt from the archive alone,
    /// and what an evaluator that knows no monitor makes of the archive.
    fn check_monitors(&mut self, live: &[MonitorReport]) {
        let faults = Arc::new(Faults::none(&self.runtime));
        let server = self.server(&faults);
        let kept = &self.world.checkpoints;
        let after = [
            ("after a restart", kept.clone()),
            ("rebuilt", kept.without("monitor-")),
        ];
        let watched = usize::from(self.disk.saved(&self.world.setup).monitored);
        assert_eq!(live.len(), watched, "a report for each monitor");
        let expected = Evaluated::of(&self.world);
        if expected.both > 0 {
            self.met.ambiguous += 1;
            return;
        }
        for report in live {
            let figures = Figures::of_report(report);
            assert_eq!(figures, expected.figures, "the live report");
            self.met.reports += 1;
            self.met.noted += expected.noted;
            self.met.notes_count += u64::from(expected.notes_count);
            self.met.drifted += expected.closed(&[Judged::Drifted]);
            self.met.stable += expected.closed(&[Judged::Clear, Judged::Between]);
            self.met.alarms = check_alarms(&self.world, &expected);
        }
        for (how, checkpoints) in after {
            let reports = server.reports_from(checkpoints).expect("in memory");
            for (report, live) in reports.iter().zip(live) {
                let (figures, live_figures) =
                    (Figures::of_report(report), Figures::of_report(live));
                assert_eq!(figures, live_figures, "the report {how}");
            }
            assert!(reports == live, "{how}: {reports:?}, and live: {live:?}");
        }
    }
}
