//! Pages of `docs/` that are written from the code: limits, metrics, settings, errors, and the
//! comments of the shipped settings file. `cargo run -p xtask -- docs` writes them; `check`
//! compares, so that no page can say what the code does not.
//!
//! Each module reads the text of one source file and gives the text of one page. Nothing of our
//! crates is linked: a page may be written while the code does not compile.

use anyhow::{Context, Result};

use crate::finding::Finding;
use crate::tree::Tree;

mod doc;
mod errors;
pub(crate) mod limits;
mod metrics;
mod settings;
mod variants;

/// A page and what it has to say.
#[derive(Debug)]
pub(crate) struct Page {
    /// Path from the root.
    pub(crate) path: &'static str,
    /// Its whole text.
    pub(crate) text: String,
}

/// All pages.
///
/// # Errors
/// A source file is not there, or is written in a form that its page's module does not read.
pub(crate) fn all(tree: &Tree) -> Result<Vec<Page>> {
    let read = |path: &str| {
        tree.file(path)
            .map(|file| file.text.as_str())
            .with_context(|| format!("{path} is not there"))
    };
    let page = |path, text: Result<String>| -> Result<Page> {
        let text = text.with_context(|| format!("cannot write {path}"))?;
        Ok(Page { path, text })
    };
    let (fields, file) = (read(settings::SOURCE)?, read(settings::FILE)?);
    Ok(vec![
        page("docs/limits.md", limits::page(read(limits::SOURCE)?))?,
        page("docs/metrics.md", metrics::page(read(metrics::SOURCE)?))?,
        page("docs/errors.md", errors::page(read))?,
        page("docs/settings.md", settings::page(fields, file))?,
        page(settings::FILE, settings::file(fields, file))?,
    ])
}

/// Pages that differ from the code.
///
/// # Errors
/// As [`all`].
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let stale = all(tree)?.into_iter().filter_map(|page| {
        let text = tree.file(page.path).map_or("", |file| file.text.as_str());
        let line = first_difference(text, &page.text)?;
        Some(Finding::new(
            page.path,
            line,
            "the page differs from the code that it is written from",
            "run `cargo run -p xtask -- docs` and commit what it writes",
        ))
    });
    Ok(stale.collect())
}

/// Number of the first line that differs, from 1.
fn first_difference(a: &str, b: &str) -> Option<usize> {
    if a == b {
        return None;
    }
    let same = a.lines().zip(b.lines()).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
    }
}
