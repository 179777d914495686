//! Alarms on their way out: from the monitors to the alert topic, at least once.
//!
//! # Transitions
//!
//! An alarm alternates between firing and resolved, forward in event time. A report that repeats
//! the last transition, or is about an earlier window, publishes nothing: rows that came late never
//! bring back an older state. Monitors report all their alarms whenever a window closes, which also
//! corrects what an earlier process has published.
//!
//! The transitions of one alarm are numbered, and the record's id follows from the number. One that
//! a crash repeats keeps its id, also where late rows have given its window another revision since,
//! so that consumers drop it.
//!
//! # What outlives a process
//!
//! The last transition of each alarm that the broker acknowledged, and those that are being sent,
//! saved before they are. After a crash these are sent again as they were, since nobody knows which
//! of them arrived, and what the monitor reports by then follows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::ports::{Checkpoints, Publication, Publisher, Runtime};
use forebay_core::prediction::OutboxRecord;
use forebay_core::time::Micros;
use forebay_core::{PortError, PortResult};
use forebay_pipeline::Outage;
use forebay_pipeline::runtime::{Thread, block_on};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, channel};

use crate::monitoring::{Alarm, RaiseAlarm};

/// Alarms that may wait for the broker; more are left for later, loudly.
const ALARMS_WAITING_MAX: usize = 10_000;
/// Alarms that are sent at once.
const BATCH: usize = 1_000;
const CHECKPOINT: &str = "alarms";

/// State of an alarm after a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Status {
    /// End of the window.
    window_end_us: Micros,
    /// Whether it is up.
    firing: bool,
    /// Number of the transition among those of its alarm, from 0.
    turn: u32,
}

/// One transition of an alarm, for its topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Transition {
    identity: String,
    status: Status,
    record: OutboxRecord,
}

/// The last transition of each alarm.
#[derive(Debug, Clone, Default)]
struct LastTransitions(BTreeMap<String, Status>);

impl LastTransitions {
    /// The transition that `alarm` reports; None where it repeats the last one or is about an
    /// earlier window.
    fn news(&self, alarm: &Alarm) -> Option<Transition> {
        let (notice, last) = (&alarm.notice, self.0.get(&alarm.identity));
        let is_news = match last {
            None => notice.firing,
            Some(last) => {
                notice.firing != last.firing && notice.window_end_us >= last.window_end_us
            }
        };
        if !is_news {
            return None;
        }
        let turn = last.map_or(0, |last| last.turn.wrapping_add(1));
        let status = Status {
            window_end_us: notice.window_end_us,
            firing: notice.firing,
            turn,
        };
        match notice.outbox_record(turn) {
            Ok(record) => Some(Transition {
                identity: alarm.identity.clone(),
                status,
                record,
            }),
            Err(error) => {
                let monitor = &notice.monitor;
                tracing::error!(
                    monitor,
                    error = with_causes(&error),
                    "an alarm cannot be encoded; the monitor still shows it"
                );
                None
            }
        }
    }

    fn note(&mut self, transition: &Transition) {
        let status = transition.status;
        let last = self.0.insert(transition.identity.clone(), status);
        let follows =
            |last: Status| status.turn == last.turn.wrapping_add(1) && status.firing != last.firing;
        let is_next = last.is_none_or(follows);
        invariant!(TransitionsAlternate, is_next, "{status:?} after {last:?}");
    }
}

/// What there is to publish: from earlier processes, from what the monitors had raised by the
/// start, and from now on.
#[derive(Debug)]
pub struct Outgoing {
    published: PublishedAlarms,
    waiting: VecDeque<Transition>,
    raised: Receiver<Transition>,
}

/// Where monitors put alarms, and what is published of them and of the `past`, in its order. What
/// earlier processes have published is in `checkpoints`. An alarm that finds no room is left until
/// the monitor says again how it stands, loudly.
#[must_use]
pub fn alarm_queue(past: &[Alarm], checkpoints: Arc<dyn Checkpoints>) -> (RaiseAlarm, Outgoing) {
    let published = PublishedAlarms::open(checkpoints);
    let mut last = LastTransitions(published.kept.last.clone());
    let mut waiting = VecDeque::from(published.kept.sending.clone());
    waiting.iter().for_each(|transition| last.note(transition));
    for alarm in past {
        if let Some(transition) = last.news(alarm) {
            last.note(&transition);
            waiting.push_back(transition);
        }
    }
    let (transitions, raised) = channel(ALARMS_WAITING_MAX);
    let raise = move |alarm: Alarm| {
        let Some(transition) = last.news(&alarm) else {
            return;
        };
        match transitions.try_send(transition.clone()) {
            Ok(()) => last.note(&transition),
            Err(refused) => {
                tracing::warn!(%refused, "an alarm finds no room and is said again later");
            }
        }
    };
    let outgoing = Outgoing {
        published,
        waiting,
        raised,
    };
    (Box::new(raise), outgoing)
}

/// The checkpoint, which survives a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Last state of each alarm that the broker acknowledged, by the alarm's identity.
    last: BTreeMap<String, Status>,
    /// Transitions handed to the broker and not acknowledged, in the order of sending.
    sending: Vec<Transition>,
}

/// The checkpoint and the store that it is written to.
#[derive(Debug)]
struct PublishedAlarms {
    checkpoints: Arc<dyn Checkpoints>,
    kept: Kept,
}

impl PublishedAlarms {
    /// Load what earlier runs have published. A checkpoint that cannot be read does not stop the
    /// start: `alarm_queue` then publishes the alarms of the past again.
    fn open(checkpoints: Arc<dyn Checkpoints>) -> Self {
        let read = checkpoints.load(CHECKPOINT).and_then(|kept| {
            let parse = |kept: Vec<u8>| serde_json::from_slice(&kept);
            let parsed = kept.map(parse).transpose();
            parsed.map_err(|error| PortError::internal(format!("damaged: {error}")))
        });
        let kept = read.unwrap_or_else(|error| {
            tracing::warn!(
                error = with_causes(&error),
                "published alarms are not known; those of the past are published again"
            );
            None
        });
        Self {
            checkpoints,
            kept: kept.unwrap_or_default(),
        }
    }

    /// `transitions` are about to be sent. Where that cannot be saved they are sent all the same:
    /// an alarm is worth more than what a crash may then make of it.
    fn intend(&mut self, transitions: &[Transition]) {
        if self.kept.sending == transitions {
            return;
        }
        self.kept.sending = transitions.to_vec();
        if let Err(error) = self.save() {
            self.kept.sending.clear();
            tracing::warn!(
                error = with_causes(&error),
                "alarms are sent without a note"
            );
        }
    }

    /// The broker has `transitions`, the first of those that were about to be sent.
    fn note(&mut self, transitions: Vec<Transition>) {
        let noted = transitions.len().min(self.kept.sending.len());
        let are_first = self.kept.sending.starts_with(&transitions[..noted]);
        invariant!(PublishedOnce, are_first, "{noted} of {}", transitions.len());
        self.kept.sending.drain(..noted);
        let last = transitions
            .into_iter()
            .map(|transition| (transition.identity, transition.status));
        self.kept.last.extend(last);
        if let Err(error) = self.save() {
            tracing::warn!(
                error = with_causes(&error),
                "published alarms were not noted; the next start repeats them"
            );
        }
    }

    fn save(&self) -> PortResult<()> {
        let kept = serde_json::to_vec(&self.kept)
            .map_err(|error| PortError::internal(format!("alarms are no JSON: {error}")))?;
        self.checkpoints.save(CHECKPOINT, &kept)
    }
}

/// The thread that publishes.
#[derive(Debug)]
pub struct AlarmPublisher {
    thread: Thread<()>,
    stopping: Arc<AtomicBool>,
}

impl AlarmPublisher {
    /// Publish what is `outgoing`, until every observer is gone. What the broker does not take is
    /// tried until it does.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        outgoing: Outgoing,
        publisher: Arc<dyn Publisher>,
        runtime: &Arc<dyn Runtime>,
    ) -> PortResult<Self> {
        let Outgoing {
            published,
            waiting,
            raised,
        } = outgoing;
        let stopping = Arc::new(AtomicBool::new(false));
        let run = Run {
            runtime: Arc::clone(runtime),
            publisher,
            published,
            stopping: Arc::clone(&stopping),
        };
        let thread = Thread::spawn(runtime, "alarms", move || run.all(waiting, raised))?;
        Ok(Self { thread, stopping })
    }

    /// Wait for what is on its way. Every observer must be gone. What the broker does not take now
    /// waits for the next start.
    ///
    /// # Errors
    /// The thread has panicked.
    pub fn finish(self) -> PortResult<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.wait()
    }

    fn wait(self) -> PortResult<()> {
        let gone = || PortError::internal("the thread that publishes alarms has panicked");
        self.thread.join().ok_or_else(gone)
    }
}

struct Run {
    runtime: Arc<dyn Runtime>,
    publisher: Arc<dyn Publisher>,
    published: PublishedAlarms,
    stopping: Arc<AtomicBool>,
}

impl Run {
    fn all(mut self, mut waiting: VecDeque<Transition>, mut raised: Receiver<Transition>) {
        let mut outage: Option<Outage> = None;
        loop {
            if waiting.is_empty() {
                match block_on(self.runtime.as_ref(), raised.recv()) {
                    Some(alarm) => waiting.push_back(alarm),
                    None => return,
                }
            }
            while waiting.len() < ALARMS_WAITING_MAX
                && let Ok(alarm) = raised.try_recv()
            {
                waiting.push_back(alarm);
            }
            let batch: Vec<Transition> = waiting.iter().take(BATCH).cloned().collect();
            self.published.intend(&batch);
            let records: Vec<&OutboxRecord> = batch.iter().map(|alarm| &alarm.record).collect();
            let outcomes = self.publisher.publish(&records, &self.stopping);
            let (answered, sent) = (outcomes.len(), records.len());
            invariant!(OutcomePerRecord, answered == sent, "{answered} of {sent}");
            let failure = self.take_out(&mut waiting, outcomes);
            match failure {
                None => {
                    if let Some(outage) = outage.take() {
                        outage.is_over(&"the alert topic");
                    }
                }
                Some(error) => {
                    let words = with_causes(&error);
                    let outage = outage.get_or_insert_with(|| Outage::new("publishing of alarms"));
                    let runtime = self.runtime.as_ref();
                    if !outage.pause(runtime, &self.stopping, error.kind(), &words) {
                        let alarms = waiting.len();
                        tracing::warn!(error = words, alarms, "alarms are left for the next start");
                        return;
                    }
                }
            }
        }
    }

    /// Take out of `waiting` what is dealt with, up to the first alarm that must be sent again, and
    /// return why.
    fn take_out(
        &mut self,
        waiting: &mut VecDeque<Transition>,
        outcomes: Vec<Publication>,
    ) -> Option<PortError> {
        let (mut done, mut failure) = (Vec::new(), None);
        for outcome in outcomes {
            if let Publication::Unknown(error) = outcome {
                failure = Some(error);
                break;
            }
            let Some(alarm) = waiting.pop_front() else {
                break;
            };
            if let Publication::Refused(words) = outcome {
                let topic = &alarm.record.topic;
                tracing::error!(topic, error = words, "an alarm is refused and given up");
            }
            done.push(alarm);
        }
        if !done.is_empty() {
            self.published.note(done);
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::OnceLock;

    use forebay_core::ErrorKind;
    use forebay_core::prediction::Role;
    use forebay_monitor::{AlarmNotice, ColumnRole};
    use forebay_pipeline::SystemRuntime;
    use forebay_testkit::MemoryCheckpoints;
    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;

    /// Refuses the first `refusals` calls.
    #[derive(Debug, Default)]
    struct Broker {
        refusals: Mutex<u32>,
        taken: Mutex<Vec<String>>,
        ids: Mutex<BTreeSet<String>>,
    }

    impl Broker {
        fn refusing(refusals: u32) -> Arc<Self> {
            Arc::new(Self {
                refusals: Mutex::new(refusals),
                ..Self::default()
            })
        }
    }

    impl Publisher for Broker {
        fn publish(&self, records: &[&OutboxRecord], _: &AtomicBool) -> Vec<Publication> {
            let mut refusals = self.refusals.lock();
            let outcome = || {
                if *refusals > 0 {
                    Publication::unknown(ErrorKind::Unavailable, "not now")
                } else {
                    Publication::Acknowledged
                }
            };
            let outcomes: Vec<_> = records.iter().map(|_| outcome()).collect();
            if *refusals > 0 {
                *refusals -= 1;
            } else {
                self.taken.lock().extend(records.iter().map(|r| text(r)));
                let ids = records.iter().map(|r| event(r)["id"].to_string());
                self.ids.lock().extend(ids);
            }
            outcomes
        }
    }

    fn event(record: &OutboxRecord) -> Value {
        serde_json::from_slice(&record.payload).expect("alarms are JSON")
    }

    /// What [`alarm`] made the record from.
    fn text(record: &OutboxRecord) -> String {
        let data = &event(record)["data"];
        let direction = match data["firing"].as_bool() {
            Some(true) => "up",
            _ => "down",
        };
        let monitor = data["monitor"].as_str().expect("a name");
        format!("{monitor} {} {direction}", data["window_end_us"])
    }

    /// `"a 7 up"`: the alarm of monitor `a` went up with the window that ended at 7, which has
    /// `revision` by now.
    fn revised(text: &str, revision: u32) -> Alarm {
        let parts: Vec<&str> = text.split(' ').collect();
        let notice = AlarmNotice {
            monitor: parts[0].to_owned(),
            model: String::new(),
            version: 1,
            role: Role::Live,
            column: "score".to_owned(),
            column_role: ColumnRole::Score,
            method: "psi".to_owned(),
            firing: parts[2] == "up",
            window_start_us: 0,
            window_end_us: parts[1].parse().expect("a number"),
            revision,
            score: None,
            threshold: None,
            p: None,
            values: 0,
            reference_values: 0,
            calibration: None,
            reference: String::new(),
            reference_digest: String::new(),
            coverage: None,
            top_bins: Vec::new(),
        };
        Alarm {
            identity: notice.key(),
            notice,
        }
    }

    fn alarm(text: &str) -> Alarm {
        revised(text, 0)
    }

    fn runtime() -> Arc<dyn Runtime> {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"));
        Arc::new(SystemRuntime::new(runtime.handle().clone()))
    }

    /// A run of a server that rebuilds `past` and raises `live`.
    fn start(
        kept: &MemoryCheckpoints,
        broker: &Arc<Broker>,
        past: &[&str],
        live: &[&str],
    ) -> PortResult<AlarmPublisher> {
        let past: Vec<Alarm> = past.iter().map(|text| alarm(text)).collect();
        let (mut raise, outgoing) = alarm_queue(&past, Arc::new(kept.clone()));
        live.iter().for_each(|text| raise(alarm(text)));
        let broker: Arc<dyn Publisher> = Arc::<Broker>::clone(broker);
        AlarmPublisher::start(outgoing, broker, &runtime())
    }

    /// One that ends when all is taken.
    fn run(
        kept: &MemoryCheckpoints,
        broker: &Arc<Broker>,
        past: &[&str],
        live: &[&str],
    ) -> PortResult<()> {
        start(kept, broker, past, live)?.wait()
    }

    #[test]
    fn a_start_publishes_what_goes_beyond_the_last_transitions_of_earlier_ones() -> PortResult<()> {
        let (kept, broker) = (MemoryCheckpoints::default(), Broker::refusing(0));
        run(&kept, &broker, &[], &["a 7 up", "b 7 up", "a 14 down"])?;
        // The same past again, then a window that closed while nobody was there to say so.
        run(
            &kept,
            &broker,
            &["a 7 up", "b 7 up", "a 14 down", "a 21 up"],
            &["b 21 down"],
        )?;
        // A rebuild that sees an old window otherwise changes no last transition.
        run(&kept, &broker, &["a 7 down", "b 14 up"], &[])?;
        assert_eq!(
            *broker.taken.lock(),
            ["a 7 up", "b 7 up", "a 14 down", "a 21 up", "b 21 down"]
        );
        Ok(())
    }

    #[test]
    fn what_the_broker_refuses_is_tried_until_it_is_taken() -> PortResult<()> {
        let (kept, broker) = (MemoryCheckpoints::default(), Broker::refusing(1));
        run(&kept, &broker, &[], &["a 7 up", "a 14 down"])?;
        assert_eq!(*broker.taken.lock(), ["a 7 up", "a 14 down"]);
        Ok(())
    }

    #[test]
    fn what_is_not_taken_at_the_end_waits_for_the_next_start() -> PortResult<()> {
        let (kept, broker) = (MemoryCheckpoints::default(), Broker::refusing(u32::MAX));
        start(&kept, &broker, &[], &["a 7 up"])?.finish()?;
        assert!(broker.taken.lock().is_empty());
        *broker.refusals.lock() = 0;
        run(&kept, &broker, &["a 7 up"], &[])?;
        assert_eq!(*broker.taken.lock(), ["a 7 up"]);
        Ok(())
    }

    #[test]
    fn transitions_alternate_and_never_go_back_to_an_earlier_window() -> PortResult<()> {
        let (kept, broker) = (MemoryCheckpoints::default(), Broker::refusing(0));
        let said = [
            "a 7 down",
            "a 7 up",
            "a 14 up",
            "a 14 down",
            "a 7 up",
            "a 14 up",
        ];
        run(&kept, &broker, &[], &said)?;
        assert_eq!(*broker.taken.lock(), ["a 7 up", "a 14 down", "a 14 up"]);
        // Late rows have taken back what was said, and no process lived to say so.
        run(&kept, &broker, &["a 21 down"], &["a 14 up", "a 21 down"])?;
        assert_eq!(broker.taken.lock().split_off(3), ["a 21 down"]);
        assert_eq!(broker.ids.lock().len(), 4, "no two share an id");
        Ok(())
    }

    #[test]
    fn a_transition_that_may_have_arrived_is_sent_again_under_its_id_before_what_its_monitor_says_by_then()
    -> PortResult<()> {
        let (kept, broker) = (MemoryCheckpoints::default(), Broker::refusing(u32::MAX));
        // The first process ends before it hears of the broker's answer.
        start(&kept, &broker, &[], &["a 7 up"])?.finish()?;
        *broker.refusals.lock() = 0;
        run(&kept, &broker, &["a 7 up"], &["a 14 down"])?;
        assert_eq!(*broker.taken.lock(), ["a 7 up", "a 14 down"]);
        let again = [revised("a 7 up", 0), revised("a 7 up", 9)].map(|alarm| {
            let (_, outgoing) = alarm_queue(&[alarm], Arc::new(MemoryCheckpoints::default()));
            event(&outgoing.waiting[0].record)["id"].to_string()
        });
        assert!(broker.ids.lock().contains(&again[0]) && again[0] == again[1]);
        Ok(())
    }

    #[test]
    fn a_damaged_record_costs_repeats_and_no_alarm() -> PortResult<()> {
        let (kept, broker) = (MemoryCheckpoints::default(), Broker::refusing(0));
        kept.save(CHECKPOINT, b"{")?;
        run(&kept, &broker, &["a 7 up"], &[])?;
        run(&kept, &broker, &["a 7 up"], &[])?;
        assert_eq!(*broker.taken.lock(), ["a 7 up"]);
        Ok(())
    }

    #[test]
    fn an_alarm_beyond_the_room_that_waits_for_the_broker_is_left_for_later() {
        let kept = MemoryCheckpoints::default();
        let (mut raise, mut outgoing) = alarm_queue(&[], Arc::new(kept));
        for number in 0..=ALARMS_WAITING_MAX {
            raise(alarm(&format!("{number} 7 up")));
        }
        let mut taken = || std::iter::from_fn(|| outgoing.raised.try_recv().ok()).count();
        assert_eq!(taken(), ALARMS_WAITING_MAX);
        raise(alarm(&format!("{ALARMS_WAITING_MAX} 14 up")));
        assert_eq!(taken(), 1, "it is said again when the next window closes");
    }
}
