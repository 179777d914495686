//! Some hundred seeds at every `make test`; `make sim` plays as many as there is time for. A seed
//! that has failed once stays here.

use forebay_sim::run::play;

/// How many are played.
const SEEDS: u64 = 300;
/// Those that found something, and what that was when they did: a change of the simulation gives a
/// seed another story, so each fault has a test of its own beside this.
const FOUND: [(u64, &str); 7] = [
    (
        753,
        "a start that failed left the threads of scoring behind",
    ),
    (1_305, "the same, and its notes on unscored events"),
    (
        3,
        "the fill of a new view was not synced before it was saved",
    ),
    (
        3_710,
        "a shard's record of a bound was replaced by a shorter one of the archive",
    ),
    (
        15_417,
        "a change was undone, the definitions before could not be saved, and the new view's state was deleted",
    ),
    (
        32,
        "the filter of repeats took events that were read before a crash for holes, and dropped their predictions",
    ),
    (
        286,
        "a source with an empty partition that was held had no watermark at a start, and held back monitors",
    ),
];

#[test]
fn whatever_happens_to_a_server_its_state_is_what_the_log_says() {
    let found = FOUND.iter().map(|(seed, _)| *seed);
    for seed in (0..SEEDS).chain(found) {
        let report = play(seed);
        assert_eq!(report.failure, None, "seed {seed}");
    }
}

#[test]
fn a_seed_makes_the_same_choices_twice() {
    for seed in 0..40 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}
