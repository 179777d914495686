//! `docs/metrics.md` from the table in `telemetry/src/names.rs`: each metric with its type, labels
//! and sentence, below the comment that heads its group.

use anyhow::{Context, Result, bail, ensure};

/// Where the table is.
pub(super) const SOURCE: &str = "crates/telemetry/src/names.rs";
const OPENING: &str = "metric_table! {";

const HEAD: &str = "\
# Metrics

Written by `cargo run -p xtask -- docs` from the table in `crates/telemetry/src/names.rs`.

`GET /metrics` on the HTTP listener answers in Prometheus' text format 0.0.4. Times are seconds, sizes bytes; what ends
in `_total` only grows. Labels hold names of definitions and values from fixed lists, never a key, an offset or a client's text.
Where the system has `/proc`, the usual `process_*` metrics are there too.
`config/prometheus/forebay-rules.yml` has alert rules over them.
";

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Metric<'a> {
    kind: &'a str,
    name: &'a str,
    labels: Vec<&'a str>,
    help: &'a str,
}

/// The page.
pub(super) fn page(source: &str) -> Result<String> {
    let (_, table) = source
        .split_once(&format!("\n{OPENING}"))
        .with_context(|| format!("there is no `{OPENING}`"))?;
    let table = table.split("\n}").next().unwrap_or(table);
    let (mut page, mut open, mut rows) = (HEAD.to_owned(), false, 0);
    let mut row = String::new();
    for line in table.lines().map(str::trim) {
        if let Some(group) = line.strip_prefix("//") {
            let group = group.trim();
            page.push_str(&format!("\n## {group}\n\n"));
            page.push_str("| metric | type | labels | meaning |\n|---|---|---|---|\n");
            open = true;
            continue;
        }
        // A long row may go over several lines.
        row = format!("{row} {line}").trim().to_owned();
        if !row.ends_with(';') {
            continue;
        }
        let metric = metric(&row)?;
        ensure!(open, "{} stands before the first group", metric.name);
        page.push_str(&cells(&metric));
        (rows, row) = (rows + 1, String::new());
    }
    ensure!(
        rows > 0 && row.is_empty(),
        "the table ends within a row: '{row}'"
    );
    Ok(page)
}

fn cells(metric: &Metric<'_>) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
    let help = metric.help.replace('|', "\\|");
    let kind = match metric.kind {
        // A histogram that a part counts by itself.
        "Timing" => "histogram".to_owned(),
        kind => kind.to_lowercase(),
    };
    format!(
        "| `{}` | {kind} | {} | {help} |\n",
        metric.name,
        labels.join(" ")
    )
}

/// `Kind Variant field "name" ["label", ..] BUCKETS "help";`
fn metric(row: &str) -> Result<Metric<'_>> {
    let strings: Vec<&str> = row.split('"').skip(1).step_by(2).collect();
    let kind = row.split_whitespace().next().unwrap_or_default();
    let [name, labels @ .., help] = strings.as_slice() else {
        bail!("'{row}' has no name and help");
    };
    ensure!(!help.is_empty(), "{name} has no help");
    Ok(Metric {
        kind,
        name,
        labels: labels.to_vec(),
        help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_its_type_labels_and_sentence_below_its_group() {
        let source = "macro_rules! metric_table {}\nmetric_table! {\n    // ingest\n    \
                      Counter A a \"f_a_total\" [\"x\", \"y\"] NONE \"rows; x: b | c\";\n    \
                      Gauge B b \"f_b\" [] NONE\n        \"keys\";\n}\nfn f() {}\n";
        let page = page(source).expect("two metrics");
        let tail = page.split("## ").nth(1).expect("a group");
        assert_eq!(
            tail,
            "ingest\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n\
             | `f_a_total` | counter | `x` `y` | rows; x: b \\| c |\n| `f_b` | gauge |  | keys |\n"
        );
    }

    #[test]
    fn a_table_that_cannot_be_read_is_refused() {
        for source in [
            "fn f() {}",
            "\nmetric_table! {\n// g\nCounter A a [] NONE;\n}",
            "\nmetric_table! {\nCounter A a \"n\" [] NONE \"h\";\n}",
            "\nmetric_table! {\n// g\nCounter A a \"n\" [] NONE \"h\"\n}",
        ] {
            assert!(page(source).is_err(), "{source}");
        }
    }
}
