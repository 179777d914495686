//! The ratchet: files and functions that were over their limit when the rule came, each with its
//! size then. They may shrink, and the ratchet follows; they never grow, and nothing joins them
//! without a hand that writes it into the file.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::tree::Tree;

/// Where it lies.
pub(crate) const FILE: &str = "crates/xtask/ratchet.toml";

/// Sizes in lines, of files by path and of functions by `path::name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ratchet {
    /// Files.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, usize>,
    /// Functions.
    #[serde(default)]
    pub(crate) functions: BTreeMap<String, usize>,
}

impl Ratchet {
    /// The file; nothing where it is not there.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn read(tree: &Tree) -> Result<Self> {
        let Some(file) = tree.file(FILE) else {
            return Ok(Self::default());
        };
        toml::from_str(&file.text).with_context(|| format!("{FILE} is damaged"))
    }

    /// What is left of it when `offenders` are all that is over a limit now.
    pub(crate) fn tightened(&self, offenders: &Self) -> Self {
        let tighten = |before: &BTreeMap<String, usize>, now: &BTreeMap<String, usize>| {
            let left = before
                .iter()
                .filter_map(|(name, size)| Some((name.clone(), (*size).min(*now.get(name)?))));
            left.collect()
        };
        Self {
            files: tighten(&self.files, &offenders.files),
            functions: tighten(&self.functions, &offenders.functions),
        }
    }

    /// As the file says it.
    pub(crate) fn to_text(&self) -> String {
        let mut text = "# What was over its limit when the rule came (crates/xtask/src/rules/size.rs), in lines. It may shrink, never\n\
                        # grow: after a cut, `cargo run -p xtask -- ratchet` writes this file anew.\n"
            .to_owned();
        for (name, sizes) in [("files", &self.files), ("functions", &self.functions)] {
            text.push_str(&format!("\n[{name}]\n"));
            for (key, size) in sizes {
                text.push_str(&format!("\"{key}\" = {size}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratchet(files: &[(&str, usize)]) -> Ratchet {
        let files: BTreeMap<String, usize> = files
            .iter()
            .map(|(name, size)| ((*name).to_owned(), *size))
            .collect();
        Ratchet {
            functions: files.clone(),
            files,
        }
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
    fn its_text_reads_back() {
        let ratchet = ratchet(&[("crates/a/src/b.rs", 700)]);
        assert_eq!(
            toml::from_str::<Ratchet>(&ratchet.to_text()).expect("its own text"),
            ratchet
        );
        assert!(toml::from_str::<Ratchet>("[folders]").is_err());
    }
}
