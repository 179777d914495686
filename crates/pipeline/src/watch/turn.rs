//! Which of the applied records are read again and compared in one look at the log: some of them,
//! all in turn. Asks nobody itself.

use forebay_core::limits::LOG_DIGESTS_PER_LOOK;

/// The next [`LOG_DIGESTS_PER_LOOK`] of `all`, which go round.
pub(super) fn turn<T: Clone>(all: &[T], cursor: &mut usize) -> Vec<T> {
    if all.len() <= LOG_DIGESTS_PER_LOOK {
        return all.to_vec();
    }
    let from = *cursor % all.len();
    *cursor = from + LOG_DIGESTS_PER_LOOK;
    let round = all.iter().cycle().skip(from);
    round.take(LOG_DIGESTS_PER_LOOK).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_look_reads_so_many_records_again_and_all_have_their_turn() {
        let at_the_limit: Vec<usize> = (0..LOG_DIGESTS_PER_LOOK).collect();
        let mut cursor = 0;
        assert_eq!(turn(&at_the_limit, &mut cursor), at_the_limit);
        let above: Vec<usize> = (0..2 * LOG_DIGESTS_PER_LOOK + 1).collect();
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let round = turn(&above, &mut cursor);
            assert_eq!(round.len(), LOG_DIGESTS_PER_LOOK);
            seen.extend(round);
        }
        assert_eq!(seen.len(), above.len());
    }
}
