//! Alarms on their way out: from the monitors to the alert topic, at least once. What the broker has acknowledged is noted in
//! a file of the data directory; a start publishes what its rebuild of the monitors raises and no earlier run has noted.
//! Ids are deterministic, so that consumers can drop what a crash between the two repeats.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_core::ports::Publisher;
use forebay_core::prediction::OutboxRecord;

/// Alarms that may wait for the broker; more are left for the next start, loudly.
pub(crate) const ALARMS_WAITING_MAX: usize = 10_000;
/// Published alarms that are remembered; of older ones a rebuild may publish some again.
const ALARMS_REMEMBERED_MAX: usize = 100_000;
/// Pause after a try that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries once the server stops.
const LAST_TRIES: u32 = 3;

/// One alarm, raised or over.
#[derive(Debug, Clone)]
pub(crate) struct Alarm {
    pub(crate) id: String,
    pub(crate) record: OutboxRecord,
}

/// Ids of the alarms that the broker has, one a line in a file.
#[derive(Debug)]
pub(crate) struct Announced {
    path: PathBuf,
    file: File,
    ids: HashSet<String>,
}

impl Announced {
    /// What earlier runs with `data_dir` have published.
    ///
    /// # Errors
    /// The file cannot be read or written; names it.
    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("alarms-published.txt");
        let open = || -> std::io::Result<(File, HashSet<String>)> {
            let text = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
            // A line that a crash cut short is of an alarm that is published again.
            let lines: Vec<&str> = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
            let kept = &lines[lines.len().saturating_sub(ALARMS_REMEMBERED_MAX)..];
            if kept.len() < lines.len() || !text.ends_with('\n') {
                let fresh = path.with_extension("tmp");
                std::fs::write(&fresh, kept.iter().flat_map(|id| [id, "\n"]).collect::<String>())?;
                std::fs::rename(&fresh, &path)?;
            }
            let file = OpenOptions::new().append(true).create(true).open(&path)?;
            Ok((file, kept.iter().map(|id| (*id).to_owned()).collect()))
        };
        let (file, ids) = open().with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path, file, ids })
    }

    fn note(&mut self, alarms: Vec<Alarm>) {
        let lines: String = alarms.iter().flat_map(|alarm| [alarm.id.as_str(), "\n"]).collect();
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "published alarms were not noted; the next start publishes them again");
        }
        self.ids.extend(alarms.into_iter().map(|alarm| alarm.id));
    }
}

/// Publish `past`, then what is `raised` until every observer is gone. What the broker does not take is tried until it
/// does; at the end what is left waits for the next start.
pub(crate) fn publish_alarms(
    past: Vec<Alarm>,
    raised: &Receiver<Alarm>,
    publisher: &dyn Publisher,
    mut announced: Announced,
) {
    let mut waiting = past;
    let mut last_tries = None;
    loop {
        waiting.retain(|alarm| !announced.ids.contains(&alarm.id));
        if waiting.is_empty() {
            match raised.recv() {
                Ok(alarm) => waiting.push(alarm),
                Err(_) => return,
            }
        }
        waiting.extend(raised.try_iter().take(ALARMS_WAITING_MAX.saturating_sub(waiting.len())));
        waiting.retain(|alarm| !announced.ids.contains(&alarm.id));
        let records: Vec<OutboxRecord> = waiting.iter().map(|alarm| alarm.record.clone()).collect();
        let Err(error) = publisher.publish(&records) else {
            announced.note(std::mem::take(&mut waiting));
            continue;
        };
        tracing::warn!(%error, alarms = waiting.len(), "alarms were not published and are tried again");
        match raised.recv_timeout(PAUSE) {
            Ok(alarm) => waiting.push(alarm),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let tries = last_tries.get_or_insert(LAST_TRIES);
                *tries -= 1;
                if *tries == 0 {
                    tracing::warn!(alarms = waiting.len(), "alarms are left for the next start");
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use forebay_core::{ErrorKind, PortError, PortResult};
    use parking_lot::Mutex;

    use super::*;

    /// Refuses the first `refusals` calls.
    #[derive(Debug, Default)]
    struct Broker {
        refusals: Mutex<u32>,
        taken: Mutex<Vec<String>>,
    }

    impl Publisher for Broker {
        fn publish(&self, records: &[OutboxRecord]) -> PortResult<()> {
            let mut refusals = self.refusals.lock();
            if *refusals > 0 {
                *refusals -= 1;
                return Err(PortError::new(ErrorKind::Unavailable, "not now"));
            }
            self.taken.lock().extend(records.iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()));
            Ok(())
        }
    }

    fn alarm(id: &str) -> Alarm {
        let record = OutboxRecord { topic: "alerts".into(), key: Vec::new(), payload: id.into(), headers: Vec::new() };
        Alarm { id: id.to_owned(), record }
    }

    /// One run of a server that rebuilds `past` and raises `live`.
    fn run(data_dir: &Path, broker: &Broker, past: &[&str], live: &[&str]) -> Result<()> {
        let (alarms, raised) = sync_channel(ALARMS_WAITING_MAX);
        live.iter().try_for_each(|id| alarms.send(alarm(id)))?;
        drop(alarms);
        let past = past.iter().map(|id| alarm(id)).collect();
        publish_alarms(past, &raised, broker, Announced::open(data_dir)?);
        Ok(())
    }

    #[test]
    fn an_alarm_of_the_past_goes_out_once_over_all_starts() -> Result<()> {
        let (dir, broker) = (tempfile::tempdir()?, Broker::default());
        run(dir.path(), &broker, &[], &["a", "b"])?;
        run(dir.path(), &broker, &["a", "b", "c"], &["d"])?;
        run(dir.path(), &broker, &["a", "b", "c", "d"], &[])?;
        assert_eq!(*broker.taken.lock(), ["a", "b", "c", "d"]);
        Ok(())
    }

    #[test]
    fn what_the_broker_refuses_is_tried_again_and_at_the_end_left_for_the_next_start() -> Result<()> {
        let (dir, broker) = (tempfile::tempdir()?, Broker::default());
        *broker.refusals.lock() = LAST_TRIES - 1;
        run(dir.path(), &broker, &[], &["a"])?;
        assert_eq!(*broker.taken.lock(), ["a"]);
        *broker.refusals.lock() = LAST_TRIES;
        run(dir.path(), &broker, &[], &["b"])?;
        assert_eq!(*broker.taken.lock(), ["a"]);
        run(dir.path(), &broker, &["a", "b"], &[])?;
        assert_eq!(*broker.taken.lock(), ["a", "b"]);
        Ok(())
    }

    #[test]
    fn a_line_that_a_crash_cut_short_does_not_spoil_the_next() -> Result<()> {
        let (dir, broker) = (tempfile::tempdir()?, Broker::default());
        std::fs::write(dir.path().join("alarms-published.txt"), "a\nb-but-not-all-of")?;
        run(dir.path(), &broker, &["a", "b"], &[])?;
        run(dir.path(), &broker, &["a", "b"], &[])?;
        assert_eq!(*broker.taken.lock(), ["b"]);
        Ok(())
    }
}
