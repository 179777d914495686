//! Defaults, precedence and refusals of the settings.

use forebay_core::limits::{
    ARCHIVE_RETENTION_MAX_HOURS, EPOCH_MAX_ROWS, MONITOR_MAX_WINDOWS, SERVING_THREADS_MAX,
    WORKER_BATCH_MAX_ROWS, WORKER_CREDIT_ROWS,
};

use super::variables::unknown;
use super::*;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Settings> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    let find = |name: &str| {
        variables
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
    };
    Settings::load(Some(file.path()), find)
}

#[test]
fn the_shipped_file_holds_the_defaults() -> Result<()> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/forebay.toml");
    assert_eq!(
        Settings::load(Some(&shipped), |_| None)?,
        Settings::default()
    );
    Settings::default().validate()
}

#[test]
fn a_variable_overrides_the_file() -> Result<()> {
    let settings = load(
        "[state]\nshards = 2\n",
        &[
            ("FOREBAY_STATE_SHARDS", "8"),
            ("FOREBAY_KAFKA_BOOTSTRAP", "a:1"),
            ("FOREBAY_INFERENCE_WORKERS", "a:1, b:2"),
        ],
    )?;
    assert_eq!(
        (settings.state.shards, settings.kafka.bootstrap.as_str()),
        (8, "a:1")
    );
    assert_eq!(settings.inference.workers, ["a:1", "b:2"]);
    let score = &[("FOREBAY_MONITOR_SCORE_THRESHOLD", "0.75")];
    let settings = load("[monitor]\nscore_threshold = 1\n", score)?;
    assert_eq!(settings.monitor.score_threshold, 0.75);
    Ok(())
}

#[test]
fn flags_override_the_file() -> Result<()> {
    let mut settings = load("[kafka]\nbroker = 'embedded'\nbootstrap = 'a:1'\n", &[])?;
    let unchanged = settings.clone();
    settings.override_with(&ServerArgs::default());
    assert_eq!(settings, unchanged);
    let flags = ServerArgs {
        bootstrap: Some("b:2".into()),
        data_dir: Some("elsewhere".into()),
        workers: vec!["w:3".into()],
        ..ServerArgs::default()
    };
    settings.override_with(&flags);
    assert_eq!(
        (settings.kafka.broker, settings.kafka.bootstrap.as_str()),
        (Broker::Kafka, "b:2")
    );
    assert_eq!(settings.archive_dir(), Path::new("elsewhere/offline"));
    assert_eq!(settings.inference.workers, ["w:3"]);
    Ok(())
}

#[test]
fn wrong_settings_are_refused_by_name() {
    type Variables = &'static [(&'static str, &'static str)];
    let cases: [(&str, Variables, &str); 5] = [
        ("[state]\nshard = 2\n", &[], "shard"),
        ("[state]\nshards = 'x'\n", &[], "shards"),
        ("[state\n", &[], "TOML"),
        (
            "",
            &[("FOREBAY_STATE_SHARDS", "many")],
            "FOREBAY_STATE_SHARDS",
        ),
        (
            "",
            &[("FOREBAY_MONITOR_SCORE_THRESHOLD", "high")],
            "FOREBAY_MONITOR_SCORE_THRESHOLD",
        ),
    ];
    for (text, variables, named) in cases {
        let error = format!("{:#}", load(text, variables).expect_err("refused"));
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn values_outside_their_bounds_are_refused_by_name() {
    type Case = (fn(&mut Settings), &'static str);
    let cases: [Case; 14] = [
        (|s| s.state.shards = 0, "state.shards = 0"),
        (
            |s| s.state.history_hours = 4_000_000_000,
            "state.history_hours = 4000000000",
        ),
        (
            |s| s.state.cache_mib = 99_999_999_999_999_999,
            "state.cache_mib",
        ),
        (
            |s| s.state.write_buffer_mib = 1,
            "state.write_buffer_mib = 1",
        ),
        (
            |s| s.ingest.archive_flush_ms = u64::MAX,
            "ingest.archive_flush_ms",
        ),
        (
            |s| s.ingest.archive_flush_mib = usize::MAX,
            "ingest.archive_flush_mib",
        ),
        (
            |s| s.ingest.epoch_wait_ms = u64::MAX,
            "ingest.epoch_wait_ms",
        ),
        (
            |s| s.ingest.epoch_max_rows = EPOCH_MAX_ROWS + 1,
            "ingest.epoch_max_rows",
        ),
        (|s| s.kafka.partitions = i32::MAX, "kafka.partitions"),
        (
            |s| s.archive.retention_hours = ARCHIVE_RETENTION_MAX_HOURS + 1,
            "archive.retention_hours = 169 is outside 1..=168",
        ),
        (
            |s| s.archive.clock_gap_max_days = 0,
            "archive.clock_gap_max_days = 0",
        ),
        (
            |s| s.archive.upkeep_interval_s = 0,
            "archive.upkeep_interval_s = 0",
        ),
        (
            |s| s.server.flight_threads = 0,
            "server.flight_threads = 0 is outside 1..=64",
        ),
        (
            |s| s.server.flight_threads = SERVING_THREADS_MAX + 1,
            "server.flight_threads = 65 is outside 1..=64",
        ),
    ];
    let mut longest = Settings::default();
    longest.archive.retention_hours = ARCHIVE_RETENTION_MAX_HOURS;
    longest.server.flight_threads = SERVING_THREADS_MAX;
    longest.ingest.epoch_max_rows = EPOCH_MAX_ROWS;
    longest.validate().expect("within its bounds");
    for (set, named) in cases {
        refuses(set, named);
    }
}

#[test]
fn values_of_clients_workers_and_monitors_outside_their_bounds_are_refused_by_name() {
    type Set = fn(&mut Settings);
    let cases: [(Set, &str); 14] = [
        (
            |s| s.server.runtime_threads = 1,
            "server.runtime_threads = 1",
        ),
        (
            |s| s.server.shutdown_grace_ms = 8_001,
            "server.shutdown_grace_ms = 8001 is outside 0..=8000",
        ),
        (
            |s| s.kafka.request_timeout_ms = 5_001,
            "kafka.request_timeout_ms = 5001",
        ),
        (|s| s.kafka.fetch_wait_ms = 0, "kafka.fetch_wait_ms = 0"),
        (
            |s| s.kafka.delivery_timeout_ms = 0,
            "kafka.delivery_timeout_ms = 0",
        ),
        (
            |s| s.kafka.linger_ms = 10_001,
            "kafka.linger_ms = 10001 is outside 0..=10000",
        ),
        (
            |s| s.archive.checkpoint_commits = 0,
            "archive.checkpoint_commits = 0",
        ),
        (
            |s| s.inference.concurrent_calls = 0,
            "inference.concurrent_calls = 0",
        ),
        (
            |s| s.inference.call_timeout_ms = 600_001,
            "inference.call_timeout_ms = 600001",
        ),
        (
            |s| s.inference.worker_ejection_ms = 0,
            "inference.worker_ejection_ms = 0",
        ),
        (
            |s| s.inference.worker_batch_max_rows = WORKER_BATCH_MAX_ROWS + 1,
            "inference.worker_batch_max_rows = 8193",
        ),
        (
            |s| s.inference.worker_credit_rows = WORKER_CREDIT_ROWS + 1,
            "inference.worker_credit_rows = 65537",
        ),
        (|s| s.monitor.min_rows = 0, "monitor.min_rows = 0"),
        (
            |s| s.monitor.max_windows = MONITOR_MAX_WINDOWS + 1,
            "monitor.max_windows = 513 is outside 1..=512",
        ),
    ];
    for (set, named) in cases {
        refuses(set, named);
    }
}

#[test]
fn what_a_stop_waits_for_leaves_it_time_to_write_and_its_error_says_what_to_lower() {
    let mut settings = Settings::default();
    settings.server.shutdown_grace_ms = 5_001;
    let error = settings.validate().expect_err("refused").to_string();
    let named = "server.shutdown_grace_ms = 5001 and kafka.request_timeout_ms = 3000";
    assert!(
        error.contains(named) && error.contains("lower one"),
        "{error}"
    );
    settings.kafka.request_timeout_ms = 2_999;
    settings.validate().expect("time enough");
}

/// `set` makes settings that are refused by `named`.
fn refuses(set: fn(&mut Settings), named: &str) {
    let mut settings = Settings::default();
    set(&mut settings);
    let error = settings.validate().expect_err("refused").to_string();
    assert!(
        error.contains(named) && error.contains("outside"),
        "{error}"
    );
}

#[test]
fn variables_that_look_like_settings_and_are_none_are_found() -> Result<()> {
    let names = [
        "FOREBAY_STATE_SHARDS",
        "FOREBAY_STATE_SHARD",
        "FOREBAY_LOG_LEVEL",
        "FOREBAY_CACHE",
        "HOME",
    ];
    assert_eq!(
        unknown(&defaults()?, names.iter().map(|name| (*name).to_owned())),
        ["FOREBAY_STATE_SHARD"]
    );
    Ok(())
}

/// What is wrong with the settings where `section.key` alone is `value`; None where nothing is.
fn refusal(section: &str, key: &str, value: &str) -> Option<String> {
    let variable = format!("FOREBAY_{section}_{key}").to_uppercase();
    let refused = match load("", &[(&variable, value)]) {
        Ok(settings) => settings.validate().err(),
        Err(error) => Some(error),
    };
    refused.map(|error| format!("{error:#}"))
}

#[test]
fn the_bounds_that_a_refusal_names_are_taken() {
    let defaults = defaults().expect("valid TOML");
    let tables = defaults
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_table()?)));
    let keys = tables.flat_map(|(section, table)| {
        let numbers = table.iter().filter(|(_, value)| value.is_integer());
        numbers.map(move |(key, _)| (section.as_str(), key.as_str()))
    });
    let wrong = ["0", "1", "65535", "4294967295", "9223372036854775807"];
    let mut bounded = 0;
    for (section, key) in keys {
        let name = format!("{section}.{key} = ");
        let refused = wrong
            .iter()
            .filter_map(|value| refusal(section, key, value));
        let named: Option<String> = refused
            .filter(|words| words.contains(&name))
            .find_map(|words| Some(words.split_once(" is outside ")?.1.to_owned()));
        let Some(bounds) = named else {
            continue;
        };
        bounded += 1;
        let (least, most) = bounds.split_once("..=").expect("least and most");
        let most: String = most.chars().take_while(char::is_ascii_digit).collect();
        for bound in [least, &most] {
            // A rule about two keys may refuse it; its own does not.
            let words = refusal(section, key, bound).unwrap_or_default();
            assert!(
                !words.contains(&format!("{name}{bound} is outside")),
                "{words}"
            );
        }
    }
    assert!(bounded > 40, "{bounded} keys have bounds");
}
