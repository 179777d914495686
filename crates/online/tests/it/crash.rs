//! Real kills: a child process commits and settles until SIGKILL ends it at a moment that it does
//! not choose; its state is then held against the log, and the next child goes on from it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use forebay_core::key::shard_of;
use forebay_core::ports::{EpochWriter, ScoreQueue, StateProgress};
use forebay_core::prediction::OutboxRecord;
use forebay_core::view::{ViewSpec, Window};

use crate::model::*;
use crate::pending::*;

const DIRECTORY: &str = "FOREBAY_CRASH_DIRECTORY";
const SEED: &str = "FOREBAY_CRASH_SEED";
const SHARDS: u16 = 2;
const KILLS: u64 = 12;

fn views() -> Vec<Arc<ViewSpec>> {
    let range = |us: i64| Window::Range { preceding_us: us };
    vec![
        wide_view(1, &[range(300), range(20_000)], Some(900)),
        wide_view(2, &[Window::Lifetime], None),
    ]
}

fn log() -> Vec<Event> {
    let shape = LogShape {
        events: 6_000,
        partitions: 3,
        keys: 5,
        step_us: 4,
        jitter_us: 30,
        start_us: 0,
    };
    generate_log(&mut Random(99), shape)
}

fn settings() -> forebay_online::OnlineOptions {
    options(SHARDS, 1_000_000)
}

/// What the child does: replay the log from its start (the shards drop what they have), in cuts
/// that the seed gives, and settle what is pending. One line for each commit.
#[test]
#[ignore = "the child process of `killed_at_any_moment_nothing_is_lost_or_doubled`"]
fn child() {
    let (Ok(directory), Ok(seed)) = (std::env::var(DIRECTORY), std::env::var(SEED)) else {
        return;
    };
    let random = &mut Random(seed.parse().expect("a number"));
    let (views, log) = (views(), log());
    let store = open(Path::new(&directory), &settings(), &views);
    let mut rest = &log[..];
    while !rest.is_empty() {
        let (epoch, tail) = rest.split_at(1 + random.below(rest.len().min(120) as u64) as usize);
        for shard in 0..SHARDS {
            let mut write = shard_write(&views, epoch, shard, SHARDS);
            write.pending = epoch
                .iter()
                .filter(|e| shard_of_event(e, SHARDS) == Some(shard))
                .map(pending_of)
                .collect();
            store.commit(shard, &write).expect("commit");
            let pending = store
                .pending(shard, DEPLOYMENT, ARM, 0, 50)
                .expect("pending");
            let settled: Vec<_> = pending
                .iter()
                .map(|entry| {
                    let record = OutboxRecord {
                        topic: "p".into(),
                        key: vec![],
                        payload: entry.score.key.id().into_bytes(),
                        headers: vec![],
                    };
                    scored(entry, record)
                })
                .collect();
            store.settle(shard, &settled).expect("settle");
            eprintln!("commit");
        }
        rest = tail;
    }
    eprintln!("end");
}

/// Start a child and kill it after `commits` commits. True when it came to its end before.
fn run_child(directory: &Path, seed: u64, commits: u64) -> bool {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "crash::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIRECTORY, directory)
        .env(SEED, seed.to_string())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("start the child");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut seen = 0;
    let mut ended = false;
    for line in lines.map_while(Result::ok) {
        ended |= line == "end";
        seen += u64::from(line == "commit");
        if seen == commits {
            child.kill().expect("kill");
        }
    }
    child.wait().expect("wait");
    ended
}

/// State and scores of every shard are those of exactly the events below its own offsets. Returns
/// how many those are.
fn check(store: &forebay_online::RocksStore, views: &[Arc<ViewSpec>], log: &[Event]) -> usize {
    let last = log.iter().map(|e| e.time).max().unwrap_or(0);
    for key in (0..5).map(|k| format!("key-{k}")) {
        let shard = shard_of(encode_key(&key).get(0).expect("not null"), SHARDS);
        let applied = store.applied(shard);
        let newest = applied_events(log, &applied)
            .map(|e| e.time)
            .max()
            .unwrap_or(0);
        for view in views {
            for at in [newest / 2, newest, last + 77] {
                let found = read_one(store, view, &key, at).expect("nothing expires here");
                assert_same(
                    &evaluate(view, applied_events(log, &applied), &key, at),
                    &found,
                    || format!("{key} {at}"),
                );
            }
        }
    }
    let mut total = 0;
    for shard in 0..SHARDS {
        let applied = store.applied(shard);
        let mine =
            applied_events(log, &applied).filter(|e| shard_of_event(e, SHARDS) == Some(shard));
        let mut expected: Vec<String> = mine.map(|e| pending_of(e).key.id()).collect();
        total += expected.len();
        let pending = all_pending(store, shard)
            .into_iter()
            .map(|p| p.score.key.id());
        let outbox = store
            .outbox(shard, (DEPLOYMENT, "p"), 0, usize::MAX)
            .expect("outbox")
            .into_iter();
        let mut found: Vec<String> = pending
            .chain(outbox.map(|e| String::from_utf8(e.record.payload).expect("text")))
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(
            expected, found,
            "scores of shard {shard}: each event once, pending or in the outbox"
        );
    }
    total
}

#[test]
fn killed_at_any_moment_nothing_is_lost_or_doubled() {
    let (views, log) = (views(), log());
    let directory = tempfile::tempdir().expect("temporary directory");
    let random = &mut Random(4);
    let mut applied = Vec::new();
    for round in 0..KILLS {
        // A child that starts over drops what is there already, so later children are let go
        // further.
        let commits = 5 + round * 12 + random.below(20);
        assert!(
            !run_child(directory.path(), random.next(), commits),
            "child {round} was killed before its end"
        );
        let store = open(directory.path(), &settings(), &views);
        applied.push(check(&store, &views, &log));
    }
    assert!(
        applied.windows(2).all(|w| w[0] <= w[1]),
        "nothing is lost: {applied:?}"
    );
    assert!(
        run_child(directory.path(), 1, u64::MAX),
        "the last child comes to its end"
    );
    let store = open(directory.path(), &settings(), &views);
    let all = log.iter().filter(|e| e.key.is_some()).count();
    assert_eq!(check(&store, &views, &log), all);
}
