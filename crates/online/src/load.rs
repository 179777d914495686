//! From a shard's records to the state of a key in memory: all of a key at its first touch, a part
//! of its history where a stub stands for it. What does not decode, or is not what was written, is
//! an error that names the record. `commit`, `expiry` and `find` ask.

use std::sync::Arc;

use forebay_core::aggregate::Partial;

use crate::database::Database;
use crate::error::OnlineResult;
use crate::format::{self, LEVEL_FOLDED, TileId};
use crate::key_state::{Folded, KeyState};
use crate::rows::RowView;
use crate::tree::{Node, Opener, Stub, Tile, assemble, last_place};
use crate::view::ViewRuntime;

impl Database {
    /// Everything stored of a key; an unknown key costs one bloom filter.
    pub(crate) fn load_key(&self, view: &ViewRuntime, key: &[u8]) -> OnlineResult<KeyState> {
        let mut prefix = Vec::with_capacity(format::prefix_len(key));
        format::key_prefix(&mut prefix, view.spec.id, key);
        let presence = self.get(
            format::FAMILY_PRESENCE,
            &prefix,
            "a presence record",
            format::decode_presence,
        )?;
        let Some(gone_newest_us) = presence else {
            return Ok(KeyState::default());
        };
        let mut tiles = Vec::new();
        let mut folded = None;
        let end = format::key_end(&prefix);
        self.scan(
            format::FAMILY_TILE,
            &prefix,
            Some(&end),
            |stored_key, value| {
                let (_, id) = format::parse_tile_key(stored_key)
                    .map_err(|why| self.corrupt("a tile key", why))?;
                if id.level == LEVEL_FOLDED {
                    folded = Some(self.decode_folded(view, value)?);
                } else {
                    tiles.push(self.decode_tile(view, id, value)?);
                }
                Ok(true)
            },
        )?;
        Ok(KeyState::from_tiles(
            tiles,
            view.spec.partials.len(),
            gone_newest_us,
            folded,
        ))
    }

    /// The tiles of `stub`, a part of the history of `key`.
    fn load_span(&self, view: &ViewRuntime, key: &[u8], stub: &Stub) -> OnlineResult<Vec<Tile>> {
        let mut prefix = Vec::with_capacity(format::prefix_len(key));
        format::key_prefix(&mut prefix, view.spec.id, key);
        let (first, last) = ((stub.id.start, stub.id.sub), last_place(stub.id));
        let mut tiles = Vec::new();
        for level in stub.levels() {
            let (from, to) = format::tile_range(&prefix, level, first, last);
            self.scan(
                format::FAMILY_TILE,
                &from,
                Some(&to),
                |stored_key, value| {
                    let (_, id) = format::parse_tile_key(stored_key)
                        .map_err(|why| self.corrupt("a tile key", why))?;
                    tiles.push(self.decode_tile(view, id, value)?);
                    Ok(true)
                },
            )?;
        }
        Ok(tiles)
    }

    fn decode_tile(&self, view: &ViewRuntime, id: TileId, value: &[u8]) -> OnlineResult<Tile> {
        RowView::check(value, &view.kinds, view.spec.filters)
            .map_err(|why| self.corrupt("a tile", why))?;
        let tile = Tile::new(id, value.into());
        if !tile.is_in_its_span() {
            return Err(self.corrupt("a tile", "its rows lie outside its span"));
        }
        Ok(tile)
    }

    fn decode_folded(&self, view: &ViewRuntime, value: &[u8]) -> OnlineResult<Folded> {
        let (newest_us, rows, mut bytes) =
            format::decode_folded(value).map_err(|why| self.corrupt("a lifetime record", why))?;
        let states = view
            .lifetime_partials
            .iter()
            .map(|&p| Partial::decode(&view.spec.partials[p], &mut bytes))
            .collect::<Result<Box<[_]>, _>>()?;
        Ok(Folded {
            newest_us,
            rows,
            states,
        })
    }
}

/// Reads the stubs of one key from its shard.
pub(crate) struct KeyOpener<'a> {
    database: &'a Database,
    pub(crate) view: &'a ViewRuntime,
    key: &'a [u8],
    /// Spans that it has read.
    pub(crate) opened: u64,
    /// By how much they make the key's memory larger.
    memory_change: isize,
}

impl<'a> KeyOpener<'a> {
    pub(crate) fn new(database: &'a Database, view: &'a ViewRuntime, key: &'a [u8]) -> Self {
        Self {
            database,
            view,
            key,
            opened: 0,
            memory_change: 0,
        }
    }

    /// By how much what it has read since the last call makes the key's memory larger.
    pub(crate) fn take_memory_change(&mut self) -> isize {
        std::mem::take(&mut self.memory_change)
    }
}

impl Opener for KeyOpener<'_> {
    fn open(&mut self, stub: &Stub) -> OnlineResult<Arc<Node>> {
        let partials = self.view.spec.partials.len();
        let tiles = self.database.load_span(self.view, self.key, stub)?;
        let bytes: usize = tiles.iter().map(|tile| tile.memory_bytes(partials)).sum();
        let mut roots = assemble(tiles);
        let subtree = roots.pop().filter(|_| roots.is_empty());
        let subtree = subtree
            .filter(|node| stub.stands_for(node))
            .ok_or_else(|| {
                let why = "the rows of a span are not those that were written";
                self.database.corrupt("a tile", why)
            })?;
        self.opened += 1;
        self.memory_change += bytes as isize - stub.memory_bytes(partials) as isize;
        Ok(subtree)
    }
}
