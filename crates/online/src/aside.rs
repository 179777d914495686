//! Views that are set aside because what is stored of them is damaged, follows another meaning of
//! their definition, or lacks rows on which their SQL has failed: whose a damage is, and the marks
//! of it. `commit` meets it, or is told by the epoch, and writes the mark, or the binary does at a
//! start; `find` refuses reads, `store` tells of it.
//!
//! The mark is in the view's horizon, on disk with the epoch that skips its first rows, in the
//! writer, which folds none from then on, and in the table, which readers ask. It goes when the
//! view is dropped.

use std::sync::Arc;

use forebay_core::PortResult;
use forebay_core::ports::ViewDamage;
use forebay_core::view::{ViewId, ViewSpec};

use crate::error::{OnlineError, OnlineResult};
use crate::format;
use crate::shard::{RECORD_BYTES, Shard};
use crate::store::RocksStore;

impl Shard {
    /// The error of `view`, whose state here is damaged.
    pub(crate) fn view_damaged(&self, view: &ViewSpec, why: &str) -> OnlineError {
        OnlineError::ViewDamaged {
            view: view.id,
            name: view.name.clone(),
            shard: self.number,
            why: why.to_owned(),
        }
    }

    /// `outcome` of work on one key of `view`: damage that it met is of that view.
    pub(crate) fn of_view<T>(&self, view: &ViewSpec, outcome: OnlineResult<T>) -> OnlineResult<T> {
        outcome.map_err(|error| match error.damage() {
            Some(why) => self.view_damaged(view, &why),
            None => error,
        })
    }

    /// Set a view aside outside of a commit; one that is aside already stays so for its reason.
    fn set_aside(&self, view: ViewId, why: &Arc<str>) -> OnlineResult<()> {
        let mut writer = self.writer.lock();
        if writer.damage(view).is_some() {
            return Ok(());
        }
        let _stable = self.gate.write();
        let mut horizon = writer.horizons.get(&view).cloned().unwrap_or_default();
        horizon.damage = Some(Arc::clone(why));
        // On disk too: a shard that is opened anew knows no more than that.
        let mut batch = self.database.batch(RECORD_BYTES)?;
        let key = format::horizon_key(view);
        batch.put(format::FAMILY_META, &key, &horizon.encode());
        batch.write_synced()?;
        writer.horizons.insert(view, horizon);
        let freed = self.table.write().set_aside(view, why);
        drop(freed);
        Ok(())
    }
}

impl RocksStore {
    /// The record of `spec` does not decode: nobody can tell which definition its state follows.
    /// The view is set aside in all shards. Returns the definition, as if the record said so.
    pub(crate) fn set_aside_of(
        &self,
        spec: &ViewSpec,
        error: OnlineError,
    ) -> OnlineResult<Option<(String, String)>> {
        let OnlineError::Corrupt { what, why, .. } = &error else {
            return Err(error);
        };
        let why: Arc<str> = format!("{what} cannot be decoded: {why}").into();
        for shard in &self.shards {
            tracing::error!(shard = shard.number, %error, view = spec.name, "a view is set aside");
            shard.set_aside(spec.id, &why)?;
        }
        Ok(Some((spec.name.clone(), spec.digest.clone())))
    }

    /// Set a view aside in all shards, until it is dropped, if its state follows another meaning of
    /// its definition than `spec`. Returns whether that is so. To be asked before the view is
    /// registered, which refuses another digest.
    ///
    /// # Errors
    /// The disk fails: the view is set aside in some shards only; repeat.
    pub fn set_outdated_aside(&self, spec: &ViewSpec, why: &str) -> PortResult<bool> {
        let stored = match self.view_record(spec.id) {
            // Registering the view meets it, and sets it aside for that.
            Err(OnlineError::Corrupt { .. }) => return Ok(false),
            stored => stored?,
        };
        let is_other =
            |(name, digest): &(String, String)| *name == spec.name && *digest != spec.digest;
        if !stored.as_ref().is_some_and(is_other) {
            return Ok(false);
        }
        let why = Arc::from(why);
        for shard in &self.shards {
            shard.set_aside(spec.id, &why)?;
        }
        Ok(true)
    }

    /// Set a view aside in all shards, until it is dropped, because nobody knows its definition:
    /// its rows are not folded meanwhile. A view without state is not touched.
    ///
    /// # Errors
    /// The disk fails: the view is set aside in some shards only; repeat.
    pub fn set_unknown_aside(&self, view: ViewId, why: &str) -> PortResult<()> {
        if matches!(self.view_record(view), Ok(None)) {
            return Ok(());
        }
        let why = Arc::from(why);
        for shard in &self.shards {
            shard.set_aside(view, &why)?;
        }
        Ok(())
    }

    /// Name and digest of the definition that the state of `view` follows.
    pub(crate) fn view_record(&self, view: ViewId) -> OnlineResult<Option<(String, String)>> {
        self.meta_database()?.get(
            format::FAMILY_META,
            &format::view_meta_key(view),
            "a view record",
            format::decode_view,
        )
    }

    /// Whether `view` is set aside in all shards.
    pub(crate) fn is_set_aside(&self, view: ViewId) -> bool {
        let shards = || self.shards.iter();
        shards().all(|shard| shard.table.read().damage.contains_key(&view))
    }

    /// The views that are set aside, by view and shard.
    pub(crate) fn damages(&self) -> Vec<ViewDamage> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let table = shard.table.read();
            let damages = table.damage.iter().map(|(view, why)| ViewDamage {
                view: *view,
                shard: shard.number,
                why: Arc::clone(why),
            });
            found.extend(damages);
        }
        found.sort_unstable();
        found
    }
}
