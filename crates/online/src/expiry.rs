//! Removal of tiles that no permitted read can see. For each view
//!
//! floor = min(least watermark of its partitions - history, oldest pending score) - reach
//!
//! Reads below `floor + reach` (T_min) are refused, so no window that is answered reaches rows
//! older than the floor. A tile expires when its newest row lies below the floor: a touched key
//! drops its tiles in its own commit, all other keys in a sweep over the shard, some records per
//! commit, whenever the floor has moved far enough. Rows that are on disk alone (`stub`) are read
//! for it; those of a touched key once all of the stub lies below the floor, so that a floor that
//! moves with each commit reads them once.
//!
//! Rows of lifetime windows live on in states (`Folded`); presence keeps the newest event time of
//! the expired rows. Expiry never changes an answer, it only moves T_min.

use std::sync::Arc;

use forebay_core::aggregate::Partial;
use forebay_core::bytes::BytesError;
use forebay_core::invariant;
use forebay_core::time::Micros;

use crate::draft::{ChangedKey, Draft, KeySink};
use crate::error::OnlineResult;
use crate::fold::{Gathered, table_hash};
use crate::format::{self, LEVEL_FOLDED, TileId};
use crate::insert::HistorySink;
use crate::key_state::{Folded, KeyState};
use crate::load::KeyOpener;
use crate::rows::BlockHeader;
use crate::shard::Shard;
use crate::sweep::Sweep;
use crate::tree::{Expired, Gone, Node, encode_states, expire};
use crate::view::{ViewRuntime, Views};
use crate::window::fold_expired;
use crate::writer::Writer;

impl Shard {
    /// Go on with the sweep, or start one that is due.
    pub(crate) fn sweep<'a>(
        &self,
        writer: &mut Writer,
        draft: &mut Draft<'a, '_>,
        views: &Views,
        gathered: &Gathered<'_>,
    ) -> OnlineResult<()> {
        let floor_of = |view: &ViewRuntime| draft.floors.of(view.spec.id);
        writer.sweeper.start(views, floor_of, self.history_us);
        let Some(mut sweep) = writer.sweeper.take() else {
            return Ok(());
        };
        let (Some(view), Some(floor)) = (views.get(&sweep.view), draft.floors.of(sweep.view))
        else {
            return Ok(());
        };
        // A score that became pending meanwhile may have lowered the floor.
        sweep.floor = sweep.floor.min(floor);
        let (stale, finished) = self.of_view(&view.spec, self.find_stale(&mut sweep))?;
        for key in stale {
            let dirty = gathered
                .keys
                .binary_search_by(|k| (k.view.spec.id, k.key).cmp(&(sweep.view, &key)));
            if dirty.is_err() {
                let expired = self.expire_untouched(writer, draft, view, key, sweep.floor);
                self.of_view(&view.spec, expired)?;
            }
        }
        writer.sweeper.put_back(sweep, finished);
        Ok(())
    }

    /// Keys with a tile below the floor among the next records; whether the view's end was reached.
    fn find_stale(&self, sweep: &mut Sweep) -> OnlineResult<(Vec<Vec<u8>>, bool)> {
        let floor = sweep.floor;
        let mut stale: Vec<Vec<u8>> = Vec::new();
        let finished = sweep.step(&self.database, format::FAMILY_TILE, |stored_key, value| {
            let (key, id) = format::parse_tile_key(stored_key)
                .map_err(|why| self.database.corrupt("a tile key", why))?;
            if id.level == LEVEL_FOLDED {
                return Ok(());
            }
            let below = match BlockHeader::decode(value) {
                Ok(tile) => tile.max_us < floor,
                // Another build's: nothing is wrong with it, and a read of the key says what to do.
                Err(BytesError::Version { .. }) => false,
                Err(why) => return Err(self.database.corrupt("a tile", why)),
            };
            if below && stale.last().is_none_or(|last| last != key) {
                stale.push(key.to_vec());
            }
            Ok(())
        })?;
        Ok((stale, finished))
    }

    /// Expire the tiles of a key that this commit does not touch otherwise. A key that is not in
    /// memory does not enter it by that.
    fn expire_untouched(
        &self,
        writer: &Writer,
        draft: &mut Draft<'_, '_>,
        view: &Arc<ViewRuntime>,
        key: Vec<u8>,
        floor: Micros,
    ) -> OnlineResult<()> {
        let id = view.spec.id;
        let hash = table_hash(id, forebay_core::key::key_hash(&key));
        let published = self.table.read().peek(id, hash, &key).cloned();
        let mut state = match &published {
            Some(state) => state.fork(),
            None => self.database.load_key(view, &key)?,
        };
        let mut prefix = Vec::new();
        format::key_prefix(&mut prefix, id, &key);
        let mut opener = KeyOpener::new(&self.database, view, &key);
        expire_key(
            writer,
            draft,
            &mut state,
            (floor, true),
            &mut prefix,
            &mut opener,
        )?;
        state.pack();
        self.count_opened(&opener);
        prefix.truncate(format::prefix_len(&key));
        draft.batch.put(
            format::FAMILY_PRESENCE,
            &prefix,
            &format::encode_presence(state.gone_newest_us()),
        );
        // Not in memory now, it may be when this commit is published: a read may load it meanwhile.
        draft.changed.push(ChangedKey {
            view: id,
            hash,
            key: key.into(),
            state: Arc::new(state),
            enters: false,
        });
        Ok(())
    }
}

/// Remove the tiles of `state` that expire: from the tree, from disk, into the lifetime states. See
/// [`Expired`] for what comes with the floor.
pub(crate) fn expire_key(
    writer: &Writer,
    draft: &mut Draft<'_, '_>,
    state: &mut KeyState,
    (floor, opens_cut): (Micros, bool),
    prefix: &mut Vec<u8>,
    opener: &mut KeyOpener<'_>,
) -> OnlineResult<()> {
    let view = opener.view;
    if state.oldest_us().is_none_or(|oldest_us| oldest_us >= floor) {
        return Ok(());
    }
    let mut tree = state.take_tree(view.spec.partials.len());
    let expired = Expired {
        floor,
        record: tree.record(),
        opens_cut,
    };
    let mut folded = None;
    let (mut tiles, mut newest, mut memory) = (0, Micros::MIN, 0);
    let mut sink = KeySink::new(&mut draft.batch, prefix);
    tree.roots = expire(&tree.roots, expired, opener, &mut |gone| {
        let tile = match gone {
            Gone::Tile(tile) => tile,
            Gone::Record(id) => return sink.delete_branch(id),
        };
        invariant!(
            ExpiryBelowFloor,
            tile.max_us() < floor,
            "a row at {} and the floor {floor}",
            tile.max_us()
        );
        sink.delete(tile.id);
        tiles += 1;
        newest = newest.max(tile.max_us());
        memory += tile.memory_bytes(view.spec.partials.len());
        if view.folds_expired() {
            let folded = folded.get_or_insert_with(|| folded_of(view, state.folded.as_deref()));
            folded.rows += tile.view().rows() as u64;
            folded.newest_us = folded.newest_us.max(tile.max_us());
            fold_expired(view, tile, &view.lifetime_partials, &mut folded.states);
        }
    })?;
    tree.grow_by(opener.take_memory_change() - memory as isize);
    check_expired(&tree.roots, floor);
    state.put_tree(tree);
    if tiles == 0 {
        return Ok(());
    }
    if let Some(folded) = folded {
        put_folded(&mut sink, &folded);
        state.folded = Some(Arc::new(folded));
    }
    state.lose(Some(newest));
    invariant!(
        ExpiryKeepsNewest,
        state.gone_newest_us() >= Some(newest),
        "{tiles} tiles"
    );
    draft.note_expired(writer, view.spec.id, tiles, newest);
    Ok(())
}

/// Write the states of what has expired.
fn put_folded(sink: &mut KeySink<'_>, folded: &Folded) {
    let states = encode_states(&folded.states);
    let record = format::encode_folded(folded.newest_us, folded.rows, &states);
    let id = TileId {
        level: LEVEL_FOLDED,
        start: 0,
        sub: 0,
    };
    sink.put(id, &record);
}

/// What holds of the nodes that are left.
fn check_expired(roots: &[Arc<Node>], floor: Micros) {
    invariant!(
        ExpiryLeavesNone,
        roots.iter().all(|root| root.max_us() >= floor),
        "{} roots above {floor}",
        roots.len()
    );
}

/// The states of what expired before, to be added to.
fn folded_of(view: &ViewRuntime, before: Option<&Folded>) -> Folded {
    before.cloned().unwrap_or_else(|| Folded {
        newest_us: Micros::MIN,
        rows: 0,
        states: view
            .lifetime_partials
            .iter()
            .map(|&p| Partial::new(&view.spec.partials[p]))
            .collect(),
    })
}
