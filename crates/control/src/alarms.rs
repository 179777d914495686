//! Alarms on their way out: from the monitors to the alert topic, at least once. What the broker
//! has acknowledged last of each alarm is kept as a checkpoint; a start publishes what its monitors
//! have raised beyond that. Ids are deterministic, so that consumers can drop what a crash between
//! the two repeats.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_core::ports::{Checkpoints, Publication, Publisher, Runtime};
use forebay_core::prediction::OutboxRecord;
use forebay_core::{PortError, PortResult};
use forebay_pipeline::runtime::{Thread, block_on};
use tokio::sync::mpsc::{Receiver, channel};

use crate::monitoring::{Alarm, AlarmStatus, RaiseAlarm};

/// Alarms that may wait for the broker; more are left for the next start, loudly.
const ALARMS_WAITING_MAX: usize = 10_000;
/// Alarms that are sent at once.
const BATCH: usize = 1_000;
/// Pause after a try that failed.
const PAUSE: Duration = Duration::from_secs(1);
const CHECKPOINT: &str = "alarms";

/// Where monitors put alarms, and where they are published from. One that finds no room is left
/// for the next start, loudly.
#[must_use]
pub fn alarm_queue() -> (RaiseAlarm, Receiver<Alarm>) {
    let (alarms, raised) = channel(ALARMS_WAITING_MAX);
    let raise = move |alarm| {
        if let Err(refused) = alarms.try_send(alarm) {
            tracing::warn!(%refused, "an alarm was not published; the next start does it");
        }
    };
    (Box::new(raise), raised)
}

/// The last word on each alarm that the broker has.
#[derive(Debug)]
struct PublishedAlarms {
    checkpoints: Arc<dyn Checkpoints>,
    last: BTreeMap<String, AlarmStatus>,
}

impl PublishedAlarms {
    /// What earlier runs have published. What cannot be read stops no start: the alarms of the past
    /// are then published again.
    fn open(checkpoints: Arc<dyn Checkpoints>) -> Self {
        let read = checkpoints.load(CHECKPOINT).and_then(|kept| {
            let parse = |kept: Vec<u8>| serde_json::from_slice(&kept);
            let parsed = kept.map(parse).transpose();
            parsed.map_err(|error| PortError::internal(format!("damaged: {error}")))
        });
        let last = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "published alarms are not known; those of the past are published again");
            None
        });
        Self {
            checkpoints,
            last: last.unwrap_or_default(),
        }
    }

    /// The `alarms` of a rebuild, in their order, that go beyond what is known of each. A window
    /// that was judged anew has another revision each time, hence another id: it is the same word
    /// all the same.
    fn news(&self, alarms: Vec<Alarm>) -> VecDeque<Alarm> {
        let mut last = self.last.clone();
        let mut news = VecDeque::new();
        for alarm in alarms {
            let known = last.get(&alarm.identity);
            if known.is_none_or(|known| {
                alarm.status.window_end_us > known.window_end_us
                    || (alarm.status.window_end_us == known.window_end_us
                        && alarm.status.firing != known.firing)
            }) {
                last.insert(alarm.identity.clone(), alarm.status);
                news.push_back(alarm);
            }
        }
        news
    }

    fn note(&mut self, alarms: impl Iterator<Item = Alarm>) {
        self.last
            .extend(alarms.map(|alarm| (alarm.identity, alarm.status)));
        if let Err(error) = self.save() {
            tracing::warn!(%error, "published alarms were not noted; the next start repeats them");
        }
    }

    fn save(&self) -> PortResult<()> {
        let kept = serde_json::to_vec(&self.last)
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
    /// Publish what is new of the `past`, then what is `raised` until every observer is gone. What
    /// the broker does not take is tried until it does. What it has taken is kept in `checkpoints`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        past: Vec<Alarm>,
        raised: Receiver<Alarm>,
        publisher: Arc<dyn Publisher>,
        checkpoints: Arc<dyn Checkpoints>,
        runtime: &Arc<dyn Runtime>,
    ) -> PortResult<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let run = Run {
            runtime: Arc::clone(runtime),
            publisher,
            announced: PublishedAlarms::open(checkpoints),
            stopping: Arc::clone(&stopping),
        };
        let thread = Thread::spawn(runtime, "alarms", move || run.all(past, raised))?;
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
    announced: PublishedAlarms,
    stopping: Arc<AtomicBool>,
}

impl Run {
    fn all(mut self, past: Vec<Alarm>, mut raised: Receiver<Alarm>) {
        let mut waiting = self.announced.news(past);
        let mut is_told = false;
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
            let records: Vec<&OutboxRecord> = waiting
                .iter()
                .take(BATCH)
                .map(|alarm| &alarm.record)
                .collect();
            let outcomes = self.publisher.publish(&records, &self.stopping);
            let failure = self.take_out(&mut waiting, outcomes);
            match failure {
                None => is_told = false,
                Some(error) if self.stopping.load(Ordering::Relaxed) => {
                    tracing::warn!(%error, alarms = waiting.len(), "alarms are left for the next start");
                    return;
                }
                Some(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, alarms = waiting.len(), "alarms are not taken and are tried until they are");
                    }
                    self.runtime.wait(self.runtime.sleep(PAUSE).as_mut());
                }
            }
        }
    }

    /// Take out of `waiting` what is dealt with, up to the first alarm that must be sent again, and
    /// return why.
    fn take_out(
        &mut self,
        waiting: &mut VecDeque<Alarm>,
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
            self.announced.note(done.into_iter());
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use forebay_core::ErrorKind;
    use forebay_pipeline::SystemRuntime;
    use forebay_testkit::MemoryCheckpoints;
    use parking_lot::Mutex;

    use super::*;

    /// Refuses the first `refusals` calls.
    #[derive(Debug, Default)]
    struct Broker {
        refusals: Mutex<u32>,
        taken: Mutex<Vec<String>>,
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
                let texts = records.iter().map(|r| String::from_utf8_lossy(&r.payload));
                self.taken.lock().extend(texts.map(String::from));
            }
            outcomes
        }
    }

    /// `"a 7 up"`: alarm `a` went up with the window that ended at 7.
    fn alarm(text: &str) -> Alarm {
        let parts: Vec<&str> = text.split(' ').collect();
        let status = AlarmStatus {
            window_end_us: parts[1].parse().expect("a number"),
            firing: parts[2] == "up",
        };
        let record = OutboxRecord {
            topic: "alerts".into(),
            key: Vec::new(),
            payload: text.into(),
            headers: Vec::new(),
        };
        Alarm {
            identity: parts[0].to_owned(),
            status,
            record,
        }
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
        let (mut raise, raised) = alarm_queue();
        live.iter().for_each(|text| raise(alarm(text)));
        let past = past.iter().map(|text| alarm(text)).collect();
        let broker: Arc<dyn Publisher> = Arc::<Broker>::clone(broker);
        AlarmPublisher::start(past, raised, broker, Arc::new(kept.clone()), &runtime())
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
    fn a_start_publishes_what_goes_beyond_the_last_word_of_earlier_ones() -> PortResult<()> {
        let (kept, broker) = (MemoryCheckpoints::default(), Broker::refusing(0));
        run(&kept, &broker, &[], &["a 7 up", "b 7 up", "a 14 down"])?;
        // The same past again, then a window that closed while nobody was there to say so.
        run(
            &kept,
            &broker,
            &["a 7 up", "b 7 up", "a 14 down", "a 21 up"],
            &["b 21 down"],
        )?;
        // A rebuild that sees an old window otherwise changes no last word.
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
    fn a_damaged_record_costs_repeats_and_no_alarm() -> PortResult<()> {
        let (kept, broker) = (MemoryCheckpoints::default(), Broker::refusing(0));
        kept.save(CHECKPOINT, b"{")?;
        run(&kept, &broker, &["a 7 up"], &[])?;
        run(&kept, &broker, &["a 7 up"], &[])?;
        assert_eq!(*broker.taken.lock(), ["a 7 up"]);
        Ok(())
    }

    #[test]
    fn an_alarm_beyond_the_room_that_waits_for_the_broker_is_left_for_the_next_start() {
        let (mut raise, mut raised) = alarm_queue();
        for _ in 0..=ALARMS_WAITING_MAX {
            raise(alarm("a 7 up"));
        }
        let mut waiting = 0;
        while raised.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, ALARMS_WAITING_MAX);
    }
}
