//! Which of the applied records are read again and compared in one look at the log: of each source
//! some of them, all in turn. Asks nobody itself.

use std::collections::BTreeMap;

use forebay_core::limits::LOG_DIGESTS_PER_LOOK;

/// Whose turn it is, by source: sources that shared one would take turns from one another.
#[derive(Debug, Default)]
pub(super) struct Turns(BTreeMap<String, usize>);

impl Turns {
    /// The next [`LOG_DIGESTS_PER_LOOK`] of `all`, which go round, of `source`.
    pub(super) fn next<T: Clone>(&mut self, source: &str, all: &[T]) -> Vec<T> {
        if all.len() <= LOG_DIGESTS_PER_LOOK {
            return all.to_vec();
        }
        let cursor = self.0.entry(source.to_owned()).or_default();
        let from = *cursor % all.len();
        *cursor = from + LOG_DIGESTS_PER_LOOK;
        let round = all.iter().cycle().skip(from);
        round.take(LOG_DIGESTS_PER_LOOK).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_look_reads_so_many_records_again_and_all_have_their_turn() {
        let at_the_limit: Vec<usize> = (0..LOG_DIGESTS_PER_LOOK).collect();
        let mut turns = Turns::default();
        assert_eq!(turns.next("s", &at_the_limit), at_the_limit);
        let above: Vec<usize> = (0..2 * LOG_DIGESTS_PER_LOOK + 1).collect();
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let round = turns.next("s", &above);
            assert_eq!(round.len(), LOG_DIGESTS_PER_LOOK);
            seen.extend(round);
        }
        assert_eq!(seen.len(), above.len());
    }

    #[test]
    fn sources_take_no_turns_from_one_another() {
        let records: Vec<usize> = (0..2 * LOG_DIGESTS_PER_LOOK).collect();
        let mut turns = Turns::default();
        let (mut seen, mut others) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..2 {
            seen.extend(turns.next("s", &records));
            others.extend(turns.next("t", &records));
        }
        assert_eq!([seen.len(), others.len()], [records.len(); 2]);
    }
}
