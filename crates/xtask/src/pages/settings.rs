//! `docs/settings.md`, and the comments of `config/forebay.toml`, from the doc comments of
//! `forebay/src/settings.rs`. The defaults stand in the shipped file (a test of the binary compares
//! them with those in force); its comments are written anew, so that each sentence is said once.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::doc::doc_before;

/// Where the structs are.
pub(super) const SOURCE: &str = "crates/forebay/src/settings.rs";
/// The shipped file.
pub(super) const FILE: &str = "config/forebay.toml";

const HEAD: &str = "\
# Settings

Written by `cargo run -p xtask -- docs` from `crates/forebay/src/settings.rs`.

A setting comes from the file that `--config` names, then from its variable, then from a flag of the command; the last
one wins. `config/forebay.toml` holds every setting with its default. Unknown keys are refused, and a value outside its
bounds is refused by name. `forebay doctor` prints what is in force. Paths are relative to the working directory.
";
const FILE_HEAD: &str = "\
Settings of the Forebay server. Every value here is the default; `FOREBAY_SECTION_KEY` (for example \
FOREBAY_KAFKA_BOOTSTRAP) overrides a value, and a flag of the command overrides both. `forebay doctor` prints what is in \
force. Unknown keys are refused. Paths are relative to the working directory.";
const FILE_FOOT: &str =
    "The comments are written by `cargo run -p xtask -- docs` from crates/forebay/src/settings.rs.";
const COLUMNS: usize = 118;

/// One key of one section.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    section: String,
    key: String,
    default: String,
    meaning: String,
}

/// The page.
pub(super) fn page(source: &str, file: &str) -> Result<String> {
    let mut page = HEAD.to_owned();
    let mut section = String::new();
    for setting in settings(source, file)? {
        if setting.section != section {
            section.clone_from(&setting.section);
            page.push_str(&format!("\n## [{section}]\n\n"));
            page.push_str("| key | default | variable | meaning |\n|---|---|---|---|\n");
        }
        let variable = format!("FOREBAY_{section}_{}", setting.key).to_uppercase();
        let meaning = setting.meaning.replace('|', "\\|");
        page.push_str(&format!(
            "| `{}` | `{}` | `{variable}` | {meaning} |\n",
            setting.key, setting.default
        ));
    }
    Ok(page)
}

/// The shipped file: its sections, keys and values, with the comments of the structs.
pub(super) fn file(source: &str, file: &str) -> Result<String> {
    let mut text = comment(FILE_HEAD) + "#\n" + &comment(FILE_FOOT);
    let mut section = String::new();
    for setting in settings(source, file)? {
        if setting.section != section {
            section.clone_from(&setting.section);
            text.push_str(&format!("\n[{section}]\n"));
        }
        text.push_str(&comment(&setting.meaning));
        text.push_str(&format!("{} = {}\n", setting.key, setting.default));
    }
    Ok(text)
}

/// Every setting of the shipped file, in its order, with the sentence of its field.
fn settings(source: &str, file: &str) -> Result<Vec<Setting>> {
    let meanings = meanings(source);
    let (mut section, mut settings) = (String::new(), Vec::new());
    for line in file.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, default)) = line.split_once('=')
            && !line.starts_with('#')
        {
            let (key, default) = (key.trim().to_owned(), default.trim().to_owned());
            let meaning = meanings
                .get(&(section.clone(), key.clone()))
                .with_context(|| format!("no struct has a field for {section}.{key}"))?;
            ensure!(!meaning.is_empty(), "{section}.{key} has no doc comment");
            settings.push(Setting {
                section: section.clone(),
                key,
                default,
                meaning: meaning.clone(),
            });
        }
    }
    let missing = meanings.keys().find(|(section, key)| {
        let is = |s: &Setting| s.section == *section && s.key == *key;
        !settings.iter().any(is)
    });
    if let Some((section, key)) = missing {
        anyhow::bail!("{FILE} has no {section}.{key}: add it with its default");
    }
    Ok(settings)
}

/// Doc comments by section and key: of the fields of each struct whose own doc comment begins with
/// the section in brackets (`` `[state]` ``).
fn meanings(source: &str) -> BTreeMap<(String, String), String> {
    let lines: Vec<&str> = source.lines().collect();
    let (mut section, mut meanings) = (None, BTreeMap::new());
    for (at, line) in lines.iter().enumerate() {
        if line.contains("struct ") && line.ends_with('{') {
            let doc = doc_before(&lines, at);
            let name = doc.strip_prefix("`[").and_then(|doc| doc.split_once(']'));
            section = name.map(|(name, _)| name.to_owned());
        } else if *line == "}" {
            section = None;
        } else if let Some(section) = &section
            && let Some((key, _)) = line.trim().split_once(": ")
            && line.trim_start().starts_with("pub")
        {
            let key = key.rsplit(' ').next().unwrap_or(key).to_owned();
            meanings.insert((section.clone(), key), doc_before(&lines, at));
        }
    }
    meanings
}

/// `text` as lines of a TOML comment.
fn comment(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::from("#"));
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS && line.len() > 1 {
            lines.push_str(&line);
            lines.push('\n');
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "/// All.\npub(crate) struct Settings {\n    pub(crate) a: A,\n}\n\n\
        /// `[state]`: what lasts.\n#[derive(Debug)]\n\
        pub(crate) struct State {\n    /// How many.\n    \
        pub(crate) shards: u16,\n    /// Where, in\n    /// words.\n    pub(crate) dir: PathBuf,\n}\n";
    const FILE: &str = "# Old.\n[state]\n# Old.\nshards = 4\ndir = \"x\"\n";

    #[test]
    fn a_setting_has_its_default_variable_and_sentence() {
        let page = page(SOURCE, FILE).expect("two settings");
        assert!(page.ends_with(
            "\n## [state]\n\n| key | default | variable | meaning |\n|---|---|---|---|\n\
             | `shards` | `4` | `FOREBAY_STATE_SHARDS` | How many. |\n\
             | `dir` | `\"x\"` | `FOREBAY_STATE_DIR` | Where, in words. |\n"
        ));
    }

    #[test]
    fn the_file_keeps_its_values_and_gets_the_comments_of_the_code() {
        let text = file(SOURCE, FILE).expect("two settings");
        assert!(
            text.ends_with("\n[state]\n# How many.\nshards = 4\n# Where, in words.\ndir = \"x\"\n"),
            "{text}"
        );
        assert!(!text.contains("Old") && text.lines().all(|line| line.len() <= COLUMNS));
        assert_eq!(file(SOURCE, &text).expect("its own text"), text);
    }

    #[test]
    fn a_key_without_field_sentence_or_default_is_refused_by_name() {
        let cases = [
            (SOURCE, "[state]\nshards = 4\n", "no state.dir"),
            (SOURCE, "[state]\nshards = 4\ndir = 1\nx = 1\n", "state.x"),
            (
                &*SOURCE.replace("    /// How many.\n", ""),
                FILE,
                "shards has no doc",
            ),
        ];
        for (source, file, named) in cases {
            let error = format!("{:#}", page(source, file).expect_err("refused"));
            assert!(error.contains(named), "{error}");
        }
    }
}
