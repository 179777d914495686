//! The comparison: cases by name, and some thousands of random ones against an evaluator that looks
//! at each offset by itself.

use std::collections::{BTreeMap, BTreeSet};

use forebay_testkit::Random;

use super::*;

fn set(ranges: &[(i64, i64)]) -> OffsetSet {
    ranges.iter().map(|(from, to)| *from..*to).collect()
}

/// A partition of a hundred records that is as it should be.
fn sound() -> PartitionFacts {
    PartitionFacts {
        begin: Some(0),
        mark: 100,
        archived: set(&[(0, 40), (41, 60), (61, 70), (80, 100)]),
        letters: set(&[(40, 41)]),
        gaps: set(&[(70, 80)]),
        log: Some(LogFacts {
            end: 100,
            read: set(&[(0, 100)]),
            // Offset 60 is a control record.
            records: set(&[(0, 60), (61, 100)]),
            equal: set(&[(0, 40), (41, 60), (61, 70), (80, 100)]),
            ..LogFacts::default()
        }),
        ..PartitionFacts::default()
    }
}

fn kinds(facts: &PartitionFacts) -> Vec<(FindingKind, Vec<(i64, i64)>)> {
    let findings = judge(facts).findings.into_iter();
    findings.map(|found| (found.kind, found.ranges)).collect()
}

#[test]
fn rows_letters_gaps_and_control_records_account_for_every_offset() {
    let verdict = judge(&sound());
    assert_eq!(verdict.findings, []);
    let counts = [
        verdict.offsets,
        verdict.archived,
        verdict.compared,
        verdict.dead_letters,
        verdict.gaps,
        verdict.no_record,
        verdict.unchecked,
    ];
    assert_eq!(counts, [100, 88, 88, 1, 10, 1, 0]);
}

fn log(facts: &mut PartitionFacts) -> &mut LogFacts {
    facts.log.as_mut().expect("the log answers")
}

#[test]
fn records_that_the_log_lost_unread_are_told_until_they_are_accepted() {
    let mut facts = sound();
    log(&mut facts).begin = 90;
    assert_eq!(kinds(&facts), [], "they were read");
    log(&mut facts).begin = 120;
    log(&mut facts).end = 120;
    assert_eq!(kinds(&facts), [(FindingKind::Unread, vec![(100, 120)])]);
    facts.gaps.insert_range(100, 110);
    assert_eq!(kinds(&facts), [(FindingKind::Unread, vec![(110, 120)])]);
    let begins = PartitionFacts {
        log: facts.log.take(),
        ..PartitionFacts::default()
    };
    assert_eq!(kinds(&begins), [], "reading has not begun");
}

#[test]
fn each_defect_is_told_with_its_offsets() {
    let mut lost = sound();
    lost.archived = lost.archived.difference(&set(&[(20, 25)]));
    assert_eq!(kinds(&lost), [(FindingKind::Lost, vec![(20, 25)])]);
    let mut doubled = sound();
    doubled.doubled = set(&[(3, 4)]);
    assert_eq!(kinds(&doubled), [(FindingKind::Doubled, vec![(3, 4)])]);
    let mut other = sound();
    log(&mut other).differing = set(&[(0, 9)]);
    assert_eq!(kinds(&other), [(FindingKind::OtherRecord, vec![(0, 9)])]);
    let mut shorter = sound();
    *log(&mut shorter) = LogFacts {
        end: 90,
        ..LogFacts::default()
    };
    assert_eq!(kinds(&shorter), [(FindingKind::BeyondEnd, vec![(90, 100)])]);
    let mut replaced = sound();
    replaced.archived = set(&[(90, 100)]);
    replaced.cut = Some(90);
    log(&mut replaced).read = set(&[(90, 100)]);
    log(&mut replaced).records = set(&[(90, 100)]);
    assert_eq!(kinds(&replaced), [(FindingKind::Replaced, vec![(0, 90)])]);
    let text = judge(&lost).findings[0].to_string();
    assert!(text.starts_with("offsets 20 to 24 (5 in all)"), "{text}");
}

#[test]
fn a_repeat_that_was_dropped_is_no_loss() {
    let mut facts = sound();
    facts.archived = facts.archived.difference(&set(&[(20, 25)]));
    log(&mut facts).repeats = set(&[(20, 25)]);
    let verdict = judge(&facts);
    assert_eq!((verdict.findings, verdict.repeats), (Vec::new(), 5));
}

#[test]
fn what_the_log_no_longer_holds_is_counted_as_unchecked() {
    let mut facts = sound();
    facts.archived = set(&[(50, 60), (61, 70), (80, 100)]);
    log(&mut facts).read = set(&[(50, 100)]);
    log(&mut facts).records = set(&[(50, 60), (61, 100)]);
    let verdict = judge(&facts);
    assert_eq!((verdict.findings, verdict.unchecked), (Vec::new(), 49));
    // A state that does not remember where reading began: the archive says it.
    facts.begin = None;
    facts.letters = OffsetSet::default();
    let verdict = judge(&facts);
    let begin = (verdict.from, verdict.begin_known, verdict.unchecked);
    assert_eq!(begin, (50, false, 0));
}

fn some(random: &mut Random) -> OffsetSet {
    let count = random.below(5);
    let range = |_| {
        let from = i64::try_from(random.below(60)).expect("small");
        from..from + i64::try_from(random.below(15)).expect("small")
    };
    (0..count).map(range).collect()
}

fn plain(set: &OffsetSet) -> BTreeSet<i64> {
    set.ranges().flatten().collect()
}

/// What [`judge`] has to say, offset by offset.
fn naive(facts: &PartitionFacts, from: i64) -> (BTreeMap<&'static str, u64>, BTreeSet<i64>) {
    let (mut counts, mut lost) = (BTreeMap::new(), BTreeSet::new());
    let log = facts.log.clone().unwrap_or_default();
    for offset in from..facts.mark {
        let kind = if facts.archived.contains(offset) {
            "archived"
        } else if facts.letters.contains(offset) {
            "letter"
        } else if facts.gaps.contains(offset) {
            "gap"
        } else if log.repeats.contains(offset) {
            "repeat"
        } else if log.records.contains(offset) {
            lost.insert(offset);
            "lost"
        } else if log.read.contains(offset) {
            "no record"
        } else {
            "unchecked"
        };
        *counts.entry(kind).or_default() += 1;
    }
    (counts, lost)
}

#[test]
fn the_comparison_says_what_a_look_at_each_offset_says() {
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let read = some(&mut random);
        let records = some(&mut random).intersection(&read);
        let facts = PartitionFacts {
            begin: (random.below(2) == 0).then_some(3),
            mark: i64::try_from(random.below(80)).expect("small"),
            archived: some(&mut random),
            letters: some(&mut random),
            gaps: some(&mut random),
            log: (random.below(8) > 0).then(|| LogFacts {
                end: 100,
                repeats: some(&mut random).intersection(&records),
                read,
                records,
                ..LogFacts::default()
            }),
            ..PartitionFacts::default()
        };
        let verdict = judge(&facts);
        let (counts, lost) = naive(&facts, verdict.from);
        let of = |kind: &str| counts.get(kind).copied().unwrap_or(0);
        let told = [
            (verdict.archived, "archived"),
            (verdict.dead_letters, "letter"),
            (verdict.gaps, "gap"),
            (verdict.repeats, "repeat"),
            (verdict.lost, "lost"),
            (verdict.no_record, "no record"),
            (verdict.unchecked, "unchecked"),
        ];
        for (count, kind) in told {
            assert_eq!(count, of(kind), "{kind}, seed {seed}: {facts:?}");
        }
        assert_eq!(verdict.offsets, counts.values().sum::<u64>(), "seed {seed}");
        let named = verdict
            .findings
            .iter()
            .find(|f| f.kind == FindingKind::Lost);
        let named: Option<BTreeSet<i64>> =
            named.map(|f| f.ranges.iter().flat_map(|(a, b)| *a..*b).collect());
        assert_eq!(named.unwrap_or_default(), lost, "seed {seed}");
    }
}

#[test]
fn what_nothing_explains_is_read_first_and_never_more_than_the_budget() {
    let mut facts = sound();
    facts.archived = facts.archived.difference(&set(&[(20, 25), (30, 32)]));
    // All that is missing in one run, and one more from either end.
    let read = to_read(&facts, (0, 100), 44);
    assert_eq!(read, set(&[(0, 2), (20, 61), (99, 100)]));
    assert_eq!(to_read(&facts, (0, 100), 3), set(&[(20, 23)]));
    assert_eq!(to_read(&facts, (50, 90), 1_000), set(&[(50, 90)]));
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let (archived, letters) = (some(&mut random), some(&mut random));
        let facts = PartitionFacts {
            begin: Some(0),
            mark: 70,
            archived,
            letters,
            ..PartitionFacts::default()
        };
        let budget = random.below(90) as u64;
        let read = to_read(&facts, (10, 60), budget);
        assert_eq!(read.count(), budget.min(50), "seed {seed}");
        let missing: BTreeSet<i64> = (10..60)
            .filter(|o| !facts.archived.contains(*o) && !facts.letters.contains(*o))
            .collect();
        if budget >= 50 {
            assert!(plain(&read).is_superset(&missing), "seed {seed}");
        }
    }
}
