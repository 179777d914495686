//! When a fill may begin: the archive has what the shards had applied (a crash leaves it behind
//! them), and a new state says where it begins.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::error::with_causes;
use forebay_core::ports::StateProgress;
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_pipeline::{Stopped, not_begun};

use super::{FillError, Filler};

/// How long a fill waits for the archive to reach what the shards have applied.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// How long it waits for a new state to say where it begins: its shards do so within a second once
/// the source is read. Of one that is halted it waits only for the next look at its log.
const BEGIN_MAX: Duration = Duration::from_secs(15);
const HALTED_MAX: Duration = Duration::from_secs(3);
/// Time between two looks.
pub(super) const CATCH_UP_POLL: Duration = Duration::from_millis(100);

/// The furthest that any shard is, by partition.
#[must_use]
pub fn furthest(store: &dyn StateProgress) -> Applied {
    let mut furthest = Applied::default();
    for shard in 0..store.shards() {
        for (partition, progress) in &store.applied(shard).0 {
            furthest.advance(partition, *progress);
        }
    }
    furthest
}

/// Ingest has `stopped` for a change that no view needs rows for: what a table lacks is logged, and
/// the start that follows reads it again.
pub fn log_stop(stopped: Stopped) {
    if let Err(error) = stopped.all() {
        let error = with_causes(&error);
        tracing::warn!(error, "ingest has stopped with what it could finish");
    }
}

/// Whether what was `applied` of `source` is not all in the archive, which has it as far as
/// `archived`.
fn is_behind(source: &SourceDef, archived: &Applied, applied: &Applied) -> bool {
    let mut of_source = applied.0.iter().filter(|(p, _)| *p.topic == *source.topic);
    of_source.any(|(p, at)| at.next_offset > archived.next_offset(p))
}

impl Filler<'_> {
    /// Whether the rest of views over `sources` can be filled after ingest has `stopped` like this:
    /// they need every row that a shard has. An ingest that has failed may have archived them all,
    /// and the change may be what mends it. What another table lacks is logged and stops no change.
    ///
    /// When this returns, no power cut takes back what the shards have: an event that was read
    /// under the definitions before, and scored by their routes, is not read again under the next
    /// ones, which would give it another prediction, or none at all.
    ///
    /// # Errors
    /// Their archive is behind the state, nobody knows how far a shard is, or the disk of the state
    /// fails.
    pub fn after(&self, stopped: Stopped, sources: &[Arc<SourceDef>]) -> Result<(), FillError> {
        for source in sources {
            let lacks = match (stopped.lacks(&source.name), stopped.failed()) {
                (None, Some(failed)) => {
                    let is_behind = !self.store.is_settled() || self.lags(source)?;
                    is_behind.then_some(failed)
                }
                (lacks, _) => lacks,
            };
            if let Some(error) = lacks {
                return Err(FillError::Standing {
                    source_name: source.name.clone(),
                    why: format!(
                        "not all that was read of it is archived: {}",
                        with_causes(error)
                    ),
                });
            }
        }
        log_stop(stopped);
        Ok(self.store.sync()?)
    }

    fn lags(&self, source: &SourceDef) -> Result<bool, FillError> {
        let progress = self.archive.progress(&source.name);
        let archived = self.ask(source, "reading the archive", progress)?;
        Ok(is_behind(source, &archived, &furthest(self.store)))
    }

    /// Wait until the archive covers what the shards had applied of `source`: it can fill a view
    /// only then. (A clean stop archives all that was read.)
    pub(super) fn catch_up(&self, source: &SourceDef) -> Result<(), FillError> {
        let recovered = self.host.recovered(&source.name);
        let read_now = recovered.is_some();
        // Where ingest does not run, it may have ended before all that it read was archived.
        let recovered = recovered.filter(|_| self.host.is_ingesting());
        let applied = recovered.unwrap_or_else(|| furthest(self.store));
        let began = self.runtime.elapsed();
        loop {
            if read_now {
                self.flush(source)?;
            }
            let progress = self.archive.progress(&source.name);
            let archived = self.ask(source, "reading the archive", progress)?;
            if !is_behind(source, &archived, &applied) {
                break;
            }
            let source_name = source.name.clone();
            if !read_now {
                let topic = source.topic.clone();
                return Err(FillError::OtherName { topic, source_name });
            }
            let waited = self.runtime.elapsed().saturating_sub(began);
            if let Some(why) = self.stands(source, waited) {
                return Err(FillError::Standing { source_name, why });
            }
            if waited > CATCH_UP_MAX || !self.stop.wait(CATCH_UP_POLL) {
                let waited = CATCH_UP_MAX;
                return Err(FillError::Behind {
                    source_name,
                    waited,
                });
            }
        }
        // Of a source that only the new definitions read, all that the log has comes from there.
        if read_now {
            self.wait_begun(source)
        } else {
            Ok(())
        }
    }

    /// Whether `source`, which the definitions in force do not read, must be read before a view
    /// over it can be filled: the archive has events of it that a shard has not, so that nobody
    /// knows which of them the log brings again, or the archive is behind the state. Its table is
    /// open.
    ///
    /// # Errors
    /// The archive fails, or the server stops.
    pub fn must_be_read(&self, source: &SourceDef) -> Result<bool, FillError> {
        let progress = self.archive.progress(&source.name);
        let archived = self.ask(source, "reading the archive", progress)?;
        let of_source = |place: &TopicPartition| *place.topic == *source.topic;
        let is_known = archived
            .0
            .iter()
            .any(|(p, at)| of_source(p) && at.next_offset > 0);
        let shards = (0..self.store.shards()).map(|shard| self.store.applied(shard));
        let shards: Vec<_> = shards.collect();
        let is_behind = is_known && is_behind(source, &archived, &furthest(self.store));
        Ok(is_behind || not_begun(source, &archived, &shards).is_some())
    }

    /// Why nothing more of `source` comes, after it was `waited` for.
    pub(super) fn stands(&self, source: &SourceDef, waited: Duration) -> Option<String> {
        if !self.host.is_ingesting() {
            return Some("ingest does not run".to_owned());
        }
        let halts = self.host.halts();
        let listed = halts.into_iter().find(|halt| halt.source == source.name)?;
        let is_long = waited > HALTED_MAX;
        is_long.then(|| format!("the source is halted: {}", listed.halt))
    }

    /// Wait until every shard has a mark of each partition that the archive has. A new state beside
    /// an archive has none before its source is read, and until then nobody knows which of the
    /// archived rows the log brings again.
    fn wait_begun(&self, source: &SourceDef) -> Result<(), FillError> {
        let progress = self.archive.progress(&source.name);
        let archived = self.ask(source, "reading the archive", progress)?;
        let began = self.runtime.elapsed();
        loop {
            let shards = 0..self.store.shards();
            let shards: Vec<_> = shards.map(|shard| self.store.applied(shard)).collect();
            let Some(place) = not_begun(source, &archived, &shards) else {
                return Ok(());
            };
            let halted = self.host.halts().into_iter().find(|halt| {
                halt.source == source.name && halt.partition.is_none_or(|p| p == place.partition)
            });
            let max = halted.as_ref().map_or(BEGIN_MAX, |_| HALTED_MAX);
            let waited = self.runtime.elapsed().saturating_sub(began);
            if waited > max || !self.stop.wait(CATCH_UP_POLL) {
                let waits = || self.host.waits_for(&source.name);
                let why = halted.map(|listed| listed.halt.to_string()).or_else(waits);
                return Err(FillError::NotBegun {
                    topic: place.topic.to_string(),
                    partition: place.partition,
                    source_name: source.name.clone(),
                    why: why.unwrap_or_else(|| "ingest has not begun to read it".to_owned()),
                });
            }
        }
    }
}
