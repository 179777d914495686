//! Planning takes little time, stack and memory whatever the text: each text is planned in a
//! process of its own with limits on all of them, and must be refused or taken there. The texts are
//! constructs that once ended or hung a server (`constructs`), and those of a grammar (`grammar`).
//!
//! `tests/fuzz_sql.py` runs the same test with many seeds.

mod constructs;
mod grammar;

use std::fmt::Display;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use forebay_core::ErrorKind;
use forebay_engine::{Catalog, DefinitionFile, Patience};

use constructs::constructs;
use grammar::text_of;

/// What the texts read.
const BASE: &str = "
CREATE SOURCE s (k VARCHAR, n BIGINT, x DOUBLE, v VARCHAR, b BOOLEAN, t TIMESTAMP NOT NULL,
    WATERMARK FOR t AS t) WITH (connector = 'kafka');
CREATE ENTITY e (k VARCHAR);
CREATE FEATURE VIEW w ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t) AS c,
    last_value(x) OVER (PARTITION BY k ORDER BY t) AS l FROM s;
CREATE FEATURE SERVICE f (k VARCHAR) AS SELECT w.c AS c FROM request LEFT JOIN w USING (k);
CREATE MODEL m VERSION 1 FROM 'm/1' FEATURES f;
";
/// Set in the process that plans: `constructs`, or the first seed and how many of them.
const TEXTS: &str = "FOREBAY_BOUNDED_TEXTS";
/// What such a process may take: processor seconds of a debug build, and kilobytes of addresses.
const LIMITS: &str = "ulimit -t 120 -v 2097152 -c 0";
/// Seeds of a run of the tests.
const SEEDS: u64 = 400;

fn file(text: String) -> DefinitionFile {
    DefinitionFile {
        path: "bad.sql".to_owned(),
        text,
    }
}

fn base() -> Catalog {
    let planned = Catalog::empty().plan(&[file(BASE.to_owned())]);
    planned.expect("plain definitions").catalog
}

/// Plan `text` and tell the parent. A defect of ours ends the process.
fn plan(base: &Catalog, name: &dyn Display, text: String) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "begins {name}").expect("the parent reads");
    drop(out);
    let began = Instant::now();
    let planned = base.plan(&[file(text)]);
    let took_ms = began.elapsed().as_millis();
    let words = match planned {
        Ok(_) => "taken".to_owned(),
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Internal, "{name}: {error}");
            error.to_string()
        }
    };
    let words: String = words.chars().take(160).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "ends {name}\t{took_ms}\t{words}").expect("the parent reads");
}

/// Plans what the parent asks for. Only there is anything to do.
#[test]
fn plans_in_a_process_of_its_own() {
    let Ok(texts) = std::env::var(TEXTS) else {
        return;
    };
    let base = base();
    let Some((first, count)) = texts.split_once(' ') else {
        for (name, text) in constructs() {
            plan(&base, &name, text);
        }
        return;
    };
    let number = |digits: &str| digits.parse::<u64>().expect("a number");
    let first = number(first);
    for seed in first..first.saturating_add(number(count)) {
        let text = text_of(seed);
        if std::env::var_os("FOREBAY_BOUNDED_SHOW").is_some() {
            eprintln!("{text}");
        }
        plan(&base, &seed, text);
    }
}

/// The lines of a process of its own that plans `texts`, each of which must end.
fn planned_apart(texts: &str) -> Vec<String> {
    let own = std::env::current_exe().expect("this binary");
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("sh")
        .arg("-c")
        .arg(format!("{LIMITS}; exec \"$0\" \"$@\""))
        .arg(own)
        .args([
            "--exact",
            "bounded::plans_in_a_process_of_its_own",
            "--nocapture",
        ])
        .env(TEXTS, texts)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("a process");
    let said = String::from_utf8_lossy(&stdout);
    let last = said.lines().rfind(|line| line.starts_with("begins "));
    assert!(
        status.success(),
        "{status:?} at: {last:?}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    let ended = said.lines().filter(|line| line.starts_with("ends "));
    ended.map(str::to_owned).collect()
}

#[test]
fn no_construct_ends_hangs_or_swells_the_process_that_plans_it() {
    assert_eq!(planned_apart("constructs").len(), constructs().len());
}

#[test]
fn no_text_of_the_grammar_ends_hangs_or_swells_the_process_that_plans_it() {
    let ended = planned_apart(&format!("0 {SEEDS}"));
    let count = u64::try_from(ended.len()).expect("few lines");
    assert_eq!(count, SEEDS);
    // It says something only where texts of all kinds come by.
    let taken = ended
        .iter()
        .filter(|line| line.ends_with("\ttaken"))
        .count();
    assert!(taken * 4 > ended.len(), "{taken} of {count} are taken");
    assert!(taken * 8 < ended.len() * 7, "{taken} of {count} are taken");
}

#[tokio::test]
async fn planning_is_given_up_when_its_time_is_over_or_nobody_waits() {
    let (base, text) = (base(), file(constructs::view("n")));
    let over = Arc::new(Patience::new(|| true));
    let planning = base.planning(std::slice::from_ref(&text), None, &over);
    let error = planning.expect("a thread").await.expect_err("no time");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    let cancelled = Arc::new(Patience::new(|| false));
    cancelled.cancel();
    let planning = base.planning(&[text], None, &cancelled);
    let error = planning.expect("a thread").await.expect_err("nobody waits");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
