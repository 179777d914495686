//! The ratchet: what broke a rule when the rule came, each with its size then. It may shrink, and
//! the ratchet follows; it never grows, and nothing joins without a hand that writes it into the
//! file. Each rule that needs it has a section; what a size counts is the rule's business.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::finding::Finding;
use crate::tree::Tree;

/// Where it lies.
pub(crate) const FILE: &str = "crates/xtask/ratchet.toml";

/// Every section, with what its sizes count.
const SECTIONS: &[(&str, &str)] = &[
    ("files", "lines of a file (rules/size.rs)"),
    ("functions", "lines of a function (rules/size.rs)"),
    (
        "circles",
        "modules of a crate that import one another in circles (rules/circles.rs)",
    ),
    (
        "unused",
        "pub items that only tests use, or nothing (rules/unused.rs)",
    ),
    ("limits", "limits that no test names (rules/reached.rs)"),
    (
        "invented",
        "values invented where a conversion fails, by file (rules/invented.rs)",
    ),
];

const HEAD: &str = "\
# What broke a rule of the house when the rule came, with its size then. It may shrink, never grow: after a cut,
# `cargo run -p xtask -- ratchet` writes this file anew.
";

/// One thing over its limit.
#[derive(Debug, Clone)]
pub(crate) struct Offence {
    /// Section of the ratchet that may let it stay.
    pub(crate) section: &'static str,
    /// What it is called there.
    pub(crate) key: String,
    /// Its size.
    pub(crate) size: usize,
    /// What is said where it may not stay.
    pub(crate) finding: Finding,
}

/// Sizes by section and key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ratchet(BTreeMap<String, BTreeMap<String, usize>>);

impl Ratchet {
    /// The file; nothing where it is not there.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn read(tree: &Tree) -> Result<Self> {
        let Some(file) = tree.file(FILE) else {
            return Ok(Self::default());
        };
        Self::parse(&file.text).with_context(|| format!("{FILE} is damaged"))
    }

    fn parse(text: &str) -> Result<Self> {
        let sections: BTreeMap<String, BTreeMap<String, usize>> = toml::from_str(text)?;
        for section in sections.keys() {
            let known = SECTIONS.iter().any(|(name, _)| name == section);
            ensure!(known, "no rule has a section [{section}]");
        }
        Ok(Self(sections))
    }

    /// The smallest ratchet under which all of `offences` may stay.
    pub(crate) fn of(offences: &[Offence]) -> Self {
        let mut ratchet = Self::default();
        for offence in offences {
            let section = ratchet.0.entry(offence.section.to_owned()).or_default();
            let size = section.entry(offence.key.clone()).or_default();
            *size = offence.size.max(*size);
        }
        ratchet
    }

    fn allowed(&self, section: &str, key: &str) -> usize {
        let size = self.0.get(section).and_then(|section| section.get(key));
        size.copied().unwrap_or(0)
    }

    /// What of `offences` may not stay, and where the ratchet is loose.
    pub(crate) fn judge(&self, offences: Vec<Offence>) -> Vec<Finding> {
        let loose = self.loose(&Self::of(&offences));
        let over = offences
            .into_iter()
            .filter(|offence| offence.size > self.allowed(offence.section, &offence.key))
            .map(|offence| offence.finding);
        over.chain(loose).collect()
    }

    /// A ratchet that would let something grow again.
    fn loose(&self, now: &Self) -> Option<Finding> {
        let mut entries = self.0.iter().flat_map(|(section, keys)| {
            let entry = move |(key, size): (&String, &usize)| (section.clone(), key.clone(), *size);
            keys.iter().map(entry)
        });
        let (_, key, _) = entries.find(|(section, key, size)| now.allowed(section, key) < *size)?;
        Some(Finding::new(
            FILE,
            1,
            format!("'{key}' is smaller than the ratchet says"),
            "run `cargo run -p xtask -- ratchet` and commit what it writes",
        ))
    }

    /// What is left of it when `now` is all that is over a limit now.
    pub(crate) fn tightened(&self, now: &Self) -> Self {
        let mut left = Self::default();
        for (section, keys) in &self.0 {
            for (key, size) in keys {
                let size = (*size).min(now.allowed(section, key));
                if size > 0 {
                    let section = left.0.entry(section.clone()).or_default();
                    section.insert(key.clone(), size);
                }
            }
        }
        left
    }

    /// As the file says it.
    pub(crate) fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (name, counts) in SECTIONS {
            let Some(keys) = self.0.get(*name).filter(|keys| !keys.is_empty()) else {
                continue;
            };
            text.push_str(&format!("\n# {counts}\n[{name}]\n"));
            for (key, size) in keys {
                text.push_str(&format!("\"{key}\" = {size}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn offences(sizes: &[(&str, usize)]) -> Vec<Offence> {
        let offence = |(key, size): &(&str, usize)| Offence {
            section: "files",
            key: (*key).to_owned(),
            size: *size,
            finding: Finding::new(*key, 1, format!("{size} lines"), "cut it"),
        };
        sizes.iter().map(offence).collect()
    }

    fn ratchet(sizes: &[(&str, usize)]) -> Ratchet {
        Ratchet::of(&offences(sizes))
    }

    #[test]
    fn it_only_ever_shrinks() {
        let before = ratchet(&[("gone", 700), ("grown", 700), ("shrunk", 700)]);
        let now = ratchet(&[("grown", 800), ("new", 900), ("shrunk", 650)]);
        assert_eq!(
            before.tightened(&now),
            ratchet(&[("grown", 700), ("shrunk", 650)])
        );
    }

    #[test]
    fn an_offender_may_stay_but_not_grow_and_the_ratchet_must_follow_it_down() {
        let ratchet = ratchet(&[("a", 700), ("b", 800)]);
        assert!(
            ratchet
                .judge(offences(&[("a", 700), ("b", 800)]))
                .is_empty()
        );
        let found = ratchet.judge(offences(&[("a", 701), ("b", 800), ("c", 1)]));
        let files: Vec<&str> = found.iter().map(|f| f.file.as_str()).collect();
        assert_eq!(files, ["a", "c"]);
        let found = ratchet.judge(offences(&[("a", 700), ("b", 650)]));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].file == FILE && found[0].problem.contains("'b'"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn its_text_reads_back() {
        let ratchet = ratchet(&[("crates/a/src/b.rs", 700)]);
        assert_eq!(
            Ratchet::parse(&ratchet.to_text()).expect("its own text"),
            ratchet
        );
        assert!(Ratchet::parse("[folders]\n").is_err());
        assert!(Ratchet::parse("[files]\na = -1\n").is_err());
    }
}
