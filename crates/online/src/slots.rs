//! A list of numbered places that grows in pieces: an entry never moves, and what is reserved
//! beyond the entries is one piece, not as much again as there are. `table` keeps its keys in one.

use forebay_core::index::RowIndex;

/// Places of one piece.
const PIECE: usize = 1_024;

/// Numbered places, each with an entry or free.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    pieces: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self {
            pieces: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Number of places, free ones too.
    pub(crate) fn len(&self) -> usize {
        let last = self.pieces.last().map_or(0, Vec::len);
        self.pieces.len().saturating_sub(1) * PIECE + last
    }

    /// Number of free places.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.pieces.get(at / PIECE)?.get(at % PIECE)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let piece = self.pieces.get_mut(at / PIECE)?;
        piece.get_mut(at % PIECE)?.as_mut()
    }

    /// Put an entry into a free place; its number.
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        if let Some(at) = self.free.pop() {
            let place = at as usize;
            self.pieces[place / PIECE][place % PIECE] = Some(entry);
            return at;
        }
        let at = RowIndex::at(self.len()).number();
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.push(Some(entry));
        }
        at
    }

    /// Take the entry from its place, which becomes free.
    pub(crate) fn remove(&mut self, at: u32) -> Option<T> {
        let place = at as usize;
        let piece = self.pieces.get_mut(place / PIECE)?;
        let entry = piece.get_mut(place % PIECE)?.take()?;
        self.free.push(at);
        Some(entry)
    }

    /// The entries, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let all = RowIndex::all(self.len()).zip(self.pieces.iter().flatten());
        all.filter_map(|(at, entry)| Some((at.number(), entry.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_reused_and_entries_stay_where_they_are() {
        let mut slots = Slots::new();
        let all: Vec<u32> = (0..3 * PIECE + 5).map(|n| slots.insert(n)).collect();
        assert!(all.iter().enumerate().all(|(n, at)| n == *at as usize));
        assert_eq!(slots.remove(2_000), Some(2_000));
        assert_eq!(slots.remove(2_000), None);
        assert_eq!((slots.len(), slots.free()), (3 * PIECE + 5, 1));
        assert_eq!(slots.insert(7), 2_000);
        assert_eq!(slots.get(2_000), Some(&7));
        *slots.get_mut(5).expect("there") = 8;
        assert_eq!(slots.iter().map(|(_, n)| *n).sum::<usize>() % 2, {
            let sum: usize = (0..3 * PIECE + 5).sum();
            (sum - 2_000 + 7 - 5 + 8) % 2
        });
        assert_eq!(slots.get(slots.len()), None);
    }
}
