//! JSON in a text: checked in full, then searched by a path, without building a tree, so that a
//! number keeps the digits it was written with. Nesting is bounded by `EVENT_MAX_DEPTH`, which also
//! bounds the recursion. Of equal keys the last counts, as in the decoder of events.

use std::borrow::Cow;

use forebay_core::fault::FaultKind;
use forebay_core::limits::EVENT_MAX_DEPTH;

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    /// From 0; below zero from the end.
    Index(i64),
}

/// The steps of `$.name."other name"['third'][0]`.
pub(super) fn path(text: &str) -> Result<Vec<Step>, String> {
    let refusal = |why: &str| {
        format!("the path '{text}' {why}; write a path such as '$.a.\"b c\"[0]', -1 for the last")
    };
    let mut rest = text
        .strip_prefix('$')
        .ok_or_else(|| refusal("does not begin with $"))?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, behind) = if let Some(rest) = rest.strip_prefix('.') {
            key(rest)
        } else if let Some(rest) = rest.strip_prefix('[') {
            element(rest)
        } else {
            None
        }
        .ok_or_else(|| refusal(&format!("has no step at '{rest}'")))?;
        steps.push(step);
        rest = behind;
    }
    if steps.len() > EVENT_MAX_DEPTH {
        return Err(refusal(&format!("has more than {EVENT_MAX_DEPTH} steps")));
    }
    Ok(steps)
}

fn key(rest: &str) -> Option<(Step, &str)> {
    if let Some(quoted) = rest.strip_prefix('"') {
        let (key, behind) = quoted.split_once('"')?;
        return Some((Step::Key(key.to_owned()), behind));
    }
    let within = |char: char| !matches!(char, '.' | '[' | ']' | '*' | '"' | '\'' | ' ' | '?');
    let end = rest.find(|char| !within(char)).unwrap_or(rest.len());
    let (key, behind) = rest.split_at_checked(end)?;
    (!key.is_empty()).then(|| (Step::Key(key.to_owned()), behind))
}

fn element(rest: &str) -> Option<(Step, &str)> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = rest.strip_prefix(quote) {
            let (key, behind) = quoted.split_once(quote)?;
            return Some((Step::Key(key.to_owned()), behind.strip_prefix(']')?));
        }
    }
    let (index, behind) = rest.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), behind))
}

/// A JSON value as it stands in its text, without spaces around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// The value of `text`; a fault where it is no JSON or nests too deep.
    pub(super) fn of(text: &'a str) -> Result<Self, FaultKind> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0).ok_or(FaultKind::Cast)?;
        reader.spaces();
        if reader.at < text.len() {
            return Err(FaultKind::Cast);
        }
        Ok(value)
    }

    /// What lies at the end of `steps`.
    pub(super) fn at(self, steps: &[Step]) -> Option<Self> {
        steps.iter().try_fold(self, |value, step| value.step(step))
    }

    fn step(self, step: &Step) -> Option<Self> {
        match step {
            Step::Key(wanted) => {
                let mut found = None;
                self.members(|key, value| {
                    if Json(key).string().is_some_and(|key| key == *wanted) {
                        found = Some(value);
                    }
                });
                found
            }
            Step::Index(index) => {
                let index = if *index < 0 {
                    self.length()?.checked_add(*index)?
                } else {
                    *index
                };
                let (mut at, mut found) = (0, None);
                self.elements(|value| {
                    if at == index {
                        found = Some(value);
                    }
                    at += 1;
                });
                found
            }
        }
    }

    pub(super) fn raw(self) -> &'a str {
        self.0
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(super) fn is_nested(self) -> bool {
        self.0.starts_with(['{', '['])
    }

    pub(super) fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The digits of a number.
    pub(super) fn number(self) -> Option<&'a str> {
        self.0
            .starts_with(|char: char| char == '-' || char.is_ascii_digit())
            .then_some(self.0)
    }

    /// The characters of a string; None of anything else.
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inner))
    }

    pub(super) fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    /// Elements of an array, members of an object; None of anything else.
    pub(super) fn length(self) -> Option<i64> {
        let mut length = 0;
        if self.0.starts_with('[') {
            self.elements(|_| length += 1);
        } else if self.0.starts_with('{') {
            self.members(|_, _| length += 1);
        } else {
            return None;
        }
        Some(length)
    }

    /// Every element of an array; none of anything else.
    fn elements(self, each: impl FnMut(Json<'a>)) {
        let mut reader = Reader {
            text: self.0,
            at: 0,
        };
        let read = reader.elements(0, each);
        debug_assert!(read.is_some() || !self.0.starts_with('['), "checked before");
    }

    /// Every member of an object, its key with the quotes; none of anything else.
    fn members(self, each: impl FnMut(&'a str, Json<'a>)) {
        let mut reader = Reader {
            text: self.0,
            at: 0,
        };
        let read = reader.members(0, each);
        debug_assert!(read.is_some() || !self.0.starts_with('{'), "checked before");
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A value with the spaces before it, `depth` levels down; None where there is none.
    fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        self.spaces();
        let start = self.at;
        match self.peek()? {
            b'{' if depth < EVENT_MAX_DEPTH => self.members(depth, |_, _| ())?,
            b'[' if depth < EVENT_MAX_DEPTH => self.elements(depth, |_| ())?,
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => return None,
        }
        self.text.get(start..self.at).map(Json)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text.get(self.at..)?.starts_with(word);
        found.then(|| self.at += word.len())
    }

    fn elements(&mut self, depth: usize, mut each: impl FnMut(Json<'a>)) -> Option<()> {
        self.take(b'[')?;
        self.spaces();
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            each(self.value(depth + 1)?);
            self.spaces();
            if self.take(b']').is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    fn members(&mut self, depth: usize, mut each: impl FnMut(&'a str, Json<'a>)) -> Option<()> {
        self.take(b'{')?;
        self.spaces();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.spaces();
            let start = self.at;
            self.string()?;
            let key = self.text.get(start..self.at)?;
            self.spaces();
            self.take(b':')?;
            each(key, self.value(depth + 1)?);
            self.spaces();
            if self.take(b'}').is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => {
                    let escaped = self.peek()?;
                    self.at += 1;
                    match escaped {
                        b'u' => self.escaped()?,
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    /// The digits of `\u`; of a surrogate, those of both halves.
    fn escaped(&mut self) -> Option<()> {
        match self.unit()? {
            0xd800..0xdc00 => {
                self.take(b'\\')?;
                self.take(b'u')?;
                (0xdc00..0xe000).contains(&self.unit()?).then_some(())
            }
            0xdc00..0xe000 => None,
            _ => Some(()),
        }
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.at += 4;
        hex.then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn paths_are_read_or_refused() {
        let key = |key: &str| Step::Key(key.to_owned());
        for (text, steps) in [
            ("$", vec![]),
            ("$.a.b[0]", vec![key("a"), key("b"), Step::Index(0)]),
            ("$.größe[-1]", vec![key("größe"), Step::Index(-1)]),
            (
                "$.\"b c\"['d.e'][\"f\"]",
                vec![key("b c"), key("d.e"), key("f")],
            ),
        ] {
            assert_eq!(path(text), Ok(steps), "{text}");
        }
        let long = format!("${}", ".a".repeat(17));
        for text in [
            "", "a.b", "$.", "$..a", "$.a[*]", "$.a[", "$.a[1", "$[x]", "$a", &long,
        ] {
            let why = path(text).expect_err(text);
            assert!(why.contains("'$.a.\"b c\"[0]'"), "{why}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::of(&nest(16)).is_ok());
        assert_eq!(Json::of(&nest(17)), Err(FaultKind::Cast));
        assert_eq!(Json::of(&"[".repeat(1_000_000)), Err(FaultKind::Cast));
    }

    #[test]
    fn surrogates_come_in_pairs() {
        let pair = Json::of(r#""\ud83d\ude00""#).expect("JSON");
        assert_eq!(pair.string().as_deref(), Some("\u{1f600}"));
        for half in [
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\ud83d""#,
            r#""\ud83dé""#,
            r#""\u12é""#,
        ] {
            assert_eq!(Json::of(half), Err(FaultKind::Cast), "{half}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        let json = Json::of(r#" {"a": 1, "\u0061": 2.50 } "#).expect("JSON");
        assert_eq!(
            json.at(&[Step::Key("a".to_owned())]).map(Json::raw),
            Some("2.50")
        );
        assert_eq!(json.length(), Some(2));
        assert_eq!(json.at(&[Step::Index(0)]), None);
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
            "\"([a-zé ]|\\\\[\"\\\\/bfnrt]|\\\\u00[0-9a-fA-F]{2}){0,6}\"",
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let member = ("\"[a-c]{0,2}\"", inner.clone())
                .prop_map(|(key, value)| format!("{key} : {value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|all| format!("[ {}]", all.join(" ,"))),
                prop::collection::vec(member, 0..4)
                    .prop_map(|all| format!("{{{}\n}}", all.join(","))),
            ]
        })
    }

    /// What serde reads where we found something.
    fn read(found: Option<Json<'_>>) -> Option<Value> {
        found.map(|found| serde_json::from_str(found.raw()).expect("JSON"))
    }

    proptest! {
        #[test]
        fn values_agree_with_serde(
            text in any_json(),
            cut in 0_usize..40,
            key in "[a-c]{0,2}",
            index in 0_usize..3,
        ) {
            let theirs: Value = serde_json::from_str(&text).expect("JSON");
            let ours = Json::of(&text).expect("JSON");
            let member = read(ours.at(&[Step::Key(key.clone())]));
            prop_assert_eq!(member.as_ref(), theirs.get(&key));
            let at = i64::try_from(index).expect("small");
            let element = read(ours.at(&[Step::Index(at)]));
            prop_assert_eq!(element.as_ref(), theirs.get(index));
            let string = ours.string();
            prop_assert_eq!(string.as_deref(), theirs.as_str());
            if let Some(part) = text.get(..cut) {
                let whole = serde_json::from_str::<serde::de::IgnoredAny>(part).is_ok();
                prop_assert_eq!(Json::of(part).is_ok(), whole, "{}", part);
            }
        }
    }
}
