//! `docs/errors.md` from the enums of reasons and errors: each variant with its code, its doc
//! comment and what is said of it. A comment that goes on with `Remedy:` says the remedy there;
//! where an error's own words say it, the words are shown. Texts are in the enums alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::variants::{Variant, arms, literal, named_in, variants};

const HEAD: &str = "\
# Errors and reasons

Written by `cargo run -p xtask -- docs` from the enums that the code has.

Every error has a kind, which says whose fault it is and whether to try again, and words, which name the object and the
remedy. A reason is a label: it stands in tables of the archive, in metrics and in reports.
";

/// Where the kinds are.
const KINDS: &str = "crates/core/src/error.rs";

/// An enum of reasons: codes with a meaning and a remedy.
const REASONS: [(&str, &str, &str, &str); 4] = [
    (
        "Dead letters",
        "`reason` of the table `dead_letters`, and label of `forebay_dead_letter_records_total`.",
        "crates/core/src/dead_letter.rs",
        "DeadLetterReason",
    ),
    (
        "Events without a prediction",
        "`reason` of the table `settlements`, and label of `forebay_unscored_events_total`.",
        "crates/core/src/settlement.rs",
        "UnscoredReason",
    ),
    (
        "Rows that `forebay verify` cannot judge",
        "Counted by reason; above `--max-unverified` the verification fails.",
        "crates/training/src/report.rs",
        "Reason",
    ),
    (
        "What `forebay verify` finds between archive and log",
        "Each is a defect of the archive or the log, with its offsets.",
        "crates/training/src/witness/judge.rs",
        "FindingKind",
    ),
];

/// An enum of errors: words with a kind.
const ERRORS: [(&str, &str, &str, &str); 8] = [
    (
        "Halted sources",
        "Why a source, or one partition of it, is not read. The action `status`, `/readyz/ingest`, `forebay gap list` and the \
         log show code and words, `forebay_source_halted` the code; a code never changes. All other sources go on.",
        "crates/pipeline/src/halt.rs",
        "HaltReason",
    ),
    (
        "Definitions",
        "What `plan`, `apply` and a start say of SQL, each with its file, line and column.",
        "crates/engine/src/error.rs",
        "EngineError",
    ),
    ("Kafka", "", "crates/kafka/src/error.rs", "Error"),
    (
        "The state",
        "What is kept in `online/`.",
        "crates/online/src/error.rs",
        "OnlineError",
    ),
    (
        "The archive",
        "What is kept in `offline/`.",
        "crates/offline/src/error.rs",
        "OfflineError",
    ),
    (
        "Ingest and scoring",
        "",
        "crates/pipeline/src/error.rs",
        "PipelineError",
    ),
    (
        "Models and workers",
        "",
        "crates/infer/src/error.rs",
        "InferError",
    ),
    (
        "Serving",
        "Of the listeners; in an exchange they answer their own request and end nothing else.",
        "crates/serve/src/error.rs",
        "ServeError",
    ),
];

/// The page; `read` gives the text of a source file.
pub(super) fn page<'a>(read: impl Fn(&str) -> Result<&'a str>) -> Result<String> {
    let mut page = HEAD.to_owned();
    page.push_str(&kinds(read(KINDS)?)?);
    for (title, intro, path, name) in REASONS {
        let rows = reasons(read(path)?, name).with_context(|| format!("{name} of {path}"))?;
        page.push_str(&section(
            title,
            intro,
            &["reason", "meaning", "remedy"],
            &rows,
        ));
    }
    for (title, intro, path, name) in ERRORS {
        let source = read(path)?;
        let of_enum = || format!("{name} of {path}");
        let mut rows = errors(source, name).with_context(of_enum)?;
        let mut columns = vec!["what is said", "kind", "when"];
        if let Some(codes) = codes(source, name).with_context(of_enum)? {
            columns.insert(0, "code");
            for (row, code) in rows.iter_mut().zip(codes) {
                row.insert(0, format!("`{code}`"));
            }
        }
        page.push_str(&section(title, intro, &columns, &rows));
    }
    Ok(page)
}

/// The kinds, with what they become on each surface.
fn kinds(source: &str) -> Result<String> {
    const NAME: &str = "ErrorKind";
    let of = |function: &str| arms(source, NAME, function);
    let (labels, grpc, exit) = (of("label"), of("grpc_code"), of("exit_code"));
    let retriable = named_in(source, NAME, "is_retriable");
    let mut rows = Vec::new();
    for variant in variants(source, NAME)? {
        let (meaning, remedy) = variant.meaning_and_remedy();
        let cell = |arms: &BTreeMap<String, String>| {
            let value = arms.get(&variant.name).cloned();
            value.with_context(|| format!("{NAME}::{} is left out somewhere", variant.name))
        };
        let again = if retriable.contains(&variant.name) {
            "yes"
        } else {
            "no"
        };
        rows.push(vec![
            format!("`{}`", cell(&labels)?),
            cell(&grpc)?,
            cell(&exit)?,
            again.to_owned(),
            meaning,
            remedy,
        ]);
    }
    let columns = [
        "kind",
        "gRPC",
        "exit code",
        "try again",
        "meaning",
        "remedy",
    ];
    let intro = "The label of metrics, the code of a gRPC status and of an answer, and the exit code of a command.";
    Ok(section("Kinds", intro, &columns, &rows))
}

/// Reasons: the code, its meaning, and what to do by comment or by the words that are printed.
fn reasons(source: &str, name: &str) -> Result<Vec<Vec<String>>> {
    let (labels, words) = (arms(source, name, "label"), arms(source, name, "words"));
    let mut rows = Vec::new();
    for variant in variants(source, name)? {
        let (meaning, remedy) = variant.meaning_and_remedy();
        let code = labels.get(&variant.name).cloned();
        let code = code.unwrap_or_else(|| snake(&variant.name));
        let printed = words.get(&variant.name).and_then(|words| {
            let (_, remedy) = words.rsplit_once("; ")?;
            Some(remedy.to_owned())
        });
        let remedy = if remedy.is_empty() {
            printed.with_context(|| format!("{} says no remedy", variant.name))?
        } else {
            remedy
        };
        rows.push(vec![format!("`{code}`"), meaning, remedy]);
    }
    Ok(rows)
}

/// Errors: what is said, the kind, and when it is.
fn errors(source: &str, name: &str) -> Result<Vec<Vec<String>>> {
    let kinds = arms(source, name, "kind");
    let other = kinds.get("_").cloned();
    let mut rows = Vec::new();
    for variant in variants(source, name)? {
        let (meaning, remedy) = variant.meaning_and_remedy();
        let said = said(&variant);
        ensure!(
            !(said.is_empty() && meaning.is_empty()),
            "{} has neither words nor a comment",
            variant.name
        );
        let kind = kinds.get(&variant.name).cloned().or_else(|| other.clone());
        let kind = match kind {
            Some(kind) if !kind.is_empty() => format!("`{}`", snake(&kind)),
            _ => "that of its cause".to_owned(),
        };
        let said = match said.as_str() {
            "" => "(words of its own)".to_owned(),
            _ => said,
        };
        let when = match remedy.as_str() {
            "" => meaning,
            remedy => format!("{meaning} Remedy: {remedy}"),
        };
        rows.push(vec![said, kind, when]);
    }
    Ok(rows)
}

/// What programs know each error by, where the enum says it: one code for each variant.
fn codes(source: &str, name: &str) -> Result<Option<Vec<String>>> {
    let known = arms(source, name, "code");
    if known.is_empty() {
        return Ok(None);
    }
    let mut codes = Vec::new();
    for variant in variants(source, name)? {
        let code = known.get(&variant.name);
        let code = code.with_context(|| format!("{} has no code", variant.name))?;
        ensure!(!codes.contains(code), "code {code} is another error's too");
        codes.push(code.clone());
    }
    Ok(Some(codes))
}

/// The words of a variant with its fields in braces; none where they are fields alone.
fn said(variant: &Variant) -> String {
    let Some(words) = variant.attribute.as_deref().and_then(literal) else {
        return String::new();
    };
    let (mut said, mut rest, mut plain) = (String::new(), words.as_str(), false);
    while let Some((before, after)) = rest.split_once('{') {
        plain |= before.chars().any(char::is_alphabetic);
        let (field, behind) = after.split_once('}').unwrap_or((after, ""));
        let field = field.split(':').next().unwrap_or(field);
        let is_named = field.starts_with(char::is_alphabetic);
        said.push_str(before);
        said.push_str(&if is_named {
            format!("{{{field}}}")
        } else {
            "…".to_owned()
        });
        rest = behind;
    }
    plain |= rest.chars().any(char::is_alphabetic);
    said.push_str(rest);
    if plain { said } else { String::new() }
}

/// A heading with its table.
fn section(title: &str, intro: &str, columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("\n## {title}\n\n");
    if !intro.is_empty() {
        text.push_str(&format!("{intro}\n\n"));
    }
    text.push_str(&format!(
        "| {} |\n|{}\n",
        columns.join(" | "),
        "---|".repeat(columns.len())
    ));
    for row in rows {
        let cells = row.iter().map(|cell| {
            let cell = cell.trim_end_matches('.').replace('|', "\\|");
            cell.replace('<', "&lt;").replace('>', "&gt;")
        });
        let cells: Vec<String> = cells.collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// `TooLarge` as `too_large`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for (at, c) in name.char_indices() {
        if c.is_uppercase() && at > 0 {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS_SOURCE: &str = r#"
pub enum Reason {
    /// Too old.
    /// Remedy: ask later.
    TooOld,
    /// Lost.
    Lost,
}

impl Reason {
    fn label(self) -> &'static str {
        match self {
            Self::TooOld => "old",
        }
    }
    fn words(self) -> &'static str {
        match self {
            Self::TooOld => "x",
            Self::Lost => "gone, all; restore | it",
        }
    }
}
"#;
    const ERRORS_SOURCE: &str = r#"
pub enum Error {
    /// No answer.
    #[error(
        "no {what:?} from {0}: \
         wait"
    )]
    Gone {
        /// What.
        what: String,
    },
    /// A port's.
    #[error("{0}")]
    Port(PortError),
}

impl Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone { .. } => ErrorKind::NotFound,
            Self::Port(e) => e.kind(),
        }
    }
}
"#;

    #[test]
    fn a_reason_has_its_code_meaning_and_remedy() {
        let rows = reasons(REASONS_SOURCE, "Reason").expect("two reasons");
        assert_eq!(
            rows,
            [
                ["`old`", "Too old.", "ask later."],
                ["`lost`", "Lost.", "restore | it"]
            ]
        );
        let text = section("T", "I", &["a", "b", "c"], &rows[1..]);
        assert_eq!(
            text,
            "\n## T\n\nI\n\n| a | b | c |\n|---|---|---|\n| `lost` | Lost | restore \\| it |\n"
        );
        let silent = REASONS_SOURCE.replace("; restore | it", "");
        assert!(reasons(&silent, "Reason").is_err(), "no remedy for Lost");
    }

    #[test]
    fn an_error_has_its_words_and_its_kind() {
        let rows = errors(ERRORS_SOURCE, "Error").expect("two errors");
        assert_eq!(
            rows,
            [
                ["no {what} from …: wait", "`not_found`", "No answer."],
                ["(words of its own)", "that of its cause", "A port's."]
            ]
        );
    }

    #[test]
    fn each_error_of_an_enum_with_codes_has_one_of_its_own() {
        let coded = |gone: &str, port: &str| {
            let arms = format!("Self::Gone {{ .. }} => \"{gone}\",{port}");
            let codes = "    fn code(&self) -> &'static str {\n        match self {\n            ";
            let head = format!("impl Error {{\n{codes}{arms}\n        }}\n    }}\n");
            ERRORS_SOURCE.replace("impl Error {\n", &head)
        };
        let port = |code: &str| format!("\n            Self::Port(_) => \"{code}\",");
        let found = |source: &str| codes(source, "Error");
        let expected = Some(vec!["gone".to_owned(), "port".to_owned()]);
        let both = found(&coded("gone", &port("port"))).expect("two codes");
        assert_eq!(both, expected);
        assert!(found(ERRORS_SOURCE).expect("no codes").is_none());
        assert!(found(&coded("gone", "")).is_err(), "Port has none");
        assert!(found(&coded("gone", &port("gone"))).is_err(), "one for two");
    }
}
