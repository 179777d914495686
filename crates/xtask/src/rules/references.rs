//! A path that a text names is there: links of Markdown, and paths of this repository in Markdown,
//! comments and scripts. A page that leads nowhere is worse than none. Pages outside the repository
//! are not cited at all: cite the paper, or ship the text in `docs/`.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::tree::TextFile;

/// Folders at the root whose paths are recognised wherever they stand.
const ROOTS: [&str; 11] = [
    "bench/", "config/", "crates/", "data/", "docs/", "models/", "proto/", "scripts/", "sql/",
    "tests/", ".ci/",
];
/// Texts that are not in the repository.
const ELSEWHERE: [&str; 4] = ["DESIGN section", "DESIGN.md", "STYLE.md", "reference/"];

/// Paths that a reader makes by what the text says to do.
const MADE: [&str; 1] = ["models/late_arrival/2"];

/// Every path that is there: files, and the folders above them.
pub(crate) fn existing(files: &[TextFile], others: &[String]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for path in files.iter().map(|file| &file.path).chain(others) {
        let ends = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        paths.extend(ends);
        paths.insert(path.clone());
    }
    paths
}

/// Paths in one file that lead nowhere.
pub(crate) fn check(file: &TextFile, existing: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let markdown = file.path.ends_with(".md");
    let rust = file.path.ends_with(".rs");
    // The rules themselves name what they refuse.
    if file.path.starts_with("crates/xtask/src/") || !(markdown || rust || is_script(&file.path)) {
        return findings;
    }
    for (number, line) in file.text.lines().enumerate() {
        let text = if markdown { line } else { comment(line, rust) };
        if markdown {
            for target in links(line) {
                if !existing.contains(&beside(&file.path, target)) {
                    findings.push(missing(file, number, target));
                }
            }
        }
        for path in rooted(text) {
            let path = path.trim_end_matches('/');
            let made = MADE.iter().any(|made| path.starts_with(made));
            // In a crate, `tests/it` is its own.
            let own =
                crate_of(&file.path).is_some_and(|c| existing.contains(&format!("{c}/{path}")));
            if !existing.contains(path) && !made && !own {
                findings.push(missing(file, number, path));
            }
        }
        if let Some(page) = ELSEWHERE.iter().find(|page| stands_alone(text, page)) {
            let problem = format!("'{page}' is no page of this repository");
            let remedy = "cite the paper, or write the text into docs/";
            findings.push(Finding::new(&file.path, number + 1, problem, remedy));
        }
    }
    findings
}

fn missing(file: &TextFile, number: usize, path: &str) -> Finding {
    let problem = format!("there is no '{path}'");
    Finding::new(
        &file.path,
        number + 1,
        problem,
        "correct the path, or add what it names",
    )
}

/// `crates/x` for a file in it.
fn crate_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("crates/")?.split('/').next()?;
    path.get(.."crates/".len() + name.len())
}

fn is_script(path: &str) -> bool {
    path.ends_with(".py")
        || path.ends_with(".toml")
        || path.ends_with(".sh")
        || path.starts_with("scripts/")
}

/// The comment of a line.
fn comment(line: &str, rust: bool) -> &str {
    let mark = if rust { "//" } else { "#" };
    let start = line.trim_start();
    let is_comment = start.starts_with(mark);
    if is_comment { start } else { "" }
}

/// Targets of links that are no addresses and no places in the page.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.match_indices("](").filter_map(|(at, _)| {
        let target = line[at + 2..].split(')').next()?;
        Some(target.split('#').next().unwrap_or(target))
    });
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// `target` as a path from the root, seen from the file at `path`.
fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Paths from the root; those with a placeholder (capitals like `NAME`, `*`, `<`, `$`) are
/// patterns.
fn rooted(text: &str) -> impl Iterator<Item = &str> {
    let in_path = |c: char| c.is_ascii_alphanumeric() || "_-./*<>${}".contains(c);
    let words = text.split(move |c| !in_path(c));
    let trimmed = words.map(|word| word.trim_end_matches(['.', ',']));
    trimmed.filter(|word| {
        let named = ROOTS
            .iter()
            .any(|root| word.starts_with(root) && word.len() > root.len());
        let pattern = word.contains(['*', '<', '$', '{', '}']) || word.contains("..");
        let placeholder = word.split(['/', '.', '-', '_']).any(|part| {
            part.len() > 1 && part.bytes().all(|b| b.is_ascii_uppercase()) && part != "README"
        });
        named && !pattern && !placeholder
    })
}

/// Whether `page` stands in `text` and is not the end of a longer path or name.
fn stands_alone(text: &str, page: &str) -> bool {
    let joined = |c: char| c.is_alphanumeric() || "_-/".contains(c);
    text.match_indices(page)
        .any(|(at, _)| !text[..at].ends_with(joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = |path: &str, text: &str| TextFile {
            path: path.into(),
            text: text.into(),
        };
        let files = [
            "docs/a.md",
            "crates/x/src/lib.rs",
            "crates/x/tests/it/main.rs",
        ]
        .map(|p| file(p, ""));
        let existing = existing(&files, &["docs/picture.svg".to_owned()]);
        let findings = check(&file(path, text), &existing).into_iter();
        findings
            .map(|f| format!("{}: {}", f.line, f.problem))
            .collect()
    }

    #[test]
    fn links_lead_somewhere_from_where_they_stand() {
        let text = "[a](a.md) [b](b.md#c) ![p](picture.svg)\n[x](../crates/x) [y](https://example.org/b.md) [z](#z)\n";
        assert_eq!(found("docs/c.md", text), ["1: there is no 'b.md'"]);
        assert_eq!(
            found("README.md", "[a](docs/a.md) [b](a.md)"),
            ["1: there is no 'a.md'"]
        );
    }

    #[test]
    fn paths_from_the_root_are_there_or_are_patterns() {
        let text = "`docs/a.md`, docs/b.md. See `crates/x/src/` and `crates/y`;\n\
                    docs/decisions/NNNN-title.md crates/*/src docs/<name> https://example.org/docs/x.md\n";
        assert_eq!(
            found("CONTRIBUTING.md", text),
            ["1: there is no 'docs/b.md'", "1: there is no 'crates/y'"]
        );
    }

    #[test]
    fn comments_are_read_and_code_is_not() {
        let text = "//! See docs/b.md.\nlet path = \"docs/b.md\";\n    // docs/a.md\n";
        assert_eq!(
            found("crates/x/src/lib.rs", text),
            ["1: there is no 'docs/b.md'"]
        );
        assert_eq!(
            found("scripts/x.py", "# docs/b.md\nx = 'docs/b.md'\n").len(),
            1
        );
        assert!(found("crates/x/a.json", "docs/b.md").is_empty());
    }

    #[test]
    fn pages_outside_the_repository_are_not_cited() {
        let text = "// After reference/streaming.md and DESIGN section 3.\n// docs.rs/x/reference/ and a DESIGN\n";
        assert_eq!(found("crates/x/src/lib.rs", text).len(), 1);
    }
}
