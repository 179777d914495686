//! Spans of time that nodes of a key's tree stand for: their levels, their names and how they lie
//! in one another. Part of the format on disk: tiles and the records of branches are found by it.
//! Pure; [`crate::tree`] says what a node of a level is.

use forebay_core::time::Micros;

use crate::format::TileId;

/// Children of a branch; part of the format through the levels.
pub(crate) const FANOUT: usize = 4;
/// Level whose nodes cover one microsecond.
pub(crate) const LEVEL_INSTANT: u8 = 16;
/// Level of the roots: 4^21 microseconds.
pub(crate) const LEVEL_ROOT: u8 = LEVEL_INSTANT + 21;

/// Spreads the rows of one microsecond: the upper half of a splitmix64 step. Part of the format.
pub(crate) fn mix(partition: i32, offset: i64) -> u32 {
    let mut x = (offset as u64) ^ (u64::from(partition as u32)).rotate_left(40);
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 32) as u32
}

/// The node of `level` that holds a row.
pub(crate) fn id_of(level: u8, time: Micros, mix: u32) -> TileId {
    if level >= LEVEL_INSTANT {
        let shift = 2 * u32::from(level - LEVEL_INSTANT);
        TileId {
            level,
            start: time >> shift << shift,
            sub: 0,
        }
    } else {
        let shift = 2 * u32::from(level);
        TileId {
            level,
            start: time,
            sub: mix >> shift << shift,
        }
    }
}

/// The node of `level` that holds the place at which the span `id` begins.
pub(crate) fn around(level: u8, id: TileId) -> TileId {
    id_of(level, id.start, id.sub)
}

/// The last place, time and hash, of the span `id`.
pub(crate) fn last_place(id: TileId) -> (Micros, u32) {
    if id.level >= LEVEL_INSTANT {
        let width: Micros = 1 << (2 * u32::from(id.level - LEVEL_INSTANT));
        (id.start.saturating_add(width - 1), u32::MAX)
    } else {
        (id.start, id.sub | ((1 << (2 * u32::from(id.level))) - 1))
    }
}

/// Whether `id` lies in child number `at` of `parent`.
pub(crate) fn is_child(id: TileId, parent: TileId, at: usize) -> bool {
    id.level < parent.level
        && around(parent.level, id) == parent
        && digit(parent.level, id.start, || id.sub) == at
}

/// Which child of a node of `level` holds a row.
pub(crate) fn digit(level: u8, time: Micros, mix: impl FnOnce() -> u32) -> usize {
    let bits = if level > LEVEL_INSTANT {
        (time >> (2 * u32::from(level - LEVEL_INSTANT - 1))) as usize
    } else {
        (mix() >> (2 * u32::from(level - 1))) as usize
    };
    bits & (FANOUT - 1)
}

/// The root that a time belongs to.
pub(crate) fn root_start(time: Micros) -> Micros {
    id_of(LEVEL_ROOT, time, 0).start
}

/// The place, time and hash, that follows `place`; None behind the last one.
pub(crate) fn next_place((start, sub): (Micros, u32)) -> Option<(Micros, u32)> {
    match sub.checked_add(1) {
        Some(sub) => Some((start, sub)),
        None => Some((start.checked_add(1)?, 0)),
    }
}
