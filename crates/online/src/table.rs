//! The published keys of one shard and the epoch that they belong to. Readers hold the lock only to
//! copy references; the writer holds it only to swap them. Bounded by a byte budget: keys that
//! nobody reads keep their newest rows alone (`stub`); where that is not enough, those go that
//! nobody touched. What is missing is read again from RocksDB when it is needed.
//!
//! Everything here is also on disk: dropping an entry loses nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::time::Micros;
use forebay_core::view::ViewId;
use hashbrown::HashTable;

use crate::history::AppliedHistory;
use crate::key_state::{KeyState, allocated_bytes};
use crate::slots::Slots;

/// What the index takes for an entry, bytes, after it has grown.
const INDEX_BYTES: usize = 12;
/// Two counters beside each state: references to it.
const COUNTS_BYTES: usize = 2 * size_of::<usize>();
/// Memory of an entry beside its key and its rows, bytes.
const ENTRY_BYTES: usize = size_of::<Option<Entry>>()
    + INDEX_BYTES
    + allocated_bytes(size_of::<KeyState>() + COUNTS_BYTES);

/// Memory of an entry of `key` beside its rows, bytes.
pub(crate) fn entry_bytes(key: &[u8]) -> usize {
    ENTRY_BYTES + allocated_bytes(key.len())
}

/// Steps that a trim which frees something, and each round, adds to those that may free nothing.
const TRIM_STEPS: usize = 64;
/// Steps that may free nothing where there are fewer entries than that.
const TRIM_CREDIT_LEAST: usize = 4_096;
/// Where keys are dropped, this part (1 in N) of the budget becomes free.
const DROP_ROOM: usize = 64;

#[derive(Debug)]
struct Entry {
    view: ViewId,
    hash: u64,
    key: Box<[u8]>,
    state: Arc<KeyState>,
    /// Whether it was read, or read or written, since the hand that looks at it last passed.
    read: AtomicBool,
    touched: AtomicBool,
}

impl Entry {
    fn is(&self, view: ViewId, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && self.view == view && self.key.as_ref() == key
    }

    fn memory_bytes(&self) -> usize {
        entry_bytes(&self.key) + self.state.memory_bytes()
    }
}

/// Set a bit that others read and clear.
fn note(bit: &AtomicBool) {
    if !bit.load(Ordering::Relaxed) {
        bit.store(true, Ordering::Relaxed);
    }
}

/// What an eviction has taken out.
#[derive(Debug, Default)]
pub(crate) struct Evicted {
    /// States before it, to be dropped outside the lock.
    pub(crate) states: Vec<Arc<KeyState>>,
    /// Keys that were dropped as a whole.
    pub(crate) keys: u64,
    /// Keys of which the newest rows stay.
    pub(crate) trimmed: u64,
}

/// The keys of one shard that are in memory, as of one epoch.
#[derive(Debug)]
pub(crate) struct Table {
    index: HashTable<u32>,
    entries: Slots<Entry>,
    memory_bytes: usize,
    trim_hand: usize,
    /// Steps that trims may still take without freeing anything.
    trim_credit: usize,
    drop_hand: usize,
    /// The published epoch and the last ones before it, with what they had applied.
    pub(crate) history: AppliedHistory,
    /// Greatest event time that was dropped or has expired, for each view that has any.
    pub(crate) gone_us: HashMap<ViewId, Micros>,
    /// The views that are set aside, and why.
    pub(crate) damage: HashMap<ViewId, Arc<str>>,
    /// Whether every key of the shard is in memory: then an absent key is known to be absent.
    pub(crate) complete: bool,
}

impl Table {
    pub(crate) fn new(
        history: AppliedHistory,
        gone_us: HashMap<ViewId, Micros>,
        complete: bool,
    ) -> Self {
        Self {
            index: HashTable::new(),
            entries: Slots::new(),
            memory_bytes: 0,
            trim_hand: 0,
            trim_credit: 0,
            drop_hand: 0,
            history,
            gone_us,
            damage: HashMap::new(),
            complete,
        }
    }

    /// The published epoch.
    pub(crate) fn epoch(&self) -> u64 {
        self.history.epoch()
    }

    fn slot(&self, view: ViewId, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |at: &u32| {
            self.entries
                .get(*at as usize)
                .is_some_and(|entry| entry.is(view, hash, key))
        };
        self.index.find(hash, same).copied()
    }

    fn entry(&self, view: ViewId, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.entries.get(self.slot(view, hash, key)? as usize)
    }

    /// The published state of a key, for a reader.
    pub(crate) fn read(&self, view: ViewId, hash: u64, key: &[u8]) -> Option<&Arc<KeyState>> {
        let entry = self.entry(view, hash, key)?;
        note(&entry.read);
        note(&entry.touched);
        Some(&entry.state)
    }

    /// The published state of a key, for the writer.
    pub(crate) fn get(&self, view: ViewId, hash: u64, key: &[u8]) -> Option<&Arc<KeyState>> {
        let entry = self.entry(view, hash, key)?;
        note(&entry.touched);
        Some(&entry.state)
    }

    /// The published state of a key, for somebody who looks at all of them.
    pub(crate) fn peek(&self, view: ViewId, hash: u64, key: &[u8]) -> Option<&Arc<KeyState>> {
        Some(&self.entry(view, hash, key)?.state)
    }

    /// Publish a new state; gives back the one before it, to be dropped outside the lock.
    pub(crate) fn publish(
        &mut self,
        view: ViewId,
        hash: u64,
        key: &[u8],
        state: Arc<KeyState>,
    ) -> Option<Arc<KeyState>> {
        if let Some(at) = self.slot(view, hash, key)
            && let Some(entry) = self.entries.get_mut(at as usize)
        {
            let (before, after) = (entry.state.memory_bytes(), state.memory_bytes());
            invariant!(
                TableMemory,
                self.memory_bytes >= before,
                "{} bytes, and {before} of one key",
                self.memory_bytes
            );
            self.memory_bytes = self.memory_bytes - before + after;
            return Some(std::mem::replace(&mut entry.state, state));
        }
        let entry = Entry {
            view,
            hash,
            key: key.into(),
            state,
            read: AtomicBool::new(false),
            touched: AtomicBool::new(true),
        };
        self.memory_bytes += entry.memory_bytes();
        let at = self.entries.insert(entry);
        let entries = &self.entries;
        self.index.insert_unique(hash, at, |at| {
            entries.get(*at as usize).map_or(0, |entry| entry.hash)
        });
        None
    }

    /// [`Self::publish`] what a reader has read: it counts as read.
    pub(crate) fn publish_read(
        &mut self,
        view: ViewId,
        hash: u64,
        key: &[u8],
        state: Arc<KeyState>,
    ) -> Option<Arc<KeyState>> {
        let before = self.publish(view, hash, key, state);
        self.read(view, hash, key);
        before
    }

    /// Forget a key that is no longer on disk; gives back its state, to be dropped outside the
    /// lock.
    pub(crate) fn forget(&mut self, view: ViewId, hash: u64, key: &[u8]) -> Option<Arc<KeyState>> {
        let at = self.slot(view, hash, key)?;
        self.remove(at)
    }

    /// Make room until the budget holds: trim keys; where that is not enough, drop some.
    ///
    /// Both are CLOCK evictions: a hand goes round and takes entries that were not used since it
    /// last passed. What is left after one round of both was used; the second takes of that too. A
    /// trim spares keys that are read; a key that is only written loses nothing by it.
    pub(crate) fn evict(&mut self, budget_bytes: usize) -> Evicted {
        let mut evicted = Evicted::default();
        for _ in 0..2 {
            self.trim_round(budget_bytes, &mut evicted);
            self.drop_round(budget_bytes, &mut evicted);
        }
        evicted
    }

    /// One round of trims, shorter where few of the last steps have freed anything: else each
    /// commit would look at all keys of a table of short ones.
    fn trim_round(&mut self, budget_bytes: usize, evicted: &mut Evicted) {
        let most = self.entries.len().max(TRIM_CREDIT_LEAST);
        self.trim_credit = (self.trim_credit + TRIM_STEPS).min(most);
        let mut steps = self.entries.len();
        while self.memory_bytes > budget_bytes && steps > 0 && self.trim_credit > 0 {
            steps -= 1;
            self.trim_hand = (self.trim_hand + 1) % self.entries.len();
            let entry = self.entries.get(self.trim_hand);
            let is_spare = entry.is_none_or(|entry| entry.read.swap(false, Ordering::Relaxed));
            let whole = if is_spare {
                None
            } else {
                self.trim(self.trim_hand)
            };
            self.trim_credit = match &whole {
                Some(_) => (self.trim_credit + TRIM_STEPS).min(most),
                None => self.trim_credit - 1,
            };
            evicted.trimmed += u64::from(whole.is_some());
            evicted.states.extend(whole);
        }
    }

    /// One round in which keys are dropped, until there is some room: not each commit begins one.
    fn drop_round(&mut self, budget_bytes: usize, evicted: &mut Evicted) {
        if self.memory_bytes <= budget_bytes {
            return;
        }
        let target_bytes = budget_bytes - budget_bytes / DROP_ROOM;
        let mut steps = self.entries.len();
        while self.memory_bytes > target_bytes && steps > 0 {
            steps -= 1;
            self.drop_hand = (self.drop_hand + 1) % self.entries.len();
            let entry = self.entries.get(self.drop_hand);
            if entry.is_some_and(|entry| !entry.touched.swap(false, Ordering::Relaxed)) {
                let at = RowIndex::at(self.drop_hand).number();
                evicted.states.extend(self.remove(at));
                evicted.keys += 1;
                self.complete = false;
            }
        }
    }

    /// Leave the newest rows of an entry in memory; gives back its whole state, or None where that
    /// frees too little.
    fn trim(&mut self, at: usize) -> Option<Arc<KeyState>> {
        let entry = self.entries.get_mut(at)?;
        let trimmed = Arc::new(entry.state.trimmed()?);
        let whole = std::mem::replace(&mut entry.state, trimmed);
        self.memory_bytes = self.memory_bytes - whole.memory_bytes() + entry.state.memory_bytes();
        Some(whole)
    }

    fn remove(&mut self, at: u32) -> Option<Arc<KeyState>> {
        let entry = self.entries.remove(at)?;
        if let Ok(found) = self.index.find_entry(entry.hash, |other| *other == at) {
            found.remove();
        }
        self.memory_bytes -= entry.memory_bytes();
        invariant!(
            TableIndexed,
            self.index.len() + self.entries.free() == self.entries.len(),
            "{} of {} entries, {} free",
            self.index.len(),
            self.entries.len(),
            self.entries.free()
        );
        invariant!(
            TableMemory,
            self.memory_bytes >= self.index.len() * ENTRY_BYTES,
            "{} bytes of {} entries",
            self.memory_bytes,
            self.index.len()
        );
        Some(entry.state)
    }

    /// No key of `view` is read any more.
    pub(crate) fn set_aside(&mut self, view: ViewId, why: &Arc<str>) -> Vec<Arc<KeyState>> {
        let freed = self.remove_view(view);
        self.damage.insert(view, Arc::clone(why));
        freed
    }

    /// Forget a view.
    pub(crate) fn remove_view(&mut self, view: ViewId) -> Vec<Arc<KeyState>> {
        self.gone_us.remove(&view);
        self.damage.remove(&view);
        let entries = self.entries.iter();
        let of_view = entries.filter(|(_, entry)| entry.view == view);
        let slots: Vec<u32> = of_view.map(|(at, _)| at).collect();
        slots.into_iter().filter_map(|at| self.remove(at)).collect()
    }

    pub(crate) fn keys(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Number of tiles in memory: walks everything, for statistics asked by people.
    pub(crate) fn tiles(&self) -> usize {
        let entries = self.entries.iter();
        entries.map(|(_, entry)| entry.state.tiles()).sum()
    }
}
