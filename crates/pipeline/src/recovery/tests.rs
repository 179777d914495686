//! Decisions as tables: what is recorded, what is found, what becomes of the source.

use forebay_core::ports::TopicNote;

use super::*;

fn digest(offset: i64, value: &str) -> RecordDigest {
    RecordDigest::of(offset, Some(7), None, Some(value.as_bytes()))
}

/// Progress with a last record `old` one below each offset.
fn applied(offsets: &[(i32, i64)]) -> Applied {
    let mut applied = Applied::default();
    for (partition, next_offset) in offsets {
        let progress = PartitionProgress {
            next_offset: *next_offset,
            max_event_time_us: Some(*next_offset),
            last: (*next_offset > 0).then(|| digest(next_offset - 1, "old")),
        };
        applied.advance(&TopicPartition::new("t", *partition), progress);
    }
    applied
}

fn bounds(all: &[(i32, i64, i64)]) -> BTreeMap<i32, LogBounds> {
    let bounds = |(partition, begin, last_stable): &(i32, i64, i64)| {
        let bounds = LogBounds {
            begin: *begin,
            last_stable: *last_stable,
        };
        (*partition, bounds)
    };
    all.iter().map(bounds).collect()
}

/// Two partitions of a hundred records, all as the state knows them.
fn facts(shards: &[&[(i32, i64)]], archive: &[(i32, i64)]) -> SourceFacts {
    let shards: Vec<Arc<Applied>> = shards.iter().map(|s| Arc::new(applied(s))).collect();
    let mut archive = applied(archive);
    archive
        .0
        .values_mut()
        .for_each(|progress| progress.last = None);
    let mut facts = SourceFacts::recorded("s", "t", shards);
    facts.known_cluster = Some("c".into());
    facts.note = TopicNote {
        id: Some("id".into()),
        partitions: 2,
        ..TopicNote::default()
    };
    facts.archive = archive;
    let records = facts
        .last_records()
        .into_iter()
        .flat_map(|(place, all)| all.into_iter().map(move |last| (place.partition, last)))
        .map(|(partition, last)| ((partition, last.offset), FirstRecord::Record(last)));
    facts.found = FoundLog::There {
        cluster: "c".into(),
        topic: TopicFacts {
            id: Some("id".into()),
            partitions: vec![0, 1],
        },
        bounds: bounds(&[(0, 0, 100), (1, 0, 100)]),
        records: records.collect(),
    };
    facts
}

fn plan(facts: &SourceFacts) -> Plan {
    match decide(facts) {
        Decision::Read(plan) => plan,
        other => panic!("{other:?}"),
    }
}

fn halt(facts: &SourceFacts) -> HaltReason {
    match decide(facts) {
        Decision::Halt(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// Change what was found.
fn found(
    facts: &mut SourceFacts,
    change: impl FnOnce(
        &mut String,
        &mut TopicFacts,
        &mut BTreeMap<i32, LogBounds>,
        &mut BTreeMap<(i32, i64), FirstRecord>,
    ),
) {
    if let FoundLog::There {
        cluster,
        topic,
        bounds,
        records,
    } = &mut facts.found
    {
        change(cluster, topic, bounds, records);
    }
}

fn gap(partition: i32, from: i64, to: i64) -> AcceptedGap {
    AcceptedGap {
        partition,
        from,
        to,
        applied_to: from,
        accepted_us: 1,
    }
}

#[test]
fn a_restart_begins_at_the_smallest_need() {
    type Offsets = &'static [(i32, i64)];
    // Shards, archive, where partitions 0 and 1 start.
    let cases: [(&[Offsets], Offsets, [i64; 2]); 5] = [
        (&[&[], &[]], &[], [0, 0]),
        (&[&[(0, 9)], &[(0, 7)]], &[(0, 8)], [7, 0]),
        (&[&[(0, 9)], &[(0, 9)]], &[(0, 5)], [5, 0]),
        (
            &[&[(0, 9), (1, 4)], &[(0, 9), (1, 4)]],
            &[(0, 9), (1, 3)],
            [9, 3],
        ),
        (&[&[(0, 9)], &[]], &[(0, 9)], [0, 0]),
    ];
    for (shards, archive, expected) in cases {
        let plan = plan(&facts(shards, archive));
        assert_eq!(
            plan.starts.values().copied().collect::<Vec<_>>(),
            expected,
            "{shards:?} {archive:?}"
        );
        assert!(plan.behind.is_empty() && plan.halted.is_empty());
    }
}

#[test]
fn a_sink_without_a_mark_starts_where_the_log_does_and_one_with_a_mark_goes_on_from_it() {
    let decide = |shards: &[&[(i32, i64)]], archive: &[(i32, i64)]| {
        let mut facts = facts(shards, archive);
        found(&mut facts, |_, _, all, _| {
            *all = bounds(&[(0, 50, 100), (1, 0, 100)])
        });
        let plan = plan(&facts);
        (plan.starts[&TopicPartition::new("t", 0)], plan.behind.len())
    };
    assert_eq!(
        decide(&[&[], &[]], &[]),
        (50, 0),
        "a new state over a log that has lost its head"
    );
    assert_eq!(
        decide(&[&[(0, 80)], &[(0, 80)]], &[]),
        (50, 1),
        "a crash before the first append"
    );
    assert_eq!(
        decide(&[&[(0, 80)], &[]], &[(0, 80)]),
        (50, 1),
        "a crash before the second shard's first epoch"
    );
    assert_eq!(decide(&[&[(0, 80)], &[(0, 80)]], &[(0, 60)]), (60, 0));
}

#[test]
fn only_partitions_that_are_read_have_to_be_reached() {
    let mut facts = facts(&[&[(0, 9)], &[(0, 7)]], &[]);
    let gone = TopicPartition::new("a_source_that_was_dropped", 0);
    let mut with_gone = Applied::clone(&facts.shards[0]);
    with_gone.advance(&gone, PartitionProgress::default());
    facts.shards[0] = Arc::new(with_gone);
    let plan = plan(&facts);
    assert_eq!(plan.reached.next_offset(&TopicPartition::new("t", 0)), 9);
    assert!(!plan.reached.0.contains_key(&gone) && !plan.starts.contains_key(&gone));
    assert_eq!(plan.recorded[&TopicPartition::new("t", 0)].len(), 2);
}

#[test]
fn a_log_that_is_not_the_one_that_was_read_halts_its_source() {
    type Change = fn(&mut SourceFacts);
    let cases: [(&str, Change, &str); 7] = [
        (
            "another cluster",
            |f| found(f, |cluster, _, _, _| *cluster = "other".into()),
            "'c' and topic 't' is now asked of cluster 'other'",
        ),
        (
            "deleted",
            |f| {
                f.found = FoundLog::Missing {
                    cluster: "c".into(),
                }
            },
            "topic 't' does not exist",
        ),
        (
            "made anew, with as many records",
            |f| found(f, |_, topic, _, _| topic.id = Some("new".into())),
            "made anew (id 'new'; this server follows 'id')",
        ),
        (
            "made anew with fewer partitions, by a broker without ids",
            |f| {
                found(f, |_, topic, _, _| {
                    topic.id = None;
                    topic.partitions = vec![0];
                });
            },
            "partition 1 of topic 't' was read",
        ),
        (
            "made anew and larger, by a broker without ids",
            |f| {
                found(f, |_, topic, _, records| {
                    topic.id = None;
                    records.insert((0, 59), FirstRecord::Record(digest(59, "new")));
                });
            },
            "t-0: the record at offset 59 is not the one that was applied",
        ),
        (
            "made anew and smaller, or without its tail",
            |f| found(f, |_, _, all, _| *all = bounds(&[(0, 0, 40), (1, 0, 100)])),
            "t-0: everything below offset 60 was applied and the log ends at 40",
        ),
        (
            "without its head",
            |f| {
                found(f, |_, _, all, _| {
                    *all = bounds(&[(0, 70, 100), (1, 0, 100)])
                })
            },
            "t-0: offset 60 is wanted and the log now starts at 70: 10 offsets were deleted",
        ),
    ];
    for (case, change, expected) in cases {
        let read: &[(i32, i64)] = &[(0, 60), (1, 30)];
        let mut facts = facts(&[read, read], read);
        assert!(matches!(decide(&facts), Decision::Read(_)));
        for reading in [false, true] {
            facts.reading = reading;
            change(&mut facts);
            let words = halt(&facts).to_string();
            assert!(words.contains(expected), "{case}: {words}");
        }
    }
}

/// What the archive knows alone: it has ten records of partition 0.
fn known_to_the_archive(shards: &[(i32, i64)]) -> SourceFacts {
    let mut facts = facts(&[shards], &[(0, 10)]);
    (facts.known_cluster, facts.note) = (None, TopicNote::default());
    facts.archived_log = LogIdentity {
        cluster: Some("c".into()),
        id: Some("id".into()),
        partitions: 2,
    };
    let place = TopicPartition::new("t", 0);
    facts.archived_last = BTreeMap::from([(place, digest(9, "old"))]);
    found(&mut facts, |_, _, _, records| {
        records.insert((0, 9), FirstRecord::Record(digest(9, "old")));
    });
    facts
}

#[test]
fn what_the_archive_knows_of_the_log_counts_where_the_state_is_lost_and_beside_it() {
    type Change = fn(&mut SourceFacts);
    let cases: [(&str, Change, Option<&str>); 7] = [
        ("the same log", |_| {}, None),
        (
            "another cluster",
            |f| found(f, |cluster, _, _, _| *cluster = "other".into()),
            Some("'c' and topic 't' is now asked of cluster 'other'"),
        ),
        (
            "made anew",
            |f| found(f, |_, topic, _, _| topic.id = Some("new".into())),
            Some("made anew (id 'new'"),
        ),
        (
            "made anew with fewer partitions",
            |f| found(f, |_, topic, _, _| topic.partitions = vec![0]),
            Some("partition 1 of topic 't' was read"),
        ),
        (
            "made anew and smaller",
            |f| found(f, |_, _, all, _| *all = bounds(&[(0, 0, 9), (1, 0, 100)])),
            Some("t-0: everything below offset"),
        ),
        (
            "made anew and larger, by a broker without ids",
            |f| {
                found(f, |_, _, _, records| {
                    records.insert((0, 9), FirstRecord::Record(digest(9, "new")));
                });
            },
            Some("t-0: the record at offset 9 is not the one"),
        ),
        (
            "an archive of an earlier build",
            |f| {
                f.archived_log = LogIdentity::default();
                f.archived_last.clear();
                found(f, |cluster, _, _, records| {
                    records.insert((0, 9), FirstRecord::Record(digest(9, "new")));
                    *cluster = "other".into();
                });
            },
            None,
        ),
    ];
    for (case, change, expected) in cases {
        for shards in [&[][..], &[(0, 60)]] {
            let mut facts = known_to_the_archive(shards);
            change(&mut facts);
            match expected {
                None => assert!(matches!(decide(&facts), Decision::Read(_)), "{case}"),
                Some(expected) => {
                    let words = halt(&facts).to_string();
                    assert!(words.contains(expected), "{case}: {words}");
                }
            }
        }
    }
}

#[test]
fn a_refused_topic_halts_its_source() {
    let mut facts = facts(&[&[]], &[]);
    facts.found = FoundLog::Refused("no ACL".into());
    let words = halt(&facts).to_string();
    assert!(words.contains("refuses topic 't' (no ACL)"), "{words}");
}

#[test]
fn what_cannot_be_known_waits_before_reading_and_goes_on_while_reading() {
    let read: &[(i32, i64)] = &[(0, 60), (1, 30)];
    let mut facts = facts(&[read], read);
    facts.found = FoundLog::Away("nobody".into());
    assert_eq!(decide(&facts), Decision::Wait("nobody".into()));
    let mut silent = self::facts(&[read], read);
    found(&mut silent, |_, _, _, records| records.clear());
    assert!(matches!(decide(&silent), Decision::Wait(why) if why.contains("t-0")));
    silent.reading = true;
    silent.reader = BTreeMap::from([(0, 60), (1, 30)]);
    assert_eq!(plan(&silent).starts.len(), 2);
    found(&mut silent, |_, _, bounds, _| {
        bounds.remove(&1);
    });
    let one_dead = plan(&silent);
    assert_eq!(one_dead.starts[&TopicPartition::new("t", 1)], 30);
    silent.reading = false;
    assert!(matches!(decide(&silent), Decision::Wait(_)));
    // The broker was away, and comes back without the leader of one partition: what is there is
    // compared whole, and goes on beside the one that this run has read before.
    let mut back = self::facts(&[read], read);
    found(&mut back, |_, _, bounds, _| {
        bounds.remove(&1);
    });
    assert!(matches!(decide(&back), Decision::Wait(why) if why.contains("t-1")));
    back.reader = BTreeMap::from([(0, 60), (1, 30)]);
    assert_eq!(plan(&back).starts.len(), 2);
    // A source that was halted stays so: what it was halted for may be in that partition.
    back.halted = true;
    assert!(matches!(decide(&back), Decision::Wait(why) if why.contains("t-1")));
}

#[test]
fn a_record_that_compaction_or_retention_took_says_nothing() {
    let read: &[(i32, i64)] = &[(0, 60), (1, 30)];
    for (begin, record) in [
        (0, Some(FirstRecord::Record(digest(63, "next")))),
        (0, Some(FirstRecord::End)),
        (60, None),
    ] {
        let mut facts = facts(&[read], read);
        found(&mut facts, |_, _, all, records| {
            *all = bounds(&[(0, begin, 100), (1, 0, 100)]);
            records.remove(&(0, 59));
            records.extend(record.map(|record| ((0, 59), record)));
        });
        assert_eq!(plan(&facts).starts[&TopicPartition::new("t", 0)], 60);
    }
}

#[test]
fn an_accepted_gap_is_passed_and_no_other() {
    let read: &[(i32, i64)] = &[(0, 60), (1, 30)];
    let mut facts = facts(&[&[(0, 62), (1, 30)], read], read);
    found(&mut facts, |_, _, all, _| {
        *all = bounds(&[(0, 70, 100), (1, 40, 100)])
    });
    let both = vec![
        OpenGap {
            partition: 0,
            from: 60,
            to: 70,
        },
        OpenGap {
            partition: 1,
            from: 30,
            to: 40,
        },
    ];
    assert_eq!(
        halt(&facts),
        HaltReason::Gap {
            source_name: "s".into(),
            topic: "t".into(),
            gaps: both.clone()
        }
    );
    let words = halt(&facts).to_string();
    assert!(words.ends_with("`forebay gap accept s`"), "{words}");
    facts.note.gaps = vec![gap(0, 60, 70)];
    let left = HaltReason::Gap {
        source_name: "s".into(),
        topic: "t".into(),
        gaps: both[1..].to_vec(),
    };
    assert_eq!(halt(&facts), left);
    facts.note.gaps.push(gap(1, 30, 40));
    let starts: Vec<i64> = plan(&facts).starts.into_values().collect();
    assert_eq!(starts, [70, 40]);
    // The log goes on losing its head: that is another gap.
    found(&mut facts, |_, _, all, _| {
        *all = bounds(&[(0, 75, 100), (1, 40, 100)])
    });
    assert!(matches!(halt(&facts), HaltReason::Gap { gaps, .. } if gaps[0].from == 70));
    facts.note.gaps.push(gap(0, 70, 75));
    assert_eq!(plan(&facts).starts[&TopicPartition::new("t", 0)], 75);
    assert_eq!(pass_gaps(&facts.note.gaps, 0, 59), 59);
    assert_eq!(pass_gaps(&facts.note.gaps, 0, 74), 75);
    assert_eq!(pass_gaps(&facts.note.gaps, 2, 60), 60);
}

#[test]
fn what_the_reader_met_halts_its_partition_alone_until_it_is_passed() {
    let read: &[(i32, i64)] = &[(0, 60), (1, 30)];
    let unreadable = LogFault::Unreadable {
        offset: 61,
        why: "crc".into(),
    };
    let fell = LogFault::OffsetFell {
        expected: 60,
        found: 3,
    };
    let beyond = LogFault::OffsetJumped {
        expected: 60,
        found: 956_301_312,
    };
    let refused = LogFault::Refused {
        why: "no ACL".into(),
    };
    for (fault, words, passable) in [
        (
            unreadable,
            "t-0: what stands at offset 61 cannot be read (crc)",
            true,
        ),
        (fell, "t-0: offset 3 came where 60", true),
        (
            beyond,
            "offset 956301312 came after 60 and the log ends at 100",
            true,
        ),
        (refused, "refuses topic 't' (no ACL)", false),
    ] {
        let mut facts = facts(&[read], read);
        facts.reading = true;
        facts.reader = BTreeMap::from([(0, 60), (1, 30)]);
        facts.faults = BTreeMap::from([(0, fault.clone())]);
        let halted = plan(&facts);
        assert_eq!(halted.starts.len(), 1, "{fault:?}");
        let reason = halted.halted[&0].to_string();
        assert!(reason.contains(words), "{reason}");
        let remedy = "`forebay gap accept s/0`";
        assert_eq!(reason.ends_with(remedy), passable, "{reason}");
        facts.note.gaps = vec![gap(0, 60, 64)];
        let passed = plan(&facts);
        assert_eq!(passed.halted.is_empty(), passable, "{fault:?}");
        if passable {
            assert_eq!(passed.starts[&TopicPartition::new("t", 0)], 64);
        }
    }
}

#[test]
fn an_accepted_gap_is_passed_also_where_holes_lie_between_it_and_the_reader() {
    let read: &[(i32, i64)] = &[(0, 55), (1, 30)];
    let mut facts = facts(&[read], read);
    facts.reading = true;
    facts.reader = BTreeMap::from([(0, 55), (1, 30)]);
    let damaged = LogFault::Unreadable {
        offset: 60,
        why: "crc".into(),
    };
    facts.faults = BTreeMap::from([(0, damaged)]);
    assert!(plan(&facts).halted.contains_key(&0));
    facts.note.gaps = vec![gap(0, 60, 64)];
    let passed = plan(&facts);
    assert!(passed.halted.is_empty());
    assert_eq!(passed.starts[&TopicPartition::new("t", 0)], 64);
}

#[test]
fn a_reader_at_work_that_was_asked_before_retention_has_no_gap_until_it_says_so() {
    let read: &[(i32, i64)] = &[(0, 60), (1, 30)];
    let mut facts = facts(&[read], read);
    facts.reading = true;
    facts.reader = BTreeMap::from([(0, 60), (1, 30)]);
    found(&mut facts, |_, _, all, _| {
        *all = bounds(&[(0, 70, 100), (1, 0, 100)]);
    });
    assert_eq!(plan(&facts).starts[&TopicPartition::new("t", 0)], 60);
    let lost = LogFault::PositionLost { why: "?".into() };
    facts.faults = BTreeMap::from([(0, lost)]);
    assert!(matches!(halt(&facts), HaltReason::Gap { gaps, .. } if gaps[0].from == 60));
}

#[test]
fn a_long_hole_within_the_log_is_passed_and_a_lost_position_is_looked_up() {
    let read: &[(i32, i64)] = &[(0, 60), (1, 30)];
    let mut facts = facts(&[read], read);
    facts.reader = BTreeMap::from([(0, 60)]);
    let (expected, far) = (60, 5_000_000);
    found(&mut facts, |_, _, all, _| {
        *all = bounds(&[(0, 0, far + 1), (1, 0, 100)])
    });
    let jumped = LogFault::OffsetJumped {
        expected,
        found: far,
    };
    facts.faults = BTreeMap::from([(0, jumped)]);
    assert_eq!(plan(&facts).starts[&TopicPartition::new("t", 0)], far);
    let lost = LogFault::PositionLost { why: "?".into() };
    facts.faults = BTreeMap::from([(0, lost)]);
    assert_eq!(plan(&facts).starts[&TopicPartition::new("t", 0)], 60);
}

#[test]
fn added_partitions_are_read_from_their_beginning() {
    let read: &[(i32, i64)] = &[(0, 60), (1, 30)];
    let mut facts = facts(&[read], read);
    facts.reading = true;
    facts.reader = BTreeMap::from([(0, 60), (1, 30)]);
    found(&mut facts, |_, topic, all, _| {
        topic.partitions.push(2);
        all.extend(bounds(&[(2, 5, 9)]));
    });
    assert_eq!(plan(&facts).starts[&TopicPartition::new("t", 2)], 5);
}

#[test]
fn two_sources_over_one_topic_are_refused() {
    let source = |name: &str, topic: &str| Arc::new(SourceDef::json(name, topic, Vec::new(), 0));
    check_topics(&[source("a", "t"), source("b", "u")]).expect("a topic each");
    let error = check_topics(&[source("a", "t"), source("b", "t")])
        .expect_err("one topic")
        .to_string();
    assert!(
        error.contains("'a'") && error.contains("'b'") && error.contains("'t'"),
        "{error}"
    );
}
