//! Alarms on their way out: from the monitors to the alert topic, at least once. What the broker
//! has acknowledged last of each alarm is noted in a file of the data directory; a start publishes
//! what its rebuild of the monitors raises beyond that. Ids are deterministic, so that consumers
//! can drop what a crash between the two repeats.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};
use forebay_control::{Alarm, AlarmStatus};
use forebay_core::PortError;
use forebay_core::ports::{Publication, Publisher};
use forebay_core::prediction::OutboxRecord;

use super::catalog_file::write_whole;

/// Alarms that may wait for the broker; more are left for the next start, loudly.
pub(crate) const ALARMS_WAITING_MAX: usize = 10_000;
/// Alarms that are sent at once.
const BATCH: usize = 1_000;
/// Pause after a try that failed.
const PAUSE: Duration = Duration::from_secs(1);
const FILE: &str = "alarms.json";

/// The last word on each alarm that the broker has.
#[derive(Debug)]
pub(crate) struct PublishedAlarms {
    path: PathBuf,
    last: BTreeMap<String, AlarmStatus>,
}

impl PublishedAlarms {
    /// What earlier runs with `data_dir` have published. A file that cannot be read stops no start:
    /// the alarms of the past are then published again.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let read = || -> Result<_> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
        let last = if path.exists() {
            read()
        } else {
            Ok(BTreeMap::new())
        };
        let last = last.unwrap_or_else(|error| {
            let (path, error) = (path.display(), format!("{error:#}"));
            tracing::warn!(%path, error, "cannot be read; the alarms of the past are published again");
            BTreeMap::new()
        });
        Self { path, last }
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
            let path = self.path.display();
            tracing::warn!(%path, error = format!("{error:#}"), "published alarms were not noted; the next start repeats them");
        }
    }

    fn save(&self) -> Result<()> {
        write_whole(&self.path, &serde_json::to_vec(&self.last)?)
    }
}

/// The thread that publishes.
#[derive(Debug)]
pub(crate) struct AlarmPublisher {
    thread: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
}

impl AlarmPublisher {
    /// Publish what is new of the `past`, then what is `raised` until every observer is gone. What
    /// the broker does not take is tried until it does.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        past: Vec<Alarm>,
        raised: Receiver<Alarm>,
        publisher: Arc<dyn Publisher>,
        announced: PublishedAlarms,
    ) -> Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let run = Run {
            publisher,
            announced,
            stopping: Arc::clone(&stopping),
        };
        let thread = std::thread::Builder::new()
            .name("alarms".to_owned())
            .spawn(move || run.all(past, &raised))?;
        Ok(Self { thread, stopping })
    }

    /// Wait for what is on its way. Every observer must be gone. What the broker does not take now
    /// waits for the next start.
    ///
    /// # Errors
    /// The thread has panicked.
    pub(crate) fn finish(self) -> Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            bail!("the thread that publishes alarms has panicked");
        }
        Ok(())
    }
}

struct Run {
    publisher: Arc<dyn Publisher>,
    announced: PublishedAlarms,
    stopping: Arc<AtomicBool>,
}

impl Run {
    fn all(mut self, past: Vec<Alarm>, raised: &Receiver<Alarm>) {
        let mut waiting = self.announced.news(past);
        let mut is_told = false;
        loop {
            if waiting.is_empty() {
                match raised.recv() {
                    Ok(alarm) => waiting.push_back(alarm),
                    Err(_) => return,
                }
            }
            waiting.extend(
                raised
                    .try_iter()
                    .take(ALARMS_WAITING_MAX.saturating_sub(waiting.len())),
            );
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
                    std::thread::sleep(PAUSE);
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
    use std::sync::mpsc::sync_channel;

    use forebay_core::ErrorKind;
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

    /// One run of a server that rebuilds `past` and raises `live`.
    fn run(data_dir: &Path, broker: &Arc<Broker>, past: &[&str], live: &[&str]) -> Result<()> {
        let (alarms, raised) = sync_channel(ALARMS_WAITING_MAX);
        for text in live {
            alarms.send(alarm(text))?;
        }
        drop(alarms);
        let past = past.iter().map(|text| alarm(text)).collect();
        let broker: Arc<dyn Publisher> = Arc::<Broker>::clone(broker);
        let run = AlarmPublisher::start(past, raised, broker, PublishedAlarms::open(data_dir))?;
        if run.thread.join().is_err() {
            bail!("it panicked");
        }
        Ok(())
    }

    #[test]
    fn a_start_publishes_what_goes_beyond_the_last_word_of_earlier_ones() -> Result<()> {
        let (dir, broker) = (tempfile::tempdir()?, Broker::refusing(0));
        run(dir.path(), &broker, &[], &["a 7 up", "b 7 up", "a 14 down"])?;
        // The same past again, then a window that closed while nobody was there to say so.
        run(
            dir.path(),
            &broker,
            &["a 7 up", "b 7 up", "a 14 down", "a 21 up"],
            &["b 21 down"],
        )?;
        // A rebuild that sees an old window otherwise changes no last word.
        run(dir.path(), &broker, &["a 7 down", "b 14 up"], &[])?;
        assert_eq!(
            *broker.taken.lock(),
            ["a 7 up", "b 7 up", "a 14 down", "a 21 up", "b 21 down"]
        );
        Ok(())
    }

    #[test]
    fn what_the_broker_refuses_is_tried_until_it_is_taken() -> Result<()> {
        let (dir, broker) = (tempfile::tempdir()?, Broker::refusing(1));
        run(dir.path(), &broker, &[], &["a 7 up", "a 14 down"])?;
        assert_eq!(*broker.taken.lock(), ["a 7 up", "a 14 down"]);
        Ok(())
    }

    #[test]
    fn what_is_not_taken_at_the_end_waits_for_the_next_start() -> Result<()> {
        let (dir, broker) = (tempfile::tempdir()?, Broker::refusing(u32::MAX));
        let (alarms, raised) = sync_channel(ALARMS_WAITING_MAX);
        alarms.send(alarm("a 7 up"))?;
        let publisher: Arc<dyn Publisher> = Arc::<Broker>::clone(&broker);
        let run_of_one = AlarmPublisher::start(
            Vec::new(),
            raised,
            publisher,
            PublishedAlarms::open(dir.path()),
        )?;
        drop(alarms);
        run_of_one.finish()?;
        assert!(broker.taken.lock().is_empty());
        *broker.refusals.lock() = 0;
        run(dir.path(), &broker, &["a 7 up"], &[])?;
        assert_eq!(*broker.taken.lock(), ["a 7 up"]);
        Ok(())
    }

    #[test]
    fn a_damaged_file_costs_repeats_and_no_alarm() -> Result<()> {
        let (dir, broker) = (tempfile::tempdir()?, Broker::refusing(0));
        std::fs::write(dir.path().join(FILE), "{")?;
        run(dir.path(), &broker, &["a 7 up"], &[])?;
        run(dir.path(), &broker, &["a 7 up"], &[])?;
        assert_eq!(*broker.taken.lock(), ["a 7 up"]);
        Ok(())
    }
}
