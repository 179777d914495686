//! Bad calls of each command, as far as they are refused without a server, with the words and the
//! exit code that they get; and the commands that need nothing but files, from end to end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_ipc::reader::FileReader;
use clap::Parser;
use forebay_core::time::{DAY_US, HOUR_US};
use forebay_monitor::{ColumnRole, ReferenceProfile};
use forebay_offline::ParquetRows;
use parquet::arrow::ArrowWriter;

use super::run;
use crate::cli::Cli;
use crate::exit;
use crate::replay::read_parquet;
use crate::replay::tests::write as write_events;

const SQL: &str = "
CREATE SOURCE a (n BIGINT NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE)
WITH (connector = 'kafka', topic = 'a', format = 'json');
CREATE ENTITY thing (n BIGINT);
CREATE FEATURE VIEW seen ENTITY thing AS
SELECT n, ts, count(*) OVER ever AS times FROM a WINDOW ever AS (PARTITION BY n ORDER BY ts);
CREATE FEATURE SERVICE seen_features (n BIGINT) AS SELECT v.times FROM request LEFT JOIN seen AS v USING (n);
";

/// A training set with `rows`, in `folder`.
pub(super) fn written(folder: &tempfile::TempDir, rows: &RecordBatch) -> Result<PathBuf> {
    let path = folder.path().join("set.parquet");
    let mut file = ParquetRows::begin(File::create(&path)?, rows.schema())?;
    file.write(rows)?;
    file.finish()?;
    Ok(path)
}

/// A folder with definitions (`sql/`), events (`events/a.parquet`), text that is no Parquet file
/// and a model version.
struct Files {
    root: tempfile::TempDir,
}

impl Files {
    fn new() -> Result<Self> {
        let files = Self {
            root: tempfile::tempdir()?,
        };
        for folder in ["sql", "empty", "events", "wrong"] {
            std::fs::create_dir(files.path(folder))?;
        }
        std::fs::write(files.path("sql/1.sql"), SQL)?;
        std::fs::write(
            files.path("wrong/1.sql"),
            "CREATE SOURCE a (n STRANGE) WITH (topic = 'a');",
        )?;
        std::fs::write(files.path("text.parquet"), "no Parquet")?;
        write_events(&files.path("events"), "a", &[30, 10, 20])?;
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Run `forebay` with the words of `line`; a word that begins with `@` is a path in this
    /// folder.
    fn forebay(&self, line: &str) -> Result<()> {
        let words = line
            .split_whitespace()
            .map(|word| match word.split_once('@') {
                Some((before, path)) => format!("{before}{}", self.path(path).display()),
                None => word.to_owned(),
            });
        run(Cli::try_parse_from(std::iter::once("forebay".to_owned()).chain(words))?.command)
            .map(drop)
    }
}

/// Lines, what their errors say, and the exit code.
const BAD_CALLS: [(&str, &str, u8); 37] = [
    ("plan @missing", "missing", 2),
    ("plan @empty", "empty", 2),
    ("plan @sql --flight-addr 127.0.0.1:1", "127.0.0.1:1", 3),
    ("apply @missing", "missing", 2),
    ("apply @sql --flight-addr [", "host:port", 2),
    (
        "get delay_features origin",
        "'origin' is not COLUMN=VALUE",
        2,
    ),
    ("get delay_features origin=JFK origin=LGA", "given twice", 2),
    ("get delay_features origin=JFK --at July", "'July'", 2),
    (
        "get delay_features origin=JFK --flight-addr 127.0.0.1:1",
        "127.0.0.1:1",
        3,
    ),
    ("rebuild", "<NAME>", 2),
    ("rebuild seen --flight-addr 127.0.0.1:1", "127.0.0.1:1", 3),
    ("verify delay_features --sample 0", "--sample 0", 2),
    (
        "verify delay_features --flight-addr 127.0.0.1:1",
        "127.0.0.1:1",
        3,
    ),
    (
        "training-set seen_features --spine @missing --out @o --sql @sql --events @events",
        "missing",
        2,
    ),
    (
        "training-set seen_features --spine @text.parquet --out @o --sql @sql --events @events",
        "not a Parquet file",
        2,
    ),
    (
        "training-set other --spine @events/a.parquet --out @o --sql @sql --events @events",
        "define: seen_features",
        2,
    ),
    (
        "training-set seen_features --spine @events/a.parquet --out @o --sql @missing --events @events",
        "missing",
        2,
    ),
    (
        "training-set seen_features --spine @events/a.parquet --out @o --sql @wrong --events @events",
        "1.sql:1:",
        2,
    ),
    (
        "training-set seen_features --spine @events/a.parquet --out @o --sql @sql --events @missing",
        "no folder",
        2,
    ),
    (
        "training-set seen_features --spine @events/a.parquet --out @o --sql @sql --events @empty",
        "a.parquet",
        2,
    ),
    (
        "training-set seen_features --spine @events/a.parquet --out @o --sql @sql --events @events",
        "event_time",
        2,
    ),
    (
        "training-set seen_features --spine @events/a.parquet --out @o --data-dir @empty",
        "no archive",
        2,
    ),
    (
        "training-set seen_features --spine @events/a.parquet --out @o --config @missing.toml",
        "missing.toml",
        2,
    ),
    (
        "replay @events --sql @sql --bootstrap 127.0.0.1:1 --speed fast",
        "'fast'",
        2,
    ),
    (
        "replay @events --sql @sql --bootstrap 127.0.0.1:1 --from July",
        "'July'",
        2,
    ),
    (
        "replay @events --sql @sql --bootstrap 127.0.0.1:1 --from 2013-02-01 --until 2013-01-01",
        "is not before",
        2,
    ),
    (
        "replay @missing --sql @sql --bootstrap 127.0.0.1:1",
        "no folder",
        2,
    ),
    (
        "replay @empty --sql @sql --bootstrap 127.0.0.1:1",
        "a.parquet",
        2,
    ),
    (
        "replay @events --sql @missing --bootstrap 127.0.0.1:1",
        "missing",
        2,
    ),
    ("worker --model late_arrival", "NAME=DIR", 2),
    ("worker --model late_arrival=@empty", "no manifest.toml", 2),
    ("worker --model m=@empty --device tpu", "'tpu'", 2),
    ("worker --model m=@empty --listen 0.0.0.0:0", "loopback", 2),
    (
        "profile a/b --training-set @events/a.parquet --model @empty",
        "'a/b'",
        2,
    ),
    (
        "profile x --training-set @events/a.parquet --model @empty",
        "no manifest.toml",
        2,
    ),
    (
        "profile x --training-set @events/a.parquet --model @empty --until July",
        "'July'",
        2,
    ),
    ("doctor --config @missing.toml", "missing.toml", 2),
];

#[test]
fn bad_calls_are_refused_with_words_and_a_code() -> Result<()> {
    let files = Files::new()?;
    for (line, named, code) in BAD_CALLS {
        let error = files.forebay(line).expect_err(line);
        let words = exit::words(&error);
        assert!(words.contains(named), "{line}: {words}");
        assert_eq!(exit::number_of(&error), code, "{line}: {words}");
    }
    assert!(!files.path("o").exists(), "a refused call writes nothing");
    Ok(())
}

#[test]
fn what_the_parser_refuses_names_the_flag() {
    let cases = [
        ("training-set s --spine a --out b --sql c", "--events"),
        ("training-set s --spine a --out b --events c", "--sql"),
        (
            "training-set s --spine a --out b --sql c --events d --again e",
            "--again",
        ),
        ("replay d --bootstrap b --partitions 0", "--partitions"),
        (
            "replay d --bootstrap b --shuffle-within soon",
            "--shuffle-within",
        ),
        ("replay d", "--bootstrap"),
        ("get s", "<COLUMNS>"),
        ("worker", "--model"),
        ("verify s --sample many", "--sample"),
        ("server --flight-addr here", "--flight-addr"),
        ("frobnicate", "frobnicate"),
    ];
    for (line, named) in cases {
        let error = Cli::try_parse_from(["forebay"].into_iter().chain(line.split_whitespace()))
            .expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(named), "{line}: {error}");
    }
}

#[test]
fn every_command_has_an_example_that_parses() {
    use clap::CommandFactory;
    let commands: Vec<_> = Cli::command().get_subcommands().cloned().collect();
    assert_eq!(commands.len(), 19);
    for command in commands {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let (_, example) = help
            .split_once(": forebay ")
            .unwrap_or_else(|| panic!("{}: {help}", command.get_name()));
        let words = ["forebay"].into_iter().chain(example.split_whitespace());
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
    }
}

#[test]
fn a_training_set_from_files_has_every_row_and_says_what_it_is() -> Result<()> {
    let files = Files::new()?;
    let call = "training-set seen_features --spine @events/a.parquet --out @set.parquet --time-column ts --sql @sql --events @events";
    files.forebay(call)?;
    let set = read_parquet(&files.path("set.parquet"))?;
    let column = |name: &str| {
        Ok::<_, anyhow::Error>(
            set.column_by_name(name)
                .context("missing")?
                .as_primitive::<Int64Type>()
                .values()
                .to_vec(),
        )
    };
    assert_eq!(
        (column("n")?, column("times")?),
        (vec![0, 1, 2], vec![1, 1, 1])
    );
    let schema = set.schema();
    assert_eq!(schema.metadata()["forebay.features"], r#"["times"]"#);
    assert_eq!(schema.metadata()["forebay.service"], "seen_features");
    let manifest = forebay_training::read_manifest(&files.path("set.parquet"))?;
    assert_eq!(
        (
            manifest.name.as_str(),
            manifest.rows,
            manifest.time_column.as_str()
        ),
        ("set", 3, "ts")
    );
    assert!(!manifest.tables["a"].cut);
    Ok(())
}

/// The golden rows of a shipped test model, so many times over, an event every two hours.
pub(super) fn golden_rows(model: &Path, times_over: usize) -> Result<RecordBatch> {
    let reader = FileReader::try_new(File::open(model.join("golden.arrow"))?, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    let batches = std::iter::repeat_n(&batches, times_over).flatten();
    let rows = arrow_select::concat::concat_batches(&schema, batches)?;
    let times = TimestampMicrosecondArray::from_iter_values(
        (0..rows.num_rows() as i64).map(|row| row * 2 * HOUR_US),
    );
    let columns = schema
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, array)| (field.name().clone(), Arc::clone(array)));
    let columns = columns.chain([("event_time".to_owned(), Arc::new(times) as ArrayRef)]);
    let columns = columns.map(|(name, array)| (name, array, true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// The golden rows as a training set.
fn golden_training_set(model: &Path, path: &Path) -> Result<usize> {
    let rows = golden_rows(model, 1)?;
    let mut writer = ArrowWriter::try_new(File::create(path)?, rows.schema(), None)?;
    writer.write(&rows)?;
    writer.close()?;
    Ok(rows.num_rows())
}

#[test]
fn a_profile_lies_beside_the_model_with_its_features_and_the_score() -> Result<()> {
    let files = Files::new()?;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/infer/logistic/1");
    std::fs::create_dir(files.path("model"))?;
    for entry in std::fs::read_dir(&shipped)? {
        let entry = entry?;
        std::fs::copy(entry.path(), files.path("model").join(entry.file_name()))?;
    }
    let rows = golden_training_set(&shipped, &files.path("set.parquet"))?;
    let until = crate::instant::format(10 * DAY_US);
    files.forebay(&format!(
        "profile q1 --training-set @set.parquet --model @model --until {until} --window 1d"
    ))?;
    let profile =
        ReferenceProfile::from_json(&std::fs::read(files.path("model/reference-q1.json"))?)?;
    assert_eq!((profile.name.as_str(), profile.rows), ("q1", 120));
    assert!(rows > 120, "the rest is after --until");
    assert_eq!(profile.columns.len(), 7);
    let score = profile
        .column("score", ColumnRole::Score)
        .context("the score is profiled")?;
    assert_eq!(score.values(), 120);
    let again = |until: &str, flag: &str| {
        files.forebay(&format!(
            "profile q1 --training-set @set.parquet --model @model --until {until} --window 1d {flag}"
        ))
    };
    again(&until, "")?;
    let error = again("1970-01-05", "").expect_err("another profile under the same name");
    assert!(
        exit::words(&error).contains("--replace") && exit::number_of(&error) == 2,
        "{error:#}"
    );
    again("1970-01-05", "--replace")?;
    let error = files
        .forebay("profile q1 --training-set @events/a.parquet --model @model --time-column ts")
        .expect_err("no features");
    assert!(exit::words(&error).contains('a'), "{error:#}");
    Ok(())
}
