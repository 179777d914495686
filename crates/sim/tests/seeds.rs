//! Some hundred seeds at every `make test`; `make sim` plays as many as there is time for. A seed
//! that has failed once stays here.

use forebay_sim::drift::Alarms;
use forebay_sim::faults::Crashes;
use forebay_sim::run::{Played, play};

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
    let (mut at_calls, mut at_switches, mut drifted, mut stable) = (0, 0, 0, 0);
    let (mut came_back, mut left_out, mut mended, mut lost) = (0, 0, 0, 0);
    let (mut set_aside, mut made_anew) = (0, 0);
    let mut alarms = Alarms::default();
    for seed in (0..SEEDS).chain(found) {
        let Played { report, met } = play(seed);
        assert_eq!(report.failure, None, "seed {seed}");
        at_calls += met.crashes.at_calls;
        at_switches += met.crashes.at_switches;
        came_back += met.came_back;
        left_out += met.left_out;
        mended += met.mended;
        lost += met.lost;
        set_aside += met.set_aside;
        made_anew += met.made_anew;
        drifted += met.drifted;
        stable += met.stable;
        alarms.raised += met.alarms.raised;
        alarms.resolved += met.alarms.resolved;
    }
    // What the seeds never come across they do not judge.
    assert!(
        at_calls > SEEDS / 10 && at_switches > SEEDS / 10,
        "{at_calls} processes have ended at calls, {at_switches} at task switches"
    );
    let told = format!(
        "ingest came back {came_back} times and was lost {lost} times; {left_out} starts left sources out, which came \
         back {mended} times"
    );
    assert!(came_back > SEEDS / 20 && lost < came_back, "{told}");
    assert!(left_out > SEEDS / 10 && mended > SEEDS / 20, "{told}");
    assert!(
        set_aside > 0 && made_anew > SEEDS / 60,
        "{set_aside} parts of views were set aside, {made_anew} views were made anew"
    );
    assert!(
        drifted > SEEDS / 10 && stable > SEEDS / 10,
        "{drifted} windows have drifted, {stable} have not"
    );
    assert!(alarms.raised > 10 && alarms.resolved > 10, "{alarms:?}");
}

#[test]
fn a_seed_makes_the_same_choices_twice_wherever_it_ends_a_process() {
    let mut crashes = Crashes::default();
    for seed in 0..40 {
        let played = play(seed);
        assert_eq!(played, play(seed), "seed {seed}");
        crashes.at_calls += played.met.crashes.at_calls;
        crashes.at_switches += played.met.crashes.at_switches;
    }
    assert!(
        crashes.at_calls > 0 && crashes.at_switches > 0,
        "{crashes:?}"
    );
}
