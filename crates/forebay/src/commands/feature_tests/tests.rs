//! The tests of the demo's definitions, and tests that fail: what is said of a value that differs,
//! of a row that a view leaves out and of a record that is none, by which exit code, in which
//! files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser as _;
use tempfile::TempDir;

use super::*;
use crate::cli::{Cli, Command};

const DEFINITIONS: &str = "
CREATE SOURCE rides (k VARCHAR NOT NULL, n BIGINT, d BIGINT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
WITH (connector = 'kafka', topic = 'rides', format = 'json');
CREATE ENTITY driver (k VARCHAR);
CREATE FEATURE VIEW recent ENTITY driver TTL INTERVAL '1' DAY AS
SELECT k, ts, count(*) OVER hour AS rides, max(n / d) OVER hour AS share, last_value(n) OVER ever AS last
FROM rides
WINDOW hour AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
       ever AS (PARTITION BY k ORDER BY ts);
CREATE FEATURE SERVICE features (k VARCHAR, n BIGINT) AS
SELECT CASE WHEN v.rides > 2 THEN v.rides ELSE v.rides + request.n END AS more, v.last FROM request LEFT JOIN recent AS v USING (k);
";
const GIVEN: &str = "
GIVEN rides (k, n, d, ts) VALUES
  ('a', 7, 2, '2024-01-01 10:00:00'), ('a', 9, 0, '2024-01-01 10:10:00'), ('a', 8, 2, '2024-01-01 10:10:00'),
  ('b', 1, 1, '2024-01-01 08:00:00'), ('a', 5, 5, '2024-01-01 09:30:00'), ('b', 2, 1, '2024-01-01 10:20:00')
GIVEN rides RECORDS '{\"k\": \"a\", \"ts\": \"noon\"}', '{\"k\": \"b\", \"n\": 3, \"d\": 3, \"ts\": \"2024-01-01T10:20:00Z\"}'
";

/// A folder of definitions and of tests.
struct Folder(TempDir);

impl Folder {
    fn new(tests: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("all.sql"), DEFINITIONS)?;
        std::fs::create_dir(folder.path().join(TESTS))?;
        let tests = tests.replace("{given}", GIVEN);
        std::fs::write(folder.path().join(TESTS).join("some.sql"), tests)?;
        Ok(Self(folder))
    }

    fn args(&self, flags: &[&str]) -> Result<FeatureTestArgs> {
        args(self.0.path(), flags)
    }
}

fn args(folder: &Path, flags: &[&str]) -> Result<FeatureTestArgs> {
    let folder = folder.display().to_string();
    let line = ["forebay", "test", &folder]
        .into_iter()
        .chain(flags.iter().copied());
    match Cli::try_parse_from(line)?.command {
        Command::Test(args) => Ok(args),
        other => bail!("parsed as {other:?}"),
    }
}

#[test]
fn the_demos_features_are_as_their_tests_say() -> Result<()> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/flights"));
    let report = run_all(&args(&folder, &["--orders", "3"])?)?;
    assert!(report.tests.len() >= 7, "{} tests", report.tests.len());
    assert_eq!(report.failed(), 0, "{}", report.text());
    let coverage = report.text();
    let gaps = coverage
        .lines()
        .skip_while(|line| !line.starts_with("reached:"))
        .skip(1);
    let unexpected: Vec<&str> = gaps
        .filter(|line| line.contains("no test expects"))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    Ok(())
}

#[test]
fn every_path_gives_the_expected_bits_or_the_test_fails_with_what_it_gave() -> Result<()> {
    let folder = Folder::new(
        "CREATE TEST right {given}
         AT TIMESTAMP '2024-01-01 10:30:00'
         EXPECT recent (k, rides, share, last) VALUES ('a', 3, 4, 8), ('b', 2, 2, 3), ('c', NULL, NULL, NULL)
         EXPECT features (k, n, more, last) VALUES ('b', 40, 42, 3), (NULL, 1, NULL, NULL);
         CREATE TEST wrong {given}
         AT TIMESTAMP '2024-01-01 10:30:00.000001'
         EXPECT recent (k, rides, share, last) VALUES ('a', 3, 4, 8), ('b', 3, 2, 3);",
    )?;
    let report = run_all(&folder.args(&[])?)?;
    let text = report.text();
    let path = folder.0.path().join("tests/some.sql");
    let path = path.display();
    let tail = text
        .split_once("FAILED wrong")
        .map(|(_, tail)| tail.replace(&path.to_string(), "F"));
    let tail = tail.unwrap_or(text);
    let expected = [
        "rides of feature view recent for k = 'a' at 2024-01-01T10:30:00.000001Z (F:17:55)",
        "    expected  3",
        "    got       2  by every path",
        "rides of feature view recent for k = 'b' at 2024-01-01T10:30:00.000001Z (F:17:71)",
        "    got       2  by every path",
        "view recent leaves out the event of rides at F:",
        "n / d: division by zero",
        "the record at F:",
        "is no row of rides: column `ts`: ",
        "1 of 2 tests passed in ",
        " ms, each by both paths of training, by the stream as given, and in 2 orders of seed 1",
        "reached: 3 of 3 features of views, 2 of 2 features of services, 2 of 2 windows, 1 of 1 far ends of windows, 0 \
         of 1 TTLs, 1 of 2 branches of CASE",
        "  feature view recent: no test asks beyond its TTL",
        "  feature service features: no row takes CASE WHEN rides > 2 THEN rides .. END, WHEN rides > 2",
    ];
    for words in expected {
        assert!(tail.contains(words), "{words}\nis not in\n{tail}");
    }
    Ok(())
}

#[test]
fn the_report_is_written_for_programs_and_the_exit_code_says_that_a_test_failed() -> Result<()> {
    let folder = Folder::new(
        "CREATE TEST \"a<b\" {given} AT '2024-01-01 10:00:00' EXPECT recent (k, rides) VALUES ('b', 2);
         CREATE TEST fine {given} AT '2024-01-01 10:00:00' EXPECT recent (k, rides) VALUES ('b', 0);",
    )?;
    let file = |name: &str| folder.0.path().join(name);
    let (json, junit) = (file("out.json"), file("out.xml"));
    let flags = [
        "--json".to_owned(),
        json.display().to_string(),
        format!("--junit={}", junit.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let code = run(&folder.args(&flags)?)?;
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(FOUND)));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(json)?)?;
    assert_eq!(report["failed"], 1);
    let difference = &report["tests"][0]["differences"][0];
    assert_eq!(difference["feature"], "rides");
    assert_eq!(difference["expected"], "2");
    assert_eq!(difference["got"][0]["value"], "0");
    assert_eq!(
        difference["got"][0]["paths"].as_array().map(Vec::len),
        Some(5)
    );
    let xml = std::fs::read_to_string(junit)?;
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
    assert!(xml.contains("<testcase name=\"a&lt;b\""), "{xml}");
    assert!(xml.contains("<failure message=\"1 values differ"), "{xml}");
    let code = run(&folder.args(&["--only", "fine"])?)?;
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    let none = run(&folder.args(&["--only", "other"])?).expect_err("no test is called so");
    assert!(
        none.to_string().contains("no test has 'other' in its name"),
        "{none}"
    );
    Ok(())
}

#[test]
fn a_folder_without_tests_is_a_wrong_call() -> Result<()> {
    let folder = Folder::new("")?;
    std::fs::remove_dir_all(folder.0.path().join(TESTS))?;
    let error = run(&folder.args(&[])?).expect_err("there is nothing to run");
    assert!(
        error
            .to_string()
            .contains("has no tests; write CREATE TEST statements"),
        "{error}"
    );
    assert_eq!(crate::exit::number_of(&error), 2);
    Ok(())
}
