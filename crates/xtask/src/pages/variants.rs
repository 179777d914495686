//! The variants of an enum in the text of a Rust file, formatted as rustfmt does: name, doc comment
//! and attribute of each, and what a function of the enum gives for each. Pages of reasons and
//! errors take everything from here.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// One variant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variant {
    /// Its name.
    pub(super) name: String,
    /// Its doc comment, as one paragraph.
    pub(super) doc: String,
    /// Its `#[error(..)]`, with all lines.
    pub(super) attribute: Option<String>,
}

impl Variant {
    /// The doc comment, and what it says behind `Remedy:`.
    pub(super) fn meaning_and_remedy(&self) -> (String, String) {
        let (meaning, remedy) = self.doc.split_once("Remedy:").unwrap_or((&self.doc, ""));
        (meaning.trim().to_owned(), remedy.trim().to_owned())
    }
}

/// The variants of enum `name`, in their order.
///
/// # Errors
/// The file has no such enum, or one without variants.
pub(super) fn variants(source: &str, name: &str) -> Result<Vec<Variant>> {
    let (mut variants, mut next) = (Vec::new(), Variant::default());
    let body = source
        .split_once(&format!("enum {name} {{\n"))
        .and_then(|(_, rest)| rest.split_once("\n}"))
        .map_or("", |(body, _)| body);
    let mut is_open = false;
    for line in body.lines() {
        let Some(text) = line.strip_prefix("    ") else {
            continue;
        };
        if is_open {
            let attribute = next.attribute.get_or_insert_default();
            attribute.push_str(text);
            attribute.push('\n');
            is_open = !text.starts_with(")]");
        } else if let Some(doc) = text.strip_prefix("///") {
            next.doc = format!("{} {}", next.doc, doc.trim()).trim().to_owned();
        } else if text.starts_with("#[error") {
            next.attribute = Some(format!("{text}\n"));
            is_open = !text.ends_with(")]");
        } else if text.starts_with(char::is_uppercase) {
            next.name = word(text).to_owned();
            variants.push(std::mem::take(&mut next));
        }
    }
    ensure!(!variants.is_empty(), "there is no enum {name}");
    Ok(variants)
}

/// What `function` of enum `name` gives for each variant: a text, a number, or the last name of a
/// path (`ErrorKind::NotFound`); empty where it is computed. `_` has what the rest gives.
pub(super) fn arms(source: &str, name: &str, function: &str) -> BTreeMap<String, String> {
    let (mut arms, mut rest) = (BTreeMap::new(), body(source, name, function));
    while let Some((left, right)) = rest.split_once("=>") {
        let (value, behind) = value(right);
        let mut names = selves(left);
        if names.is_empty() && left.trim_end().ends_with('_') {
            names.push("_".to_owned());
        }
        arms.extend(names.into_iter().map(|name| (name, value.clone())));
        rest = behind;
    }
    arms
}

/// The variants that `function` of enum `name` names.
pub(super) fn named_in(source: &str, name: &str, function: &str) -> Vec<String> {
    selves(body(source, name, function))
}

/// The first string literal of `text`, as the program sees it.
pub(super) fn literal(text: &str) -> Option<String> {
    literal_and_rest(text).map(|(literal, _)| literal)
}

fn literal_and_rest(text: &str) -> Option<(String, &str)> {
    let begin = text.find('"')? + 1;
    let (mut literal, mut chars) = (String::new(), text[begin..].char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((literal, &text[begin + at + 1..])),
            '\\' => match chars.next()?.1 {
                // A line that goes on: its indentation is no text.
                '\n' => {
                    let rest = chars.as_str();
                    let indent = rest.len() - rest.trim_start().len();
                    if indent > 0 {
                        chars.nth(indent - 1);
                    }
                }
                escaped => literal.push(escaped),
            },
            c => literal.push(c),
        }
    }
    None
}

/// The body of `function` in the enum's own `impl`.
fn body<'a>(source: &'a str, name: &str, function: &str) -> &'a str {
    source
        .split_once(&format!("\nimpl {name} {{"))
        .and_then(|(_, rest)| rest.split_once(&format!(" fn {function}(")))
        .and_then(|(_, rest)| rest.split_once("\n    }\n"))
        .map_or("", |(body, _)| body)
}

/// The value right behind an arrow, and what follows it.
fn value(text: &str) -> (String, &str) {
    let start = text.trim_start().trim_start_matches('{').trim_start();
    if start.starts_with('"') {
        return literal_and_rest(start).unwrap_or_default();
    }
    let end = start
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(start.len());
    let (path, rest) = start.split_at(end);
    // A call computes it.
    let value = if rest.starts_with(['.', '(']) || path.starts_with(char::is_lowercase) {
        ""
    } else {
        path.rsplit("::").next().unwrap_or(path)
    };
    (value.to_owned(), rest)
}

/// Names behind `Self::`.
fn selves(text: &str) -> Vec<String> {
    let parts = text.split("Self::").skip(1);
    parts.map(|part| word(part).to_owned()).collect()
}

/// The word that `text` begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
/// All.
pub enum E {
    /// An a,
    /// long.
    A,
    #[error("b \"{x}\"")]
    B {
        /// X.
        x: u8,
    },
    /// C.
    #[error(
        "one \
         two"
    )]
    C(u8),
}

impl E {
    fn f(&self) -> u8 {
        match self {
            Self::A | Self::B { .. } => 3,
            _ => {
                4
            }
        }
    }

    fn g(&self) -> K {
        match self {
            Self::A => K::One,
            Self::B { x } => x.kind(),
            Self::C(_) => "a, b",
        }
    }
}
"#;

    #[test]
    fn a_variant_has_its_comment_and_its_words() {
        let found = variants(SOURCE, "E").expect("three");
        let names: Vec<&str> = found.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["A", "B", "C"]);
        assert_eq!(
            (found[0].doc.as_str(), found[1].doc.as_str()),
            ("An a, long.", "")
        );
        let words = |at: usize| found[at].attribute.as_deref().and_then(literal);
        assert_eq!(words(0), None);
        assert_eq!(words(1).as_deref(), Some("b \"{x}\""));
        assert_eq!(words(2).as_deref(), Some("one two"));
        assert!(variants(SOURCE, "F").is_err());
    }

    #[test]
    fn a_function_gives_each_variant_its_value() {
        let of = |function: &str| {
            let arms = arms(SOURCE, "E", function);
            let pairs = arms
                .into_iter()
                .map(|(name, value)| format!("{name} {value}"));
            pairs.collect::<Vec<_>>()
        };
        assert_eq!(of("f"), ["A 3", "B 3", "_ 4"]);
        assert_eq!(of("g"), ["A One", "B ", "C a, b"]);
        assert_eq!(named_in(SOURCE, "E", "f"), ["A", "B"]);
        assert!(of("h").is_empty());
    }
}
