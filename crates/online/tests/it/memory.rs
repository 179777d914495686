//! The store within the memory of its process: keys in memory give way and are read again from
//! disk with the same values, and an answer that is too large is refused before it is built.

use std::sync::Arc;

use arrow_array::Array;
use forebay_core::ErrorKind;
use forebay_core::limits::ANSWER_MAX_BYTES;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{At, StateReader, ViewStates};
use forebay_core::view::Window;
use forebay_online::RocksStore;
use forebay_testkit::unbounded;

use crate::model::*;

#[test]
fn where_the_memory_is_used_up_keys_give_way_and_no_value_changes() {
    const POOL_BYTES: usize = 64 << 10;
    let view = wide_view(1, &[Window::Range { preceding_us: 500 }], None);
    let mut random = Random(7);
    let shape = LogShape {
        events: 2_000,
        partitions: 2,
        keys: 300,
        step_us: 5,
        jitter_us: 20,
        start_us: 0,
    };
    let log = generate_log(&mut random, shape);
    let budget = Budget::whole(POOL_BYTES);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = RocksStore::open(directory.path(), &options(2, 1_000_000), &budget).expect("open");
    let views = [Arc::clone(&view)];
    store.register_view(view).expect("new");
    // Somebody else has half of it.
    let other = budget.reserve(Part::Answers, POOL_BYTES / 2).expect("free");
    for epoch in log.chunks(100) {
        commit_all(&store, &views, epoch);
        let (held, shown) = (budget.used_bytes(Part::HotTable), store.stats().table_bytes);
        assert_eq!(held as u64, shown, "what is held is what is there");
        assert!(held <= POOL_BYTES / 2);
    }
    assert!(store.stats().keys_evicted > 0);
    drop(other);
    let answered = probe(&store, &views, &log, &mut random, 400, 1_000_000);
    assert!(answered > 0);
    assert!(store.stats().keys_loaded > 0);
    assert!(
        budget.used_bytes(Part::HotTable) > POOL_BYTES / 2,
        "it uses what came back"
    );
    drop(store);
    assert_eq!(budget.used_bytes(Part::HotTable), 0);
}

#[test]
fn a_long_text_asked_for_many_times_is_refused_before_it_is_copied() {
    let view = wide_view(1, &[Window::Lifetime], None);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        directory.path(),
        &options(1, 0),
        std::slice::from_ref(&view),
    );
    let long = Event {
        partition: 0,
        offset: 1,
        time: 50,
        key: Some("a".into()),
        x: None,
        i: None,
        s: Some("x".repeat(1 << 20)),
        passes: None,
        watermark: None,
    };
    commit_all(&store, std::slice::from_ref(&view), &[long]);
    let ask = |rows: usize, memory: &mut _| {
        let keys = encode_keys(&vec![Some("a"); rows]);
        store.read(1, &keys, At::Instant(60), memory)
    };
    let mut memory = unbounded();
    let one = ask(1, &mut memory).expect("small");
    let copies: usize = one
        .aggregates
        .columns
        .iter()
        .map(|a| a.get_array_memory_size())
        .sum();
    assert!(
        copies >= 1 << 20 && memory.bytes() >= copies / 2,
        "{copies} {memory:?}"
    );

    // The limit of one answer, whatever memory there is.
    let error = ask(ANSWER_MAX_BYTES >> 20, &mut unbounded()).map(drop);
    let error = error.expect_err("above ANSWER_MAX_BYTES");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("ANSWER_MAX_BYTES"), "{error}");

    // The memory of the process, below that limit.
    let budget = Budget::whole(8 << 20);
    let mut memory = budget.empty(Part::Answers);
    let error = ask(20, &mut memory).map(drop).expect_err("above the pool");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(memory.bytes(), 0, "nothing was taken");
    assert!(ask(1, &mut memory).is_ok());
}

#[test]
fn keys_on_disk_are_read_only_as_far_as_there_is_memory_for_them() {
    const KEYS: usize = 400;
    let view = wide_view(1, &[Window::Lifetime], None);
    let directory = tempfile::tempdir().expect("temporary directory");
    let views = [Arc::clone(&view)];
    let event = |number: usize| Event {
        partition: 0,
        offset: number as i64,
        time: 50,
        key: Some(format!("k{number}")),
        x: None,
        i: None,
        s: Some("x".repeat(1_000)),
        passes: None,
        watermark: None,
    };
    let events: Vec<Event> = (0..KEYS).map(event).collect();
    let names: Vec<String> = (0..KEYS).map(|number| format!("k{number}")).collect();
    let names: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
    commit_all(
        &open(directory.path(), &options(2, 0), &views),
        &views,
        &events,
    );
    // A restart leaves all keys on disk, and a table without room leaves them there.
    let store = open(directory.path(), &options(2, 0), &views);
    let read = |names: &[Option<&str>], memory: &mut _| {
        store.read(1, &encode_keys(names), At::Instant(60), memory)
    };

    let budget = Budget::whole(100_000);
    let mut memory = budget.empty(Part::Answers);
    let error = read(&names, &mut memory).map(drop).expect_err("no memory");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(memory.bytes(), 0, "what was taken is given back");
    // Each holds its text, and one more was read to know that it is one too many.
    let loaded = store.stats().keys_loaded;
    let most = 100_000 / 1_000;
    assert!(
        (most / 4..=most).contains(&loaded),
        "{loaded} keys of 1 kB were read into 100 kB"
    );

    let few = read(&names[..20], &mut memory).expect("there is memory for them");
    assert_eq!(few.status.len(), 20);
    // Two texts of each key; the keys themselves are not held any more.
    let answer = memory.bytes();
    assert!(
        (40_000..50_000).contains(&answer),
        "{answer}: the answer alone"
    );
    // One after the other all can be read: nothing but the answer is held.
    for part in names.chunks(20) {
        let mut memory = budget.empty(Part::Answers);
        read(part, &mut memory).expect("there is memory for them");
    }
}

#[test]
fn a_read_that_is_refused_gets_further_each_time_until_it_is_answered() {
    const KEYS: usize = 100;
    const ROWS: usize = 20;
    const POOL_BYTES: usize = 200_000;
    let window = Window::Range {
        preceding_us: 1_000_000,
    };
    let view = wide_view(1, &[window], None);
    let directory = tempfile::tempdir().expect("temporary directory");
    let views = [Arc::clone(&view)];
    let event = |number: usize| Event {
        partition: 0,
        offset: number as i64,
        time: number as i64,
        key: Some(format!("k{}", number % KEYS)),
        x: None,
        i: None,
        s: Some("x".repeat(300)),
        passes: None,
        watermark: None,
    };
    let events: Vec<Event> = (0..KEYS * ROWS).map(event).collect();
    let options = options(1, 0);
    commit_all(&open(directory.path(), &options, &views), &views, &events);

    // A restart leaves all keys on disk. What they hold is several times the pool, the answer not.
    let store = open(directory.path(), &options, &views);
    let names: Vec<String> = (0..KEYS).map(|number| format!("k{number}")).collect();
    let names: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
    let keys = encode_keys(&names);
    let budget = Budget::whole(POOL_BYTES);
    let mut loaded = 0;
    let answer = loop {
        let mut memory = budget.empty(Part::Answers);
        let answer = store.read(1, &keys, At::Instant(3_000), &mut memory);
        let now = store.stats().keys_loaded;
        match answer {
            Ok(answer) => break answer,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ResourceExhausted),
        }
        assert!(now > loaded, "it was refused at {loaded} keys again");
        loaded = now;
    };
    assert!(loaded > 0, "it was refused at first");
    assert_eq!(answer.status.len(), KEYS);
    assert_eq!(
        store.stats().keys_loaded,
        KEYS as u64,
        "each was loaded once"
    );
}
