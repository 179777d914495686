//! `forebay test`: the feature tests of a folder of definitions, without a broker and without a
//! server. Each test gives events and says what views and services answer at instants; the answers
//! come from both lowerings of training sets and from online stores that took the events in several
//! orders and batches, with a crash between. All must have the expected bits.
//!
//! Definitions are the `*.sql` files of the folder, tests those of its folder `tests`. The engine
//! reads both; `events` makes batches, `paths` and `stream` answer, `compare` finds differences,
//! `coverage` what no test reaches, `report` and `junit` write it down.

mod compare;
mod coverage;
mod draws;
mod events;
mod junit;
mod own;
mod paths;
mod report;
mod stream;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use forebay_core::memory::Budget;
use forebay_engine::{Catalog, FeatureTests, read_definitions};

use crate::cli::FeatureTestArgs;
use crate::exit::FOUND;
use crate::terminal::{check_target, log_from, print};
use coverage::Coverage;
use paths::Runner;
use report::Report;

/// Folder of the tests, in that of the definitions.
const TESTS: &str = "tests";
/// What all tests together may hold of events and answers, bytes.
const MEMORY_BYTES: usize = 1 << 30;

/// Run the command.
pub(super) fn run(args: &FeatureTestArgs) -> Result<ExitCode> {
    log_from("error")?;
    for (flag, file) in [("--json", &args.json), ("--junit", &args.junit)] {
        if let Some(file) = file {
            check_target(flag, file)?;
        }
    }
    let report = run_all(args)?;
    print(&report.text())?;
    if let Some(file) = &args.json {
        write(file, &format!("{:#}\n", report.json()))?;
    }
    if let Some(file) = &args.junit {
        write(file, &junit::render(&report))?;
    }
    let code = if report.failed() == 0 { 0 } else { FOUND };
    Ok(ExitCode::from(code))
}

/// The tests of the folder that are asked for, run.
fn run_all(args: &FeatureTestArgs) -> Result<Report> {
    let definitions = Catalog::empty()
        .plan(&read_definitions(&args.dir)?)?
        .catalog;
    let folder = args.dir.join(TESTS);
    let files = read_definitions(&folder).with_context(|| {
        format!(
            "{} has no tests; write CREATE TEST statements in files of {}",
            args.dir.display(),
            folder.display()
        )
    })?;
    let FeatureTests { catalog, mut tests } = FeatureTests::read(&definitions, &files)?;
    if let Some(only) = &args.only {
        tests.retain(|test| test.name.contains(only.as_str()));
        if tests.is_empty() {
            bail!(
                "no test has '{only}' in its name; `forebay test {}` lists all",
                args.dir.display()
            );
        }
    }
    let mut coverage = Coverage::new(&definitions, &catalog);
    let runner = Runner {
        catalog,
        budget: Budget::whole(MEMORY_BYTES),
        seed: args.seed,
        orders: args.orders,
    };
    let mut report = Report::new(args.seed, args.orders);
    let began = Instant::now();
    report.tests = runner.run(&tests, &mut coverage)?;
    report.took = began.elapsed();
    report.coverage = Some(coverage);
    Ok(report)
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
