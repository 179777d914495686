//! From a shard's records to the state of a key in memory, at its first touch or where a stub
//! stands for a part of its history: the tiles, and a stub for each branch that has a record on
//! disk. So what is read of a key grows with the depth of its tree, not with its length. What does
//! not decode, or is not what was written, is an error that names the record. `commit`, `expiry`
//! and `find` ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::aggregate::Partial;
use forebay_core::bytes::BytesError;
use forebay_core::time::Micros;

use crate::database::{Database, Step};
use crate::error::OnlineResult;
use crate::format::{self, BranchRecord, LEVEL_FOLDED, TileId};
use crate::key_state::{Folded, KeyState};
use crate::rows::RowView;
use crate::span::{LEVEL_ROOT, id_of, last_place, next_place};
use crate::stub::memory_bytes;
use crate::tree::{
    Extent, Node, Opener, RECORD_MIN_TILES, Record, Stub, Tile, assemble, decode_states,
};
use crate::view::ViewRuntime;

impl Database {
    /// What memory needs of a key; an unknown key costs one bloom filter.
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
        let mut part = Part::new(self, view, &prefix, format::branches_of_key(&prefix));
        part.read(&prefix, &format::key_end(&prefix))?;
        let (nodes, folded) = part.finish();
        let partials = view.spec.partials.len();
        Ok(KeyState::from_nodes(
            nodes,
            partials,
            gone_newest_us,
            folded,
        ))
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

    /// The stub that a branch's record describes.
    fn decode_branch(&self, view: &ViewRuntime, id: TileId, value: &[u8]) -> OnlineResult<Stub> {
        let corrupt = |why: BytesError| self.corrupt("a branch", why);
        if id.level > LEVEL_ROOT {
            return Err(corrupt("no node has its level".into()));
        }
        let record = BranchRecord::decode(value).map_err(corrupt)?;
        decode_states(view, record.states).map_err(corrupt)?;
        let (min_us, max_us, levels) = (record.min_us, record.max_us, record.levels);
        let starts = [min_us, max_us].map(|time| id_of(id.level, time, id.sub).start);
        let is_in_its_span = starts == [id.start; 2] && min_us <= max_us;
        if !is_in_its_span || levels == 0 || levels >> id.level > 1 {
            return Err(corrupt("its fields contradict its key".into()));
        }
        let (Ok(tiles), Ok(bytes)) = (record.tiles.try_into(), record.bytes.try_into()) else {
            return Err(corrupt("it is larger than memory".into()));
        };
        Ok(Stub {
            id,
            extent: Extent {
                levels,
                tiles,
                bytes,
            },
            min_us,
            max_us,
            record: Record::OnDisk,
            states: Some(record.states.into()),
        })
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

/// A place in a key's history: time and hash.
type Place = (Micros, u32);

/// Spans that branches with records cover, joined where one follows the other; ascending.
#[derive(Debug, Default)]
struct Covered(Vec<(Place, Place)>);

impl Covered {
    /// Add the span of `id`, which lies behind those before it; returns its last place.
    fn add(&mut self, id: TileId) -> Place {
        let (first, last) = ((id.start, id.sub), last_place(id));
        match self.0.last_mut() {
            Some((_, end)) if next_place(*end) == Some(first) => *end = last,
            _ => self.0.push((first, last)),
        }
        last
    }

    /// The last place of the spans around `id`; None where it lies in none of them.
    fn end_around(&self, id: TileId) -> Option<Place> {
        let place = (id.start, id.sub);
        let behind = self.0.partition_point(|(first, _)| *first <= place);
        let (_, last) = self.0.get(behind.checked_sub(1)?)?;
        (place <= *last).then_some(*last)
    }
}

/// A part of a key's history on its way from disk.
struct Part<'a> {
    database: &'a Database,
    view: &'a ViewRuntime,
    prefix: &'a [u8],
    /// Where the records of branches below it lie, until they are read; nobody has any where there
    /// are few tiles.
    branches: Option<(Vec<u8>, Vec<u8>)>,
    tiles: Vec<Tile>,
    stubs: Vec<Stub>,
    covered: Covered,
    folded: Option<Folded>,
    tiles_read: u64,
}

impl<'a> Part<'a> {
    fn new(
        database: &'a Database,
        view: &'a ViewRuntime,
        prefix: &'a [u8],
        branches: impl Into<Option<(Vec<u8>, Vec<u8>)>>,
    ) -> Self {
        Self {
            database,
            view,
            prefix,
            branches: branches.into(),
            tiles: Vec::new(),
            stubs: Vec::new(),
            covered: Covered::default(),
            folded: None,
            tiles_read: 0,
        }
    }

    /// Read the tiles from `from` to below `to` that no branch with a record covers.
    fn read(&mut self, from: &[u8], to: &[u8]) -> OnlineResult<()> {
        let database = self.database;
        database.walk(format::FAMILY_TILE, from, to, |key, value| {
            self.meet(key, value)
        })
    }

    fn meet(&mut self, stored_key: &[u8], value: &[u8]) -> OnlineResult<Step> {
        let (_, id) = format::parse_tile_key(stored_key)
            .map_err(|why| self.database.corrupt("a tile key", why))?;
        if id.level == LEVEL_FOLDED {
            self.folded = Some(self.database.decode_folded(self.view, value)?);
            return Ok(Step::Next);
        }
        if let Some((start, sub)) = self.covered.end_around(id) {
            let level = id.level;
            let mut behind = self.prefix.to_vec();
            format::push_tile_suffix(&mut behind, TileId { level, start, sub });
            behind.push(0);
            return Ok(Step::Seek(behind));
        }
        self.tiles
            .push(self.database.decode_tile(self.view, id, value)?);
        self.tiles_read += 1;
        if self.tiles.len() == RECORD_MIN_TILES
            && let Some((from, to)) = self.branches.take()
        {
            self.read_branches(&from, &to)?;
            let covered = &self.covered;
            self.tiles
                .retain(|tile| covered.end_around(tile.id).is_none());
        }
        Ok(Step::Next)
    }

    /// Read the records of branches that no other one's span holds.
    fn read_branches(&mut self, from: &[u8], to: &[u8]) -> OnlineResult<()> {
        let (database, view, prefix) = (self.database, self.view, self.prefix);
        let (stubs, covered) = (&mut self.stubs, &mut self.covered);
        database.walk(format::FAMILY_BRANCH, from, to, |stored_key, value| {
            let (_, id) = format::parse_branch_key(stored_key)
                .map_err(|why| database.corrupt("a branch's key", why))?;
            stubs.push(database.decode_branch(view, id, value)?);
            let last = covered.add(id);
            Ok(Step::Seek(format::behind_branches(prefix, last)))
        })
    }

    /// What was read.
    fn finish(self) -> (Vec<Node>, Option<Folded>) {
        let add = |counter: &std::sync::atomic::AtomicU64, read: u64| {
            counter.fetch_add(read, Ordering::Relaxed);
        };
        add(&self.database.tiles_read, self.tiles_read);
        add(&self.database.branches_read, self.stubs.len() as u64);
        let tiles = self.tiles.into_iter().map(Node::Tile);
        let nodes = tiles
            .chain(self.stubs.into_iter().map(Node::Stub))
            .collect();
        (nodes, self.folded)
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

    /// The subtree that `stub` stands for, with all of its tiles.
    pub(crate) fn open_whole(&mut self, stub: &Stub) -> OnlineResult<Arc<Node>> {
        self.read(stub, false)
    }

    fn read(&mut self, stub: &Stub, in_parts: bool) -> OnlineResult<Arc<Node>> {
        let mut prefix = Vec::with_capacity(format::prefix_len(self.key));
        format::key_prefix(&mut prefix, self.view.spec.id, self.key);
        let (first, last) = ((stub.id.start, stub.id.sub), last_place(stub.id));
        let branches = in_parts.then(|| format::branches_below(&prefix, stub.id, last));
        let mut part = Part::new(self.database, self.view, &prefix, branches);
        for level in stub.levels() {
            let (from, to) = format::tile_range(&prefix, level, first, last);
            part.read(&from, &to)?;
        }
        let subtree = stub.opened(self.view, assemble(part.finish().0));
        let subtree = subtree.ok_or_else(|| {
            let why = "the rows of a span are not those that were written";
            self.database.corrupt("a tile", why)
        })?;
        let partials = self.view.spec.partials.len();
        let bytes = memory_bytes(std::slice::from_ref(&subtree), partials);
        self.opened += 1;
        self.memory_change += bytes as isize - stub.memory_bytes(partials) as isize;
        Ok(subtree)
    }
}

impl Opener for KeyOpener<'_> {
    fn open(&mut self, stub: &Stub) -> OnlineResult<Arc<Node>> {
        self.read(stub, true)
    }
}
