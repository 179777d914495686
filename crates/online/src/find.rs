//! The states that readers need, all of one shard as of one epoch: from the table, or from disk
//! where they are not in memory, or not in full. `store` asks and evaluates them.
//!
//! A read takes what the table has, and whoever finds all there waits for nobody. One that must
//! look on disk holds `gate` (see `shard`) meanwhile, so that what it reads belongs to the
//! published epoch, and leaves what it has read in the table, also where it is refused in the end:
//! asked again it gets further. What it reads is drawn from the memory of the request.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::PortError;
use forebay_core::invariant;
use forebay_core::memory::Reservation;
use forebay_core::time::Micros;

use crate::error::{OnlineError, OnlineResult};
use crate::key_state::KeyState;
use crate::load::KeyOpener;
use crate::shard::Shard;
use crate::stats::Counters;
use crate::table::{Table, entry_bytes};
use crate::tree::{Node, Opener, Stub};
use crate::view::ViewRuntime;
use crate::window::{Missing, Need, evaluate, has_states};

/// The states of some keys of one view, all as of one epoch.
#[derive(Debug)]
pub(crate) struct ShardStates {
    pub(crate) epoch: u64,
    /// Greatest event time of the view's rows that were dropped or have expired.
    pub(crate) gone_us: Option<Micros>,
    /// One for each key that was asked for; None for a key without rows.
    pub(crate) states: Vec<Option<Arc<KeyState>>>,
}

/// What a read has of its keys while it looks for the rest on disk.
#[derive(Debug, Default)]
struct Loading {
    /// One for each key that was asked for; None as long as it was not loaded.
    states: Vec<Option<Arc<KeyState>>>,
    /// Those of `states` that were read, or read further, in the order in which they were.
    read: Vec<usize>,
    /// Keys and parts of their history that were read.
    keys: u64,
    spans: u64,
}

impl Shard {
    /// The states of `keys` (hash in the table, encoded key) as of the published epoch. What is
    /// read from disk is drawn from `memory`, key by key.
    pub(crate) fn states(
        &self,
        view: &ViewRuntime,
        keys: &[(u64, &[u8])],
        memory: &mut Reservation,
    ) -> OnlineResult<ShardStates> {
        let id = view.spec.id;
        {
            let table = self.table.read();
            self.check_whole(view, &table)?;
            let mut states = Vec::with_capacity(keys.len());
            for (hash, key) in keys {
                match table.read(id, *hash, key) {
                    None if !table.complete => break,
                    state => states.push(state.cloned()),
                }
            }
            if states.len() == keys.len() {
                return Ok(ShardStates {
                    epoch: table.epoch(),
                    gone_us: table.gone_us.get(&id).copied(),
                    states,
                });
            }
        }
        self.states_from_disk(view, keys, None, memory)
    }

    /// [`Self::states`], with all in memory that a read of each key at its instant needs;
    /// `instants` has one for each key.
    pub(crate) fn states_at(
        &self,
        view: &ViewRuntime,
        keys: &[(u64, &[u8])],
        instants: &[Micros],
        memory: &mut Reservation,
    ) -> OnlineResult<ShardStates> {
        self.states_from_disk(view, keys, Some(instants), memory)
    }

    fn states_from_disk(
        &self,
        view: &ViewRuntime,
        keys: &[(u64, &[u8])],
        instants: Option<&[Micros]>,
        memory: &mut Reservation,
    ) -> OnlineResult<ShardStates> {
        let id = view.spec.id;
        let stable = self.gate.read();
        let (mut found, gone_us, complete) = {
            let table = self.table.read();
            self.check_whole(view, &table)?;
            let states = keys.iter().map(|(hash, key)| table.read(id, *hash, key));
            let found = Loading {
                states: states.map(Option::<&_>::cloned).collect(),
                ..Loading::default()
            };
            (found, table.gone_us.get(&id).copied(), table.complete)
        };
        let mut whole = match complete {
            true => Ok(()),
            false => self.load(view, keys, &mut found, memory),
        };
        if let (Ok(()), Some(instants)) = (&whole, instants) {
            let t_min_us = view.t_min_us(gone_us).unwrap_or(Micros::MIN);
            whole = self.open_for(view, keys, (instants, t_min_us), &mut found, memory);
        }
        Counters::add(&self.counters.keys_loaded, found.keys);
        Counters::add(&self.counters.spans_loaded, found.spans);
        Counters::add(&view.counters.loads, found.keys + found.spans);
        let mut table = self.table.write();
        let mut freed = Vec::new();
        // Also what a read has loaded that is refused: it may be asked again, and must get further.
        for &row in &found.read {
            let ((hash, key), state) = (&keys[row], &found.states[row]);
            let published = state.as_ref().map(Arc::clone);
            freed.extend(published.and_then(|state| table.publish_read(id, *hash, key, state)));
        }
        let answer = whole.map(|()| ShardStates {
            epoch: table.epoch(),
            gone_us,
            states: found.states,
        });
        let evicted = self.evict(&mut table);
        drop(table);
        drop(stable);
        drop(freed);
        self.count_evicted(&evicted);
        answer
    }

    /// A view that is set aside is not read.
    fn check_whole(&self, view: &ViewRuntime, table: &Table) -> OnlineResult<()> {
        match table.damage.get(&view.spec.id) {
            Some(why) => Err(self.view_damaged(&view.spec, why)),
            None => Ok(()),
        }
    }

    /// A record that does not decode is its view's; a file that cannot be read may hold any view's,
    /// and the error names the file.
    fn of_its_view<T>(&self, view: &ViewRuntime, read: OnlineResult<T>) -> OnlineResult<T> {
        match read {
            Err(OnlineError::Damaged { .. }) => read,
            read => self.of_view(&view.spec, read),
        }
    }

    /// Load the keys that are not `found`, as far as there is `memory` for them.
    fn load(
        &self,
        view: &ViewRuntime,
        keys: &[(u64, &[u8])],
        found: &mut Loading,
        memory: &mut Reservation,
    ) -> OnlineResult<()> {
        let mut loaded: HashMap<&[u8], Arc<KeyState>> = HashMap::new();
        for (row, (_, key)) in keys.iter().enumerate() {
            let state = &mut found.states[row];
            if state.is_some() {
                continue;
            }
            if let Some(known) = loaded.get(key) {
                *state = Some(Arc::clone(known));
                continue;
            }
            let entry = memory.grow(entry_bytes(key));
            entry.map_err(PortError::from)?;
            let read = self.database.load_key(view, key);
            let read = Arc::new(self.of_its_view(view, read)?);
            // How much a key holds shows when it is read: one too many is dropped again.
            let grown = memory.grow(read.memory_bytes());
            grown.map_err(PortError::from)?;
            found.keys += 1;
            found.read.push(row);
            loaded.insert(key, Arc::clone(&read));
            *state = Some(read);
        }
        Ok(())
    }

    /// Read what each key needs at its instant, as far as there is `memory` for it. Below
    /// `t_min_us` nothing is answered.
    fn open_for(
        &self,
        view: &ViewRuntime,
        keys: &[(u64, &[u8])],
        (instants, t_min_us): (&[Micros], Micros),
        found: &mut Loading,
        memory: &mut Reservation,
    ) -> OnlineResult<()> {
        // The place of each key that was opened: a later row of it needs what that has, or more.
        let mut opened: HashMap<&[u8], usize> = HashMap::new();
        for (row, ((_, key), at)) in keys.iter().zip(instants).enumerate() {
            if let Some(&wider) = opened.get(key) {
                found.states[row] = found.states[wider].clone();
            }
            let state = found.states[row].clone();
            let Some(state) = state.filter(|state| state.known && *at >= t_min_us) else {
                continue;
            };
            // What was opened may have stubs in it again: each round gets further down.
            let mut state = Some(state);
            while let Some(whole) = state.take() {
                let Err(Missing(needs)) = evaluate(view, &whole, *at) else {
                    continue;
                };
                opened.insert(key, row);
                for need in needs {
                    self.open_stub(view, key, need, (row, &mut *found), memory)?;
                }
                state = found.states[row].clone();
            }
        }
        Ok(())
    }

    /// Read the stub that `need` names for the key of `row`.
    fn open_stub(
        &self,
        view: &ViewRuntime,
        key: &[u8],
        need: Need,
        (row, found): (usize, &mut Loading),
        memory: &mut Reservation,
    ) -> OnlineResult<()> {
        let Some(state) = &mut found.states[row] else {
            return Ok(());
        };
        let held = memory.bytes();
        if !need.rows {
            memory.grow(need.bytes).map_err(PortError::from)?;
        }
        let mut opener = KeyOpener::new(&self.database, view, key);
        let wider = state.with_stub(need.id, |stub| {
            if need.rows {
                return self.of_its_view(view, opener.open(stub));
            }
            let subtree = self.of_its_view(view, opener.open_whole(stub))?;
            Ok(stub_with_states(view, subtree))
        })?;
        if need.rows {
            // How much it is shows when it is read: one part too many is dropped again.
            let grown = wider.memory_bytes().saturating_sub(state.memory_bytes());
            memory.grow(grown).map_err(PortError::from)?;
        } else {
            memory.shrink_to(held);
        }
        *state = Arc::new(wider);
        found.read.push(row);
        found.spans += opener.opened;
        Ok(())
    }
}

/// A stub with the merged states of `subtree`, all of whose rows were read for them.
fn stub_with_states(view: &ViewRuntime, subtree: Arc<Node>) -> Arc<Node> {
    let Node::Branch(branch) = subtree.as_ref() else {
        return subtree;
    };
    let whole = has_states(view, branch);
    invariant!(StatesOfWhole, whole, "a stub below an opened one");
    Arc::new(Node::Stub(Stub::of(branch)))
}
