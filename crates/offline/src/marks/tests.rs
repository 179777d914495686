//! The judge as a table, and entries as Delta writes them.

use super::*;

fn marks() -> Marks {
    Marks {
        scope: "prod/departures".to_owned(),
        version: None,
        next: BTreeMap::new(),
        beginnings: Beginnings::default(),
        logs: BTreeMap::new(),
        last: BTreeMap::new(),
        ingest_time_us: None,
    }
}

fn facts(owner: Option<&str>, commit: Option<&str>, moved: bool) -> CommitFacts {
    CommitFacts {
        owner: owner.map(str::to_owned),
        commit: commit.map(str::to_owned),
        moved,
    }
}

#[test]
fn the_judge_knows_ours_theirs_and_neither() {
    let ours = facts(Some("a"), Some("a-7"), true);
    let ours_before = facts(Some("a"), Some("a-6"), true);
    let theirs = facts(Some("b"), Some("b-1"), true);
    let compaction = facts(None, None, false);
    let stranger = facts(None, None, true);
    for (log, expected) in [
        (vec![], Outcome::Absent),
        (vec![compaction.clone()], Outcome::Absent),
        (vec![ours_before.clone()], Outcome::Absent),
        (vec![compaction, ours_before, ours.clone()], Outcome::Landed),
        (vec![theirs.clone()], Outcome::Fenced("b".to_owned())),
        (vec![stranger], Outcome::Fenced("unnamed".to_owned())),
        (vec![ours.clone(), theirs.clone()], Outcome::Landed),
        (vec![theirs, ours], Outcome::Fenced("b".to_owned())),
    ] {
        assert_eq!(outcome_of(&log, "a", "a-7"), expected, "{log:?}");
    }
}

#[test]
fn an_entry_gives_marks_of_its_own_scope_only() {
    let entry = br#"{"commitInfo":{"forebay.owner":"a","forebay.commit":"a-1"}}
{"txn":{"appId":"prod/departures/flights/eu.west/3","version":41}}
{"txn":{"appId":"prod/departures/flights/0","version":7}}
{"txn":{"appId":"prod/departures","version":1000}}
{"txn":{"appId":"prod/departures__by_carrier/flights/0","version":99}}
{"txn":{"appId":"other/departures/flights/0","version":98}}
"#;
    let mut marks = marks();
    let read = marks
        .read_entry("departures", 3, entry)
        .expect("well formed");
    assert_eq!(read, facts(Some("a"), Some("a-1"), true));
    assert_eq!(marks.next_offset(&TopicPartition::new("flights", 0)), 7);
    assert_eq!(
        marks.next_offset(&TopicPartition::new("flights/eu.west", 3)),
        41
    );
    assert_eq!(marks.ingest_time_us(), Some(1000));
    assert_eq!(marks.applied().0.len(), 2);
    assert_eq!(
        marks.app_id(&TopicPartition::new("flights", 0)),
        "prod/departures/flights/0"
    );
}

#[test]
fn golden_names_of_transactions_and_their_versions() {
    let place = TopicPartition::new("flights.eu", 3);
    let progress = |next_offset, last| PartitionProgress {
        next_offset,
        max_event_time_us: None,
        last,
    };
    let digest = |kafka_time_us| RecordDigest {
        offset: 40,
        kafka_time_us,
        hash: u64::MAX - 1,
    };
    let log = LogIdentity {
        cluster: Some("5L6g3nShT-eMCtK--X86sw".to_owned()),
        id: Some("a/b==".to_owned()),
        partitions: 12,
    };
    let logs = BTreeMap::from([("flights.eu".to_owned(), log)]);
    let mut begins = Beginnings::default();
    begins.from.0.insert(place.clone(), progress(7, None));
    begins.note_cut(&place, 7);
    let marks = marks();
    let at = |next_offset, time| progress(next_offset, Some(digest(time)));
    let written = [
        vec![(marks.ingest_time_app_id().to_owned(), 1_000)],
        marks.transactions(&place, &progress(i64::MAX, None)),
        marks.transactions(&place, &at(42, Some(5))),
        marks.transactions(&place, &at(42, None)),
        marks.log_notes(&logs),
        marks.notes(&begins),
    ];
    let golden = [
        ("prod/departures", 1_000),
        ("prod/departures/flights.eu/3", i64::MAX),
        ("prod/departures/flights.eu/3", 42),
        ("prod/departures/last/flights.eu/3", 40),
        ("prod/departures/last_time/flights.eu/3", 5),
        ("prod/departures/last_hash/flights.eu/3", -2),
        ("prod/departures/flights.eu/3", 42),
        ("prod/departures/last/flights.eu/3", 40),
        ("prod/departures/last_time/flights.eu/3", -1),
        ("prod/departures/last_hash/flights.eu/3", -2),
        (
            "prod/departures/cluster/flights.eu/5L6g3nShT-eMCtK--X86sw",
            1,
        ),
        ("prod/departures/id/flights.eu/a/b==", 1),
        ("prod/departures/partitions/flights.eu/all", 12),
        ("prod/departures/from/flights.eu/3", 7),
        ("prod/departures/cut/flights.eu/3", 7),
    ];
    assert_eq!(
        written.concat(),
        golden.map(|(name, at)| (name.to_owned(), at))
    );
    assert_eq!(commit_info::OWNER, "forebay.owner");
    assert_eq!(commit_info::COMMIT, "forebay.commit");
}

#[test]
fn an_entry_that_cannot_be_read_is_an_error() {
    for bad in [
        &b""[..],
        b"\n\n",
        b"{\"txn\":",
        b"{\"txn\":{\"appId\":\"prod/departures/flights/0\"}}",
        b"{\"txn\":{\"appId\":\"prod/departures/flights/x\",\"version\":1}}",
    ] {
        assert!(
            marks().read_entry("departures", 0, bad).is_err(),
            "{}",
            String::from_utf8_lossy(bad)
        );
    }
}

#[test]
fn marks_move_forward_only() {
    let mut marks = marks();
    marks
        .take("departures", "prod/departures/flights/0", 10)
        .expect("well formed");
    let progress = |next_offset| PartitionProgress {
        next_offset,
        max_event_time_us: None,
        last: None,
    };
    let mut up_to = Applied::default();
    up_to
        .0
        .insert(TopicPartition::new("flights", 0), progress(10));
    up_to
        .0
        .insert(TopicPartition::new("flights", 1), progress(4));
    assert_eq!(
        marks.moves(&up_to),
        [(TopicPartition::new("flights", 1), progress(4))]
    );
    up_to
        .0
        .insert(TopicPartition::new("flights", 0), progress(9));
    assert_eq!(marks.moves(&up_to).len(), 1);
    up_to
        .0
        .insert(TopicPartition::new("flights", 0), progress(11));
    assert_eq!(marks.moves(&up_to).len(), 2);
}

#[test]
#[should_panic(expected = "invariant offsets_never_fall is broken")]
fn a_log_whose_marks_fall_is_told() {
    let entry = |next: i64| {
        format!("{{\"txn\":{{\"appId\":\"prod/departures/flights/0\",\"version\":{next}}}}}\n")
    };
    let mut marks = marks();
    for next in [7, 6] {
        let read = marks.read_entry("departures", 3, entry(next).as_bytes());
        read.expect("well formed");
    }
}

#[test]
fn an_entry_tells_the_log_that_the_rows_came_from() {
    // Part of the format: an archive of today is read by every later build.
    let entry =
        br#"{"txn":{"appId":"prod/departures/cluster/flights/5L6g3nShT-eMCtK--X86sw","version":1}}
{"txn":{"appId":"prod/departures/id/flights/a/b==","version":1}}
{"txn":{"appId":"prod/departures/partitions/flights/all","version":12}}
{"txn":{"appId":"prod/departures/last/flights/3","version":40}}
{"txn":{"appId":"prod/departures/last_time/flights/3","version":-1}}
{"txn":{"appId":"prod/departures/last_hash/flights/3","version":-2}}
{"txn":{"appId":"prod/departures/cluster/3","version":17}}
"#;
    let mut marks = marks();
    let read = marks
        .read_entry("departures", 3, entry)
        .expect("well formed");
    assert!(read.moved, "a topic may be named as a kind");
    assert_eq!(marks.next_offset(&TopicPartition::new("cluster", 3)), 17);
    assert_eq!(marks.applied().0.len(), 1);
    let log = LogIdentity {
        cluster: Some("5L6g3nShT-eMCtK--X86sw".to_owned()),
        id: Some("a/b==".to_owned()),
        partitions: 12,
    };
    let logs = BTreeMap::from([("flights".to_owned(), log)]);
    assert_eq!(marks.logs(), &logs);
    assert!(marks.log_notes(&logs).is_empty(), "all is noted");
    let last = RecordDigest {
        offset: 40,
        kafka_time_us: None,
        hash: u64::MAX - 1,
    };
    let place = TopicPartition::new("flights", 3);
    assert_eq!(marks.last(), &BTreeMap::from([(place.clone(), last)]));
    let progress = PartitionProgress {
        next_offset: 42,
        max_event_time_us: None,
        last: Some(last),
    };
    for (app_id, at) in marks.transactions(&place, &progress) {
        let moved = marks.take("departures", &app_id, at);
        assert_eq!(moved.expect("well formed"), at == 42, "{app_id}");
    }
    assert_eq!(marks.last()[&place], last);
}
