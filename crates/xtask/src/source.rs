//! A Rust file as the rules see it: its text, the same with comments and the insides of strings
//! blanked (so that words and braces are code), which lines are tests, and where its functions are.
//! A light reading by hand: no parser, because this crate must be built before anything else.

/// One Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the repository's root.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
    /// The text with comments and the insides of literals blanked; lines stay where they are.
    code: String,
    /// For each line, from 0, whether it is part of a test.
    tests: Vec<bool>,
    /// Bytes of the code's line ends.
    line_ends: Vec<usize>,
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Line of its `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from there to its closing brace.
    pub(crate) lines: usize,
}

/// A public trait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trait {
    /// Its name.
    pub(crate) name: String,
    /// Line of its `trait`, from 1.
    pub(crate) line: usize,
    /// Line of its closing brace.
    pub(crate) last_line: usize,
}

/// A public item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its name.
    pub(crate) name: String,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// Words of what it shows to its users: types of arguments, fields, variants.
    pub(crate) signature: Vec<String>,
}

/// Attributes that begin a test, by what they begin with.
const TEST_ATTRIBUTES: [&str; 5] = [
    "#[cfg(test",
    "#[cfg(all(test",
    "#[cfg(any(test",
    "#[test]",
    "#[tokio::test",
];
/// Folders and files that only tests, benches and examples have.
const TEST_FOLDERS: [&str; 5] = ["tests", "benches", "examples", "testkit", "sim"];
const TEST_FILES: [&str; 2] = ["tests.rs", "testing.rs"];

impl Source {
    /// Read `text`, the file at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let tests = test_lines(path, &code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            line_ends: code.match_indices('\n').map(|(at, _)| at).collect(),
            code,
            tests,
        }
    }

    /// The text with comments and the insides of literals blanked.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Line of byte `at`, from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.line_ends.partition_point(|end| *end < at) + 1
    }

    /// Words of the code outside tests.
    pub(crate) fn production_words(&self) -> impl Iterator<Item = &str> {
        let lines = self
            .code_lines()
            .filter(|(number, _)| !self.is_test(*number));
        lines.flat_map(|(_, line)| split_words(line))
    }

    /// Words of the code.
    pub(crate) fn all_words(&self) -> impl Iterator<Item = &str> {
        split_words(&self.code)
    }

    /// Items outside tests that are `pub` without bounds; modules and re-exports are none.
    pub(crate) fn public_items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for (at, _) in self.code.match_indices("pub ") {
            let line = self.line_of(at);
            if self.code[..at].ends_with(is_word) || self.is_test(line) {
                continue;
            }
            let Some((name, is_function)) = item_name(&self.code[at + 4..]) else {
                continue;
            };
            let end = item_end(&self.code, at, &mut |_| true).unwrap_or(self.code.len());
            let text = &self.code[at..end];
            // Of a function the head; of what has fields, variants or methods, all.
            let head = if is_function {
                text.split('{').next().unwrap_or(text)
            } else {
                text
            };
            let signature = split_words(head)
                .filter(|word| *word != name)
                .map(str::to_owned);
            items.push(Item {
                line,
                signature: signature.collect(),
                name: name.to_owned(),
            });
        }
        items
    }

    /// Traits outside tests that are `pub` without bounds.
    pub(crate) fn public_traits(&self) -> Vec<Trait> {
        let mut traits = Vec::new();
        for (at, head) in self.code.match_indices("pub trait ") {
            let line = self.line_of(at);
            if self.code[..at].ends_with(is_word) || self.is_test(line) {
                continue;
            }
            let name = split_words(&self.code[at + head.len()..]).next();
            let end = item_end(&self.code, at, &mut |_| true);
            traits.push(Trait {
                name: name.unwrap_or_default().to_owned(),
                line,
                last_line: self.line_of(end.unwrap_or(self.code.len())),
            });
        }
        traits
    }

    /// Whether the file declares an item of this name.
    pub(crate) fn declares(&self, name: &str) -> bool {
        const KINDS: [&str; 9] = [
            "struct ", "enum ", "trait ", "type ", "fn ", "const ", "static ", "union ", "mod ",
        ];
        self.code.match_indices(name).any(|(at, _)| {
            let ends = !self.code[at + name.len()..].starts_with(is_word);
            ends && KINDS.iter().any(|kind| self.code[..at].ends_with(kind))
        })
    }

    /// Lines of code, numbered from 1.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line))
    }

    /// Whether line `number`, from 1, is part of a test.
    pub(crate) fn is_test(&self, number: usize) -> bool {
        number
            .checked_sub(1)
            .and_then(|line| self.tests.get(line))
            .copied()
            .unwrap_or(false)
    }

    /// Number of lines.
    pub(crate) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// All functions with a body, in order.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            if self.code[..at].ends_with(is_word) {
                continue;
            }
            let rest = &self.code[at + 3..];
            let name: String = rest
                .trim_start()
                .chars()
                .take_while(|c| is_word(*c))
                .collect();
            // `fn (` is a type.
            if name.is_empty() {
                continue;
            }
            if let Some(end) = item_end(&self.code, at, &mut |c| c == '{') {
                let line = line_of(&self.code, at);
                functions.push(Function {
                    name,
                    line,
                    lines: line_of(&self.code, end) + 1 - line,
                });
            }
        }
        functions
    }
}

fn split_words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// Where `name` stands in `code` as a whole word.
pub(crate) fn words<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let whole = move |at: &usize| {
        !code[..*at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word)
    };
    code.match_indices(name).map(|(at, _)| at).filter(whole)
}

/// Name of the item whose keywords `code` begins with, and whether it is a function.
fn item_name(code: &str) -> Option<(&str, bool)> {
    const BEFORE: [&str; 4] = ["async", "unsafe", "extern", "const"];
    const KINDS: [&str; 8] = [
        "fn", "struct", "enum", "trait", "type", "const", "static", "union",
    ];
    let mut words = split_words(code.split(['{', ';', '(', '=', ':']).next()?);
    let first = words.next()?;
    let second = words.next()?;
    if BEFORE.contains(&first) && KINDS.contains(&second) {
        return Some((words.next()?, second == "fn"));
    }
    KINDS.contains(&first).then_some((second, first == "fn"))
}

/// Whether `c` may stand in a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Line of byte `at`, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// Where the item that begins at `from` ends: at its closing brace, or at its `;`. None where
/// `counts` refuses the ending.
fn item_end(code: &str, from: usize, counts: &mut impl FnMut(char) -> bool) -> Option<usize> {
    let mut nested = 0_usize;
    let mut body = None;
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested = nested.saturating_sub(1),
            ';' if nested == 0 && body.is_none() => return counts(c).then_some(from + at),
            '{' if body.is_some() || nested == 0 => body = Some(body.unwrap_or(0) + 1),
            '}' => {
                if let Some(depth) = body.as_mut() {
                    *depth -= 1;
                    if *depth == 0 {
                        return counts('{').then_some(from + at);
                    }
                }
            }
            _ => {}
        }
    }
    None
}

fn test_lines(path: &str, code: &str) -> Vec<bool> {
    let mut folders = path.split('/').rev();
    let file = folders.next().unwrap_or(path);
    let all = TEST_FILES.contains(&file) || folders.any(|folder| TEST_FOLDERS.contains(&folder));
    let mut tests = vec![all; code.lines().count()];
    for attribute in TEST_ATTRIBUTES {
        for (at, _) in code.match_indices(attribute) {
            let Some(end) =
                attribute_end(code, at).and_then(|from| item_end(code, from, &mut |_| true))
            else {
                continue;
            };
            let (first, last) = (line_of(code, at) - 1, line_of(code, end));
            tests
                .iter_mut()
                .take(last)
                .skip(first)
                .for_each(|test| *test = true);
        }
    }
    tests
}

/// One past the `]` of the attribute at `at`, and of those that follow it.
fn attribute_end(code: &str, at: usize) -> Option<usize> {
    let mut end = at;
    while code[end..].trim_start().starts_with("#[") {
        let (mut depth, mut close) = (0_usize, None);
        for (offset, c) in code[end..].char_indices() {
            match c {
                '[' => depth += 1,
                ']' => {
                    depth -= 1;
                    if depth == 0 {
                        close = Some(end + offset + 1);
                        break;
                    }
                }
                _ => {}
            }
        }
        end = close?;
    }
    Some(end)
}

/// `text` with comments and the insides of literals as spaces; line ends stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let before = out.chars().next_back();
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => plain_string(rest),
            'r' if !before.is_some_and(is_word) || matches!(before, Some('b' | 'c')) => {
                raw_string(rest)
            }
            '\'' => char_literal(rest),
            _ => 0,
        };
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            rest = &rest[length..];
        }
    }
    out
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string literal at the start of `text`, quotes and all.
fn plain_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw string at the start of `text`; 0 where there is none (`r` is a letter,
/// `r#name` an identifier).
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    text[body..]
        .find(&end)
        .map_or(text.len(), |at| body + at + end.len())
}

/// Length of the character literal at the start of `text`; 0 where it is a lifetime.
fn char_literal(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => chars
            .next()
            .filter(|(_, c)| *c == '\'')
            .map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d\n */ e", "a               \n    e"),
            (
                "f(\"a\\\"{\", '{', '\\'', b'x')",
                "f(      ,    ,     , b   )",
            ),
            (
                "r#\"a\"{\"# r\"{\" br\"{\" r#type var",
                "          r   ".trim_end(),
            ),
        ];
        for (text, code) in &cases[..3] {
            assert_eq!(blank(text), *code, "{text:?}");
        }
        assert_eq!(
            blank(cases[3].0).split_whitespace().collect::<Vec<_>>(),
            ["b", "r#type", "var"]
        );
        assert_eq!(
            blank("fn a<'a>(b: &'a str) -> &'static str {"),
            "fn a<'a>(b: &'a str) -> &'static str {"
        );
        assert_eq!(blank("\"é\n{\"x"), "  \n  x");
    }

    #[test]
    fn functions_are_found_with_their_length() {
        let text = "fn a() {}\n\nimpl B {\n    pub fn c<T>(\n        d: [u8; 2],\n    ) -> E\n    where\n        T: Fn(u8),\n    {\n        \
                    f(\"}\");\n    }\n}\ntrait G {\n    fn h(&self);\n    fn i(&self) { j() }\n}\ntype K = fn (u8);\n";
        let found: Vec<(String, usize, usize)> = Source::new("crates/x/src/a.rs", text)
            .functions()
            .into_iter()
            .map(|f| (f.name, f.line, f.lines))
            .collect();
        assert_eq!(
            found,
            [("a".into(), 1, 1), ("c".into(), 4, 8), ("i".into(), 15, 1)]
        );
    }

    #[test]
    fn tests_are_told_from_code() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}\n";
        let source = Source::new("crates/x/src/a.rs", text);
        let tests: Vec<usize> = (1..=10).filter(|line| source.is_test(*line)).collect();
        assert_eq!(tests, [2, 3, 4, 5, 6, 8, 9]);
        for path in [
            "crates/x/tests/it/a.rs",
            "crates/x/src/y/tests.rs",
            "crates/x/examples/a.rs",
            "crates/testkit/src/a.rs",
        ] {
            assert!(Source::new(path, text).is_test(1), "{path}");
        }
    }

    #[test]
    fn unfinished_code_is_read_to_its_end() {
        for text in [
            "\"",
            "'",
            "r#\"",
            "/*",
            "#[cfg(test)]",
            "fn a() {",
            "#[cfg(test",
            "'\\",
            "r",
            "fn ",
        ] {
            let source = Source::new("crates/x/src/a.rs", text);
            assert!(source.functions().is_empty(), "{text}");
        }
    }
}
