//! The value of a view for one key at one instant, from the key's tree: walk each window once,
//! merge the states of whole nodes, fold single rows at the two edges, round at the end. Also finds
//! how long the value stays right with no new event, so that the answer can be kept ([`HotRow`]).
//!
//! Pure: nothing here locks, reads the disk or a clock.

use std::borrow::Cow;

use forebay_core::aggregate::{Partial, PartialSpec, RowOrder, Rows};
use forebay_core::invariant;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::{FeatureStatus, Window, feature_status};

use crate::format::TileId;
use crate::key_state::{BLOCK_MAX_ROWS, HotRow, KeyState, Rows as KeyRows};
use crate::rows::{ColumnView, RowView, passes};
use crate::tree::{Branch, Node, Stub, Tile, empty_states};
use crate::view::{ViewRuntime, WindowPlan};

/// Tiles below this many rows are folded row by row each time: keeping their states would cost more
/// memory than it saves.
const STATES_MIN_ROWS: usize = BLOCK_MAX_ROWS;

/// What a walk over one window saw of the rows around it.
#[derive(Debug, Default, Clone, Copy)]
struct Reach {
    /// Oldest and newest row inside.
    oldest: Option<Micros>,
    newest: Option<Micros>,
    /// Newest row before the window.
    before: Option<Micros>,
    /// Oldest row after the window: not yet visible.
    after: Option<Micros>,
}

impl Reach {
    fn include(&mut self, first: Micros, last: Micros) {
        self.oldest = Some(self.oldest.map_or(first, |t| t.min(first)));
        self.newest = self.newest.max(Some(last));
    }

    fn exclude_after(&mut self, first: Micros) {
        self.after = Some(self.after.map_or(first, |t| t.min(first)));
    }
}

/// A stub that a read cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) id: TileId,
    /// Whether it needs rows, since a window begins or ends among them; else their merged states.
    pub(crate) rows: bool,
    /// What its rows take in memory, bytes.
    pub(crate) bytes: usize,
}

/// What a read needs and is on disk alone, each stub once.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) Vec<Need>);

/// The row of `view` at `at`, or what must be read from disk for it. `state` holds every row that
/// a read at `at` may see (the caller checked T_min).
pub(crate) fn evaluate(
    view: &ViewRuntime,
    state: &KeyState,
    at: Micros,
) -> Result<HotRow, Missing> {
    let mut row = HotRow {
        valid_from_us: Micros::MIN,
        valid_until_us: Micros::MAX,
        newest_us: state.gone_newest_us(),
        status: FeatureStatus::NotFound,
        values: vec![Ok(Value::Null); view.spec.aggregates.len()].into_boxed_slice(),
    };
    let mut missing = Vec::new();
    for plan in &view.windows {
        let mut walk = Walk::over(view, plan, state, at);
        if walk.missing.is_empty() {
            walk.put_into(&mut row);
        }
        missing.append(&mut walk.missing);
    }
    if !missing.is_empty() {
        // Several windows may need one stub: where one of them needs its rows, all have them.
        missing.sort_by_key(|need| (need.id, !need.rows));
        missing.dedup_by_key(|need| need.id);
        return Err(Missing(missing));
    }
    finish(&mut row, view, at);
    Ok(row)
}

/// What all windows together decide: whether the key has a value, and for how long.
fn finish(row: &mut HotRow, view: &ViewRuntime, at: Micros) {
    let newest_us = row.newest_us;
    row.valid_from_us = row.valid_from_us.max(newest_us.unwrap_or(Micros::MIN));
    row.status = feature_status(newest_us, at, view.spec.ttl_us);
    let is_present = row.status == FeatureStatus::Present;
    if !is_present {
        row.values.fill(Ok(Value::Null));
    }
    if let (Some(newest), Some(ttl)) = (newest_us, view.spec.ttl_us) {
        let expires = newest.saturating_add(ttl).saturating_add(1);
        if is_present {
            row.valid_until_us = row.valid_until_us.min(expires);
        } else {
            row.valid_from_us = row.valid_from_us.max(expires);
        }
    }
    // Expired rows need no bound on validity: reads at instants that could see them are refused
    // (T_min).
    invariant!(
        NewestNotAfterRead,
        newest_us.is_none_or(|newest_us| newest_us <= at),
        "an event at {newest_us:?} in a read at {at}"
    );
    invariant!(
        AnswerWithinItsSpan,
        row.valid_from_us <= at && at < row.valid_until_us,
        "[{}, {}) for {at}",
        row.valid_from_us,
        row.valid_until_us
    );
}

/// One walk over one window.
struct Walk<'a> {
    view: &'a ViewRuntime,
    plan: &'a WindowPlan,
    from: Micros,
    to: Micros,
    states: Vec<Partial>,
    reach: Reach,
    missing: Vec<Need>,
}

impl<'a> Walk<'a> {
    /// The walk over `state`, done.
    fn over(view: &'a ViewRuntime, plan: &'a WindowPlan, state: &KeyState, at: Micros) -> Self {
        let mut walk = Self::new(view, plan, at);
        if plan.window == Window::Lifetime
            && let Some(folded) = &state.folded
        {
            walk.states
                .iter_mut()
                .zip(folded.states.iter())
                .for_each(|(mine, theirs)| mine.merge(theirs));
        }
        match state.rows() {
            KeyRows::Block(bytes) if bytes.is_empty() => {}
            KeyRows::Block(bytes) => walk.fold_edge(&RowView::new(bytes)),
            KeyRows::Tree(tree) => tree.roots.iter().for_each(|root| walk.visit(root)),
        }
        walk
    }

    /// Put what it found into the row: the values of its window, and how long they stay right.
    fn put_into(&self, row: &mut HotRow) {
        let reach = self.reach;
        invariant!(
            RowsInWindow,
            reach.oldest.is_none_or(|oldest| self.from <= oldest)
                && reach.newest.is_none_or(|newest| newest <= self.to),
            "{:?} to {:?} in [{}, {}]",
            reach.oldest,
            reach.newest,
            self.from,
            self.to
        );
        row.newest_us = row.newest_us.max(reach.newest).max(reach.before);
        if let Window::Range { preceding_us } = self.plan.window {
            let leaves = |time: Micros| time.saturating_add(preceding_us).saturating_add(1);
            let until_us = reach.oldest.map_or(Micros::MAX, leaves);
            row.valid_until_us = row.valid_until_us.min(until_us);
            let from_us = reach.before.map_or(Micros::MIN, leaves);
            row.valid_from_us = row.valid_from_us.max(from_us);
        }
        let until_us = reach.after.unwrap_or(Micros::MAX);
        row.valid_until_us = row.valid_until_us.min(until_us);
        for (output, place, kind) in &self.plan.outputs {
            row.values[*output] = self.states[*place].evaluate(*kind);
        }
    }

    fn new(view: &'a ViewRuntime, plan: &'a WindowPlan, at: Micros) -> Self {
        let from = match plan.window {
            Window::Range { preceding_us } => at.saturating_sub(preceding_us),
            Window::Lifetime => Micros::MIN,
        };
        let states = plan
            .partials
            .iter()
            .map(|&p| Partial::new(&view.spec.partials[p]))
            .collect();
        Self {
            view,
            plan,
            from,
            to: at,
            states,
            reach: Reach::default(),
            missing: Vec::new(),
        }
    }

    fn visit(&mut self, node: &Node) {
        let (first, last) = (node.min_us(), node.max_us());
        if last < self.from {
            self.reach.before = self.reach.before.max(Some(last));
        } else if first > self.to {
            self.reach.exclude_after(first);
        } else if self.from <= first && last <= self.to {
            self.reach.include(first, last);
            self.merge_whole(node);
        } else {
            match node {
                Node::Tile(tile) => self.fold_edge(&tile.view()),
                Node::Stub(stub) => self.missing.push(need(self.view, stub, true)),
                Node::Branch(branch) => branch.children().for_each(|child| self.visit(child)),
            }
        }
    }

    fn merge_whole(&mut self, node: &Node) {
        if self.plan.partials.is_empty() {
            return;
        }
        match node {
            Node::Tile(tile)
                if tile.states.get().is_none() && tile.view().rows() < STATES_MIN_ROWS =>
            {
                let rows = tile.view();
                self.fold_rows(&rows, 0, rows.rows());
            }
            node => {
                let Some(theirs) = node_states(self.view, node, &mut self.missing) else {
                    return;
                };
                for (state, &p) in self.states.iter_mut().zip(&self.plan.partials) {
                    state.merge(&theirs[p]);
                }
            }
        }
    }

    /// Fold the rows that lie in the window, whichever these are.
    fn fold_edge(&mut self, rows: &RowView<'_>) {
        let from = rows.lower_bound(self.from);
        let to = if self.to == Micros::MAX {
            rows.rows()
        } else {
            rows.lower_bound(self.to + 1)
        };
        if from > 0 {
            self.reach.before = self.reach.before.max(Some(rows.time(from - 1)));
        }
        if to < rows.rows() {
            self.reach.exclude_after(rows.time(to));
        }
        if from < to {
            self.reach.include(rows.time(from), rows.time(to - 1));
            self.fold_rows(rows, from, to);
        }
    }

    fn fold_rows(&mut self, rows: &RowView<'_>, from: usize, to: usize) {
        let columns = Columns::new(self.view, rows);
        for (state, &p) in self.states.iter_mut().zip(&self.plan.partials) {
            columns.fold(state, &self.view.spec.partials[p], from, to);
        }
    }
}

fn need(view: &ViewRuntime, stub: &Stub, rows: bool) -> Need {
    Need {
        id: stub.id,
        rows,
        bytes: stub.opened_bytes(view.spec.partials.len()),
    }
}

/// Make the merged states of `branch`, unless rows below it are on disk alone whose states nobody
/// has; returns whether it has them.
pub(crate) fn has_states(view: &ViewRuntime, branch: &Branch) -> bool {
    if branch.states.get().is_none()
        && let Some(states) = branch_states(view, branch, &mut Vec::new())
    {
        branch.states.get_or_init(|| states);
    }
    branch.states.get().is_some()
}

/// Merged states of all partials over a whole node, made on first use; None where rows below it
/// are on disk alone, whose spans go to `missing`.
fn node_states<'a>(
    view: &ViewRuntime,
    node: &'a Node,
    missing: &mut Vec<Need>,
) -> Option<Cow<'a, [Partial]>> {
    match node {
        Node::Tile(tile) => Some(Cow::Borrowed(tile.states.get_or_init(|| {
            let mut states = empty_states(&view.spec.partials);
            fold_tile(view, tile, &mut states);
            states
        }))),
        Node::Stub(stub) => {
            let states = stub.states(view);
            if states.is_none() {
                missing.push(need(view, stub, false));
            }
            states.map(|states| Cow::Owned(states.into_vec()))
        }
        Node::Branch(branch) => {
            if let Some(states) = branch.states.get() {
                return Some(Cow::Borrowed(states));
            }
            let states = branch_states(view, branch, missing)?;
            Some(Cow::Borrowed(branch.states.get_or_init(|| states)))
        }
    }
}

fn branch_states(
    view: &ViewRuntime,
    branch: &Branch,
    missing: &mut Vec<Need>,
) -> Option<Box<[Partial]>> {
    let mut states = empty_states(&view.spec.partials);
    let mut is_whole = true;
    for child in branch.children() {
        match child.as_ref() {
            Node::Tile(tile) if tile.states.get().is_none() => fold_tile(view, tile, &mut states),
            child => match node_states(view, child, missing) {
                Some(theirs) => states
                    .iter_mut()
                    .zip(theirs.iter())
                    .for_each(|(mine, theirs)| mine.merge(theirs)),
                None => is_whole = false,
            },
        }
    }
    is_whole.then_some(states)
}

fn fold_tile(view: &ViewRuntime, tile: &Tile, states: &mut [Partial]) {
    let rows = tile.view();
    let columns = Columns::new(view, &rows);
    for (state, spec) in states.iter_mut().zip(&view.spec.partials) {
        columns.fold(state, spec, 0, rows.rows());
    }
}

/// States over `tile` of the partials named by `which`, merged into `states`: how expired rows are
/// folded.
pub(crate) fn fold_expired(
    view: &ViewRuntime,
    tile: &Tile,
    which: &[usize],
    states: &mut [Partial],
) {
    let rows = tile.view();
    let columns = Columns::new(view, &rows);
    for (state, &p) in states.iter_mut().zip(which) {
        columns.fold(state, &view.spec.partials[p], 0, rows.rows());
    }
}

/// The rows of one tile with their argument and filter columns.
struct Columns<'a> {
    rows: &'a RowView<'a>,
    arguments: Vec<ColumnView<'a>>,
    filters: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn new(view: &ViewRuntime, rows: &'a RowView<'a>) -> Self {
        let mut cursor = rows.columns();
        let arguments = view
            .kinds
            .iter()
            .map(|kind| cursor.next_column(*kind))
            .collect();
        let filters = (0..view.spec.filters)
            .map(|_| cursor.next_filter())
            .collect();
        Self {
            rows,
            arguments,
            filters,
        }
    }

    /// Fold rows `from..to` into `state`.
    fn fold(&self, state: &mut Partial, spec: &PartialSpec, from: usize, to: usize) {
        match spec.filter {
            None => state.fold(self, &spec.arguments, from..to),
            Some(filter) => {
                let filter = self.filters[filter];
                let passing = (from..to).filter(|row| passes(filter, *row));
                state.fold(self, &spec.arguments, passing);
            }
        }
    }
}

/// Rows of a tile are in the order of the log.
impl<'a> Rows for Columns<'a> {
    type Column = ColumnView<'a>;

    fn argument(&self, index: usize) -> &ColumnView<'a> {
        &self.arguments[index]
    }

    fn order(&self, row: usize) -> RowOrder {
        RowOrder {
            time_us: self.rows.time(row),
            partition: self.rows.partition(row),
            offset: self.rows.offset(row),
        }
    }
}
