//! How far the archive's table of each source is, asked once before its first read. Each table is
//! asked by a task of its own, so that one that hangs holds up the look at the others for a moment
//! only.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::source::SourceDef;
use forebay_core::{ErrorKind, PortError, PortResult};
use tokio::sync::oneshot;

use crate::beginnings::TableReach;
use crate::runtime::{block_on, within};
use crate::watch::{Answer, TABLE_WAIT, Watcher};

impl Watcher {
    /// Look at the table of `source`, once, before its first read.
    pub(super) fn open_reach(&mut self, source: &SourceDef) -> PortResult<()> {
        if let Some(why) = self.parts.unusable.get(&source.name) {
            return Err(PortError::new(ErrorKind::Unavailable, why.clone()));
        }
        if !self.archives.contains_key(&source.name) {
            let (longest, mut answer) = match self.asked.remove(&source.name) {
                Some(answer) => (Duration::ZERO, answer),
                None => (TABLE_WAIT, self.ask(&source.name)),
            };
            let runtime = self.parts.runtime.as_ref();
            let Some(answered) = block_on(runtime, within(runtime, longest, &mut answer)) else {
                self.asked.insert(source.name.clone(), answer);
                return Err(silent(&source.name));
            };
            let snapshot = answered.map_err(|_| PortError::internal("a look at a table was lost"));
            let reach = TableReach::of(snapshot??);
            self.archives.insert(source.name.clone(), reach);
        }
        Ok(())
    }

    /// Ask `table` how far it is. One that hangs keeps the question, and is not asked again: each
    /// question holds a thread for blocking work until it is answered.
    fn ask(&self, table: &str) -> Answer {
        let (done, answer) = oneshot::channel();
        let (archive, table) = (Arc::clone(&self.parts.archive), table.to_owned());
        let task = async move {
            // Nobody hears of it where the watch has ended.
            let _left = done.send(archive.snapshot(&table).await);
        };
        self.parts.runtime.spawn_task("look", Box::pin(task));
        answer
    }
}

/// `table` has kept a look waiting.
pub(super) fn silent(table: &str) -> PortError {
    let words = format!("table '{table}' has not answered for {TABLE_WAIT:?}");
    PortError::new(ErrorKind::DeadlineExceeded, words)
}
