//! The rules of the house as checks: `cargo run -p xtask -- check`. Reads what `cargo metadata` and
//! git say and the files themselves; prints each finding as `file:line: what is wrong; what to do`,
//! and ends with 1 when there is one.
//!
//! Needs four small crates, so that it is built before anything heavy. Writes nothing but the
//! ratchet and the pages of `docs/` that come from code, and those only when asked.

use std::process::ExitCode;

use anyhow::{Context, Result};

mod finding;
mod metadata;
mod modules;
mod pages;
mod ratchet;
mod rules;
mod source;
mod tree;

use finding::Finding;
use metadata::Metadata;
use modules::Modules;
use ratchet::{Offence, Ratchet};
use source::Source;
use tree::Tree;

const USAGE: &str = "usage: cargo run -p xtask -- check | ratchet | docs

  check    the rules of the house; prints what breaks them, ends with 1 if anything does
  docs     write the pages of docs/ that come from code, and the comments of config/forebay.toml
  ratchet  write crates/xtask/ratchet.toml anew: offenders that shrank get their new size, those that are gone leave";

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let outcome = match command.as_deref() {
        Some("check") => check(),
        Some("ratchet") => tighten(),
        Some("docs") => write_pages(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// All rules; true when nothing was found.
fn check() -> Result<bool> {
    let tree = Tree::read(&tree::root()?)?;
    let metadata = Metadata::read(&tree.root)?;
    let ratchet = Ratchet::read(&tree)?;
    let mut findings = Vec::new();
    findings.extend(rules::arrows::check(&metadata));
    findings.extend(rules::owners::check(&metadata));
    findings.extend(rules::versions::check(&metadata));
    findings.extend(rules::registry::check(&tree, &metadata)?);
    findings.extend(pages::check(&tree)?);
    let existing = rules::references::existing(tree.files(), tree.others());
    for file in tree.files() {
        findings.extend(rules::paths::check(file));
        findings.extend(rules::references::check(file, &existing));
    }
    let sources = tree.rust();
    for source in &sources {
        findings.extend(rules::opening::check(source));
        findings.extend(rules::comments::check(source));
        findings.extend(rules::forbidden::check(source));
    }
    findings.extend(rules::checked::check(&sources));
    findings.extend(rules::ports::check(&sources));
    findings.extend(ratchet.judge(offences(&tree, &sources, &metadata)?));
    report(findings)
}

/// What the ratchet may let stay.
fn offences(tree: &Tree, sources: &[Source], metadata: &Metadata) -> Result<Vec<Offence>> {
    let limits = tree
        .file(pages::limits::SOURCE)
        .map_or("", |file| file.text.as_str());
    let mut offences = rules::size::offences(sources);
    offences.extend(rules::reached::offences(
        &pages::limits::limits(limits)?,
        sources,
    ));
    offences.extend(rules::unused::offences(sources, metadata));
    offences.extend(sources.iter().filter_map(rules::invented::offence));
    for folder in rules::folders(sources) {
        let modules = Modules::read(&folder, sources);
        offences.extend(rules::circles::offence(&folder, &modules));
    }
    Ok(offences)
}

fn report(mut findings: Vec<Finding>) -> Result<bool> {
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        let plural = if findings.len() == 1 { "" } else { "s" };
        eprintln!(
            "xtask: {} finding{plural}; crates/README.md and crates/xtask/src/rules say why",
            findings.len()
        );
    }
    Ok(findings.is_empty())
}

/// Write the pages that are not as the code says.
fn write_pages() -> Result<bool> {
    let tree = Tree::read(&tree::root()?)?;
    for page in pages::all(&tree)? {
        if tree
            .file(page.path)
            .is_none_or(|file| file.text != page.text)
        {
            std::fs::write(tree.root.join(page.path), &page.text)
                .with_context(|| format!("cannot write {}", page.path))?;
            eprintln!("xtask: wrote {}", page.path);
        }
    }
    Ok(true)
}

/// Write the ratchet as small as it can be. A size that grew, or an offender that is new, stays a
/// finding.
fn tighten() -> Result<bool> {
    let tree = Tree::read(&tree::root()?)?;
    let before = Ratchet::read(&tree)?;
    let metadata = Metadata::read(&tree.root)?;
    let sources = tree.rust();
    let offences = offences(&tree, &sources, &metadata)?;
    let after = before.tightened(&Ratchet::of(&offences));
    std::fs::write(tree.root.join(ratchet::FILE), after.to_text())
        .with_context(|| format!("cannot write {}", ratchet::FILE))?;
    report(after.judge(offences))
}
